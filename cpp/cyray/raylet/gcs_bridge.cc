#include "cyray/raylet/gcs_bridge.h"

#include "cyray/gcs/codec.h"
#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace cyray::raylet {
namespace {

using flatbuffers::FlatBufferBuilder;
using wire::Bytes;
using wire::FrameType;
using wire::FromWireOrNil;
using wire::GcsMethod;
using wire::ToWire;
using wire::VerifiedRoot;

constexpr size_t kFunctionCacheBytes = 64u << 20;
constexpr size_t kDeathsKept = 10'000;
constexpr int64_t kDeathKeptMs = 600'000;
constexpr size_t kDropsAtOnce = 1000;  // so that the GCS is not busy with them for long

Bytes CopyActorUpdate(const wire::ActorUpdate& update) {
  FlatBufferBuilder builder;
  const auto text = [&](const flatbuffers::String* field) {
    return builder.CreateString(flatbuffers::GetString(field));
  };
  const auto cause = text(update.death_cause());
  const auto error =
      update.init_error() == nullptr
          ? 0
          : builder.CreateVector(update.init_error()->data(), update.init_error()->size());
  const auto class_name = text(update.class_name());
  const auto ip = text(update.node_ip());
  builder.Finish(wire::CreateActorUpdate(
      builder, update.actor_id(), update.state(), update.address(), update.incarnation(),
      update.restarts_left(), cause, error, class_name, update.pid(), ip));
  return wire::FinishedBytes(builder);
}

}  // namespace

void FunctionCache::Put(const Key& key, Bytes pickled) {
  if (index_.contains(key) || pickled.size() > limit_bytes_) return;
  bytes_ += pickled.size();
  entries_.emplace_front(key, std::move(pickled));
  index_[key] = entries_.begin();
  while (bytes_ > limit_bytes_) {
    bytes_ -= entries_.back().second.size();
    index_.erase(entries_.back().first);
    entries_.pop_back();
  }
}

const Bytes* FunctionCache::Find(const Key& key) {
  const auto it = index_.find(key);
  if (it == index_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, it->second);
  return &it->second->second;
}

GcsBridge::GcsBridge(Runtime* runtime, const NodeOptions* options, ClientRegistry* clients,
                     Callbacks callbacks)
    : runtime_(runtime),
      options_(options),
      clients_(clients),
      callbacks_(std::move(callbacks)),
      functions_(kFunctionCacheBytes),
      deaths_(kDeathsKept, kDeathKeptMs),
      posts_(runtime) {}

void GcsBridge::Connect(const std::string& address,
                        std::unique_ptr<gcs::GcsConnection> connection) {
  address_ = address;
  client_ = connection != nullptr
                ? std::move(connection)
                : std::make_unique<gcs::GcsClient>(runtime_, address, options_->token);
  for (QueuedCall& call : std::exchange(queued_, {})) {
    client_->Call(call.method, std::move(call.payload), std::move(call.callback));
  }
}

void GcsBridge::OpenStream() {
  client_->OpenStream({[this] { return callbacks_.make_hello(); },
                       [this](const wire::NodeCommand* command) { OnCommand(command); },
                       [this] { OnUp(); },
                       [this](const Status& status) {
                         CYRAY_LOG(kWarning) << "the GCS stream is down: " << status.message();
                         if (status.code() == StatusCode::kNotFound) callbacks_.on_rejected(status);
                       }});
}

void GcsBridge::OnUp() {
  for (const auto& [actor, watched] : watched_) SendWatch(actor, true);
  callbacks_.on_up();
}

void GcsBridge::Call(GcsMethod method, const FlatBufferBuilder& builder,
                     gcs::GcsConnection::ReplyCallback callback) {
  CallBytes(method, wire::FinishedBytes(builder), std::move(callback));
}

void GcsBridge::CallBytes(GcsMethod method, Bytes payload,
                          gcs::GcsConnection::ReplyCallback callback) {
  if (client_ == nullptr) {
    queued_.push_back({method, std::move(payload), std::move(callback)});
    return;
  }
  client_->Call(method, std::move(payload), std::move(callback));
}

void GcsBridge::Report(Bytes report) {
  if (client_ != nullptr) client_->Report(std::move(report));
}

void GcsBridge::ReportDeath(const Address& process, const std::string& reason, bool intended) {
  deaths_.Add(process, {reason, intended}, runtime_->NowMs());
  FlatBufferBuilder builder;
  const auto text = builder.CreateString(reason);
  builder.Finish(wire::CreateReportWorkerDeathRequest(builder, ToWire(process), text, intended));
  // Should it not get there, the next hello does.
  Call(GcsMethod::ReportWorkerDeath, builder, [](const Result<Bytes>& reply) {
    if (!reply) {
      CYRAY_LOG(kWarning) << "ReportWorkerDeath: " << reply.error().message();
    }
  });
}

flatbuffers::Offset<flatbuffers::Vector<const wire::WireWorkerId*>> GcsBridge::WriteProcesses(
    FlatBufferBuilder& builder) const {
  std::vector<wire::WireWorkerId> processes;
  clients_->ForEach([&](const ClientConnection& client) {
    if (!client.worker().is_nil()) processes.push_back(*ToWire(client.worker()));
  });
  return builder.CreateVectorOfStructs(processes);
}

std::vector<flatbuffers::Offset<wire::ReportWorkerDeathRequest>> GcsBridge::WriteDeaths(
    FlatBufferBuilder& builder) const {
  std::vector<flatbuffers::Offset<wire::ReportWorkerDeathRequest>> deaths;
  deaths_.ForEach([&](const Address& process, const Death& death) {
    const auto reason = builder.CreateString(death.reason);
    deaths.push_back(
        wire::CreateReportWorkerDeathRequest(builder, ToWire(process), reason, death.intended));
  });
  return deaths;
}

// --- Calls of processes -----------------------------------------------------------------------

void GcsBridge::Reply(uint64_t client_id, uint64_t request_id, const Result<Bytes>& result) {
  ClientConnection* client = clients_->FindById(client_id);
  if (client == nullptr) return;
  FlatBufferBuilder builder;
  if (result) {
    const auto payload = builder.CreateVector(*result);
    builder.Finish(wire::CreateGcsReply(builder, request_id, true, 0, 0, payload));
  } else {
    const auto error = builder.CreateString(result.error().message());
    builder.Finish(wire::CreateGcsReply(builder, request_id, false, error,
                                        static_cast<uint8_t>(result.error().code()), 0));
  }
  clients_->Send(*client, FrameType::kGcsReply, builder);
}

bool GcsBridge::AnswerFunction(ClientConnection& client, const wire::GcsCall& call) {
  const auto* request =
      VerifiedRoot<wire::GetFunctionRequest>(call.payload()->data(), call.payload()->size());
  if (request == nullptr) return false;
  const Bytes* pickled =
      functions_.Find({FromWireOrNil(request->job_id()), FromWireOrNil(request->function_id())});
  if (pickled == nullptr) return false;
  FlatBufferBuilder builder;
  const auto vector = builder.CreateVector(*pickled);
  builder.Finish(wire::CreateGetFunctionReply(builder, true, vector));
  Reply(client.id(), call.request_id(), wire::FinishedBytes(builder));
  return true;
}

void GcsBridge::RememberFunction(const uint8_t* payload, size_t size) {
  const auto* request = VerifiedRoot<wire::PutFunctionRequest>(payload, size);
  if (request == nullptr || request->pickled() == nullptr) return;
  functions_.Put({FromWireOrNil(request->job_id()), FromWireOrNil(request->function_id())},
                 wire::BytesOrEmpty(request->pickled()));
}

bool GcsBridge::Drop(const ClientConnection& client, const wire::GcsCall& call) {
  const auto* request =
      VerifiedRoot<wire::KillActorRequest>(call.payload()->data(), call.payload()->size());
  if (request == nullptr || !request->out_of_scope() || request->actor_id() == nullptr) {
    return false;
  }
  if (drops_.empty()) posts_.Post([this] { SendDrops(); });
  drops_.push_back({wire::FromWire(*request->actor_id()), client.id(), call.request_id()});
  if (drops_.size() >= kDropsAtOnce) SendDrops();
  return true;
}

void GcsBridge::SendDrops() {
  if (drops_.empty()) return;
  std::vector<wire::WireActorId> actors;
  actors.reserve(drops_.size());
  for (const Dropped& dropped : drops_) actors.push_back(*ToWire(dropped.actor));
  FlatBufferBuilder builder(actors.size() * sizeof(wire::WireActorId) + 64);
  const auto list = builder.CreateVectorOfStructs(actors);
  builder.Finish(wire::CreateDropActorsRequest(builder, list));
  Call(GcsMethod::DropActors, builder,
       [this, drops = std::exchange(drops_, {})](const Result<Bytes>& result) {
         for (const Dropped& dropped : drops) Reply(dropped.client, dropped.request, result);
       });
}

// True when there is nothing left to do: it was answered, or will be.
bool GcsBridge::AnswerHere(ClientConnection& client, const wire::GcsCall& call, GcsMethod method) {
  if (method == GcsMethod::GetFunction) return AnswerFunction(client, call);
  if (method == GcsMethod::KillActor) return Drop(client, call);
  if (method == GcsMethod::PutFunction) {
    RememberFunction(call.payload()->data(), call.payload()->size());
  }
  if (method == GcsMethod::ClusterResources) {
    Reply(client.id(), call.request_id(), callbacks_.cluster_resources());
    return true;
  }
  return false;
}

bool GcsBridge::OnGcsCall(ClientConnection& client, const wire::GcsCall* call) {
  if (call == nullptr || call->payload() == nullptr) return false;
  const auto method = static_cast<GcsMethod>(call->method());
  if (!gcs::GcsClient::ProcessMayCall(method)) {
    Reply(client.id(), call->request_id(),
          Fail(StatusCode::kInvalidArgument,
               "processes may not call method " + std::to_string(call->method()) + " of the GCS"));
    return true;
  }
  if (AnswerHere(client, *call, method)) return true;
  SendDrops();  // they came first: one may free the name that this call asks for
  const uint64_t client_id = client.id();
  const uint64_t request_id = call->request_id();
  FunctionCache::Key function;
  if (method == GcsMethod::GetFunction) {
    if (const auto* request = VerifiedRoot<wire::GetFunctionRequest>(call->payload()->data(),
                                                                     call->payload()->size())) {
      function = {FromWireOrNil(request->job_id()), FromWireOrNil(request->function_id())};
    }
  }
  CallBytes(method, wire::BytesOrEmpty(call->payload()),
            [this, client_id, request_id, function](Result<Bytes> result) {
              if (result && !function.second.is_nil()) {
                const auto* reply = VerifiedRoot<wire::GetFunctionReply>(*result);
                if (reply != nullptr && reply->found()) {
                  functions_.Put(function, wire::BytesOrEmpty(reply->pickled()));
                }
              }
              Reply(client_id, request_id, result);
            });
  return true;
}

// --- Actors that clients watch ----------------------------------------------------------------

bool GcsBridge::OnSubscribeActor(ClientConnection& client, const wire::SubscribeActor* subscribe) {
  if (subscribe == nullptr || subscribe->actor_id() == nullptr) return false;
  const ActorId actor = wire::FromWire(*subscribe->actor_id());
  if (!subscribe->subscribe()) {
    const auto it = watched_.find(actor);
    if (it == watched_.end()) return true;
    it->second.subscribers.erase(client.worker());
    if (it->second.subscribers.empty()) {
      watched_.erase(it);
      SendWatch(actor, false);
    }
    return true;
  }
  const auto [it, added] = watched_.try_emplace(actor);
  it->second.subscribers.insert(client.worker());
  if (added) {
    SendWatch(actor, true);
  } else if (!it->second.last_update.empty()) {
    clients_->Send(client, FrameType::kActorUpdate, it->second.last_update.data(),
                   it->second.last_update.size());
  }
  return true;
}

void GcsBridge::OnClientGone(const WorkerId& client) {
  for (auto it = watched_.begin(); it != watched_.end();) {
    if (it->second.subscribers.erase(client) > 0 && it->second.subscribers.empty()) {
      SendWatch(it->first, false);
      it = watched_.erase(it);
    } else {
      ++it;
    }
  }
}

void GcsBridge::SendWatch(const ActorId& actor, bool watch) {
  FlatBufferBuilder builder;
  Report(gcs::FinishReport(builder, wire::CreateWatchActor(builder, ToWire(actor), watch)));
}

void GcsBridge::OnCommand(const wire::NodeCommand* command) {
  const auto* update = command->body_as_ActorUpdate();
  if (update != nullptr) {
    OnActorUpdate(*update);
  } else {
    callbacks_.on_command(*command);
  }
}

void GcsBridge::OnActorUpdate(const wire::ActorUpdate& update) {
  if (update.actor_id() == nullptr) return;
  const auto it = watched_.find(wire::FromWire(*update.actor_id()));
  if (it == watched_.end()) return;
  Watched& watched = it->second;
  watched.last_update = CopyActorUpdate(update);
  for (const WorkerId& subscriber : watched.subscribers) {
    if (ClientConnection* client = clients_->Find(subscriber)) {
      clients_->Send(*client, FrameType::kActorUpdate, watched.last_update.data(),
                     watched.last_update.size());
    }
  }
}

}  // namespace cyray::raylet
