#include "cyray/store/arena_allocator.h"

#include <algorithm>

#include "cyray/util/log.h"

namespace cyray::store {

ArenaAllocator::ArenaAllocator(uint64_t capacity_bytes)
    : capacity_(capacity_bytes / kBlockAlignment * kBlockAlignment) {
  if (capacity_ > 0) AddRange(0, capacity_);
}

uint64_t ArenaAllocator::BlockBytes(uint64_t bytes) {
  if (bytes == 0) return kBlockAlignment;
  const uint64_t whole = bytes / kBlockAlignment * kBlockAlignment;
  if (whole == bytes) return bytes;
  // A request near 2^64 must not wrap around to a small block.
  return whole > ~uint64_t{0} - kBlockAlignment ? ~uint64_t{0} : whole + kBlockAlignment;
}

std::optional<uint64_t> ArenaAllocator::Allocate(uint64_t bytes) {
  const uint64_t block = BlockBytes(bytes);
  if (block > capacity_ - used_) return std::nullopt;
  std::optional<uint64_t> offset;
  if (block <= kSmallBytes && !small_[SmallClass(block)].empty()) {
    auto& list = small_[SmallClass(block)];
    offset = list.back();
    list.pop_back();
  } else {
    offset = TakeRange(block);
    if (!offset && DrainSmallLists()) offset = TakeRange(block);
    if (!offset) return std::nullopt;
  }
  blocks_.emplace(*offset, block);
  used_ += block;
  high_water_ = std::max(high_water_, *offset + block);
  return offset;
}

uint64_t ArenaAllocator::Free(uint64_t offset) {
  auto it = blocks_.find(offset);
  if (it == blocks_.end()) return 0;
  const uint64_t block = it->second;
  blocks_.erase(it);
  used_ -= block;
  if (block <= kSmallBytes && small_[SmallClass(block)].size() < kKeepPerClass) {
    small_[SmallClass(block)].push_back(offset);
  } else {
    AddRange(offset, block);
  }
  return block;
}

uint64_t ArenaAllocator::largest_free_bytes() const {
  return free_by_size_.empty() ? 0 : free_by_size_.rbegin()->bytes;
}

std::optional<uint64_t> ArenaAllocator::TakeRange(uint64_t block) {
  auto best = free_by_size_.lower_bound(FreeRange{block, 0, 0});
  if (best == free_by_size_.end()) return std::nullopt;
  const FreeRange range = *best;
  free_by_size_.erase(best);
  free_by_offset_.erase(range.offset);
  if (range.bytes > block) {
    const uint64_t rest = range.offset + block;
    free_by_offset_.emplace(rest, std::make_pair(range.bytes - block, range.age));
    free_by_size_.insert({range.bytes - block, range.age, rest});
  }
  return range.offset;
}

void ArenaAllocator::RemoveRange(
    std::map<uint64_t, std::pair<uint64_t, uint64_t>>::iterator range) {
  free_by_size_.erase({range->second.first, range->second.second, range->first});
  free_by_offset_.erase(range);
}

void ArenaAllocator::AddRange(uint64_t offset, uint64_t bytes) {
  auto next = free_by_offset_.lower_bound(offset);
  if (next != free_by_offset_.end() && offset + bytes == next->first) {
    bytes += next->second.first;
    auto after = std::next(next);
    RemoveRange(next);
    next = after;
  }
  if (next != free_by_offset_.begin()) {
    auto previous = std::prev(next);
    if (previous->first + previous->second.first == offset) {
      offset = previous->first;
      bytes += previous->second.first;
      RemoveRange(previous);
    }
  }
  const uint64_t age = next_age_--;
  free_by_offset_.emplace(offset, std::make_pair(bytes, age));
  free_by_size_.insert({bytes, age, offset});
}

bool ArenaAllocator::DrainSmallLists() {
  bool any = false;
  for (size_t i = 0; i < kSmallClasses; ++i) {
    for (uint64_t offset : small_[i]) AddRange(offset, (i + 1) * kBlockAlignment);
    any = any || !small_[i].empty();
    small_[i].clear();
  }
  return any;
}

std::string ArenaAllocator::CheckInvariants() const {
  std::map<uint64_t, std::pair<uint64_t, bool>> all;  // offset -> size, coalesced free range
  uint64_t used = 0;
  for (const auto& [offset, bytes] : blocks_) {
    all.emplace(offset, std::make_pair(bytes, false));
    used += bytes;
  }
  for (size_t i = 0; i < kSmallClasses; ++i) {
    for (uint64_t offset : small_[i]) {
      if (!all.emplace(offset, std::make_pair((i + 1) * kBlockAlignment, false)).second) {
        return "a listed small block is in use: " + std::to_string(offset);
      }
    }
  }
  for (const auto& [offset, range] : free_by_offset_) {
    if (!all.emplace(offset, std::make_pair(range.first, true)).second) {
      return "a free range is in use: " + std::to_string(offset);
    }
    if (!free_by_size_.contains({range.first, range.second, offset})) {
      return "a free range is missing by size: " + std::to_string(offset);
    }
  }
  if (free_by_size_.size() != free_by_offset_.size()) return "the free indexes differ in size";
  if (used != used_) return "used bytes are miscounted";
  uint64_t at = 0;
  bool free_before = false;
  for (const auto& [offset, range] : all) {
    if (offset != at) return "gap or overlap at " + std::to_string(at);
    if (offset % kBlockAlignment != 0 || range.first == 0) return "unaligned or empty range";
    if (free_before && range.second) return "uncoalesced ranges at " + std::to_string(offset);
    free_before = range.second;
    at = offset + range.first;
  }
  return at == capacity_ ? "" : "the ranges end at " + std::to_string(at);
}

}  // namespace cyray::store
