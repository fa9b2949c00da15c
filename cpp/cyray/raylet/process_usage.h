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
};
// None: there is no such process.
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
// that the time of a component never shrinks.
class CpuMeter {
 public:
  struct Sample {
    NodeProcess process;
    ProcessUsage usage;
  };
  // All processes that there are now. A component that was there once stays.
  std::vector<ComponentUsage> Add(const std::vector<Sample>& samples);

 private:
  std::map<std::string, uint64_t> cpu_ms_;
  std::map<std::pair<std::string, pid_t>, uint64_t> last_;  // of those that there were
};

struct MachineUsage {
  uint64_t memory_bytes = 0;
  uint64_t available_bytes = 0;
  uint64_t cpu_count = 0;    // online
  uint64_t cpu_busy_ms = 0;  // of all of them, since the machine started
};
MachineUsage UsageOfMachine();

}  // namespace cyray::raylet
