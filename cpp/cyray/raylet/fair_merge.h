// FairMerge: several stalls of a LeaseQueue read as one, in fair order.
//
// Groups may move meanwhile: each is read where it stands when its turn comes. A stall of which
// nobody goes on after Next is left. Threading: confined to its owner. Pure.

#pragma once

#include <cstddef>
#include <set>
#include <utility>
#include <vector>

#include "cyray/raylet/lease_queue.h"

namespace cyray::raylet {

class FairMerge {
 public:
  explicit FairMerge(const LeaseQueue* queue) : queue_(queue) {}
  void Add(StallKey stall) {
    cursors_.push_back({std::move(stall), LeaseQueue::kFirst});
    Push(cursors_.size() - 1);
  }
  // The next group and its stall; false at the end.
  bool Next(LeaseQueue::Group** group, const StallKey** stall) {
    while (!heads_.empty()) {
      const auto [order, at] = *heads_.begin();
      heads_.erase(heads_.begin());
      *group = queue_->After(cursors_[at].stall, cursors_[at].after);
      if (*group == nullptr) continue;
      if ((*group)->order() != order) {
        heads_.emplace((*group)->order(), at);
        continue;
      }
      current_ = at;
      *stall = &cursors_[at].stall;
      return true;
    }
    return false;
  }
  // After Next: go on in that stall behind the group, or with the group again if it is there.
  void Pass(const LeaseQueue::Order& order) {
    cursors_[current_].after = order;
    Push(current_);
  }
  void Stay() { Push(current_); }
  // How many groups of the current stall got nothing.
  int& vain() { return cursors_[current_].vain; }

 private:
  struct Cursor {
    StallKey stall;
    LeaseQueue::Order after;
    int vain = 0;
  };
  void Push(size_t at) {
    const auto* group = queue_->After(cursors_[at].stall, cursors_[at].after);
    if (group != nullptr) heads_.emplace(group->order(), at);
  }
  const LeaseQueue* const queue_;
  std::vector<Cursor> cursors_;
  std::set<std::pair<LeaseQueue::Order, size_t>> heads_;
  size_t current_ = 0;
};

}  // namespace cyray::raylet
