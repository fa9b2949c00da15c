#include "cyray/raylet/process_usage.h"

#include <dirent.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "cyray/raylet/process_tree.h"
#include "cyray/util/kernel_files.h"

namespace cyray::raylet {
namespace {

uint64_t FromTicks(uint64_t ticks) {
  static const auto per_second = static_cast<uint64_t>(::sysconf(_SC_CLK_TCK));
  return ticks * 1000 / per_second;
}

}  // namespace

std::optional<ProcessUsage> UsageOf(pid_t pid) {
  const auto process = ReadProcess(pid);
  if (!process) return std::nullopt;
  const std::string statm = ReadKernelFile("/proc/" + std::to_string(pid) + "/statm");
  unsigned long long rss = 0, shared = 0;
  if (std::sscanf(statm.c_str(), "%*u %llu %llu", &rss, &shared) != 2) return std::nullopt;
  static const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return ProcessUsage{rss * page, shared * page, FromTicks(process->cpu_ticks)};
}

uint64_t OwnDescriptors() {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir("/proc/self/fd"), &::closedir);
  if (!folder) return 0;
  uint64_t count = 0;
  while (::readdir(folder.get()) != nullptr) ++count;
  return count - 3;  // ".", "..", and the folder's own
}

std::vector<ComponentUsage> CpuMeter::Add(const std::vector<Sample>& samples) {
  std::map<std::string, ComponentUsage> sums;
  for (const auto& [component, used] : cpu_ms_) sums[component].component = component;
  std::map<std::pair<std::string, pid_t>, uint64_t> now;
  for (const Sample& sample : samples) {
    ComponentUsage& sum = sums[sample.process.component];
    sum.component = sample.process.component;
    ++sum.processes;
    sum.rss_bytes += sample.usage.rss_bytes;
    sum.shared_bytes += sample.usage.shared_bytes;
    const std::pair key(sum.component, sample.process.pid);
    const auto before = last_.find(key);
    // Less than before: another process has its number.
    const bool same = before != last_.end() && before->second <= sample.usage.cpu_ms;
    cpu_ms_[sum.component] += sample.usage.cpu_ms - (same ? before->second : 0);
    now[key] = sample.usage.cpu_ms;
  }
  last_ = std::move(now);
  std::vector<ComponentUsage> out;
  for (auto& [component, sum] : sums) {
    sum.cpu_ms = cpu_ms_[component];
    out.push_back(std::move(sum));
  }
  return out;
}

MachineUsage UsageOfMachine() {
  MachineUsage usage;
  const std::string memory = ReadKernelFile("/proc/meminfo");
  usage.memory_bytes = NumberAfter(memory, "MemTotal:").value_or(0) * 1024;
  usage.available_bytes = NumberAfter(memory, "MemAvailable:").value_or(0) * 1024;
  usage.cpu_count = static_cast<uint64_t>(::sysconf(_SC_NPROCESSORS_ONLN));
  // "cpu  user nice system idle iowait irq softirq steal guest ...", guest counted in user.
  unsigned long long user = 0, nice = 0, system = 0, irq = 0, soft = 0;
  if (std::sscanf(ReadKernelFile("/proc/stat").c_str(), "cpu %llu %llu %llu %*u %*u %llu %llu",
                  &user, &nice, &system, &irq, &soft) == 5) {
    usage.cpu_busy_ms = FromTicks(user + nice + system + irq + soft);
  }
  return usage;
}

}  // namespace cyray::raylet
