// Tests of what waits in the GCS: actors that no node can take, and detached ones of ended jobs.

#include "cyray/gcs/placement_watch.h"

#include <gtest/gtest.h>

#include "cpp_tests/gcs/service_fixture.h"
#include "cyray/sim/virtual_runtime.h"

namespace cyray::gcs {
namespace {

using wire::GcsMethod;

constexpr StreamId kHere = 7;
constexpr StreamId kThere = 8;

class WaitingActorsTest : public testing::Test {
 protected:
  WaitingActorsTest() {
    Join(node_, kHere, 2);
    const auto reply = gcs_.Call(GcsMethod::RegisterJob, RegisterJobPayload(driver_));
    job_ = wire::FromWire(*wire::VerifiedRoot<wire::RegisterJobReply>(*reply)->job_id());
  }
  void Join(const NodeId& node, StreamId stream, int64_t cpus) {
    ASSERT_TRUE(gcs_.Call(GcsMethod::RegisterNode, RegisterNodePayload(node, Cpus(cpus))));
    flatbuffers::FlatBufferBuilder builder;
    gcs_.StreamMessage(stream,
                       FinishReport(builder, wire::CreateNodeHello(builder, wire::ToWire(node))));
  }
  ActorId AddActor(int64_t cpus, bool detached = false) {
    uint32_t number;
    std::memcpy(&number, job_.data(), sizeof number);
    const ActorId id = NewActorId(number);
    EXPECT_TRUE(gcs_.Call(
        GcsMethod::RegisterActor,
        RegisterActorPayload(id, {.detached = detached, .cpus = cpus, .owner = driver_})));
    return id;
  }
  std::vector<std::string> Warnings() const {
    std::vector<std::string> texts;
    for (const auto& [stream, message] : gcs_.sent) {
      const auto* warning = wire::VerifiedRoot<wire::NodeCommand>(message)->body_as_JobWarning();
      if (warning == nullptr) continue;
      EXPECT_EQ(stream, kHere);
      EXPECT_EQ(wire::FromWireOrNil(warning->job_id()), job_);
      texts.push_back(flatbuffers::GetString(warning->text()));
    }
    return texts;
  }
  const wire::ListNodesReply* ListNodes() {
    reply_ = *gcs_.Call(GcsMethod::ListNodes, {});
    return wire::VerifiedRoot<wire::ListNodesReply>(reply_);
  }

  TemporaryFolder folder_;
  ServiceFixture gcs_{folder_.path() + "/gcs.sqlite"};
  const NodeId node_ = NodeId::Random();
  const Address driver_{node_, WorkerId::Random()};
  JobId job_;
  wire::Bytes reply_;
};

// docs/guide.md says so.
TEST(PlacementWatch, TellsWithinASecondAndNotOfWhatIsPlacedInAMoment) {
  constexpr int64_t kMs = 1'000'000;
  sim::VirtualTime time(1);
  sim::VirtualRuntime runtime(&time);
  ActorTable actors;
  const NodeTable nodes;
  size_t told = 0;
  PlacementWatch watch(&runtime, &actors, &nodes,
                       [&](const JobId&, const std::string&) { ++told; });
  for (int64_t later_ms = 0; later_ms < 1000; later_ms += 50) {
    SCOPED_TRACE(later_ms);
    ActorSpec spec{.id = NewActorId(), .placement = Cpus(8)};
    ASSERT_TRUE(actors.Register(std::move(spec)).has_value());
    watch.Nudge();
    const size_t before = told;
    time.RunFor(450 * kMs);
    EXPECT_EQ(told, before);
    time.RunFor(551 * kMs);
    EXPECT_EQ(told, before + 1);
    time.RunFor(later_ms * kMs);  // another phase of the looks
  }
}

TEST_F(WaitingActorsTest, ADriverIsToldOnceOfAnActorThatNoNodeCanTake) {
  AddActor(8);
  ASSERT_TRUE(gcs_.RunUntil([&] { return !Warnings().empty(); }));
  EXPECT_EQ(Warnings()[0],
            "An actor of class Counter cannot be scheduled: it needs {CPU: 8}, the cluster's nodes "
            "have {CPU: 2}. It waits until a node that has enough joins.");
  AddActor(16);
  ASSERT_TRUE(gcs_.RunUntil([&] { return Warnings().size() > 1; }));
  EXPECT_EQ(Warnings().size(), 2u) << "the first is not told of again";
}

TEST_F(WaitingActorsTest, WhoWatchesAnActorIsToldWhatItWaitsFor) {
  const auto waits = [this](const ActorId& id) {
    std::string last = "nothing was told";
    for (const auto& [stream, message] : gcs_.sent) {
      const auto* update = wire::VerifiedRoot<wire::NodeCommand>(message)->body_as_ActorUpdate();
      if (update == nullptr || wire::FromWireOrNil(update->actor_id()) != id) continue;
      last = flatbuffers::GetString(update->waits());
    }
    return last;
  };
  const auto watched = [this](int64_t cpus) {
    const ActorId id = AddActor(cpus);
    flatbuffers::FlatBufferBuilder builder;
    gcs_.StreamMessage(
        kHere, FinishReport(builder, wire::CreateWatchActor(builder, wire::ToWire(id), true)));
    return id;
  };
  const ActorId small = watched(1);
  EXPECT_TRUE(waits(small).starts_with("which is to start on node " + node_.Hex())) << waits(small);
  const ActorId large = watched(8);
  EXPECT_EQ(waits(large), "which no node can take: it needs {CPU: 8}");
  const NodeId other = NodeId::Random();
  Join(other, kThere, 8);
  ASSERT_TRUE(gcs_.RunUntil([&] { return waits(large).find(other.Hex()) != std::string::npos; }));
}

TEST_F(WaitingActorsTest, WhatWaitsIsListedUntilANodeTakesIt) {
  AddActor(8);
  AddActor(8);
  AddActor(1);  // has a node
  const auto* waiting = ListNodes()->pending_actors();
  ASSERT_NE(waiting, nullptr);
  ASSERT_EQ(waiting->size(), 1u);
  EXPECT_EQ(waiting->Get(0)->count(), 2u);
  EXPECT_EQ(wire::FromWire(waiting->Get(0)->demand()), Cpus(8));
  Join(NodeId::Random(), kThere, 8);
  EXPECT_EQ(ListNodes()->pending_actors(), nullptr);
}

TEST_F(WaitingActorsTest, WhatWaitsAtARayletIsListedWithItsNode) {
  flatbuffers::FlatBufferBuilder builder;
  const auto amounts = wire::ToWire(builder, Cpus(1));
  const auto pending = WritePending(builder, {{Cpus(3), 5}});
  gcs_.StreamMessage(
      kHere, FinishReport(builder, wire::CreateResourceReport(builder, amounts, amounts, pending)));
  const auto* node = ListNodes()->nodes()->Get(0);
  ASSERT_NE(node->pending(), nullptr);
  EXPECT_EQ(ReadPending(node->pending()), (std::map<ResourceSet, uint32_t>{{Cpus(3), 5}}));
}

TEST_F(WaitingActorsTest, ANodeHearsOfAnEndedJobBeforeItsDetachedActorStartsThere) {
  const ActorId actor = AddActor(8, /*detached=*/true);
  ASSERT_TRUE(gcs_.Call(GcsMethod::FinishJob, FinishJobPayload(job_)));
  gcs_.sent.clear();
  Join(NodeId::Random(), kThere, 8);
  const wire::NodeCommand* before = nullptr;
  for (const auto& [stream, message] : gcs_.sent) {
    if (stream != kThere) continue;
    const auto* command = wire::VerifiedRoot<wire::NodeCommand>(message);
    if (const auto* start = command->body_as_StartActor()) {
      EXPECT_EQ(wire::FromWireOrNil(start->actor_id()), actor);
      ASSERT_NE(before, nullptr);
      const auto* change = before->body_as_JobChanged();
      ASSERT_NE(change, nullptr) << "directly before, however long ago the job ended";
      EXPECT_FALSE(change->job()->running());
      return;
    }
    before = command;
  }
  FAIL() << "it was not started";
}

}  // namespace
}  // namespace cyray::gcs
