#include "cyray/core/spare_blocks.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <unordered_set>

namespace cyray::core {
namespace {

// Three small ones cover the time that a raylet takes to answer; writing a large one takes longer.
constexpr uint64_t kSmallBytes = 2 << 20;
constexpr size_t kSmallCount = 3;
// Sizes that differ a little share blocks.
constexpr uint64_t kRoundBytes = 16 << 10;

size_t Goal(uint64_t block_bytes) { return block_bytes <= kSmallBytes ? kSmallCount : 1; }

}  // namespace

std::optional<SpareBlocks::Block> SpareBlocks::Take(uint64_t bytes, int64_t now_ns) {
  std::optional<size_t> found;
  for (size_t i = 0; i < held_.size(); ++i) {
    if (!Fits(held_[i].block.bytes, bytes)) continue;
    held_[i].wanted_ns = now_ns;
    found = i;
  }
  if (!found) return std::nullopt;
  const Block block = held_[*found].block;
  held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(*found));
  bytes_ -= block.bytes;
  return block;
}

bool SpareBlocks::PutBack(const Block& block, int64_t now_ns) {
  // One more than is asked for: a loop that replaces one object by the next has two in use.
  if (block.bytes > kMaxBytes - bytes_ || Fitting(block.bytes) > Goal(block.bytes)) return false;
  held_.push_back({block, now_ns});
  bytes_ += block.bytes;
  return true;
}

size_t SpareBlocks::Fitting(uint64_t bytes) const {
  size_t count = 0;
  for (const Held& held : held_) count += Fits(held.block.bytes, bytes) ? 1 : 0;
  for (const auto& [id, asked_bytes] : asked_) count += Fits(asked_bytes, bytes) ? 1 : 0;
  return count;
}

bool SpareBlocks::Expects(uint64_t bytes) const {
  return std::any_of(asked_.begin(), asked_.end(),
                     [bytes](const auto& asked) { return Fits(asked.second, bytes); });
}

SpareBlocks::Wish SpareBlocks::WishAfter(uint64_t bytes, int64_t now_ns) const {
  if (bytes <= kMinObjectBytes || bytes > kMaxObjectBytes || now_ns < no_asking_until_ns_) {
    return {};
  }
  const uint64_t block = std::min((bytes + kRoundBytes - 1) / kRoundBytes * kRoundBytes, kMaxBytes);
  const size_t have = Fitting(bytes);
  const size_t goal = Goal(block);
  const size_t room = (kMaxBytes - bytes_) / block;
  return {std::min(goal - std::min(goal, have), room), block};
}

void SpareBlocks::Asked(const ObjectId& id, uint64_t bytes) {
  if (asked_.emplace(id, bytes).second) bytes_ += bytes;
}

void SpareBlocks::Granted(const ObjectId& id, uint64_t offset, int64_t now_ns) {
  const auto asked = asked_.find(id);
  if (asked == asked_.end()) return;
  held_.push_back({{id, offset, asked->second}, now_ns});
  asked_.erase(asked);
}

void SpareBlocks::Refused(const ObjectId& id, int64_t now_ns) {
  const auto asked = asked_.find(id);
  if (asked == asked_.end()) return;
  bytes_ -= asked->second;
  asked_.erase(asked);
  no_asking_until_ns_ = now_ns + kKeepNs;
}

std::vector<ObjectId> SpareBlocks::TakeIdle(int64_t now_ns) {
  std::vector<ObjectId> idle;
  std::erase_if(held_, [&](const Held& held) {
    if (now_ns - held.wanted_ns < kKeepNs) return false;
    idle.push_back(held.block.id);
    bytes_ -= held.block.bytes;
    return true;
  });
  return idle;
}

std::vector<ObjectId> SpareBlocks::TakeAll() {
  std::vector<ObjectId> all;
  for (const Held& held : held_) {
    all.push_back(held.block.id);
    bytes_ -= held.block.bytes;
  }
  held_.clear();
  return all;
}

int64_t SpareBlocks::NextIdleNs() const {
  int64_t next = std::numeric_limits<int64_t>::max();
  for (const Held& held : held_) next = std::min(next, held.wanted_ns + kKeepNs);
  return next;
}

std::string SpareBlocks::CheckInvariants() const {
  uint64_t bytes = 0;
  std::unordered_set<ObjectId> ids;
  for (const auto& [id, asked_bytes] : asked_) {
    bytes += asked_bytes;
    ids.insert(id);
  }
  for (const Held& held : held_) {
    bytes += held.block.bytes;
    if (!ids.insert(held.block.id).second) return "two blocks are called " + held.block.id.Hex();
  }
  if (bytes != bytes_) return "bytes are miscounted";
  return bytes <= kMaxBytes ? "" : "too many bytes are held";
}

}  // namespace cyray::core
