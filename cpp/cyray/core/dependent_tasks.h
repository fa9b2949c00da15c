// DependentTasks: tells pending tasks, and actors to be made, that one of their arguments is ready,
// one after another.
//
// A task that fails for its argument makes its own results ready, for which further tasks wait, and
// so on through a chain of any length: what becomes ready meanwhile joins a queue that the
// outermost call works off, so that the chain is a loop and not a recursion. A task that is gone,
// or waits for nothing any more, is passed over. Guarded by the core mutex.

#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

#include "cyray/core/task_slab.h"
#include "cyray/core/unready_actors.h"

namespace cyray::core {

class DependentTasks {
 public:
  DependentTasks(TaskSlab& slab, UnreadyActors& creations,
                 std::function<void(PendingTask*)> on_argument_ready)
      : slab_(slab), unready_(creations), on_argument_ready_(std::move(on_argument_ready)) {}

  // One argument of each of the tasks is ready.
  void Tell(const std::vector<uint64_t>& tags) {
    tags_.insert(tags_.end(), tags.begin(), tags.end());
    if (telling_) return;
    telling_ = true;
    while (!tags_.empty()) {
      const uint64_t tag = tags_.front();
      tags_.pop_front();
      if ((tag & UnreadyActors::kTag) != 0) {
        unready_.OnArgumentReady(tag);
        continue;
      }
      PendingTask* task = slab_.Find(tag);
      if (task != nullptr && task->waiting_for_args()) on_argument_ready_(task);
    }
    telling_ = false;
  }

 private:
  TaskSlab& slab_;
  UnreadyActors& unready_;
  const std::function<void(PendingTask*)> on_argument_ready_;
  std::deque<uint64_t> tags_;
  bool telling_ = false;
};

}  // namespace cyray::core
