// A worker process that has ended. A value.

#pragma once

#include <string>

#include "cyray/common/ids.h"

namespace cyray::raylet {

struct DeadWorker {
  WorkerId id;
  JobId job;  // nil when it had none yet
  int pid;
  // "killed by signal 9 (SIGKILL)", or what was told before; an epitaph follows when that was not
  // intended.
  std::string reason;
  bool intended;  // it left by its own will or by ours
};

}  // namespace cyray::raylet
