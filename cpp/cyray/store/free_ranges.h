// FreeRanges: the unused ranges of the arena, by address.
//
// Take() gives the front of the lowest range that is large enough, in O(log n): a treap ordered by
// offset whose nodes know the largest range below them. Nodes lie in one array and are used again,
// so that in the long run nothing is allocated.
// Threading: confined to whoever owns it.
// Invariants (CheckInvariants): ranges are not empty, do not overlap and do not touch; each node
// knows the largest range of its subtree.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace cyray::store {

class FreeRanges {
 public:
  // Nothing of it may be free already. Joins it with the ranges that it touches.
  void Add(uint64_t offset, uint64_t bytes);
  // `bytes` from the front of the lowest range that has them; nullopt when none does.
  std::optional<uint64_t> Take(uint64_t bytes);

  uint64_t largest() const { return MaxOf(root_); }
  size_t size() const { return nodes_.size() - unused_.size(); }
  // Calls visitor(offset, bytes) in order of offset.
  template <class Visitor>
  void ForEach(Visitor visitor) const {
    Visit(root_, visitor);
  }
  // Empty when all invariants hold, otherwise what is wrong.
  std::string CheckInvariants() const;

 private:
  using Index = uint32_t;
  static constexpr Index kNone = ~Index{0};
  struct Node {
    uint64_t offset;
    uint64_t bytes;
    uint64_t max_bytes;  // of its subtree
    uint32_t priority;   // not below those of its children
    Index left = kNone;
    Index right = kNone;
  };

  uint64_t MaxOf(Index index) const { return index == kNone ? 0 : nodes_[index].max_bytes; }
  Index NewNode(uint64_t offset, uint64_t bytes);
  // Recomputes what the node knows of its subtree.
  void Pull(Index index);
  // The range that ends at `offset` or before, and the one that begins behind it; kNone without.
  void FindNeighbours(uint64_t offset, Index& before, Index& after) const;
  // Gives the range that begins at `offset` other bounds, between the same neighbours; empty ones
  // remove it.
  void Replace(uint64_t offset, uint64_t new_offset, uint64_t new_bytes);
  Index ReplaceIn(Index tree, uint64_t offset, uint64_t new_offset, uint64_t new_bytes);
  void Insert(uint64_t offset, uint64_t bytes);
  Index Merge(Index low, Index high);
  // Ranges of `tree` below `offset` and the others.
  void Split(Index tree, uint64_t offset, Index& low, Index& high);
  std::string CheckTree(Index tree, uint64_t& end) const;

  template <class Visitor>
  void Visit(Index tree, Visitor& visitor) const {
    if (tree == kNone) return;
    Visit(nodes_[tree].left, visitor);
    visitor(nodes_[tree].offset, nodes_[tree].bytes);
    Visit(nodes_[tree].right, visitor);
  }

  std::vector<Node> nodes_;
  std::vector<Index> unused_;
  Index root_ = kNone;
  uint32_t random_ = 2463534242;  // any seed: ranges come in no order that it could know
};

}  // namespace cyray::store
