#include "cyray/core/object_directory.h"

#include <algorithm>

#include "cyray/core/system_error.h"
#include "cyray/util/log.h"
#include "cyray/util/sentence.h"

namespace cyray::core {
namespace {

constexpr int64_t kFirstRetryNs = 20'000'000;
constexpr int64_t kLastRetryNs = 500'000'000;
// Room comes when other arrays go, which takes as long as programs take.
constexpr int64_t kNoRoomPatienceNs = 30'000'000'000;
// The creator's seal may be on its way still, or a connection between nodes comes back. A dead node
// is known otherwise.
constexpr int64_t kMissingPatienceNs = 5'000'000'000;

std::string HasEnded(const Address& process) {
  return "the process " + process.ToString() + " has ended";
}

}  // namespace

ObjectDirectory::~ObjectDirectory() = default;

ObjectEntry* ObjectDirectory::NewOwned(const ObjectId& id) {
  if (unused_.empty()) {
    constexpr size_t kSlab = 256;
    slabs_.push_back(std::make_unique<ObjectEntry[]>(kSlab));
    for (size_t i = kSlab; i > 0; --i) unused_.push_back(&slabs_.back()[i - 1]);
  }
  ObjectEntry* entry = unused_.back();
  unused_.pop_back();
  entry->id = id;
  entry->refs = 1;
  ++live_;
  return entry;
}

void ObjectDirectory::Destroy(ObjectEntry* entry) {
  if (entry->indexed) by_id_.erase(entry->id);
  *entry = ObjectEntry{};
  unused_.push_back(entry);
  --live_;
}

Address ObjectDirectory::OwnerOf(const ObjectEntry* entry) const {
  return entry->owned ? self_ : entry->extra->owner;
}

void ObjectDirectory::Index(ObjectEntry* entry) {
  if (entry->indexed) return;
  entry->indexed = true;
  by_id_[entry->id] = entry;
  if (entry->owned && entry->state == ObjectState::kStored) store_.Publish(entry->id);
}

ObjectEntry* ObjectDirectory::Find(const ObjectId& id) {
  auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : it->second;
}

void ObjectDirectory::BecomeReady(ObjectEntry* entry) {
  if (entry->is_error) {
    ++errors_;
    // A value is put by whoever holds it; a task's result comes from elsewhere.
    if (entry->maker != nullptr && entry->value) {
      unread_.Add(entry->id.task(), entry->value);
    }
  }
  if (!entry->extra) return;
  // A borrower that turns out dead, or a task that fails, may hold the last ref.
  AddRef(entry);
  ObjectExtra& extra = *entry->extra;
  auto fetches = std::move(extra.fetches);
  extra.fetches.clear();
  if (!fetches.empty() && entry->is_error) NoteErrorRead(entry);
  for (const RemoteFetch& fetch : fetches) {
    outbox_.SendState(fetch.worker, fetch.request_id, entry->id, entry);
  }
  // Callbacks want the value here; dependents only need to know where it is.
  std::vector<uint64_t> callbacks;
  if (entry->local()) {
    callbacks.swap(extra.callbacks);
  } else if (!extra.callbacks.empty()) {
    Want(entry);
  }
  std::vector<uint64_t> dependents;
  dependents.swap(extra.dependents);
  if (!dependents.empty() || !callbacks.empty()) {
    outbox_.OnObjectReady(entry, std::move(dependents), std::move(callbacks));
  }
  Release(entry);
}

void ObjectDirectory::Resolve(ObjectEntry* entry, ValuePtr value, bool is_error) {
  if (entry->freed) return;
  if (entry->pulling || entry->pull_failed) EndPull(entry);
  entry->value = std::move(value);
  entry->is_error = is_error;
  entry->state = ObjectState::kInline;
  BecomeReady(entry);
}

void ObjectDirectory::ResolveStored(ObjectEntry* entry, const NodeId& node, uint64_t bytes) {
  Index(entry);  // the raylet names it when it is pinned
  ResolveUnpublished(entry, node, bytes);
}

void ObjectDirectory::ResolveUnpublished(ObjectEntry* entry, const NodeId& node, uint64_t bytes) {
  if (entry->freed) {
    entry->is_error = true;  // the caller has set it for what came
    return store_.FreeStored(entry->id, {node});
  }
  ObjectExtra& extra = entry->Extra();
  extra.stored_bytes = bytes;
  extra.locations.assign(1, node);
  entry->state = ObjectState::kStored;
  BecomeReady(entry);
}

void ObjectDirectory::SetContained(ObjectEntry* entry, std::vector<ObjectEntry*> contained) {
  if (contained.empty()) return;
  if (entry->freed) {
    for (ObjectEntry* inner : contained) Release(inner);
    return;
  }
  auto& mine = entry->Extra().contained;
  mine.insert(mine.end(), contained.begin(), contained.end());
}

void ObjectDirectory::Fail(ObjectEntry* entry, ErrorKind kind, const std::string& message) {
  Resolve(entry, SystemError(kind, message), true);
}

// --- References ---

void ObjectDirectory::Release(ObjectEntry* entry) {
  CYRAY_CHECK(entry->refs > 0) << entry->id.Hex();
  if (--entry->refs == 0) MaybeFree(entry);
}

void ObjectDirectory::MaybeFree(ObjectEntry* entry) {
  if (entry->refs > 0) return;
  if (entry->extra && !entry->extra->borrowers.empty()) return;
  // A chain of objects that hold one another is freed in a loop, not by recursion.
  free_list_.push_back(entry);
  if (draining_) return;
  draining_ = true;
  while (!free_list_.empty()) {
    ObjectEntry* dead = free_list_.back();
    free_list_.pop_back();
    if (dead->refs > 0 || (dead->extra && !dead->extra->borrowers.empty())) continue;
    std::unique_ptr<ObjectExtra> extra = std::move(dead->extra);
    if (!dead->owned) UnlistBorrowed(*extra);
    const ObjectId id = dead->id;
    if (dead->pin != nullptr && pins_.DropEntry(dead->pin)) store_.ReleasePin(id);
    const bool owned = dead->owned, registered = dead->registered;
    const bool stored = dead->state == ObjectState::kStored;
    const bool handle = dead->actor_handle;
    if (dead->generator) outbox_.GeneratorDropped(id, dead->maker);
    Destroy(dead);
    if (!owned) {
      if (registered) {
        AfterRegistrations([this, owner = extra->owner, id] {
          ObjectEntry* again = Find(id);
          if (again == nullptr) return outbox_.SendRemoveBorrower(owner, id);
          // Borrowed again meanwhile: the owner counts us still, and is told by that entry.
          if (!again->owned) again->registered = true, again->deferred = false;
        });
      }
    } else if (handle) {
      outbox_.ActorOutOfScope(ActorId::FromBytes(id.data()));
    } else if (stored) {
      store_.FreeStored(id, extra->locations);
    }
    if (!extra) continue;
    for (const RemoteFetch& fetch : extra->fetches) {
      outbox_.SendState(fetch.worker, fetch.request_id, id, nullptr);
    }
    for (ObjectEntry* inner : extra->contained) {
      if (--inner->refs == 0 && (!inner->extra || inner->extra->borrowers.empty())) {
        free_list_.push_back(inner);
      }
    }
  }
  draining_ = false;
}

ObjectEntry* ObjectDirectory::Borrow(const ObjectId& id, const Address& owner, bool deferred) {
  if (ObjectEntry* known = Find(id); known != nullptr) {
    ++known->refs;
    // Not registered: borrowed for a task's arguments so far, or the link to its owner broke since.
    if (!deferred && !known->owned && !known->registered) {
      known->deferred = false;
      Register(known);
    }
    return known;
  }
  ObjectEntry* entry = NewOwned(id);
  Index(entry);
  entry->owned = owner.worker == self_.worker;
  if (entry->owned) {
    // Ours, but gone: somebody kept a ref past what the counts knew (pickled by hand).
    Fail(entry, ErrorKind::kObjectLost,
         "the object " + id.Hex() + " was freed: its owner saw no reference to it any more");
    return entry;
  }
  entry->Extra().owner = owner;
  entry->extra->borrowed_at = borrowed_.size();
  borrowed_.push_back(entry);
  if (deferred) {
    entry->deferred = true;
  } else {
    Register(entry);
  }
  return entry;
}

void ObjectDirectory::UnlistBorrowed(const ObjectExtra& extra) {
  ObjectEntry* last = borrowed_.back();
  borrowed_[extra.borrowed_at] = last;
  // The entry that goes has given its extra part away already; it may be the last one itself.
  if (last->extra) last->extra->borrowed_at = extra.borrowed_at;
  borrowed_.pop_back();
}

void ObjectDirectory::Register(ObjectEntry* entry) {
  if (entry->owned || entry->registered) return;
  entry->registered = true;
  const uint64_t request = next_registration_++;
  const Address& owner = entry->extra->owner;
  registering_[request] = owner.worker;
  if (outbox_.SendAddBorrower(owner, request, entry->id)) return;
  registering_.erase(request);
  RunDeferredReleases();
  Orphan(entry, HasEnded(owner));
}

std::vector<ObjectId> ObjectDirectory::RegisterDeferred(const std::vector<ObjectId>& ids) {
  std::vector<ObjectId> held;
  for (const ObjectId& id : ids) {
    ObjectEntry* entry = Find(id);
    if (entry == nullptr) continue;
    held.push_back(id);
    if (entry->deferred) {
      entry->deferred = false;
      Register(entry);
    }
  }
  return held;
}

void ObjectDirectory::AfterRegistrations(std::function<void()> action) {
  if (registering_.empty() && after_.empty()) {
    action();
  } else if (registering_.empty()) {
    after_.emplace_back(0, std::move(action));  // behind those that are running now
  } else {
    after_.emplace_back(registering_.rbegin()->first, std::move(action));
  }
}

void ObjectDirectory::OnRegistered(uint64_t request_id) {
  registering_.erase(request_id);
  RunDeferredReleases();
}

void ObjectDirectory::RunDeferredReleases() {
  while (!after_.empty() &&
         (registering_.empty() || registering_.begin()->first > after_.front().first)) {
    auto action = std::move(after_.front().second);
    after_.pop_front();
    action();
  }
}

// --- Values ---

void ObjectDirectory::Want(ObjectEntry* entry) {
  if (entry->local()) return;
  if (entry->state == ObjectState::kStored) {
    if (entry->pulling || entry->pull_failed) return;
    entry->pulling = true;
    Index(entry);  // the raylet names it in its answer
    store_.PullToStore(entry);
  } else if (!entry->owned && !entry->fetching) {
    entry->fetching = true;
    const Address& owner = entry->extra->owner;
    if (!outbox_.SendFetch(owner, next_fetch_++, entry->id)) Orphan(entry, HasEnded(owner));
  }
}

void ObjectDirectory::AddDependent(ObjectEntry* entry, uint64_t tag) {
  entry->Extra().dependents.push_back(tag);
  Want(entry);
}

void ObjectDirectory::AddCallback(ObjectEntry* entry, uint64_t token) {
  if (entry->local()) return outbox_.OnObjectReady(entry, {}, {token});
  DropPullError(entry);
  entry->Extra().callbacks.push_back(token);
  Want(entry);
}

void ObjectDirectory::RemoveCallback(ObjectEntry* entry, uint64_t token) {
  if (!entry->extra) return;
  std::erase(entry->extra->callbacks, token);
  // It may have been on its way to take the error of a pull.
  if (entry->pull_failed && entry->extra->callbacks.empty() &&
      !outbox_.IsWaitedFor(entry, /*to_read=*/true)) {
    DropPullError(entry);
  }
}

LocalPin* ObjectDirectory::AdoptPin(ObjectEntry* entry, uint64_t offset, uint64_t bytes) {
  bool added = false;
  LocalPin* pin = pins_.Add(entry, offset, bytes, &added);
  // A reader that outlived an earlier ref holds the pin that the raylet counts already.
  if (!added) store_.ReleasePin(entry->id);
  if (pins_.TooManyWarm()) TrimWarmPins(PinTable::kMaxWarm);
  return pin;
}

LocalPin* ObjectDirectory::Hold(ObjectEntry* entry) {
  if (entry->pin != nullptr) pins_.AddHold(entry->pin);
  return entry->pin;
}

void ObjectDirectory::DropHold(LocalPin* pin) {
  const ObjectId id = pin->id;
  if (pins_.DropHold(pin)) store_.ReleasePin(id);
}

void ObjectDirectory::TrimWarmPins(size_t keep) {
  const auto mark = [this](bool awaited) {
    outbox_.ForEachWaitedFor([awaited](ObjectEntry* entry) {
      if (entry->pin != nullptr) entry->pin->awaited = awaited;
    });
  };
  mark(true);
  const std::vector<ObjectId> taken = pins_.TakeWarm(keep);
  mark(false);
  for (const ObjectId& id : taken) store_.ReleasePin(id);
}

void ObjectDirectory::OnPinned(const ObjectId& id, uint64_t offset, uint64_t bytes) {
  ObjectEntry* entry = Find(id);
  if (entry == nullptr || entry->pin != nullptr || entry->state != ObjectState::kStored) {
    store_.ReleasePin(id);  // nobody wants it any more
    return;
  }
  EndPull(entry);
  AdoptPin(entry, offset, bytes);
  BecomeReady(entry);
}

void ObjectDirectory::EndPull(ObjectEntry* entry) {
  entry->pulling = entry->pull_failed = false;
  if (!entry->extra) return;
  entry->extra->retry.reset();
  entry->extra->pull_error = {};
}

void ObjectDirectory::OnPullFailed(const ObjectId& id, PullFailure failure,
                                   const std::string& reason, int64_t now_ns) {
  ObjectEntry* entry = Find(id);
  if (entry == nullptr || entry->local() || !entry->pulling) return;
  auto& retry = entry->extra->retry;
  if (!retry) {
    retry = std::make_unique<PullRetry>();
    retry->since_ns = now_ns;
  }
  const int64_t patience = failure == PullFailure::kNoRoom ? kNoRoomPatienceNs : kMissingPatienceNs;
  if (now_ns - retry->since_ns < patience) return PullAgain(entry, now_ns);
  if (entry->extra->callbacks.empty() && !outbox_.IsWaitedFor(entry, /*to_read=*/true)) {
    // Who waits without reading, maybe with a deadline, waits until it is here.
    if (outbox_.IsWaitedFor(entry, /*to_read=*/false)) return PullAgain(entry, now_ns);
    return EndPull(entry);  // as if nobody had asked
  }
  GiveUpPull(entry, failure, reason);
}

void ObjectDirectory::PullAgain(ObjectEntry* entry, int64_t now_ns) {
  PullRetry& retry = *entry->extra->retry;
  retry.due_ns =
      now_ns + std::min(kFirstRetryNs << std::min<uint32_t>(retry.failures++, 10), kLastRetryNs);
  pull_again_[retry.due_ns].push_back(entry->id);
}

void ObjectDirectory::GiveUpPull(ObjectEntry* entry, PullFailure failure,
                                 const std::string& reason) {
  EndPull(entry);
  std::vector<uint64_t> callbacks;
  callbacks.swap(entry->extra->callbacks);
  entry->pull_failed = true;
  const ErrorKind kind =
      failure == PullFailure::kNoRoom ? ErrorKind::kObjectStoreFull : ErrorKind::kObjectLost;
  entry->extra->pull_error = SystemError(kind, reason);
  ++errors_;
  // A task that waits to run copies the error; others read it, and so end it.
  const bool read_later =
      std::ranges::any_of(callbacks, [](uint64_t token) { return (token & kExecToken) == 0; });
  AddRef(entry);
  if (!callbacks.empty()) outbox_.OnObjectReady(entry, {}, std::move(callbacks));
  if (!read_later && !outbox_.IsWaitedFor(entry, /*to_read=*/true)) DropPullError(entry);
  Release(entry);
}

ValuePtr ObjectDirectory::TakePullError(ObjectEntry* entry) {
  ValuePtr error = std::move(entry->extra->pull_error);
  EndPull(entry);
  ++errors_;  // who waits without reading has it pulled anew
  return error;
}

int64_t ObjectDirectory::NextTickNs() const {
  return pull_again_.empty() ? INT64_MAX : pull_again_.begin()->first;
}

void ObjectDirectory::Tick(int64_t now_ns) {
  while (!pull_again_.empty() && pull_again_.begin()->first <= now_ns) {
    const auto [due_ns, ids] = std::move(*pull_again_.begin());
    pull_again_.erase(pull_again_.begin());
    for (const ObjectId& id : ids) {
      ObjectEntry* entry = Find(id);
      if (entry == nullptr || !entry->pulling || entry->local()) continue;
      if (!entry->extra->retry || entry->extra->retry->due_ns != due_ns) continue;
      entry->extra->retry->due_ns = 0;
      store_.PullToStore(entry);
    }
  }
}

// --- From peers ---

void ObjectDirectory::OnFetch(const WorkerId& from, uint64_t request_id, const ObjectId& id) {
  ObjectEntry* entry = Find(id);
  if (entry == nullptr || entry->ready()) {
    if (entry != nullptr && entry->is_error) NoteErrorRead(entry);
    return outbox_.SendState(from, request_id, id, entry);
  }
  entry->Extra().fetches.push_back({from, request_id});
  if (!entry->owned) Want(entry);
  entry = Find(id);  // asking may have shown that somebody is dead
  if (entry != nullptr && !entry->ready()) outbox_.SendState(from, request_id, id, entry);
}

void ObjectDirectory::OnState(const ObjectId& id, StateUpdate update) {
  ObjectEntry* entry = Find(id);
  if (entry == nullptr || entry->owned || entry->ready()) return;
  entry->told_pending = update.known && update.pending;
  if (entry->told_pending) return;
  entry->fetching = false;
  if (!update.known) {
    Fail(entry, ErrorKind::kObjectLost,
         "its owner does not have the object " + id.Hex() + " any more");
  } else if (update.value) {
    Resolve(entry, std::move(update.value), update.is_error);
  } else if (update.locations.empty()) {
    Fail(entry, ErrorKind::kObjectLost,
         "its owner knows no place where the object " + id.Hex() + " is");
  } else {
    ObjectExtra& extra = entry->Extra();
    extra.stored_bytes = update.stored_bytes;
    extra.locations = std::move(update.locations);
    entry->is_error = update.is_error;
    entry->state = ObjectState::kStored;
    BecomeReady(entry);
  }
}

bool ObjectDirectory::OnAddBorrower(const WorkerId& from, const ObjectId& id) {
  ObjectEntry* entry = Find(id);
  // What this process borrows too is counted by its owner alone.
  if (entry == nullptr || !entry->owned) return false;
  entry->Extra().borrowers.insert(from);
  borrowed_by_[from].insert(id);
  return true;
}

void ObjectDirectory::OnRemoveBorrower(const WorkerId& from, const ObjectId& id) {
  auto it = borrowed_by_.find(from);
  if (it == borrowed_by_.end() || it->second.erase(id) == 0) return;
  ObjectEntry* entry = Find(id);
  if (entry == nullptr || !entry->extra) return;
  entry->extra->borrowers.erase(from);
  MaybeFree(entry);
}

std::vector<ObjectEntry*> ObjectDirectory::TakeContained(const Address& giver,
                                                         const ObjectId& outer,
                                                         const std::vector<RefWithOwner>& refs) {
  std::vector<ObjectEntry*> taken;
  taken.reserve(refs.size());
  for (const RefWithOwner& ref : refs) taken.push_back(Borrow(ref.id, ref.owner, false));
  AfterRegistrations([this, giver, outer] { outbox_.SendContainedTaken(giver, outer); });
  return taken;
}

bool ObjectDirectory::LendsAny() const {
  return std::any_of(borrowed_by_.begin(), borrowed_by_.end(),
                     [](const auto& lent) { return !lent.second.empty(); });
}

void ObjectDirectory::OnProcessDied(const WorkerId& worker, const std::string& reason) {
  if (auto node = borrowed_by_.extract(worker); !node.empty()) {
    for (const ObjectId& id : node.mapped()) {
      ObjectEntry* entry = Find(id);
      if (entry == nullptr || !entry->extra) continue;
      entry->extra->borrowers.erase(worker);
      std::erase_if(entry->extra->fetches, [&](auto& f) { return f.worker == worker; });
      MaybeFree(entry);
    }
  }
  std::erase_if(registering_, [&](const auto& item) { return item.second == worker; });
  RunDeferredReleases();
  std::vector<ObjectEntry*> orphans;
  for (ObjectEntry* entry : borrowed_) {
    if (entry->extra->owner.worker == worker) orphans.push_back(entry);
  }
  for (ObjectEntry* entry : orphans) AddRef(entry);  // a task that fails lets go of the others
  for (ObjectEntry* entry : orphans) {
    Orphan(entry, reason);
    Release(entry);
  }
}

void ObjectDirectory::Orphan(ObjectEntry* entry, const std::string& reason) {
  entry->registered = false;
  if (entry->pin != nullptr) entry->pin->only_copy = true;  // the raylet frees it without the pin
  if (entry->local()) return;
  entry->fetching = false;
  Fail(entry, ErrorKind::kOwnerDied,
       "the owner of the object " + entry->id.Hex() + " is gone: " + Sentence(reason) +
           " What a process puts, or what its calls return, lives as long as it does.");
}

void ObjectDirectory::OnNodeDied(const NodeId& node, const std::string& reason) {
  std::vector<ObjectEntry*> lost;
  for (auto& [id, entry] : by_id_) {
    if (entry->state != ObjectState::kStored) continue;
    auto& locations = entry->extra->locations;
    std::erase(locations, node);
    if (!locations.empty()) continue;
    if (entry->pin == nullptr) {
      lost.push_back(entry);
    } else {
      entry->pin->only_copy = true;
    }
  }
  for (ObjectEntry* entry : lost) AddRef(entry);
  for (ObjectEntry* entry : lost) {
    Fail(entry, ErrorKind::kObjectLost,
         "the only copy of the object " + entry->id.Hex() + " was on a node that died: " + reason);
    Release(entry);
  }
}

void ObjectDirectory::OnRayletLost(const ValuePtr& error) {
  std::vector<ObjectEntry*> lost;
  for (auto& [id, entry] : by_id_) {
    if (!entry->local() && !entry->actor_handle) lost.push_back(entry);
  }
  for (ObjectEntry* entry : lost) AddRef(entry);
  for (ObjectEntry* entry : lost) {
    if (!entry->local()) Resolve(entry, error, true);  // a task that failed may have done it
    Release(entry);
  }
  registering_.clear();
  RunDeferredReleases();
}

void ObjectDirectory::CheckInvariants() const {
  const std::string pins = pins_.CheckInvariants();
  CYRAY_CHECK(pins.empty()) << pins;
  for (const auto& [id, entry] : by_id_) {
    CYRAY_CHECK(entry->id == id && entry->indexed) << id.Hex();
    CYRAY_CHECK(entry->refs > 0 || (entry->extra && !entry->extra->borrowers.empty())) << id.Hex();
    CYRAY_CHECK(entry->owned || entry->extra) << id.Hex();
    CYRAY_CHECK(entry->owned || entry->refs > 0) << id.Hex();
    CYRAY_CHECK(entry->owned || borrowed_.at(entry->extra->borrowed_at) == entry) << id.Hex();
    if (entry->state == ObjectState::kInline) {
      CYRAY_CHECK(static_cast<bool>(entry->value)) << id.Hex();
    }
    if (entry->freed) {
      CYRAY_CHECK(entry->state == ObjectState::kInline && entry->is_error) << id.Hex();
    }
    if (!entry->extra) continue;
    for (const WorkerId& borrower : entry->extra->borrowers) {
      CYRAY_CHECK(borrowed_by_.at(borrower).contains(id)) << id.Hex();
    }
  }
}

}  // namespace cyray::core
