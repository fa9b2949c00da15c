// ResourceSet against a plain map, and its invariant that no amount is zero.

#include "cyray/common/resources.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace cyray {
namespace {

ResourceSet Of(std::initializer_list<std::pair<const char*, int64_t>> amounts) {
  ResourceSet set;
  for (const auto& [name, amount] : amounts) set.Set(name, amount);
  return set;
}

TEST(ResourceSet, CoversWhatIsThereAndNoMore) {
  const ResourceSet node = Of({{"CPU", 20'000}, {"GPU", 5'000}});
  EXPECT_TRUE(node.Covers(Of({{"CPU", 20'000}})));
  EXPECT_TRUE(node.Covers({}));
  EXPECT_FALSE(node.Covers(Of({{"CPU", 20'001}})));
  EXPECT_FALSE(node.Covers(Of({{"TPU", 1}})));
}

TEST(ResourceSet, ANodeInDebtStillCoversOtherResources) {
  const ResourceSet node = Of({{"CPU", -10'000}, {"GPU", 10'000}});
  EXPECT_TRUE(node.Covers(Of({{"GPU", 10'000}})));
  EXPECT_FALSE(node.Covers(Of({{"CPU", 1}})));
}

TEST(ResourceSet, NoStoredAmountIsZero) {
  ResourceSet set = Of({{"CPU", 10'000}});
  set.Subtract(Of({{"CPU", 10'000}}));
  EXPECT_TRUE(set.empty());
  set.Set("CPU", 0);
  EXPECT_TRUE(set.empty());
  EXPECT_EQ(set, ResourceSet());
}

TEST(ResourceSet, PrintsAmountsAsUsersWriteThem) {
  EXPECT_EQ(Of({{"CPU", 10'000}, {"GPU", 5'000}, {"x", 1}}).ToString(),
            "CPU: 1, GPU: 0.5, x: 0.0001");
  EXPECT_EQ(ResourceSet().ToString(), "nothing");
}

TEST(ResourceSet, SumsThatNoNumberHoldsStopAtTheLimit) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  ResourceSet set, huge, least;
  huge.Set("x", kMost);
  least.Set("x", std::numeric_limits<int64_t>::min());
  set.Add(huge);
  set.Add(huge);
  EXPECT_EQ(set.Get("x"), kMost);
  set.Subtract(least);
  EXPECT_EQ(set.Get("x"), kMost);
  for (int i = 0; i < 3; ++i) set.Subtract(huge);
  EXPECT_EQ(set.Get("x"), -kMost);
}

TEST(ResourceSet, AddAndSubtractAgreeWithAMapOfNumbers) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937_64 rng(seed);
  const char* const names[] = {"CPU", "GPU", "memory", "a", "b"};
  ResourceSet set;
  std::map<std::string, int64_t> model;
  for (int step = 0; step < 5'000; ++step) {
    ResourceSet change;
    const char* name = names[rng() % 5];
    const auto amount = static_cast<int64_t>(rng() % 5) - 2;
    change.Set(name, amount);
    if (rng() % 2 == 0) {
      set.Add(change);
      model[name] += amount;
    } else {
      set.Subtract(change);
      model[name] -= amount;
    }
    for (const char* each : names) ASSERT_EQ(set.Get(each), model[each]) << each;
    for (const auto& [each, stored] : set.amounts()) ASSERT_NE(stored, 0) << each;
  }
}

}  // namespace
}  // namespace cyray
