// ObjectSender: sends objects of this node's store to raylets that pull them.
//
// Chunks straight from the arena, of 256 KiB to 1 MiB as the wire is fast, round robin between the
// pulls of one node; never more than kMaxQueuedBytes are queued per connection. The object stays
// pinned until its last byte left. Remembers who got a copy from here: owners know where an object
// was made, not where it was read. Threading: confined to the raylet's loop.

#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/raylet/peer_table.h"
#include "cyray/store/arena_mapping.h"
#include "cyray/store/object_store.h"

namespace cyray::raylet {

class ObjectSender {
 public:
  static constexpr size_t kMaxQueuedBytes = 4 << 20;

  ObjectSender(store::ObjectStore* store, PeerTable* peers, const store::ArenaMapping* mapping)
      : store_(store), peers_(peers), mapping_(mapping) {}

  // `offset`: the receiver has what is before it.
  void OnPull(const NodeId& from, uint64_t request_id, const ObjectId& id, uint64_t offset);
  void OnCancel(const NodeId& from, uint64_t request_id);
  // The receiver asks again for what it still wants.
  void OnReconnected(const NodeId& node) { receivers_.erase(node); }
  void OnNodeLost(const NodeId& node) { receivers_.erase(node); }
  // The nodes that fetched the object from here, once: it is freed.
  std::vector<NodeId> TakeCopies(const ObjectId& id);
  // Sends what fits into the node's queue.
  void Pump(const NodeId& node);

 private:
  struct Job {
    uint64_t request_id;
    ObjectId id;
    Address owner;
    store::ObjectView view;
    std::shared_ptr<const void> pin;
    uint64_t sent = 0;
  };
  struct Receiver {
    std::deque<Job> jobs;
    std::unordered_set<uint64_t> awaited;  // requests for objects that are still being written
  };
  void NoteCopy(const NodeId& to, const ObjectId& id);
  void Begin(const NodeId& to, Job job);
  void SendMissing(const NodeId& to, uint64_t request_id, const ObjectId& id);
  // Whether the connection took it.
  bool SendChunk(const NodeId& to, Job& job);

  store::ObjectStore* const store_;
  PeerTable* const peers_;
  const store::ArenaMapping* const mapping_;
  std::unordered_map<NodeId, Receiver> receivers_;
  std::unordered_map<ObjectId, std::vector<NodeId>> copies_;
  size_t prune_copies_at_ = 1'024;  // of objects that went with their owner
};

}  // namespace cyray::raylet
