// ArenaAllocator: hands out ranges of the object store's arena.
//
// A pure state machine over offsets in [0, capacity): it never touches the memory it manages.
// First fit by address with coalescing, in O(log n). The lowest range that fits is one that was in
// use before, so writes find memory that is there already; and long-lived blocks gather at the low
// end, so large ranges stay whole above them. Best fit, which leaves slivers everywhere, failed in
// simulated services at 60 % use for one large object in nine (arena_allocator_test.cc).
// Threading: confined to the raylet's loop.
// Invariants (CheckInvariants): free ranges and allocated blocks tile the arena without overlap;
// no two free ranges touch; every offset and size is a multiple of 64.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>

#include "cyray/store/free_ranges.h"

namespace cyray::store {

inline constexpr uint64_t kBlockAlignment = 64;

class ArenaAllocator {
 public:
  // `capacity_bytes` is rounded down to the alignment.
  explicit ArenaAllocator(uint64_t capacity_bytes);

  // The offset of a block of at least `bytes` (at least one unit); nullopt when no range fits.
  std::optional<uint64_t> Allocate(uint64_t bytes);
  // Returns the block's size, 0 when no block starts at `offset`.
  uint64_t Free(uint64_t offset);

  uint64_t capacity_bytes() const { return capacity_; }
  uint64_t used_bytes() const { return used_; }
  uint64_t blocks() const { return blocks_.size(); }
  uint64_t largest_free_bytes() const { return free_.largest(); }
  // The end of the highest block that was ever allocated: memory above it was never touched.
  uint64_t high_water() const { return high_water_; }
  // What a block of `bytes` takes.
  static uint64_t BlockBytes(uint64_t bytes);

  // Empty when all invariants hold, otherwise what is wrong.
  std::string CheckInvariants() const;

 private:
  const uint64_t capacity_;
  uint64_t used_ = 0;
  uint64_t high_water_ = 0;
  std::unordered_map<uint64_t, uint64_t> blocks_;  // offset -> size, allocated
  FreeRanges free_;
};

}  // namespace cyray::store
