// TaskIds: makes the ids of this process's tasks, puts and actors: a random prefix of its own, a
// counter, the job. Guarded by the core mutex.

#pragma once

#include <array>
#include <cstdint>

#include "cyray/common/ids.h"

namespace cyray::core {

class TaskIds {
 public:
  void Reset(const JobId& job);
  TaskId Next();
  // Each follows the one before in the order of bytes: the GCS finds on one page of its file what
  // is made together, and mostly ends together.
  ActorId NextActor();

 private:
  std::array<uint8_t, 6> prefix_{};
  std::array<uint8_t, 8> actor_prefix_{};
  JobId job_;
  uint64_t counter_ = 0;
  uint32_t actors_ = 0;
};

}  // namespace cyray::core
