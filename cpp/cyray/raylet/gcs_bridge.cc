#include "cyray/raylet/gcs_bridge.h"

#include "cyray/gcs/codec.h"
#include "cyray/util/log.h"
#include "cyray/util/sentence.h"
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
      news_(runtime, {[this](const ActorId& actor, bool watch) { SendWatch(actor, watch); },
                      [this](const WorkerId& worker, const Bytes& update) {
                        ClientConnection* const client = clients_->Find(worker);
                        if (client == nullptr) return;
                        clients_->Send(*client, FrameType::kActorUpdate, update.data(),
                                       update.size());
                      },
                      callbacks_.talks}),
      posts_(runtime) {}

void GcsBridge::Connect(const std::string& address,
                        std::unique_ptr<gcs::GcsConnection> connection) {
  address_ = address;
  client_ = connection != nullptr
                ? std::move(connection)
                : std::make_unique<gcs::GcsClient>(runtime_, address, options_->token);
}

void GcsBridge::Register(const FlatBufferBuilder& builder,
                         gcs::GcsConnection::ReplyCallback callback) {
  client_->Call(GcsMethod::RegisterNode, wire::FinishedBytes(builder), std::move(callback));
}

void GcsBridge::OpenStream() {
  registered_ = true;
  for (QueuedCall& call : std::exchange(queued_, {})) {
    client_->Call(call.method, std::move(call.payload), std::move(call.callback));
  }
  client_->OpenStream({[this] { return callbacks_.make_hello(); },
                       [this](const wire::NodeCommand* command) { OnCommand(command); },
                       [this] { OnUp(); },
                       [this](const Status& status) {
                         CYRAY_LOG(kWarning) << "the GCS stream is down: " << status.message();
                         if (status.code() == StatusCode::kNotFound) callbacks_.on_rejected(status);
                       }});
}

void GcsBridge::OnUp() {
  news_.WatchAgain();
  callbacks_.on_up();
}

void GcsBridge::Call(GcsMethod method, const FlatBufferBuilder& builder,
                     gcs::GcsConnection::ReplyCallback callback) {
  CallBytes(method, wire::FinishedBytes(builder), std::move(callback));
}

void GcsBridge::CallBytes(GcsMethod method, Bytes payload,
                          gcs::GcsConnection::ReplyCallback callback) {
  if (!registered_) {
    queued_.push_back({method, std::move(payload), std::move(callback)});
    return;
  }
  client_->Call(method, std::move(payload), std::move(callback));
}

void GcsBridge::Report(Bytes report) {
  if (client_ != nullptr) client_->Report(std::move(report));
}

void GcsBridge::ReportDeath(const Address& process, const std::string& reason, bool intended) {
  deaths_.Add(process, {FirstLine(reason), intended}, runtime_->NowMs());
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
    FlatBufferBuilder& builder, const std::vector<WorkerId>& ending) const {
  std::vector<wire::WireWorkerId> processes;
  for (const WorkerId& worker : ending) processes.push_back(*ToWire(worker));
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
  if (method == GcsMethod::WaitGroup) {  // in no line, as it waits for long
    CallBytes(method, wire::BytesOrEmpty(call->payload()),
              [this, client_id = client.id(), request_id = call->request_id()](
                  const Result<Bytes>& result) { Reply(client_id, request_id, result); });
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
                for (const auto& [client, request, answer, registered] :
                     lines_.OnReply(id, result, runtime_->NowMs())) {
                  Reply(client, request, answer);
                  if (news_.IsWatched(registered)) SendWatch(registered, true);
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
  if (subscribe->subscribe()) {
    news_.Subscribe(client.worker(), actor);
  } else {
    news_.Unsubscribe(client.worker(), actor);
  }
  return true;
}

// The GCS takes for dead whom it does not get to know: a watch does not overtake a registration
// that is on its way through this raylet.
void GcsBridge::SendWatch(const ActorId& actor, bool watch) {
  if (watch && lines_.IsRegistering(actor)) return;  // sent with its answer
  FlatBufferBuilder builder;
  Report(gcs::FinishReport(builder, wire::CreateWatchActor(builder, ToWire(actor), watch)));
}

void GcsBridge::OnCommand(const wire::NodeCommand* command) {
  const auto* update = command->body_as_ActorUpdate();
  if (update != nullptr) {
    news_.OnUpdate(*update);
  } else {
    callbacks_.on_command(*command);
  }
}

}  // namespace cyray::raylet
