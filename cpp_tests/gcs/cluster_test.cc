// Nodes, jobs and actors together, on the service without its port: messages that nobody should
// send, and events in an order that nobody planned.

#include <gtest/gtest.h>

#include <algorithm>

#include "cpp_tests/gcs/service_fixture.h"

namespace cyray::gcs {
namespace {

using wire::GcsMethod;
using State = wire::ActorState;

constexpr StreamId kStream = 7;

class ClusterEventsTest : public testing::Test {
 protected:
  void Join() {
    ASSERT_TRUE(gcs_.Call(GcsMethod::RegisterNode, RegisterNodePayload(node_, Cpus(1))));
    flatbuffers::FlatBufferBuilder builder;
    gcs_.StreamMessage(kStream,
                       FinishReport(builder, wire::CreateNodeHello(builder, wire::ToWire(node_))));
    ASSERT_TRUE(gcs_.accepted.contains(kStream));
  }
  JobId RegisterJob() {
    const auto reply = gcs_.Call(GcsMethod::RegisterJob, RegisterJobPayload(driver_));
    return wire::FromWire(*wire::VerifiedRoot<wire::RegisterJobReply>(*reply)->job_id());
  }
  ActorId ActorOf(const JobId& job, ActorOptions options = {}) {
    uint32_t number;
    std::memcpy(&number, job.data(), sizeof number);
    const ActorId id = NewActorId(number);
    options.owner = driver_;
    EXPECT_TRUE(gcs_.Call(GcsMethod::RegisterActor, RegisterActorPayload(id, options)));
    return id;
  }
  State StateOf(const ActorId& id) {
    const Result<wire::Bytes> reply = gcs_.Call(GcsMethod::ListActors, {});
    for (const auto* actor : *wire::VerifiedRoot<wire::ListActorsReply>(*reply)->actors()) {
      if (wire::FromWire(*actor->update()->actor_id()) == id) return actor->update()->state();
    }
    return State::DependenciesUnready;
  }
  size_t Rows(Storage::Kind kind) {
    size_t rows = 0;
    gcs_.Stop();
    EventLoop loop;
    const auto storage = *SqliteStorage::Open(database_, &loop);
    EXPECT_TRUE(storage->Load(kind, [&](std::string_view, const wire::Bytes&) { ++rows; }).ok());
    return rows;
  }

  TemporaryFolder folder_;
  const std::string database_ = folder_.path() + "/gcs.sqlite";
  ServiceFixture gcs_{database_};
  const NodeId node_ = NodeId::Random();
  const Address driver_{node_, WorkerId::Random()};
};

TEST_F(ClusterEventsTest, AReportWithATypeAndNoTableEndsItsStreamAndNothingElse) {
  for (uint8_t type = 0; type < 9; ++type) {
    gcs_.closed.clear();
    Join();
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(wire::CreateNodeReport(builder, static_cast<wire::NodeReportBody>(type)));
    const wire::Bytes report = wire::FinishedBytes(builder);
    ASSERT_NE(wire::VerifiedRoot<wire::NodeReport>(report), nullptr);
    gcs_.StreamMessage(kStream, report);
    EXPECT_EQ(gcs_.closed, std::set{kStream});
  }
}

TEST_F(ClusterEventsTest, AnActorThatIsRegisteredAfterTheEndOfItsJobDies) {
  Join();
  const JobId job = RegisterJob();
  ASSERT_TRUE(gcs_.Call(GcsMethod::FinishJob, FinishJobPayload(job)));
  EXPECT_EQ(StateOf(ActorOf(job)), State::Dead);
}

TEST_F(ClusterEventsTest, AnActorThatIsRegisteredAfterTheDeathOfItsOwnerDies) {
  Join();
  ASSERT_TRUE(gcs_.Call(GcsMethod::ReportWorkerDeath, WorkerDeathPayload(driver_)));
  EXPECT_EQ(StateOf(ActorOf(JobId::Random())), State::Dead);
  EXPECT_NE(StateOf(ActorOf(JobId::Random(), {.detached = true})), State::Dead);
}

TEST_F(ClusterEventsTest, AFunctionOfAJobThatHasEndedIsNotKept) {
  Join();
  const JobId job = RegisterJob();
  ASSERT_TRUE(gcs_.Call(GcsMethod::FinishJob, FinishJobPayload(job)));
  EXPECT_FALSE(
      gcs_.Call(GcsMethod::PutFunction, PutFunctionPayload(job, FunctionId::Random(), "code")));
  EXPECT_EQ(Rows(Storage::Kind::kFunction), 0u);
}

TEST(ClusterEvents, ADriverOfADeadNodeGetsNoJob) {
  TemporaryFolder folder;
  ServiceFixture gcs(folder.path() + "/gcs.sqlite", {.first_stream_ms = 1, .tick_ms = 1});
  const NodeId node = NodeId::Random();
  ASSERT_TRUE(gcs.Call(GcsMethod::RegisterNode, RegisterNodePayload(node, Cpus(1))));
  ASSERT_TRUE(gcs.RunUntil([&] {
    const auto nodes = gcs.Call(GcsMethod::ListNodes, {});
    return !wire::VerifiedRoot<wire::ListNodesReply>(*nodes)->nodes()->Get(0)->alive();
  }));
  const auto job = gcs.Call(GcsMethod::RegisterJob, RegisterJobPayload({node, WorkerId::Random()}));
  ASSERT_FALSE(job);
  EXPECT_EQ(job.error().code(), StatusCode::kNotFound);
}

// More than the GCS keeps of the dead end in one event.
TEST_F(ClusterEventsTest, WhoeverWatchesOneOfVeryManyActorsThatDieAtOnceIsTold) {
  Join();
  const JobId job = RegisterJob();
  constexpr size_t kMany = 10'500;
  std::set<ActorId> watched;
  for (size_t i = 0; i < kMany; ++i) {
    uint32_t number;
    std::memcpy(&number, job.data(), sizeof number);
    const ActorId id = NewActorId(number);
    gcs_.service().OnCall(static_cast<uint16_t>(GcsMethod::RegisterActor), CallId::Random(),
                          RegisterActorPayload(id, {.owner = driver_}),
                          [](const Result<wire::Bytes>& reply) { EXPECT_TRUE(reply.has_value()); });
    if (i % 100 != 0) continue;
    flatbuffers::FlatBufferBuilder builder;
    gcs_.StreamMessage(
        kStream, FinishReport(builder, wire::CreateWatchActor(builder, wire::ToWire(id), true)));
    watched.insert(id);
  }
  gcs_.sent.clear();
  ASSERT_TRUE(gcs_.Call(GcsMethod::FinishJob, FinishJobPayload(job)));
  for (const auto& [stream, message] : gcs_.sent) {
    const auto* update = wire::VerifiedRoot<wire::NodeCommand>(message)->body_as_ActorUpdate();
    if (update != nullptr && update->state() == State::Dead) {
      watched.erase(wire::FromWire(*update->actor_id()));
    }
  }
  EXPECT_EQ(watched.size(), 0u);
  EXPECT_EQ(Rows(Storage::Kind::kActorSpec), 0u);
}

}  // namespace
}  // namespace cyray::gcs
