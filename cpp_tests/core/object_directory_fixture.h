// An ObjectDirectory and outboxes that note in words what it asks of them, for tests of it.

#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cyray/core/object_directory.h"

namespace cyray::core {

inline ObjectId MakeId(uint8_t number) {
  TaskId task;
  task.bytes[0] = number;
  return ObjectId(task, 1);
}
inline Address MakeAddress(uint8_t number) {
  Address address;
  address.worker.bytes[0] = number;
  address.node.bytes[0] = 1;
  return address;
}
inline NodeId MakeNode(uint8_t number) {
  NodeId node;
  node.bytes[0] = number;
  return node;
}

// Notes in words what the directory asks for; ids and addresses by their first byte.
class WordsOutbox : public DirectoryOutbox, public StoreOutbox {
 public:
  bool SendFetch(const Address& owner, uint64_t, const ObjectId& id) override {
    Note("fetch", owner.worker.bytes[0], id);
    return !dead.contains(owner.worker);
  }
  void SendState(const WorkerId& to, uint64_t, const ObjectId& id,
                 const ObjectEntry* entry) override {
    Note(entry != nullptr ? "state" : "unknown", to.bytes[0], id);
    if (on_state) on_state();
  }
  bool SendAddBorrower(const Address& owner, uint64_t request_id, const ObjectId& id) override {
    Note("add", owner.worker.bytes[0], id);
    last_registration = request_id;
    return !dead.contains(owner.worker);
  }
  void SendRemoveBorrower(const Address& owner, const ObjectId& id) override {
    Note("remove", owner.worker.bytes[0], id);
  }
  void SendContainedTaken(const Address& giver, const ObjectId& outer) override {
    Note("taken", giver.worker.bytes[0], outer);
  }
  void SendFreedToOwner(const Address& owner, const ObjectId& id) override {
    Note("freed", owner.worker.bytes[0], id);
  }
  void SendFreedToBorrower(const WorkerId& borrower, const ObjectId& id) override {
    Note("freed", borrower.bytes[0], id);
  }
  void PullToStore(ObjectEntry* entry) override { Note("pull", 0, entry->id); }
  void ReleasePin(const ObjectId& id) override { Note("unpin", 0, id); }
  bool IsWaitedFor(const ObjectEntry* entry, bool to_read) override {
    return entry == reader || (!to_read && entry == watcher);
  }
  void ForEachWaitedFor(const std::function<void(ObjectEntry*)>& visit) override {
    ++looks_at_waits;
    for (ObjectEntry* entry : {reader, watcher}) {
      if (entry != nullptr) visit(entry);
    }
    for (ObjectEntry* entry : readers) visit(entry);
  }
  void FreeStored(const ObjectId& id, const std::vector<NodeId>&) override { Note("free", 0, id); }
  void FreeStray(const ObjectId& id, const NodeId&) override { Note("stray", 0, id); }
  void ActorOutOfScope(const ActorId&) override { notes.emplace_back("actor"); }
  void GeneratorDropped(const ObjectId&, PendingTask*) override {}
  void OnObjectReady(ObjectEntry* entry, std::vector<uint64_t> dependents,
                     std::vector<uint64_t> callbacks) override {
    for (uint64_t tag : dependents) notes.push_back("task " + std::to_string(tag));
    for (uint64_t token : callbacks) notes.push_back("callback " + std::to_string(token));
    if (on_ready) on_ready(entry);
  }
  void Publish(const ObjectId&) override {}

  void Note(const char* word, uint8_t whom, const ObjectId& id) {
    notes.push_back(std::string(word) + " " + std::to_string(id.bytes[0]) +
                    (whom != 0 ? " of " + std::to_string(whom) : ""));
  }
  std::vector<std::string> Take() { return std::exchange(notes, {}); }

  std::vector<std::string> notes;
  uint64_t last_registration = 0;
  ObjectEntry* reader = nullptr;  // what threads wait for
  ObjectEntry* watcher = nullptr;
  std::vector<ObjectEntry*> readers;
  int looks_at_waits = 0;
  std::function<void()> on_state;
  std::set<WorkerId> dead;
  std::function<void(ObjectEntry*)> on_ready;
};

class ObjectDirectoryTest : public testing::Test {
 protected:
  ObjectDirectoryTest() { objects_.SetIdentity(self_); }
  void TearDown() override { objects_.CheckInvariants(); }

  ObjectEntry* MakeOwned(uint8_t number) {
    ObjectEntry* entry = objects_.NewOwned(MakeId(number));
    objects_.Index(entry);
    return entry;
  }
  ObjectEntry* BorrowRegistered(uint8_t number) {
    ObjectEntry* entry = objects_.Borrow(MakeId(number), owner_, false);
    objects_.OnRegistered(outbox_.last_registration);
    outbox_.Take();
    return entry;
  }
  static ValuePtr Bytes() { return ValuePtr(Value::Copy("v", 1)); }

  const Address self_ = MakeAddress(1), owner_ = MakeAddress(2), third_ = MakeAddress(3);
  WordsOutbox outbox_;
  ObjectDirectory objects_{outbox_, outbox_};
};

}  // namespace cyray::core
