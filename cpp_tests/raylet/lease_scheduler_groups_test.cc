// Tests of LeaseScheduler: claims of bundles, what runs in them, and labels of nodes.

#include <gtest/gtest.h>

#include "cyray/raylet/lease_scheduler.h"

namespace cyray::raylet {
namespace {

ResourceSet Cpu(int64_t amount) {
  ResourceSet set;
  set.Set(kCpu, amount * kResourceUnit);
  return set;
}

const NodeId kSelf = NodeId::FromBytes("self----------------");
const NodeId kThere = NodeId::FromBytes("there---------------");
const NodeId kBeyond = NodeId::FromBytes("beyond--------------");
const PlacementGroupId kGroup = PlacementGroupId::FromBytes("a-placement-group-");
const Address kClient{kSelf, WorkerId::FromBytes("client----------")};
const LabelTerm kEu{"region", LabelOp::kIn, {"eu"}};
const LabelTerm kFast{"disk", LabelOp::kIn, {"fast"}};

class LeaseSchedulerGroupsTest : public ::testing::Test {
 protected:
  void Ask(uint64_t id, ResourceSet demand, LabelChoice labels = {}) {
    LeaseRequest request;
    request.key = {kClient, id};
    request.job = JobId::FromBytes("job1");
    request.demand = request.held = std::move(demand);
    request.labels = std::move(labels);
    scheduler_.AddRequest(std::move(request), now_);
  }
  void Claim(uint64_t attempt, int64_t cpus) { Claim(attempt, {Cpu(cpus)}); }
  void Claim(uint64_t attempt, const std::vector<ResourceSet>& bundles) {
    LeaseRequest request;
    auto claim = std::make_shared<BundleClaim>();
    claim->group = kGroup;
    claim->attempt = attempt;
    for (const ResourceSet& bundle : bundles) {
      claim->bundles[static_cast<uint32_t>(claim->bundles.size())] = bundle;
      request.demand.Add(bundle);
    }
    request.key = claim->key();
    request.held = request.demand;
    request.for_actor = true;
    request.claim = std::move(claim);
    scheduler_.AddRequest(std::move(request), now_);
  }
  ScheduleActions Run() {
    ScheduleActions actions = scheduler_.Schedule(
        now_, [](const LeaseRequest&, const WorkerUse&) { return WorkerId::Random(); });
    scheduler_.CheckInvariants();
    return actions;
  }

  LeaseScheduler scheduler_{kSelf, Cpu(2), {{"region", "us"}}};
  int64_t now_ = 0;
};

TEST_F(LeaseSchedulerGroupsTest, AClaimWaitsInLineAndHasLeasesAskedBack) {
  Ask(1, Cpu(1));
  Ask(2, Cpu(1));
  const auto first = Run();
  ASSERT_EQ(first.grants.size(), 2u);
  now_ = 10;
  Claim(7, 2);
  const auto waits = Run();
  EXPECT_TRUE(waits.reserved.empty());
  EXPECT_EQ(waits.reclaims.size(), 2u);
  for (const LeaseGrant& grant : first.grants) {
    EXPECT_TRUE(scheduler_.ReturnLease(grant.lease_id, kClient));
  }
  const auto served = Run();
  ASSERT_EQ(served.reserved.size(), 1u);
  EXPECT_EQ(served.reserved[0]->attempt, 7u);
  scheduler_.GiveBack(kGroup, 7);
  EXPECT_EQ(scheduler_.resources().available(), Cpu(2));
}

TEST_F(LeaseSchedulerGroupsTest, AClaimIsNotOvertakenForEverBySmallerRequests) {
  uint64_t next = 1;
  std::vector<uint64_t> leases;
  const auto step = [&] {
    while (next < 1000 && scheduler_.pending_count() < 4) Ask(next++, Cpu(1));
    const auto actions = Run();
    for (const LeaseGrant& grant : actions.grants) leases.push_back(grant.lease_id);
    return !actions.reserved.empty();
  };
  step();
  Claim(7, 2);
  bool reserved = false;
  for (; now_ < 4000 && !reserved; now_ += 5) {  // one lease ends at a time
    reserved = step();
    if (leases.empty()) continue;
    EXPECT_TRUE(scheduler_.ReturnLease(leases.front(), kClient));
    leases.erase(leases.begin());
  }
  EXPECT_TRUE(reserved);
}

TEST_F(LeaseSchedulerGroupsTest, WhatRunsInAGroupEndsWithItAndWhatWaitsIsTakenOut) {
  Ask(1, InBundle(Cpu(1), kGroup, kAnyBundle));
  Ask(2, InBundle(Cpu(1), kGroup, 0));
  EXPECT_TRUE(Run().grants.empty()) << "it is not in place";
  Claim(7, 1);
  ASSERT_EQ(Run().reserved.size(), 1u);
  scheduler_.OpenBundles(kGroup, 7);
  const auto granted = Run();
  ASSERT_EQ(granted.grants.size(), 1u);
  const LeaseScheduler::GroupUse use = scheduler_.CloseGroup(kGroup);
  ASSERT_EQ(use.workers.size(), 1u);
  EXPECT_EQ(use.workers[0], granted.grants[0].worker);
  ASSERT_EQ(use.waiting.size(), 1u);
  EXPECT_EQ(use.waiting[0].key.id, 2u);
  scheduler_.CheckInvariants();
  const auto end = scheduler_.WorkerDied(use.workers[0]);
  ASSERT_TRUE(end);
  EXPECT_EQ(end->group, kGroup);
  scheduler_.CheckInvariants();
  EXPECT_EQ(scheduler_.resources().available(), Cpu(2));
}

TEST_F(LeaseSchedulerGroupsTest, WhoWaitsLongForAGroupOnNoNodeAsksWhetherItIs) {
  Ask(1, InBundle(Cpu(1), kGroup, kAnyBundle));
  EXPECT_TRUE(Run().missing_groups.empty());
  now_ = 1500;
  const auto actions = Run();
  ASSERT_EQ(actions.missing_groups.size(), 1u);
  EXPECT_EQ(actions.missing_groups[0], kGroup);
  EXPECT_TRUE(actions.warnings.empty());
}

TEST_F(LeaseSchedulerGroupsTest, LabelsSendARequestWhereTheyMatch) {
  scheduler_.SetNodeView(kThere, Cpu(4), Cpu(4));
  scheduler_.SetNodeView(kBeyond, Cpu(4), Cpu(4));
  scheduler_.SetNodeLabels(kThere, {{"region", "eu"}});
  Ask(1, Cpu(1), {{kEu}});
  Ask(2, Cpu(1), {{LabelTerm{"region", LabelOp::kIn, {"us"}}}});
  const auto actions = Run();
  ASSERT_EQ(actions.forwards.size(), 1u);
  EXPECT_EQ(actions.forwards[0].node, kThere);
  ASSERT_EQ(actions.grants.size(), 1u);
  EXPECT_EQ(actions.grants[0].key.id, 2u);
}

TEST_F(LeaseSchedulerGroupsTest, AnAlternativeIsTakenWhereNoNodeOfTheFirstHasRoom) {
  scheduler_.SetNodeView(kThere, Cpu(4), Cpu(0));
  scheduler_.SetNodeView(kBeyond, Cpu(4), Cpu(4));
  scheduler_.SetNodeLabels(kThere, {{"region", "eu"}, {"disk", "fast"}});
  scheduler_.SetNodeLabels(kBeyond, {{"region", "eu"}});
  Ask(1, Cpu(1), {{kEu, kFast}, {kEu}});
  const auto first = Run();
  ASSERT_EQ(first.forwards.size(), 1u);
  EXPECT_EQ(first.forwards[0].node, kBeyond);
  Ask(2, Cpu(1), {{kFast}});  // waits there for room, as no other one matches
  const auto second = Run();
  ASSERT_EQ(second.forwards.size(), 1u);
  EXPECT_EQ(second.forwards[0].node, kThere);
}

TEST_F(LeaseSchedulerGroupsTest, WhatNoNodeMatchesWaitsForNewsOfOne) {
  Ask(1, Cpu(1), {{kFast}});
  now_ = 1500;
  const auto waits = Run();
  EXPECT_TRUE(waits.grants.empty());
  ASSERT_EQ(waits.warnings.size(), 1u);
  EXPECT_NE(waits.warnings[0].text.find("disk in (fast)"), std::string::npos);
  scheduler_.SetNodeView(kThere, Cpu(1), Cpu(1));
  scheduler_.SetNodeLabels(kThere, {{"disk", "fast"}});
  EXPECT_EQ(Run().forwards.size(), 1u);
}

TEST_F(LeaseSchedulerGroupsTest, BundlesOfFractionsAreReservedOnTheDevicesThatHaveThem) {
  ResourceSet two_gpus, most_of_one;
  two_gpus.Set(kGpu, 2 * kResourceUnit);
  most_of_one.Set(kGpu, kResourceUnit * 3 / 4);
  scheduler_ = LeaseScheduler(kSelf, two_gpus);
  // 1.5 of 2: no task could have it, for there are no two halves to make one whole of.
  Claim(1, {most_of_one, most_of_one});
  EXPECT_EQ(Run().reserved.size(), 1u);
}

TEST_F(LeaseSchedulerGroupsTest, AClaimIsNotTakenForARequestThatNoWorkerComesFor) {
  Ask(1, Cpu(2));
  const auto grants = Run().grants;
  ASSERT_EQ(grants.size(), 1u);
  Claim(2, 2);
  EXPECT_TRUE(Run().reserved.empty());
  ASSERT_TRUE(scheduler_.ReturnLease(grants[0].lease_id, kClient));
  EXPECT_TRUE(scheduler_.TakeStarved().empty());
  EXPECT_EQ(scheduler_.pending_count(), 1u);
}

}  // namespace
}  // namespace cyray::raylet
