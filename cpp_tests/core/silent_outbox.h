// An outbox of the object directory that sends nothing: for tests and benchmarks which override
// what they look at. An error's value is its kind alone.

#pragma once

#include <vector>

#include "cyray/core/object_directory.h"

namespace cyray::core {

class SilentOutbox : public DirectoryOutbox {
 public:
  void SendFetch(const Address&, uint64_t, const ObjectId&) override {}
  void SendState(const WorkerId&, uint64_t, const ObjectId&, const ObjectEntry*) override {}
  void SendAddBorrower(const Address&, uint64_t, const ObjectId&) override {}
  void SendRemoveBorrower(const Address&, const ObjectId&) override {}
  void SendContainedTaken(const Address&, const ObjectId&) override {}
  void PullToStore(ObjectEntry*) override {}
  void ReleasePin(const ObjectId&) override {}
  bool IsWaitedFor(const ObjectEntry*, bool) override { return false; }
  void ForEachWaitedFor(const std::function<void(ObjectEntry*)>&) override {}
  void FreeStored(const ObjectId&, const std::vector<NodeId>&) override {}
  void FreeStray(const ObjectId&, const NodeId&) override {}
  void ActorOutOfScope(const ActorId&) override {}
  void OnObjectReady(ObjectEntry*, std::vector<uint64_t>, std::vector<uint64_t>) override {}
  ValuePtr MakeError(uint8_t kind, const std::string&) override {
    return ValuePtr(Value::Copy(&kind, 1));
  }
};

}  // namespace cyray::core
