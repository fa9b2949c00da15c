// The processes of this machine as /proc tells them, and signals that cannot hit another one.
//
// For the ends of nodes and workers, who descends from whom and who is a resource tracker of
// Python's; for metrics, what each has used.
// Threading: none of its own; each call reads /proc anew. Invariant: a signal reaches the process
// that was looked at or nobody, also when its number was given to another one meanwhile.

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace cyray::raylet {

struct ProcessInfo {
  pid_t pid = 0;
  pid_t parent = 0;
  pid_t session = 0;
  uint64_t start_ticks = 0;  // with the pid it names one process for as long as the machine runs
  uint64_t cpu_ticks = 0;    // that its threads have run
  bool zombie = false;
};
// None: there is no such process.
std::optional<ProcessInfo> ReadProcess(pid_t pid);

// All processes that can be read.
std::vector<ProcessInfo> ListProcesses();
// Those of `all` that descend from `root`, without it.
std::vector<ProcessInfo> Descendants(const std::vector<ProcessInfo>& all, pid_t root);

// The children of this process's first thread, its orphans too.
std::vector<ProcessInfo> OwnChildren();

enum class ProcessKind : uint8_t {
  kOther,
  // Of Python's multiprocessing (or joblib's): it waits until those who made semaphores and
  // segments in /dev/shm are gone, and then removes these.
  kResourceTracker,
  kUnknown,  // it has no command line: it is in the middle of an exec, or gone; the next look tells
};
ProcessKind KindOf(pid_t pid);

// Sends SIGKILL to that very process. False when it is gone, or not ours to kill.
bool KillProcess(const ProcessInfo& process);

}  // namespace cyray::raylet
