// ObjectTable: which objects the node's store holds, who writes, pins and awaits them.
//
// A pure state machine: events in, answers out. It decides what is deleted and what is evicted; the
// ranges of the arena are the allocator's business (object_store.h joins the two).
//
//   absent --Create--> created --Seal--> sealed --(last pin of a freed one goes)--> absent
//                      created --Abort, creator dies--> absent
//                      created --SealAs (another name)--> absent, and sealed under that name
//
// A *primary* copy was made on this node and stays until its owner frees it; a *cached* copy was
// pulled from another node and may be evicted, least recently used first, while nobody pins it.
// The creator holds a pin from Create on, and gives it up with Release like any other.
// Threading: confined to the raylet's loop.
// Invariants (CheckInvariants): pins are counted the same per client and per object; exactly the
// sealed, unpinned, not freed cached copies are in the eviction queue and its bytes; waiters only
// on absent or created objects.

#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/store/eviction_queue.h"
#include "cyray/util/status.h"

namespace cyray::store {

// A process as its raylet sees it: the number of its connection. 0 is the raylet itself.
using ClientId = uint64_t;
inline constexpr ClientId kRaylet = 0;

enum class CopyKind : uint8_t { kPrimary, kCached };

struct ObjectView {
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

struct StoreStats {
  uint64_t capacity_bytes = 0;
  uint64_t used_bytes = 0;     // blocks of the arena
  uint64_t pinned_bytes = 0;   // payload of objects that somebody pins
  uint64_t primary_bytes = 0;  // payload of primary copies that are not freed
  uint64_t objects = 0;
  uint64_t waiters = 0;
};

struct ObjectInfo {
  ObjectId id;
  Address owner;
  uint64_t bytes = 0;
  uint32_t pins = 0;
  const char* state = "";
};

class ObjectTable {
 public:
  // What the caller has to do after an event, in this order.
  struct Answer {
    uint64_t ticket;  // of the waiting Get
    ClientId client;
    ObjectView view;  // pinned for the client, when status is ok
    Status status;
  };
  struct Actions {
    std::vector<uint64_t> freed_offsets;
    std::vector<Answer> answers;
    std::vector<ObjectId> deleted;
    std::vector<uint64_t> dropped_tickets;  // of a dead client: never to be answered
  };

  // Whether Create may follow. A sealed object that was freed is taken back into use.
  Status MayCreate(const ObjectId& id);
  // MayCreate must have said ok. The creator gets a pin.
  void Create(const ObjectId& id, ClientId creator, const Address& owner, ObjectView view,
              CopyKind kind);
  Status Seal(const ObjectId& id, ClientId client, Actions& actions);
  // Seals what `client` created as `spare` under the name `id`, with `bytes` of its block as
  // payload. AlreadyExists when `id` is here: the spare is deleted, and the client gets a pin on
  // `id` if that is sealed. Other failures change nothing.
  Status SealAs(const ObjectId& spare, const ObjectId& id, ClientId client, const Address& owner,
                uint64_t bytes, Actions& actions);
  // Undoes Create. Those who wait keep waiting when `keep_waiters`, else they are told `why`.
  Status Abort(const ObjectId& id, ClientId client, const std::string& why, Actions& actions,
               bool keep_waiters = false);

  // A pin on a sealed object for `client`; nullopt when it is not sealed here.
  std::optional<ObjectView> Pin(const ObjectId& id, ClientId client);
  // Answers `ticket` when the object is sealed or will not be.
  void Wait(const ObjectId& id, ClientId client, uint64_t ticket);
  void FailWaiters(const ObjectId& id, const Status& status, Actions& actions);
  // Only this one, if it waits still.
  void FailWaiter(const ObjectId& id, uint64_t ticket, const Status& status, Actions& actions);
  // NotFound when the client has no pin on it.
  Status Release(const ObjectId& id, ClientId client, Actions& actions);
  // The owner wants it gone: deleted as soon as nobody pins it. Unknown ids are ignored.
  void Free(const ObjectId& id, Actions& actions);

  void ClientDied(ClientId client, Actions& actions);
  void OwnerDied(const Address& owner, Actions& actions);
  // Every owner on that node died.
  void NodeDied(const NodeId& node, Actions& actions);
  // Deletes the least recently used copy that nobody needs; false when there is none.
  bool EvictOne(Actions& actions);
  // What evicting everything that may be would free at most, in blocks of the arena.
  uint64_t EvictableBytes() const;

  // Who has pins, the raylet itself left out.
  std::vector<ClientId> ClientsWithPins() const;

  bool IsSealed(const ObjectId& id) const;
  bool IsCreated(const ObjectId& id) const;
  bool HasWaiters(const ObjectId& id) const { return waiters_.contains(id); }
  std::optional<Address> OwnerOf(const ObjectId& id) const;
  // Fills what the table knows.
  void AddTo(StoreStats& stats) const;
  // The `count` largest, largest first; for dumps.
  std::vector<ObjectInfo> Largest(size_t count) const;
  // Empty when all invariants hold, otherwise what is wrong.
  std::string CheckInvariants() const;

 private:
  struct Object {
    ObjectView view;
    Address owner;
    ClientId creator = kRaylet;  // while not sealed
    uint32_t pins = 0;
    CopyKind kind = CopyKind::kPrimary;
    bool sealed = false;
    bool freed = false;
    EvictionQueue::Position queued;  // valid while evictable
  };
  struct Waiter {
    ClientId client;
    uint64_t ticket;
  };
  struct Client {
    std::unordered_map<ObjectId, uint32_t> pins;
    std::unordered_set<ObjectId> creating;
    std::unordered_set<ObjectId> awaited;
  };
  using Objects = std::unordered_map<ObjectId, Object>;

  // Nullptr when the client may not seal it; `status` says why.
  Object* FindUnsealed(const ObjectId& id, ClientId client, Status& status);
  // Gives an unsealed object of its creator another name, owner and payload size.
  Object& Rename(const ObjectId& from, const ObjectId& to, const Address& owner, uint64_t bytes);
  void MarkSealed(const ObjectId& id, Object& object, Actions& actions);
  void AddPin(const ObjectId& id, Object& object, ClientId client);
  void DropPins(const ObjectId& id, uint32_t count, Actions& actions);
  void SetEvictable(const ObjectId& id, Object& object, bool evictable);
  void DeleteIfUnused(Objects::iterator it, Actions& actions);
  void Delete(Objects::iterator it, Actions& actions);
  void ForgetClientIfIdle(ClientId client);
  std::vector<Waiter> TakeWaiters(const ObjectId& id);

  Objects objects_;
  std::unordered_map<ObjectId, std::vector<Waiter>> waiters_;
  std::unordered_map<ClientId, Client> clients_;
  std::map<Address, std::unordered_set<ObjectId>> by_owner_;
  EvictionQueue evictable_;
  uint64_t evictable_bytes_ = 0;
  uint64_t pinned_bytes_ = 0;
  uint64_t primary_bytes_ = 0;
};

}  // namespace cyray::store
