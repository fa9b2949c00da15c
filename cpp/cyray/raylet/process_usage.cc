#include "cyray/raylet/process_usage.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "cyray/util/unique_fd.h"

namespace cyray::raylet {
namespace {

// The start of a file of the kernel's; empty when it cannot be read.
std::string Read(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return "";
  std::array<char, 4096> bytes;
  const ssize_t n = ::read(file.get(), bytes.data(), bytes.size());
  return n <= 0 ? "" : std::string(bytes.data(), static_cast<size_t>(n));
}

uint64_t FromTicks(uint64_t ticks) {
  static const auto per_second = static_cast<uint64_t>(::sysconf(_SC_CLK_TCK));
  return ticks * 1000 / per_second;
}

// "MemTotal:       24689204 kB".
uint64_t KilobytesAfter(const std::string& text, const char* key) {
  const size_t at = text.find(key);
  return at == std::string::npos ? 0
                                 : std::strtoull(text.c_str() + at + std::strlen(key), nullptr, 10);
}

}  // namespace

std::optional<ProcessUsage> UsageOf(pid_t pid) {
  const std::string folder = "/proc/" + std::to_string(pid);
  // pid (name) state ppid ...; the name may have anything in it but is the last with a bracket.
  const std::string stat = Read(folder + "/stat");
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  unsigned long long user = 0, system = 0;
  // The fields 14 and 15: the eleven before them are not read.
  if (std::sscanf(stat.c_str() + name_end + 1,
                  " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) != 2) {
    return std::nullopt;
  }
  const std::string statm = Read(folder + "/statm");
  unsigned long long rss = 0, shared = 0;
  std::sscanf(statm.c_str(), "%*u %llu %llu", &rss, &shared);
  static const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return ProcessUsage{rss * page, shared * page, FromTicks(user + system)};
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
  const std::string memory = Read("/proc/meminfo");
  usage.memory_bytes = KilobytesAfter(memory, "MemTotal:") * 1024;
  usage.available_bytes = KilobytesAfter(memory, "MemAvailable:") * 1024;
  usage.cpu_count = static_cast<uint64_t>(::sysconf(_SC_NPROCESSORS_ONLN));
  // "cpu  user nice system idle iowait irq softirq steal guest ...", guest counted in user.
  unsigned long long user = 0, nice = 0, system = 0, irq = 0, soft = 0;
  if (std::sscanf(Read("/proc/stat").c_str(), "cpu %llu %llu %llu %*u %*u %llu %llu", &user, &nice,
                  &system, &irq, &soft) == 5) {
    usage.cpu_busy_ms = FromTicks(user + nice + system + irq + soft);
  }
  return usage;
}

}  // namespace cyray::raylet
