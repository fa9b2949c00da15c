// UnreadErrors: errors of tasks that nobody has got, of which a driver tells.
//
// One a task, however many results it has. An error is got when somebody reads it here, when
// another process asks for it, or when it makes a task fail that gives it on. Off unless enabled.
// Guarded by the core mutex; nothing but errors comes here. It knows no clock: who looks every
// second (Take) gets what was there at the look before, and so nobody has got for one to two
// seconds. Invariant: bounded; those beyond are counted.

#pragma once

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/core/value.h"

namespace cyray::core {

class UnreadErrors {
 public:
  static constexpr size_t kMost = 1'000;

  void Enable() { enabled_ = true; }
  // It is an error now.
  void Add(const TaskId& task, const ValuePtr& error) {
    if (!enabled_ || errors_.contains(task)) return;
    if (errors_.size() >= kMost) {
      ++left_out_;
      return;
    }
    errors_.emplace(task, Unread{error, ++added_, looks_});
  }
  void OnRead(const TaskId& task) {
    if (errors_.empty() || errors_.erase(task) == 0) return;
    // Whoever reads all that are kept has most likely read the others too.
    if (errors_.empty()) left_out_ = 0;
  }

  struct Taken {
    std::vector<ValuePtr> errors;  // the oldest first, `most` of them
    size_t left_out = 0;
  };
  // Those that were there at the last look, or all; and not again.
  Taken Take(bool all, size_t most) {
    std::vector<std::pair<uint64_t, TaskId>> due;
    for (const auto& [task, unread] : errors_) {
      if (all || unread.look < looks_) due.emplace_back(unread.number, task);
    }
    ++looks_;
    std::sort(due.begin(), due.end());
    Taken taken;
    for (const auto& [number, task] : due) {
      auto node = errors_.extract(task);
      if (taken.errors.size() < most) {
        taken.errors.push_back(std::move(node.mapped().error));
      } else {
        ++taken.left_out;
      }
    }
    if (!due.empty()) taken.left_out += std::exchange(left_out_, 0);
    return taken;
  }
  size_t size() const { return errors_.size(); }

 private:
  struct Unread {
    ValuePtr error;
    uint64_t number;  // of all that were added
    uint64_t look;    // so many there had been
  };
  std::unordered_map<TaskId, Unread> errors_;
  uint64_t added_ = 0;
  uint64_t looks_ = 0;
  size_t left_out_ = 0;
  bool enabled_ = false;
};

}  // namespace cyray::core
