#include "cyray/gcs/gcs_service.h"

#include <algorithm>

#include "cyray/gcs/codec.h"
#include "cyray/gcs/methods.h"
#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace cyray::gcs {
namespace {

using flatbuffers::FlatBufferBuilder;
using wire::FromWire;
using wire::FromWireOrNil;
using wire::GcsMethod;
using wire::ToWire;

std::string FunctionKey(const FunctionTable::Key& key) {
  return std::string(key.first.view()) + std::string(key.second.view());
}

wire::Bytes FunctionReply(const wire::Bytes* pickled) {
  FlatBufferBuilder builder(64 + (pickled != nullptr ? pickled->size() : 0));
  auto bytes = pickled != nullptr ? builder.CreateVector(*pickled)
                                  : flatbuffers::Offset<flatbuffers::Vector<uint8_t>>();
  return Finished(builder, wire::CreateGetFunctionReply(builder, pickled != nullptr, bytes));
}

wire::Bytes StoredCallOf(const CallLog::Entry& entry) {
  FlatBufferBuilder builder(entry.payload.size() + 64);
  auto payload = builder.CreateVector(entry.payload);
  return Finished(builder,
                  wire::CreateStoredCall(builder, static_cast<uint8_t>(entry.code), payload));
}

}  // namespace

GcsService::GcsService(Runtime* runtime, Storage* storage, StreamOutlets streams,
                       Membership::Timing timing, ClusterMemory memory)
    : runtime_(runtime),
      storage_(storage),
      commit_(storage),
      cluster_(runtime, &commit_, timing, std::move(streams),
               {[this](const JobId& job) { DropFunctions(job); },
                [this](const PlacementGroupId& group) { OnGroupChanged(group); }},
               memory) {}

GcsService::~GcsService() { FailWaiters(); }

Status GcsService::Load() {
  using Kind = Storage::Kind;
  CYRAY_RETURN_IF_ERROR(storage_->Load(Kind::kKv, [this](std::string_view key, wire::Bytes value) {
    auto names = KvTable::ParseStorageKey(key);
    if (!names) return LogUnreadable("key", key);
    kv_.Put(names->first, names->second, std::move(value), true);
  }));
  CYRAY_RETURN_IF_ERROR(storage_->Load(Kind::kFunction, [this](std::string_view key,
                                                               wire::Bytes value) {
    if (key.size() != JobId::kSize + FunctionId::kSize) return LogUnreadable("function", key);
    functions_.Put({JobId::FromBytes(key.data()), FunctionId::FromBytes(key.data() + JobId::kSize)},
                   std::move(value));
  }));
  CYRAY_RETURN_IF_ERROR(storage_->Load(Kind::kCall, [this](std::string_view key,
                                                           wire::Bytes value) {
    const auto* call = wire::VerifiedRoot<wire::StoredCall>(value);
    if (call == nullptr || key.size() != CallId::kSize) return LogUnreadable("call", key);
    calls_.Add(CallId::FromBytes(key.data()),
               {CodeFromWire(call->code()), wire::BytesOrEmpty(call->payload()), /*durable=*/true},
               runtime_->NowMs());
  }));
  return cluster_.Load(*storage_);
}

void GcsService::OnCall(uint16_t number, const CallId& id, wire::Bytes payload, Reply reply) {
  const auto method = static_cast<GcsMethod>(number);
  if (method == GcsMethod::GetFunction) {
    GetFunction(payload, reply);
  } else if (method == GcsMethod::WaitGroup) {
    WaitGroup(payload, reply);
  } else if (ReadBy(method).size() > 0) {
    commit_.Answer(ReadBy(method),
                   [reply = std::move(reply), answer = Read(method, payload)] { reply(answer); });
    commit_.End();
  } else {
    Change(method, id, payload, std::move(reply));
  }
}

void GcsService::Change(GcsMethod method, const CallId& id, const wire::Bytes& payload,
                        Reply reply) {
  const bool once = IsOnce(method, payload);
  if (const CallLog::Entry* done = once ? calls_.Find(id) : nullptr) {
    if (done->durable) return reply(done->AsResult());
    commit_.End([method, reply = std::move(reply), entry = *done](const Status& status) {
      reply(status.ok() ? entry.AsResult() : NotDurable(method, status));
    });
    return;
  }
  // What was done before, by a call whose answer was lost, is neither refused nor undone. (What was
  // undone is dead: whoever asks again is answered, and told of the death.)
  const Status failing = storage_->Failure();
  if (!failing.ok() && IsRequest(method) && !IsRepeated(method, payload)) {
    return reply(NotDurable(method, failing));
  }
  Outcome outcome = Apply(method, payload);
  if (outcome.when_stored != nullptr) {
    commit_.Leave(
        [reply = std::move(reply), answer = std::move(outcome.when_stored)] { reply(answer()); });
    return commit_.End();
  }
  if (once) RememberCall(id, outcome.reply);
  unstored_.insert(outcome.actors.begin(), outcome.actors.end());
  commit_.End([this, method, once, id, reply = std::move(reply),
               outcome = std::move(outcome)](const Status& status) {
    if (status.ok() && once) calls_.MarkDurable(id);
    std::optional<Result<wire::Bytes>> refusal;
    if (!status.ok() && outcome.reply.has_value()) {
      refusal = outcome.undo != nullptr ? outcome.undo(status) : NotDurable(method, status);
      if (outcome.undo != nullptr && once) ForgetCall(id);
      commit_.End();
    }
    for (const ActorId& actor : outcome.actors) unstored_.erase(actor);
    reply(refusal ? *refusal : outcome.reply);
  });
}

bool GcsService::IsRepeated(GcsMethod method, const wire::Bytes& payload) const {
  if (method == GcsMethod::RegisterActor) {
    const auto* request = wire::VerifiedRoot<wire::RegisterActorRequest>(payload);
    return request != nullptr &&
           cluster_.actors().table().Find(FromWireOrNil(request->actor_id())) != nullptr;
  }
  if (method != GcsMethod::RegisterNode) return false;
  const auto* request = wire::VerifiedRoot<wire::RegisterNodeRequest>(payload);
  return request != nullptr && request->node() != nullptr &&
         cluster_.nodes().IsAlive(FromWireOrNil(request->node()->node_id()));
}

void GcsService::RememberCall(const CallId& id, const Result<wire::Bytes>& reply) {
  const CallLog::Entry entry = CallLog::MakeEntry(reply);
  commit_.Put(Storage::Kind::kCall, id.view(), StoredCallOf(entry));
  for (const CallId& old : calls_.Add(id, entry, runtime_->NowMs())) {
    commit_.Erase(Storage::Kind::kCall, old.view());
  }
}

void GcsService::ForgetCall(const CallId& id) {
  calls_.Remove(id);
  commit_.Erase(Storage::Kind::kCall, id.view());
}

Result<wire::Bytes> GcsService::Read(GcsMethod method, const wire::Bytes& payload) {
  switch (method) {
    case GcsMethod::KvGet:
      return KvGet(payload);
    case GcsMethod::KvKeys:
      return KvKeys(payload);
    case GcsMethod::GetActorByName:
      return GetActorByName(payload);
    case GcsMethod::ListActors:
      return ListActors();
    case GcsMethod::ListNodes:
      return ListNodes();
    case GcsMethod::ListJobs:
      return ListJobs();
    case GcsMethod::FindGroup:
      return FindGroup(payload);
    case GcsMethod::ListGroups:
      return ListGroups();
    case GcsMethod::GetActorSave:
      return GetActorSave(payload);
    default:
      return ClusterResources();
  }
}

GcsService::Outcome GcsService::Apply(GcsMethod method, const wire::Bytes& payload) {
  switch (method) {
    case GcsMethod::KvPut:
      return KvPut(payload);
    case GcsMethod::KvDelete:
      return KvDelete(payload);
    case GcsMethod::PutFunction:
      return PutFunction(payload);
    case GcsMethod::RegisterActor:
      return RegisterActor(payload);
    case GcsMethod::ActorArgumentsReady:
      return ActorArgumentsReady(payload);
    case GcsMethod::KillActor:
      return KillActor(payload);
    case GcsMethod::ChangeActors:
      return ChangeActors(payload);
    case GcsMethod::SaveActor:
      return SaveActor(payload);
    case GcsMethod::RegisterGroup:
      return RegisterGroup(payload);
    case GcsMethod::RemoveGroup:
      return RemoveGroup(payload);
    case GcsMethod::RegisterNode:
      return RegisterNode(payload);
    case GcsMethod::RegisterJob:
      return RegisterJob(payload);
    case GcsMethod::FinishJob:
      return FinishJob(payload);
    case GcsMethod::ReportWorkerDeath:
      return ReportWorkerDeath(payload);
    case GcsMethod::NodeLeaves:
      return NodeLeaves(payload);
    default:
      return {Fail(StatusCode::kInvalidArgument,
                   "no method has the number " + std::to_string(static_cast<int>(method)))};
  }
}

void GcsService::OnStreamMessage(StreamId stream, const wire::Bytes& message) {
  cluster_.OnStreamMessage(stream, message);
}

void GcsService::OnStreamClosed(StreamId stream) { cluster_.OnStreamClosed(stream); }

// --- Key-value pairs ---

void GcsService::StoreKv(const std::string& space, const std::string& key, wire::Bytes value) {
  commit_.Put(Storage::Kind::kKv, KvTable::StorageKey(space, key), std::move(value));
}

GcsService::Outcome GcsService::KvPut(const wire::Bytes& payload) {
  const auto* request = wire::VerifiedRoot<wire::KvPutRequest>(payload);
  if (request == nullptr) return {BadRequest()};
  const std::string space = flatbuffers::GetString(request->space()), key = request->key()->str();
  wire::Bytes value = wire::BytesOrEmpty(request->value());
  KvTable::PutResult put = kv_.Put(space, key, value, request->overwrite());
  const bool added = put.outcome == KvTable::PutOutcome::kAdded;
  FlatBufferBuilder builder(32);
  Outcome outcome(Finished(builder, wire::CreateKvPutReply(builder, added)));
  if (put.outcome == KvTable::PutOutcome::kKept) return outcome;
  StoreKv(space, key, std::move(value));
  outcome.undo = [this, space, key, added, before = std::move(put.replaced)](const Status& why) {
    if (added) {
      kv_.Delete(space, key, /*prefix=*/false);
      commit_.Erase(Storage::Kind::kKv, KvTable::StorageKey(space, key));
    } else {
      kv_.Put(space, key, before, /*overwrite=*/true);
      StoreKv(space, key, before);
    }
    return NotDurable(GcsMethod::KvPut, why);
  };
  return outcome;
}

Result<wire::Bytes> GcsService::KvGet(const wire::Bytes& payload) {
  const auto* request = wire::VerifiedRoot<wire::KvGetRequest>(payload);
  if (request == nullptr) return BadRequest();
  const wire::Bytes* value =
      kv_.Get(flatbuffers::GetString(request->space()), request->key()->str());
  FlatBufferBuilder builder(64 + (value != nullptr ? value->size() : 0));
  auto bytes = value != nullptr ? builder.CreateVector(*value)
                                : flatbuffers::Offset<flatbuffers::Vector<uint8_t>>();
  return Finished(builder, wire::CreateKvGetReply(builder, value != nullptr, bytes));
}

GcsService::Outcome GcsService::KvDelete(const wire::Bytes& payload) {
  const auto* request = wire::VerifiedRoot<wire::KvDeleteRequest>(payload);
  if (request == nullptr) return {BadRequest()};
  const std::string space = flatbuffers::GetString(request->space());
  std::vector<KvTable::Pair> removed = kv_.Delete(space, request->key()->str(), request->prefix());
  for (const auto& [key, value] : removed) {
    commit_.Erase(Storage::Kind::kKv, KvTable::StorageKey(space, key));
  }
  FlatBufferBuilder builder(32);
  const auto count = static_cast<uint32_t>(removed.size());
  return {Finished(builder, wire::CreateKvDeleteReply(builder, count)),
          [this, space, removed = std::move(removed)](const Status& why) {
            for (const auto& [key, value] : removed) {
              kv_.Put(space, key, value, /*overwrite=*/true);
              StoreKv(space, key, value);
            }
            return NotDurable(GcsMethod::KvDelete, why);
          }};
}

Result<wire::Bytes> GcsService::KvKeys(const wire::Bytes& payload) {
  const auto* request = wire::VerifiedRoot<wire::KvKeysRequest>(payload);
  if (request == nullptr) return BadRequest();
  FlatBufferBuilder builder;
  auto keys = builder.CreateVectorOfStrings(kv_.Keys(flatbuffers::GetString(request->space()),
                                                     flatbuffers::GetString(request->prefix())));
  return Finished(builder, wire::CreateKvKeysReply(builder, keys));
}

// --- Functions ---

Result<wire::Bytes> GcsService::PutFunction(const wire::Bytes& payload) {
  const auto* request = wire::VerifiedRoot<wire::PutFunctionRequest>(payload);
  if (request == nullptr) return BadRequest();
  const FunctionTable::Key key{FromWireOrNil(request->job_id()),
                               FromWireOrNil(request->function_id())};
  // It came too late, and nobody would ever drop it.
  if (cluster_.IsOver(key.first)) return Fail(StatusCode::kNotFound, "the job has ended");
  FunctionTable::PutResult put = functions_.Put(key, wire::BytesOrEmpty(request->pickled()));
  const wire::Bytes* pickled = functions_.Get(key);
  if (put.added) commit_.Put(Storage::Kind::kFunction, FunctionKey(key), *pickled);
  for (uint64_t waiter : put.answered) AnswerWaiter(waiter, pickled);
  return EmptyReply();
}

void GcsService::GetFunction(const wire::Bytes& payload, const Reply& reply) {
  const auto* request = wire::VerifiedRoot<wire::GetFunctionRequest>(payload);
  if (request == nullptr) {
    reply(BadRequest());
    return;
  }
  const FunctionTable::Key key{FromWireOrNil(request->job_id()),
                               FromWireOrNil(request->function_id())};
  const wire::Bytes* pickled = functions_.Get(key);
  if (pickled != nullptr || request->wait_ms() == 0) {
    AnswerFunction(reply, pickled);
    commit_.End();
    return;
  }
  const uint64_t waiter = next_waiter_++;
  functions_.Wait(key, waiter);
  auto timer = std::make_unique<Timer>(runtime_);
  timer->Start(std::min(request->wait_ms(), kMaxFunctionWaitMs), [this, waiter] {
    functions_.CancelWaiter(waiter);
    AnswerWaiter(waiter, nullptr);
    commit_.End();
  });
  function_waiters_[waiter] = {reply, std::move(timer)};
}

void GcsService::AnswerWaiter(uint64_t waiter, const wire::Bytes* pickled) {
  auto node = function_waiters_.extract(waiter);
  if (node.empty()) return;
  AnswerFunction(node.mapped().reply, pickled);
}

// Of a function that may not be on disk yet, as any read.
void GcsService::AnswerFunction(const Reply& reply, const wire::Bytes* pickled) {
  commit_.Answer({Storage::Kind::kFunction},
                 [reply, answer = FunctionReply(pickled)] { reply(answer); });
}

void GcsService::FailWaiters() {
  for (auto& [id, waiter] : std::exchange(function_waiters_, {})) {
    functions_.CancelWaiter(id);
    waiter.reply(Fail(StatusCode::kUnavailable, "the GCS is ending"));
  }
  for (auto& [id, waiter] : std::exchange(group_waiters_, {})) {
    waiter.reply(Fail(StatusCode::kUnavailable, "the GCS is ending"));
  }
}

void GcsService::DropFunctions(const JobId& job) {
  for (const FunctionTable::Key& key : functions_.DropJob(job)) {
    commit_.Erase(Storage::Kind::kFunction, FunctionKey(key));
  }
}

// --- Actors ---

GcsService::Outcome GcsService::RegisterActor(const wire::Bytes& payload) {
  const bool repeated = IsRepeated(GcsMethod::RegisterActor, payload);
  const Result<ActorId> id = cluster_.RegisterActor(payload);
  if (!id.has_value()) return {Fail(id.error())};
  Outcome outcome{EmptyReply(), [this, id = *id](const Status& why) -> Result<wire::Bytes> {
                    if (!unstored_.contains(id)) return EmptyReply();
                    TakeBackActor(id);
                    return NotDurable(GcsMethod::RegisterActor, why);
                  }};
  if (!repeated) outcome.actors.push_back(*id);
  return outcome;
}

void GcsService::TakeBackActor(const ActorId& actor) {
  ActorDirector& actors = cluster_.actors();
  actors.Apply(actors.table().Kill(
      actor, {.reason = "The actor is dead because the GCS could not store it: " +
                        storage_->Failure().message()}));
}

Result<wire::Bytes> GcsService::GetActorByName(const wire::Bytes& payload) {
  const auto* request = wire::VerifiedRoot<wire::GetActorByNameRequest>(payload);
  if (request == nullptr) return BadRequest();
  FlatBufferBuilder builder;
  const ActorRecord* record = cluster_.actors().table().FindByName(
      flatbuffers::GetString(request->namespace_()), flatbuffers::GetString(request->name()));
  if (record == nullptr) return Finished(builder, wire::CreateGetActorByNameReply(builder, false));
  auto meta = builder.CreateVector(record->spec.handle_meta);
  return Finished(builder,
                  wire::CreateGetActorByNameReply(builder, true, ToWire(record->spec.id), meta));
}

Result<wire::Bytes> GcsService::ActorArgumentsReady(const wire::Bytes& payload) {
  const auto* request = wire::VerifiedRoot<wire::ActorArgumentsReadyRequest>(payload);
  if (request == nullptr) return BadRequest();
  ActorDirector& actors = cluster_.actors();
  actors.Apply(actors.table().ArgumentsReady(FromWireOrNil(request->actor_id())));
  return EmptyReply();
}

Result<wire::Bytes> GcsService::KillActor(const wire::Bytes& payload) {
  const auto* request = wire::VerifiedRoot<wire::KillActorRequest>(payload);
  if (request == nullptr) return BadRequest();
  ActorDirector& actors = cluster_.actors();
  const ActorId id = FromWireOrNil(request->actor_id());
  actors.Apply(actors.table().Kill(id, {request->no_restart(), request->out_of_scope(),
                                        flatbuffers::GetString(request->reason())}));
  FlatBufferBuilder builder;
  return Finished(builder,
                  wire::CreateKillActorReply(builder, actors.table().LeastIncarnation(id)));
}

// Each registration stands for itself, as if it were alone.
GcsService::Outcome GcsService::ChangeActors(const wire::Bytes& payload) {
  const auto* request = wire::VerifiedRoot<wire::ChangeActorsRequest>(payload);
  if (request == nullptr || request->registrations() == nullptr || request->dropped() == nullptr) {
    return {BadRequest()};
  }
  const Status failing = storage_->Failure();
  std::vector<Result<ActorId>> registered;
  std::vector<ActorId> added;
  for (const auto* registration : *request->registrations()) {
    const wire::Bytes one = wire::BytesOrEmpty(registration->request());
    const bool repeated = IsRepeated(GcsMethod::RegisterActor, one);
    registered.push_back(failing.ok() || repeated
                             ? cluster_.RegisterActor(one)
                             : Fail(NotDurable(GcsMethod::RegisterActor, failing).error()));
    if (registered.back() && !repeated) added.push_back(*registered.back());
  }
  ActorDirector& actors = cluster_.actors();
  for (const wire::WireActorId* id : *request->dropped()) {
    actors.Apply(actors.table().Kill(FromWire(*id), {.out_of_scope = true}));
  }
  Outcome outcome{
      ChangeActorsReply(registered, Status::Ok()),
      [this, registered = std::move(registered)](const Status& why) mutable -> Result<wire::Bytes> {
        for (Result<ActorId>& id : registered) {
          if (!id || !unstored_.contains(*id)) continue;
          TakeBackActor(*id);
          id = Fail(NotDurable(GcsMethod::RegisterActor, why).error());
        }
        return ChangeActorsReply(registered, NotDurable(GcsMethod::ChangeActors, why).error());
      }};
  outcome.actors = std::move(added);
  return outcome;
}

Result<wire::Bytes> GcsService::SaveActor(const wire::Bytes& payload) {
  if (Status status = cluster_.actors().Save(payload); !status.ok()) return Fail(status);
  return EmptyReply();
}

Result<wire::Bytes> GcsService::GetActorSave(const wire::Bytes& payload) const {
  const auto* request = wire::VerifiedRoot<wire::GetActorSaveRequest>(payload);
  if (request == nullptr) return BadRequest();
  const SaveTable::Save* save = cluster_.actors().saves().Find(FromWireOrNil(request->actor_id()));
  FlatBufferBuilder builder(128 + (save != nullptr ? save->request.size() : 0));
  if (save == nullptr) return Finished(builder, wire::CreateGetActorSaveReply(builder, false));
  const auto* saved = flatbuffers::GetRoot<wire::SaveActorRequest>(save->request.data());
  const auto copy = [&](const flatbuffers::Vector<uint8_t>* bytes) {
    return bytes != nullptr ? builder.CreateVector(bytes->data(), bytes->size()) : 0;
  };
  const auto state = copy(saved->state());
  const auto calls = copy(saved->calls());
  return Finished(builder, wire::CreateGetActorSaveReply(builder, true, state, calls));
}

Result<wire::Bytes> GcsService::ListActors() {
  FlatBufferBuilder builder;
  std::vector<flatbuffers::Offset<wire::ActorInfo>> actors;
  for (const auto& [id, record] : cluster_.actors().table().actors()) {
    actors.push_back(WriteInfo(builder, record, cluster_.actors().saves().Find(id)));
  }
  auto list = builder.CreateVector(actors);
  return Finished(builder, wire::CreateListActorsReply(builder, list));
}

// --- Nodes and jobs ---

Result<wire::Bytes> GcsService::ListNodes() {
  FlatBufferBuilder builder;
  std::vector<flatbuffers::Offset<wire::NodeRecord>> nodes;
  for (const auto& [id, node] : cluster_.nodes().nodes()) nodes.push_back(WriteNode(builder, node));
  auto list = builder.CreateVector(nodes);
  const auto waiting = WritePending(builder, cluster_.waiting().Pending());
  return Finished(builder, wire::CreateListNodesReply(builder, list, waiting));
}

Result<wire::Bytes> GcsService::ListJobs() {
  FlatBufferBuilder builder;
  std::vector<flatbuffers::Offset<wire::JobRecord>> jobs;
  for (const JobEntry* job : cluster_.jobs().All()) jobs.push_back(WriteJob(builder, *job));
  auto list = builder.CreateVector(jobs);
  return Finished(builder, wire::CreateListJobsReply(builder, list));
}

Result<wire::Bytes> GcsService::ClusterResources() {
  FlatBufferBuilder builder;
  auto total = ToWire(builder, OutsideBundles(cluster_.nodes().Total()));
  auto available = ToWire(builder, OutsideBundles(cluster_.nodes().Available()));
  return Finished(builder, wire::CreateClusterResourcesReply(builder, total, available));
}

GcsService::Outcome GcsService::RegisterNode(const wire::Bytes& payload) {
  const auto* request = wire::VerifiedRoot<wire::RegisterNodeRequest>(payload);
  if (request == nullptr || request->node() == nullptr) return {BadRequest()};
  NodeEntry node = ReadNode(*request->node());
  if (node.id.is_nil()) return {BadRequest()};
  const NodeId node_id = node.id;
  const bool repeated = cluster_.nodes().IsAlive(node_id);
  if (Status status = cluster_.RegisterNode(std::move(node)); !status.ok()) return {Fail(status)};
  FlatBufferBuilder builder;
  Outcome outcome{Finished(builder, cluster_.WriteState(builder)),
                  [this, node_id](const Status& why) {
                    cluster_.EndNode(node_id, "The GCS could not store its registration.");
                    return NotDurable(GcsMethod::RegisterNode, why);
                  }};
  if (repeated) {
    outcome.when_stored = [this, node_id, answer = outcome.reply]() -> Result<wire::Bytes> {
      if (cluster_.nodes().IsAlive(node_id)) return answer;
      return Fail(StatusCode::kNotFound, "node " + node_id.Hex() + " has been declared dead");
    };
  }
  return outcome;
}

GcsService::Outcome GcsService::RegisterJob(const wire::Bytes& payload) {
  const auto* request = wire::VerifiedRoot<wire::RegisterJobRequest>(payload);
  if (request == nullptr) return {BadRequest()};
  JobEntry job;
  job.driver = FromWireOrNil(request->driver());
  job.driver_pid = request->driver_pid();
  job.ns = flatbuffers::GetString(request->namespace_());
  job.entrypoint = flatbuffers::GetString(request->entrypoint());
  job.config = wire::BytesOrEmpty(request->config());
  const Result<JobId> id = cluster_.RegisterJob(std::move(job));
  if (!id.has_value()) return {Fail(id.error())};
  FlatBufferBuilder builder(32);
  const uint64_t change = cluster_.jobs().Find(*id)->change;
  return {Finished(builder, wire::CreateRegisterJobReply(builder, ToWire(*id), change)),
          [this, id = *id](const Status& why) {
            cluster_.FinishJob(id);
            return NotDurable(GcsMethod::RegisterJob, why);
          }};
}

Result<wire::Bytes> GcsService::NodeLeaves(const wire::Bytes& payload) {
  const auto* request = wire::VerifiedRoot<wire::NodeLeavesRequest>(payload);
  if (request == nullptr) return BadRequest();
  cluster_.EndNode(FromWireOrNil(request->node_id()), flatbuffers::GetString(request->reason()));
  return EmptyReply();
}

Result<wire::Bytes> GcsService::FinishJob(const wire::Bytes& payload) {
  const auto* request = wire::VerifiedRoot<wire::FinishJobRequest>(payload);
  if (request == nullptr) return BadRequest();
  cluster_.FinishJob(FromWireOrNil(request->job_id()));
  return EmptyReply();
}

Result<wire::Bytes> GcsService::ReportWorkerDeath(const wire::Bytes& payload) {
  const auto* request = wire::VerifiedRoot<wire::ReportWorkerDeathRequest>(payload);
  if (request == nullptr || FromWireOrNil(request->worker()).is_nil()) return BadRequest();
  cluster_.WorkerDied(FromWire(*request->worker()), flatbuffers::GetString(request->reason()),
                      request->intended());
  return EmptyReply();
}

}  // namespace cyray::gcs
