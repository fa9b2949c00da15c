// Tests of WorkerHost and ZygoteLink with real processes and a played zygote: starts, deaths,
// failures to start, output.

#include "cyray/raylet/worker_host.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "cpp_tests/raylet/node_fake.h"
#include "cpp_tests/util/process_limit.h"
#include "cyray/util/sentence.h"

namespace cyray::raylet {
namespace {

using wire::FrameType;

const JobId kJob = JobId::FromBytes("job1");
const JobId kOther = JobId::FromBytes("job2");

class WorkerHostTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { ProcessSupervisor::BlockSignals(); }
  WorkerHostTest() {
    supervisor_.set_on_orphan_exit(
        [this](pid_t pid, int status) { node_.shell.OnOrphanExited(pid, status); });
    node_.options.preload = "numpy,scipy";
    driver_ = node_.AddDriver(kJob);
    // What the lease service does: workers are wanted as long as somebody waits.
    node_.at_round_end = [this] {
      if (wanted_ > 0 && node_.cannot_start.empty()) node_.workers.Ensure({{{kJob, {}}, wanted_}});
    };
  }
  void Start() {
    node_.workers.Start();
    node_.zygote.AwaitStart();
  }
  const DeadWorker* AwaitDeath() {
    return node_.Until([&] { return !node_.died.empty(); }) ? &node_.died.back() : nullptr;
  }
  static void Print(const UniqueFd& pipe, const std::string& text) {
    ASSERT_EQ(::write(pipe.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }

  EventLoop loop_;
  ProcessSupervisor supervisor_{&loop_};
  WorkerNode node_{&loop_, &supervisor_};
  std::unique_ptr<FakeProcess> driver_;
  int wanted_ = 0;
};

TEST_F(WorkerHostTest, AWorkerIsForkedRegisteredAndBoundToItsFirstJob) {
  Start();
  wanted_ = 1;
  const auto worker = node_.AwaitWorker();
  wanted_ = 0;
  EXPECT_EQ(node_.workers.Take({kJob, {}}, false), worker.id);
  const auto assigned = node_.Await(*worker.process, FrameType::kAssignJob);
  ASSERT_TRUE(assigned);
  EXPECT_EQ(wire::FromWireOrNil(assigned->As<wire::AssignJob>()->job_id()), kJob);
  node_.workers.PutBack(worker.id);
  EXPECT_EQ(node_.workers.Take({kJob, {}}, false), worker.id);
  node_.Round();
  EXPECT_EQ(worker.process->CountOf(FrameType::kAssignJob), 0u) << "it is told once";
}

TEST_F(WorkerHostTest, NobodyGetsAWorkerOfAJobThatIsUnknown) {
  Start();
  wanted_ = 1;
  const auto worker = node_.AwaitWorker();
  EXPECT_FALSE(node_.workers.Take({kOther, {}}, false));
}

TEST_F(WorkerHostTest, AWorkerThatHasJustDiedIsNotGivenToAnybody) {
  Start();
  wanted_ = 1;
  auto worker = node_.AwaitWorker();
  wanted_ = 0;
  worker.process->Close();
  ASSERT_TRUE(node_.Until(
      [&] { return node_.clients.Find(worker.id) == nullptr; }));  // the reason is still awaited
  EXPECT_FALSE(node_.workers.Take({kJob, {}}, false));
}

TEST_F(WorkerHostTest, TheReasonOfADeathIsWhatEndedIt) {
  Start();
  wanted_ = 1;
  auto worker = node_.AwaitWorker();
  wanted_ = 0;
  ASSERT_TRUE(node_.workers.Take({kJob, {}}, false));
  node_.zygote.Tell({{"op", "exited"}, {"pid", worker.life->pid()}, {"status", 3 << 8}});
  worker.process->Close();
  const DeadWorker* dead = AwaitDeath();
  ASSERT_NE(dead, nullptr);
  EXPECT_TRUE(dead->reason.starts_with("exit code 3\n")) << dead->reason;
  EXPECT_EQ(dead->job, kJob);
  EXPECT_FALSE(dead->intended);
}

TEST_F(WorkerHostTest, WhatAWorkerSaidLastCountsHoweverLateItIsRead) {
  Start();
  wanted_ = 1;
  auto worker = node_.AwaitWorker();
  wanted_ = 0;
  int said = 0, said_before_death = -1;
  node_.on_frame = [&](ClientConnection&, wire::Frame&) { return ++said > 0; };
  node_.on_died = [&](const DeadWorker&) { said_before_death = said; };
  node_.clients.SetReading(worker.connection->id(), false);
  for (int i = 0; i < 5; ++i) {
    worker.process->Send(FrameType::kBlocked,
                         [](auto& builder) { return wire::CreateBlocked(builder, true); });
  }
  // Its socket is open yet: a child of the worker may have it.
  node_.zygote.Tell({{"op", "exited"}, {"pid", worker.life->pid()}, {"status", 9}});
  ASSERT_NE(AwaitDeath(), nullptr);
  EXPECT_EQ(said_before_death, 5);
}

TEST_F(WorkerHostTest, ThatAWorkerMeantToLeaveCountsThoughItIsReadWithItsDeath) {
  Start();
  wanted_ = 1;
  auto worker = node_.AwaitWorker();
  wanted_ = 0;
  node_.on_frame = [&](ClientConnection& client, wire::Frame& frame) {
    const auto* exiting = frame.As<wire::WorkerExiting>();
    node_.workers.OnExiting(client.worker(), exiting->intended(), exiting->reason()->str());
    return true;
  };
  node_.clients.SetReading(worker.connection->id(), false);
  worker.process->Send(FrameType::kWorkerExiting, [](auto& builder) {
    return wire::CreateWorkerExiting(builder, true, builder.CreateString("exit_actor"));
  });
  // Its socket is open yet: a child of the worker may have it.
  node_.zygote.Tell({{"op", "exited"}, {"pid", worker.life->pid()}, {"status", 0}});
  const DeadWorker* dead = AwaitDeath();
  ASSERT_NE(dead, nullptr);
  EXPECT_TRUE(dead->intended);
  EXPECT_EQ(dead->reason, "exit_actor");
}

TEST_F(WorkerHostTest, AWorkerIsEndingFromItsLastWordToItsDeclaredDeath) {
  Start();
  wanted_ = 1;
  auto worker = node_.AwaitWorker();
  wanted_ = 0;
  EXPECT_FALSE(node_.workers.IsEnding(worker.id));
  worker.process->Close();
  ASSERT_TRUE(node_.Until([&] { return node_.clients.Find(worker.id) == nullptr; }));
  EXPECT_TRUE(node_.workers.IsEnding(worker.id));
  EXPECT_EQ(node_.workers.Ending(), std::vector<WorkerId>{worker.id});
  ASSERT_NE(AwaitDeath(), nullptr);
  EXPECT_FALSE(node_.workers.IsEnding(worker.id));
  EXPECT_TRUE(node_.workers.Ending().empty());
}

TEST_F(WorkerHostTest, AWorkerWhoseSocketClosedIsKilledIfItStillRuns) {
  Start();
  wanted_ = 1;
  auto worker = node_.AwaitWorker();
  wanted_ = 0;
  const int pid = worker.life->pid();
  worker.process->Close();
  ASSERT_NE(AwaitDeath(), nullptr);
  EXPECT_TRUE(node_.Until([&] { return ::kill(pid, 0) != 0; })) << "killed and reaped";
}

TEST_F(WorkerHostTest, IdleWorkersOfAnEndedJobGoAndThoseAtWorkStay) {
  Start();
  wanted_ = 2;
  auto idle = node_.AwaitWorker();
  auto busy = node_.AwaitWorker();
  wanted_ = 0;
  const auto first = node_.workers.Take({kJob, {}}, false);
  const auto second = node_.workers.Take({kJob, {}}, false);
  ASSERT_TRUE(first && second);
  node_.workers.PutBack(*first);
  node_.workers.EndIdleOf(kJob);
  ASSERT_NE(AwaitDeath(), nullptr);
  EXPECT_EQ(node_.died[0].id, *first);
  EXPECT_TRUE(node_.died[0].intended);
  EXPECT_EQ(node_.workers.pool().Find(*second)->state, WorkerState::kLeased);
}

TEST_F(WorkerHostTest, AWorkerThatIsAskedToLeaveAndDoesNotIsKilled) {
  Start();
  wanted_ = 1;
  auto worker = node_.AwaitWorker();
  wanted_ = 0;
  node_.workers.AskToExit(worker.id, "it is time", 20, /*if_unused=*/false);
  EXPECT_TRUE(node_.Await(*worker.process, FrameType::kExitWorker));
  const DeadWorker* dead = AwaitDeath();
  ASSERT_NE(dead, nullptr);
  EXPECT_EQ(dead->reason, "it is time");
  EXPECT_TRUE(dead->intended);
}

TEST_F(WorkerHostTest, AnIdleWorkerThatOwnsWhatIsUsedStaysAndAnotherGoes) {
  Start();
  wanted_ = 3;  // one more than may stay idle
  auto owner = node_.AwaitWorker();
  auto other = node_.AwaitWorker();
  auto third = node_.AwaitWorker();
  wanted_ = 0;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(node_.workers.Take({kJob, {}}, false));
  for (const WorkerId& id : {owner.id, other.id, third.id}) node_.workers.PutBack(id);
  ASSERT_TRUE(node_.Await(*owner.process, FrameType::kExitWorker)) << "after a second";
  node_.workers.OnStays(owner.id);
  EXPECT_EQ(node_.workers.pool().Find(owner.id)->state, WorkerState::kIdle);
  ASSERT_TRUE(node_.Await(*other.process, FrameType::kExitWorker));
  node_.workers.Kill(other.id, "it was idle", true);
  node_.workers.OnStays(other.id);  // too late
  ASSERT_NE(AwaitDeath(), nullptr);
  EXPECT_EQ(node_.died[0].id, other.id);
  EXPECT_EQ(node_.workers.pool().Find(owner.id)->state, WorkerState::kIdle);
}

// --- The zygote -------------------------------------------------------------------------------

TEST_F(WorkerHostTest, AKilledZygoteIsReplacedAndItsForksAreAskedForAgain) {
  Start();
  wanted_ = 4;
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(node_.zygote.AwaitRequest());
  node_.zygote.Die();
  node_.zygote.AwaitStart();
  EXPECT_EQ(node_.zygote.starts(), 2);
  const auto worker = node_.AwaitWorker();
  EXPECT_TRUE(node_.workers.Take({kJob, {}}, false));
  EXPECT_TRUE(node_.cannot_start.empty()) << "no worker did anything wrong";
}

TEST_F(WorkerHostTest, ManyForksLostWithOneZygoteAreNoFailuresOfWorkers) {
  node_.options.resources.Set("CPU", 16 * kResourceUnit);
  Start();
  wanted_ = 4;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(node_.zygote.AwaitRequest());
    node_.zygote.Die();
    node_.zygote.AwaitStart();
  }
  EXPECT_TRUE(node_.cannot_start.empty());
}

TEST_F(WorkerHostTest, AZygoteThatDiesAgainAndAgainIsToldWithTheEndOfItsLog) {
  std::ofstream(node_.options.python) << "#!/bin/sh\necho no module named numpy\nexit 1\n";
  node_.workers.Start();
  ASSERT_TRUE(node_.Until([&] { return !node_.cannot_start.empty(); }));
  EXPECT_NE(node_.cannot_start[0].find("the zygote failed 5 times"), std::string::npos);
  EXPECT_NE(node_.cannot_start[0].find("exit code 1"), std::string::npos);
  EXPECT_NE(node_.cannot_start[0].find("no module named numpy"), std::string::npos);
}

TEST_F(WorkerHostTest, WhatIsNoMessageOfTheZygoteIsIgnored) {
  Start();
  node_.zygote.Tell("text");
  node_.zygote.Tell({{"op", 5}});
  node_.zygote.Tell({{"op", "forked"}, {"token", 4711}, {"pid", 1}});
  node_.zygote.Tell({{"op", "exited"}, {"pid", "x"}});
  wanted_ = 1;
  EXPECT_NE(node_.AwaitWorker().connection, nullptr);
}

TEST_F(WorkerHostTest, AForkWithoutAProcessIsAFailedOne) {
  Start();
  wanted_ = 1;
  const auto request = node_.zygote.AwaitRequest();
  ASSERT_TRUE(request);
  node_.zygote.Forked(*request, -1);  // kill(2) would take it for everybody
  EXPECT_NE(node_.AwaitWorker().id.Hex(), request->worker_id);
}

TEST_F(WorkerHostTest, AForkWithoutADescriptorOfTheProcessIsMadeToLeaveAndAnotherTakesItsPlace) {
  Start();
  wanted_ = 1;
  auto request = node_.zygote.AwaitRequest();
  ASSERT_TRUE(request);
  const IdleProcess life;
  FakeProcess process(std::move(request->socket));
  node_.zygote.Tell({{"op", "forked"}, {"token", request->token}, {"pid", life.pid()}});
  EXPECT_TRUE(node_.Until([&] { return process.closed(); }));
  EXPECT_NE(node_.AwaitWorker().id.Hex(), request->worker_id);
  EXPECT_TRUE(node_.zygote.FreshWorkers().empty()) << "two would speak as one worker";
}

TEST_F(WorkerHostTest, AWorkerOfADeadZygoteLivesOnAndItsExitIsStillKnown) {
  Start();
  wanted_ = 1;
  auto worker = node_.AwaitWorker();
  wanted_ = 0;
  node_.zygote.Die();
  node_.zygote.AwaitStart();
  EXPECT_TRUE(node_.died.empty());
  ::kill(worker.life->pid(), SIGKILL);  // now a child of this process: it is reaped here
  const DeadWorker* dead = AwaitDeath();
  ASSERT_NE(dead, nullptr);
  EXPECT_EQ(FirstLine(dead->reason), "killed by signal 9 (SIGKILL)");
  EXPECT_NE(dead->reason.find("This node did not kill it"), std::string::npos);
}

// --- Jobs with a Python of their own ----------------------------------------------------------

TEST_F(WorkerHostTest, AJobWithAnotherPythonGetsFreshWorkersOfThatOne) {
  Start();
  const std::string other = node_.options.session_dir + "/other_python";
  std::filesystem::copy(node_.options.python, other);
  const auto driver = node_.AddDriver(kOther, true, JobPython{other, "/where/cyray/is"});
  node_.workers.Ensure({{{kOther, {}}, 1}});
  ASSERT_TRUE(node_.Until([&] { return !node_.zygote.FreshWorkers().empty(); }));
  const auto fresh = node_.zygote.FreshWorkers()[0];
  EXPECT_EQ(fresh["argv"][0], other);
  EXPECT_EQ(fresh["argv"][2], "cyray._worker");
  EXPECT_EQ(fresh["env"]["PYTHONPATH"], "/where/cyray/is");
  EXPECT_EQ(fresh["env"]["CYRAY_PRELOAD"], "") << "that list is of the node's Python";
}

TEST_F(WorkerHostTest, AWorkerOfAnotherPythonIsToldItsJobWhenItComesUpAndNobodyElseGetsIt) {
  Start();
  const auto driver = node_.AddDriver(kOther, true, JobPython{"/bin/true", ""});
  node_.workers.Ensure({{{kOther, {}}, 1}});
  ASSERT_EQ(node_.workers.pool().workers().size(), 1u);
  const WorkerId id = node_.workers.pool().workers().begin()->first;
  ClientConnection* connection = node_.clients.Find(id);
  ASSERT_NE(connection, nullptr);
  connection->kind = wire::ClientKind::Worker;
  connection->registered = true;
  node_.workers.OnRegistered(connection->worker(), connection->pid);
  EXPECT_EQ(connection->job, kOther);
  EXPECT_FALSE(node_.workers.Take({kJob, {}}, false));
  EXPECT_EQ(node_.workers.Take({kOther, {}}, false), id);
}

TEST_F(WorkerHostTest, APythonThatDoesNotComeUpIsToldToItsJobAlone) {
  Start();
  const auto driver = node_.AddDriver(kOther, true, JobPython{"/bin/false", ""});
  for (size_t deaths = 1; deaths <= 2; ++deaths) {
    EXPECT_TRUE(node_.jobs_cannot_start.empty());
    node_.workers.Ensure({{{kOther, {}}, 1}});
    ASSERT_TRUE(node_.Until([&] { return node_.died.size() == deaths; }));
  }
  ASSERT_EQ(node_.jobs_cannot_start.size(), 1u);
  const auto& [job, why] = node_.jobs_cannot_start[0];
  EXPECT_EQ(job, kOther);
  EXPECT_NE(why.find("/bin/false"), std::string::npos) << why;
  EXPECT_NE(why.find("exit code 1"), std::string::npos) << why;
  EXPECT_TRUE(node_.cannot_start.empty());
  wanted_ = 1;
  node_.AwaitWorker();
  EXPECT_TRUE(node_.workers.Take({kJob, {}}, false)) << "the others go on";
}

TEST_F(WorkerHostTest, AWorkerThatStillStartsEndsWithItsJob) {
  Start();
  const auto driver = node_.AddDriver(kOther, true, JobPython{"/bin/cat", ""});
  node_.workers.Ensure({{{kOther, {}}, 1}});
  node_.workers.EndIdleOf(kOther);
  ASSERT_NE(AwaitDeath(), nullptr);
  EXPECT_TRUE(node_.died[0].intended);
  EXPECT_TRUE(node_.jobs_cannot_start.empty());
}

// --- Failures to start ------------------------------------------------------------------------

TEST_F(WorkerHostTest, AWorkerThatCannotBeForkedIsStartedAfreshWithThePreloadList) {
  Start();
  wanted_ = 1;
  const auto request = node_.zygote.AwaitRequest();
  ASSERT_TRUE(request);
  wanted_ = 0;
  node_.zygote.Tell({{"op", "failed"}, {"token", request->token}, {"error", "no more processes"}});
  ASSERT_TRUE(node_.Until([&] { return !node_.zygote.FreshWorkers().empty(); }));
  const auto fresh = node_.zygote.FreshWorkers()[0];
  EXPECT_EQ(fresh["argv"][2], "cyray._worker");
  EXPECT_EQ(fresh["argv"][4], request->worker_id);
  EXPECT_EQ(fresh["env"]["CYRAY_PRELOAD"], "numpy,scipy");
  EXPECT_EQ(fresh["env"]["CYRAY_RAYLET_SOCKET"], node_.options.socket_path);
}

TEST_F(WorkerHostTest, WorkersThatDieAtStartAreToldOfWithWhatTheySaidAndNotStartedForEver) {
  Start();
  wanted_ = 1;
  int starts = 0;
  while (node_.cannot_start.empty()) {
    auto request = node_.zygote.AwaitRequest();
    ASSERT_TRUE(request);
    ++starts;
    IdleProcess life;
    node_.zygote.Forked(*request, life.pid());
    Print(request->err, "ImportError: of start " + std::to_string(starts) + "\n");
    const size_t deaths = node_.died.size();
    node_.zygote.Tell({{"op", "exited"}, {"pid", life.pid()}, {"status", 1 << 8}});
    request.reset();  // its socket closes with it
    ASSERT_TRUE(node_.Until([&] { return node_.died.size() > deaths; }));
  }
  EXPECT_EQ(starts, 5);
  const std::string& why = node_.cannot_start[0];
  EXPECT_NE(why.find("5 in a row"), std::string::npos) << why;
  EXPECT_NE(why.find("exit code 1"), std::string::npos) << why;
  EXPECT_NE(why.find("ImportError: of start 5"), std::string::npos) << why;
}

TEST_F(WorkerHostTest, FailuresThatAreFarApartCountTooUntilAWorkerComesUp) {
  Start();
  wanted_ = 1;
  const auto fail = [&] {
    auto request = node_.zygote.AwaitRequest();
    ASSERT_TRUE(request);
    IdleProcess life;
    node_.zygote.Forked(*request, life.pid());
    const size_t deaths = node_.died.size();
    request.reset();
    ASSERT_TRUE(node_.Until([&] { return node_.died.size() > deaths; }));
  };
  for (int i = 0; i < 4; ++i) fail();
  EXPECT_TRUE(node_.cannot_start.empty());
  auto good = node_.AwaitWorker();
  ASSERT_TRUE(node_.workers.Take({kJob, {}}, false));
  for (int i = 0; i < 4; ++i) fail();
  EXPECT_TRUE(node_.cannot_start.empty()) << "one came up in between";
  fail();
  EXPECT_EQ(node_.cannot_start.size(), 1u);
}

TEST_F(WorkerHostTest, WithoutDescriptorsWhoWaitsIsToldAndWorkersStartWhenThereAreSome) {
  if (kIsSanitized) GTEST_SKIP();
  Start();
  {
    const ProcessLimit none(RLIMIT_NOFILE, 3);
    wanted_ = 1;
    ASSERT_TRUE(node_.Until([&] { return !node_.cannot_start.empty(); }));
  }
  EXPECT_NE(node_.cannot_start[0].find("Too many open files"), std::string::npos)
      << node_.cannot_start[0];
  node_.cannot_start.clear();
  EXPECT_NE(node_.AwaitWorker().connection, nullptr);
}

TEST_F(WorkerHostTest, AFreshWorkerForWhichNoDescriptorWasFreeIsKilledAllTheSame) {
  if (kIsSanitized) GTEST_SKIP();
  Start();
  const std::string python = node_.options.session_dir + "/stubborn";
  std::ofstream(python) << "#!/bin/sh\nexec sleep 1000\n";  // it does not see its socket close
  ::chmod(python.c_str(), 0700);
  const auto driver = node_.AddDriver(kOther, true, JobPython{python, ""});
  const auto named = [] {
    size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      const auto what = std::filesystem::read_symlink(entry, gone).string();
      count += what.find("pidfd") != std::string::npos ? 1 : 0;
    }
    return count;
  };
  std::vector<UniqueFd> taken;
  while (taken.empty() || taken.back().valid()) {
    taken.emplace_back(::fcntl(0, F_DUPFD_CLOEXEC, 0));
  }
  taken.resize(taken.size() - 7);  // for its pipes and its socket: six, and one that is none
  node_.workers.Ensure({{{kOther, {}}, 1}});
  taken.clear();
  ASSERT_EQ(node_.workers.pool().workers().size(), 1u);
  EXPECT_EQ(named(), 0u);
  node_.workers.Kill(node_.workers.pool().workers().begin()->first, "its job ended", true);
  ASSERT_NE(AwaitDeath(), nullptr);
}

// --- Output -----------------------------------------------------------------------------------

TEST_F(WorkerHostTest, OutputOfAWorkerReachesTheDriverOfItsJob) {
  Start();
  wanted_ = 1;
  const auto worker = node_.AwaitWorker();
  ASSERT_TRUE(node_.workers.Take({kJob, {}}, false));
  Print(worker.out,
        "\x1e"
        "cyray-label:f\nhello\n");
  const auto frame = node_.Await(*driver_, FrameType::kLogLines);
  ASSERT_TRUE(frame);
  const auto* lines = frame->As<wire::LogLines>();
  EXPECT_EQ(lines->label()->str(), "f");
  EXPECT_EQ(lines->lines()->Get(0)->str(), "hello");
  EXPECT_EQ(lines->pid(), worker.life->pid());
}

TEST_F(WorkerHostTest, ALineWithoutItsEndReachesADriverThatLeaves) {
  Start();
  wanted_ = 1;
  const auto worker = node_.AwaitWorker();
  ASSERT_TRUE(node_.workers.Take({kJob, {}}, false));
  Print(worker.out, "no newline");
  node_.on_frame = [this](ClientConnection& client, wire::Frame& frame) {
    return node_.feed.OnFlushOutput(client, frame.As<wire::FlushOutput>());
  };
  driver_->Send(FrameType::kFlushOutput,
                [](auto& builder) { return wire::CreateFlushOutput(builder, 1); });
  ASSERT_TRUE(node_.Await(*driver_, FrameType::kFlushOutputReply));
  const auto frame = driver_->Take(FrameType::kLogLines);
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->As<wire::LogLines>()->lines()->Get(0)->str(), "no newline");
}

TEST_F(WorkerHostTest, WhatIsPrintedAtTheEndOfTheNodeIsInTheFile) {
  Start();
  wanted_ = 1;
  const auto worker = node_.AwaitWorker();
  Print(worker.err, "the last words");
  node_.workers.KillAll();
  node_.shell.AwaitGone(1000);
  std::ifstream file(node_.options.session_dir + "/logs/worker-" + worker.id.Hex() + "-" +
                     std::to_string(worker.life->pid()) + ".err");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(text, "the last words\n");
}

}  // namespace
}  // namespace cyray::raylet
