// ObjectStore: the object store of a node, as its raylet uses it.
//
// Joins the arena (memory), the allocator (ranges) and the object table (states): creates with
// eviction, runs the callbacks of waiting getters, gives memory back.
// Threading: confined to the raylet's loop. A getter's callback runs either inside Get() or inside
// the call that made the object available; by then the store is consistent and may be called again.
// Invariants: each object of the table owns exactly one block of the allocator and the reverse.

#pragma once

#include <functional>
#include <memory>
#include <unordered_map>
#include <utility>

#include "cyray/store/arena.h"
#include "cyray/store/arena_allocator.h"
#include "cyray/store/object_table.h"
#include "cyray/util/status.h"

namespace cyray::store {

class ObjectStore {
 public:
  // Ok: the client has a pin. NotFound: freed, lost, or its writer died.
  using GetCallback = std::function<void(Result<ObjectView>)>;

  static Result<std::unique_ptr<ObjectStore>> Open(uint64_t capacity_bytes);

  const Arena& arena() const { return arena_; }

  // The offset to write at; the creator has a pin, also after Seal. AlreadyExists when the object
  // is here or being written, ObjectStoreFull when nothing more can be evicted.
  Result<uint64_t> Create(ClientId client, const ObjectId& id, uint64_t bytes, const Address& owner,
                          CopyKind kind = CopyKind::kPrimary);
  // A block for an object that the client may write later (SealAs). Refused (ObjectStoreFull)
  // rather than evicting anything, or taking the last half of the store.
  Result<uint64_t> CreateSpare(ClientId client, const ObjectId& id, uint64_t bytes,
                               const Address& owner);
  Status Seal(ClientId client, const ObjectId& id);
  // See ObjectTable::SealAs. The block keeps the size it was created with.
  Status SealAs(ClientId client, const ObjectId& spare, const ObjectId& id, const Address& owner,
                uint64_t bytes);
  Status Abort(ClientId client, const ObjectId& id);
  // As Abort; who waits for the object goes on waiting (for the next try).
  Status AbortAndKeepWaiters(ClientId client, const ObjectId& id);

  // Runs `callback` at once when the object is sealed, otherwise when it is sealed or will not be.
  // An absent object is waited for: somebody must pull it, or call FailWaiters. The ticket of who
  // waits, 0 when it was answered.
  uint64_t Get(ClientId client, const ObjectId& id, GetCallback callback);
  // A pin without waiting.
  Result<ObjectView> TryGet(ClientId client, const ObjectId& id);
  void FailWaiters(const ObjectId& id, const Status& status);
  // Only this one, if it waits still.
  void FailWaiter(const ObjectId& id, uint64_t ticket, const Status& status);
  Status Release(ClientId client, const ObjectId& id);
  void Free(const ObjectId& id);

  // Drops its pins and waits, aborts what it was writing.
  void ClientDied(ClientId client);
  // Frees what that process owned.
  void OwnerDied(const Address& owner);
  void NodeDied(const NodeId& node);

  bool Contains(const ObjectId& id) const { return table_.IsSealed(id); }
  bool IsBeingWritten(const ObjectId& id) const { return table_.IsCreated(id); }
  bool HasWaiters(const ObjectId& id) const { return table_.HasWaiters(id); }
  std::optional<Address> OwnerOf(const ObjectId& id) const { return table_.OwnerOf(id); }

  // Who pins objects. When they give up pins of copies there may be room for an object of `bytes`.
  std::vector<ClientId> ClientsWithPins() const { return table_.ClientsWithPins(); }
  bool FitsWithoutCopies(uint64_t bytes) const;

  // To be called in idle time until it returns false: takes memory from the machine ahead of use.
  bool WarmSome() { return arena_.WarmSome(allocator_.high_water()); }

  StoreStats stats() const;
  std::vector<ObjectInfo> Largest(size_t count) const { return table_.Largest(count); }
  std::string CheckInvariants() const;

 private:
  explicit ObjectStore(Arena arena);
  void Apply(ObjectTable::Actions actions);
  std::optional<uint64_t> AllocateEvicting(uint64_t bytes);
  // Backs an allocated block, or gives it back.
  Status BackBlock(uint64_t offset, uint64_t bytes);
  Status Full(uint64_t bytes) const;

  Arena arena_;
  ArenaAllocator allocator_;
  ObjectTable table_;
  std::unordered_map<uint64_t, GetCallback> callbacks_;  // by ticket
  uint64_t next_ticket_ = 1;
};

}  // namespace cyray::store
