// EvictionQueue: cached copies that nobody pins, least recently used first.
//
// An object enters when its last pin goes and leaves when it is pinned, freed or evicted; every
// operation is O(1) and allocates one list node.
// Threading: confined to the raylet's loop.

#pragma once

#include <list>
#include <optional>

#include "cyray/common/ids.h"

namespace cyray::store {

class EvictionQueue {
 public:
  using Position = std::optional<std::list<ObjectId>::iterator>;

  // As the most recently used.
  Position Push(const ObjectId& id) { return queue_.insert(queue_.end(), id); }
  void Remove(Position& position) {
    if (position) queue_.erase(*position);
    position.reset();
  }
  std::optional<ObjectId> Oldest() const {
    return queue_.empty() ? std::nullopt : std::optional<ObjectId>(queue_.front());
  }
  size_t size() const { return queue_.size(); }

 private:
  std::list<ObjectId> queue_;
};

}  // namespace cyray::store
