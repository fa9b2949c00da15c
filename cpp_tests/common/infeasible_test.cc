// Tests of the warning about demands that no node can meet.

#include "cyray/common/infeasible.h"

#include <gtest/gtest.h>

namespace cyray {
namespace {

ResourceSet Of(std::initializer_list<std::pair<const char*, int64_t>> amounts) {
  ResourceSet set;
  for (const auto& [name, amount] : amounts) set.Set(name, amount * kResourceUnit);
  return set;
}

TEST(InfeasibleWarning, NamesWhatIsAskedForAndWhatTheNodesHaveOfIt) {
  const auto text =
      InfeasibleWarning("A task", Of({{"CPU", 1}, {"GPU", 4}}),
                        {Of({{"CPU", 2}, {"memory", 1'000'000}}),
                         Of({{"CPU", 2}, {"memory", 2'000'000}}), Of({{"CPU", 8}, {"GPU", 1}})});
  EXPECT_EQ(text,
            "A task cannot be scheduled: it needs {CPU: 1, GPU: 4}, the cluster's nodes have "
            "{CPU: 2, GPU: 0} (2 nodes), {CPU: 8, GPU: 1}; none has enough GPU. It waits until a "
            "node that has enough joins.");
}

TEST(InfeasibleWarning, AsksAboutNamesThatAreWrittenInAnotherCase) {
  const std::vector<ResourceSet> nodes = {Of({{"CPU", 2}})};
  EXPECT_EQ(MeantNames(Of({{"cpu", 1}, {"CPU", 1}, {"Cpus", 1}}), nodes),
            " Did you mean CPU by 'cpu'?");
  EXPECT_EQ(MeantNames(Of({{"cpu", 1}}), {Of({{"cpu", 2}})}), "");
}

TEST(InfeasibleWarning, StaysShortWhateverTheCluster) {
  std::vector<ResourceSet> totals;
  for (int i = 1; i <= 1000; ++i) totals.push_back(Of({{"CPU", i}}));
  const auto text = InfeasibleWarning("An actor", Of({{"CPU", 5000}}), totals);
  EXPECT_LT(text.size(), 400u);
  EXPECT_NE(text.find("and others"), std::string::npos);
}

}  // namespace
}  // namespace cyray
