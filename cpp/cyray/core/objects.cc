#include "cyray/core/objects.h"

#include <cstring>

#include "core_generated.h"
#include "cyray/common/encoding.h"
#include "cyray/core/event_queue.h"
#include "cyray/core/executor.h"
#include "cyray/core/submitter.h"
#include "cyray/wire/convert.h"

namespace cyray::core {

using wire::Frame;
using wire::FrameType;

ObjectEntry* Objects::Put(ValuePtr value, bool is_error, std::vector<ObjectEntry*> contained) {
  std::lock_guard lock(process_.mutex());
  ObjectEntry* entry = directory_.NewOwned(ObjectId(process_.ids().Next(), 0));
  directory_.SetContained(entry, std::move(contained));
  directory_.Resolve(entry, std::move(value), is_error);
  return entry;
}

ObjectEntry* Objects::NewActorHandle(const ActorId& id) {
  std::lock_guard lock(process_.mutex());
  ObjectEntry* entry = directory_.NewOwned(ObjectId(TaskId::FromBytes(id.data()), UINT32_MAX));
  entry->actor_handle = true;
  directory_.Index(entry);
  return entry;
}

void Objects::HoldWith(ObjectEntry* entry, std::vector<ObjectEntry*> held) {
  std::lock_guard lock(process_.mutex());
  directory_.SetContained(entry, std::move(held));
}

void Objects::AddRef(ObjectEntry* entry) {
  std::lock_guard lock(process_.mutex());
  directory_.AddRef(entry);
}

void Objects::Release(ObjectEntry* entry) {
  std::lock_guard lock(process_.mutex());
  directory_.Release(entry);
}

Address Objects::Export(ObjectEntry* entry) {
  std::lock_guard lock(process_.mutex());
  directory_.Index(entry);
  return directory_.OwnerOf(entry);
}

void Objects::ExportMany(ObjectEntry* const* entries, size_t count, uint8_t* table) {
  std::lock_guard lock(process_.mutex());
  for (size_t i = 0; i < count; ++i, table += kRefBytes) {
    directory_.Index(entries[i]);
    const Address owner = directory_.OwnerOf(entries[i]);
    std::memcpy(table, entries[i]->id.data(), ObjectId::kSize);
    std::memcpy(table + ObjectId::kSize, &owner, sizeof owner);
  }
}

ObjectEntry* Objects::Borrow(const ObjectId& id, const Address& owner, bool deferred) {
  std::lock_guard lock(process_.mutex());
  return directory_.Borrow(id, owner, deferred);
}

void Objects::BorrowMany(const uint8_t* table, size_t count, bool deferred, ObjectEntry** entries) {
  std::lock_guard lock(process_.mutex());
  for (size_t i = 0; i < count; ++i, table += kRefBytes) {
    Address owner;
    std::memcpy(&owner, table + ObjectId::kSize, sizeof owner);
    entries[i] = directory_.Borrow(ObjectId::FromBytes(table), owner, deferred);
  }
}

void Objects::Free(ObjectEntry* const* entries, size_t count, bool here_alone) {
  std::lock_guard lock(process_.mutex());
  for (size_t i = 0; i < count; ++i) {
    here_alone ? directory_.FreeHere(entries[i]) : directory_.Free(entries[i]);
  }
  process_.FlushAll();
  process_.poller().WakeWaiters();
}

size_t Objects::live() {
  std::lock_guard lock(process_.mutex());
  return directory_.size();
}

// --- From other processes ---

bool Objects::OnFrame(Link& link, const Frame& frame) {
  const WorkerId& peer = link.peer.worker;
  switch (frame.type) {
    case FrameType::kFetchObject:
      if (const auto* fetch = frame.As<wire::FetchObject>(); fetch && fetch->object_id()) {
        directory_.OnFetch(peer, fetch->request_id(), wire::FromWire(*fetch->object_id()));
        return true;
      }
      return false;
    case FrameType::kObjectState:
      return OnState(frame);
    case FrameType::kAddBorrowers:
      return OnAddBorrowers(link, frame);
    case FrameType::kAddBorrowersAck:
      if (const auto* ack = frame.As<wire::AddBorrowersAck>()) {
        directory_.OnRegistered(ack->request_id());
        return true;
      }
      return false;
    case FrameType::kRemoveBorrowers:
      if (const auto* remove = frame.As<wire::RemoveBorrowers>(); remove && remove->object_ids()) {
        for (const auto* id : *remove->object_ids()) {
          directory_.OnRemoveBorrower(peer, wire::FromWire(*id));
        }
        return true;
      }
      return false;
    case FrameType::kObjectFreed:
      if (const auto* freed = frame.As<wire::ObjectFreed>(); freed && freed->object_id()) {
        directory_.OnFreed(peer, wire::FromWire(*freed->object_id()));
        return true;
      }
      return false;
    case FrameType::kContainedTaken:
      if (const auto* taken = frame.As<wire::ContainedTaken>(); taken && taken->object_id()) {
        auto node = link.given.extract(wire::FromWire(*taken->object_id()));
        if (node.empty()) return true;
        for (ObjectEntry* entry : node.mapped()) directory_.Release(entry);
        return true;
      }
      return false;
    default:
      return false;
  }
}

bool Objects::OnState(const Frame& frame) {
  const auto* state = frame.As<wire::ObjectState>();
  if (state == nullptr || state->object_id() == nullptr) return false;
  ObjectDirectory::StateUpdate update;
  update.known = state->known();
  update.pending = state->pending();
  update.is_error = state->is_error();
  update.stored_bytes = state->stored_bytes();
  if (state->value() != nullptr) {
    update.value = ValuePtr(Value::Copy(state->value()->data(), state->value()->size()));
  }
  if (state->locations() != nullptr) {
    for (const auto* node : *state->locations()) update.locations.push_back(wire::FromWire(*node));
  }
  directory_.OnState(wire::FromWire(*state->object_id()), std::move(update));
  return true;
}

bool Objects::OnAddBorrowers(Link& link, const Frame& frame) {
  const auto* add = frame.As<wire::AddBorrowers>();
  if (add == nullptr || add->object_ids() == nullptr) return false;
  for (const auto* id : *add->object_ids()) {
    directory_.OnAddBorrower(link.peer.worker, wire::FromWire(*id));
  }
  builder_.Clear();
  builder_.Finish(wire::CreateAddBorrowersAck(builder_, add->request_id()));
  process_.links().Send(link, FrameType::kAddBorrowersAck, builder_);
  return true;
}

void Objects::OnLinkBroken(Link& link) {
  auto given = std::move(link.given);
  link.given.clear();
  for (auto& [outer, entries] : given) {
    for (ObjectEntry* entry : entries) directory_.Release(entry);
  }
}

// --- To other processes ---

bool Objects::SendIfThere(const Address& peer, FrameType type) {
  Link& link = process_.links().To(peer);
  if (link.state == Link::State::kBroken) return false;
  process_.links().Send(link, type, builder_);
  process_.links().FlushSoon(link);
  return true;
}

bool Objects::SendFetch(const Address& owner, uint64_t request_id, const ObjectId& id) {
  builder_.Clear();
  builder_.Finish(wire::CreateFetchObject(builder_, request_id, wire::ToWire(id)));
  return SendIfThere(owner, FrameType::kFetchObject);
}

bool Objects::SendAddBorrower(const Address& owner, uint64_t request_id, const ObjectId& id) {
  builder_.Clear();
  auto ids = builder_.CreateVectorOfStructs(wire::ToWire(id), 1);
  builder_.Finish(wire::CreateAddBorrowers(builder_, request_id, ids));
  return SendIfThere(owner, FrameType::kAddBorrowers);
}

void Objects::SendRemoveBorrower(const Address& owner, const ObjectId& id) {
  builder_.Clear();
  auto ids = builder_.CreateVectorOfStructs(wire::ToWire(id), 1);
  builder_.Finish(wire::CreateRemoveBorrowers(builder_, ids));
  (void)SendIfThere(owner, FrameType::kRemoveBorrowers);
}

void Objects::SendContainedTaken(const Address& giver, const ObjectId& outer) {
  builder_.Clear();
  builder_.Finish(wire::CreateContainedTaken(builder_, wire::ToWire(outer)));
  (void)SendIfThere(giver, FrameType::kContainedTaken);
}

void Objects::SendFreedToOwner(const Address& owner, const ObjectId& id) {
  builder_.Clear();
  builder_.Finish(wire::CreateObjectFreed(builder_, wire::ToWire(id)));
  (void)SendIfThere(owner, FrameType::kObjectFreed);
}

void Objects::SendFreedToBorrower(const WorkerId& borrower, const ObjectId& id) {
  Link* link = process_.links().Find(borrower);
  if (link == nullptr) return;
  builder_.Clear();
  builder_.Finish(wire::CreateObjectFreed(builder_, wire::ToWire(id)));
  process_.links().Send(*link, FrameType::kObjectFreed, builder_);
  process_.links().FlushSoon(*link);
}

void Objects::SendState(const WorkerId& to, uint64_t request_id, const ObjectId& id,
                        const ObjectEntry* entry) {
  Link* link = process_.links().Find(to);
  if (link == nullptr) return;
  flatbuffers::FlatBufferBuilder b;
  flatbuffers::Offset<flatbuffers::Vector<uint8_t>> value;
  flatbuffers::Offset<flatbuffers::Vector<const wire::WireNodeId*>> locations;
  uint64_t stored = 0;
  if (entry != nullptr && entry->state == ObjectState::kInline) {
    value = b.CreateVector(entry->value->data(), entry->value->size());
  } else if (entry != nullptr && entry->extra) {
    stored = entry->extra->stored_bytes;
    std::vector<wire::WireNodeId> nodes;
    for (const NodeId& node : entry->extra->locations) nodes.push_back(*wire::ToWire(node));
    locations = b.CreateVectorOfStructs(nodes);
  }
  b.Finish(wire::CreateObjectState(b, request_id, wire::ToWire(id), entry != nullptr, value,
                                   entry != nullptr && entry->is_error, stored, locations,
                                   entry != nullptr && !entry->ready()));
  process_.links().Send(*link, FrameType::kObjectState, b);
  process_.links().FlushSoon(*link);
}

// --- Who waits ---

bool Objects::IsWaitedFor(const ObjectEntry* entry, bool to_read) {
  return process_.waits().IsWaitedFor(entry, to_read);
}

void Objects::ForEachWaitedFor(const std::function<void(ObjectEntry*)>& visit) {
  process_.waits().ForEachEntry(visit);
}

void Objects::OnObjectReady(ObjectEntry*, std::vector<uint64_t> dependents,
                            std::vector<uint64_t> callbacks) {
  if (!dependents.empty()) dependents_.submitter.OnArgumentsReady(dependents);
  for (const uint64_t token : callbacks) {
    if ((token & kExecToken) != 0) {
      dependents_.executor.OnArgumentHere(token & ~kExecToken);
    } else {
      dependents_.events.PushCallback(token);
    }
  }
}

void Objects::ActorOutOfScope(const ActorId& id) { dependents_.submitter.OnActorOutOfScope(id); }
void Objects::GeneratorDropped(const ObjectId& id, PendingTask* maker) {
  dependents_.submitter.OnGeneratorDropped(id, maker);
}

}  // namespace cyray::core
