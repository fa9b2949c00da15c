// TaskSlab: the memory of pending tasks, for normal tasks and actor calls alike.
//
// A task is named by its tag, slot and generation, so that a late answer finds nothing when its
// task is gone. Guarded by the core mutex.

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cyray/core/task_types.h"

namespace cyray::core {

class TaskSlab {
 public:
  PendingTask* New();
  void Free(PendingTask* task);
  PendingTask* Find(uint64_t tag);
  PendingTask* AtSlot(uint32_t slot) { return &(*chunks_[slot / kChunk])[slot % kChunk]; }
  // Looks at every task: for people.
  const PendingTask* FindByResult(const ObjectEntry* result) const;
  size_t live() const { return live_; }

 private:
  static constexpr size_t kChunk = 512;
  using Chunk = std::array<PendingTask, kChunk>;
  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::vector<uint32_t> free_;
  size_t live_ = 0;
};

// What the task is and where it is, for people.
std::string DescribeTask(const PendingTask& task);

}  // namespace cyray::core
