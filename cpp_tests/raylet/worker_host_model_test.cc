// WorkerHost under virtual time with played processes: random lives and deaths of workers, and
// what the time limits do.
//
// Each worker that was started is declared dead once, and forgotten not before its process is gone
// or was killed; nobody gets a worker that works for another or is dying; in the end nobody is
// remembered, whether anybody told of the exits or not.

#include <gtest/gtest.h>

#include <iterator>
#include <map>
#include <set>

#include "cyray/raylet/worker_host.h"
#include "cyray/sim/virtual_runtime.h"
#include "cyray/sim/virtual_time.h"
#include "cyray/util/log.h"

namespace cyray::raylet {
namespace {

constexpr int64_t kMs = 1'000'000;

class PlayedProcesses : public WorkerProcesses {
 public:
  struct Process {
    int number;  // in the order of their starts
    int pid = 0;
    bool registered = false, connected = true, lives = true, killed = false, asked = false;
    JobId job;
  };

  void set_events(WorkerEvents* events) override { events_ = events; }
  void Open() override { open_ = true; }
  void Close() override { open_ = false; }
  Status Start(const WorkerId& worker, const JobPython*) override {
    EXPECT_TRUE(open_);
    if (refuses) return {StatusCode::kUnavailable, "no descriptors"};
    all[worker] = {.number = ++last_number_};
    return Status::Ok();
  }
  bool Kill(const WorkerId& worker) override {
    Process& process = all.at(worker);
    process.killed = true;
    return process.lives;
  }
  void NamePid(const WorkerId&, int) override {}
  void TellJob(const WorkerId& worker, const Job& job) override {
    Process& process = all.at(worker);
    EXPECT_TRUE(process.job.is_nil()) << "it is told once";
    process.job = job.id;
  }
  void AskToExit(const WorkerId& worker, const std::string&, bool) override {
    all.at(worker).asked = true;
  }
  void ReadOut(const WorkerId& worker) override {
    EXPECT_FALSE(parted.contains(worker));
    if (says_last) says_last(worker);
  }
  void Part(const WorkerId& worker, const std::string&) override {
    all.at(worker).connected = false;
    EXPECT_TRUE(parted.insert(worker).second) << "it parts once";
  }
  void Forget(const WorkerId& worker) override {
    EXPECT_TRUE(parted.contains(worker));
    EXPECT_FALSE(all.at(worker).lives && !all.at(worker).killed) << "it runs on";
    all.erase(worker);
  }
  void Drain(const WorkerId&) override {}
  std::string LastWords(const WorkerId&, bool) const override { return "its last words"; }

  // What the processes do.
  void Forked(const WorkerId& worker) {
    all.at(worker).pid = ++last_pid_;
    events_->OnForked(worker, last_pid_);
  }
  void Exits(const WorkerId& worker) {
    all.at(worker).lives = false;
    events_->OnExited(worker, "exit code 0");
  }
  void Lost(const WorkerId& worker, bool again) {
    all.at(worker).lives = false;
    events_->OnNeverStarted(worker, "its zygote died", true, again);
  }

  // It is gone, and who was to tell of that too.
  void Vanishes(const WorkerId& worker) { all.at(worker).lives = false; }

  std::map<WorkerId, Process> all;
  std::set<WorkerId> parted;
  std::function<void(const WorkerId&)> says_last;  // is read when its end is known
  bool refuses = false;

 private:
  WorkerEvents* events_ = nullptr;
  bool open_ = false;
  int last_number_ = 0;
  int last_pid_ = 0;
};

class WorkerHostModel : public ::testing::Test {
 protected:
  explicit WorkerHostModel(uint64_t seed = 1) : time_(seed) {
    options_.resources.Set("CPU", 2 * kResourceUnit);
    options_.prestart = 0;
    for (const JobId& job : jobs_of_) jobs_.Add({job, {}, "", {}});
    SetMinLogLevel(LogLevel::kError);  // each failed start is told
    workers_.Start();
  }
  ~WorkerHostModel() override { SetMinLogLevel(log_level_); }
  void RunFor(int64_t ms) { time_.RunFor(ms * kMs); }
  WorkerId StartOne(bool registers = true) {
    workers_.Ensure({{{jobs_of_[0], {}}, 1}});
    EXPECT_EQ(processes_.all.size(), 1u);
    const WorkerId worker = processes_.all.begin()->first;
    processes_.Forked(worker);
    if (registers) workers_.OnRegistered(worker, 1);
    return worker;
  }

  const std::vector<JobId> jobs_of_{JobId::FromBytes("job1"), JobId::FromBytes("job2")};
  const LogLevel log_level_ = MinLogLevel();
  sim::VirtualTime time_;
  sim::VirtualRuntime runtime_{&time_};
  NodeOptions options_;
  JobBook jobs_;
  PlayedProcesses processes_;
  std::map<WorkerId, DeadWorker> died_;
  std::vector<std::string> cannot_start_;
  WorkerHost workers_{
      {&runtime_, &options_, &processes_, &jobs_},
      {[] {},
       [this](const DeadWorker& dead) {
         EXPECT_TRUE(died_.emplace(dead.id, dead).second) << "it dies once";
       },
       [this](const std::string& why) { cannot_start_.push_back(why); },
       [](const JobId&, const std::string&) {}, [](const JobId&, const WorkerLines&) {}}};
};

TEST_F(WorkerHostModel, AWorkerThatDoesNotRegisterInHalfAMinuteIsKilled) {
  const WorkerId worker = StartOne(/*registers=*/false);
  RunFor(29'000);
  EXPECT_FALSE(processes_.all.at(worker).killed);
  RunFor(2'000);
  EXPECT_TRUE(processes_.all.at(worker).killed);
  processes_.Exits(worker);
  RunFor(1'000);
  EXPECT_EQ(died_.at(worker).reason, "it did not register in time");
}

TEST_F(WorkerHostModel, ThatTheRayletStoodStillIsNotCountedAgainstWorkers) {
  const WorkerId worker = StartOne(/*registers=*/false);
  RunFor(10'000);
  runtime_.Pause();
  RunFor(40'000);
  runtime_.Continue();
  RunFor(19'000);
  EXPECT_FALSE(processes_.all.at(worker).killed);
  workers_.OnRegistered(worker, 1);
  workers_.AskToExit(worker, "it was idle", 100, /*if_unused=*/false);
  runtime_.Pause();
  RunFor(40'000);
  runtime_.Continue();
  RunFor(90);
  EXPECT_FALSE(processes_.all.at(worker).killed) << "it has had no time";
  RunFor(20);
  EXPECT_TRUE(processes_.all.at(worker).killed);
}

TEST_F(WorkerHostModel, OneThatRegisteredIsNotKilledForIt) {
  const WorkerId worker = StartOne();
  RunFor(60'000);
  EXPECT_FALSE(processes_.all.at(worker).killed);
}

TEST_F(WorkerHostModel, OneThatSaysThatItLeavesAndStaysIsKilled) {
  const WorkerId worker = StartOne();
  ASSERT_EQ(workers_.Take({jobs_of_[0], {}}, false), worker);
  workers_.OnExiting(worker, true, "it had enough");
  RunFor(29'000);
  EXPECT_FALSE(processes_.all.at(worker).killed);
  RunFor(2'000);
  EXPECT_TRUE(processes_.all.at(worker).killed);
  processes_.Exits(worker);
  workers_.OnConnectionClosed(worker);
  EXPECT_EQ(died_.at(worker).reason, "it had enough");
  EXPECT_TRUE(died_.at(worker).intended);
}

TEST_F(WorkerHostModel, ADeathIsToldWithItsReasonOrAfterAMoment) {
  const WorkerId worker = StartOne();
  workers_.OnConnectionClosed(worker);
  EXPECT_TRUE(died_.empty()) << "why may come";
  RunFor(299);
  EXPECT_TRUE(died_.empty());
  RunFor(2);
  EXPECT_EQ(died_.at(worker).reason, "its connection closed (its exit status is not known yet)");
  RunFor(1);
  EXPECT_TRUE(processes_.all.at(worker).killed) << "nobody knows that it is gone";
  processes_.Exits(worker);
  EXPECT_TRUE(processes_.all.empty());
}

TEST_F(WorkerHostModel, AfterFailuresThePausesGrowAndWhoWaitsIsTold) {
  processes_.refuses = true;
  int tries = 0;
  for (int64_t ms = 0; ms < 400; ++ms) {
    const size_t told = cannot_start_.size();
    workers_.Ensure({{{jobs_of_[0], {}}, 1}});
    RunFor(1);
    tries += cannot_start_.size() > told ? 1 : 0;
  }
  ASSERT_EQ(tries, 1) << "five failures, with pauses of 10 ms and more";
  EXPECT_NE(cannot_start_[0].find("its last words"), std::string::npos);
}

TEST_F(WorkerHostModel, OneWhoseRegistrationIsReadWithItsDeathDidComeUp) {
  processes_.says_last = [this](const WorkerId& worker) {
    workers_.OnRegistered(worker, 1);
    workers_.OnConnectionClosed(worker);  // which is read there, too
  };
  for (size_t i = 1; i <= 10; ++i) {
    const WorkerId worker = StartOne(/*registers=*/false);
    processes_.Exits(worker);
    RunFor(501);
    ASSERT_EQ(died_.size(), i);
  }
  EXPECT_TRUE(cannot_start_.empty());
}

TEST_F(WorkerHostModel, OneThatEndsBeforeItsForkIsToldAndNeverIsDiesOnce) {
  workers_.Ensure({{{jobs_of_[0], {}}, 1}});
  const WorkerId worker = processes_.all.begin()->first;
  workers_.OnConnectionClosed(worker);
  RunFor(501);
  EXPECT_TRUE(died_.contains(worker));
  EXPECT_FALSE(processes_.all.empty()) << "it may still run";
  processes_.Lost(worker, /*again=*/false);
  EXPECT_TRUE(processes_.all.empty());
}

TEST_F(WorkerHostModel, OneWhoseExitNobodyTellsOfIsForgotten) {
  const WorkerId worker = StartOne();
  workers_.OnConnectionClosed(worker);
  RunFor(302);
  EXPECT_TRUE(died_.contains(worker) && processes_.all.at(worker).killed);
  processes_.Vanishes(worker);
  RunFor(6'000);
  EXPECT_TRUE(processes_.all.empty());
}

TEST_F(WorkerHostModel, OneThatIsGoneWithoutAWordDiesWhenItIsKilled) {
  const WorkerId worker = StartOne();
  processes_.Vanishes(worker);
  workers_.Kill(worker, "its actor ended", true);
  RunFor(302);
  EXPECT_EQ(died_.at(worker).reason, "its actor ended");
  RunFor(6'000);
  EXPECT_TRUE(processes_.all.empty());
}

TEST_F(WorkerHostModel, SayingThatItLeavesGivesOneThatWasAskedToNoMoreTime) {
  const WorkerId worker = StartOne();
  workers_.AskToExit(worker, "it was idle", 5'000, /*if_unused=*/false);
  workers_.OnExiting(worker, true, "it was idle");
  RunFor(5'001);
  EXPECT_TRUE(processes_.all.at(worker).killed);
}

class WorkerHostLives : public WorkerHostModel, public ::testing::WithParamInterface<uint64_t> {
 protected:
  WorkerHostLives() : WorkerHostModel(GetParam()) {
    processes_.says_last = [this](const WorkerId& worker) { SayLast(worker); };
  }
  uint64_t Draw(uint64_t bound) { return time_.Below(bound); }
  // One that is like that; nil: there is none. Their ids differ from run to run, so the choice is
  // by number: one seed, one history.
  template <class Suits>
  WorkerId Some(Suits suits) {
    std::map<int, WorkerId> found;
    for (const auto& [id, process] : processes_.all) {
      if (suits(id, process)) found.emplace(process.number, id);
    }
    if (found.empty()) return WorkerId::Nil();
    return std::next(found.begin(), static_cast<int>(Draw(found.size())))->second;
  }
  void Step();
  void Play(const WorkerId& worker, uint64_t what);
  void SayLast(const WorkerId& worker);
  std::string WhoIsLeft() const;

  std::map<WorkerId, JobId> busy_;
};

void WorkerHostLives::Play(const WorkerId& worker, uint64_t what) {
  if (worker.is_nil()) return;
  PlayedProcesses::Process& process = processes_.all.at(worker);
  if (what == 0 && process.pid == 0) {
    if (Draw(10) == 0) {
      processes_.Lost(worker, Draw(2) == 0);
    } else {
      processes_.Forked(worker);
    }
  } else if (what == 1 && process.pid != 0 && !process.registered && process.connected) {
    process.registered = true;
    workers_.OnRegistered(worker, process.pid);
  } else if (what == 2 && process.pid != 0) {
    processes_.Exits(worker);
  } else if (what == 3 && process.connected) {
    process.connected = false;
    workers_.OnConnectionClosed(worker);
  } else if (what == 4 && process.connected) {
    processes_.Vanishes(worker);
    process.connected = false;
    workers_.OnConnectionClosed(worker);
  }
}

void WorkerHostLives::SayLast(const WorkerId& worker) {
  PlayedProcesses::Process& process = processes_.all.at(worker);
  if (!process.connected) return;
  if (Draw(2) == 0 && !std::exchange(process.registered, true)) workers_.OnRegistered(worker, 1);
  if (process.registered && Draw(3) == 0) workers_.OnExiting(worker, true, "it leaves");
  if (process.registered && Draw(3) == 0) workers_.OnStays(worker);
  if (Draw(2) == 0) workers_.OnConnectionClosed(worker);
}

std::string WorkerHostLives::WhoIsLeft() const {
  std::string text;
  for (const auto& [id, process] : processes_.all) {
    text += id.Hex() + " pid " + std::to_string(process.pid) +
            (process.lives ? " lives" : " ended") + (process.registered ? " registered" : "") +
            (process.connected ? " connected" : "") + (process.killed ? " killed" : "") +
            (died_.contains(id) ? " declared" : "") + "\n";
  }
  return text;
}

void WorkerHostLives::Step() {
  const JobId job = jobs_of_[Draw(2)];
  const auto lives = [](const auto&, const auto& process) { return process.lives; };
  switch (Draw(10)) {
    case 0:
    case 1:
      workers_.Ensure({{{job, {}}, static_cast<int>(1 + Draw(3))}});
      return;
    case 2:
    case 3:
    case 4:
      if (const auto worker = workers_.Take({job, {}}, Draw(4) == 0)) {
        EXPECT_TRUE(busy_.emplace(*worker, job).second) << "it works for somebody";
        const auto it = processes_.all.find(*worker);
        ASSERT_NE(it, processes_.all.end());
        EXPECT_TRUE(it->second.connected && it->second.lives && !it->second.killed);
        EXPECT_EQ(it->second.job, job);
      }
      return;
    case 5:
      if (const WorkerId worker =
              Some([&](const auto& id, const auto&) { return busy_.contains(id); });
          !worker.is_nil()) {
        const WorkerPool::Worker* pooled = workers_.pool().Find(worker);
        if (pooled != nullptr && pooled->state == WorkerState::kActor) {
          workers_.Kill(worker, "its actor ended", true);
        } else {
          workers_.PutBack(worker);
          busy_.erase(worker);
        }
      }
      return;
    case 6:
      return Play(Some([](const auto&, const auto& one) { return one.asked && one.lives; }), 2);
    case 7:
      if (Draw(20) == 0) workers_.EndIdleOf(job);
      return;
    default:
      return Play(Some(lives), Draw(12) == 0 ? 2 + Draw(3) : Draw(2));
  }
}

TEST_P(WorkerHostLives, EachIsDeclaredDeadOnceAndNobodyIsLeft) {
  for (int i = 0; i < 5'000 && !HasFailure(); ++i) {
    Step();
    RunFor(static_cast<int64_t>(Draw(20)));
    workers_.pool().CheckInvariants();
    for (const auto& [id, dead] : died_) busy_.erase(id);
    // What was killed ends.
    std::vector<WorkerId> ending;
    for (const auto& [id, process] : processes_.all) {
      if (process.killed && process.lives && process.pid != 0) ending.push_back(id);
    }
    for (const WorkerId& id : ending) processes_.Exits(id);
  }
  EXPECT_GT(died_.size(), 50u);
  workers_.KillAll();
  std::vector<WorkerId> ending;
  for (const auto& [id, process] : processes_.all) {
    if (!process.lives) continue;
    EXPECT_TRUE(process.killed);
    ending.push_back(id);
  }
  for (const WorkerId& id : ending) {
    if (processes_.all.at(id).pid == 0) processes_.Forked(id);
    processes_.Exits(id);
  }
  RunFor(60'000);
  EXPECT_TRUE(processes_.all.empty()) << WhoIsLeft();
  EXPECT_TRUE(workers_.pool().workers().empty());
}

INSTANTIATE_TEST_SUITE_P(Seeds, WorkerHostLives, ::testing::Range<uint64_t>(1, 101));

}  // namespace
}  // namespace cyray::raylet
