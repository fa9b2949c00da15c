// Nodes, jobs and actors together, on the service without its port: messages that nobody should
// send, and events in an order that nobody planned.

#include <gtest/gtest.h>

#include <algorithm>

#include "cpp_tests/gcs/memory_storage.h"
#include "cpp_tests/gcs/service_fixture.h"
#include "cyray/sim/virtual_runtime.h"
#include "cyray/sim/virtual_time.h"

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
  void JoinAs(const NodeId& node, StreamId stream) {
    ASSERT_TRUE(gcs_.Call(GcsMethod::RegisterNode, RegisterNodePayload(node, Cpus(4))));
    HelloAs(node, stream, {});
  }
  void HelloAs(const NodeId& node, StreamId stream, const std::vector<WorkerId>& processes,
               const std::vector<Address>& deaths = {}) {
    flatbuffers::FlatBufferBuilder builder;
    std::vector<wire::WireWorkerId> here;
    for (const WorkerId& process : processes) here.push_back(*wire::ToWire(process));
    const auto list = builder.CreateVectorOfStructs(here);
    std::vector<flatbuffers::Offset<wire::ReportWorkerDeathRequest>> gone;
    for (const Address& dead : deaths) {
      gone.push_back(wire::CreateReportWorkerDeathRequest(builder, wire::ToWire(dead)));
    }
    const auto dead = builder.CreateVector(gone);
    gcs_.StreamMessage(
        stream,
        FinishReport(builder, wire::CreateNodeHello(builder, wire::ToWire(node), 0, list, dead)));
    ASSERT_TRUE(gcs_.accepted.contains(stream));
    gcs_.Call(GcsMethod::ListNodes, {});  // whatever it changed is on disk, and out
  }
  void ReportFree(StreamId stream, int64_t cpus) {
    flatbuffers::FlatBufferBuilder builder;
    const auto available = wire::ToWire(builder, Cpus(cpus));
    const auto total = wire::ToWire(builder, Cpus(4));
    gcs_.StreamMessage(
        stream, FinishReport(builder, wire::CreateResourceReport(builder, available, total)));
  }
  void SayWaits(StreamId stream, const std::vector<ActorId>& actors) {
    flatbuffers::FlatBufferBuilder builder;
    std::vector<flatbuffers::Offset<wire::ActorLife>> lives;
    for (const ActorId& actor : actors) {
      lives.push_back(wire::CreateActorLife(builder, wire::ToWire(actor), 0));
    }
    const auto waiting = builder.CreateVector(lives);
    gcs_.StreamMessage(stream, FinishReport(builder, wire::CreateActorsHere(builder, waiting)));
  }
  template <class Table>
  size_t SentOn(StreamId stream) const {
    return std::count_if(gcs_.sent.begin(), gcs_.sent.end(), [&](const auto& sent) {
      return sent.first == stream &&
             wire::VerifiedRoot<wire::NodeCommand>(sent.second)->template body_as<Table>() !=
                 nullptr;
    });
  }
  size_t StartsOn(StreamId stream) const { return SentOn<wire::StartActor>(stream); }
  size_t RecallsOn(StreamId stream) const { return SentOn<wire::RecallActor>(stream); }
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
  for (uint8_t type = 0; type < 10; ++type) {
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

// The report overtook the registration, which was sent again.
TEST_F(ClusterEventsTest, ADriverThatHasDiedGetsNoJob) {
  Join();
  ASSERT_TRUE(gcs_.Call(GcsMethod::ReportWorkerDeath, WorkerDeathPayload(driver_)));
  const auto job = gcs_.Call(GcsMethod::RegisterJob, RegisterJobPayload(driver_));
  ASSERT_FALSE(job);
  EXPECT_EQ(job.error().code(), StatusCode::kNotFound);
}

// What the GCS says of actors that it does not know, under virtual time.
class UnknownActorTest : public testing::Test {
 protected:
  static constexpr int64_t kSecond = 1'000'000'000;

  UnknownActorTest() {
    EXPECT_TRUE(service_.Load().ok());
    Call(GcsMethod::RegisterNode, RegisterNodePayload(driver_.node, Cpus(1)));
    flatbuffers::FlatBufferBuilder builder;
    const std::vector<wire::WireWorkerId> here{*wire::ToWire(driver_.worker)};
    const auto processes = builder.CreateVectorOfStructs(here);
    Report(FinishReport(builder,
                        wire::CreateNodeHello(builder, wire::ToWire(driver_.node), 0, processes)));
    Call(GcsMethod::RegisterJob, RegisterJobPayload(driver_));
  }
  void Call(GcsMethod method, wire::Bytes payload) {
    service_.OnCall(static_cast<uint16_t>(method), CallId::Random(), std::move(payload),
                    [](const Result<wire::Bytes>&) {});
    storage_.Sync();
  }
  void Report(const wire::Bytes& report) {
    service_.OnStreamMessage(kStream, report);
    storage_.Sync();
  }
  void Watch(const ActorId& actor) {
    flatbuffers::FlatBufferBuilder builder;
    Report(FinishReport(builder, wire::CreateWatchActor(builder, wire::ToWire(actor), true)));
  }
  // As it was said last; nothing: not a word.
  std::optional<State> StateOf(const ActorId& actor) const {
    std::optional<State> state;
    for (const wire::Bytes& message : sent_) {
      const auto* update = wire::VerifiedRoot<wire::NodeCommand>(message)->body_as_ActorUpdate();
      if (update != nullptr && wire::FromWire(*update->actor_id()) == actor) {
        state = update->state();
      }
    }
    return state;
  }
  void Pass(int64_t seconds) {  // the raylet says that it lives
    for (int64_t i = 0; i < seconds; ++i) {
      flatbuffers::FlatBufferBuilder builder;
      Report(FinishReport(builder, wire::CreateHeartbeat(builder, 1)));
      time_.RunFor(kSecond);
      storage_.Sync();
    }
  }

  sim::VirtualTime time_{1};
  sim::VirtualRuntime runtime_{&time_};
  MemoryDisk disk_;
  MemoryStorage storage_{&disk_};
  std::vector<wire::Bytes> sent_;
  GcsService service_{
      &runtime_, &storage_,
      StreamOutlets{
          .send = [this](StreamId, const wire::Bytes& message) { sent_.push_back(message); },
          .accept = [](StreamId) {},
          .close = [](StreamId, const Status&) {}},
      Membership::Timing{}};
  const Address driver_{NodeId::Random(), WorkerId::Random()};
};

TEST_F(UnknownActorTest, ItIsAwaitedWhileItsJobRuns) {
  const ActorId actor = NewActorId(1), never = NewActorId(1);
  Watch(actor);
  Watch(never);
  Pass(60);
  EXPECT_EQ(StateOf(actor), std::nullopt);
  Call(GcsMethod::RegisterActor, RegisterActorPayload(actor, {.owner = driver_}));
  EXPECT_EQ(StateOf(actor), State::PendingCreation);
  Pass(100);
  EXPECT_EQ(StateOf(actor), State::PendingCreation);
  EXPECT_EQ(StateOf(never), State::Dead);
}

TEST_F(UnknownActorTest, ItIsDeadSoonAfterTheEndOfItsJob) {
  const ActorId actor = NewActorId(1), other = NewActorId(2);
  Watch(actor);
  Watch(other);
  Pass(12);
  EXPECT_EQ(StateOf(actor), std::nullopt);
  EXPECT_EQ(StateOf(other), State::Dead) << "there is no such job";
  Call(GcsMethod::FinishJob, FinishJobPayload(JobOf(actor)));
  Pass(6);
  EXPECT_EQ(StateOf(actor), State::Dead);
}

TEST_F(UnknownActorTest, ItIsDeadAtOnceWhenItWasRefusedOrForgotten) {
  const ActorId refused = NewActorId(1);
  std::vector<ActorId> actors;
  Call(GcsMethod::RegisterActor,
       RegisterActorPayload(NewActorId(1), {.name = "taken", .owner = driver_}));
  Call(GcsMethod::RegisterActor,
       RegisterActorPayload(refused, {.name = "taken", .owner = driver_}));
  std::vector<wire::Bytes> registrations;
  for (size_t i = 0; i < 10'100; ++i) {  // more than are kept when they are dead
    actors.push_back(NewActorId(1));
    registrations.push_back(RegisterActorPayload(actors.back(), {.owner = driver_}));
  }
  Call(GcsMethod::ChangeActors, ChangeActorsPayload(registrations, {}));
  for (const ActorId& actor : actors) Call(GcsMethod::KillActor, KillPayload(actor, true, false));
  sent_.clear();
  Watch(refused);
  Watch(actors.front());
  EXPECT_EQ(StateOf(refused), State::Dead);
  EXPECT_EQ(StateOf(actors.front()), State::Dead);
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

// Stands for every raylet of a cluster whose nodes are busy, but for one.
TEST_F(ClusterEventsTest, AnActorThatWaitsAtABusyNodeMovesToOneThatHasRoom) {
  Join();
  const JobId job = RegisterJob();
  ReportFree(kStream, 0);
  const ActorId actor = ActorOf(job);
  EXPECT_EQ(StartsOn(kStream), 1u) << "no node has room: it waits at the one that could";
  const NodeId other = NodeId::Random();
  JoinAs(other, kStream + 1);
  ASSERT_TRUE(gcs_.RunUntil([&] { return RecallsOn(kStream) == 1; }));
  EXPECT_EQ(StartsOn(kStream + 1), 0u) << "it may have begun there by now";
  flatbuffers::FlatBufferBuilder builder;
  gcs_.StreamMessage(
      kStream, FinishReport(builder, wire::CreateActorGivenBack(builder, wire::ToWire(actor), 0)));
  ASSERT_TRUE(gcs_.RunUntil([&] { return StartsOn(kStream + 1) == 1; }));
  EXPECT_EQ(StartsOn(kStream), 1u);
}

// What had room when it was chosen may have been taken before the actor came there.
TEST_F(ClusterEventsTest, AnActorThatFoundNoRoomWhereItWasSentMovesToOneThatHasSome) {
  Join();
  const JobId job = RegisterJob();
  const ActorId actor = ActorOf(job);
  EXPECT_EQ(StartsOn(kStream), 1u) << "by what the node reported";
  JoinAs(NodeId::Random(), kStream + 1);
  ReportFree(kStream + 1, 4);
  EXPECT_EQ(RecallsOn(kStream), 0u) << "it is about to begin";
  SayWaits(kStream, {actor, NewActorId(1)});
  ASSERT_TRUE(gcs_.RunUntil([&] { return RecallsOn(kStream) == 1; }));
  SayWaits(kStream, {actor});
  gcs_.Call(GcsMethod::ListNodes, {});
  EXPECT_EQ(RecallsOn(kStream), 1u) << "once";
}

TEST_F(ClusterEventsTest, AnActorThatBeganThoughItWasRecalledTakesNoRoomElsewhere) {
  Join();
  const JobId job = RegisterJob();
  ReportFree(kStream, 0);
  const ActorId first = ActorOf(job), second = ActorOf(job);
  const NodeId other = NodeId::Random();
  ASSERT_TRUE(gcs_.Call(GcsMethod::RegisterNode, RegisterNodePayload(other, Cpus(1))));
  HelloAs(other, kStream + 1, {});
  EXPECT_EQ(RecallsOn(kStream), 1u) << "there is room for one";
  flatbuffers::FlatBufferBuilder builder;
  const auto life = wire::CreateActorLife(builder, wire::ToWire(first), 0);
  const auto begun = builder.CreateVector(&life, 1);
  gcs_.StreamMessage(kStream, FinishReport(builder, wire::CreateActorsHere(builder, 0, begun)));
  ASSERT_TRUE(gcs_.RunUntil([&] { return RecallsOn(kStream) == 2; }));
  EXPECT_NE(StateOf(second), State::Dead);
}

// What its disk says of a node is what that had when it registered.
TEST_F(ClusterEventsTest, AGcsThatIsStartedAgainRecallsNobodyToANodeThatHasNotReported) {
  Join();
  const JobId job = RegisterJob();
  const NodeId other = NodeId::Random();
  JoinAs(other, kStream + 1);
  ReportFree(kStream, 0);
  ReportFree(kStream + 1, 0);
  const ActorId actor = ActorOf(job);
  const bool waits_here = StartsOn(kStream) == 1;
  EXPECT_EQ(StartsOn(kStream) + StartsOn(kStream + 1), 1u);
  gcs_.Restart();
  gcs_.sent.clear();
  const StreamId its = kStream + (waits_here ? 2 : 3), free = kStream + (waits_here ? 3 : 2);
  HelloAs(node_, kStream + 2, {driver_.worker});
  HelloAs(other, kStream + 3, {});
  EXPECT_EQ(StartsOn(its), 1u) << "the order may have been lost with the stream";
  ReportFree(free, 0);
  gcs_.Call(GcsMethod::ListNodes, {});
  EXPECT_EQ(RecallsOn(its), 0u) << "it has no room";
  ReportFree(free, 1);
  ASSERT_TRUE(gcs_.RunUntil([&] { return RecallsOn(its) == 1; }));
  EXPECT_NE(StateOf(actor), State::Dead);
}

TEST_F(ClusterEventsTest, AHelloPutsRightWhatIsBelievedOfANode) {
  Join();
  const JobId job = RegisterJob();
  const ActorId owned = ActorOf(job, {.detached = false}),
                detached = ActorOf(job, {.detached = true});
  EXPECT_NE(StateOf(owned), State::Dead);
  gcs_.service().OnStreamClosed(kStream);
  HelloAs(node_, kStream + 1, {driver_.worker});
  EXPECT_NE(StateOf(owned), State::Dead) << "its owner is still there";
  gcs_.service().OnStreamClosed(kStream + 1);
  HelloAs(node_, kStream + 2, {WorkerId::Random()});
  EXPECT_EQ(StateOf(owned), State::Dead);
  EXPECT_NE(StateOf(detached), State::Dead);
  const auto jobs = gcs_.Call(GcsMethod::ListJobs, {});
  EXPECT_FALSE(wire::VerifiedRoot<wire::ListJobsReply>(*jobs)->jobs()->Get(0)->running());
}

TEST_F(ClusterEventsTest, TheEndOfAProcessIsToldToNoNode) {
  Join();
  JoinAs(NodeId::Random(), kStream + 1);
  gcs_.sent.clear();
  HelloAs(node_, kStream + 2, {driver_.worker}, {{node_, WorkerId::Random()}});
  ASSERT_TRUE(gcs_.Call(GcsMethod::ReportWorkerDeath, WorkerDeathPayload(driver_)));
  EXPECT_EQ(
      std::ranges::count_if(gcs_.sent, [](const auto& sent) { return sent.first == kStream + 1; }),
      0);
}

// A node that knows all changes and views up to there comes back.
TEST_F(ClusterEventsTest, WhoComesBackIsToldTheDifferenceAlsoByTheNextGcs) {
  Join();
  std::vector<NodeId> others;
  for (StreamId stream = 100; stream < 120; ++stream) {
    others.push_back(NodeId::Random());
    JoinAs(others.back(), stream);
  }
  RegisterJob();
  const auto registered = gcs_.Call(GcsMethod::RegisterNode, RegisterNodePayload(node_, Cpus(1)));
  const auto* state = wire::VerifiedRoot<wire::RegisterNodeReply>(*registered);
  EXPECT_EQ(state->nodes()->size(), 21u);
  EXPECT_EQ(state->jobs()->size(), 1u);
  const uint64_t change = state->change();
  const wire::ViewStamp views = *state->views();
  for (const bool restart : {false, true}) {
    if (restart) {
      gcs_.Restart();
    } else {
      gcs_.service().OnStreamClosed(kStream);
      ASSERT_TRUE(gcs_.Call(GcsMethod::NodeLeaves, NodeLeavesPayload(others[3])));
    }
    gcs_.sent.clear();
    flatbuffers::FlatBufferBuilder builder;
    const StreamId stream = restart ? kStream + 2 : kStream + 1;
    gcs_.StreamMessage(
        stream, FinishReport(builder, wire::CreateNodeHello(builder, wire::ToWire(node_), 0, 0, 0,
                                                            change, &views)));
    gcs_.Call(GcsMethod::ListNodes, {});
    EXPECT_EQ(SentOn<wire::NodeChanged>(stream), 1u) << "the one that left";
    EXPECT_EQ(SentOn<wire::JobChanged>(stream), 0u);
    EXPECT_EQ(SentOn<wire::ResourceViews>(stream), 0u);
  }
}

// The newest change was of a node that is forgotten, so it is nowhere on disk.
TEST(ForgetfulGcs, ANumberThatANodeKnowsIsGivenToNothingElse) {
  constexpr StreamId kFirst = 1, kSecond = 2;
  const TemporaryFolder folder;
  ServiceFixture gcs(folder.path() + "/gcs.sqlite",
                     {.silence_ms = 3'600'000, .reconnect_ms = 3'600'000},
                     {.dead_nodes = 0, .finished_jobs = 1});
  const NodeId node = NodeId::Random(), gone = NodeId::Random(), joins = NodeId::Random();
  for (const NodeId& one : {node, gone}) {
    ASSERT_TRUE(gcs.Call(GcsMethod::RegisterNode, RegisterNodePayload(one, Cpus(1))));
  }
  ASSERT_TRUE(gcs.Call(GcsMethod::NodeLeaves, NodeLeavesPayload(gone)));
  const auto state = gcs.Call(GcsMethod::RegisterNode, RegisterNodePayload(node, Cpus(1)));
  const uint64_t known = wire::VerifiedRoot<wire::RegisterNodeReply>(*state)->change();
  const auto hello = [&](StreamId stream) {
    flatbuffers::FlatBufferBuilder builder;
    gcs.StreamMessage(
        stream,
        FinishReport(builder, wire::CreateNodeHello(builder, wire::ToWire(node), 0, 0, 0, known)));
    gcs.Call(GcsMethod::ListNodes, {});
    return std::ranges::count_if(gcs.sent, [stream](const auto& sent) {
      return sent.first == stream &&
             wire::VerifiedRoot<wire::NodeCommand>(sent.second)->body_as_NodeChanged() != nullptr;
    });
  };
  EXPECT_EQ(hello(kFirst), 0);
  gcs.Restart();
  ASSERT_TRUE(gcs.Call(GcsMethod::RegisterNode, RegisterNodePayload(joins, Cpus(1))));
  EXPECT_EQ(hello(kSecond), 1) << "it has not heard of the one that joined";
}

TEST(ForgetfulGcs, WhatAProcessOfAForgottenNodeRegistersLateIsDead) {
  const TemporaryFolder folder;
  ServiceFixture gcs(folder.path() + "/gcs.sqlite", {.silence_ms = 3'600'000},
                     {.dead_nodes = 0, .finished_jobs = 1});
  const NodeId node = NodeId::Random();
  const Address driver{node, WorkerId::Random()};
  ASSERT_TRUE(gcs.Call(GcsMethod::RegisterNode, RegisterNodePayload(node, Cpus(1))));
  ASSERT_TRUE(gcs.Call(GcsMethod::NodeLeaves, NodeLeavesPayload(node)));
  EXPECT_FALSE(gcs.Call(GcsMethod::RegisterJob, RegisterJobPayload(driver)));
  ASSERT_TRUE(
      gcs.Call(GcsMethod::RegisterActor, RegisterActorPayload(NewActorId(1), {.owner = driver})));
  const Result<wire::Bytes> reply = gcs.Call(GcsMethod::ListActors, {});
  const auto* actors = wire::VerifiedRoot<wire::ListActorsReply>(*reply)->actors();
  ASSERT_EQ(actors->size(), 1u);
  EXPECT_EQ(actors->Get(0)->update()->state(), State::Dead);
}

// More nodes and jobs than the GCS remembers ended while it was away.
TEST_F(ClusterEventsTest, WhoComesBackLearnsWhoIsLeftHoweverManyEnded) {
  Join();
  const NodeId neighbour = NodeId::Random();
  JoinAs(neighbour, kStream + 1);
  std::vector<NodeId> nodes;
  std::vector<JobId> jobs;
  for (int i = 0; i < 120; ++i) {
    nodes.push_back(NodeId::Random());
    ASSERT_TRUE(gcs_.Call(GcsMethod::RegisterNode, RegisterNodePayload(nodes.back(), Cpus(1))));
  }
  const auto registered = gcs_.Call(GcsMethod::RegisterNode, RegisterNodePayload(node_, Cpus(1)));
  const uint64_t change = wire::VerifiedRoot<wire::RegisterNodeReply>(*registered)->change();
  gcs_.service().OnStreamClosed(kStream);
  for (const NodeId& node : nodes) {
    ASSERT_TRUE(gcs_.Call(GcsMethod::NodeLeaves, NodeLeavesPayload(node)));
  }
  for (int i = 0; i < 1'100; ++i) jobs.push_back(RegisterJob());
  const JobId runs = jobs.back();
  jobs.pop_back();
  for (const JobId& job : jobs) ASSERT_TRUE(gcs_.Call(GcsMethod::FinishJob, FinishJobPayload(job)));
  gcs_.sent.clear();
  flatbuffers::FlatBufferBuilder builder;
  const std::vector<wire::WireWorkerId> here{*wire::ToWire(driver_.worker)};
  const auto list = builder.CreateVectorOfStructs(here);
  const StreamId stream = kStream + 2;
  gcs_.StreamMessage(
      stream, FinishReport(builder, wire::CreateNodeHello(builder, wire::ToWire(node_), 0, list, 0,
                                                          change)));
  gcs_.Call(GcsMethod::ListNodes, {});
  EXPECT_EQ(SentOn<wire::NodeChanged>(stream), 100u) << "with their reasons, as far as is known";
  ASSERT_EQ(SentOn<wire::Census>(stream), 1u);
  std::set<NodeId> living;
  for (const auto& [to, message] : gcs_.sent) {
    const auto* census = wire::VerifiedRoot<wire::NodeCommand>(message)->body_as_Census();
    if (to != stream || census == nullptr) continue;
    for (const auto* node : *census->nodes()) living.insert(wire::FromWire(*node));
    ASSERT_EQ(census->jobs()->size(), 1u);
    EXPECT_EQ(wire::FromWire(*census->jobs()->Get(0)), runs);
  }
  EXPECT_EQ(living, (std::set{node_, neighbour}));
}

TEST_F(ClusterEventsTest, ViewsOfResourcesAreMadeOnceForAllNodes) {
  constexpr StreamId kNodes = 50;
  for (StreamId stream = 100; stream < 100 + kNodes; ++stream) JoinAs(NodeId::Random(), stream);
  gcs_.sent.clear();
  for (StreamId stream = 100; stream < 100 + kNodes; ++stream) ReportFree(stream, 1);
  for (StreamId stream = 100; stream < 100 + kNodes; ++stream) ReportFree(stream, 2);
  std::set<StreamId> complete;
  std::map<StreamId, size_t> messages;
  ASSERT_TRUE(gcs_.RunUntil([&] {
    for (const auto& [stream, message] : std::exchange(gcs_.sent, {})) {
      const auto* views = wire::VerifiedRoot<wire::NodeCommand>(message)->body_as_ResourceViews();
      if (views == nullptr) continue;
      ++messages[stream];
      if (views->nodes()->size() == kNodes) complete.insert(stream);
    }
    return complete.size() == kNodes;
  }));
  for (const auto& [stream, count] : messages) EXPECT_LE(count, 3u) << stream;
}

}  // namespace
}  // namespace cyray::gcs
