// ProcessSupervisor: starts child processes and tells when they end.
//
// Children get a signal (SIGKILL) when this process dies, an unblocked signal mask, and only the
// descriptors named for them. What a child that leads a session leaves behind becomes this
// process's and is killed, unless it made a session of its own: that one lives until the node ends.
// SIGCHLD and SIGTERM must be blocked (BlockSignals) before any thread starts. Threading: confined
// to the raylet's loop, whose thread must live as long as the process. Invariant: nothing but this
// class reaps this process's children, so that a child's pid is its own until then.

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cyray/raylet/dead_sessions.h"
#include "cyray/util/event_loop.h"
#include "cyray/util/status.h"
#include "cyray/util/timer.h"
#include "cyray/util/unique_fd.h"

namespace cyray::raylet {

struct SpawnRequest {
  std::vector<std::string> argv;                         // argv[0] is looked up in PATH
  std::vector<std::pair<std::string, std::string>> env;  // added to this process's
  std::string directory;                                 // to start in; empty: this one's
  int stdout_fd = -1;                                    // -1: as this process's
  int stderr_fd = -1;
  int death_signal = 9;        // what it gets when this process dies
  bool holds_signal = false;   // that one waits, blocked, until the child takes it
  bool adopts = false;         // orphans below it become its children, not this process's
  bool own_session = false;    // what it starts can be told from what others start
  std::vector<int> inherited;  // descriptors the child keeps, under the same numbers
};

// How the processes below this one end.
struct EndPlan {
  pid_t last = 0;  // killed when all others are gone: it ends them too, when this process is killed
  pid_t gentle = 0;  // was asked to end, and has `gentle_ms` for that
  int64_t gentle_ms = 0;
  int64_t trackers_ms = 0;  // for Python's resource trackers to clean up after all others
  int64_t limit_ms = 0;     // for the kernel to end what was killed
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
  // Kills, without the loop, every process below this one, until none is left. One that forks
  // meanwhile leaves a child that the next look finds. Callbacks do not run.
  void EndDescendants(const EndPlan& plan);

 private:
  void OnSignal();
  void Reap();
  void EndOrphans();

  EventLoop* const loop_;
  UniqueFd signals_;
  std::unordered_map<pid_t, ExitCallback> children_;
  DeadSessions dead_sessions_;
  std::vector<UniqueFd> reserve_;  // descriptors for the end of all, when others are used up
  std::function<void(pid_t, int)> on_orphan_exit_;
  std::function<void()> on_terminate_;

  Timer look_again_;  // runs while dead sessions may have orphans
};

// Opens a log file of the session for appending.
UniqueFd OpenLog(const std::string& path);
// "exit code 1", "killed by signal 9".
std::string DescribeExit(int wait_status, int64_t most_bytes = 0);
// The last lines of a file, at most `bytes` of them.
std::string TailOf(const std::string& path, size_t bytes);

}  // namespace cyray::raylet
