// Tests of LeaseService: leases between clients, workers and two nodes, over real sockets.

#include "cyray/raylet/lease_service.h"

#include "cpp_tests/raylet/node_fake.h"
#include "cyray/raylet/resource_reporter.h"
#include "cyray/sim/virtual_runtime.h"
#include "cyray/util/sentence.h"
#include "gcs_generated.h"

namespace cyray::raylet {
namespace {

using wire::FrameType;
using wire::ToWire;

JobId Number(uint32_t number) { return JobId::FromBytes(&number); }
ResourceSet Needs(const char* name, int64_t amount = 1) {
  ResourceSet set;
  set.Set(name, amount * kResourceUnit);
  return set;
}

struct LeaseNode : WorkerNode {
  LeaseNode(EventLoop* loop, ProcessSupervisor* supervisor, uint8_t number,
            const ResourceSet& resources = {})
      : WorkerNode(loop, supervisor, number, resources),
        leases({loop, &options, &lease_outbox, &workers},
               {[](const LeaseGrant&) {}, [](const RequestKey&, const std::string&) {},
                [this] { ++resource_changes; }}) {
    RouteLeaseFrames(peers, leases, [this](const Address& client) { askers.push_back(client); });
    on_idle = [this] { leases.Touch(); };
    on_died = [this](const DeadWorker& dead) { leases.OnProcessDied(dead.id, dead.reason); };
    at_round_end = [this] { leases.ScheduleIfTouched(); };
    on_frame = [this](ClientConnection& client, wire::Frame& frame) {
      switch (frame.type) {
        case FrameType::kRequestLease:
          return leases.OnRequestLease(client.worker(), client.job, frame.As<wire::RequestLease>());
        case FrameType::kCancelLease:
          return leases.OnCancelLease(client.worker(), frame.As<wire::CancelLease>());
        case FrameType::kReturnLease:
          return leases.OnReturnLease(client.worker(), frame.As<wire::ReturnLease>());
        default:
          return leases.OnBlocked(client.worker(), frame.As<wire::Blocked>());
      }
    };
    on_closed = [this](ClientConnection& client, const std::string&) {
      if (client.is_driver()) {
        leases.OnProcessDied(client.worker(), "the driver is gone");
      } else {
        workers.OnConnectionClosed(client.worker());
      }
    };
  }
  int resource_changes = 0;
  std::vector<Address> askers;  // of other nodes
  LeaseService leases;
};

class LeaseServiceTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { ProcessSupervisor::BlockSignals(); }
  LeaseServiceTest() {
    supervisor_.set_on_orphan_exit([this](pid_t pid, int status) {
      here_.shell.OnOrphanExited(pid, status);
      if (there_) there_->shell.OnOrphanExited(pid, status);
    });
    here_.workers.Start();
    here_.zygote.AwaitStart();
  }
  // A second node that alone has "Far", and twice as many CPUs, known to the first.
  void AddFarNode() {
    ResourceSet more = Needs("Far");
    more.Add(Needs("CPU", 2));
    there_ = std::make_unique<LeaseNode>(&loop_, &supervisor_, 2, more);
    there_->workers.Start();
    there_->zygote.AwaitStart();
    here_.Meet(*there_);
    there_->Meet(here_);
    there_->jobs.Add(*here_.jobs.Find(job_));
    const ResourceSet& total = there_->options.resources;
    here_.leases.SetNodeView(there_->options.node_id, total, total);
  }
  // What the GCS passes on of the second node's reports.
  void ReportFar(int64_t free_cpus) {
    here_.leases.SetNodeView(there_->options.node_id, there_->options.resources,
                             Needs("CPU", free_cpus));
  }
  static void Ask(FakeProcess& client, uint64_t id, const ResourceSet& demand) {
    client.Send(FrameType::kRequestLease, [&](auto& builder) {
      const auto amounts = wire::ToWire(builder, demand);
      return wire::CreateRequestLease(builder, id, amounts);
    });
  }
  static void Return(FakeProcess& client, const wire::LeaseReply& lease) {
    client.Send(FrameType::kReturnLease, [&](auto& builder) {
      return wire::CreateReturnLease(builder, lease.lease_id(), lease.worker());
    });
  }
  std::optional<GotFrame> Reply(FakeProcess& client) {
    return here_.Await(client, FrameType::kLeaseReply);
  }
  static int64_t Free(LeaseNode& node, const char* name = "CPU") {
    return node.leases.scheduler().resources().available().Get(name) / kResourceUnit;
  }

  const JobId job_ = Number(1);
  EventLoop loop_;
  ProcessSupervisor supervisor_{&loop_};
  LeaseNode here_{&loop_, &supervisor_, 1};
  std::unique_ptr<LeaseNode> there_;
  std::unique_ptr<FakeProcess> driver_ = here_.AddDriver(job_);
};

TEST_F(LeaseServiceTest, ARequestIsAnsweredWithAWorkerThatKnowsItsJob) {
  Ask(*driver_, 5, Needs("CPU"));
  const auto worker = here_.AwaitWorker();
  const auto reply = Reply(*driver_);
  ASSERT_TRUE(reply);
  const auto* lease = reply->As<wire::LeaseReply>();
  EXPECT_TRUE(lease->ok());
  EXPECT_EQ(lease->request_id(), 5u);
  EXPECT_EQ(wire::FromWireOrNil(lease->worker()), here_.options.AddressOf(worker.id));
  EXPECT_EQ(lease->worker_pid(), worker.life->pid());
  const auto assigned = here_.Await(*worker.process, FrameType::kAssignJob);
  ASSERT_TRUE(assigned);
  EXPECT_EQ(wire::FromWireOrNil(assigned->As<wire::AssignJob>()->job_id()), job_);
  EXPECT_EQ(Free(here_), 1);
}

TEST_F(LeaseServiceTest, AReturnedWorkerServesTheNextRequest) {
  Ask(*driver_, 1, Needs("CPU"));
  const auto worker = here_.AwaitWorker();
  const auto first = Reply(*driver_);
  ASSERT_TRUE(first);
  Return(*driver_, *first->As<wire::LeaseReply>());
  Ask(*driver_, 2, Needs("CPU"));
  const auto second = Reply(*driver_);
  ASSERT_TRUE(second);
  EXPECT_EQ(wire::FromWireOrNil(second->As<wire::LeaseReply>()->worker()).worker, worker.id);
  EXPECT_NE(second->As<wire::LeaseReply>()->lease_id(), first->As<wire::LeaseReply>()->lease_id());
}

TEST_F(LeaseServiceTest, ACancelledRequestIsAnsweredOnce) {
  Ask(*driver_, 1, Needs("Far"));  // nobody has it
  driver_->Send(FrameType::kCancelLease,
                [](auto& builder) { return wire::CreateCancelLease(builder, 1); });
  const auto reply = Reply(*driver_);
  ASSERT_TRUE(reply);
  EXPECT_FALSE(reply->As<wire::LeaseReply>()->ok());
  driver_->Send(FrameType::kCancelLease,
                [](auto& builder) { return wire::CreateCancelLease(builder, 1); });
  here_.Round();
  EXPECT_EQ(driver_->CountOf(FrameType::kLeaseReply), 0u);
}

TEST_F(LeaseServiceTest, TheHolderIsToldWhyItsWorkerDied) {
  Ask(*driver_, 1, Needs("CPU"));
  auto worker = here_.AwaitWorker();
  ASSERT_TRUE(Reply(*driver_));
  worker.process->Close();
  here_.zygote.Tell({{"op", "exited"}, {"pid", worker.life->pid()}, {"status", 9}});
  const auto broken = here_.Await(*driver_, FrameType::kLeaseBroken);
  ASSERT_TRUE(broken);
  EXPECT_EQ(FirstLine(broken->As<wire::LeaseBroken>()->reason()->str()),
            "killed by signal 9 (SIGKILL)");
  EXPECT_EQ(Free(here_), 2);
}

TEST_F(LeaseServiceTest, WorkersOfADeadClientAreKilled) {
  Ask(*driver_, 1, Needs("CPU"));
  const auto worker = here_.AwaitWorker();
  ASSERT_TRUE(Reply(*driver_));
  driver_->Close();
  ASSERT_TRUE(here_.Until([&] { return !here_.died.empty(); }));
  EXPECT_EQ(here_.died[0].id, worker.id);
  EXPECT_EQ(Free(here_), 2);
}

TEST_F(LeaseServiceTest, ABlockedWorkersCpuServesAnother) {
  Ask(*driver_, 1, Needs("CPU", 2));
  const auto worker = here_.AwaitWorker();
  ASSERT_TRUE(Reply(*driver_));
  Ask(*driver_, 2, Needs("CPU", 2));
  here_.Round();
  EXPECT_EQ(driver_->CountOf(FrameType::kLeaseReply), 0u);
  worker.process->Send(FrameType::kBlocked,
                       [](auto& builder) { return wire::CreateBlocked(builder, true); });
  const auto second = here_.AwaitWorker();
  const auto reply = Reply(*driver_);
  ASSERT_TRUE(reply);
  EXPECT_EQ(wire::FromWireOrNil(reply->As<wire::LeaseReply>()->worker()).worker, second.id);
}

TEST_F(LeaseServiceTest, ANegativeDemandIsABadFrame) {
  Ask(*driver_, 1, Needs("CPU", -1));
  EXPECT_TRUE(here_.Until([&] { return driver_->closed(); }));
}

TEST_F(LeaseServiceTest, WhoLacksAWorkerIsRefusedAndWhoHasOneIsNot) {
  Ask(*driver_, 1, Needs("CPU"));
  const auto worker = here_.AwaitWorker();
  ASSERT_TRUE(Reply(*driver_));
  Ask(*driver_, 2, Needs("CPU"));
  const auto other = here_.AddDriver(Number(2));
  Ask(*other, 1, Needs("CPU"));
  ASSERT_TRUE(here_.Until([&] { return here_.leases.scheduler().pending_count() == 2; }));
  here_.leases.RefuseStarved("no worker starts");
  const auto refused = Reply(*other);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->As<wire::LeaseReply>()->error()->str(), "no worker starts");
  EXPECT_EQ(driver_->CountOf(FrameType::kLeaseReply), 0u) << "its tasks have a worker to run on";
}

TEST_F(LeaseServiceTest, WhatHasWaitedForASecondIsReported) {
  Ask(*driver_, 1, Needs("Far"));
  Ask(*driver_, 2, Needs("Far"));
  ASSERT_TRUE(here_.Until([&] { return here_.leases.pending_demands().size() == 1; }));
  EXPECT_EQ(here_.leases.pending_demands().at(Needs("Far")), 2u);
  EXPECT_GE(here_.resource_changes, 1);
  driver_->Close();
  EXPECT_TRUE(here_.Until([&] { return here_.leases.pending_demands().empty(); }));
}

TEST_F(LeaseServiceTest, AnInfeasibleDemandIsToldToItsDriver) {
  Ask(*driver_, 1, Needs("Far", 7));
  const auto warning = here_.Await(*driver_, FrameType::kWarning);
  ASSERT_TRUE(warning);
  const std::string text = warning->As<wire::Warning>()->text()->str();
  EXPECT_NE(text.find("needs {Far: 7}, the cluster's nodes have {Far: 0}"), std::string::npos)
      << text;
}

// --- Two nodes --------------------------------------------------------------------------------

TEST_F(LeaseServiceTest, ADemandOfAnotherNodeIsServedThereAndReturnedThere) {
  AddFarNode();
  Ask(*driver_, 3, Needs("Far"));
  const auto worker = there_->AwaitWorker();
  const auto reply = Reply(*driver_);
  ASSERT_TRUE(reply);
  const auto* lease = reply->As<wire::LeaseReply>();
  EXPECT_EQ(lease->request_id(), 3u);
  EXPECT_EQ(wire::FromWireOrNil(lease->worker()), there_->options.AddressOf(worker.id));
  EXPECT_EQ(Free(*there_, "Far"), 0);
  Return(*driver_, *lease);
  EXPECT_TRUE(here_.Until([&] { return Free(*there_, "Far") == 1; }));
}

TEST_F(LeaseServiceTest, WhoAsksFromAnotherNodeIsWatchedAndItsLeaseEndsWithIt) {
  AddFarNode();
  Ask(*driver_, 3, Needs("Far"));
  const auto worker = there_->AwaitWorker();
  const auto reply = Reply(*driver_);
  ASSERT_TRUE(reply);
  ASSERT_EQ(there_->askers.size(), 1u);
  EXPECT_EQ(there_->askers[0].node, here_.options.node_id);
  there_->leases.OnRemoteDied(there_->askers[0]);
  EXPECT_TRUE(here_.Until([&] { return Free(*there_, "Far") == 1; }));
}

TEST_F(LeaseServiceTest, ADeathThereIsToldHere) {
  AddFarNode();
  Ask(*driver_, 3, Needs("Far"));
  auto worker = there_->AwaitWorker();
  ASSERT_TRUE(Reply(*driver_));
  worker.process->Close();
  const auto broken = here_.Await(*driver_, FrameType::kLeaseBroken);
  ASSERT_TRUE(broken);
  EXPECT_EQ(wire::FromWireOrNil(broken->As<wire::LeaseBroken>()->worker()).worker, worker.id);
}

TEST_F(LeaseServiceTest, AForwardedRequestIsCancelledThere) {
  AddFarNode();
  Ask(*driver_, 3, Needs("Far"));
  ASSERT_TRUE(here_.Until([&] { return there_->leases.scheduler().pending_count() == 1; }));
  driver_->Send(FrameType::kCancelLease,
                [](auto& builder) { return wire::CreateCancelLease(builder, 3); });
  const auto reply = Reply(*driver_);
  ASSERT_TRUE(reply);
  EXPECT_FALSE(reply->As<wire::LeaseReply>()->ok());
  EXPECT_TRUE(here_.Until([&] { return there_->leases.scheduler().pending_count() == 0; }));
  here_.Round();
  EXPECT_EQ(driver_->CountOf(FrameType::kLeaseReply), 0u) << "answered once";
  EXPECT_TRUE(here_.Until([&] { return here_.leases.forwards().empty(); }));
}

TEST_F(LeaseServiceTest, ALeaseThatComesBackBeforeTheNextReportIsReportedAsAChange) {
  sim::VirtualTime time(1);
  sim::VirtualRuntime runtime(&time);
  std::vector<wire::Bytes> reports;
  ResourceReporter reporter(&runtime, &here_.leases,
                            [&](const wire::Bytes& report) { reports.push_back(report); });
  const auto latest = [&] {
    return wire::VerifiedRoot<wire::NodeReport>(reports.back())->body_as_ResourceReport();
  };
  reporter.OnUp();
  const ResourceSet free = wire::FromWire(latest()->available());
  Ask(*driver_, 1, Needs("CPU"));
  const auto worker = here_.AwaitWorker();
  const auto lease = Reply(*driver_);
  ASSERT_TRUE(lease);
  reporter.OnChanged();
  Return(*driver_, *lease->As<wire::LeaseReply>());
  ASSERT_TRUE(here_.Until([&] { return Free(here_) == 2; }));
  reporter.OnChanged();
  while (reports.size() == 1 && time.Step()) {
  }
  ASSERT_EQ(reports.size(), 2u);
  EXPECT_EQ(wire::FromWire(latest()->available()), free);
  EXPECT_EQ(latest()->number(), 2u) << "who was given the lease counts it until then";
}

TEST_F(LeaseServiceTest, AnOldReportDoesNotSendTwoWhereOneHasRoom) {
  AddFarNode();
  Ask(*driver_, 1, Needs("CPU", 2));
  ASSERT_TRUE(here_.Until([&] { return there_->leases.scheduler().pending_count() == 1; }));
  ReportFar(4);  // of before the request came, which waits for a worker
  Ask(*driver_, 2, Needs("CPU", 2));
  const auto worker = here_.AwaitWorker();
  const auto reply = Reply(*driver_);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->As<wire::LeaseReply>()->request_id(), 2u);
  EXPECT_EQ(wire::FromWireOrNil(reply->As<wire::LeaseReply>()->worker()).worker, worker.id);
}

TEST_F(LeaseServiceTest, WhoWaitsAtAFullNodeComesBackWhenThereIsRoomHere) {
  AddFarNode();
  Ask(*driver_, 1, Needs("CPU", 4));
  const auto busy = there_->AwaitWorker();
  ASSERT_TRUE(Reply(*driver_));
  ReportFar(4);  // late news
  Ask(*driver_, 2, Needs("CPU", 2));
  ASSERT_TRUE(here_.Until([&] { return there_->leases.scheduler().pending_count() == 1; }));
  ReportFar(0);
  const auto worker = here_.AwaitWorker();
  const auto reply = Reply(*driver_);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->As<wire::LeaseReply>()->request_id(), 2u);
  EXPECT_EQ(wire::FromWireOrNil(reply->As<wire::LeaseReply>()->worker()).worker, worker.id);
  EXPECT_TRUE(here_.leases.forwards().empty());
  EXPECT_EQ(there_->leases.scheduler().pending_count(), 0u);
}

TEST_F(LeaseServiceTest, ANodeIsUsedAgainAfterAForwardToItWasCancelled) {
  AddFarNode();
  for (uint64_t id = 1; id <= 3; ++id) {  // its resources never change: it reports nothing
    Ask(*driver_, id, Needs("CPU", 2));
    ASSERT_TRUE(here_.Until([&] { return there_->leases.scheduler().pending_count() == 1; })) << id;
    driver_->Send(FrameType::kCancelLease,
                  [id](auto& builder) { return wire::CreateCancelLease(builder, id); });
    ASSERT_TRUE(here_.Until([&] { return here_.leases.forwards().empty(); })) << id;
  }
}

TEST_F(LeaseServiceTest, LeasesOfADeadNodesClientsAreTakenBack) {
  AddFarNode();
  Ask(*driver_, 3, Needs("Far"));
  const auto worker = there_->AwaitWorker();
  ASSERT_TRUE(Reply(*driver_));
  there_->peers.RemoveNode(here_.options.node_id, "says the GCS");
  ASSERT_TRUE(here_.Until([&] { return !there_->died.empty(); }));
  EXPECT_EQ(there_->died[0].id, worker.id);
}

TEST_F(LeaseServiceTest, AForwardedRequestThatIsNotValidIsAnswered) {
  AddFarNode();
  flatbuffers::FlatBufferBuilder builder;
  const Address client = here_.jobs.Find(job_)->driver;
  const auto amounts = wire::ToWire(builder, Needs("CPU", -1));
  const auto request = wire::CreateRequestLease(builder, 1, amounts);
  builder.Finish(wire::CreateForwardLease(builder, 77, ToWire(client), request, ToWire(job_)));
  bool answered = false;
  here_.peers.On<wire::ForwardLeaseReply>(
      FrameType::kForwardLeaseReply, [&](const NodeId&, const wire::ForwardLeaseReply& reply) {
        answered =
            reply.reply() != nullptr && reply.reply()->request_id() == 77 && !reply.reply()->ok();
      });
  ASSERT_TRUE(here_.peers.Send(there_->options.node_id, FrameType::kForwardLease, builder));
  EXPECT_TRUE(here_.Until([&] { return answered; }));
}

}  // namespace
}  // namespace cyray::raylet
