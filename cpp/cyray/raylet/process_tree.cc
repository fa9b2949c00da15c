#include "cyray/raylet/process_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>
#include <unordered_map>

#include "cyray/util/kernel_files.h"
#include "cyray/util/unique_fd.h"

namespace cyray::raylet {
namespace {

std::string FileOf(pid_t pid, const char* name) {
  return "/proc/" + std::to_string(pid) + "/" + name;
}

}  // namespace

std::optional<ProcessInfo> ReadProcess(pid_t pid) {
  const std::string stat = ReadKernelFile(FileOf(pid, "stat"));
  const size_t name_end = stat.rfind(')');  // the name may hold anything
  if (name_end == std::string::npos) return std::nullopt;
  ProcessInfo process{.pid = pid};
  char state = 0;
  unsigned long long user = 0, system = 0, start = 0;  // the fields 14, 15 and 22
  const int read = std::sscanf(stat.c_str() + name_end + 1,
                               " %c %d %*d %d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d "
                               "%*d %*d %*d %llu",
                               &state, &process.parent, &process.session, &user, &system, &start);
  if (read != 6) return std::nullopt;
  process.start_ticks = start;
  process.cpu_ticks = user + system;
  process.zombie = state == 'Z' || state == 'X';
  return process;
}

std::vector<ProcessInfo> ListProcesses() {
  std::vector<ProcessInfo> all;
  DIR* const folder = ::opendir("/proc");
  if (folder == nullptr) return all;
  while (const dirent* entry = ::readdir(folder)) {
    const int pid = std::atoi(entry->d_name);
    if (pid <= 0) continue;
    if (const auto process = ReadProcess(pid)) all.push_back(*process);
  }
  ::closedir(folder);
  return all;
}

std::vector<ProcessInfo> Descendants(const std::vector<ProcessInfo>& all, pid_t root) {
  std::unordered_multimap<pid_t, const ProcessInfo*> children;
  for (const ProcessInfo& process : all) {
    if (process.pid != root) children.emplace(process.parent, &process);
  }
  std::vector<ProcessInfo> found;
  std::vector<pid_t> parents{root};
  while (!parents.empty()) {
    const auto [begin, end] = children.equal_range(parents.back());
    parents.pop_back();
    for (auto it = begin; it != end; ++it) {
      found.push_back(*it->second);
      parents.push_back(it->second->pid);
    }
    // A list read while processes come and go may hold a circle: each is taken once.
    children.erase(begin, end);
  }
  return found;
}

// Nobody else reaps them, so none leaves the list while it is read.
std::vector<ProcessInfo> OwnChildren() {
  const pid_t self = ::getpid();
  const std::string path =
      "/proc/" + std::to_string(self) + "/task/" + std::to_string(self) + "/children";
  std::vector<ProcessInfo> children;
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) {  // not on every kernel
    children = ListProcesses();
    std::erase_if(children, [self](const auto& process) { return process.parent != self; });
    return children;
  }
  std::string text;
  std::array<char, 4096> buffer;
  for (ssize_t n; (n = ::read(fd.get(), buffer.data(), buffer.size())) > 0;) {
    text.append(buffer.data(), static_cast<size_t>(n));
  }
  std::istringstream numbers(text);
  for (pid_t pid = 0; numbers >> pid;) {
    if (const auto process = ReadProcess(pid)) children.push_back(*process);
  }
  return children;
}

ProcessKind KindOf(pid_t pid) {
  const std::string line = ReadKernelFile(FileOf(pid, "cmdline"));
  if (line.empty()) return ProcessKind::kUnknown;
  return line.find("resource_tracker import main") != std::string::npos
             ? ProcessKind::kResourceTracker
             : ProcessKind::kOther;
}

bool KillProcess(const ProcessInfo& process) {
  const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
  if (!pidfd.valid()) return false;
  // The descriptor names whoever has that number now: the same one when its start is the same.
  const auto now = ReadProcess(process.pid);
  if (!now || now->start_ticks != process.start_ticks) return false;
  return ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0) == 0;
}

}  // namespace cyray::raylet
