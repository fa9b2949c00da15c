// StoreClient: this process's side of its node's store: blocks to write in, sealing, pins and
// objects that are let go.
//
// A put into a spare block stays *unpublished*, a matter of this process alone, until somebody else
// may name the object (Publish seals it) or it is gone (its block is a spare again): a loop of puts
// that replaces one object by the next sends nothing. Else a put writes to the raylet once: what
// was let go before it, its seal, and the question for spare blocks leave in one flush, in this
// order. What is let go gathers, and leaves with the next flush.
// Threading: as this_process.h says. The arena is thread-safe, and may outlive this object: Python
// reads it.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "cyray/core/object_directory.h"
#include "cyray/core/requests.h"
#include "cyray/core/spare_blocks.h"
#include "cyray/store/arena_mapping.h"

namespace cyray::core {

// A created, unsealed object of the store.
struct StoreBlock {
  ObjectId id;
  Address owner;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  uint8_t* data = nullptr;
  ObjectId spare = {};    // not nil: the raylet knows the block under this name until it is sealed
  uint64_t capacity = 0;  // of a spare
};

class StoreClient : public StoreOutbox {
 public:
  StoreClient(ThisProcess& process, Requests& requests, ObjectDirectory& directory)
      : process_(process), requests_(requests), directory_(directory) {}

  // Reserves `bytes` for an object `id` of `owner`: a spare block, else it asks the raylet and
  // waits. kAlreadyExists, now or unseen when it is sealed: the store has the object.
  Status Create(const ObjectId& id, const Address& owner, uint64_t bytes, StoreBlock* block);
  ObjectId NextPutId();
  // Makes the block immutable. SealOwned makes it an object of this process; SealReturn leaves it
  // to its owner.
  ObjectEntry* SealOwned(const StoreBlock& block, std::vector<ObjectEntry*> contained);
  void SealReturn(const StoreBlock& block);
  void Abort(const StoreBlock& block);
  // What an earlier attempt of a task stored on this node under that name goes.
  void Discard(const ObjectId& id);
  store::ArenaMapping& arena() { return *arena_; }
  const std::shared_ptr<store::ArenaMapping>& shared_arena() const { return arena_; }

  // Before anything else.
  void SetArena(std::shared_ptr<store::ArenaMapping> arena) { arena_ = std::move(arena); }
  // At the end of this process: what Python reads becomes private copies.
  void DetachViews();

  // --- With the core mutex held ---

  // StoreOutbox
  void PullToStore(ObjectEntry* entry) override;
  void ReleasePin(const ObjectId& id) override;
  void Publish(const ObjectId& id) override;
  void FreeStored(const ObjectId& id, const std::vector<NodeId>& locations) override;
  void FreeStray(const ObjectId& id, const NodeId& node) override;

  // The raylet wants back what this process only keeps: spare blocks, warm pins.
  void OnReturnSpares();
  // Sends what was let go.
  void SendReleases() {
    if (!pins_to_release_.empty()) SendReleasedPins();
    if (!to_free_.empty()) SendFreed();
  }
  // Spares that nobody wanted go back.
  int64_t NextTimerNs() const { return spares_.NextIdleNs(); }
  void RunTimers(int64_t now_ns) { GiveBack(spares_.TakeIdle(now_ns)); }
  void Describe(std::string& out) const;

 private:
  // An object of this process in a spare block, not sealed as long as nobody else may name it.
  struct Unpublished {
    SpareBlocks::Block block;
    uint64_t bytes = 0;
    bool freed = false;     // no refs
    bool unpinned = false;  // no readers
  };
  // Copies to be deleted. Those of one kind and the same places go in one frame.
  struct Freed {
    ObjectId id;
    std::vector<NodeId> places;
    bool there_alone = false;  // what an attempt that does not count left: no other place
  };

  Status TakeSpare(ThisProcess::Lock& lock, StoreBlock& block, bool* taken);
  Status RequestBlock(ThisProcess::Lock& lock, StoreBlock& block);
  void AskForSpares(uint64_t bytes);
  void OnSpareReply(const ObjectId& id, uint64_t bytes, wire::Frame* frame);
  void GiveBack(const std::vector<ObjectId>& spares);
  void SendSeal(const StoreBlock& block);
  void SendAbort(const ObjectId& id);
  void SendReleasedPins();
  void SendFreed();
  void Free(Freed freed);
  void PublishAll();
  void RecycleIfDone(const ObjectId& id);
  void OnPullReply(const ObjectId& id, wire::Frame* frame);

  ThisProcess& process_;
  Requests& requests_;
  ObjectDirectory& directory_;
  std::shared_ptr<store::ArenaMapping> arena_;  // shared with the memory that Python reads
  // Guarded by the core mutex.
  SpareBlocks spares_;
  std::unordered_map<ObjectId, Unpublished> unpublished_;
  std::vector<ObjectId> pins_to_release_;
  std::vector<Freed> to_free_;
  flatbuffers::FlatBufferBuilder builder_;
};

}  // namespace cyray::core
