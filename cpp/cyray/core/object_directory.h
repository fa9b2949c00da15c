// ObjectDirectory: ownership and reference counts of everything this process holds refs to.
//
// The process that made a ref owns it: it keeps the value or its locations, counts its own refs and
// the processes that borrow it, and frees it when both are gone. A borrower registers with the
// owner and tells it when its last ref goes. One rule keeps owners from freeing early: a process
// sends no release (RemoveBorrowers, ContainedTaken, or a task's reply) while an AddBorrowers it
// sent before is unacknowledged (AfterRegistrations).
//
// The directory speaks to peers and to the store only through its two outboxes, so it is tested
// without any. Guarded by the core mutex. Invariants (CheckInvariants): an entry is indexed when
// anybody else may name it; `refs` is never 0 for a live borrowed entry, which is listed; an owned
// entry with `refs` 0 has borrowers.

#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "cyray/common/encoding.h"
#include "cyray/common/ids.h"
#include "cyray/core/object_entry.h"
#include "cyray/core/pin_table.h"
#include "cyray/core/unread_errors.h"

namespace cyray::core {

struct RefWithOwner {
  ObjectId id;
  Address owner;
};

// What the directory says to other processes, and to those who wait in this one.
class DirectoryOutbox {
 public:
  virtual ~DirectoryOutbox() = default;
  // False: the owner is dead.
  virtual bool SendFetch(const Address& owner, uint64_t request_id, const ObjectId& id) = 0;
  virtual void SendState(const WorkerId& to, uint64_t request_id, const ObjectId& id,
                         const ObjectEntry* entry) = 0;  // null: not known
  virtual bool SendAddBorrower(const Address& owner, uint64_t request_id, const ObjectId& id) = 0;
  virtual void SendRemoveBorrower(const Address& owner, const ObjectId& id) = 0;
  virtual void SendContainedTaken(const Address& giver, const ObjectId& outer) = 0;
  // The user of this process, or of any, has freed the object.
  virtual void SendFreedToOwner(const Address& owner, const ObjectId& id) = 0;
  virtual void SendFreedToBorrower(const WorkerId& borrower, const ObjectId& id) = 0;
  // A thread waits for the object to be here; with `to_read`, one that takes an error instead.
  virtual bool IsWaitedFor(const ObjectEntry* entry, bool to_read) = 0;
  // All objects that threads wait for.
  virtual void ForEachWaitedFor(const std::function<void(ObjectEntry*)>& visit) = 0;
  // The last handle of an actor that this process created is gone.
  virtual void ActorOutOfScope(const ActorId& id) = 0;
  // The last handle of a generator is gone; `maker` is what makes its items, if it is not over.
  virtual void GeneratorDropped(const ObjectId& id, PendingTask* maker) = 0;
  // The value of `entry` arrived: its dependents (tags of tasks, maybe gone) and callbacks can go
  // on.
  virtual void OnObjectReady(ObjectEntry* entry, std::vector<uint64_t> dependents,
                             std::vector<uint64_t> callbacks) = 0;
};

// What the directory wants of this node's store.
class StoreOutbox {
 public:
  virtual ~StoreOutbox() = default;
  // Get a pin on a stored object (OnPinned or OnPullFailed answers); give it up.
  virtual void PullToStore(ObjectEntry* entry) = 0;
  virtual void ReleasePin(const ObjectId& id) = 0;
  // Others may name this object of ours from now on: seal it if that was put off.
  virtual void Publish(const ObjectId& id) = 0;
  // Delete it everywhere.
  virtual void FreeStored(const ObjectId& id, const std::vector<NodeId>& locations) = 0;
  // Delete what an attempt of a task that does not count left on that node, and nowhere else.
  virtual void FreeStray(const ObjectId& id, const NodeId& node) = 0;
};

// Callback tokens with this bit name tasks that wait here for an argument.
inline constexpr uint64_t kExecToken = uint64_t{1} << 63;

class ObjectDirectory {
 public:
  ObjectDirectory(DirectoryOutbox& outbox, StoreOutbox& store) : outbox_(outbox), store_(store) {}
  ~ObjectDirectory();

  void SetIdentity(const Address& self) { self_ = self; }

  // --- Owned objects ---

  // The new entry counts one ref, the caller's.
  ObjectEntry* NewOwned(const ObjectId& id);
  // Gives a pending entry its value; `value` becomes the entry's.
  void Resolve(ObjectEntry* entry, ValuePtr value, bool is_error);
  void ResolveStored(ObjectEntry* entry, const NodeId& node, uint64_t bytes);
  // The same for an object that only this process knows; StoreOutbox::Publish comes before others
  // do.
  void ResolveUnpublished(ObjectEntry* entry, const NodeId& node, uint64_t bytes);
  // A copy that is none of the object's.
  void FreeCopy(const ObjectId& id, const NodeId& node) { store_.FreeStray(id, node); }
  // An error of cyray's own becomes its value.
  void Fail(ObjectEntry* entry, ErrorKind kind, const std::string& message);
  // The user frees it: from now on its value is an error, here, at its owner and at all borrowers;
  // copies in stores go, and what comes for it later, too.
  void Free(ObjectEntry* entry);
  // Only the copy in this node's store goes. One that no other node has is freed as above; what is
  // in no store stays as it is.
  void FreeHere(ObjectEntry* entry);
  // The refs inside the value of `entry`: each already counted once for it.
  void SetContained(ObjectEntry* entry, std::vector<ObjectEntry*> contained);

  // --- References of this process ---

  void AddRef(ObjectEntry* entry) { ++entry->refs; }
  void Release(ObjectEntry* entry);
  // A ref that came from another process; counts one ref for the caller. While a task's arguments
  // are decoded (`deferred`) the submitter keeps the object alive and the owner is told only of
  // refs that outlive the task (RegisterDeferred).
  ObjectEntry* Borrow(const ObjectId& id, const Address& owner, bool deferred);
  // Registers what of `entries` is still held; gives up the caller's note of them. Returns those
  // that were still held.
  std::vector<ObjectId> RegisterDeferred(const std::vector<ObjectId>& ids);
  // Runs `action` when every registration sent so far is acknowledged: at once if there is none.
  void AfterRegistrations(std::function<void()> action);
  Address OwnerOf(const ObjectEntry* entry) const;
  // Others may name it from now on.
  void Index(ObjectEntry* entry);
  ObjectEntry* Find(const ObjectId& id);

  // --- Values ---

  // Makes the value come here: asks the owner, pulls from a store. Idempotent.
  void Want(ObjectEntry* entry);
  // `tag` comes back through OnObjectReady when it is known what or where the value is.
  void AddDependent(ObjectEntry* entry, uint64_t tag);
  // `token` comes back through OnObjectReady; at once when the value is there.
  void AddCallback(ObjectEntry* entry, uint64_t token);
  void RemoveCallback(ObjectEntry* entry, uint64_t token);
  // The raylet pinned it here, or could not get it. That is nobody's loss: the object is where it
  // was. The pull is tried again for a while (Tick); those who wait after that are told why, and
  // whoever wants the object later has it tried anew.
  void OnPinned(const ObjectId& id, uint64_t offset, uint64_t bytes);
  enum class PullFailure : uint8_t {
    kNoRoom,   // the store is full
    kMissing,  // nobody who was asked has it, or can be reached
  };
  void OnPullFailed(const ObjectId& id, PullFailure failure, const std::string& reason,
                    int64_t now_ns);
  // Takes the error of the attempts that failed, for one who waited: the next one waits anew.
  ValuePtr TakePullError(ObjectEntry* entry);
  // Nobody takes it.
  void DropPullError(ObjectEntry* entry) {
    if (entry->pull_failed) EndPull(entry);
  }
  // When a pull is tried again, INT64_MAX for none; and tries those that are due.
  int64_t NextTickNs() const;
  void Tick(int64_t now_ns);
  // A pin that this process made by writing the object itself.
  LocalPin* AdoptPin(ObjectEntry* entry, uint64_t offset, uint64_t bytes);
  // Python looks at the memory of `pin`, or does not any more.
  void AddView(LocalPin* pin) { pins_.AddView(pin); }
  void DropView(LocalPin* pin) {
    const ObjectId id = pin->id;
    if (pins_.DropView(pin)) return store_.ReleasePin(id);
    if (pins_.TooManyWarm()) TrimWarmPins(PinTable::kMaxWarm);
  }
  // A task that waits to run reads the entry, which is here, later: it stays here until then. Null
  // when it needs no pin.
  LocalPin* Hold(ObjectEntry* entry);
  void DropHold(LocalPin* pin);
  // Gives up pins that nobody needs just now, but for `keep` of them.
  void TrimWarmPins(size_t keep);
  void ForEachViewed(const std::function<void(const LocalPin&)>& visit) const {
    pins_.ForEachViewed(visit);
  }

  // --- From peers ---

  void OnFetch(const WorkerId& from, uint64_t request_id, const ObjectId& id);
  struct StateUpdate {
    bool known = false;
    bool pending = false;  // it has no value yet; another state follows
    bool is_error = false;
    ValuePtr value;
    uint64_t stored_bytes = 0;
    std::vector<NodeId> locations;
  };
  void OnState(const ObjectId& id, StateUpdate update);
  // Returns whether the object is known.
  bool OnAddBorrower(const WorkerId& from, const ObjectId& id);
  void OnRemoveBorrower(const WorkerId& from, const ObjectId& id);
  void OnFreed(const WorkerId& from, const ObjectId& id);
  void OnRegistered(uint64_t request_id);
  // Takes refs inside a value that `giver` sent with task result `outer`: registers them and then
  // tells the giver to let go.
  std::vector<ObjectEntry*> TakeContained(const Address& giver, const ObjectId& outer,
                                          const std::vector<RefWithOwner>& refs);
  // A process, or all of a node's, is gone.
  void OnProcessDied(const WorkerId& worker, const std::string& reason);
  void OnNodeDied(const NodeId& node, const std::string& reason);
  // The node is over: nothing that is not here will come any more.
  void OnRayletLost(const ValuePtr& error);

  // Somebody has got that error.
  void NoteErrorRead(const ObjectEntry* entry) { unread_.OnRead(entry->id.task()); }
  UnreadErrors& unread() { return unread_; }
  size_t size() const { return live_; }
  // How many objects became errors, or could not be brought here, so far: whoever waits for one
  // sees whether to look again.
  uint64_t errors() const { return errors_; }
  size_t borrowed_count() const { return borrowed_.size(); }
  // Whether somebody, here or elsewhere, holds a ref of which this process is the owner.
  bool OwnsAny() const { return live_ > borrowed_.size(); }
  // Whether another process does.
  bool LendsAny() const;
  void CheckInvariants() const;

 private:
  void Register(ObjectEntry* entry);
  // The entry's owner is gone: unless its value is here, it is an error from now on.
  void Orphan(ObjectEntry* entry, const std::string& reason);
  void BecomeReady(ObjectEntry* entry);
  // Puts the error of a freed object in place of its value.
  void Discard(ObjectEntry* entry);
  void EndPull(ObjectEntry* entry);
  void PullAgain(ObjectEntry* entry, int64_t now_ns);
  void GiveUpPull(ObjectEntry* entry, PullFailure failure, const std::string& reason);
  void UnlistBorrowed(const ObjectExtra& extra);
  void MaybeFree(ObjectEntry* entry);
  void Destroy(ObjectEntry* entry);
  void RunDeferredReleases();

  DirectoryOutbox& outbox_;
  StoreOutbox& store_;
  Address self_;
  std::unordered_map<ObjectId, ObjectEntry*> by_id_;
  std::vector<ObjectEntry*> borrowed_;  // entries that others own; see ObjectExtra::borrowed_at
  std::unordered_map<WorkerId, std::unordered_set<ObjectId>> borrowed_by_;  // ours, per borrower
  PinTable pins_;
  UnreadErrors unread_;
  std::map<int64_t, std::vector<ObjectId>> pull_again_;  // by when; some are here meanwhile
  // Registrations in flight and releases that wait for them, by the last registration before them.
  std::map<uint64_t, WorkerId> registering_;
  std::deque<std::pair<uint64_t, std::function<void()>>> after_;
  uint64_t next_registration_ = 1;
  uint64_t next_fetch_ = 1;
  size_t live_ = 0;
  uint64_t errors_ = 0;
  bool draining_ = false;
  std::vector<ObjectEntry*> free_list_;  // entries to destroy after the current one
  std::vector<std::unique_ptr<ObjectEntry[]>> slabs_;
  std::vector<ObjectEntry*> unused_;
};

}  // namespace cyray::core
