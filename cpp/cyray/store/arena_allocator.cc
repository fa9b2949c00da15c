#include "cyray/store/arena_allocator.h"

#include <algorithm>
#include <map>

namespace cyray::store {

ArenaAllocator::ArenaAllocator(uint64_t capacity_bytes)
    : capacity_(capacity_bytes / kBlockAlignment * kBlockAlignment) {
  if (capacity_ > 0) free_.Add(0, capacity_);
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
  const std::optional<uint64_t> offset = free_.Take(block);
  if (!offset) return std::nullopt;
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
  free_.Add(offset, block);
  return block;
}

std::string ArenaAllocator::CheckInvariants() const {
  if (std::string wrong = free_.CheckInvariants(); !wrong.empty()) return wrong;
  std::map<uint64_t, uint64_t> all(blocks_.begin(), blocks_.end());
  uint64_t used = 0, at = 0;
  for (const auto& [offset, bytes] : all) used += bytes;
  if (used != used_) return "used bytes are miscounted";
  bool in_use = false;
  free_.ForEach([&](uint64_t offset, uint64_t bytes) {
    in_use = !all.emplace(offset, bytes).second || in_use;
  });
  if (in_use) return "a free range is in use";
  for (const auto& [offset, bytes] : all) {
    if (offset != at) return "gap or overlap at " + std::to_string(at);
    if (offset % kBlockAlignment != 0 || bytes % kBlockAlignment != 0 || bytes == 0) {
      return "an unaligned or empty range at " + std::to_string(offset);
    }
    at = offset + bytes;
  }
  return at == capacity_ ? "" : "the ranges end at " + std::to_string(at);
}

}  // namespace cyray::store
