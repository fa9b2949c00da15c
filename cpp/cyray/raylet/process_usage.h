// What the processes of a node and its machine use, as the kernel says it in /proc.
//
// Threading: functions may be called on any thread; a CpuMeter is confined to its owner, and pure.

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cyray/util/machine.h"
#include "cyray/util/recent.h"

namespace cyray::raylet {

// A process of the node, and what it is: "raylet", "worker".
struct NodeProcess {
  const char* component;
  pid_t pid;
};

struct ProcessUsage {
  uint64_t rss_bytes = 0;
  uint64_t shared_bytes = 0;  // of these: files, and shared memory such as the object store
  uint64_t cpu_ms = 0;        // since its start, in all threads
  uint64_t start_ticks = 0;   // tells it from others that have its number before or after it
};
// None: there is no such process, or it cannot be read now.
std::optional<ProcessUsage> UsageOf(pid_t pid);
// How many descriptors this process has open.
uint64_t OwnDescriptors();

struct ComponentUsage {
  std::string component;
  uint64_t processes = 0;
  uint64_t rss_bytes = 0;
  uint64_t shared_bytes = 0;
  uint64_t cpu_ms = 0;  // ever, of those that ended too
};

// Sums by component. What a process has used counts on when it has ended, from its last sample, so
// that the time of a component never shrinks. What of it was counted is remembered when the process
// is not among the samples: a driver connects again, a file of the kernel's cannot be read for
// once.
class CpuMeter {
 public:
  static constexpr size_t kMostAway = 10'000;  // latest ones: most of them have ended
  struct Sample {
    NodeProcess process;
    ProcessUsage usage;
  };
  // All processes that there are now, each once: one that is there again is passed over. A
  // component that was there once stays.
  std::vector<ComponentUsage> Add(const std::vector<Sample>& samples);

 private:
  using Process = std::pair<pid_t, uint64_t>;  // and its start
  std::map<std::string, uint64_t> cpu_ms_;
  std::map<Process, uint64_t> counted_;        // ms, of those in the last samples
  Recent<Process, uint64_t> away_{kMostAway};  // of others
};

struct MachineUsage {
  MachineMemory memory;
  uint64_t cpu_count = 0;
  // Of all CPUs of the machine, since it started. None: it cannot be read now.
  std::optional<uint64_t> cpu_busy_ms;
};
MachineUsage UsageOfMachine();

}  // namespace cyray::raylet
