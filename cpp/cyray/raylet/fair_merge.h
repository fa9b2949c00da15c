// FairMerge: several sources of waiting groups read as one, by the ranks of their jobs, in fair
// order.
//
// A source says which of a job's groups is the first behind an order. It is asked anew when its
// turn comes, so groups may move, what a source gives may shrink and its job's rank may fall
// meanwhile. A source of which nobody goes on after Next is left. Threading: confined to its owner.
// Pure.

#pragma once

#include <cstddef>
#include <functional>
#include <set>
#include <utility>
#include <vector>

#include "cyray/raylet/lease_queue.h"

namespace cyray::raylet {

class FairMerge {
 public:
  using Group = LeaseQueue::Group;
  using Order = LeaseQueue::Order;
  using Rank = LeaseQueue::Rank;
  using Source = std::function<Group*(const Order& after)>;

  // Returns its number.
  size_t Add(Source source, const Order& after = LeaseQueue::kFirst) {
    sources_.push_back({std::move(source), after});
    Push(sources_.size() - 1);
    return sources_.size() - 1;
  }
  // The next group and the number of its source; false at the end.
  bool Next(Group** group, size_t* source) {
    while (!heads_.empty()) {
      const auto [rank, at] = *heads_.begin();
      heads_.erase(heads_.begin());
      *group = sources_[at].first(sources_[at].after);
      if (*group == nullptr) continue;
      const Rank now = LeaseQueue::RankOf(**group);
      if (now != rank) {
        heads_.emplace(now, at);
        continue;
      }
      *source = current_ = at;
      return true;
    }
    return false;
  }
  // After Next: go on in that source behind the group, or with the group again if it is there.
  void Pass(const Order& order) {
    sources_[current_].after = order;
    Push(current_);
  }
  void Stay() { Push(current_); }

 private:
  struct Reading {
    Source first;
    Order after;
  };
  void Push(size_t at) {
    const Group* group = sources_[at].first(sources_[at].after);
    if (group != nullptr) heads_.emplace(LeaseQueue::RankOf(*group), at);
  }
  std::vector<Reading> sources_;
  std::set<std::pair<Rank, size_t>> heads_;
  size_t current_ = 0;
};

}  // namespace cyray::raylet
