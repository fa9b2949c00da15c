// TaskSlab: the memory of pending tasks, for normal tasks and actor calls alike, and their
// templates.
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
#include "cyray/core/template_table.h"

namespace cyray::core {

class TaskSlab {
 public:
  PendingTask* New();
  void Free(PendingTask* task);
  // It has its results, and stays for what it does: nobody waits for it any more. In no list.
  void NoteAnswered(PendingTask* task);
  PendingTask* Find(uint64_t tag);
  PendingTask* AtSlot(uint32_t slot) { return &(*chunks_[slot / kChunk])[slot % kChunk]; }
  // The tags of those that the task with that number submitted; looks at all.
  std::vector<uint64_t> ChildrenOf(uint64_t parent) const;
  size_t live() const { return live_; }
  // Those whose results somebody waits for.
  size_t pending() const { return live_ - answered_; }
  // From now on, with none live yet, they are counted there.
  void set_tally(wire::TaskTally* tally) { tally_ = tally; }
  // All that are live, until `visit` says false.
  template <class Visitor>
  void ForEach(Visitor visit) const {
    for (const auto& chunk : chunks_) {
      for (const PendingTask& task : *chunk) {
        if (task.live && !visit(task)) return;
      }
    }
  }
  // Each is used by its tasks (Use) until they are freed.
  TemplateTable& templates() { return templates_; }
  const TemplateTable& templates() const { return templates_; }

 private:
  // As pending, here and with its actor.
  void StopCounting(const PendingTask& task);
  static constexpr size_t kChunk = 512;
  using Chunk = std::array<PendingTask, kChunk>;
  TemplateTable templates_;
  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::vector<uint32_t> free_;
  size_t live_ = 0;
  size_t answered_ = 0;  // of these
  wire::TaskTally* tally_ = nullptr;
};

const std::string& NameOf(const PendingTask& task);
// What the task is and where it is, for people.
std::string DescribeTask(const PendingTask& task);

}  // namespace cyray::core
