// What this machine offers: memory and CPUs, as the kernel and the control groups of this process
// limit them. What python/cyray/_os/machine.py says to who starts a node.
// Functions without state, for any thread; each reads /proc and /sys anew. `root`: where these are.

#pragma once

#include <cstdint>
#include <limits>
#include <string>

namespace cyray {

struct MachineMemory {
  static constexpr uint64_t kUnknown = std::numeric_limits<uint64_t>::max();
  uint64_t total_bytes = kUnknown;
  uint64_t available_bytes = kUnknown;  // what this process may still take
};
MachineMemory MemoryOfMachine(const std::string& root = "");

// CPUs that this process may use: its affinity, cut by quotas.
uint64_t CpusOfMachine(const std::string& root = "");

}  // namespace cyray
