// ObjectService: the store frames of clients, and touching memory ahead in idle time.
//
// Clients hold spare blocks (CreateObject with `spare`), of which the service knows. Whoever finds
// the store full while there are any waits until they came back, for a moment at most.
// Threading: confined to the raylet's loop.

#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "cyray/raylet/client_registry.h"
#include "cyray/raylet/object_transfer.h"
#include "cyray/store/object_store.h"
#include "cyray/util/recent.h"
#include "cyray/util/runtime.h"
#include "cyray/util/timer.h"
#include "local_generated.h"

namespace cyray::raylet {

class ObjectService {
 public:
  struct Parts {
    NodeId self;
    Runtime* runtime;
    ClientRegistry* clients;
    store::ObjectStore* store;
    ObjectTransfer* transfer;
    // An object of that owner is wanted or made here; it ends with its owner. False: the owner has
    // ended already.
    std::function<bool(const Address& owner)> watch_owner;
  };
  explicit ObjectService(Parts parts);

  // A store frame. False: the frame is bad.
  bool OnFrame(ClientConnection& client, const wire::Frame& frame);
  static bool Handles(wire::FrameType type);
  // `address`: whose objects are to be dropped with it.
  void OnClientGone(uint64_t client_id, const Address& address);
  // A process of another node. Of a node's end the table of peers tells (object_transfer.h).
  void OnRemoteDied(const Address& address);
  // How many blocks that client holds ahead of objects, for the node's dump.
  size_t SparesOf(uint64_t client_id) const;

 private:
  bool OnCreate(ClientConnection& client, const wire::CreateObject* create);
  bool OnSeal(ClientConnection& client, const wire::SealObject* seal);
  bool OnSealAs(ClientConnection& client, const wire::SealAs* seal);
  bool OnAbort(ClientConnection& client, const wire::AbortObject* abort);
  bool OnGet(ClientConnection& client, const wire::GetObject* get);
  bool OnRelease(ClientConnection& client, const wire::ReleaseObjects* release);
  bool OnFree(ClientConnection& client, const wire::FreeObjects* free);
  void WarmLater(int64_t delay_ms);

  // A CreateObject that found the store full.
  struct Waiting {
    uint64_t client_id;
    uint64_t request_id;
    ObjectId id;
    uint64_t bytes;
    Address owner;
    int64_t until_ms;
  };
  struct Getting {
    uint64_t client_id;
    uint64_t request_id;
    ObjectId id;
    std::vector<NodeId> locations;
  };
  store::ObjectStore::GetCallback ReplyTo(const Getting& getting);
  void AwaitLateSeal(const Getting& getting);
  Result<uint64_t> Create(uint64_t client_id, const ObjectId& id, uint64_t bytes,
                          const Address& owner);
  void AnswerCreate(ClientConnection& client, uint64_t request_id, const Result<uint64_t>& offset);
  // Asks the clients for spare blocks and for pins on copies that they do not need just now.
  void AskForRoom(uint64_t bytes);
  bool MayGetRoom(uint64_t bytes) const {
    return !spares_.empty() || store_->FitsWithoutCopies(bytes);
  }
  void SpareWent(uint64_t client_id, const ObjectId& id);
  // Those that there is room for now are answered; the others wait on, unless their time is up or
  // nothing that could still come back would be enough.
  void RetryWaiting();
  void ArmRetry();

  const NodeId self_;
  Runtime* const runtime_;
  ClientRegistry* const clients_;
  store::ObjectStore* const store_;
  ObjectTransfer* const transfer_;
  const std::function<bool(const Address&)> watch_owner_;
  std::unordered_map<uint64_t, std::unordered_set<ObjectId>> spares_;  // by client
  std::vector<Waiting> waiting_;                                       // the oldest first
  // Objects that are not here and were freed all the same, and by whom: their SealAs may follow.
  static constexpr size_t kMostFreedEarly = 4'096;
  static constexpr int64_t kFreedEarlyMs = 10'000;
  Recent<ObjectId, WorkerId> freed_early_{kMostFreedEarly, kFreedEarlyMs};

  Timer warming_;
  Timer retry_;                  // when the time of the first that waits for room is up
  Timer asked_;                  // for room, a moment ago
  Timers<uint64_t> late_seals_;  // by the ticket of who waits
};

}  // namespace cyray::raylet
