// TaskIds: makes the ids of this process's tasks and puts: its random prefix, a counter, the job.
// Guarded by the core mutex.

#pragma once

#include <array>
#include <cstdint>

#include "cyray/common/ids.h"

namespace cyray::core {

class TaskIds {
 public:
  void Reset(const JobId& job);
  TaskId Next();

 private:
  std::array<uint8_t, 6> prefix_{};
  JobId job_;
  uint64_t counter_ = 0;
};

}  // namespace cyray::core
