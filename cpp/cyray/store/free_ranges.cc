#include "cyray/store/free_ranges.h"

#include <algorithm>

namespace cyray::store {

FreeRanges::Index FreeRanges::NewNode(uint64_t offset, uint64_t bytes) {
  // xorshift32
  random_ ^= random_ << 13;
  random_ ^= random_ >> 17;
  random_ ^= random_ << 5;
  const Node node{offset, bytes, bytes, random_};
  if (unused_.empty()) {
    nodes_.push_back(node);
    return static_cast<Index>(nodes_.size() - 1);
  }
  const Index index = unused_.back();
  unused_.pop_back();
  nodes_[index] = node;
  return index;
}

void FreeRanges::Pull(Index index) {
  Node& node = nodes_[index];
  node.max_bytes = std::max({node.bytes, MaxOf(node.left), MaxOf(node.right)});
}

void FreeRanges::FindNeighbours(uint64_t offset, Index& before, Index& after) const {
  before = after = kNone;
  for (Index at = root_; at != kNone;) {
    if (nodes_[at].offset < offset) {
      before = at;
      at = nodes_[at].right;
    } else {
      after = at;
      at = nodes_[at].left;
    }
  }
}

void FreeRanges::Add(uint64_t offset, uint64_t bytes) {
  Index before, after;
  FindNeighbours(offset, before, after);
  const bool joins_after = after != kNone && offset + bytes == nodes_[after].offset;
  if (before != kNone && nodes_[before].offset + nodes_[before].bytes == offset) {
    const uint64_t begin = nodes_[before].offset;
    uint64_t joined = nodes_[before].bytes + bytes;
    if (joins_after) {
      joined += nodes_[after].bytes;
      Replace(nodes_[after].offset, 0, 0);
    }
    Replace(begin, begin, joined);
  } else if (joins_after) {
    Replace(nodes_[after].offset, offset, bytes + nodes_[after].bytes);
  } else {
    Insert(offset, bytes);
  }
}

std::optional<uint64_t> FreeRanges::Take(uint64_t bytes) {
  if (bytes == 0 || largest() < bytes) return std::nullopt;
  Index at = root_;
  while (true) {
    const Node& node = nodes_[at];
    if (MaxOf(node.left) >= bytes) {
      at = node.left;
    } else if (node.bytes >= bytes) {
      break;
    } else {
      at = node.right;
    }
  }
  const uint64_t offset = nodes_[at].offset;
  Replace(offset, offset + bytes, nodes_[at].bytes - bytes);
  return offset;
}

void FreeRanges::Replace(uint64_t offset, uint64_t new_offset, uint64_t new_bytes) {
  root_ = ReplaceIn(root_, offset, new_offset, new_bytes);
}

FreeRanges::Index FreeRanges::ReplaceIn(Index tree, uint64_t offset, uint64_t new_offset,
                                        uint64_t new_bytes) {
  if (nodes_[tree].offset == offset) {
    if (new_bytes == 0) {
      unused_.push_back(tree);
      return Merge(nodes_[tree].left, nodes_[tree].right);
    }
    nodes_[tree].offset = new_offset;
    nodes_[tree].bytes = new_bytes;
  } else if (offset < nodes_[tree].offset) {
    nodes_[tree].left = ReplaceIn(nodes_[tree].left, offset, new_offset, new_bytes);
  } else {
    nodes_[tree].right = ReplaceIn(nodes_[tree].right, offset, new_offset, new_bytes);
  }
  Pull(tree);
  return tree;
}

void FreeRanges::Insert(uint64_t offset, uint64_t bytes) {
  Index low, high;
  Split(root_, offset, low, high);
  root_ = Merge(Merge(low, NewNode(offset, bytes)), high);
}

FreeRanges::Index FreeRanges::Merge(Index low, Index high) {
  if (low == kNone) return high;
  if (high == kNone) return low;
  if (nodes_[low].priority >= nodes_[high].priority) {
    nodes_[low].right = Merge(nodes_[low].right, high);
    Pull(low);
    return low;
  }
  nodes_[high].left = Merge(low, nodes_[high].left);
  Pull(high);
  return high;
}

void FreeRanges::Split(Index tree, uint64_t offset, Index& low, Index& high) {
  if (tree == kNone) {
    low = high = kNone;
    return;
  }
  if (nodes_[tree].offset < offset) {
    Split(nodes_[tree].right, offset, nodes_[tree].right, high);
    low = tree;
  } else {
    Split(nodes_[tree].left, offset, low, nodes_[tree].left);
    high = tree;
  }
  Pull(tree);
}

// `end`: where the range before the subtree ends, then where its last one does.
std::string FreeRanges::CheckTree(Index tree, uint64_t& end) const {
  if (tree == kNone) return "";
  const Node& node = nodes_[tree];
  if (std::string wrong = CheckTree(node.left, end); !wrong.empty()) return wrong;
  const std::string at = " at " + std::to_string(node.offset);
  if (node.bytes == 0) return "an empty range" + at;
  if (end != 0 && node.offset <= end) return "ranges overlap or touch" + at;
  end = node.offset + node.bytes;
  if (std::string wrong = CheckTree(node.right, end); !wrong.empty()) return wrong;
  for (const Index child : {node.left, node.right}) {
    if (child != kNone && nodes_[child].priority > node.priority) return "no heap" + at;
  }
  if (node.max_bytes != std::max({node.bytes, MaxOf(node.left), MaxOf(node.right)})) {
    return "the largest range is not known" + at;
  }
  return "";
}

std::string FreeRanges::CheckInvariants() const {
  uint64_t end = 0;
  if (std::string wrong = CheckTree(root_, end); !wrong.empty()) return wrong;
  size_t count = 0;
  ForEach([&](uint64_t, uint64_t) { ++count; });
  return count == size() ? "" : "a range is lost";
}

}  // namespace cyray::store
