// Tests of ProcessSupervisor with real child processes.

#include "cyray/raylet/process_supervisor.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <optional>

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
  supervisor_.EndDescendants(10'000);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "none is left";
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
