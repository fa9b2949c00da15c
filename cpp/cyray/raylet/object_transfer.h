// ObjectTransfer: gets objects for the clients of this node, from here or from another node's
// store.
//
// The wiring between the object store, the connections and two parts that decide: PullTable (what
// is being fetched, from whom) and ObjectSender (what others fetch from here). Each object is
// pulled once at a time, however many wait for it.
// Threading: confined to the raylet's loop. Must be destroyed before the store and the peer table.

#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cyray/raylet/object_transfer_pulls.h"
#include "cyray/raylet/object_transfer_sender.h"
#include "cyray/raylet/peer_table.h"
#include "cyray/store/arena_mapping.h"
#include "cyray/store/object_store.h"

namespace cyray::raylet {

class ObjectTransfer : private net::BulkReceiver {
 public:
  // Registers its handlers and callbacks with `peers`.
  static Result<std::unique_ptr<ObjectTransfer>> Create(const NodeId& self,
                                                        store::ObjectStore* store,
                                                        PeerTable* peers);
  ~ObjectTransfer() override;

  // GetObject: a pin for `client`, at once when the object is here, else when it was pulled from
  // one of `locations`. NotFound, naming object and nodes, when nobody has it; ObjectStoreFull when
  // there is no room for it.
  void Get(store::ClientId client, const ObjectId& id, const std::vector<NodeId>& locations,
           store::ObjectStore::GetCallback callback);
  // FreeObjects of a client of this node: on `locations` and where copies went from there, and,
  // unless `there_alone`, here.
  void Free(const std::vector<ObjectId>& ids, const std::vector<NodeId>& locations,
            bool there_alone = false);
  // To be called after the store was told: gives up what nobody waits for any more.
  void OnClientDied();

  // Called when a pull finds no room for an object of so many bytes, before it fails.
  void set_on_full(std::function<void(uint64_t bytes)> callback) { on_full_ = std::move(callback); }

  // For the node's dump: "object 12ab.. from node 34cd.., 5 of 10 bytes".
  std::vector<std::string> Describe() const { return pulls_.Describe(); }
  size_t pulls() const { return pulls_.size(); }
  bool IsPulling(const ObjectId& id) const { return pulls_.IsPulling(id); }
  std::string CheckInvariants() const { return pulls_.CheckInvariants(); }

 private:
  ObjectTransfer(const NodeId& self, store::ObjectStore* store, PeerTable* peers,
                 std::unique_ptr<store::ArenaMapping> mapping);

  // BulkReceiver
  bool OnChunk(const NodeId& from, const wire::ObjectChunk& chunk) override;
  std::span<uint8_t> ChunkSink(const NodeId& from, uint64_t request_id, uint32_t done,
                               uint32_t left) override;
  void OnChunkEnd(const NodeId& from, uint64_t request_id, uint32_t bytes) override;

  void OnForwardFree(const wire::ForwardFree& request);
  void ForwardFree(const NodeId& node, const std::vector<ObjectId>& ids);
  // Frees them here, and wherever they were sent from here.
  void FreeHere(const std::vector<ObjectId>& ids);
  void Apply(std::vector<PullTable::Action> actions);
  // Creates the object in the store, or ends the pull.
  void MakeRoom(const PullTable::Pull& pull, const Address& owner);

  const NodeId self_;
  store::ObjectStore* const store_;
  PeerTable* const peers_;
  std::unique_ptr<store::ArenaMapping> mapping_;
  std::function<void(uint64_t bytes)> on_full_;
  PullTable pulls_;
  ObjectSender sender_;
};

}  // namespace cyray::raylet
