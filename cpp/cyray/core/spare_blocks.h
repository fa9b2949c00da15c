// SpareBlocks: blocks of the node's store that this process has and does not use yet.
//
// A large put would wait for the raylet to find room. So after an object of some size was made, the
// process asks for a few blocks of that size ahead; the next object takes one and is named when it
// is sealed. The block of an object that nobody else heard of comes back when the object goes
// (PutBack). Blocks that nothing wants for a while go back to the raylet, and a refusal stops the
// asking for as long. A pure state machine: the caller sends what it says, and tells it the time.
// Threading: guarded by the core mutex.
// Invariants (CheckInvariants): ids are distinct; bytes asked for and held stay within kMaxBytes.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "cyray/common/encoding.h"

namespace cyray::core {

class SpareBlocks {
 public:
  struct Block {
    ObjectId id;  // under which the raylet knows it
    uint64_t offset = 0;
    uint64_t bytes = 0;
  };
  struct Wish {
    size_t count = 0;
    uint64_t bytes = 0;  // of each
  };
  static constexpr uint64_t kMinObjectBytes = kInlineBytes;
  static constexpr uint64_t kMaxObjectBytes = 16 << 20;
  static constexpr uint64_t kMaxBytes = 16 << 20;
  static constexpr int64_t kKeepNs = 1'000'000'000;

  // A block for an object of `bytes`: no smaller, at most twice as large. It is the caller's then.
  std::optional<Block> Take(uint64_t bytes, int64_t now_ns);
  // A taken block is free again. False when there are enough: the caller gives it back to the
  // raylet.
  bool PutBack(const Block& block, int64_t now_ns);
  // Whether a block that fits was asked for and not answered.
  bool Expects(uint64_t bytes) const;

  // What to ask for after an object of `bytes` was made. The caller calls Asked for each.
  Wish WishAfter(uint64_t bytes, int64_t now_ns) const;
  void Asked(const ObjectId& id, uint64_t bytes);
  void Granted(const ObjectId& id, uint64_t offset, int64_t now_ns);
  void Refused(const ObjectId& id, int64_t now_ns);

  // Blocks to give back: those that were not wanted for kKeepNs, or all.
  std::vector<ObjectId> TakeIdle(int64_t now_ns);
  std::vector<ObjectId> TakeAll();
  // When TakeIdle will have something; INT64_MAX for never.
  int64_t NextIdleNs() const;

  size_t held() const { return held_.size(); }
  size_t asked() const { return asked_.size(); }
  // Empty when all invariants hold, otherwise what is wrong.
  std::string CheckInvariants() const;

 private:
  struct Held {
    Block block;
    int64_t wanted_ns;  // when one like it was last taken, or it was granted
  };
  static bool Fits(uint64_t block_bytes, uint64_t bytes) {
    return bytes <= block_bytes && block_bytes / 2 <= bytes;
  }

  // Held and asked for that fit an object of `bytes`.
  size_t Fitting(uint64_t bytes) const;

  std::vector<Held> held_;  // the last is the one whose memory was in use last
  std::unordered_map<ObjectId, uint64_t> asked_;
  uint64_t bytes_ = 0;  // of both
  int64_t no_asking_until_ns_ = 0;
};

}  // namespace cyray::core
