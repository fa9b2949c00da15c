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

PlacementGroupId Group(uint8_t n) {
  PlacementGroupId id;
  id.bytes.fill(n);
  return id;
}

TEST(NodeResources, BundlesAreTakenOutAndGivenOnUnderTheirNames) {
  NodeResources node(Set({{"CPU", 4}}));
  ASSERT_TRUE(node.Reserve(Group(1), 7, {{0, Set({{"CPU", 1}})}, {2, Set({{"CPU", 2}})}}));
  EXPECT_EQ(node.available(), Set({{"CPU", 1}}));
  EXPECT_FALSE(node.HasEver(InBundle(Set({{"CPU", 1}}), Group(1), 0))) << "not open yet";
  node.Open(Group(1), 7);
  EXPECT_TRUE(node.HasNow(InBundle(Set({{"CPU", 2}}), Group(1), 2)));
  EXPECT_FALSE(node.HasNow(InBundle(Set({{"CPU", 2}}), Group(1), 0)));
  const auto task = node.Allocate(InBundle(Set({{"CPU", 2}}), Group(1), kAnyBundle));
  ASSERT_TRUE(task);
  EXPECT_FALSE(node.HasNow(InBundle(Set({{"CPU", 2}}), Group(1), 2))) << "of three, two are used";
  node.CheckInvariants();
  node.Release(*task);
  node.Close(Group(1));
  EXPECT_EQ(node.available(), Set({{"CPU", 4}}));
  EXPECT_EQ(node.total(), Set({{"CPU", 4}}));
  node.CheckInvariants();
}

TEST(NodeResources, AReservationIsOfAllBundlesOrOfNone) {
  NodeResources node(Set({{"CPU", 2}}));
  EXPECT_FALSE(node.Reserve(Group(1), 1, {{0, Set({{"CPU", 1}})}, {1, Set({{"CPU", 2}})}}));
  EXPECT_EQ(node.available(), node.total());
  EXPECT_TRUE(node.reserved().empty());
}

TEST(NodeResources, AGroupThatLeavesIsFreeWhenNothingRunsInIt) {
  NodeResources node(Set({{"CPU", 2}}));
  ASSERT_TRUE(node.Reserve(Group(1), 1, {{0, Set({{"CPU", 2}})}}));
  node.Open(Group(1), 1);
  auto task = node.Allocate(InBundle(Set({{"CPU", 1}}), Group(1), 0));
  ASSERT_TRUE(task);
  node.LendCpu(*task);
  EXPECT_TRUE(node.HasNow(InBundle(Set({{"CPU", 2}}), Group(1), 0)))
      << "what it lends, the bundle has";
  node.Close(Group(1));
  node.CheckInvariants();
  EXPECT_FALSE(node.HasNow(Set({{"CPU", 1}})));
  EXPECT_FALSE(node.HasEver(InBundle({}, Group(1), 0)));
  node.Release(*task);
  EXPECT_EQ(node.available(), Set({{"CPU", 2}}));
  node.CheckInvariants();
}

TEST(NodeResources, ABundleHandsOutTheGpusThatItTook) {
  NodeResources node(Set({{"GPU", 4}}));
  const auto first = node.Allocate(Set({{"GPU", 1}}));
  ASSERT_TRUE(first);
  ASSERT_TRUE(node.Reserve(Group(1), 1, {{0, Set({{"GPU", 1}})}, {1, Set({{"GPU", 1.5}})}}));
  node.Open(Group(1), 1);
  const auto in_first = node.Allocate(InBundle(Set({{"GPU", 1}}), Group(1), 0));
  const auto in_second = node.Allocate(InBundle(Set({{"GPU", 1}}), Group(1), 1));
  const auto rest = node.Allocate(InBundle(Set({{"GPU", 0.5}}), Group(1), kAnyBundle));
  ASSERT_TRUE(in_first && in_second && rest);
  EXPECT_EQ(in_first->GpuIds(), (std::vector<int32_t>{1}));
  EXPECT_EQ(in_second->GpuIds(), (std::vector<int32_t>{2}));
  EXPECT_EQ(rest->GpuIds(), (std::vector<int32_t>{3}));
  EXPECT_TRUE(node.HasNow(Set({{"GPU", 0.5}})));
  for (const auto* allocation : {&*in_first, &*in_second, &*rest, &*first})
    node.Release(*allocation);
  node.Close(Group(1));
  EXPECT_TRUE(node.HasNow(Set({{"GPU", 4}})));
  node.CheckInvariants();
}

TEST(NodeResources, AcceleratorsOfEachKindHaveNumbersOfTheirOwn) {
  NodeResources node(Set({{"GPU", 1}, {"TPU", 2}}));
  const auto both = node.Allocate(Set({{"GPU", 1}, {"TPU", 1}}));
  const auto other = node.Allocate(Set({{"TPU", 1}}));
  ASSERT_TRUE(both && other);
  EXPECT_EQ(both->GpuIds(), (std::vector<int32_t>{0, kAcceleratorsOfKind}));
  EXPECT_EQ(other->GpuIds(), (std::vector<int32_t>{kAcceleratorsOfKind + 1}));
  node.Release(*both);
  node.Release(*other);
  node.CheckInvariants();
}

TEST(NodeResources, ATotalThatShrinksIsMadeUpForAsThingsEnd) {
  NodeResources node(Set({{"Disk", 4}}));
  const auto task = node.Allocate(Set({{"Disk", 3}}));
  ASSERT_TRUE(task);
  node.SetTotal("Disk", 2 * kResourceUnit);
  EXPECT_FALSE(node.HasNow(Set({{"Disk", 1}})));
  node.Release(*task);
  EXPECT_EQ(node.available(), Set({{"Disk", 2}}));
  node.SetTotal("New", kResourceUnit);
  EXPECT_TRUE(node.HasNow(Set({{"New", 1}})));
}

TEST(NodeResources, AnyBundleOfAGroupHandsOutDevicesOfTheKindThatIsAskedFor) {
  NodeResources node(Set({{"GPU", 1}, {"TPU", 1}}));
  ASSERT_TRUE(node.Reserve(Group(1), 1, {{0, Set({{"TPU", 1}})}, {1, Set({{"GPU", 1}})}}));
  node.Open(Group(1), 1);
  const auto gpu = node.Allocate(InBundle(Set({{"GPU", 1}}), Group(1), kAnyBundle));
  ASSERT_TRUE(gpu);
  ASSERT_EQ(gpu->devices.size(), 1u);
  EXPECT_EQ(BaseName(gpu->devices[0].pool), "GPU");
  const auto tpu = node.Allocate(InBundle(Set({{"TPU", 1}}), Group(1), kAnyBundle));
  ASSERT_TRUE(tpu);
  EXPECT_EQ(BaseName(tpu->devices[0].pool), "TPU");
  node.Release(*gpu);
  node.Release(*tpu);
  node.Close(Group(1));
  node.CheckInvariants();
}

}  // namespace
}  // namespace cyray::raylet
