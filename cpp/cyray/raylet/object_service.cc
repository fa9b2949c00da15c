#include "cyray/raylet/object_service.h"

#include <algorithm>

#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace cyray::raylet {
namespace {

using flatbuffers::FlatBufferBuilder;
using wire::FrameType;
using wire::FromWire;
using wire::FromWireOrNil;

constexpr int64_t kFirstWarmMs = 300;  // the node's start has the CPU first
constexpr int64_t kWarmStepMs = 4;
constexpr int64_t kWarmAfterCreateMs = 50;
constexpr int64_t kRoomMs = 200;       // a spare that is being written takes a while
constexpr int64_t kAskAgainMs = 20;    // for room
constexpr int64_t kLateSealMs = 1000;  // behind all that its creator sent this raylet before

std::vector<ObjectId> Ids(const flatbuffers::Vector<const wire::WireObjectId*>* wire) {
  std::vector<ObjectId> ids;
  if (wire == nullptr) return ids;
  ids.reserve(wire->size());
  for (const auto* id : *wire) ids.push_back(FromWire(*id));
  return ids;
}

std::vector<NodeId> Nodes(const flatbuffers::Vector<const wire::WireNodeId*>* wire) {
  std::vector<NodeId> nodes;
  if (wire == nullptr) return nodes;
  for (const auto* node : *wire) nodes.push_back(FromWire(*node));
  return nodes;
}

}  // namespace

ObjectService::ObjectService(Parts parts)
    : self_(parts.self),
      runtime_(parts.runtime),
      clients_(parts.clients),
      store_(parts.store),
      transfer_(parts.transfer),
      watch_owner_(std::move(parts.watch_owner)),
      warming_(parts.runtime),
      retry_(parts.runtime),
      asked_(parts.runtime),
      late_seals_(parts.runtime) {
  WarmLater(kFirstWarmMs);
  transfer_->set_on_full([this](uint64_t bytes) {
    if (MayGetRoom(bytes)) AskForRoom(bytes);
  });
}

void ObjectService::WarmLater(int64_t delay_ms) {
  warming_.StartOnce(delay_ms, [this] {
    if (store_->WarmSome()) WarmLater(kWarmStepMs);
  });
}

bool ObjectService::Handles(FrameType type) {
  return type == FrameType::kCreateObject || type == FrameType::kSealObject ||
         type == FrameType::kSealAs || type == FrameType::kAbortObject ||
         type == FrameType::kGetObject || type == FrameType::kReleaseObjects ||
         type == FrameType::kFreeObjects;
}

bool ObjectService::OnFrame(ClientConnection& client, const wire::Frame& frame) {
  switch (frame.type) {
    case FrameType::kCreateObject:
      return OnCreate(client, frame.As<wire::CreateObject>());
    case FrameType::kSealObject:
      return OnSeal(client, frame.As<wire::SealObject>());
    case FrameType::kSealAs:
      return OnSealAs(client, frame.As<wire::SealAs>());
    case FrameType::kAbortObject:
      return OnAbort(client, frame.As<wire::AbortObject>());
    case FrameType::kGetObject:
      return OnGet(client, frame.As<wire::GetObject>());
    case FrameType::kReleaseObjects:
      return OnRelease(client, frame.As<wire::ReleaseObjects>());
    case FrameType::kFreeObjects:
      return OnFree(client, frame.As<wire::FreeObjects>());
    default:
      return false;
  }
}

bool ObjectService::OnCreate(ClientConnection& client, const wire::CreateObject* create) {
  if (create == nullptr || create->object_id() == nullptr) return false;
  const ObjectId id = FromWire(*create->object_id());
  const Address owner = FromWireOrNil(create->owner());
  if (create->spare()) {
    const Result<uint64_t> offset =
        waiting_.empty() ? store_->CreateSpare(client.id(), id, create->bytes(), owner)
                         : Fail(StatusCode::kObjectStoreFull, "others wait for room");
    if (offset) spares_[client.id()].insert(id);
    AnswerCreate(client, create->request_id(), offset);
    return true;
  }
  const Result<uint64_t> offset = Create(client.id(), id, create->bytes(), owner);
  if (!offset && offset.error().code() == StatusCode::kObjectStoreFull &&
      MayGetRoom(create->bytes())) {
    AskForRoom(create->bytes());
    waiting_.push_back({client.id(), create->request_id(), id, create->bytes(), owner,
                        runtime_->NowMs() + kRoomMs});
    if (waiting_.size() == 1) ArmRetry();
  } else {
    AnswerCreate(client, create->request_id(), offset);
  }
  return true;
}

Result<uint64_t> ObjectService::Create(uint64_t client_id, const ObjectId& id, uint64_t bytes,
                                       const Address& owner) {
  if (!watch_owner_(owner)) {
    return Fail(StatusCode::kNotFound, "the owner of object " + id.Hex() + " is gone");
  }
  return store_->Create(client_id, id, bytes, owner);
}

void ObjectService::AnswerCreate(ClientConnection& client, uint64_t request_id,
                                 const Result<uint64_t>& offset) {
  FlatBufferBuilder builder(128);
  if (offset) {
    builder.Finish(wire::CreateCreateObjectReply(builder, request_id, true, 0, 0, *offset));
  } else {
    const auto error = builder.CreateString(offset.error().message());
    builder.Finish(wire::CreateCreateObjectReply(builder, request_id, false, error,
                                                 static_cast<uint8_t>(offset.error().code())));
  }
  clients_->Send(client, FrameType::kCreateObjectReply, builder);
  WarmLater(kWarmAfterCreateMs);
}

void ObjectService::AskForRoom(uint64_t bytes) {
  if (asked_.running()) return;
  asked_.Start(kAskAgainMs, [] {});
  std::vector<uint64_t> asked = store_->ClientsWithPins();
  for (const auto& [client_id, ids] : spares_) asked.push_back(client_id);
  std::sort(asked.begin(), asked.end());
  asked.erase(std::unique(asked.begin(), asked.end()), asked.end());
  FlatBufferBuilder builder(64);
  builder.Finish(wire::CreateReturnSpares(builder, bytes));
  for (const uint64_t client_id : asked) {
    if (ClientConnection* holder = clients_->FindById(client_id)) {
      clients_->Send(*holder, FrameType::kReturnSpares, builder);
    }
  }
}

void ObjectService::SpareWent(uint64_t client_id, const ObjectId& id) {
  const auto held = spares_.find(client_id);
  if (held == spares_.end()) return;
  held->second.erase(id);
  if (held->second.empty()) spares_.erase(held);
  RetryWaiting();
}

void ObjectService::RetryWaiting() {
  if (waiting_.empty()) return;
  const int64_t now = runtime_->NowMs();
  std::vector<Waiting> still;
  for (Waiting& waiting : std::exchange(waiting_, {})) {
    ClientConnection* client = clients_->FindById(waiting.client_id);
    if (client == nullptr) continue;
    const Result<uint64_t> offset =
        Create(waiting.client_id, waiting.id, waiting.bytes, waiting.owner);
    if (!offset && offset.error().code() == StatusCode::kObjectStoreFull &&
        now < waiting.until_ms && MayGetRoom(waiting.bytes)) {
      still.push_back(std::move(waiting));
    } else {
      AnswerCreate(*client, waiting.request_id, offset);
    }
  }
  waiting_ = std::move(still);
  ArmRetry();
}

void ObjectService::ArmRetry() {
  if (waiting_.empty()) return retry_.Stop();
  retry_.Start(waiting_.front().until_ms - runtime_->NowMs(), [this] { RetryWaiting(); });
}

bool ObjectService::OnSeal(ClientConnection& client, const wire::SealObject* seal) {
  if (seal == nullptr || seal->object_id() == nullptr) return false;
  const Status status = store_->Seal(client.id(), FromWire(*seal->object_id()));
  if (!status.ok()) {
    CYRAY_LOG(kWarning) << "seal: " << status.message();
  }
  return true;
}

bool ObjectService::OnSealAs(ClientConnection& client, const wire::SealAs* seal) {
  if (seal == nullptr || seal->spare_id() == nullptr || seal->object_id() == nullptr) return false;
  const ObjectId spare = FromWire(*seal->spare_id());
  const Address owner = FromWireOrNil(seal->owner());
  const Status status =
      store_->SealAs(client.id(), spare, FromWire(*seal->object_id()), owner, seal->bytes());
  // The client took the block for its own, and names the object's owner only now.
  if (!watch_owner_(owner)) store_->OwnerDied(owner);
  // AlreadyExists: an earlier attempt of a task stored its result.
  if (!status.ok() && status.code() != StatusCode::kAlreadyExists) {
    CYRAY_LOG(kWarning) << "seal: " << status.message();
  }
  SpareWent(client.id(), spare);
  const ObjectId id = FromWire(*seal->object_id());
  if (const WorkerId* freed_by = freed_early_.Find(id); freed_by && *freed_by == owner.worker) {
    freed_early_.Remove(id);
    transfer_->Free({id}, {});
  }
  return true;
}

bool ObjectService::OnAbort(ClientConnection& client, const wire::AbortObject* abort) {
  if (abort == nullptr || abort->object_id() == nullptr) return false;
  const ObjectId id = FromWire(*abort->object_id());
  const Status status = store_->Abort(client.id(), id);
  if (!status.ok()) {
    CYRAY_LOG(kWarning) << "abort: " << status.message();
  }
  SpareWent(client.id(), id);
  return true;
}

bool ObjectService::OnGet(ClientConnection& client, const wire::GetObject* get) {
  if (get == nullptr || get->object_id() == nullptr) return false;
  Getting getting{client.id(), get->request_id(), FromWire(*get->object_id()),
                  Nodes(get->locations())};
  (void)watch_owner_(FromWireOrNil(get->owner()));  // a copy may stay until there is no room
  const bool here = store_->Contains(getting.id) || store_->IsBeingWritten(getting.id);
  const bool only_here = !getting.locations.empty() &&
                         std::all_of(getting.locations.begin(), getting.locations.end(),
                                     [this](const NodeId& node) { return node == self_; });
  if (!here && only_here) {
    AwaitLateSeal(getting);
  } else {
    transfer_->Get(getting.client_id, getting.id, getting.locations, ReplyTo(getting));
  }
  return true;
}

store::ObjectStore::GetCallback ObjectService::ReplyTo(const Getting& getting) {
  return [this, client_id = getting.client_id,
          request_id = getting.request_id](Result<store::ObjectView> view) {
    ClientConnection* getter = clients_->FindById(client_id);
    if (getter == nullptr) return;
    FlatBufferBuilder builder(128);
    if (view) {
      builder.Finish(
          wire::CreateGetObjectReply(builder, request_id, true, 0, 0, view->offset, view->bytes));
    } else {
      const auto error = builder.CreateString(view.error().message());
      builder.Finish(wire::CreateGetObjectReply(builder, request_id, false, error,
                                                static_cast<uint8_t>(view.error().code())));
    }
    clients_->Send(*getter, FrameType::kGetObjectReply, builder);
  };
}

// Its owner says that it is here and nowhere else: whoever told the getter had sent the SealAs
// before, but that may still lie behind megabytes which the creator's socket holds back. Each
// getter waits for its own time: what the last one was told may be younger than what the first one
// was.
void ObjectService::AwaitLateSeal(const Getting& getting) {
  const ObjectId id = getting.id;
  const uint64_t ticket = store_->Get(getting.client_id, id, ReplyTo(getting));
  if (ticket == 0) return;
  late_seals_.Start(ticket, kLateSealMs, [this, id, ticket] {
    if (store_->IsBeingWritten(id) || transfer_->IsPulling(id)) return;
    store_->FailWaiter(id, ticket,
                       Status(StatusCode::kNotFound,
                              "object " + id.Hex() + " was on this node alone, node " +
                                  self_.Hex().substr(0, 8) + ", and is not there any more"));
  });
}

bool ObjectService::OnRelease(ClientConnection& client, const wire::ReleaseObjects* release) {
  if (release == nullptr) return false;
  for (const ObjectId& id : Ids(release->object_ids())) {
    const Status status = store_->Release(client.id(), id);
    if (!status.ok()) {
      CYRAY_LOG(kWarning) << "release: " << status.message();
    }
  }
  RetryWaiting();
  return true;
}

// Its owner may have been told of an object, and have no use for it, before its creator's SealAs
// was read here: the two have sockets of their own.
bool ObjectService::OnFree(ClientConnection& client, const wire::FreeObjects* free) {
  if (free == nullptr) return false;
  const std::vector<ObjectId> ids = Ids(free->object_ids());
  const std::vector<NodeId> nodes = Nodes(free->locations());
  if (std::find(nodes.begin(), nodes.end(), self_) != nodes.end()) {
    for (const ObjectId& id : ids) {
      if (store_->Contains(id) || store_->IsBeingWritten(id)) continue;
      freed_early_.Add(id, client.worker(), runtime_->NowMs());
    }
  }
  transfer_->Free(ids, nodes, free->there_alone());
  RetryWaiting();
  return true;
}

void ObjectService::OnClientGone(uint64_t client_id, const Address& address) {
  store_->ClientDied(client_id);
  spares_.erase(client_id);
  RetryWaiting();
  if (!address.worker.is_nil()) store_->OwnerDied(address);
  transfer_->OnClientDied();
}

size_t ObjectService::SparesOf(uint64_t client_id) const {
  const auto it = spares_.find(client_id);
  return it == spares_.end() ? 0 : it->second.size();
}

void ObjectService::OnRemoteDied(const Address& address) { store_->OwnerDied(address); }

}  // namespace cyray::raylet
