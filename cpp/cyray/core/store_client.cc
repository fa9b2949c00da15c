#include "cyray/core/store_client.h"

#include "cyray/util/clock.h"
#include "cyray/wire/convert.h"
#include "local_generated.h"

namespace cyray::core {

using wire::FrameType;

// --- Blocks to write in ---

Status StoreClient::Create(const ObjectId& id, const Address& owner, uint64_t bytes,
                           StoreBlock* block) {
  ThisProcess::Lock lock(process_.mutex());
  if (process_.leaving()) return ThisProcess::ShutDown();
  StoreBlock made{id, owner, 0, bytes};
  bool taken = false;
  CYRAY_RETURN_IF_ERROR(TakeSpare(lock, made, &taken));
  if (!taken) CYRAY_RETURN_IF_ERROR(RequestBlock(lock, made));
  made.data = arena_->write(made.offset);
  *block = made;
  return Status::Ok();
}

ObjectId StoreClient::NextPutId() {
  std::lock_guard lock(process_.mutex());
  return ObjectId(process_.ids().Next(), 0);
}

Status StoreClient::TakeSpare(ThisProcess::Lock& lock, StoreBlock& block, bool* taken) {
  std::optional<SpareBlocks::Block> spare = spares_.Take(block.bytes, MonotonicNs());
  if (!spare && spares_.Expects(block.bytes)) {
    // Its answer may lie in the socket: in a loop of puts nobody polls.
    process_.raylet().OnReady();
    process_.poller().WakeWaiters();
    Waits::Scope scope(process_.waits(), "a spare block of the store");
    CYRAY_RETURN_IF_ERROR(process_.Await(lock, kForever, [&] {
      spare = spares_.Take(block.bytes, MonotonicNs());
      return spare || !spares_.Expects(block.bytes);
    }));
  }
  *taken = spare.has_value();
  if (!spare) return Status::Ok();
  block.offset = spare->offset;
  block.spare = spare->id;
  block.capacity = spare->bytes;
  return Status::Ok();
}

Status StoreClient::RequestBlock(ThisProcess::Lock& lock, StoreBlock& block) {
  process_.FlushAll();  // what was released a moment ago may be the room
  Waits::Scope scope(process_.waits(),
                     "room in the store for bytes: ", std::to_string(block.bytes));
  const auto offset = requests_.Ask<uint64_t>(
      lock, {.type = FrameType::kCreateObject,
             .build =
                 [&block](flatbuffers::FlatBufferBuilder& b, uint64_t request) {
                   b.Finish(wire::CreateCreateObject(b, request, wire::ToWire(block.id),
                                                     block.bytes, wire::ToWire(block.owner)));
                 },
             .read = [](wire::Frame& frame) -> Result<uint64_t> {
               const auto* reply = frame.As<wire::CreateObjectReply>();
               if (reply->ok()) return reply->offset();
               return Fail(static_cast<StatusCode>(reply->code()),
                           flatbuffers::GetString(reply->error()));
             },
             .take_back =
                 [this, id = block.id](uint64_t) {
                   SendAbort(id);
                   process_.poller().NoteGathered();
                 }});
  if (!offset) return offset.error();
  if (!arena_->Contains(*offset, block.bytes)) {
    return Status(StatusCode::kProtocolError, "the raylet named a block outside its arena");
  }
  block.offset = *offset;
  return Status::Ok();
}

// --- Sealing ---

ObjectEntry* StoreClient::SealOwned(const StoreBlock& block, std::vector<ObjectEntry*> contained) {
  std::lock_guard lock(process_.mutex());
  ObjectEntry* entry = directory_.NewOwned(block.id);
  directory_.SetContained(entry, std::move(contained));
  // The creator's pin stays: getting it back here needs no question.
  directory_.AdoptPin(entry, block.offset, block.bytes);
  const NodeId& here = process_.address().node;
  if (block.spare.is_nil()) {
    SendReleases();
    SendSeal(block);
    directory_.ResolveStored(entry, here, block.bytes);
  } else {
    unpublished_[block.id] = {{block.spare, block.offset, block.capacity}, block.bytes};
    directory_.ResolveUnpublished(entry, here, block.bytes);
  }
  AskForSpares(block.bytes);
  process_.raylet().Flush();
  process_.poller().NoteTimer(spares_.NextIdleNs());
  return entry;
}

void StoreClient::SealReturn(const StoreBlock& block) {
  std::lock_guard lock(process_.mutex());
  SendSeal(block);
  pins_to_release_.push_back(block.id);
  SendReleases();
  AskForSpares(block.bytes);
  // Before the reply that names it reaches anybody.
  process_.FlushAll();
}

void StoreClient::Abort(const StoreBlock& block) {
  std::lock_guard lock(process_.mutex());
  SendAbort(block.spare.is_nil() ? block.id : block.spare);
  process_.poller().NoteGathered();
}

void StoreClient::Discard(const ObjectId& id) {
  std::lock_guard lock(process_.mutex());
  FreeStray(id, process_.address().node);
  SendReleases();
}

void StoreClient::DetachViews() {
  if (!arena_) return;
  std::vector<store::ArenaMapping::Range> viewed;
  std::lock_guard lock(process_.mutex());
  directory_.ForEachViewed([&](const LocalPin& pin) { viewed.push_back({pin.offset, pin.bytes}); });
  arena_->Detach(std::move(viewed));
}

void StoreClient::SendSeal(const StoreBlock& block) {
  builder_.Clear();
  if (block.spare.is_nil()) {
    builder_.Finish(wire::CreateSealObject(builder_, wire::ToWire(block.id)));
    process_.raylet().Send(FrameType::kSealObject, builder_);
    return;
  }
  builder_.Finish(wire::CreateSealAs(builder_, wire::ToWire(block.spare), wire::ToWire(block.id),
                                     block.bytes, wire::ToWire(block.owner)));
  process_.raylet().Send(FrameType::kSealAs, builder_);
}

void StoreClient::SendAbort(const ObjectId& id) {
  builder_.Clear();
  builder_.Finish(wire::CreateAbortObject(builder_, wire::ToWire(id)));
  process_.raylet().Send(FrameType::kAbortObject, builder_);
}

// --- Spare blocks ---

void StoreClient::AskForSpares(uint64_t bytes) {
  const SpareBlocks::Wish wish = spares_.WishAfter(bytes, MonotonicNs());
  RayletClient& raylet = process_.raylet();
  for (size_t i = 0; i < wish.count; ++i) {
    const ObjectId id(process_.ids().Next(), 0);
    const uint64_t request = raylet.NextRequestId();
    spares_.Asked(id, wish.bytes);
    builder_.Clear();
    builder_.Finish(wire::CreateCreateObject(builder_, request, wire::ToWire(id), wish.bytes,
                                             wire::ToWire(process_.address()), /*spare=*/true));
    raylet.Request(
        request, FrameType::kCreateObject, builder_,
        [this, id, bytes = wish.bytes](wire::Frame* frame) { OnSpareReply(id, bytes, frame); });
  }
}

void StoreClient::OnSpareReply(const ObjectId& id, uint64_t bytes, wire::Frame* frame) {
  const auto* reply = frame == nullptr ? nullptr : frame->As<wire::CreateObjectReply>();
  if (reply != nullptr && reply->ok() && arena_->Contains(reply->offset(), bytes)) {
    spares_.Granted(id, reply->offset(), MonotonicNs());
  } else {
    spares_.Refused(id, MonotonicNs());
  }
}

void StoreClient::GiveBack(const std::vector<ObjectId>& spares) {
  for (const ObjectId& id : spares) SendAbort(id);
  if (!spares.empty()) process_.raylet().Flush();
}

void StoreClient::OnReturnSpares() {
  PublishAll();
  directory_.TrimWarmPins(0);
  GiveBack(spares_.TakeAll());
  SendReleases();
  process_.raylet().Flush();
}

// --- Unpublished objects ---

void StoreClient::Publish(const ObjectId& id) {
  auto node = unpublished_.extract(id);
  if (node.empty()) return;
  const Unpublished& object = node.mapped();
  const Address& self = process_.address();
  SendSeal({id, self, object.block.offset, object.bytes, nullptr, object.block.id});
  if (object.freed) to_free_.push_back({id, {self.node}});
  if (object.unpinned) pins_to_release_.push_back(id);
  process_.raylet().Flush();  // before whatever names it leaves on another socket
}

void StoreClient::PublishAll() {
  while (!unpublished_.empty()) Publish(ObjectId(unpublished_.begin()->first));
}

void StoreClient::RecycleIfDone(const ObjectId& id) {
  auto it = unpublished_.find(id);
  if (!it->second.freed || !it->second.unpinned) return;
  const SpareBlocks::Block block = it->second.block;
  unpublished_.erase(it);
  if (spares_.PutBack(block, MonotonicNs())) {
    return process_.poller().NoteTimer(spares_.NextIdleNs());
  }
  SendAbort(block.id);
  process_.poller().NoteGathered();
}

// --- Objects of other nodes ---

void StoreClient::PullToStore(ObjectEntry* entry) {
  Publish(entry->id);  // the raylet is asked for it by its name
  RayletClient& raylet = process_.raylet();
  const uint64_t request = raylet.NextRequestId();
  builder_.Clear();
  std::vector<wire::WireNodeId> nodes;
  for (const NodeId& node : entry->extra->locations) nodes.push_back(*wire::ToWire(node));
  auto locations = builder_.CreateVectorOfStructs(nodes);
  const Address owner = directory_.OwnerOf(entry);
  builder_.Finish(wire::CreateGetObject(builder_, request, wire::ToWire(entry->id),
                                        wire::ToWire(owner), locations));
  raylet.Request(request, FrameType::kGetObject, builder_,
                 [this, id = entry->id](wire::Frame* frame) { OnPullReply(id, frame); });
  raylet.Flush();
}

void StoreClient::OnPullReply(const ObjectId& id, wire::Frame* frame) {
  using Failure = ObjectDirectory::PullFailure;
  if (frame == nullptr) return;  // everybody is told that the raylet is gone
  const auto* reply = frame->As<wire::GetObjectReply>();
  if (reply->ok() && arena_->Contains(reply->offset(), reply->bytes())) {
    return directory_.OnPinned(id, reply->offset(), reply->bytes());
  }
  const bool full = static_cast<StatusCode>(reply->code()) == StatusCode::kObjectStoreFull;
  directory_.OnPullFailed(id, full ? Failure::kNoRoom : Failure::kMissing,
                          reply->error() != nullptr ? reply->error()->str() : "no such object",
                          MonotonicNs());
}

// --- What is let go ---

void StoreClient::ReleasePin(const ObjectId& id) {
  if (auto it = unpublished_.find(id); it != unpublished_.end()) {
    it->second.unpinned = true;
    return RecycleIfDone(id);
  }
  pins_to_release_.push_back(id);
  process_.poller().NoteGathered();
}

void StoreClient::FreeStored(const ObjectId& id, const std::vector<NodeId>& locations) {
  if (auto it = unpublished_.find(id); it != unpublished_.end()) {
    it->second.freed = true;
    return RecycleIfDone(id);
  }
  Free({id, locations});
}

void StoreClient::FreeStray(const ObjectId& id, const NodeId& node) {
  Free({id, {node}, /*there_alone=*/true});
}

void StoreClient::Free(Freed freed) {
  to_free_.push_back(std::move(freed));
  process_.poller().NoteGathered();
}

void StoreClient::SendReleasedPins() {
  builder_.Clear();
  auto ids = builder_.CreateVectorOfStructs(wire::ToWire(pins_to_release_.front()),
                                            pins_to_release_.size());
  builder_.Finish(wire::CreateReleaseObjects(builder_, ids));
  pins_to_release_.clear();
  process_.raylet().Send(FrameType::kReleaseObjects, builder_);
}

void StoreClient::SendFreed() {
  for (size_t i = 0; i < to_free_.size();) {
    const Freed& first = to_free_[i];
    std::vector<ObjectId> ids;
    for (; i < to_free_.size() && to_free_[i].there_alone == first.there_alone &&
           to_free_[i].places == first.places;
         ++i) {
      ids.push_back(to_free_[i].id);
    }
    builder_.Clear();
    auto objects = builder_.CreateVectorOfStructs(wire::ToWire(ids.front()), ids.size());
    std::vector<wire::WireNodeId> nodes;
    for (const NodeId& node : first.places) nodes.push_back(*wire::ToWire(node));
    auto places = builder_.CreateVectorOfStructs(nodes);
    builder_.Finish(wire::CreateFreeObjects(builder_, objects, places, first.there_alone));
    process_.raylet().Send(FrameType::kFreeObjects, builder_);
  }
  to_free_.clear();
}

void StoreClient::Describe(std::string& out) const {
  constexpr size_t kMostNamed = 20;
  if (unpublished_.empty()) return;
  out += "  " + std::to_string(unpublished_.size()) +
         " stored objects that only this process knows, the raylet as its spare blocks:";
  size_t named = 0;
  for (const auto& [id, object] : unpublished_) {
    if (named++ == kMostNamed) break;
    out += " " + id.Hex() + " (" + std::to_string(object.bytes) + " bytes)";
  }
  out += "\n";
}

}  // namespace cyray::core
