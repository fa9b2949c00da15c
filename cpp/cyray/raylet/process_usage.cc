#include "cyray/raylet/process_usage.h"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
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

std::optional<uint64_t> BusyTimeOfMachine() {
  // "cpu  user nice system idle iowait irq softirq steal guest ...", guest counted in user.
  unsigned long long user = 0, nice = 0, system = 0, irq = 0, soft = 0;
  if (std::sscanf(ReadKernelFile("/proc/stat").c_str(), "cpu %llu %llu %llu %*u %*u %llu %llu",
                  &user, &nice, &system, &irq, &soft) != 5) {
    return std::nullopt;
  }
  return FromTicks(user + nice + system + irq + soft);
}

}  // namespace

std::optional<ProcessUsage> UsageOf(pid_t pid) {
  const auto process = ReadProcess(pid);
  if (!process) return std::nullopt;
  const std::string statm = ReadKernelFile("/proc/" + std::to_string(pid) + "/statm");
  unsigned long long rss = 0, shared = 0;
  if (std::sscanf(statm.c_str(), "%*u %llu %llu", &rss, &shared) != 2) return std::nullopt;
  static const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return ProcessUsage{rss * page, shared * page, FromTicks(process->cpu_ticks),
                      process->start_ticks};
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
  std::map<Process, uint64_t> before = std::exchange(counted_, {});
  for (const Sample& sample : samples) {
    const Process process(sample.process.pid, sample.usage.start_ticks);
    if (counted_.contains(process)) continue;  // a driver that connects again before it has left
    ComponentUsage& sum = sums[sample.process.component];
    sum.component = sample.process.component;
    ++sum.processes;
    sum.rss_bytes += sample.usage.rss_bytes;
    sum.shared_bytes += sample.usage.shared_bytes;
    uint64_t counted = 0;
    if (const auto last = before.extract(process)) {
      counted = last.mapped();
    } else if (const uint64_t* last_seen = away_.Find(process)) {
      counted = *last_seen;
      away_.Remove(process);
    }
    const uint64_t used = std::max(sample.usage.cpu_ms, counted);
    cpu_ms_[sum.component] += used - counted;
    counted_[process] = used;
  }
  for (const auto& [process, counted] : before) away_.Add(process, counted, 0);
  std::vector<ComponentUsage> out;
  for (auto& [component, sum] : sums) {
    sum.cpu_ms = cpu_ms_[component];
    out.push_back(std::move(sum));
  }
  return out;
}

MachineUsage UsageOfMachine() { return {MemoryOfMachine(), CpusOfMachine(), BusyTimeOfMachine()}; }

}  // namespace cyray::raylet
