// Tests of PlaceBundles: the four policies, and a search of all ways beside the strict one.

#include "cyray/sched/place_bundles.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <set>

namespace cyray::sched {
namespace {

ResourceSet Cpus(int64_t n) {
  ResourceSet set;
  set.Set("CPU", n * kResourceUnit);
  return set;
}

class PlaceBundlesTest : public ::testing::Test {
 protected:
  // Nodes with so many CPUs, of which so many are free.
  void Nodes(const std::vector<std::pair<int, int>>& nodes) {
    totals_.clear();
    sites_.clear();
    for (const auto& [all, free] : nodes) totals_.push_back(Cpus(all));
    for (size_t i = 0; i < nodes.size(); ++i)
      sites_.push_back({&totals_[i], Cpus(nodes[i].second)});
  }
  std::optional<std::vector<size_t>> Place(const std::vector<int>& cpus, GroupPolicy policy) {
    std::vector<ResourceSet> bundles;
    for (const int n : cpus) bundles.push_back(Cpus(n));
    return PlaceBundles(sites_, bundles, policy);
  }
  static size_t Different(const std::vector<size_t>& seats) {
    return std::set<size_t>(seats.begin(), seats.end()).size();
  }

  std::vector<ResourceSet> totals_;
  std::vector<Site> sites_;
};

TEST_F(PlaceBundlesTest, PackTakesTheTightestNodeThatHoldsAll) {
  Nodes({{8, 8}, {4, 3}, {4, 1}});
  EXPECT_EQ(Place({1, 2}, GroupPolicy::kPack), (std::vector<size_t>{1, 1}));
  EXPECT_EQ(Place({1, 2}, GroupPolicy::kStrictPack), (std::vector<size_t>{1, 1}));
}

TEST_F(PlaceBundlesTest, PackTakesSeveralNodesWhereOneDoesNotHoldAll) {
  Nodes({{4, 4}, {4, 4}});
  const auto seats = Place({3, 3, 1}, GroupPolicy::kPack);
  ASSERT_TRUE(seats);
  EXPECT_NE((*seats)[0], (*seats)[1]);
  EXPECT_FALSE(Place({3, 3, 1}, GroupPolicy::kStrictPack));
  EXPECT_FALSE(Place({3, 3, 3}, GroupPolicy::kPack));
}

TEST_F(PlaceBundlesTest, SpreadUsesAllNodesAndSharesThemWhenItMust) {
  Nodes({{4, 4}, {4, 2}, {4, 3}});
  EXPECT_EQ(Different(*Place({1, 1, 1}, GroupPolicy::kSpread)), 3u);
  const auto more = Place({1, 1, 1, 1, 1}, GroupPolicy::kSpread);
  ASSERT_TRUE(more);
  EXPECT_EQ(Different(*more), 3u);
}

TEST_F(PlaceBundlesTest, StrictSpreadFindsTheOneWay) {
  // A greedy choice that gives the large node to the small bundle fails.
  Nodes({{4, 4}, {2, 2}, {1, 1}});
  EXPECT_EQ(Place({1, 2, 4}, GroupPolicy::kStrictSpread), (std::vector<size_t>{2, 1, 0}));
  EXPECT_FALSE(Place({1, 3, 4}, GroupPolicy::kStrictSpread));
  EXPECT_FALSE(Place({1, 1, 1, 1}, GroupPolicy::kStrictSpread));
}

TEST_F(PlaceBundlesTest, BundlesThatStayCount) {
  Nodes({{4, 4}, {4, 4}});
  sites_[0].bundles = 1;
  EXPECT_EQ(Place({1}, GroupPolicy::kStrictSpread), (std::vector<size_t>{1}));
  EXPECT_EQ(Place({1}, GroupPolicy::kStrictPack), (std::vector<size_t>{0}));
  EXPECT_EQ(Place({1}, GroupPolicy::kSpread), (std::vector<size_t>{1}));
  EXPECT_EQ(Place({1}, GroupPolicy::kPack), (std::vector<size_t>{0}));
}

TEST_F(PlaceBundlesTest, APreferredNodeIsTakenIfItHasRoom) {
  Nodes({{4, 2}, {4, 4}});
  sites_[1].preferred = true;
  EXPECT_EQ(Place({2}, GroupPolicy::kStrictPack), (std::vector<size_t>{1}));
  sites_[1].available = Cpus(1);
  EXPECT_EQ(Place({2}, GroupPolicy::kStrictPack), (std::vector<size_t>{0}));
}

// Against a search of all ways.
TEST_F(PlaceBundlesTest, StrictSpreadFindsAWayWheneverThereIsOne) {
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    const size_t nodes = 1 + random() % 5, bundles = 1 + random() % 5;
    std::vector<std::pair<int, int>> spec;
    for (size_t i = 0; i < nodes; ++i) spec.emplace_back(4, random() % 5);
    Nodes(spec);
    std::vector<int> cpus;
    for (size_t i = 0; i < bundles; ++i) cpus.push_back(static_cast<int>(random() % 5));
    std::vector<bool> used(nodes, false);
    const std::function<bool(size_t)> possible = [&](size_t at) {
      if (at == bundles) return true;
      for (size_t i = 0; i < nodes; ++i) {
        if (used[i] || spec[i].second < cpus[at]) continue;
        used[i] = true;
        const bool found = possible(at + 1);
        used[i] = false;
        if (found) return true;
      }
      return false;
    };
    const auto seats = Place(cpus, GroupPolicy::kStrictSpread);
    ASSERT_EQ(seats.has_value(), possible(0)) << round;
    if (!seats) continue;
    EXPECT_EQ(Different(*seats), bundles);
    for (size_t i = 0; i < bundles; ++i) EXPECT_LE(cpus[i], spec[(*seats)[i]].second);
  }
}

}  // namespace
}  // namespace cyray::sched
