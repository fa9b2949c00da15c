// The store half of CoreWorker: blocks to write in, sealing, giving up pins and objects.
//
// A put into a spare block stays *unpublished*, a matter of this process alone, until somebody else
// may name the object (Publish seals it) or it is gone (its block is a spare again): a loop of puts
// that replaces one object by the next sends nothing. Else a put writes to the raylet once: what
// was let go before it, its seal, and the question for spare blocks leave in one flush, in this
// order. Everything here but the public methods runs with the core mutex held.

#include "cyray/core/core_worker.h"
#include "cyray/util/clock.h"

namespace cyray::core {

using wire::FrameType;

Result<StoreBlock> CoreWorker::CreateInStore(const ObjectId& id, const Address& owner,
                                             uint64_t bytes) {
  std::unique_lock lock(mutex_);
  if (disconnecting_) return Fail(ShutDown());
  StoreBlock block{id, owner, 0, bytes};
  const auto taken = TakeSpare(lock, block);
  if (!taken) return Fail(taken.error());
  if (!*taken) {
    if (Status status = RequestBlock(lock, block); !status.ok()) return Fail(std::move(status));
  }
  block.data = arena_->write(block.offset);
  return block;
}

Result<bool> CoreWorker::TakeSpare(std::unique_lock<std::mutex>& lock, StoreBlock& block) {
  std::optional<SpareBlocks::Block> spare = spares_.Take(block.bytes, MonotonicNs());
  if (!spare && spares_.Expects(block.bytes)) {
    // Its answer may lie in the socket: in a loop of puts nobody polls.
    raylet_.OnReady();
    poller_.WakeWaiters();
    Waits::Scope scope(waits_, "a spare block of the store");
    const Status status = Await(lock, [&] {
      spare = spares_.Take(block.bytes, MonotonicNs());
      return spare || !spares_.Expects(block.bytes);
    });
    if (!status.ok()) return Fail(status);
  }
  if (!spare) return false;
  block.offset = spare->offset;
  block.spare = spare->id;
  block.capacity = spare->bytes;
  return true;
}

Status CoreWorker::RequestBlock(std::unique_lock<std::mutex>& lock, StoreBlock& block) {
  // Outlives the wait: a block that comes too late is given back.
  struct Answer {
    bool here = false, given_up = false;
    Status status;
    uint64_t offset = 0;
  };
  auto answer = std::make_shared<Answer>();
  FlushAll();  // what was released a moment ago may be the room
  const uint64_t request = raylet_.NextRequestId();
  builder_.Clear();
  builder_.Finish(wire::CreateCreateObject(builder_, request, wire::ToWire(block.id), block.bytes,
                                           wire::ToWire(block.owner)));
  const auto on_reply = [this, answer, id = block.id](wire::Frame* frame) {
    answer->here = true;
    if (frame == nullptr) {
      answer->status = Status(StatusCode::kDisconnected, "the raylet of this node is gone");
      return;
    }
    const auto* reply = frame->As<wire::CreateObjectReply>();
    if (!reply->ok()) {
      answer->status = Status(static_cast<StatusCode>(reply->code()),
                              reply->error() != nullptr ? reply->error()->str() : "");
    } else if (answer->given_up) {
      SendAbort(id);
      poller_.NoteGathered();
    } else {
      answer->offset = reply->offset();
    }
  };
  raylet_.Request(request, FrameType::kCreateObject, builder_, on_reply);
  Waits::Scope scope(waits_, "room in the store for bytes: ", std::to_string(block.bytes));
  if (Status status = Await(lock, [&] { return answer->here; }); !status.ok()) {
    answer->given_up = true;
    return status;
  }
  if (answer->status.ok() && !arena_->Contains(answer->offset, block.bytes)) {
    return Status(StatusCode::kProtocolError, "the raylet named a block outside its arena");
  }
  block.offset = answer->offset;
  return answer->status;
}

ObjectEntry* CoreWorker::SealOwned(const StoreBlock& block, std::vector<ObjectEntry*> contained) {
  std::lock_guard lock(mutex_);
  ObjectEntry* entry = objects_.NewOwned(block.id);
  objects_.SetContained(entry, std::move(contained));
  // The creator's pin stays: getting it back here needs no question.
  objects_.AdoptPin(entry, block.offset, block.bytes);
  if (block.spare.is_nil()) {
    SendReleases();
    SendSeal(block);
    objects_.ResolveStored(entry, address_.node, block.bytes);
  } else {
    unpublished_[block.id] = {{block.spare, block.offset, block.capacity}, block.bytes};
    objects_.ResolveUnpublished(entry, address_.node, block.bytes);
  }
  AskForSpares(block.bytes);
  raylet_.Flush();
  poller_.NoteTimer(spares_.NextIdleNs());
  return entry;
}

void CoreWorker::SealReturn(const StoreBlock& block) {
  std::lock_guard lock(mutex_);
  SendSeal(block);
  pins_to_release_.push_back(block.id);
  SendReleases();
  AskForSpares(block.bytes);
  // Before the reply that names it reaches anybody.
  FlushAll();
}

void CoreWorker::AbortBlock(const StoreBlock& block) {
  std::lock_guard lock(mutex_);
  SendAbort(block.spare.is_nil() ? block.id : block.spare);
  poller_.NoteGathered();
}

void CoreWorker::DetachViews() {
  std::vector<store::ArenaMapping::Range> viewed;
  std::lock_guard lock(mutex_);
  objects_.ForEachViewed([&](const LocalPin& pin) { viewed.push_back({pin.offset, pin.bytes}); });
  arena_->Detach(std::move(viewed));
}

void CoreWorker::SendSeal(const StoreBlock& block) {
  builder_.Clear();
  if (block.spare.is_nil()) {
    builder_.Finish(wire::CreateSealObject(builder_, wire::ToWire(block.id)));
    raylet_.Send(FrameType::kSealObject, builder_);
    return;
  }
  builder_.Finish(wire::CreateSealAs(builder_, wire::ToWire(block.spare), wire::ToWire(block.id),
                                     block.bytes, wire::ToWire(block.owner)));
  raylet_.Send(FrameType::kSealAs, builder_);
}

void CoreWorker::SendAbort(const ObjectId& id) {
  builder_.Clear();
  builder_.Finish(wire::CreateAbortObject(builder_, wire::ToWire(id)));
  raylet_.Send(FrameType::kAbortObject, builder_);
}

// --- Spare blocks ---

void CoreWorker::AskForSpares(uint64_t bytes) {
  const SpareBlocks::Wish wish = spares_.WishAfter(bytes, MonotonicNs());
  for (size_t i = 0; i < wish.count; ++i) {
    const ObjectId id(task_ids_.Next(), 0);
    const uint64_t request = raylet_.NextRequestId();
    spares_.Asked(id, wish.bytes);
    builder_.Clear();
    builder_.Finish(wire::CreateCreateObject(builder_, request, wire::ToWire(id), wish.bytes,
                                             wire::ToWire(address_), /*spare=*/true));
    raylet_.Request(
        request, FrameType::kCreateObject, builder_,
        [this, id, bytes = wish.bytes](wire::Frame* frame) { OnSpareReply(id, bytes, frame); });
  }
}

void CoreWorker::OnSpareReply(const ObjectId& id, uint64_t bytes, wire::Frame* frame) {
  const auto* reply = frame == nullptr ? nullptr : frame->As<wire::CreateObjectReply>();
  if (reply != nullptr && reply->ok() && arena_->Contains(reply->offset(), bytes)) {
    spares_.Granted(id, reply->offset(), MonotonicNs());
  } else {
    spares_.Refused(id, MonotonicNs());
  }
}

void CoreWorker::GiveBack(const std::vector<ObjectId>& spares) {
  for (const ObjectId& id : spares) SendAbort(id);
  if (!spares.empty()) raylet_.Flush();
}

// --- Unpublished objects ---

void CoreWorker::Publish(const ObjectId& id) {
  auto node = unpublished_.extract(id);
  if (node.empty()) return;
  const Unpublished& object = node.mapped();
  SendSeal({id, address_, object.block.offset, object.bytes, nullptr, object.block.id});
  if (object.freed) to_free_.emplace_back(id, std::vector<NodeId>{address_.node});
  if (object.unpinned) pins_to_release_.push_back(id);
  raylet_.Flush();  // before whatever names it leaves on another socket
}

void CoreWorker::PublishAll() {
  while (!unpublished_.empty()) Publish(ObjectId(unpublished_.begin()->first));
}

void CoreWorker::RecycleIfDone(const ObjectId& id) {
  auto it = unpublished_.find(id);
  if (!it->second.freed || !it->second.unpinned) return;
  const SpareBlocks::Block block = it->second.block;
  unpublished_.erase(it);
  if (spares_.PutBack(block, MonotonicNs())) return poller_.NoteTimer(spares_.NextIdleNs());
  SendAbort(block.id);
  poller_.NoteGathered();
}

// --- What is let go ---

void CoreWorker::ReleasePin(const ObjectId& id) {
  if (auto it = unpublished_.find(id); it != unpublished_.end()) {
    it->second.unpinned = true;
    return RecycleIfDone(id);
  }
  pins_to_release_.push_back(id);
  poller_.NoteGathered();
}

void CoreWorker::FreeStored(const ObjectId& id, const std::vector<NodeId>& locations) {
  if (auto it = unpublished_.find(id); it != unpublished_.end()) {
    it->second.freed = true;
    return RecycleIfDone(id);
  }
  to_free_.emplace_back(id, locations);
  poller_.NoteGathered();
}

void CoreWorker::FreeStray(const ObjectId& id, const NodeId& node) {
  builder_.Clear();
  auto objects = builder_.CreateVectorOfStructs(wire::ToWire(id), 1);
  auto places = builder_.CreateVectorOfStructs(wire::ToWire(node), 1);
  builder_.Finish(wire::CreateFreeObjects(builder_, objects, places, /*there_alone=*/true));
  raylet_.Send(FrameType::kFreeObjects, builder_);
  poller_.NoteGathered();
}

void CoreWorker::SendReleases() {
  if (!pins_to_release_.empty()) {
    builder_.Clear();
    auto ids = builder_.CreateVectorOfStructs(wire::ToWire(pins_to_release_.front()),
                                              pins_to_release_.size());
    builder_.Finish(wire::CreateReleaseObjects(builder_, ids));
    pins_to_release_.clear();
    raylet_.Send(FrameType::kReleaseObjects, builder_);
  }
  // Objects of the same places go in one frame.
  for (size_t i = 0; i < to_free_.size();) {
    std::vector<ObjectId> ids;
    size_t j = i;
    for (; j < to_free_.size() && to_free_[j].second == to_free_[i].second; ++j) {
      ids.push_back(to_free_[j].first);
    }
    builder_.Clear();
    auto objects = builder_.CreateVectorOfStructs(wire::ToWire(ids.front()), ids.size());
    std::vector<wire::WireNodeId> nodes;
    for (const NodeId& node : to_free_[i].second) nodes.push_back(*wire::ToWire(node));
    auto places = builder_.CreateVectorOfStructs(nodes);
    builder_.Finish(wire::CreateFreeObjects(builder_, objects, places));
    raylet_.Send(FrameType::kFreeObjects, builder_);
    i = j;
  }
  to_free_.clear();
}

}  // namespace cyray::core
