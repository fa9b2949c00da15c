// ArenaAllocator: hands out ranges of the object store's arena.
//
// A pure state machine over offsets in [0, capacity): it never touches the memory it manages.
// Best fit with coalescing in O(log n). Ranges freed last are reused first among equals, and a
// never-used tail is the largest range and so comes last: both keep writes on warm pages.
// Small blocks (up to 4 KiB) go through bounded free lists per size, without coalescing; the lists
// are given back when an allocation would fail otherwise.
// Threading: confined to the raylet's loop.
// Invariants (CheckInvariants): free ranges and allocated blocks tile the arena without overlap;
// no two free ranges touch; every offset and size is a multiple of 64.

#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

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
  uint64_t largest_free_bytes() const;
  // The end of the highest block that was ever allocated: memory above it was never touched.
  uint64_t high_water() const { return high_water_; }
  // What a block of `bytes` takes.
  static uint64_t BlockBytes(uint64_t bytes);

  // Empty when all invariants hold, otherwise what is wrong.
  std::string CheckInvariants() const;

 private:
  static constexpr uint64_t kSmallBytes = 4096;
  static constexpr size_t kSmallClasses = kSmallBytes / kBlockAlignment;
  static constexpr size_t kKeepPerClass = 64;

  // Orders by size, then youngest first.
  struct FreeRange {
    uint64_t bytes;
    uint64_t age;  // counts down: smaller is younger
    uint64_t offset;
    auto operator<=>(const FreeRange&) const = default;
  };
  static size_t SmallClass(uint64_t block) { return block / kBlockAlignment - 1; }
  std::optional<uint64_t> TakeRange(uint64_t block);
  void AddRange(uint64_t offset, uint64_t bytes);
  void RemoveRange(std::map<uint64_t, std::pair<uint64_t, uint64_t>>::iterator range);
  // Whether anything was given back.
  bool DrainSmallLists();

  const uint64_t capacity_;
  uint64_t used_ = 0;
  uint64_t high_water_ = 0;
  uint64_t next_age_ = ~uint64_t{0};
  std::unordered_map<uint64_t, uint64_t> blocks_;                     // offset -> size, allocated
  std::map<uint64_t, std::pair<uint64_t, uint64_t>> free_by_offset_;  // -> size, age
  std::set<FreeRange> free_by_size_;
  std::array<std::vector<uint64_t>, kSmallClasses> small_;
};

}  // namespace cyray::store
