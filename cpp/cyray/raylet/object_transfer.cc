#include "cyray/raylet/object_transfer.h"

#include <algorithm>
#include <utility>

#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace cyray::raylet {

using store::kRaylet;
using wire::FrameType;

Result<std::unique_ptr<ObjectTransfer>> ObjectTransfer::Create(const NodeId& self,
                                                               store::ObjectStore* store,
                                                               PeerTable* peers) {
  Result<UniqueFd> read_only = store->arena().DuplicateReadOnly();
  if (!read_only) return Fail(read_only.error());
  Result<UniqueFd> read_write = store->arena().DuplicateReadWrite();
  if (!read_write) return Fail(read_write.error());
  auto mapping = store::ArenaMapping::Map(std::move(*read_only), std::move(*read_write),
                                          store->arena().capacity_bytes());
  if (!mapping) return Fail(mapping.error());
  return std::unique_ptr<ObjectTransfer>(
      new ObjectTransfer(self, store, peers, std::move(*mapping)));
}

ObjectTransfer::ObjectTransfer(const NodeId& self, store::ObjectStore* store, PeerTable* peers,
                               std::unique_ptr<store::ArenaMapping> mapping)
    : self_(self),
      store_(store),
      peers_(peers),
      mapping_(std::move(mapping)),
      sender_(store, peers, mapping_.get()) {
  peers_->set_bulk_receiver(this);
  peers_->AddRoomCallback([this](const NodeId& node) { sender_.Pump(node); });
  peers_->AddReconnectedCallback([this](const NodeId& node) {
    sender_.OnReconnected(node);
    PullTable::Actions actions;
    pulls_.OnReconnected(node, actions);
    Apply(std::move(actions));
  });
  peers_->AddLostCallback([this](const NodeId& node, const std::string& reason) {
    sender_.OnNodeLost(node);
    PullTable::Actions actions;
    pulls_.OnNodeLost(node, reason, actions);
    Apply(std::move(actions));
    store_->NodeDied(node);
  });
  peers_->SetHandler(FrameType::kPullObject, [this](const NodeId& from, const wire::Frame& frame) {
    const auto* pull = frame.As<wire::PullObject>();
    if (pull == nullptr || pull->object_id() == nullptr) return false;
    sender_.OnPull(from, pull->request_id(), wire::FromWire(*pull->object_id()), pull->offset());
    return true;
  });
  peers_->On<wire::CancelPull>(FrameType::kCancelPull,
                               [this](const NodeId& from, const wire::CancelPull& cancel) {
                                 sender_.OnCancel(from, cancel.request_id());
                               });
  peers_->On<wire::ForwardFree>(
      FrameType::kForwardFree,
      [this](const NodeId&, const wire::ForwardFree& request) { OnForwardFree(request); });
}

ObjectTransfer::~ObjectTransfer() { peers_->set_bulk_receiver(nullptr); }

void ObjectTransfer::Get(store::ClientId client, const ObjectId& id,
                         const std::vector<NodeId>& locations,
                         store::ObjectStore::GetCallback callback) {
  const bool waits = !store_->Contains(id);
  store_->Get(client, id, std::move(callback));
  // While it is being written here its Seal answers; a pull that has room writes it, too.
  if (!waits || (store_->IsBeingWritten(id) && !pulls_.IsPulling(id))) return;
  std::vector<NodeId> others;
  std::copy_if(locations.begin(), locations.end(), std::back_inserter(others),
               [this](const NodeId& node) { return node != self_; });
  if (others.empty() && !pulls_.IsPulling(id)) {
    store_->FailWaiters(id,
                        Status(StatusCode::kNotFound, "object " + id.Hex() + " is not on node " +
                                                          self_.Hex().substr(0, 8) +
                                                          " and on no other that is known"));
    return;
  }
  PullTable::Actions actions;
  pulls_.Start(id, others, actions);
  Apply(std::move(actions));
}

void ObjectTransfer::Free(const std::vector<ObjectId>& ids, const std::vector<NodeId>& locations,
                          bool there_alone) {
  const bool here = std::find(locations.begin(), locations.end(), self_) != locations.end();
  if (here || !there_alone) FreeHere(ids);
  for (const NodeId& node : locations) {
    if (node != self_) ForwardFree(node, ids);
  }
}

void ObjectTransfer::FreeHere(const std::vector<ObjectId>& ids) {
  PullTable::Actions actions;
  for (const ObjectId& id : ids) {
    store_->Free(id);
    for (const NodeId& node : sender_.TakeCopies(id)) ForwardFree(node, {id});
    if (!store_->HasWaiters(id)) pulls_.Cancel(id, actions);
  }
  Apply(std::move(actions));
}

void ObjectTransfer::ForwardFree(const NodeId& node, const std::vector<ObjectId>& ids) {
  flatbuffers::FlatBufferBuilder builder(256);
  std::vector<wire::WireObjectId> wire_ids;
  wire_ids.reserve(ids.size());
  for (const ObjectId& id : ids) wire_ids.push_back(*wire::ToWire(id));
  const auto free = wire::CreateFreeObjects(builder, builder.CreateVectorOfStructs(wire_ids));
  builder.Finish(wire::CreateForwardFree(builder, free));
  (void)peers_->Send(node, FrameType::kForwardFree, builder);  // a dead node has nothing to free
}

void ObjectTransfer::OnForwardFree(const wire::ForwardFree& request) {
  if (request.free() == nullptr || request.free()->object_ids() == nullptr) return;
  std::vector<ObjectId> ids;
  for (const wire::WireObjectId* id : *request.free()->object_ids()) {
    ids.push_back(wire::FromWire(*id));
  }
  FreeHere(ids);
}

void ObjectTransfer::OnClientDied() {
  PullTable::Actions actions;
  for (const ObjectId& id : pulls_.ids()) {
    if (!store_->HasWaiters(id)) pulls_.Cancel(id, actions);
  }
  Apply(std::move(actions));
}

void ObjectTransfer::Apply(std::vector<PullTable::Action> actions) {
  using Kind = PullTable::Action::Kind;
  for (const PullTable::Action& action : actions) {
    switch (action.kind) {
      case Kind::kAsk: {
        flatbuffers::FlatBufferBuilder builder(128);
        builder.Finish(wire::CreatePullObject(builder, wire::ToWire(action.id), action.request_id,
                                              action.offset));
        if (peers_->Send(action.node, FrameType::kPullObject, builder)) break;
        PullTable::Actions next;
        pulls_.OnNodeLost(action.node, "node " + action.node.Hex().substr(0, 8) + " is gone", next);
        Apply(std::move(next));
        break;
      }
      case Kind::kCancel: {
        flatbuffers::FlatBufferBuilder builder(64);
        builder.Finish(wire::CreateCancelPull(builder, action.request_id));
        (void)peers_->Send(action.node, FrameType::kCancelPull,
                           builder);  // a dead node sends nothing
        break;
      }
      case Kind::kAbort:
        (void)store_->AbortAndKeepWaiters(kRaylet, action.id);
        break;
      case Kind::kFail:
        store_->FailWaiters(action.id, action.status);
        break;
    }
  }
}

bool ObjectTransfer::OnChunk(const NodeId& from, const wire::ObjectChunk& chunk) {
  PullTable::Actions actions;
  const PullTable::ChunkHeader header{chunk.request_id(),  wire::FromWire(*chunk.object_id()),
                                      chunk.total_bytes(), chunk.offset(),
                                      chunk.raw_bytes(),   chunk.missing()};
  const PullTable::Verdict verdict = pulls_.OnChunk(from, header, actions);
  Apply(std::move(actions));
  if (verdict == PullTable::Verdict::kTake) {
    const PullTable::Pull* pull = pulls_.Find(header.request_id);
    if (pull != nullptr && !pull->has_room) MakeRoom(*pull, wire::FromWireOrNil(chunk.owner()));
  }
  return verdict != PullTable::Verdict::kProtocolError;
}

void ObjectTransfer::MakeRoom(const PullTable::Pull& pull, const Address& owner) {
  const ObjectId id = pull.id;
  const uint64_t request_id = pull.request_id;
  const Result<uint64_t> offset =
      store_->Create(kRaylet, id, pull.total, owner, store::CopyKind::kCached);
  if (offset) {
    pulls_.SetRoom(request_id, *offset);
    return;
  }
  PullTable::Actions actions;
  if (offset.error().code() == StatusCode::kAlreadyExists) {
    pulls_.Cancel(id, actions);  // made here meanwhile: its Seal answers who waits
  } else {
    const bool full = offset.error().code() == StatusCode::kObjectStoreFull;
    if (full && on_full_) on_full_(pull.total);
    pulls_.Fail(id, offset.error(), actions);
  }
  Apply(std::move(actions));
}

std::span<uint8_t> ObjectTransfer::ChunkSink(const NodeId& from, uint64_t request_id, uint32_t done,
                                             uint32_t left) {
  const PullTable::Pull* pull = pulls_.Find(request_id);
  if (pull == nullptr || !pull->has_room || pull->holder != from) return {};
  const uint64_t at = pull->offset + pull->received + done;
  if (Status ready = mapping_->PrepareWrite(at, left); !ready.ok()) {
    PullTable::Actions actions;
    pulls_.Fail(pull->id, ready, actions);
    Apply(std::move(actions));
    return {};
  }
  return {mapping_->write(at), left};
}

void ObjectTransfer::OnChunkEnd(const NodeId& from, uint64_t request_id, uint32_t bytes) {
  const PullTable::Pull* pull = pulls_.Find(request_id);
  if (pull == nullptr || !pull->has_room || pull->holder != from) return;
  PullTable::Actions actions;
  const std::optional<PullTable::Pull> complete = pulls_.OnChunkEnd(request_id, bytes, actions);
  if (complete) {
    const Status sealed = store_->Seal(kRaylet, complete->id);
    CYRAY_CHECK(sealed.ok()) << sealed.ToString();
    // The waiters have their pins; without any it is a cached copy, evictable.
    (void)store_->Release(kRaylet, complete->id);
  }
  Apply(std::move(actions));
}

}  // namespace cyray::raylet
