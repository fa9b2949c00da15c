// Both outboxes of the object directory, sending nothing: for tests and benchmarks which override
// what they look at.

#pragma once

#include <vector>

#include "cyray/core/object_directory.h"

namespace cyray::core {

class SilentOutbox : public DirectoryOutbox, public StoreOutbox {
 public:
  bool SendFetch(const Address&, uint64_t, const ObjectId&) override { return true; }
  void SendState(const WorkerId&, uint64_t, const ObjectId&, const ObjectEntry*) override {}
  bool SendAddBorrower(const Address&, uint64_t, const ObjectId&) override { return true; }
  void SendRemoveBorrower(const Address&, const ObjectId&) override {}
  void SendContainedTaken(const Address&, const ObjectId&) override {}
  void SendFreedToOwner(const Address&, const ObjectId&) override {}
  void SendFreedToBorrower(const WorkerId&, const ObjectId&) override {}
  bool IsWaitedFor(const ObjectEntry*, bool) override { return false; }
  void ForEachWaitedFor(const std::function<void(ObjectEntry*)>&) override {}
  void ActorOutOfScope(const ActorId&) override {}
  void GeneratorDropped(const ObjectId&, PendingTask*) override {}
  void OnObjectReady(ObjectEntry*, std::vector<uint64_t>, std::vector<uint64_t>) override {}
  void PullToStore(ObjectEntry*) override {}
  void ReleasePin(const ObjectId&) override {}
  void Publish(const ObjectId&) override {}
  void FreeStored(const ObjectId&, const std::vector<NodeId>&) override {}
  void FreeStray(const ObjectId&, const NodeId&) override {}
};

}  // namespace cyray::core
