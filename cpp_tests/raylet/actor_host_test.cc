// Tests of ActorHost with a real GCS and played workers: an actor from its registration to its end.

#include "cyray/raylet/actor_host.h"

#include "cpp_tests/raylet/gcs_fake.h"

namespace cyray::raylet {
namespace {

using wire::ActorState;
using wire::FrameType;
using wire::ToWire;

struct ActorNode : WorkerNode {
  ActorNode(EventLoop* loop, ProcessSupervisor* supervisor)
      : WorkerNode(loop, supervisor),
        bridge(loop, &options, &clients,
               {[this](const wire::NodeCommand& command) { OnCommand(command); },
                [this] {
                  flatbuffers::FlatBufferBuilder builder;
                  const auto alive = builder.CreateVector(actors.WriteAlive(builder));
                  const auto starting = builder.CreateVector(actors.WriteStarting(builder));
                  return gcs::FinishReport(
                      builder, wire::CreateNodeHello(builder, ToWire(options.node_id), alive, 0, 0,
                                                     0, nullptr, starting));
                },
                [](const Status&) {},
                [this] {
                  actors.TellAgain();
                  up = true;
                },
                [] { return wire::Bytes{}; }}),
        leases({loop, &options, &lease_outbox, &workers},
               {[this](const LeaseGrant& grant) { actors.OnGrant(grant); },
                [this](const RequestKey& key, const std::string& error) {
                  actors.OnRefused(key, error);
                },
                [] {}}),
        actor_outbox(&clients, &bridge),
        actors({loop, &options, &actor_outbox, &leases, &workers}) {
    on_idle = [this] { leases.Touch(); };
    on_died = [this](const DeadWorker& dead) {
      leases.OnProcessDied(dead.id, dead.reason);
      actors.OnWorkerDied(dead);
    };
    at_round_end = [this] { leases.ScheduleIfTouched(); };
    on_frame = [this](ClientConnection& client, wire::Frame& frame) {
      if (frame.type == FrameType::kActorReady) {
        return actors.OnActorReady(client.worker(), client.pid, frame.As<wire::ActorReady>());
      }
      if (frame.type == FrameType::kWorkerStays) {
        actors.OnWorkerStays(client.worker());
        workers.OnStays(client.worker());
        return true;
      }
      return bridge.OnSubscribeActor(client, frame.As<wire::SubscribeActor>());
    };
  }
  void OnCommand(const wire::NodeCommand& command) {
    if (const auto* start = command.body_as_StartActor()) actors.OnStartActor(*start);
    if (const auto* stop = command.body_as_StopActor()) actors.OnStopActor(*stop);
    if (const auto* recall = command.body_as_RecallActor()) actors.OnRecallActor(*recall);
  }
  bool up = false;
  GcsBridge bridge;
  LeaseService leases;
  RayletActorOutbox actor_outbox;
  ActorHost actors;
};

class ActorHostTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { ProcessSupervisor::BlockSignals(); }
  ActorHostTest() {
    supervisor_.set_on_orphan_exit(
        [this](pid_t pid, int status) { node_.shell.OnOrphanExited(pid, status); });
    driver_ = node_.AddDriver(job_);
    node_.workers.Start();
    node_.zygote.AwaitStart();
    JoinCluster(node_, node_.bridge, gcs_.address(), node_.up);
  }
  void Call(wire::GcsMethod method, const flatbuffers::FlatBufferBuilder& builder) {
    bool done = false;
    node_.bridge.Call(method, builder, [&](Result<wire::Bytes> reply) {
      EXPECT_TRUE(reply.has_value());
      done = true;
    });
    ASSERT_TRUE(node_.Until([&] { return done; }));
  }
  // An actor of the driver's job, which the driver watches.
  void Register(int max_restarts = 0, int64_t cpus = 0) {
    ResourceSet held;
    held.Set("CPU", cpus * kResourceUnit);
    std::memcpy(actor_.bytes.data() + ActorId::kSize - JobId::kSize, job_.data(), JobId::kSize);
    flatbuffers::FlatBufferBuilder builder;
    const Address owner = node_.jobs.Find(job_)->driver;
    const auto name = builder.CreateString("Counter");
    const auto placement = wire::ToWire(builder, held);
    const auto kept = wire::ToWire(builder, held);
    const auto spec = builder.CreateVector(std::vector<uint8_t>{1, 2, 3});
    wire::RegisterActorRequestBuilder request(builder);
    request.add_actor_id(ToWire(actor_));
    request.add_owner(ToWire(owner));
    request.add_class_name(name);
    request.add_placement(placement);
    request.add_held(kept);
    request.add_max_restarts(max_restarts);
    request.add_spec(spec);
    builder.Finish(request.Finish());
    Call(wire::GcsMethod::RegisterActor, builder);
    driver_->Send(FrameType::kSubscribeActor, [&](auto& subscribe) {
      return wire::CreateSubscribeActor(subscribe, ToWire(actor_), true);
    });
  }
  void Kill() {
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(wire::CreateKillActorRequest(builder, ToWire(actor_), true));
    Call(wire::GcsMethod::KillActor, builder);
  }
  void Recall(uint32_t incarnation) {
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(wire::CreateRecallActor(builder, ToWire(actor_), incarnation));
    node_.actors.OnRecallActor(
        *flatbuffers::GetRoot<wire::RecallActor>(builder.GetBufferPointer()));
  }
  void StartGcsAgain() {
    node_.up = false;
    gcs_.Start();
    ASSERT_TRUE(node_.Until([&] { return node_.up; }));
  }
  // The worker that becomes the actor, once it was told so.
  WorkerNode::Worker AwaitActorsWorker(uint32_t incarnation = 0) {
    auto worker = node_.AwaitWorker();
    const auto assigned = node_.Await(*worker.process, FrameType::kAssignActor);
    EXPECT_TRUE(assigned);
    if (assigned) {
      const auto* assign = assigned->As<wire::AssignActor>();
      EXPECT_EQ(wire::FromWireOrNil(assign->actor_id()), actor_);
      EXPECT_EQ(assign->incarnation(), incarnation);
      EXPECT_EQ(wire::BytesOrEmpty(assign->spec()), (wire::Bytes{1, 2, 3}));
    }
    return worker;
  }
  void SayReady(const WorkerNode::Worker& worker, bool ok = true, uint32_t incarnation = 0) {
    worker.process->Send(FrameType::kActorReady, [&](auto& builder) {
      const auto error = builder.CreateVector(std::vector<uint8_t>{7});
      return wire::CreateActorReady(builder, ToWire(actor_), incarnation, ok, ok ? 0 : error);
    });
  }
  static void SayStays(const WorkerNode::Worker& worker) {
    worker.process->Send(FrameType::kWorkerStays,
                         [](auto& builder) { return wire::CreateWorkerStays(builder); });
  }
  // An idle worker that has served a lease of the job.
  WorkerNode::Worker AddUsedWorker() {
    node_.workers.Ensure({{WorkerUse{job_, {}}, 1}});
    auto worker = node_.AwaitWorker();
    EXPECT_EQ(node_.workers.Take({job_, {}}, /*for_actor=*/false), worker.id);
    node_.workers.PutBack(worker.id);
    return worker;
  }
  bool AwaitAssignment(const WorkerNode::Worker& worker) {
    return node_.Await(*worker.process, FrameType::kAssignActor).has_value();
  }
  // The next update with that state.
  std::optional<GotFrame> AwaitState(ActorState state) {
    std::optional<GotFrame> update;
    node_.Until([&] {
      while ((update = driver_->Take(FrameType::kActorUpdate))) {
        if (update->As<wire::ActorUpdate>()->state() == state) return true;
      }
      return false;
    });
    return update;
  }
  int64_t FreeCpus() const {
    return node_.leases.scheduler().resources().available().Get("CPU") / kResourceUnit;
  }

  LocalGcs gcs_;
  EventLoop loop_;
  ProcessSupervisor supervisor_{&loop_};
  ActorNode node_{&loop_, &supervisor_};
  const JobId job_ = JobId::FromBytes("job1");
  ActorId actor_ = ActorId::Random();
  std::unique_ptr<FakeProcess> driver_;
};

TEST_F(ActorHostTest, AnActorThatIsReadyIsAliveAtItsWorker) {
  Register(0, /*cpus=*/1);
  const auto worker = AwaitActorsWorker();
  EXPECT_EQ(FreeCpus(), 1);
  SayReady(worker);
  const auto alive = AwaitState(ActorState::Alive);
  ASSERT_TRUE(alive);
  EXPECT_EQ(wire::FromWireOrNil(alive->As<wire::ActorUpdate>()->address()),
            node_.options.AddressOf(worker.id));
  EXPECT_TRUE(node_.actors.HasActorOf(job_));
}

TEST_F(ActorHostTest, AnErrorOfInitIsTheActorsDeathAndItsWorkerLeaves) {
  Register();
  const auto worker = AwaitActorsWorker();
  SayReady(worker, /*ok=*/false);
  const auto dead = AwaitState(ActorState::Dead);
  ASSERT_TRUE(dead);
  EXPECT_EQ(wire::BytesOrEmpty(dead->As<wire::ActorUpdate>()->init_error()), (wire::Bytes{7}));
  EXPECT_TRUE(node_.Await(*worker.process, FrameType::kExitWorker));
}

TEST_F(ActorHostTest, TheDeathOfItsWorkerEndsItAndFreesWhatItHeld) {
  Register(0, /*cpus=*/2);
  auto worker = AwaitActorsWorker();
  SayReady(worker);
  ASSERT_TRUE(AwaitState(ActorState::Alive));
  EXPECT_EQ(FreeCpus(), 0);
  ::kill(worker.life->pid(), SIGKILL);
  worker.process->Close();
  const auto dead = AwaitState(ActorState::Dead);
  ASSERT_TRUE(dead);
  EXPECT_NE(dead->As<wire::ActorUpdate>()->death_cause()->str().find("killed by signal 9"),
            std::string::npos);
  EXPECT_EQ(FreeCpus(), 2);
  EXPECT_FALSE(node_.actors.HasActorOf(job_));
}

TEST_F(ActorHostTest, TheDeathOfItsWorkerInInitNamesTheProcess) {
  Register();
  auto worker = AwaitActorsWorker();
  const pid_t pid = worker.life->pid();
  ::kill(pid, SIGKILL);
  worker.process->Close();
  const auto dead = AwaitState(ActorState::Dead);
  ASSERT_TRUE(dead);
  EXPECT_EQ(dead->As<wire::ActorUpdate>()->pid(), pid);
  EXPECT_EQ(wire::FromWireOrNil(dead->As<wire::ActorUpdate>()->node_id()), node_.options.node_id);
}

TEST_F(ActorHostTest, AnActorWithARestartLeftStartsAgainInAnotherWorker) {
  Register(/*max_restarts=*/1);
  auto first = AwaitActorsWorker();
  SayReady(first);
  ASSERT_TRUE(AwaitState(ActorState::Alive));
  ::kill(first.life->pid(), SIGKILL);
  first.process->Close();
  ASSERT_TRUE(AwaitState(ActorState::Restarting));
  // A spare one may have been forked meanwhile: whichever is told becomes the actor.
  auto second = AwaitActorsWorker(/*incarnation=*/1);
  SayReady(second, true, 1);
  const auto alive = AwaitState(ActorState::Alive);
  ASSERT_TRUE(alive);
  EXPECT_EQ(alive->As<wire::ActorUpdate>()->incarnation(), 1u);
}

TEST_F(ActorHostTest, AKilledActorsWorkerIsKilled) {
  Register();
  auto worker = AwaitActorsWorker();
  SayReady(worker);
  ASSERT_TRUE(AwaitState(ActorState::Alive));
  Kill();
  ASSERT_TRUE(AwaitState(ActorState::Dead));
  ASSERT_TRUE(node_.Until([&] { return !node_.died.empty(); }));
  EXPECT_EQ(node_.died[0].id, worker.id);
  EXPECT_TRUE(node_.died[0].intended);
}

TEST_F(ActorHostTest, AnActorThatIsKilledBeforeItHasAWorkerWantsNoneAnyMore) {
  Register(0, /*cpus=*/1);
  ASSERT_TRUE(node_.Until([&] { return node_.leases.scheduler().pending_count() == 1; }));
  Kill();
  ASSERT_TRUE(AwaitState(ActorState::Dead));
  EXPECT_TRUE(node_.Until([&] { return node_.leases.scheduler().pending_count() == 0; }));
  EXPECT_FALSE(node_.actors.HasActorOf(job_));
}

TEST_F(ActorHostTest, ARecalledActorIsGivenBackWhileItWaitsAndNotOnceItBegan) {
  Register(0, /*cpus=*/1);
  ASSERT_TRUE(node_.Until([&] { return node_.leases.scheduler().pending_count() == 1; }));
  Recall(/*incarnation=*/0);
  EXPECT_FALSE(node_.actors.HasActorOf(job_));
  // The GCS has no other node for it, and starts it here anew.
  auto worker = AwaitActorsWorker(/*incarnation=*/1);
  Recall(/*incarnation=*/0);
  Recall(/*incarnation=*/1);
  SayReady(worker, true, 1);
  EXPECT_TRUE(AwaitState(ActorState::Alive));
}

TEST_F(ActorHostTest, AnotherWorkerBecomesTheActorWhenOneOwnsWhatIsUsed) {
  const auto owner = AddUsedWorker();
  Register(0, /*cpus=*/1);
  ASSERT_TRUE(AwaitAssignment(owner));
  SayStays(owner);
  const auto worker = AwaitActorsWorker();
  EXPECT_NE(worker.id, owner.id);
  EXPECT_EQ(node_.workers.pool().Find(owner.id)->state, WorkerState::kIdle);
  EXPECT_EQ(FreeCpus(), 1);
  SayReady(worker);
  ASSERT_TRUE(AwaitState(ActorState::Alive));
  // It serves tasks, and may be asked again after that.
  EXPECT_FALSE(node_.workers.Take({job_, {}}, /*for_actor=*/true) == owner.id);
  EXPECT_EQ(node_.workers.Take({job_, {}}, /*for_actor=*/false), owner.id);
  node_.workers.PutBack(owner.id);
  EXPECT_EQ(node_.workers.Take({job_, {}}, /*for_actor=*/true), owner.id);
  EXPECT_TRUE(node_.died.empty());
}

TEST_F(ActorHostTest, AWorkerThatDoesNotBecomeAnActorOutlivesTheActorsEnd) {
  const auto owner = AddUsedWorker();
  Register(0, /*cpus=*/1);
  ASSERT_TRUE(AwaitAssignment(owner));
  Kill();
  const auto asked = node_.Await(*owner.process, FrameType::kExitWorker);
  ASSERT_TRUE(asked);
  EXPECT_TRUE(asked->As<wire::ExitWorker>()->if_unused());
  SayStays(owner);
  ASSERT_TRUE(AwaitState(ActorState::Dead));
  SayStays(owner);  // to the second question
  ASSERT_TRUE(node_.Until(
      [&] { return node_.workers.pool().Find(owner.id)->state == WorkerState::kIdle; }));
  EXPECT_EQ(FreeCpus(), 2);
  EXPECT_TRUE(node_.died.empty());
  EXPECT_FALSE(node_.actors.HasActorOf(job_));
}

TEST_F(ActorHostTest, AUsedWorkerThatBecomesAnActorIsKilledWithIt) {
  const auto worker = AddUsedWorker();
  Register(0, /*cpus=*/1);
  ASSERT_TRUE(AwaitAssignment(worker));
  Kill();
  ASSERT_TRUE(AwaitState(ActorState::Dead));
  ASSERT_TRUE(node_.Until([&] { return !node_.died.empty(); }));
  EXPECT_EQ(node_.died[0].id, worker.id);
}

TEST_F(ActorHostTest, WithoutAnyWorkerItDiesAndTheReasonIsTold) {
  Register();
  ASSERT_TRUE(node_.Until([&] { return node_.leases.scheduler().pending_count() == 1; }));
  node_.leases.RefuseStarved("workers die at their birth");
  const auto dead = AwaitState(ActorState::Dead);
  ASSERT_TRUE(dead);
  EXPECT_NE(dead->As<wire::ActorUpdate>()->death_cause()->str().find("die at their birth"),
            std::string::npos);
}

TEST_F(ActorHostTest, AnotherWorkerCannotSpeakForTheActor) {
  Register();
  const auto worker = AwaitActorsWorker();
  ClientConnection* stranger;
  const auto process = node_.Connect(&stranger);
  ASSERT_TRUE(node_.clients.Name(*stranger, WorkerId::Random()));
  process->Send(FrameType::kActorReady, [&](auto& builder) {
    return wire::CreateActorReady(builder, ToWire(actor_), 0, true);
  });
  node_.Round();
  EXPECT_EQ(node_.actors.actors().at(actor_).state, ActorHost::State::kCreating);
  SayReady(worker);
  EXPECT_TRUE(AwaitState(ActorState::Alive));
}

TEST_F(ActorHostTest, AnActorThatLeavesWhileTheGcsIsAwayIsNotStartedAgain) {
  Register(/*max_restarts=*/1);
  auto worker = AwaitActorsWorker();
  SayReady(worker);
  ASSERT_TRUE(AwaitState(ActorState::Alive));
  gcs_.Stop();
  node_.workers.OnExiting(worker.id, /*intended=*/true, "exit_actor() is called.");
  worker.life->Kill();
  worker.process->Close();
  ASSERT_TRUE(node_.Until([&] { return !node_.died.empty(); }));
  StartGcsAgain();
  const auto dead = AwaitState(ActorState::Dead);
  ASSERT_TRUE(dead);
  EXPECT_NE(dead->As<wire::ActorUpdate>()->death_cause()->str().find("exit_actor() is called"),
            std::string::npos);
}

TEST_F(ActorHostTest, AnInitThatFailedWhileTheGcsWasAwayIsNotRunAgain) {
  Register();
  auto worker = AwaitActorsWorker();
  gcs_.Stop();
  SayReady(worker, /*ok=*/false);
  ASSERT_TRUE(node_.Await(*worker.process, FrameType::kExitWorker));
  StartGcsAgain();
  const auto dead = AwaitState(ActorState::Dead);
  ASSERT_TRUE(dead);
  EXPECT_EQ(wire::BytesOrEmpty(dead->As<wire::ActorUpdate>()->init_error()), (wire::Bytes{7}));
  EXPECT_TRUE(node_.actors.actors().empty());
  EXPECT_EQ(node_.leases.scheduler().pending_count(), 0u);
}

TEST_F(ActorHostTest, ItLivesThroughARestartOfTheGcs) {
  Register();
  auto worker = AwaitActorsWorker();
  SayReady(worker);
  ASSERT_TRUE(AwaitState(ActorState::Alive));
  gcs_.Stop();
  StartGcsAgain();
  EXPECT_TRUE(AwaitState(ActorState::Alive));
  EXPECT_TRUE(node_.died.empty());
}

}  // namespace
}  // namespace cyray::raylet
