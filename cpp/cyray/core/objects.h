// Objects: the refs that this process holds: objects that it owns and that it borrows.
//
// Python's side of the ObjectDirectory, and the directory's way to the processes that own or borrow
// the same objects: the frames between them are built and read here.
// Threading: as this_process.h says.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "cyray/core/object_directory.h"
#include "cyray/core/this_process.h"

namespace cyray::core {

class EventQueue;
class Executor;
class Submitter;

class Objects : public DirectoryOutbox {
 public:
  // Who waits for objects, besides threads.
  struct Dependents {
    Submitter& submitter;
    Executor& executor;
    EventQueue& events;
  };
  Objects(ThisProcess& process, ObjectDirectory& directory, const Dependents& dependents)
      : process_(process), directory_(directory), dependents_(dependents) {}

  // A new object of this process; the entry counts one ref, the caller's. Takes over one count of
  // each of `contained`.
  ObjectEntry* Put(ValuePtr value, bool is_error, std::vector<ObjectEntry*> contained);
  // A handle entry of an actor that this process creates: its last ref ends the actor.
  ObjectEntry* NewActorHandle(const ActorId& id);
  // `entry` keeps `held` alive as long as it lives; takes over one count of each.
  void HoldWith(ObjectEntry* entry, std::vector<ObjectEntry*> held);
  void AddRef(ObjectEntry* entry);
  void Release(ObjectEntry* entry);
  // The address that a serialized ref carries; from now on others may name the object.
  Address Export(ObjectEntry* entry);
  // The same for many: `table` gets, and has, an ObjectId and an Address (56 bytes) for each.
  void ExportMany(ObjectEntry* const* entries, size_t count, uint8_t* table);
  // A ref that came from another process. `deferred`: it is among a task's arguments, and its owner
  // is told of it only if it outlives the task.
  ObjectEntry* Borrow(const ObjectId& id, const Address& owner, bool deferred);
  void BorrowMany(const uint8_t* table, size_t count, bool deferred, ObjectEntry** entries);
  // The user frees them: ObjectDirectory::Free; with `here_alone`, FreeHere.
  void Free(ObjectEntry* const* entries, size_t count, bool here_alone);
  // Objects that this process owns or borrows.
  size_t live();

  // --- With the core mutex held ---

  // What another process says of objects. False when it makes no sense.
  bool OnFrame(Link& link, const wire::Frame& frame);
  // Its peer will not take the refs that it was given inside values.
  void OnLinkBroken(Link& link);

  // DirectoryOutbox
  bool SendFetch(const Address& owner, uint64_t request_id, const ObjectId& id) override;
  void SendState(const WorkerId& to, uint64_t request_id, const ObjectId& id,
                 const ObjectEntry* entry) override;
  bool SendAddBorrower(const Address& owner, uint64_t request_id, const ObjectId& id) override;
  void SendRemoveBorrower(const Address& owner, const ObjectId& id) override;
  void SendContainedTaken(const Address& giver, const ObjectId& outer) override;
  void SendFreedToOwner(const Address& owner, const ObjectId& id) override;
  void SendFreedToBorrower(const WorkerId& borrower, const ObjectId& id) override;
  bool IsWaitedFor(const ObjectEntry* entry, bool to_read) override;
  void ForEachWaitedFor(const std::function<void(ObjectEntry*)>& visit) override;
  void ActorOutOfScope(const ActorId& id) override;
  void GeneratorDropped(const ObjectId& id, PendingTask* maker) override;
  void OnObjectReady(ObjectEntry* entry, std::vector<uint64_t> dependents,
                     std::vector<uint64_t> callbacks) override;

 private:
  bool OnState(const wire::Frame& frame);
  bool OnAddBorrowers(Link& link, const wire::Frame& frame);
  // To an owner, whose objects are lost when it cannot be reached.
  // What means nothing to a process that is gone.
  // False: it is dead, and nothing is sent.
  bool SendIfThere(const Address& peer, wire::FrameType type);

  ThisProcess& process_;
  ObjectDirectory& directory_;
  const Dependents dependents_;
  flatbuffers::FlatBufferBuilder builder_;  // guarded by the core mutex
};

}  // namespace cyray::core
