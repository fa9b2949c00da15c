#include "cyray/core/task_ids.h"

#include <cstring>

namespace cyray::core {

void TaskIds::Reset(const JobId& job) {
  FillRandom(prefix_.data(), prefix_.size());
  job_ = job;
  counter_ = 0;
}

TaskId TaskIds::Next() {
  TaskId id;
  ++counter_;
  std::memcpy(id.bytes.data(), prefix_.data(), 6);
  std::memcpy(id.bytes.data() + 6, &counter_, 6);
  std::memcpy(id.bytes.data() + 12, job_.data(), 4);
  return id;
}

}  // namespace cyray::core
