// ProcessSupervisor: starts child processes and tells when they end.
//
// Children get a signal (SIGKILL) when this process dies, an unblocked signal mask, and only the
// descriptors named for them. SIGCHLD and SIGTERM must be blocked (BlockSignals) before any thread
// starts. Threading: confined to the raylet's loop, whose thread must live as long as the process.

#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cyray/util/event_loop.h"
#include "cyray/util/status.h"
#include "cyray/util/unique_fd.h"

namespace cyray::raylet {

struct SpawnRequest {
  std::vector<std::string> argv;                         // argv[0] is looked up in PATH
  std::vector<std::pair<std::string, std::string>> env;  // added to this process's
  std::string directory;                                 // to start in; empty: this one's
  int stdout_fd = -1;                                    // -1: as this process's
  int stderr_fd = -1;
  int death_signal = 9;        // what it gets when this process dies
  bool adopts = false;         // orphans below it become its children, not this process's
  std::vector<int> inherited;  // descriptors the child keeps, under the same numbers
};

class ProcessSupervisor {
 public:
  using ExitCallback = std::function<void(int wait_status)>;

  explicit ProcessSupervisor(EventLoop* loop);
  ~ProcessSupervisor();

  // To be called first in main().
  static void BlockSignals();

  Result<pid_t> Spawn(const SpawnRequest& request, ExitCallback on_exit);
  // Processes that were not started here but whose parent ended (workers of a dead zygote, and what
  // they or fresh workers started): they become this process's children.
  void set_on_orphan_exit(std::function<void(pid_t, int wait_status)> callback) {
    on_orphan_exit_ = std::move(callback);
  }
  void set_on_terminate(std::function<void()> callback) { on_terminate_ = std::move(callback); }
  // Waits, without the loop, until those children ended or `limit_ms` passed. Callbacks do not run.
  void AwaitEnds(int64_t limit_ms);
  void KillAll(int signal);
  // Kills, without the loop, every process below this one, until none is left or `limit_ms` passed.
  void EndDescendants(int64_t limit_ms);

 private:
  void OnSignal();
  void Reap();

  EventLoop* const loop_;
  UniqueFd signals_;
  std::unordered_map<pid_t, ExitCallback> children_;
  std::function<void(pid_t, int)> on_orphan_exit_;
  std::function<void()> on_terminate_;
};

// Opens a log file of the session for appending.
UniqueFd OpenLog(const std::string& path);
// "exit code 1", "killed by signal 9".
std::string DescribeExit(int wait_status);
// The last lines of a file, at most `bytes` of them.
std::string TailOf(const std::string& path, size_t bytes);

}  // namespace cyray::raylet
