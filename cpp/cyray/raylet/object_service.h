// ObjectService: the store frames of clients, and touching memory ahead in idle time.
// Threading: confined to the raylet's loop.

#pragma once

#include <memory>
#include <string>

#include "cyray/raylet/client_registry.h"
#include "cyray/raylet/object_transfer.h"
#include "cyray/store/object_store.h"
#include "local_generated.h"

namespace cyray::raylet {

class ObjectService {
 public:
  ObjectService(EventLoop* loop, ClientRegistry* clients, store::ObjectStore* store,
                ObjectTransfer* transfer);

  // A store frame. False: the frame is bad.
  bool OnFrame(ClientConnection& client, const wire::Frame& frame);
  static bool Handles(wire::FrameType type);
  // `address`: whose objects are to be dropped with it.
  void OnClientGone(uint64_t client_id, const Address& address);
  void OnRemoteDied(const Address& address);

 private:
  bool OnCreate(ClientConnection& client, const wire::CreateObject* create);
  bool OnSeal(ClientConnection& client, const wire::SealObject* seal);
  bool OnAbort(ClientConnection& client, const wire::AbortObject* abort);
  bool OnGet(ClientConnection& client, const wire::GetObject* get);
  bool OnRelease(ClientConnection& client, const wire::ReleaseObjects* release);
  bool OnFree(const wire::FreeObjects* free);
  void WarmLater(int64_t delay_ms);

  EventLoop* const loop_;
  ClientRegistry* const clients_;
  store::ObjectStore* const store_;
  ObjectTransfer* const transfer_;
  bool warming_ = false;
};

}  // namespace cyray::raylet
