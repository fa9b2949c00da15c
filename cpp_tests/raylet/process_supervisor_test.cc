// Tests of ProcessSupervisor with real child processes.

#include "cyray/raylet/process_supervisor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <set>

#include "cyray/raylet/process_tree.h"
#include "cyray/util/clock.h"

namespace cyray::raylet {
namespace {

class ProcessSupervisorTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { ProcessSupervisor::BlockSignals(); }
  int ExitOf(std::vector<std::string> argv, bool kill = false) {
    SpawnRequest request;
    request.argv = std::move(argv);
    std::optional<int> status;
    auto pid = supervisor_.Spawn(request, [&](int got) { status = got; });
    EXPECT_TRUE(pid);
    if (kill) ::kill(*pid, SIGKILL);
    const int64_t deadline = MonotonicMs() + 10'000;
    while (!status && MonotonicMs() < deadline) loop_.RunOnce(100);
    EXPECT_TRUE(status);
    return status.value_or(-1);
  }
  EventLoop loop_;
  ProcessSupervisor supervisor_{&loop_};
};

TEST_F(ProcessSupervisorTest, TellsTheExitCode) {
  EXPECT_EQ(DescribeExit(ExitOf({"sh", "-c", "exit 3"})), "exit code 3");
}

TEST_F(ProcessSupervisorTest, TellsTheSignal) {
  EXPECT_EQ(DescribeExit(ExitOf({"sleep", "60"}, true)), "killed by signal 9 (SIGKILL)");
}

TEST_F(ProcessSupervisorTest, AProgramThatDoesNotExistExitsWith127) {
  EXPECT_EQ(WEXITSTATUS(ExitOf({"/nonexistent/program"})), 127);
}

TEST_F(ProcessSupervisorTest, ChildrenHaveNoBlockedSignals) {
  EXPECT_EQ(
      WEXITSTATUS(ExitOf({"sh", "-c", "grep -q '^SigBlk:.*0000000000000000' /proc/self/status"})),
      0);
}

TEST_F(ProcessSupervisorTest, WhatItsChildrenLeftBehindIsEnded) {
  ExitOf({"sh", "-c", "sleep 1000 & setsid sh -c 'sleep 1000 & sleep 1000' &"});
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), 0) << "orphans are this process's children";
  supervisor_.EndDescendants({.limit_ms = 10'000});
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "none is left";
}

TEST_F(ProcessSupervisorTest, WhoForksWhileItIsEndedLeavesNobody) {
  // Each of these forks without end; the killed one's children are this process's and fork on.
  SpawnRequest request;
  request.argv = {"sh", "-c", "f() { while :; do sleep 1000 & sleep 0.005; done; }; f & f & f & f"};
  ASSERT_TRUE(supervisor_.Spawn(request, {}));
  while (Descendants(ListProcesses(), ::getpid()).size() < 20) ::usleep(1000);
  supervisor_.EndDescendants({.limit_ms = 10'000});
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "none is left";
}

TEST_F(ProcessSupervisorTest, WithoutFreeDescriptorsAllEndToo) {
  SpawnRequest request;
  request.argv = {"sh", "-c", "sleep 1000 & sleep 1000"};
  ASSERT_TRUE(supervisor_.Spawn(request, {}));
  while (Descendants(ListProcesses(), ::getpid()).size() < 3) ::usleep(1000);
  std::vector<UniqueFd> taken;
  while (taken.empty() || taken.back().valid()) {
    taken.emplace_back(::fcntl(0, F_DUPFD_CLOEXEC, 0));
  }
  supervisor_.EndDescendants({.limit_ms = 5'000});
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "none is left";
}

TEST_F(ProcessSupervisorTest, TheLastEndsAfterAllOthersAndTrackersByThemselves) {
  const auto folder =
      std::filesystem::temp_directory_path() / ("last" + std::to_string(::getpid()));
  std::filesystem::create_directory(folder);
  const auto fifo = folder / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  SpawnRequest holder, tracker, last;
  holder.argv = {"sh", "-c", "exec sleep 1000 > " + fifo.string()};
  // It ends when the holder of the pipe is gone, and notes that it did.
  tracker.argv = {"sh", "-c",
                  ": resource_tracker import main; cat " + fifo.string() + "; sleep 0.1; echo > " +
                      (folder / "cleaned").string()};
  last.argv = {"sleep", "1000"};
  ASSERT_TRUE(supervisor_.Spawn(holder, {}));
  ASSERT_TRUE(supervisor_.Spawn(tracker, {}));
  const auto pid = supervisor_.Spawn(last, {});
  ASSERT_TRUE(pid);
  while (Descendants(ListProcesses(), ::getpid()).size() < 4) ::usleep(1000);  // cat runs
  supervisor_.EndDescendants({.last = *pid, .trackers_ms = 10'000, .limit_ms = 20'000});
  EXPECT_TRUE(std::filesystem::exists(folder / "cleaned"));
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "none is left";
  std::filesystem::remove_all(folder);
}

TEST_F(ProcessSupervisorTest, OrphansOfASessionEndWithItAndThoseWithTheirOwnDoNot) {
  SpawnRequest request;
  request.argv = {"sh", "-c", "(sleep 1000; sleep 1000) & setsid sleep 1000 & sleep 0.2"};
  request.own_session = true;
  std::optional<int> status;
  ASSERT_TRUE(supervisor_.Spawn(request, [&](int got) { status = got; }));
  const int64_t deadline = MonotonicMs() + 10'000;
  const auto below = [] {
    auto all = Descendants(ListProcesses(), ::getpid());
    std::erase_if(all, [](const auto& process) { return process.zombie; });
    return all;
  };
  while ((!status || below().size() > 1) && MonotonicMs() < deadline) loop_.RunOnce(20);
  const auto left = below();
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].session, left[0].pid);
  supervisor_.EndDescendants({.limit_ms = 10'000});
}

TEST(KillProcess, LeavesALaterProcessWithTheSameNumberAlone) {
  const pid_t pid = ::fork();
  if (pid == 0) ::execlp("sleep", "sleep", "1000", nullptr);
  std::vector<ProcessInfo> all = Descendants(ListProcesses(), ::getpid());
  ASSERT_EQ(all.size(), 1u);
  ProcessInfo before = all[0];
  --before.start_ticks;
  EXPECT_FALSE(KillProcess(before));
  EXPECT_EQ(::waitpid(pid, nullptr, WNOHANG), 0);
  EXPECT_TRUE(KillProcess(all[0]));
  EXPECT_EQ(::waitpid(pid, nullptr, 0), pid);
}

TEST(Descendants, AreThoseBelowAlone) {
  // 1 -> 2 -> 4, 1 -> 3; 5 -> 6 -> 5 is what a list read too slowly may say.
  const std::vector<ProcessInfo> all = {{2, 1}, {3, 1}, {4, 2}, {5, 6}, {6, 5}};
  const auto pids = [&](pid_t root) {
    std::set<pid_t> found;
    for (const ProcessInfo& process : Descendants(all, root)) found.insert(process.pid);
    return found;
  };
  EXPECT_EQ(pids(1), (std::set<pid_t>{2, 3, 4}));
  EXPECT_EQ(pids(4), std::set<pid_t>{});
  EXPECT_EQ(pids(5), std::set<pid_t>{6});
}

TEST(TailOf, GivesWholeLinesFromTheEnd) {
  const auto path = std::filesystem::temp_directory_path() / "cyray_tail_test";
  std::ofstream(path) << "first line\nsecond\nthird\n";
  EXPECT_EQ(TailOf(path, 16), "second\nthird\n");
  EXPECT_EQ(TailOf(path, 1000), "first line\nsecond\nthird\n");
  EXPECT_EQ(TailOf("/nonexistent", 10), "");
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace cyray::raylet
