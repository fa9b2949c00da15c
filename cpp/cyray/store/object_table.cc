#include "cyray/store/object_table.h"

#include <utility>

#include "cyray/store/arena_allocator.h"
#include "cyray/util/log.h"

namespace cyray::store {

Status ObjectTable::MayCreate(const ObjectId& id) {
  auto it = objects_.find(id);
  if (it == objects_.end()) return Status::Ok();
  Object& object = it->second;
  if (object.freed && object.sealed) {
    object.freed = false;
    object.kind = CopyKind::kPrimary;
    primary_bytes_ += object.view.bytes;
  }
  return Status(StatusCode::kAlreadyExists,
                "object " + id.Hex() + (object.sealed ? " is here already" : " is being written"));
}

void ObjectTable::Create(const ObjectId& id, ClientId creator, const Address& owner,
                         ObjectView view, CopyKind kind) {
  auto [it, added] = objects_.try_emplace(id);
  CYRAY_CHECK(added) << id.Hex();
  Object& object = it->second;
  object.view = view;
  object.owner = owner;
  object.creator = creator;
  object.kind = kind;
  if (kind == CopyKind::kPrimary) primary_bytes_ += view.bytes;
  AddPin(id, object, creator);
  clients_[creator].creating.insert(id);
  by_owner_[owner].insert(id);
}

ObjectTable::Object* ObjectTable::FindUnsealed(const ObjectId& id, ClientId client,
                                               Status& status) {
  auto it = objects_.find(id);
  if (it == objects_.end()) {
    status = Status(StatusCode::kNotFound, "no object " + id.Hex());
  } else if (it->second.sealed) {
    status = Status(StatusCode::kInvalidArgument, "object " + id.Hex() + " is sealed already");
  } else if (it->second.creator != client) {
    status = Status(StatusCode::kInvalidArgument, "object " + id.Hex() + " has another creator");
  } else {
    return &it->second;
  }
  return nullptr;
}

Status ObjectTable::Seal(const ObjectId& id, ClientId client, Actions& actions) {
  Status status;
  Object* object = FindUnsealed(id, client, status);
  if (object != nullptr) MarkSealed(id, *object, actions);
  return status;
}

Status ObjectTable::SealAs(const ObjectId& spare, const ObjectId& id, ClientId client,
                           const Address& owner, uint64_t bytes, Actions& actions) {
  Status status;
  Object* object = FindUnsealed(spare, client, status);
  if (object == nullptr) return status;
  if (spare == id || bytes > object->view.bytes) {
    return Status(StatusCode::kInvalidArgument, "object " + spare.Hex() + " cannot be sealed as " +
                                                    id.Hex() + " with " + std::to_string(bytes) +
                                                    " bytes");
  }
  const Status gone(StatusCode::kNotFound, "object " + spare.Hex() + " got another name");
  if (Status may = MayCreate(id); !may.ok()) {
    (void)Abort(spare, client, gone.message(), actions);
    (void)Pin(id, client);
    return may;
  }
  FailWaiters(spare, gone, actions);
  MarkSealed(id, Rename(spare, id, owner, bytes), actions);
  return status;
}

ObjectTable::Object& ObjectTable::Rename(const ObjectId& from, const ObjectId& to,
                                         const Address& owner, uint64_t bytes) {
  auto node = objects_.extract(from);
  node.key() = to;
  Object& object = objects_.insert(std::move(node)).position->second;
  Client& client = clients_[object.creator];
  auto pin = client.pins.extract(from);
  pin.key() = to;
  client.pins.insert(std::move(pin));
  client.creating.erase(from);
  client.creating.insert(to);
  auto owned = by_owner_.find(object.owner);
  owned->second.erase(from);
  if (object.owner != owner) {
    if (owned->second.empty()) by_owner_.erase(owned);
    owned = by_owner_.try_emplace(owner).first;
    object.owner = owner;
  }
  owned->second.insert(to);
  pinned_bytes_ -= object.view.bytes - bytes;
  if (object.kind == CopyKind::kPrimary && !object.freed) {
    primary_bytes_ -= object.view.bytes - bytes;
  }
  object.view.bytes = bytes;
  return object;
}

void ObjectTable::MarkSealed(const ObjectId& id, Object& object, Actions& actions) {
  object.sealed = true;
  clients_[object.creator].creating.erase(id);
  for (const Waiter& waiter : TakeWaiters(id)) {
    AddPin(id, object, waiter.client);
    actions.answers.push_back({waiter.ticket, waiter.client, object.view, Status::Ok()});
  }
}

Status ObjectTable::Abort(const ObjectId& id, ClientId client, const std::string& why,
                          Actions& actions, bool keep_waiters) {
  auto it = objects_.find(id);
  if (it == objects_.end() || it->second.sealed || it->second.creator != client) {
    return Status(StatusCode::kInvalidArgument,
                  "object " + id.Hex() + " is not being written here");
  }
  Client& creator = clients_[client];
  creator.creating.erase(id);
  creator.pins.erase(id);
  Delete(it, actions);
  if (!keep_waiters) FailWaiters(id, Status(StatusCode::kNotFound, why), actions);
  ForgetClientIfIdle(client);
  return Status::Ok();
}

std::optional<ObjectView> ObjectTable::Pin(const ObjectId& id, ClientId client) {
  auto it = objects_.find(id);
  if (it == objects_.end() || !it->second.sealed) return std::nullopt;
  AddPin(id, it->second, client);
  return it->second.view;
}

void ObjectTable::Wait(const ObjectId& id, ClientId client, uint64_t ticket) {
  CYRAY_CHECK(!IsSealed(id)) << id.Hex();
  waiters_[id].push_back({client, ticket});
  clients_[client].awaited.insert(id);
}

void ObjectTable::FailWaiters(const ObjectId& id, const Status& status, Actions& actions) {
  for (const Waiter& waiter : TakeWaiters(id)) {
    actions.answers.push_back({waiter.ticket, waiter.client, {}, status});
  }
}

void ObjectTable::FailWaiter(const ObjectId& id, uint64_t ticket, const Status& status,
                             Actions& actions) {
  const auto known = waiters_.find(id);
  if (known == waiters_.end()) return;
  std::vector<Waiter>& waiters = known->second;
  const auto it = std::find_if(waiters.begin(), waiters.end(),
                               [&](const Waiter& waiter) { return waiter.ticket == ticket; });
  if (it == waiters.end()) return;
  const ClientId client = it->client;
  actions.answers.push_back({ticket, client, {}, status});
  waiters.erase(it);
  if (std::none_of(waiters.begin(), waiters.end(),
                   [&](const Waiter& waiter) { return waiter.client == client; })) {
    clients_[client].awaited.erase(id);
    ForgetClientIfIdle(client);
  }
  if (waiters.empty()) waiters_.erase(known);
}

Status ObjectTable::Release(const ObjectId& id, ClientId client, Actions& actions) {
  auto known = clients_.find(client);
  if (known == clients_.end()) return Status(StatusCode::kNotFound, "no pin on " + id.Hex());
  auto pin = known->second.pins.find(id);
  if (pin == known->second.pins.end()) {
    return Status(StatusCode::kNotFound, "no pin on " + id.Hex());
  }
  if (pin->second == 1 && known->second.creating.contains(id)) {
    return Status(StatusCode::kInvalidArgument, "object " + id.Hex() + " is not sealed yet");
  }
  if (--pin->second == 0) known->second.pins.erase(pin);
  ForgetClientIfIdle(client);
  DropPins(id, 1, actions);
  return Status::Ok();
}

void ObjectTable::Free(const ObjectId& id, Actions& actions) {
  FailWaiters(id, Status(StatusCode::kNotFound, "object " + id.Hex() + " was freed by its owner"),
              actions);
  auto it = objects_.find(id);
  if (it == objects_.end() || it->second.freed) return;
  Object& object = it->second;
  object.freed = true;
  if (object.kind == CopyKind::kPrimary) primary_bytes_ -= object.view.bytes;
  SetEvictable(id, object, false);
  DeleteIfUnused(it, actions);
}

void ObjectTable::ClientDied(ClientId client, Actions& actions) {
  auto known = clients_.find(client);
  if (known == clients_.end()) return;
  const Client dead = std::move(known->second);
  clients_.erase(known);
  for (const ObjectId& id : dead.awaited) {
    auto waiting = waiters_.find(id);
    if (waiting == waiters_.end()) continue;
    std::erase_if(waiting->second, [&](const Waiter& waiter) {
      if (waiter.client == client) actions.dropped_tickets.push_back(waiter.ticket);
      return waiter.client == client;
    });
    if (waiting->second.empty()) waiters_.erase(waiting);
  }
  for (const ObjectId& id : dead.creating) {
    Delete(objects_.find(id), actions);
    FailWaiters(
        id,
        Status(StatusCode::kNotFound, "the process that was writing object " + id.Hex() + " died"),
        actions);
  }
  for (const auto& [id, count] : dead.pins) {
    if (!dead.creating.contains(id)) DropPins(id, count, actions);
  }
}

void ObjectTable::OwnerDied(const Address& owner, Actions& actions) {
  auto it = by_owner_.find(owner);
  if (it == by_owner_.end()) return;
  const std::vector<ObjectId> owned(it->second.begin(), it->second.end());
  for (const ObjectId& id : owned) Free(id, actions);
}

void ObjectTable::NodeDied(const NodeId& node, Actions& actions) {
  std::vector<Address> owners;
  for (auto it = by_owner_.lower_bound({node, WorkerId::Nil()});
       it != by_owner_.end() && it->first.node == node; ++it) {
    owners.push_back(it->first);
  }
  for (const Address& owner : owners) OwnerDied(owner, actions);
}

bool ObjectTable::EvictOne(Actions& actions) {
  const std::optional<ObjectId> oldest = evictable_.Oldest();
  if (!oldest) return false;
  Delete(objects_.find(*oldest), actions);
  return true;
}

uint64_t ObjectTable::EvictableBytes() const {
  return evictable_bytes_ + evictable_.size() * kBlockAlignment;
}

bool ObjectTable::IsSealed(const ObjectId& id) const {
  auto it = objects_.find(id);
  return it != objects_.end() && it->second.sealed;
}

bool ObjectTable::IsCreated(const ObjectId& id) const {
  auto it = objects_.find(id);
  return it != objects_.end() && !it->second.sealed;
}

std::optional<Address> ObjectTable::OwnerOf(const ObjectId& id) const {
  auto it = objects_.find(id);
  return it == objects_.end() ? std::nullopt : std::optional<Address>(it->second.owner);
}

std::vector<ClientId> ObjectTable::ClientsWithPins() const {
  std::vector<ClientId> clients;
  for (const auto& [id, client] : clients_) {
    if (id != kRaylet && !client.pins.empty()) clients.push_back(id);
  }
  return clients;
}

void ObjectTable::AddTo(StoreStats& stats) const {
  stats.pinned_bytes = pinned_bytes_;
  stats.primary_bytes = primary_bytes_;
  stats.objects = objects_.size();
  for (const auto& [id, waiters] : waiters_) stats.waiters += waiters.size();
}

std::vector<ObjectInfo> ObjectTable::Largest(size_t count) const {
  std::vector<ObjectInfo> all;
  all.reserve(objects_.size());
  for (const auto& [id, object] : objects_) {
    const char* state = !object.sealed                     ? "being written"
                        : object.freed                     ? "freed"
                        : object.kind == CopyKind::kCached ? "cached"
                                                           : "primary";
    all.push_back({id, object.owner, object.view.bytes, object.pins, state});
  }
  const auto kept = all.begin() + static_cast<ptrdiff_t>(std::min(count, all.size()));
  std::partial_sort(all.begin(), kept, all.end(),
                    [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
  all.erase(kept, all.end());
  return all;
}

void ObjectTable::AddPin(const ObjectId& id, Object& object, ClientId client) {
  if (object.pins++ == 0) pinned_bytes_ += object.view.bytes;
  ++clients_[client].pins[id];
  SetEvictable(id, object, false);
}

void ObjectTable::DropPins(const ObjectId& id, uint32_t count, Actions& actions) {
  auto it = objects_.find(id);
  CYRAY_CHECK(it != objects_.end() && it->second.pins >= count) << id.Hex();
  Object& object = it->second;
  object.pins -= count;
  if (object.pins > 0) return;
  pinned_bytes_ -= object.view.bytes;
  SetEvictable(id, object, object.sealed && !object.freed && object.kind == CopyKind::kCached);
  DeleteIfUnused(it, actions);
}

void ObjectTable::SetEvictable(const ObjectId& id, Object& object, bool evictable) {
  if (evictable == object.queued.has_value()) return;
  if (evictable) {
    object.queued = evictable_.Push(id);
    evictable_bytes_ += object.view.bytes;
  } else {
    evictable_.Remove(object.queued);
    evictable_bytes_ -= object.view.bytes;
  }
}

void ObjectTable::DeleteIfUnused(Objects::iterator it, Actions& actions) {
  if (it->second.freed && it->second.sealed && it->second.pins == 0) Delete(it, actions);
}

// Of an object that only its creator, if anybody, pins: the caller has dropped that client's count.
void ObjectTable::Delete(Objects::iterator it, Actions& actions) {
  CYRAY_CHECK(it != objects_.end());
  Object& object = it->second;
  SetEvictable(it->first, object, false);
  if (object.pins > 0) pinned_bytes_ -= object.view.bytes;
  if (object.kind == CopyKind::kPrimary && !object.freed) primary_bytes_ -= object.view.bytes;
  actions.freed_offsets.push_back(object.view.offset);
  actions.deleted.push_back(it->first);
  auto owned = by_owner_.find(object.owner);
  owned->second.erase(it->first);
  if (owned->second.empty()) by_owner_.erase(owned);
  objects_.erase(it);
}

void ObjectTable::ForgetClientIfIdle(ClientId client) {
  auto it = clients_.find(client);
  if (it == clients_.end()) return;
  const Client& known = it->second;
  // An entry is kept for a live client's next object; only the buckets of a burst are given back.
  if (known.pins.empty() && known.creating.empty() && known.awaited.empty() &&
      known.pins.bucket_count() > 1024) {
    clients_.erase(it);
  }
}

std::vector<ObjectTable::Waiter> ObjectTable::TakeWaiters(const ObjectId& id) {
  auto it = waiters_.find(id);
  if (it == waiters_.end()) return {};
  std::vector<Waiter> taken = std::move(it->second);
  waiters_.erase(it);
  for (const Waiter& waiter : taken) {
    auto client = clients_.find(waiter.client);
    if (client != clients_.end()) client->second.awaited.erase(id);
  }
  return taken;
}

std::string ObjectTable::CheckInvariants() const {
  std::unordered_map<ObjectId, uint32_t> pins;
  for (const auto& [client, state] : clients_) {
    for (const auto& [id, count] : state.pins) {
      if (count == 0) return "a pin counts zero: " + id.Hex();
      pins[id] += count;
    }
    for (const ObjectId& id : state.creating) {
      if (!IsCreated(id)) return "a client creates what is not created: " + id.Hex();
    }
    for (const ObjectId& id : state.awaited) {
      if (!waiters_.contains(id)) return "a client awaits without a waiter: " + id.Hex();
    }
  }
  uint64_t pinned = 0, primary = 0, evictable_bytes = 0;
  size_t queued = 0, owned = 0;
  for (const auto& [id, object] : objects_) {
    const auto count = pins.find(id);
    if (object.pins != (count == pins.end() ? 0 : count->second)) return "pins: " + id.Hex();
    if (count != pins.end()) pins.erase(count);
    if (object.pins > 0) pinned += object.view.bytes;
    if (object.kind == CopyKind::kPrimary && !object.freed) primary += object.view.bytes;
    const bool evictable =
        object.sealed && object.pins == 0 && !object.freed && object.kind == CopyKind::kCached;
    if (evictable != object.queued.has_value()) return "eviction queue: " + id.Hex();
    if (object.sealed && object.freed && object.pins == 0) return "kept though freed: " + id.Hex();
    if (!object.sealed && object.pins == 0) return "created without its pin: " + id.Hex();
    queued += evictable ? 1 : 0;
    evictable_bytes += evictable ? object.view.bytes : 0;
  }
  if (!pins.empty()) return "pins on an absent object";
  for (const auto& [owner, ids] : by_owner_) owned += ids.size();
  if (owned != objects_.size()) return "the owner index miscounts";
  if (queued != evictable_.size() || evictable_bytes != evictable_bytes_)
    return "the eviction queue miscounts";
  if (pinned != pinned_bytes_ || primary != primary_bytes_) return "bytes are miscounted";
  for (const auto& [id, waiters] : waiters_) {
    if (IsSealed(id) || waiters.empty()) return "waiters on a sealed object: " + id.Hex();
  }
  return "";
}

}  // namespace cyray::store
