// Tests of NodeResources: amounts, GPU instances, lent CPU.

#include "cyray/raylet/node_resources.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace cyray::raylet {
namespace {

ResourceSet Set(std::initializer_list<std::pair<const char*, double>> amounts) {
  ResourceSet set;
  for (const auto& [name, amount] : amounts) {
    set.Set(name, static_cast<int64_t>(amount * kResourceUnit));
  }
  return set;
}

TEST(NodeResources, AllocatingTakesAndReleasingGivesBack) {
  NodeResources node(Set({{"CPU", 2}, {"Custom", 1}}));
  auto allocation = node.Allocate(Set({{"CPU", 1.5}}));
  ASSERT_TRUE(allocation);
  EXPECT_EQ(node.available(), Set({{"CPU", 0.5}, {"Custom", 1}}));
  EXPECT_FALSE(node.Allocate(Set({{"CPU", 1}})));
  node.Release(*allocation);
  EXPECT_EQ(node.available(), node.total());
}

TEST(NodeResources, WholeGpusAreHandedOutByIndex) {
  NodeResources node(Set({{"GPU", 3}}));
  auto two = node.Allocate(Set({{"GPU", 2}}));
  auto one = node.Allocate(Set({{"GPU", 1}}));
  ASSERT_TRUE(two && one);
  EXPECT_EQ(two->GpuIds(), (std::vector<int32_t>{0, 1}));
  EXPECT_EQ(one->GpuIds(), (std::vector<int32_t>{2}));
}

TEST(NodeResources, FractionsShareOneGpuSoThatWholeOnesStayWhole) {
  NodeResources node(Set({{"GPU", 2}}));
  auto a = node.Allocate(Set({{"GPU", 0.5}}));
  auto b = node.Allocate(Set({{"GPU", 0.5}}));
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->GpuIds(), b->GpuIds());
  EXPECT_TRUE(node.HasNow(Set({{"GPU", 1}})));
}

TEST(NodeResources, AWholeGpuIsNotMadeOfTwoHalves) {
  NodeResources node(Set({{"GPU", 2}}));
  auto a = node.Allocate(Set({{"GPU", 0.6}}));
  auto b = node.Allocate(Set({{"GPU", 0.6}}));
  ASSERT_TRUE(a && b);
  EXPECT_FALSE(node.HasNow(Set({{"GPU", 0.8}})));
  EXPECT_TRUE(node.HasNow(Set({{"GPU", 0.4}})));
}

TEST(NodeResources, LentCpuIsFreeAndMayComeBackAsDebt) {
  NodeResources node(Set({{"CPU", 1}, {"memory", 5}}));
  auto parent = node.Allocate(Set({{"CPU", 1}, {"memory", 5}}));
  node.LendCpu(*parent);
  EXPECT_EQ(node.available(), Set({{"CPU", 1}}));
  auto child = node.Allocate(Set({{"CPU", 1}}));
  ASSERT_TRUE(child);
  node.TakeCpuBack(*parent);
  EXPECT_EQ(node.available(), Set({{"CPU", -1}}));
  node.CheckInvariants();
  node.Release(*child);
  node.Release(*parent);
  EXPECT_EQ(node.available(), node.total());
}

TEST(NodeResources, AWorkerThatEndsWhileItsCpuIsLentGivesBackTheRest) {
  NodeResources node(Set({{"CPU", 1}, {"memory", 5}}));
  auto allocation = node.Allocate(Set({{"CPU", 1}, {"memory", 5}}));
  node.LendCpu(*allocation);
  node.Release(*allocation);
  EXPECT_EQ(node.available(), node.total());
}

TEST(NodeResources, RandomUseNeverLosesAnything) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  NodeResources node(Set({{"CPU", 4}, {"GPU", 3}, {"Custom", 2}}));
  std::vector<Allocation> held;
  for (int step = 0; step < 20'000; ++step) {
    const auto pick = random() % 4;
    if (pick == 0 || held.empty()) {
      ResourceSet demand = Set({{"CPU", (random() % 8) / 4.0}, {"GPU", (random() % 5) / 2.0}});
      if (random() % 3 == 0) demand.Set("Custom", random() % 20'000);
      if (auto allocation = node.Allocate(demand)) held.push_back(*allocation);
    } else {
      Allocation& one = held[random() % held.size()];
      if (pick == 1) {
        node.Release(one);
        std::swap(one, held.back());
        held.pop_back();
      } else if (pick == 2) {
        node.LendCpu(one);
      } else {
        node.TakeCpuBack(one);
      }
    }
    node.CheckInvariants();
  }
  for (const Allocation& one : held) node.Release(one);
  EXPECT_EQ(node.available(), node.total());
}

}  // namespace
}  // namespace cyray::raylet
