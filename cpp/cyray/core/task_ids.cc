#include "cyray/core/task_ids.h"

#include <cstring>

namespace cyray::core {

void TaskIds::Reset(const JobId& job) {
  FillRandom(prefix_.data(), prefix_.size());
  FillRandom(actor_prefix_.data(), actor_prefix_.size());
  job_ = job;
  counter_ = 0;
  actors_ = 0;
}

TaskId TaskIds::Next() {
  TaskId id;
  ++counter_;
  std::memcpy(id.bytes.data(), prefix_.data(), 6);
  std::memcpy(id.bytes.data() + 6, &counter_, 6);
  std::memcpy(id.bytes.data() + 12, job_.data(), 4);
  return id;
}

ActorId TaskIds::NextActor() {
  ActorId id;
  const uint32_t number = ++actors_;
  std::memcpy(id.bytes.data(), actor_prefix_.data(), 8);
  for (size_t i = 0; i < 4; ++i) id.bytes[8 + i] = static_cast<uint8_t>(number >> (24 - 8 * i));
  std::memcpy(id.bytes.data() + 12, job_.data(), 4);
  return id;
}

}  // namespace cyray::core
