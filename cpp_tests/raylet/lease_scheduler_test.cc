// Tests of LeaseScheduler: grants, fairness, reclaims, forwards, blocked workers, deaths.

#include "cyray/raylet/lease_scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <random>
#include <set>

namespace cyray::raylet {
namespace {

ResourceSet Cpu(double amount) {
  ResourceSet set;
  set.Set("CPU", static_cast<int64_t>(amount * kResourceUnit));
  return set;
}

const NodeId kSelf = NodeId::FromBytes("self----------------");
const NodeId kThere = NodeId::FromBytes("there---------------");
const JobId kJob = JobId::FromBytes("job1");

Address Client(char name) {
  Address address{kSelf, {}};
  address.worker.bytes.fill(static_cast<uint8_t>(name));
  return address;
}

class LeaseSchedulerTest : public ::testing::Test {
 protected:
  void Ask(char client, uint64_t id, ResourceSet demand, int64_t now = 0) {
    scheduler_.AddRequest(Request(client, id, std::move(demand)), now);
  }
  void Bind(char client, uint64_t id, const NodeId& node, bool soft = false, int64_t now = 0) {
    LeaseRequest request = Request(client, id, Cpu(1));
    request.strategy = Strategy::kNodeAffinity;
    request.affinity_node = node;
    request.affinity_soft = soft;
    scheduler_.AddRequest(std::move(request), now);
  }
  static LeaseRequest Request(char client, uint64_t id, ResourceSet demand) {
    LeaseRequest request;
    request.key = {Client(client), id};
    request.job = kJob;
    request.demand = request.held = std::move(demand);
    return request;
  }
  ScheduleActions Run(int64_t now = 0) {
    ScheduleActions actions = scheduler_.Schedule(
        now, [this](const LeaseRequest&, const WorkerUse&) -> std::optional<WorkerId> {
          if (workers_ == 0) return std::nullopt;
          --workers_;
          return WorkerId::Random();
        });
    scheduler_.CheckInvariants();
    return actions;
  }
  int64_t FreeCpu() const { return scheduler_.resources().available().Get("CPU"); }

  LeaseScheduler scheduler_{kSelf, Cpu(2)};
  int workers_ = 100;
};

TEST_F(LeaseSchedulerTest, GrantsAsFarAsResourcesGo) {
  for (int i = 1; i <= 3; ++i) Ask('a', i, Cpu(1));
  const auto actions = Run();
  ASSERT_EQ(actions.grants.size(), 2u);
  EXPECT_EQ(actions.grants[0].key.id, 1u);
  EXPECT_EQ(actions.grants[1].key.id, 2u);
  EXPECT_TRUE(actions.workers_wanted.empty());
  EXPECT_TRUE(actions.reclaims.empty()) << "a client is not asked back for its own shape";
}

TEST_F(LeaseSchedulerTest, WithoutAWorkerItAsksForAsManyAsCouldRun) {
  workers_ = 0;
  for (int i = 1; i <= 5; ++i) Ask('a', i, Cpu(1));
  const auto actions = Run();
  EXPECT_TRUE(actions.grants.empty());
  EXPECT_EQ(actions.workers_wanted.at({kJob, {}}), 2);
}

TEST_F(LeaseSchedulerTest, ReturningALeaseServesTheNext) {
  for (int i = 1; i <= 3; ++i) Ask('a', i, Cpu(1));
  const auto first = Run();
  EXPECT_EQ(scheduler_.ReturnLease(first.grants[0].lease_id, Client('a')), first.grants[0].worker);
  const auto second = Run();
  ASSERT_EQ(second.grants.size(), 1u);
  EXPECT_EQ(second.grants[0].key.id, 3u);
}

TEST_F(LeaseSchedulerTest, OnlyTheHolderMayReturnALease) {
  Ask('a', 1, Cpu(1));
  const auto grants = Run().grants;
  EXPECT_FALSE(scheduler_.ReturnLease(grants[0].lease_id, Client('b')));
  EXPECT_FALSE(scheduler_.ReturnLease(grants[0].lease_id + 1, Client('a')));
  EXPECT_TRUE(scheduler_.ReturnLease(grants[0].lease_id, Client('a')));
  EXPECT_FALSE(scheduler_.ReturnLease(grants[0].lease_id, Client('a')));
}

TEST_F(LeaseSchedulerTest, ClientsTakeTurns) {
  for (int i = 1; i <= 2; ++i) Ask('a', i, Cpu(1));
  Ask('b', 1, Cpu(1));
  const auto actions = Run();
  ASSERT_EQ(actions.grants.size(), 2u);
  EXPECT_NE(actions.grants[0].key.client, actions.grants[1].key.client);
}

TEST_F(LeaseSchedulerTest, WhoseJobHasNoWorkerGetsOneThoughOthersTakeTheRoom) {
  const JobId other = JobId::FromBytes("job2");
  bool has_worker = false;  // for the other job; for the first there always is one
  const auto run = [&] {
    ScheduleActions actions = scheduler_.Schedule(
        0, [&](const LeaseRequest&, const WorkerUse& use) -> std::optional<WorkerId> {
          if (use.job == other && !has_worker) return std::nullopt;
          return WorkerId::Random();
        });
    scheduler_.CheckInvariants();
    return actions;
  };
  for (int i = 1; i <= 9; ++i) Ask('a', i, Cpu(1));
  const auto first = run();
  ASSERT_EQ(first.grants.size(), 2u);
  LeaseRequest request = Request('b', 1, Cpu(1));
  request.job = other;
  scheduler_.AddRequest(std::move(request), 0);
  EXPECT_TRUE(run().workers_wanted.empty()) << "there is no room yet";
  ASSERT_TRUE(scheduler_.ReturnLease(first.grants[0].lease_id, Client('a')));
  const auto passed_over = run();
  ASSERT_EQ(passed_over.grants.size(), 1u);
  EXPECT_EQ(passed_over.grants[0].key.client, Client('a'));
  EXPECT_EQ(passed_over.workers_wanted.at({other, {}}), 1);
  has_worker = true;
  ASSERT_TRUE(scheduler_.ReturnLease(first.grants[1].lease_id, Client('a')));
  const auto next = run();
  ASSERT_EQ(next.grants.size(), 1u);
  EXPECT_EQ(next.grants[0].key.client, Client('b'));
}

TEST_F(LeaseSchedulerTest, AnotherClientsWaitReclaimsOneLeaseOnce) {
  Ask('a', 1, Cpu(1));
  Ask('a', 2, Cpu(1));
  Run(0);
  Ask('b', 1, Cpu(1), 10);
  const auto actions = Run(10);
  ASSERT_EQ(actions.reclaims.size(), 1u);
  EXPECT_EQ(actions.reclaims[0].holder, Client('a'));
  EXPECT_TRUE(Run(20).reclaims.empty());
}

TEST_F(LeaseSchedulerTest, AFreshLeaseIsNotReclaimedAtOnce) {
  Ask('a', 1, Cpu(1));
  Ask('a', 2, Cpu(1));
  Run(0);
  Ask('b', 1, Cpu(1), 1);
  const auto actions = Run(1);
  EXPECT_TRUE(actions.reclaims.empty());
  EXPECT_GT(actions.call_again_ms, 0);
  EXPECT_EQ(Run(10).reclaims.size(), 1u);
}

TEST_F(LeaseSchedulerTest, WhenNobodyWaitsNothingIsLookedAtAgain) {
  Ask('a', 1, Cpu(1));
  const auto actions = Run(0);
  EXPECT_EQ(actions.grants.size(), 1u);
  EXPECT_EQ(actions.call_again_ms, -1) << "no wakeup";
}

TEST_F(LeaseSchedulerTest, LeasesAreNotReclaimedWhenTheirReturnWouldNotBeEnough) {
  ResourceSet odd = Cpu(1);
  odd.Set("Custom", kResourceUnit);
  scheduler_ = LeaseScheduler(kSelf, [] {
    ResourceSet total = Cpu(2);
    total.Set("Custom", kResourceUnit);
    return total;
  }());
  LeaseRequest actor = Request('x', 1, odd);
  actor.for_actor = true;  // actors are not reclaimed
  scheduler_.AddRequest(actor, 0);
  Ask('a', 1, Cpu(1));
  Run(0);
  Ask('b', 1, odd, 10);
  EXPECT_TRUE(Run(10).reclaims.empty());
}

TEST_F(LeaseSchedulerTest, AnotherShapeOfTheSameClientReclaimsToo) {
  Ask('a', 1, Cpu(1));
  Ask('a', 2, Cpu(1));
  Run(0);
  Ask('a', 3, Cpu(2), 10);
  EXPECT_EQ(Run(10).reclaims.size(), 2u);
}

TEST_F(LeaseSchedulerTest, ABlockedWorkersCpuRunsItsChildren) {
  scheduler_ = LeaseScheduler(kSelf, Cpu(1));
  Ask('a', 1, Cpu(1));
  const auto parent = Run().grants;
  Ask('b', 1, Cpu(1));
  EXPECT_TRUE(Run().grants.empty());
  scheduler_.SetBlocked(parent[0].worker, true);
  EXPECT_EQ(Run().grants.size(), 1u);
  scheduler_.SetBlocked(parent[0].worker, false);
  EXPECT_EQ(FreeCpu(), -kResourceUnit);
  scheduler_.CheckInvariants();
}

TEST_F(LeaseSchedulerTest, ADeadWorkerGivesEverythingBackAndNamesTheHolder) {
  Ask('a', 1, Cpu(1));
  const auto grants = Run().grants;
  const auto end = scheduler_.WorkerDied(grants[0].worker);
  ASSERT_TRUE(end);
  EXPECT_EQ(end->key.client, Client('a'));
  EXPECT_EQ(FreeCpu(), 2 * kResourceUnit);
  EXPECT_FALSE(scheduler_.WorkerDied(grants[0].worker));
}

TEST_F(LeaseSchedulerTest, ADeadClientsRequestsGoAndItsWorkersAreNamed) {
  for (int i = 1; i <= 3; ++i) Ask('a', i, Cpu(1));
  const auto grants = Run().grants;
  EXPECT_EQ(scheduler_.ClientDied(Client('a')).size(), 2u);
  EXPECT_EQ(scheduler_.pending_count(), 0u);
  for (const auto& grant : grants) scheduler_.WorkerDied(grant.worker);
  EXPECT_EQ(FreeCpu(), 2 * kResourceUnit);
  scheduler_.CheckInvariants();
}

TEST_F(LeaseSchedulerTest, ALeaseWhoseTaskDoesNotEndIsNotCountedOnForEver) {
  Ask('a', 1, Cpu(1));
  Ask('a', 2, Cpu(1));
  Run(0);
  Ask('b', 1, Cpu(1), 10);
  const auto first = Run(10);
  ASSERT_EQ(first.reclaims.size(), 1u);
  EXPECT_TRUE(Run(50).reclaims.empty()) << "the holder has a moment";
  const auto second = Run(110);
  ASSERT_EQ(second.reclaims.size(), 1u) << "the other lease may be quicker";
  EXPECT_NE(second.reclaims[0].lease_id, first.reclaims[0].lease_id);
  EXPECT_TRUE(Run(300).reclaims.empty());
  EXPECT_TRUE(scheduler_.ReturnLease(second.reclaims[0].lease_id, Client('a')));
  const auto third = Run(310);
  ASSERT_EQ(third.grants.size(), 1u);
  EXPECT_EQ(third.grants[0].key.client, Client('b'));
}

TEST_F(LeaseSchedulerTest, OnlyRequestsThatLackNothingButAWorkerAreStarved) {
  Ask('a', 1, Cpu(1));
  Run();
  workers_ = 0;
  Ask('a', 2, Cpu(1));  // holds a lease of this shape, which will serve its tasks
  Ask('b', 1, Cpu(2));  // waits for resources
  Ask('c', 1, Cpu(1));
  const auto starved = scheduler_.TakeStarved();
  ASSERT_EQ(starved.size(), 1u);
  EXPECT_EQ(starved[0].key.client, Client('c'));
  EXPECT_EQ(scheduler_.pending_count(), 2u);
  scheduler_.CheckInvariants();
}

TEST_F(LeaseSchedulerTest, WhoWaitsForResourcesIsKnownFromWhoWaitsForAWorker) {
  workers_ = 0;
  Ask('a', 1, Cpu(1));
  Ask('b', 2, Cpu(2));
  Ask('c', 3, Cpu(100));
  Run();
  EXPECT_FALSE(scheduler_.LacksResources({Client('a'), 1}));
  EXPECT_FALSE(scheduler_.LacksResources({Client('c'), 3})) << "it can never be here";
  EXPECT_FALSE(scheduler_.LacksResources({Client('d'), 4})) << "nobody asked";
  workers_ = 1;
  Run();
  EXPECT_TRUE(scheduler_.LacksResources({Client('b'), 2}));
}

TEST_F(LeaseSchedulerTest, CancelTakesThatRequestOutOfWhateverGroup) {
  Ask('a', 1, Cpu(3));
  Ask('a', 2, Cpu(4));
  Ask('b', 1, Cpu(3));
  EXPECT_FALSE(scheduler_.CancelRequest({Client('c'), 1}));
  EXPECT_TRUE(scheduler_.CancelRequest({Client('a'), 2}));
  EXPECT_FALSE(scheduler_.CancelRequest({Client('a'), 2}));
  EXPECT_EQ(scheduler_.pending_count(), 2u);
}

TEST_F(LeaseSchedulerTest, WhatHasWaitedIsCountedByDemand) {
  for (int i = 1; i <= 3; ++i) Ask('a', i, Cpu(3), 0);
  Ask('b', 1, Cpu(3), 500);
  Ask('b', 2, Cpu(4), 0);
  EXPECT_TRUE(scheduler_.PendingDemands(900, 1000).empty());
  const std::map<ResourceSet, uint32_t> expected{{Cpu(3), 3}, {Cpu(4), 1}};
  EXPECT_EQ(scheduler_.PendingDemands(1000, 1000), expected);
  EXPECT_EQ(scheduler_.PendingDemands(1500, 1000).at(Cpu(3)), 4u);
}

TEST_F(LeaseSchedulerTest, NothingGoesToANodeThatIsAvoidedAndWhoNeedsItWaits) {
  scheduler_.SetNodeView(kThere, Cpu(8), Cpu(8));
  scheduler_.SetAvoided(kThere, true);
  Ask('a', 1, Cpu(4));
  LeaseRequest bound = Request('a', 2, Cpu(1));
  bound.strategy = Strategy::kNodeAffinity;
  bound.affinity_node = kThere;
  scheduler_.AddRequest(bound, 0);
  LeaseRequest near = Request('a', 3, Cpu(1));
  near.locality = {{kThere, 1000}};
  scheduler_.AddRequest(near, 0);
  const auto avoided = Run(2000);
  EXPECT_TRUE(avoided.forwards.empty());
  EXPECT_TRUE(avoided.refusals.empty()) << "it is not dead";
  EXPECT_TRUE(avoided.warnings.empty()) << "it is feasible";
  EXPECT_EQ(avoided.grants.size(), 1u) << "the one that may run here";
  scheduler_.SetNodeView(kThere, Cpu(8), Cpu(7));  // a report is no connection
  EXPECT_TRUE(Run(2100).forwards.empty());
  scheduler_.SetAvoided(kThere, false);
  EXPECT_EQ(Run(2200).forwards.size(), 2u);
}

TEST_F(LeaseSchedulerTest, ALeaseOfAnotherNodeIsCountedOnceWhetherItsAnswerOrItsReportIsFirst) {
  const ResourceSet own = Cpu(4);
  for (const bool report_first : {false, true}) {
    scheduler_ = LeaseScheduler(kSelf, own);
    scheduler_.SetNodeView(kThere, Cpu(4), Cpu(4), 1);
    Ask('h', 1, Cpu(4));
    Ask('a', 1, Cpu(3));
    ASSERT_EQ(Run().forwards.size(), 1u);
    if (report_first) scheduler_.SetNodeView(kThere, Cpu(4), Cpu(1), 2);
    scheduler_.ForwardGranted(kThere, Cpu(3), 2);
    EXPECT_EQ(scheduler_.ClusterAvailable(), Cpu(1)) << "there; nothing here";
    Ask('a', 2, Cpu(2));
    EXPECT_TRUE(Run().forwards.empty());
    Ask('b', 1, Cpu(1));
    EXPECT_EQ(Run().forwards.size(), 1u) << report_first;
  }
}

TEST_F(LeaseSchedulerTest, RequestsOfAJobsDetachedActorsOutliveItsDriver) {
  workers_ = 0;
  Ask('a', 1, Cpu(1));
  scheduler_.ForgetJob(kJob);
  workers_ = 1;
  EXPECT_EQ(Run().grants.size(), 1u);
}

TEST_F(LeaseSchedulerTest, AnInfeasibleDemandWaitsAndIsWarnedOfOnceAfterASecond) {
  ResourceSet gpu;
  gpu.Set("GPU", kResourceUnit);
  Ask('a', 1, gpu);
  EXPECT_TRUE(Run(0).warnings.empty());
  const auto actions = Run(1000);
  ASSERT_EQ(actions.warnings.size(), 1u);
  EXPECT_NE(actions.warnings[0].text.find("cannot be scheduled: it needs {GPU: 1}, the cluster's "
                                          "nodes have {GPU: 0}"),
            std::string::npos)
      << actions.warnings[0].text;
  EXPECT_TRUE(Run(2000).warnings.empty());
  scheduler_.SetNodeView(kThere, gpu, gpu);
  const auto later = Run(3000);
  ASSERT_EQ(later.forwards.size(), 1u);
  EXPECT_EQ(later.forwards[0].node, kThere);
}

TEST_F(LeaseSchedulerTest, OverHalfUseGoesToAFreeNodeAndOnlyOnce) {
  scheduler_.SetNodeView(kThere, Cpu(1), Cpu(1));
  for (int i = 1; i <= 3; ++i) Ask('a', i, Cpu(1));
  const auto actions = Run();
  EXPECT_EQ(actions.forwards.size(), 1u);
  EXPECT_EQ(actions.grants.size(), 2u);
}

TEST_F(LeaseSchedulerTest, AForwardedRequestIsNotPassedOn) {
  scheduler_.SetNodeView(kThere, Cpu(8), Cpu(8));
  for (int i = 1; i <= 3; ++i) {
    LeaseRequest request = Request('a', i, Cpu(1));
    request.forwarded = true;
    scheduler_.AddRequest(request, 0);
  }
  const auto actions = Run();
  EXPECT_EQ(actions.grants.size(), 2u);
  EXPECT_TRUE(actions.forwards.empty());
}

TEST_F(LeaseSchedulerTest, TheNodeWithTheBytesIsPreferred) {
  scheduler_.SetNodeView(kThere, Cpu(2), Cpu(2));
  LeaseRequest request = Request('a', 1, Cpu(1));
  request.locality = {{kSelf, 10}, {kThere, 1000}};
  scheduler_.AddRequest(request, 0);
  EXPECT_EQ(Run().forwards.size(), 1u);
}

TEST_F(LeaseSchedulerTest, SpreadTakesNodesInTurn) {
  scheduler_.SetNodeView(kThere, Cpu(2), Cpu(2));
  for (int i = 1; i <= 4; ++i) {
    LeaseRequest request = Request('a', i, Cpu(1));
    request.strategy = Strategy::kSpread;
    scheduler_.AddRequest(request, 0);
  }
  const auto actions = Run();
  EXPECT_EQ(actions.grants.size(), 2u);
  EXPECT_EQ(actions.forwards.size(), 2u);
}

TEST_F(LeaseSchedulerTest, HardAffinityToADeadNodeIsRefusedAndASoftOneRunsHere) {
  scheduler_.SetNodeView(kThere, Cpu(2), Cpu(2));
  scheduler_.RemoveNodeView(kThere);
  Bind('a', 1, kThere);
  const auto hard = Run();
  ASSERT_EQ(hard.refusals.size(), 1u);
  EXPECT_NE(hard.refusals[0].error.find("is dead"), std::string::npos);
  Bind('a', 2, kThere, /*soft=*/true);
  EXPECT_EQ(Run().grants.size(), 1u);
  // One that was dead before this node knew of any, and one that a request waits for.
  const NodeId early = NodeId::FromBytes("early---------------");
  scheduler_.RemoveNodeView(early);
  Bind('b', 3, early);
  const NodeId late = NodeId::FromBytes("late----------------");
  Bind('c', 4, late);
  EXPECT_EQ(Run().refusals.size(), 1u);
  scheduler_.RemoveNodeView(late);
  EXPECT_EQ(Run().refusals.size(), 1u);
}

// Its driver may have heard of the node before the raylet does.
TEST_F(LeaseSchedulerTest, NewsOfANodeThatARequestNamesAreAwaitedForAWhile) {
  const NodeId nowhere = NodeId::FromBytes("nowhere-------------");
  Bind('a', 1, kThere);
  Bind('a', 2, nowhere);
  const auto first = Run(/*now=*/0);
  EXPECT_TRUE(first.refusals.empty());
  EXPECT_EQ(first.call_again_ms, 5'000);
  Bind('a', 3, nowhere, /*soft=*/false, /*now=*/4'000);
  scheduler_.SetNodeView(kThere, Cpu(2), Cpu(2));
  const auto told = Run(4'000);
  ASSERT_EQ(told.forwards.size(), 1u);
  EXPECT_EQ(told.forwards[0].request.key.id, 1u);
  EXPECT_TRUE(told.refusals.empty());
  EXPECT_EQ(told.call_again_ms, 1'000);
  const auto late = Run(5'000);
  ASSERT_EQ(late.refusals.size(), 1u);
  EXPECT_EQ(late.refusals[0].request.key.id, 2u);
  EXPECT_NE(late.refusals[0].error.find("is not one of the cluster's"), std::string::npos);
  EXPECT_EQ(late.call_again_ms, 4'000);
  EXPECT_EQ(Run(9'000).refusals.size(), 1u);
  EXPECT_EQ(Run(9'000).call_again_ms, -1);
}

TEST_F(LeaseSchedulerTest, AnActorNeedsItsPlacementButKeepsOnlyWhatItHolds) {
  LeaseRequest actor = Request('x', 1, Cpu(1));
  actor.held = {};
  actor.for_actor = true;
  scheduler_.AddRequest(actor, 0);
  ASSERT_EQ(Run().grants.size(), 1u);
  EXPECT_EQ(FreeCpu(), 2 * kResourceUnit);
}

TEST_F(LeaseSchedulerTest, ALargeDemandIsNotStarvedBySmallOnes) {
  Ask('a', 1, Cpu(1));
  Ask('a', 2, Cpu(1));
  auto held = Run(0).grants;
  Ask('b', 1, Cpu(2), 10);
  uint64_t next = 3;
  for (int64_t now = 10; now < 1000; now += 10) {  // a has always more, and returns one at a time
    Ask('a', next++, Cpu(1), now);
    scheduler_.ReturnLease(held.front().lease_id, Client('a'));
    held.erase(held.begin());
    for (auto& grant : Run(now).grants) {
      if (grant.key.client == Client('b')) return;
      held.push_back(grant);
    }
    if (held.empty()) break;
  }
  FAIL() << "the large demand was never served";
}

TEST_F(LeaseSchedulerTest, AnActorKeepsItsCpuWhileItWaits) {
  scheduler_ = LeaseScheduler(kSelf, Cpu(1));
  LeaseRequest actor = Request('x', 1, Cpu(1));
  actor.for_actor = true;
  scheduler_.AddRequest(actor, 0);
  const auto grants = Run().grants;
  ASSERT_EQ(grants.size(), 1u);
  scheduler_.SetBlocked(grants[0].worker, true);
  Ask('a', 1, Cpu(1));
  EXPECT_TRUE(Run().grants.empty());
  scheduler_.SetBlocked(grants[0].worker, false);
  EXPECT_EQ(FreeCpu(), 0);
}

TEST_F(LeaseSchedulerTest, ASoftAffinityIsNotHeldUpByAHardOneToAnAvoidedNode) {
  scheduler_.SetNodeView(kThere, Cpu(2), Cpu(2));
  scheduler_.SetAvoided(kThere, true);
  Bind('a', 1, kThere);
  Bind('a', 2, kThere, /*soft=*/true);
  const auto actions = Run();
  ASSERT_EQ(actions.grants.size(), 1u);
  EXPECT_EQ(actions.grants[0].key.id, 2u);
  EXPECT_TRUE(actions.refusals.empty());
  scheduler_.SetAvoided(kThere, false);
  const auto later = Run();
  ASSERT_EQ(later.forwards.size(), 1u);
  EXPECT_EQ(later.forwards[0].request.key.id, 1u);
}

TEST_F(LeaseSchedulerTest, AWorkerIsAskedForWithTheGpusOfItsLease) {
  ResourceSet total = Cpu(4);
  total.Set("GPU", 2 * kResourceUnit);
  scheduler_ = LeaseScheduler(kSelf, total);
  ResourceSet gpu = Cpu(1);
  gpu.Set("GPU", kResourceUnit);
  Ask('a', 1, gpu);
  Ask('a', 2, gpu);
  Ask('a', 3, Cpu(1));
  std::vector<WorkerUse> asked;
  const auto actions = scheduler_.Schedule(0, [&](const LeaseRequest&, const WorkerUse& use) {
    asked.push_back(use);
    return std::optional<WorkerId>();
  });
  // One look for each kind of worker, however many wait for one.
  EXPECT_EQ(asked, (std::vector<WorkerUse>{{kJob, {0}}, {kJob, {}}}));
  const std::map<WorkerUse, int> wanted{{{kJob, {}}, 1}, {{kJob, {0}}, 1}, {{kJob, {1}}, 1}};
  EXPECT_EQ(actions.workers_wanted, wanted);
  EXPECT_EQ(scheduler_.resources().available(), total) << "nothing is kept for who got none";
}

TEST_F(LeaseSchedulerTest, NodesThatCouldTakeWorkAreChosenByChanceAndByRoom) {
  std::map<NodeId, int> sent;
  for (int n = 0; n < 16; ++n) {
    const NodeId node = NodeId::Random();
    scheduler_.SetNodeView(node, Cpu(100), Cpu(100));
    sent[node] = 0;
  }
  for (int i = 1; i <= 320; ++i) Ask('a', i, Cpu(4));  // never here
  for (const auto& forward : Run().forwards) ++sent[forward.node];
  for (const auto& [node, count] : sent) EXPECT_LE(count, 25) << "each has room for 25";
  const auto used = std::count_if(sent.begin(), sent.end(), [](auto& one) { return one.second; });
  EXPECT_GE(used, 12) << "not all at the first one";
}

// --- What it costs, counted and not timed -----------------------------------------------------

// Serves all that wait, one returned lease at a time; how much was looked at for each.
uint64_t LooksForEach(LeaseScheduler& scheduler, uint64_t count, int64_t now = 0) {
  const auto take = [](const LeaseRequest&, const WorkerUse&) { return WorkerId::Random(); };
  std::deque<LeaseGrant> held;
  const auto run = [&] {
    for (LeaseGrant& grant : scheduler.Schedule(now, take).grants) held.push_back(grant);
  };
  run();
  const uint64_t sorted = scheduler.looked_at();
  uint64_t served = 0;
  for (; !held.empty(); ++served) {
    const LeaseGrant done = held.front();
    held.pop_front();
    EXPECT_TRUE(scheduler.ReturnLease(done.lease_id, done.key.client));
    run();
  }
  scheduler.CheckInvariants();
  EXPECT_EQ(served, count);
  return (scheduler.looked_at() - sorted) / count;
}

TEST_F(LeaseSchedulerTest, ManyShapesThatWaitAreNotLookedAtForEachLeaseThatEnds) {
  constexpr int kShapes = 8000;
  // All lack the same amount of one resource; each another amount, which is often free; each
  // another one of a resource that is scarce; some of one and some of the other.
  const std::vector<std::function<ResourceSet(int)>> kinds{
      [](int i) {
        ResourceSet demand = Cpu(1);
        demand.Set("memory", i);
        return demand;
      },
      [](int i) { return Cpu(0.1 + i * 0.0001); },
      [](int i) {
        ResourceSet demand;
        demand.Set("x", kResourceUnit + i);
        return demand;
      },
      [](int i) {
        ResourceSet demand = Cpu(i % 2 == 0 ? 1 : 0.0001 * i);
        demand.Set("x", i % 3 == 0 ? kResourceUnit + i : 1);
        return demand;
      }};
  for (const auto& demand : kinds) {
    SCOPED_TRACE(demand(1).ToString());
    ResourceSet total = Cpu(2);
    total.Set("memory", 1'000'000 * kResourceUnit);
    total.Set("x", 3 * kResourceUnit);
    scheduler_ = LeaseScheduler(kSelf, total);
    for (int i = 1; i <= kShapes; ++i) Ask('a', i, demand(i));
    EXPECT_LE(LooksForEach(scheduler_, kShapes), 800u);
  }
}

TEST_F(LeaseSchedulerTest, ShapesThatNeedAnAvoidedNodeAreNotLookedAtBeforeThereIsNews) {
  constexpr int kShapes = 2000;
  scheduler_.SetNodeView(kThere, Cpu(4), Cpu(4));
  scheduler_.SetAvoided(kThere, true);
  for (int i = 1; i <= kShapes; ++i) {
    LeaseRequest request = Request('a', i, Cpu(0.0001 * i));
    request.strategy = Strategy::kNodeAffinity;
    request.affinity_node = kThere;
    scheduler_.AddRequest(request, 0);
  }
  Run();
  const uint64_t before = scheduler_.looked_at();
  for (int i = 0; i < 100; ++i) Run();
  EXPECT_LE(scheduler_.looked_at() - before, 100u);
  scheduler_.SetAvoided(kThere, false);
  EXPECT_EQ(Run().forwards.size(), static_cast<size_t>(kShapes)) << "where they can wait";
}

// This node has the CPUs, the other one the rest: nobody can run, and each lacks nothing alone.
TEST_F(LeaseSchedulerTest, GroupsThatLackNothingSingleAreLookedAtInTurns) {
  constexpr int kShapes = 1000;
  ResourceSet total = Cpu(4);
  total.Set("x", kResourceUnit);
  ResourceSet used = Cpu(4);
  ResourceSet there = total;
  there.Set("CPU", 0);
  scheduler_ = LeaseScheduler(kSelf, total);
  scheduler_.SetNodeView(kThere, total, there);
  LeaseRequest holder = Request('h', 1, {});
  holder.demand.Set("x", kResourceUnit);
  holder.held = holder.demand;
  holder.for_actor = true;
  scheduler_.AddRequest(holder, 0);
  const auto holds = Run().grants;
  ASSERT_EQ(holds.size(), 1u);
  for (int i = 1; i <= kShapes; ++i) {
    ResourceSet demand = Cpu(0.0001 * i);
    demand.Set("x", 1);
    Ask('a', i, demand);
  }
  Run();
  const uint64_t before = scheduler_.looked_at();
  EXPECT_GE(Run().call_again_ms, 0) << "the others have their turn";
  EXPECT_LE(scheduler_.looked_at() - before, 200u);
  ASSERT_TRUE(scheduler_.WorkerDied(holds[0].worker));
  size_t granted = 0;
  workers_ = kShapes;
  for (int i = 0; i < 2 * kShapes / 64; ++i) granted += Run().grants.size();
  EXPECT_GE(granted, 200u) << "as many as there are CPUs for";
}

TEST_F(LeaseSchedulerTest, ADeadClientsLeasesAreFoundAmongThoseOfOthers) {
  scheduler_ = LeaseScheduler(kSelf, Cpu(100));
  for (int i = 1; i <= 30; ++i) Ask(static_cast<char>('a' + i % 3), i, Cpu(1));
  LeaseRequest far = Request('a', 1, Cpu(1));
  far.key.client.node = kThere;
  scheduler_.AddRequest(far, 0);
  std::set<WorkerId> of_b;
  std::optional<WorkerId> of_far;
  for (const LeaseGrant& grant : Run().grants) {
    if (grant.key.client == Client('b')) of_b.insert(grant.worker);
    if (grant.key.client.node == kThere) of_far = grant.worker;
  }
  const auto found = scheduler_.ClientDied(Client('b'));
  EXPECT_EQ(std::set<WorkerId>(found.begin(), found.end()), of_b);
  EXPECT_EQ(of_b.size(), 10u);
  EXPECT_EQ(scheduler_.ClientsOfNodeDied(kThere), std::vector<WorkerId>{of_far.value()});
}

TEST_F(LeaseSchedulerTest, QueuedActorsAreOneGroupAndCancellingOneLooksAtFew) {
  constexpr int kActors = 12'000;
  for (int i = 1; i <= kActors; ++i) {
    LeaseRequest actor = Request('x', 1, Cpu(1));
    actor.key = {.id = 1, .actor = ActorId::Random()};
    actor.for_actor = true;
    scheduler_.AddRequest(actor, 0);
  }
  Run();
  const uint64_t before = scheduler_.looked_at();
  for (const auto& pending : scheduler_.Pending(0, kActors)) {
    ASSERT_TRUE(scheduler_.CancelRequest(pending.key));
    scheduler_.Schedule(
        0, [](const LeaseRequest&, const WorkerUse&) { return std::optional<WorkerId>(); });
  }
  EXPECT_EQ(scheduler_.pending_count(), 0u);
  EXPECT_LE(scheduler_.looked_at() - before, 8u * kActors);
  scheduler_.CheckInvariants();
}

TEST_F(LeaseSchedulerTest, RandomOperationsAgreeWithASimpleModel) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  scheduler_ = LeaseScheduler(kSelf, Cpu(4));
  struct Held {
    LeaseGrant grant;
    int64_t cpu;
    bool blocked = false;
  };
  std::map<RequestKey, int64_t> waiting;  // the model: who waits for how much, who holds what
  std::vector<Held> held;
  uint64_t next = 1;
  for (int64_t now = 0; now < 20'000; now += 3) {
    const auto pick = held.empty() ? 0 : random() % held.size();
    switch (random() % 6) {
      case 0:
      case 1:
        if (waiting.size() < 30) {
          const int64_t cpu = static_cast<int64_t>(random() % 4 + 1) * 5000;
          LeaseRequest request =
              Request(static_cast<char>('a' + random() % 4), next++, Cpu(cpu / 1e4));
          waiting[request.key] = cpu;
          scheduler_.AddRequest(request, now);
        }
        break;
      case 2:
        if (!held.empty()) {
          EXPECT_TRUE(
              scheduler_.ReturnLease(held[pick].grant.lease_id, held[pick].grant.key.client));
          held.erase(held.begin() + static_cast<long>(pick));
        }
        break;
      case 3:
        if (!held.empty()) {
          held[pick].blocked = !held[pick].blocked;
          scheduler_.SetBlocked(held[pick].grant.worker, held[pick].blocked);
        }
        break;
      case 4:
        if (!held.empty() && random() % 4 == 0) {
          EXPECT_TRUE(scheduler_.WorkerDied(held[pick].grant.worker));
          held.erase(held.begin() + static_cast<long>(pick));
        }
        break;
      default:
        if (!waiting.empty() && random() % 4 == 0) {
          EXPECT_TRUE(scheduler_.CancelRequest(waiting.begin()->first));
          waiting.erase(waiting.begin());
        }
    }
    workers_ = static_cast<int>(random() % 3);
    for (const LeaseGrant& grant : Run(now).grants) {
      ASSERT_TRUE(waiting.contains(grant.key));
      held.push_back({grant, waiting[grant.key]});
      waiting.erase(grant.key);
    }
    int64_t free = 4 * kResourceUnit;
    for (const Held& one : held) free -= one.blocked ? 0 : one.cpu;
    ASSERT_EQ(FreeCpu(), free);
    ASSERT_EQ(scheduler_.pending_count(), waiting.size());
  }
}

}  // namespace
}  // namespace cyray::raylet
