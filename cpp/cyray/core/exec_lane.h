// ExecLane: tasks that were pushed here and have not begun, for the same threads.
//
// Those of one caller stand in order of arrival. Callers take turns, a task each, so that one that
// never waits for its answers does not shut out the others.
// Guarded by the core mutex.

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/core/call_group.h"
#include "cyray/core/exec_task.h"

namespace cyray::core {

class ExecLane {
 public:
  ExecLane() = default;
  ExecLane(ExecLane&&) noexcept = default;
  ExecLane& operator=(ExecLane&&) noexcept = default;

  const CallGroup& limits() const { return limits_; }
  void SetLimits(CallGroup limits) { limits_ = limits; }
  // Tasks of it that have begun and not ended.
  uint32_t running() const { return running_; }
  void Begins() { ++running_; }
  void Ends() { --running_; }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // The first of whoever has the next turn; null when there is none.
  const ExecTask* front() const {
    return turns_.empty() ? nullptr : turns_.front()->tasks.front().get();
  }

  void Add(std::unique_ptr<ExecTask> task);
  // Before all others.
  void AddFirst(std::unique_ptr<ExecTask> task);

  // Whether there is one that may run. Where calls run in order, only the first of each caller.
  template <class MayRun>
  bool Has(bool in_order, MayRun may_run) const {
    for (const Caller* caller : turns_) {
      if (IndexOf(*caller, in_order, may_run) != kNone) return true;
    }
    return false;
  }
  // Takes it, and ends its caller's turn; `was_first` of its caller's. Null when there is none.
  template <class MayRun>
  std::unique_ptr<ExecTask> Take(bool in_order, bool* was_first, MayRun may_run) {
    for (size_t turn = 0; turn < turns_.size(); ++turn) {
      const size_t index = IndexOf(*turns_[turn], in_order, may_run);
      if (index == kNone) continue;
      *was_first = index == 0;
      return TakeAt(turn, index);
    }
    return nullptr;
  }
  // One of that caller; null when there is none.
  ExecTask* Find(const WorkerId& caller, uint64_t tag) const;
  std::unique_ptr<ExecTask> Remove(const WorkerId& caller, uint64_t tag);
  // Whether there is one of that template.
  bool HasTemplate(const ExecTemplate& tmpl) const;
  // All; or those of a caller but for its oldest `all_but`. Each caller's in order.
  std::vector<std::unique_ptr<ExecTask>> TakeAll();
  std::vector<std::unique_ptr<ExecTask>> TakeFrom(const WorkerId& caller, size_t all_but);
  // That caller is gone, and has nothing here.
  void Forget(const WorkerId& caller);

 private:
  static constexpr size_t kNone = SIZE_MAX;
  struct Caller {
    WorkerId id;
    std::deque<std::unique_ptr<ExecTask>> tasks;
  };

  template <class MayRun>
  static size_t IndexOf(const Caller& caller, bool in_order, MayRun& may_run) {
    const size_t end = in_order ? 1 : caller.tasks.size();
    for (size_t i = 0; i < end; ++i) {
      if (may_run(*caller.tasks[i])) return i;
    }
    return kNone;
  }
  std::unique_ptr<ExecTask> TakeAt(size_t turn, size_t index);
  Caller& CallerOf(const WorkerId& id);
  void LosesTurn(const Caller& caller);

  CallGroup limits_;
  uint32_t running_ = 0;
  size_t size_ = 0;
  std::unordered_map<WorkerId, Caller> callers_;  // those without tasks, too, until Forget
  Caller* last_ = nullptr;                        // that pushed
  std::deque<Caller*> turns_;                     // those with tasks, the next one first
};

}  // namespace cyray::core
