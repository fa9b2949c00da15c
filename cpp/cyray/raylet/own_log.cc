#include "cyray/raylet/own_log.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "cyray/raylet/process_supervisor.h"

namespace cyray::raylet {

bool RotateLog(int fd, uint64_t limit_bytes) {
  struct stat info{};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) return false;
  if (static_cast<uint64_t>(info.st_size) <= limit_bytes) return false;
  char name[4096];
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t n = ::readlink(link.c_str(), name, sizeof name - 1);
  if (n <= 0) return false;
  const std::string path(name, static_cast<size_t>(n));
  if (::rename(path.c_str(), (path + ".1").c_str()) != 0) return false;
  const UniqueFd fresh = OpenLog(path);
  return fresh.valid() && ::dup2(fresh.get(), fd) >= 0;
}

void RotateOwnLog() {
  if (RotateLog(STDERR_FILENO, kOwnLogBytes)) ::dup2(STDERR_FILENO, STDOUT_FILENO);
}

}  // namespace cyray::raylet
