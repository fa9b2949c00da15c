// Tests of ChooseNode.

#include "cyray/sched/choose_node.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace cyray::sched {
namespace {

ResourceSet Cpus(int64_t count) {
  ResourceSet set;
  set.Set("CPU", count * kResourceUnit);
  return set;
}

class ChooseNodeTest : public testing::Test {
 protected:
  // Nodes of eight CPUs with so many of them free; the preferred one's index.
  size_t Choose(const std::vector<int64_t>& free, Policy policy, size_t preferred = 99) {
    std::vector<ResourceSet> available;
    for (int64_t cpus : free) available.push_back(Cpus(cpus));
    std::vector<Place> places;
    for (size_t i = 0; i < free.size(); ++i) {
      places.push_back({&total_, &available[i], i == preferred});
    }
    return ChooseNode(places, Cpus(1), policy, random_()).value_or(99);
  }

  const ResourceSet total_ = Cpus(8);
  std::mt19937_64 random_{1};
};

TEST_F(ChooseNodeTest, PackingTakesThePreferredNodeUntilHalfOfItIsUsed) {
  EXPECT_EQ(Choose({8, 5, 8}, Policy::kPack, 1), 1u);
  EXPECT_NE(Choose({8, 4, 8}, Policy::kPack, 1), 1u);
  EXPECT_EQ(Choose({1, 2, 1}, Policy::kPack, 0), 1u);
}

TEST_F(ChooseNodeTest, SpreadingTakesTheLeastUsedWhereverItIs) {
  EXPECT_EQ(Choose({6, 7, 5}, Policy::kSpread, 0), 1u);
}

TEST_F(ChooseNodeTest, EquallyGoodNodesAreDrawnAmong) {
  std::map<size_t, int> chosen;
  for (int i = 0; i < 3000; ++i) ++chosen[Choose({8, 8, 2, 8}, Policy::kSpread, 0)];
  EXPECT_EQ(chosen.count(2), 0u);
  for (size_t node : {0, 1, 3}) EXPECT_GT(chosen[node], 800) << node;
}

TEST_F(ChooseNodeTest, OfNoneThereIsNone) { EXPECT_EQ(Choose({}, Policy::kPack), 99u); }

}  // namespace
}  // namespace cyray::sched
