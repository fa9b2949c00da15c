// Tests of Registrar with a real GCS: who may register as what, and when a driver is answered.

#include "cyray/raylet/registrar.h"

#include "cpp_tests/raylet/gcs_fake.h"

namespace cyray::raylet {
namespace {

using wire::ClientKind;
using wire::FrameType;
using wire::ToWire;

class RegistrarTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { ProcessSupervisor::BlockSignals(); }
  RegistrarTest() {
    node_.on_frame = [this](ClientConnection& client, wire::Frame& frame) {
      return registrar_.OnRegister(client, frame.As<wire::Register>());
    };
    node_.on_closed = [this](ClientConnection& client, const std::string&) {
      if (client.is_driver()) {
        registrar_.OnDriverGone(client);
      } else {
        node_.workers.OnConnectionClosed(client.worker());
      }
    };
    node_.on_idle = [this] { registrar_.OnWorkerIdle(); };
    JoinCluster(node_, bridge_, gcs_.address(), up_);
  }
  static void Register(FakeProcess& process, ClientKind kind, const WorkerId& id) {
    process.Send(FrameType::kRegister, [&](auto& builder) {
      const auto name_space = builder.CreateString("space");
      return wire::CreateRegister(builder, kind, ToWire(id), 4711, name_space);
    });
  }
  std::optional<GotFrame> Reply(FakeProcess& process) {
    return node_.Await(process, FrameType::kRegisterReply);
  }
  // How many jobs run, as the GCS says.
  size_t RunningJobs() {
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(wire::CreateEmpty(builder));
    std::optional<size_t> running;
    bridge_.Call(wire::GcsMethod::ListJobs, builder, [&](Result<wire::Bytes> reply) {
      running = 0;
      for (const auto* job : *wire::VerifiedRoot<wire::ListJobsReply>(*reply)->jobs()) {
        *running += job->running() ? 1 : 0;
      }
    });
    EXPECT_TRUE(node_.Until([&] { return running.has_value(); }));
    return running.value_or(99);
  }

  LocalGcs gcs_;
  EventLoop loop_;
  ProcessSupervisor supervisor_{&loop_};
  WorkerNode node_{&loop_, &supervisor_};
  bool up_ = false;
  GcsBridge bridge_{&loop_,
                    &node_.options,
                    &node_.clients,
                    {[](const wire::NodeCommand&) {},
                     [this] {
                       flatbuffers::FlatBufferBuilder builder;
                       return gcs::FinishReport(
                           builder, wire::CreateNodeHello(builder, ToWire(node_.options.node_id)));
                     },
                     [](const Status&) {}, [this] { up_ = true; }, [] { return wire::Bytes{}; }}};
  std::unique_ptr<store::ObjectStore> store_ = *store::ObjectStore::Open(64 << 20);
  Registrar registrar_{{&loop_, &node_.options, &node_.clients, &node_.workers, &bridge_,
                        &node_.jobs, store_.get()}};
};

TEST_F(RegistrarTest, ADriverGetsItsJobAndTheArena) {
  node_.options.metrics_port = 4711;
  ClientConnection* client;
  const auto driver = node_.Connect(&client);
  const WorkerId id = WorkerId::Random();
  Register(*driver, ClientKind::Driver, id);
  const auto reply = Reply(*driver);
  ASSERT_TRUE(reply);
  const auto* answer = reply->As<wire::RegisterReply>();
  EXPECT_TRUE(answer->ok());
  EXPECT_EQ(reply->fds.size(), 3u);
  EXPECT_EQ(answer->metrics_port(), 4711);
  EXPECT_EQ(answer->arena_bytes(), store_->arena().capacity_bytes());
  EXPECT_EQ(answer->namespace_()->str(), "space");
  const JobId job = wire::FromWireOrNil(answer->job_id());
  ASSERT_NE(node_.jobs.Find(job), nullptr);
  EXPECT_EQ(node_.jobs.Find(job)->driver, node_.options.AddressOf(id));
  EXPECT_EQ(RunningJobs(), 1u);
}

TEST_F(RegistrarTest, ADriverIsAnsweredWhenAWorkerIsReadyForIt) {
  node_.workers.Start();
  node_.zygote.AwaitStart();
  node_.workers.Ensure({{{JobId::FromBytes("some"), {}}, 1}});  // one is starting
  ClientConnection* client;
  const auto driver = node_.Connect(&client);
  Register(*driver, ClientKind::Driver, WorkerId::Random());
  ASSERT_TRUE(node_.Until([&] { return !client->job.is_nil(); }));
  node_.Round();
  EXPECT_EQ(driver->CountOf(FrameType::kRegisterReply), 0u);
  const auto worker = node_.AwaitWorker();
  const auto reply = Reply(*driver);
  ASSERT_TRUE(reply);
  EXPECT_TRUE(reply->As<wire::RegisterReply>()->ok());
}

TEST_F(RegistrarTest, ADriverThatWaitsForAWorkerIsToldWhenNoneCanStart) {
  node_.workers.Start();
  node_.zygote.AwaitStart();
  node_.workers.Ensure({{{JobId::FromBytes("some"), {}}, 1}});
  ClientConnection* client;
  const auto driver = node_.Connect(&client);
  Register(*driver, ClientKind::Driver, WorkerId::Random());
  ASSERT_TRUE(node_.Until([&] { return !client->job.is_nil(); }));
  registrar_.OnCannotStart("they die at their birth");
  const auto reply = Reply(*driver);
  ASSERT_TRUE(reply);
  EXPECT_FALSE(reply->As<wire::RegisterReply>()->ok());
  EXPECT_EQ(reply->As<wire::RegisterReply>()->error()->str(), "they die at their birth");
}

TEST_F(RegistrarTest, ADriverThatLeavesBeforeItsJobHasANumberLeavesNoJobBehind) {
  ClientConnection* client;
  const auto driver = node_.Connect(&client);
  Register(*driver, ClientKind::Driver, WorkerId::Random());
  ASSERT_TRUE(node_.Until([&] { return client->pid == 4711; }));
  driver->Close();
  EXPECT_TRUE(node_.Until([&] { return RunningJobs() == 0; }));
}

TEST_F(RegistrarTest, TheTasksOfADriverCountUntilItGoes) {
  ClientConnection* client;
  const auto driver = node_.Connect(&client);
  Register(*driver, ClientKind::Driver, WorkerId::Random());
  const auto reply = Reply(*driver);
  ASSERT_TRUE(reply);
  const auto notes = wire::TaskNotes::Map(reply->fds.at(2));
  ASSERT_TRUE(notes);
  notes->tally().Add(wire::TaskCount::kUnfinished, 3);
  EXPECT_EQ(registrar_.task_counts()[wire::TaskCount::kUnfinished], 3u);
  driver->Close();
  EXPECT_TRUE(
      node_.Until([&] { return registrar_.task_counts()[wire::TaskCount::kUnfinished] == 0; }));
}

TEST_F(RegistrarTest, AJobEndsWithItsDriver) {
  ClientConnection* client;
  const auto driver = node_.Connect(&client);
  Register(*driver, ClientKind::Driver, WorkerId::Random());
  ASSERT_TRUE(Reply(*driver));
  EXPECT_EQ(RunningJobs(), 1u);
  driver->Close();
  EXPECT_TRUE(node_.Until([&] { return RunningJobs() == 0; }));
}

TEST_F(RegistrarTest, AWorkerThatNobodyStartedIsRefused) {
  ClientConnection* client;
  const auto process = node_.Connect(&client);
  Register(*process, ClientKind::Worker, WorkerId::Random());
  EXPECT_TRUE(node_.Until([&] { return process->closed(); }));
}

TEST_F(RegistrarTest, NobodyRegistersTwiceOrWithoutAnId) {
  ClientConnection* client;
  const auto driver = node_.Connect(&client);
  Register(*driver, ClientKind::Driver, WorkerId::Random());
  Register(*driver, ClientKind::Driver, WorkerId::Random());
  EXPECT_TRUE(node_.Until([&] { return driver->closed(); }));
  const auto other = node_.Connect(&client);
  Register(*other, ClientKind::Driver, WorkerId::Nil());
  EXPECT_TRUE(node_.Until([&] { return other->closed(); }));
}

}  // namespace
}  // namespace cyray::raylet
