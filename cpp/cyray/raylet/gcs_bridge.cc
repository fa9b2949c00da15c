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
constexpr int64_t kHeldMs = 5'000;  // an actor's news, for the last frames of its process

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
      posts_(runtime),
      release_(runtime) {}

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

// True when there is nothing left to do: it was answered, or will be.
bool GcsBridge::AnswerHere(ClientConnection& client, const wire::GcsCall& call, GcsMethod method) {
  if (method == GcsMethod::GetFunction) return AnswerFunction(client, call);
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
  if (method == GcsMethod::GetFunction) {
    AskForFunction(client, *call);
    return true;
  }
  const bool may_be_joined =
      lines_.Add({client.id(), call->request_id(), method, wire::BytesOrEmpty(call->payload())},
                 runtime_->NowMs());
  if (!may_be_joined) {
    GoOn(client.id());
  } else {
    if (gathering_.empty()) posts_.Post([this] { EndRound(); });
    if (gathering_.empty() || gathering_.back() != client.id()) gathering_.push_back(client.id());
  }
  return true;
}

void GcsBridge::EndRound() {
  for (const uint64_t client_id : std::exchange(gathering_, {})) GoOn(client_id);
}

void GcsBridge::GoOn(uint64_t client_id) {
  for (GcsLines::Call& call : lines_.GoOn(client_id)) {
    CallBytes(call.method, std::move(call.payload),
              [this, client_id, id = call.id](const Result<Bytes>& result) {
                for (const auto& [client, request, answer] :
                     lines_.OnReply(id, result, runtime_->NowMs())) {
                  Reply(client, request, answer);
                }
                GoOn(client_id);
              });
  }
}

// In no line: it may wait for the function for long.
void GcsBridge::AskForFunction(const ClientConnection& client, const wire::GcsCall& call) {
  FunctionCache::Key function;
  if (const auto* request =
          VerifiedRoot<wire::GetFunctionRequest>(call.payload()->data(), call.payload()->size())) {
    function = {FromWireOrNil(request->job_id()), FromWireOrNil(request->function_id())};
  }
  CallBytes(GcsMethod::GetFunction, wire::BytesOrEmpty(call.payload()),
            [this, client_id = client.id(), request_id = call.request_id(),
             function](const Result<Bytes>& result) {
              if (result && !function.second.is_nil()) {
                const auto* reply = VerifiedRoot<wire::GetFunctionReply>(*result);
                if (reply != nullptr && reply->found()) {
                  functions_.Put(function, wire::BytesOrEmpty(reply->pickled()));
                }
              }
              Reply(client_id, request_id, result);
            });
}

// --- Actors that clients watch ----------------------------------------------------------------

bool GcsBridge::OnSubscribeActor(ClientConnection& client, const wire::SubscribeActor* subscribe) {
  if (subscribe == nullptr || subscribe->actor_id() == nullptr) return false;
  const ActorId actor = wire::FromWire(*subscribe->actor_id());
  if (!subscribe->subscribe()) {
    const auto of_client = watched_by_.find(client.worker());
    if (of_client == watched_by_.end() || of_client->second.erase(actor) == 0) return true;
    if (of_client->second.empty()) watched_by_.erase(of_client);
    Unsubscribe(client.worker(), actor);
    return true;
  }
  const auto [it, added] = watched_.try_emplace(actor);
  it->second.subscribers.insert(client.worker());
  watched_by_[client.worker()].insert(actor);
  if (added) {
    SendWatch(actor, true);
  } else if (!it->second.last_update.empty() && !it->second.held.contains(client.worker())) {
    SendUpdate(client.worker(), it->second);
  }
  return true;
}

void GcsBridge::OnClientGone(const WorkerId& client) {
  const auto of_client = watched_by_.extract(client);
  if (of_client.empty()) return;
  for (const ActorId& actor : of_client.mapped()) Unsubscribe(client, actor);
}

void GcsBridge::Unsubscribe(const WorkerId& client, const ActorId& actor) {
  const auto it = watched_.find(actor);
  it->second.subscribers.erase(client);
  it->second.informed.erase(client);
  if (const auto held = it->second.held.extract(client); !held.empty()) {
    const auto line = held_.find({client, held.mapped()});
    line->second.actors.erase(actor);
    if (line->second.actors.empty()) held_.erase(line);
  }
  if (!it->second.subscribers.empty()) return;
  watched_.erase(it);
  SendWatch(actor, false);
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
  const Address before = watched.lived_at;
  watched.lives = update.state() == wire::ActorState::Alive;
  if (watched.lives) watched.lived_at = wire::FromWireOrNil(update.address());
  const bool left = !watched.lives || watched.lived_at != before;
  for (const WorkerId& subscriber : watched.subscribers) {
    if (watched.held.contains(subscriber)) continue;
    if (left && !before.is_nil() && !watched.informed.contains(subscriber) &&
        callbacks_.talks(subscriber, before)) {
      watched.held.emplace(subscriber, before);
      const auto [held, added] = held_.try_emplace({subscriber, before});
      if (added) held->second.until_ms = runtime_->NowMs() + kHeldMs;
      held->second.actors.insert(it->first);
    } else {
      SendUpdate(subscriber, watched);
      if (!watched.lives) watched.informed.insert(subscriber);
    }
  }
  if (watched.lives) watched.informed.clear();
  if (!held_.empty()) release_.StartOnce(kHeldMs, [this] { ReleaseLate(); });
}

void GcsBridge::SendUpdate(const WorkerId& subscriber, const Watched& watched) {
  if (ClientConnection* client = clients_->Find(subscriber)) {
    clients_->Send(*client, FrameType::kActorUpdate, watched.last_update.data(),
                   watched.last_update.size());
  }
}

void GcsBridge::OnTalkOver(const WorkerId& client, const Address& process) {
  const auto held = held_.extract({client, process});
  if (held.empty()) return;
  for (const ActorId& actor : held.mapped().actors) {
    const auto it = watched_.find(actor);
    if (it == watched_.end() || it->second.held.erase(client) == 0) continue;
    SendUpdate(client, it->second);
    if (!it->second.lives) it->second.informed.insert(client);
  }
}

// The path to that node is cut, and nobody has found it dead: what is known is told.
void GcsBridge::ReleaseLate() {
  std::vector<std::pair<WorkerId, Address>> late;
  for (const auto& [talk, held] : held_) {
    if (held.until_ms <= runtime_->NowMs()) late.push_back(talk);
  }
  for (const auto& [client, process] : late) OnTalkOver(client, process);
  if (!held_.empty()) release_.Start(kHeldMs / 4, [this] { ReleaseLate(); });
}

}  // namespace cyray::raylet
