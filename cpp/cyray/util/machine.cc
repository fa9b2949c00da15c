#include "cyray/util/machine.h"

#include <sched.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include "cyray/util/kernel_files.h"

namespace cyray {
namespace {

constexpr const char* kGroups = "/sys/fs/cgroup";
constexpr int kMostCpus = 1 << 16;

uint64_t NumberOr(uint64_t otherwise, const std::string& path) {
  return NumberIn(ReadKernelFile(path)).value_or(otherwise);
}

// Those of this process's control group and of all above it, whose limits count too.
std::vector<std::string> GroupFolders(const std::string& root) {
  std::vector<std::string> folders{root + kGroups};
  const std::string groups = ReadKernelFile(root + "/proc/self/cgroup");
  const size_t at = groups.find("0::/");
  if (at == std::string::npos || (at > 0 && groups[at - 1] != '\n')) return folders;
  std::string path = groups.substr(at + 3, groups.find('\n', at) - at - 3);
  for (; path.size() > 1; path.resize(path.rfind('/'))) folders.push_back(folders[0] + path);
  return folders;
}

// Cuts the memory by one group: its room is its limit - (used - what can be dropped at once).
void CutBy(const std::string& limit_file, const std::string& used_file, const std::string& folder,
           const char* reclaimable, MachineMemory* memory) {
  constexpr uint64_t kUnknown = MachineMemory::kUnknown;
  const uint64_t limit = NumberOr(kUnknown, folder + limit_file);
  if (limit == kUnknown) return;
  memory->total_bytes = std::min(memory->total_bytes, limit);
  uint64_t used = NumberOr(kUnknown, folder + used_file);
  if (used == kUnknown) return;
  const std::string stat = ReadKernelFile(folder + "/memory.stat", 16 << 10);
  used -= std::min(used, NumberAfter(stat, reclaimable).value_or(0));
  memory->available_bytes = std::min(memory->available_bytes, limit - std::min(limit, used));
}

uint64_t Affinity() {
  for (int cpus = 1024; cpus <= kMostCpus; cpus *= 2) {  // as large as the kernel's set has to be
    cpu_set_t* const set = CPU_ALLOC(cpus);
    const size_t bytes = CPU_ALLOC_SIZE(cpus);
    const int count = ::sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return static_cast<uint64_t>(count);
  }
  return 1;
}

}  // namespace

MachineMemory MemoryOfMachine(const std::string& root) {
  MachineMemory memory;
  const std::string said = ReadKernelFile(root + "/proc/meminfo");
  if (const auto total = NumberAfter(said, "MemTotal:")) memory.total_bytes = *total * 1024;
  if (const auto left = NumberAfter(said, "MemAvailable:")) memory.available_bytes = *left * 1024;
  for (const std::string& folder : GroupFolders(root)) {
    CutBy("/memory.max", "/memory.current", folder, "inactive_file", &memory);
  }
  CutBy("/memory.limit_in_bytes", "/memory.usage_in_bytes", root + kGroups + "/memory",
        "total_inactive_file", &memory);
  return memory;
}

uint64_t CpusOfMachine(const std::string& root) {
  uint64_t cpus = Affinity();
  const auto cut = [&](std::optional<uint64_t> quota, std::optional<uint64_t> period) {
    if (!quota || !period || *quota == 0 || *period == 0) return;
    cpus = std::min(cpus, std::max<uint64_t>(*quota / *period, 1));
  };
  for (const std::string& folder : GroupFolders(root)) {
    const std::string most = ReadKernelFile(folder + "/cpu.max");  // "200000 100000", "max 100000"
    const size_t space = most.find(' ');
    if (space != std::string::npos) cut(NumberIn(most), NumberIn(most.substr(space)));
  }
  const std::string old = root + kGroups + "/cpu/cpu.cfs_";
  cut(NumberIn(ReadKernelFile(old + "quota_us")), NumberIn(ReadKernelFile(old + "period_us")));
  return cpus;
}

}  // namespace cyray
