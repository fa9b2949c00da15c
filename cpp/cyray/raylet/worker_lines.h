// WorkerLines: what a worker has printed, on its way to log files' readers and drivers.
// Threading: a value.

#pragma once

#include <string>
#include <vector>

#include "cyray/common/ids.h"

namespace cyray::raylet {

struct WorkerLines {
  WorkerId worker;
  int pid;
  std::string label;
  bool is_stderr;
  std::vector<std::string> lines;
};

}  // namespace cyray::raylet
