// The GCS's smaller tables: key-value pairs, functions, jobs, nodes, placement, calls, and proofs.

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "cpp_tests/gcs/payloads.h"
#include "cyray/gcs/actor_placement.h"
#include "cyray/gcs/call_log.h"
#include "cyray/gcs/function_table.h"
#include "cyray/gcs/job_table.h"
#include "cyray/gcs/kv_table.h"
#include "cyray/gcs/node_table.h"

namespace cyray::gcs {
namespace {

TEST(KvTable, PutWithoutOverwriteKeepsTheOldValue) {
  KvTable kv;
  EXPECT_EQ(kv.Put("s", "k", {1}, false).outcome, KvTable::PutOutcome::kAdded);
  EXPECT_EQ(kv.Put("s", "k", {2}, false).outcome, KvTable::PutOutcome::kKept);
  EXPECT_EQ(*kv.Get("s", "k"), wire::Bytes{1});
  EXPECT_EQ(kv.Put("s", "k", {2}, true).outcome, KvTable::PutOutcome::kReplaced);
  EXPECT_EQ(*kv.Get("s", "k"), wire::Bytes{2});
  EXPECT_EQ(kv.Put("s", "k", {3}, true).replaced, wire::Bytes{2});
}

TEST(KvTable, KeysAndPrefixDeletesStayWithinTheirSpace) {
  KvTable kv;
  for (const char* key : {"a", "ab", "abc", "b"}) kv.Put("s", key, {}, true);
  kv.Put("t", "ab", {}, true);
  EXPECT_EQ(kv.Keys("s", "ab"), (std::vector<std::string>{"ab", "abc"}));
  EXPECT_EQ(kv.Delete("s", "ab", true), (std::vector<KvTable::Pair>{{"ab", {}}, {"abc", {}}}));
  EXPECT_EQ(kv.Delete("s", "zzz", false).size(), 0u);
  EXPECT_EQ(kv.Keys("s", "").size(), 2u);
  EXPECT_NE(kv.Get("t", "ab"), nullptr);
}

TEST(KvTable, StorageKeysAreUnambiguous) {
  EXPECT_NE(KvTable::StorageKey("ab", "c"), KvTable::StorageKey("a", "bc"));
  const std::string key("x\0y", 3);
  const auto parsed = KvTable::ParseStorageKey(KvTable::StorageKey("s", key));
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->second, key);
  EXPECT_FALSE(KvTable::ParseStorageKey("abc").has_value());
  EXPECT_FALSE(KvTable::ParseStorageKey("\xff\xff\xff\x7f").has_value());
}

TEST(FunctionTable, PutAnswersThoseWhoWait) {
  FunctionTable table;
  const FunctionTable::Key key{JobId::Random(), FunctionId::Random()};
  table.Wait(key, 1);
  table.Wait(key, 2);
  EXPECT_TRUE(table.CancelWaiter(1));
  EXPECT_FALSE(table.CancelWaiter(1));
  EXPECT_EQ(table.Put(key, {5}).answered, std::vector<FunctionTable::Waiter>{2});
  EXPECT_FALSE(table.Put(key, {5}).added);
  table.CheckInvariants();
}

TEST(FunctionTable, AJobsFunctionsGoTogether) {
  FunctionTable table;
  const JobId first = JobId::Random(), second = JobId::Random();
  table.Put({first, FunctionId::Random()}, {1});
  table.Put({first, FunctionId::Random()}, {2});
  table.Put({second, FunctionId::Random()}, {3});
  EXPECT_EQ(table.DropJob(first).size(), 2u);
  EXPECT_EQ(table.size(), 1u);
  table.CheckInvariants();
}

TEST(JobTable, NumbersAreNotUsedAgainWhenOldJobsAreForgotten) {
  JobTable jobs(0);
  const JobId first = jobs.Register({}, 1).id;
  EXPECT_TRUE(jobs.Finish(first, 2));
  EXPECT_FALSE(jobs.Finish(first, 3));
  const auto unneeded = [](const JobId&) { return false; };
  EXPECT_TRUE(jobs.Trim(unneeded).empty());  // the newest stays
  const JobId second = jobs.Register({}, 4).id;
  EXPECT_EQ(second.Hex(), "02000000");
  EXPECT_TRUE(jobs.Trim([&](const JobId& job) { return job == first; }).empty());
  EXPECT_EQ(jobs.Trim(unneeded), std::vector{first});
}

TEST(JobTable, WhatEndedFirstIsForgottenFirst) {
  JobTable jobs(1);
  const JobId first = jobs.Register({}, 1).id, second = jobs.Register({}, 1).id;
  jobs.Register({}, 1);
  EXPECT_TRUE(jobs.Finish(second, 2));
  EXPECT_TRUE(jobs.Finish(first, 3));
  EXPECT_EQ(jobs.Trim([](const JobId&) { return false; }), std::vector{second});
}

TEST(JobTable, JobsAreFoundByTheirDriverAndItsNode) {
  JobTable jobs;
  JobEntry entry;
  entry.driver = {NodeId::Random(), WorkerId::Random()};
  const JobId id = jobs.Register(entry, 1).id;
  EXPECT_EQ(jobs.RunningWithDriver(entry.driver), std::vector{id});
  EXPECT_EQ(jobs.RunningWithDriver({entry.driver.node, WorkerId::Nil()}), std::vector{id});
  EXPECT_TRUE(jobs.RunningWithDriver({NodeId::Random(), WorkerId::Random()}).empty());
  EXPECT_TRUE(jobs.RunningWithDriver({entry.driver.node, WorkerId::Random()}).empty());
  EXPECT_TRUE(jobs.Finish(id, 2));
  EXPECT_TRUE(jobs.RunningWithDriver(entry.driver).empty());
}

NodeEntry Node(const NodeId& id, int64_t cpus = 4) {
  NodeEntry node;
  node.id = id;
  node.total.Set("CPU", cpus * kResourceUnit);
  node.available = node.total;
  return node;
}

TEST(NodeTable, ADeadNodeStaysDead) {
  NodeTable nodes;
  const NodeId id = NodeId::Random();
  EXPECT_EQ(nodes.Register(Node(id)), NodeTable::RegisterOutcome::kAdded);
  EXPECT_EQ(nodes.Register(Node(id)), NodeTable::RegisterOutcome::kRepeated);
  EXPECT_TRUE(nodes.Kill(id, "gone"));
  EXPECT_FALSE(nodes.Kill(id, "gone"));
  EXPECT_EQ(nodes.Register(Node(id)), NodeTable::RegisterOutcome::kDead);
  nodes.CheckInvariants();
}

TEST(NodeTable, DeadNodesDoNotCountAndAreForgottenInTime) {
  NodeTable nodes;
  const NodeId first = NodeId::Random(), second = NodeId::Random();
  nodes.Register(Node(first));
  nodes.Register(Node(second));
  nodes.Kill(first, "gone");
  EXPECT_EQ(nodes.Total().Get("CPU"), 4 * kResourceUnit);
  EXPECT_EQ(nodes.Trim(0), std::vector{first});
  EXPECT_EQ(nodes.Find(first), nullptr);
  nodes.CheckInvariants();
}

class PlacementTest : public testing::Test {
 protected:
  NodeId Add(int64_t cpus, int64_t available) {
    const NodeId id = NodeId::Random();
    NodeEntry node = Node(id, cpus);
    node.available.Set("CPU", available * kResourceUnit);
    nodes_.Register(node);
    return id;
  }
  ActorPlacement::Choice Choose(const ActorSpec& spec) {
    return placement_.Choose(
        spec, nodes_, [this](const NodeId& node) { return suspects_.contains(node); }, random_());
  }
  ActorSpec Wanting(int64_t cpus) {
    ActorSpec spec;
    spec.id = ActorId::Random();
    spec.placement.Set("CPU", cpus * kResourceUnit);
    return spec;
  }
  NodeTable nodes_;
  std::set<NodeId> suspects_;
  std::mt19937_64 random_{1};
  ActorPlacement placement_;
  using Kind = ActorPlacement::Choice::Kind;
};

TEST_F(PlacementTest, ANodeThatHasItNowComesBeforeOneThatCouldLater) {
  Add(8, 0);
  const NodeId free = Add(2, 2);
  EXPECT_EQ(Choose(Wanting(2)).node, free);
}

TEST_F(PlacementTest, ABusyNodeIsTakenWhenNoOtherCouldEver) {
  const NodeId busy = Add(8, 0);
  Add(2, 2);
  EXPECT_EQ(Choose(Wanting(4)).node, busy);
}

TEST_F(PlacementTest, WhatFitsNowhereWaits) {
  Add(2, 2);
  EXPECT_EQ(Choose(Wanting(4)).kind, Kind::kWait);
}

TEST_F(PlacementTest, TheOwnersNodeIsPackedFirstAndSpreadLooksForTheLeastUsed) {
  const NodeId first = Add(8, 8), second = Add(8, 7);
  ActorSpec spec = Wanting(1);
  spec.owner.node = second;
  EXPECT_EQ(Choose(spec).node, second);
  spec.strategy = wire::SchedulingStrategy::Spread;
  EXPECT_EQ(Choose(spec).node, first);
}

TEST_F(PlacementTest, WhatWasSentCountsUntilItIsSettled) {
  const NodeId first = Add(1, 1), second = Add(1, 1);
  const ActorSpec a = Wanting(1), b = Wanting(1);
  const NodeId chosen = Choose(a).node;
  placement_.Sent(a.id, chosen, a.kind(), /*later=*/false);
  EXPECT_EQ(Choose(b).node, chosen == first ? second : first);
  placement_.Settled(a.id);
  std::set<NodeId> drawn;
  for (int i = 0; i < 100; ++i) drawn.insert(Choose(b).node);
  EXPECT_EQ(drawn, (std::set{first, second}));
}

TEST_F(PlacementTest, ASuspectNodeIsTakenWhenNoOtherHasRoom) {
  const NodeId suspect = Add(4, 4), other = Add(4, 1);
  suspects_ = {suspect};
  EXPECT_EQ(Choose(Wanting(1)).node, other);
  EXPECT_EQ(Choose(Wanting(4)).kind, Kind::kNode);
}

TEST_F(PlacementTest, WhoWaitsForRoomIsRecalledForANodeThatHasIt) {
  const NodeId busy = Add(4, 0), other = Add(4, 0);
  std::vector<ActorSpec> specs{Wanting(2), Wanting(2), Wanting(3)};
  for (const ActorSpec& spec : specs) {
    EXPECT_TRUE(Choose(spec).later);
    placement_.Sent(spec.id, busy, spec.kind(), /*later=*/true);
  }
  EXPECT_TRUE(placement_.RecallFor(*nodes_.Find(busy)).empty());
  EXPECT_TRUE(placement_.RecallFor(*nodes_.Find(other)).empty());
  nodes_.SetResources(other, Cpus(3), Cpus(4), 1);
  const auto recalls = placement_.RecallFor(*nodes_.Find(other));
  ASSERT_EQ(recalls.size(), 1u);
  EXPECT_EQ(recalls[0].actor, specs[0].id);
  EXPECT_EQ(recalls[0].from, busy);
  EXPECT_TRUE(placement_.RecallFor(*nodes_.Find(other)).empty()) << "its room is spoken for";
  placement_.Settled(specs[0].id);
  EXPECT_EQ(placement_.RecallFor(*nodes_.Find(other))[0].actor, specs[1].id);
}

TEST_F(PlacementTest, WhoWaitsAtTheNodeThatHasRoomIsNotLookedAt) {
  const NodeId busy = Add(4, 0), other = Add(4, 4);
  constexpr size_t kKinds = 3;
  for (size_t i = 0; i < 3000; ++i) {
    const ActorSpec spec = Wanting(1 + static_cast<int64_t>(i % kKinds));
    placement_.Sent(spec.id, busy, spec.kind(), /*later=*/true);
  }
  size_t looked_at = 0;
  nodes_.SetResources(busy, Cpus(4), Cpus(4), 1);
  EXPECT_TRUE(placement_.RecallFor(*nodes_.Find(busy), &looked_at).empty());
  EXPECT_LE(looked_at, kKinds);
  const size_t recalled = placement_.RecallFor(*nodes_.Find(other), &looked_at).size();
  EXPECT_GT(recalled, 0u);
  EXPECT_LE(looked_at, recalled + kKinds);
}

TEST_F(PlacementTest, WhoseAffinityKeepsItAtItsNodeIsNotRecalled) {
  const NodeId busy = Add(4, 0), other = Add(4, 4);
  for (const bool soft : {false, true}) {
    ActorSpec spec = Wanting(1);
    spec.strategy = wire::SchedulingStrategy::NodeAffinity;
    spec.affinity_node = busy;
    spec.affinity_soft = soft;
    placement_.Sent(spec.id, busy, spec.kind(), /*later=*/true);
    EXPECT_TRUE(placement_.RecallFor(*nodes_.Find(other)).empty());
  }
}

TEST(PlacementLine, OneOfAKindThatFindsNoRoomSparesTheLookAtTheOthers) {
  PlacementLine line;
  std::vector<ActorId> actors;
  for (int i = 0; i < 5000; ++i) {
    actors.push_back(NewActorId());
    line.Add(actors.back(), {.demand = Cpus(1 + i % 5)});
  }
  EXPECT_EQ(line.All(), actors);
  EXPECT_EQ(line.Visit([](const ActorId&) { return false; }), 5u);
  // Room for three of the oldest kind and none of the others.
  std::vector<ActorId> placed;
  const size_t visited = line.Visit([&](const ActorId& actor) {
    const auto at = std::find(actors.begin(), actors.end(), actor) - actors.begin();
    if (at % 5 != 0 || placed.size() == 3) return false;
    placed.push_back(actor);
    return line.Remove(actor);
  });
  EXPECT_EQ(placed, (std::vector{actors[0], actors[5], actors[10]}));
  EXPECT_EQ(visited, 8u);
  EXPECT_EQ(line.size(), 4997u);
}

TEST_F(PlacementTest, AHardAffinityToADeadNodeNeverHoldsAndASoftOneGivesWay) {
  const NodeId dead = Add(4, 4), living = Add(4, 4);
  nodes_.Kill(dead, "gone");
  ActorSpec spec = Wanting(1);
  spec.strategy = wire::SchedulingStrategy::NodeAffinity;
  spec.affinity_node = dead;
  EXPECT_EQ(Choose(spec).kind, Kind::kNever);
  spec.affinity_soft = true;
  EXPECT_EQ(Choose(spec).node, living);
  spec.affinity_node = living;
  EXPECT_EQ(Choose(spec).node, living);
}

TEST(CallLog, RepliesAreKeptForAWhile) {
  CallLog log;
  const CallId first = CallId::Random(), second = CallId::Random();
  EXPECT_TRUE(log.Add(first, CallLog::MakeEntry(wire::Bytes{1}), 0).empty());
  ASSERT_NE(log.Find(first), nullptr);
  EXPECT_EQ(log.Find(first)->AsResult().value(), wire::Bytes{1});
  EXPECT_EQ(log.Add(second, CallLog::MakeEntry(Fail(StatusCode::kNotFound, "no")), 1'000'000),
            std::vector{first});
  EXPECT_EQ(log.Find(second)->AsResult().error().message(), "no");
}

TEST(CallLog, ACallThatWasUndoneIsForgotten) {
  CallLog log;
  const CallId id = CallId::Random();
  log.Add(id, CallLog::MakeEntry(wire::Bytes{1}), 1000);
  log.Remove(id);
  EXPECT_EQ(log.Find(id), nullptr);
  EXPECT_EQ(log.size(), 0u);
  log.Remove(id);
}

}  // namespace
}  // namespace cyray::gcs
