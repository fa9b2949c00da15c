#include "cyray/core/gcs_requests.h"

#include "gcs_generated.h"

namespace cyray::core {
namespace {

using flatbuffers::FlatBufferBuilder;
using wire::GcsMethod;

std::string Payload(const FlatBufferBuilder& b) {
  return {reinterpret_cast<const char*>(b.GetBufferPointer()), b.GetSize()};
}

std::string Bytes(const flatbuffers::Vector<uint8_t>* bytes) {
  return bytes != nullptr ? std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size())
                          : "";
}

// Calls and hands the verified reply table to `read`.
template <class Reply, class Read>
Status Call(CoreWorker& core, GcsMethod method, const FlatBufferBuilder& request, Read read) {
  auto answer = core.CallGcs(static_cast<uint16_t>(method), Payload(request));
  if (!answer) return answer.error();
  flatbuffers::Verifier verifier(reinterpret_cast<const uint8_t*>(answer->data()), answer->size(),
                                 64, 4'000'000);
  if (!verifier.VerifyBuffer<Reply>(nullptr)) {
    return Status(StatusCode::kProtocolError, "the GCS sent a reply that is not valid");
  }
  read(*flatbuffers::GetRoot<Reply>(answer->data()));
  return Status::Ok();
}

template <class Amounts>
std::map<std::string, int64_t> ToMap(const Amounts* amounts) {
  return wire::FromWire(amounts).amounts();
}

}  // namespace

Status GetFunction(CoreWorker& core, const JobId& job, const FunctionId& id, uint32_t wait_ms,
                   std::string* pickled) {
  FlatBufferBuilder b;
  b.Finish(wire::CreateGetFunctionRequest(b, wire::ToWire(job), wire::ToWire(id), wait_ms));
  return Call<wire::GetFunctionReply>(core, GcsMethod::GetFunction, b, [&](const auto& reply) {
    if (reply.found()) *pickled = Bytes(reply.pickled());
  });
}

void PutFunction(CoreWorker& core, const JobId& job, const FunctionId& id,
                 const std::string& pickled) {
  FlatBufferBuilder b;
  auto bytes = b.CreateVector(reinterpret_cast<const uint8_t*>(pickled.data()), pickled.size());
  b.Finish(wire::CreatePutFunctionRequest(b, wire::ToWire(job), wire::ToWire(id), bytes));
  core.CallGcsNoReply(static_cast<uint16_t>(GcsMethod::PutFunction), Payload(b));
}

Status KvPut(CoreWorker& core, const std::string& space, const std::string& key,
             const std::string& value, bool overwrite, bool* added) {
  FlatBufferBuilder b;
  auto s = b.CreateString(space);
  auto k = b.CreateString(key);
  auto v = b.CreateVector(reinterpret_cast<const uint8_t*>(value.data()), value.size());
  b.Finish(wire::CreateKvPutRequest(b, s, k, v, overwrite));
  return Call<wire::KvPutReply>(core, GcsMethod::KvPut, b,
                                [&](const auto& reply) { *added = reply.added(); });
}

Status KvGet(CoreWorker& core, const std::string& space, const std::string& key, bool* found,
             std::string* value) {
  FlatBufferBuilder b;
  auto s = b.CreateString(space);
  auto k = b.CreateString(key);
  b.Finish(wire::CreateKvGetRequest(b, s, k));
  return Call<wire::KvGetReply>(core, GcsMethod::KvGet, b, [&](const auto& reply) {
    *found = reply.found();
    *value = Bytes(reply.value());
  });
}

Status KvDelete(CoreWorker& core, const std::string& space, const std::string& key, bool prefix,
                uint32_t* deleted) {
  FlatBufferBuilder b;
  auto s = b.CreateString(space);
  auto k = b.CreateString(key);
  b.Finish(wire::CreateKvDeleteRequest(b, s, k, prefix));
  return Call<wire::KvDeleteReply>(core, GcsMethod::KvDelete, b,
                                   [&](const auto& reply) { *deleted = reply.deleted(); });
}

Status KvKeys(CoreWorker& core, const std::string& space, const std::string& prefix,
              std::vector<std::string>* keys) {
  FlatBufferBuilder b;
  auto s = b.CreateString(space);
  auto p = b.CreateString(prefix);
  b.Finish(wire::CreateKvKeysRequest(b, s, p));
  return Call<wire::KvKeysReply>(core, GcsMethod::KvKeys, b, [&](const auto& reply) {
    if (reply.keys() == nullptr) return;
    for (const auto* key : *reply.keys()) keys->push_back(key->str());
  });
}

Status GetActorByName(CoreWorker& core, const std::string& name, const std::string& name_space,
                      NamedActor* actor) {
  FlatBufferBuilder b;
  auto n = b.CreateString(name);
  auto s = b.CreateString(name_space);
  b.Finish(wire::CreateGetActorByNameRequest(b, n, s));
  return Call<wire::GetActorByNameReply>(core, GcsMethod::GetActorByName, b,
                                         [&](const auto& reply) {
                                           actor->found = reply.found();
                                           actor->id = wire::FromWireOrNil(reply.actor_id());
                                           actor->handle_meta = Bytes(reply.handle_meta());
                                         });
}

Status KillActor(CoreWorker& core, const ActorId& id, bool no_restart, const std::string& reason) {
  FlatBufferBuilder b;
  auto text = b.CreateString(reason);
  b.Finish(wire::CreateKillActorRequest(b, wire::ToWire(id), no_restart, false, text));
  auto answer = core.CallGcs(static_cast<uint16_t>(GcsMethod::KillActor), Payload(b));
  return answer ? Status::Ok() : answer.error();
}

Status ListNodes(CoreWorker& core, std::vector<NodeRow>* rows) {
  FlatBufferBuilder b;
  b.Finish(wire::CreateEmpty(b));
  return Call<wire::ListNodesReply>(core, GcsMethod::ListNodes, b, [&](const auto& reply) {
    if (reply.nodes() == nullptr) return;
    for (const auto* node : *reply.nodes()) {
      NodeRow row;
      row.node_id = wire::FromWireOrNil(node->node_id()).Hex();
      row.ip = flatbuffers::GetString(node->ip());
      row.hostname = flatbuffers::GetString(node->hostname());
      row.raylet_socket = flatbuffers::GetString(node->raylet_socket());
      row.death_reason = flatbuffers::GetString(node->death_reason());
      row.alive = node->alive();
      row.is_head = node->is_head();
      row.port = node->port();
      row.total = ToMap(node->total());
      row.available = ToMap(node->available());
      rows->push_back(std::move(row));
    }
  });
}

Status PendingDemands(CoreWorker& core, std::vector<DemandRow>* rows) {
  FlatBufferBuilder b;
  b.Finish(wire::CreateEmpty(b));
  return Call<wire::ListNodesReply>(core, GcsMethod::ListNodes, b, [&](const auto& reply) {
    std::map<std::map<std::string, int64_t>, uint32_t> sums;
    const auto add = [&](const auto* demands) {
      if (demands == nullptr) return;
      for (const auto* pending : *demands) sums[ToMap(pending->demand())] += pending->count();
    };
    add(reply.pending_actors());
    if (reply.nodes() != nullptr) {
      for (const auto* node : *reply.nodes()) {
        if (node->alive()) add(node->pending());
      }
    }
    for (const auto& [demand, count] : sums) rows->push_back({demand, count});
  });
}

Status ListActors(CoreWorker& core, std::vector<ActorRow>* rows) {
  FlatBufferBuilder b;
  b.Finish(wire::CreateEmpty(b));
  return Call<wire::ListActorsReply>(core, GcsMethod::ListActors, b, [&](const auto& reply) {
    if (reply.actors() == nullptr) return;
    for (const auto* actor : *reply.actors()) {
      ActorRow row;
      row.name = flatbuffers::GetString(actor->name());
      row.name_space = flatbuffers::GetString(actor->namespace_());
      row.job_id = wire::FromWireOrNil(actor->job_id()).Hex();
      row.detached = actor->detached();
      row.restarts = actor->restarts();
      if (const auto* update = actor->update(); update != nullptr) {
        row.actor_id = wire::FromWireOrNil(update->actor_id()).Hex();
        row.class_name = flatbuffers::GetString(update->class_name());
        row.state = wire::EnumNameActorState(update->state());
        row.node_id = wire::FromWireOrNil(update->address()).node.Hex();
        row.death_cause = flatbuffers::GetString(update->death_cause());
        row.pid = update->pid();
      }
      rows->push_back(std::move(row));
    }
  });
}

Status ListJobs(CoreWorker& core, std::vector<JobRow>* rows) {
  FlatBufferBuilder b;
  b.Finish(wire::CreateEmpty(b));
  return Call<wire::ListJobsReply>(core, GcsMethod::ListJobs, b, [&](const auto& reply) {
    if (reply.jobs() == nullptr) return;
    for (const auto* job : *reply.jobs()) {
      rows->push_back({wire::FromWireOrNil(job->job_id()).Hex(),
                       flatbuffers::GetString(job->namespace_()),
                       flatbuffers::GetString(job->entrypoint()), job->driver_pid(), job->running(),
                       job->start_ms(), job->end_ms()});
    }
  });
}

Status CreateBlock(CoreWorker& core, const ObjectId& id, const Address& owner, uint64_t bytes,
                   StoreBlock* block) {
  auto created = core.CreateInStore(id, owner, bytes);
  if (!created) return created.error();
  *block = *created;
  return Status::Ok();
}

}  // namespace cyray::core
