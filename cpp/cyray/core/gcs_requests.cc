#include "cyray/core/gcs_requests.h"

#include "cyray/common/bundle_names.h"
#include "cyray/core/gcs_call.h"

namespace cyray::core {
namespace {

using flatbuffers::FlatBufferBuilder;
using wire::GcsMethod;

std::string Bytes(const flatbuffers::Vector<uint8_t>* bytes) {
  return bytes != nullptr ? std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size())
                          : "";
}

auto CreateBytes(FlatBufferBuilder& b, std::string_view bytes) {
  return b.CreateVector(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

template <class Amounts>
std::map<std::string, int64_t> ToMap(const Amounts* amounts) {
  return WithoutBundles(wire::FromWire(amounts)).amounts();
}

}  // namespace

Status GetFunction(Control& control, const JobId& job, const FunctionId& id, uint32_t wait_ms,
                   std::string* pickled) {
  FlatBufferBuilder b;
  b.Finish(wire::CreateGetFunctionRequest(b, wire::ToWire(job), wire::ToWire(id), wait_ms));
  return CallGcs<wire::GetFunctionReply>(control, GcsMethod::GetFunction, b,
                                         [&](const auto& reply) {
                                           if (reply.found()) *pickled = Bytes(reply.pickled());
                                         });
}

Status PutFunction(Control& control, const JobId& job, const FunctionId& id,
                   std::string_view pickled) {
  CYRAY_RETURN_IF_ERROR(FitsGcs(GcsMethod::PutFunction, {pickled}));
  FlatBufferBuilder b;
  auto bytes = CreateBytes(b, pickled);
  b.Finish(wire::CreatePutFunctionRequest(b, wire::ToWire(job), wire::ToWire(id), bytes));
  control.Tell(GcsMethod::PutFunction, b);
  return Status::Ok();
}

Status KvPut(Control& control, std::string_view space, std::string_view key, std::string_view value,
             bool overwrite, bool* added) {
  CYRAY_RETURN_IF_ERROR(FitsGcs(GcsMethod::KvPut, {space, key, value}));
  FlatBufferBuilder b;
  auto s = b.CreateString(space);
  auto k = b.CreateString(key);
  auto v = CreateBytes(b, value);
  b.Finish(wire::CreateKvPutRequest(b, s, k, v, overwrite));
  return CallGcs<wire::KvPutReply>(control, GcsMethod::KvPut, b,
                                   [&](const auto& reply) { *added = reply.added(); });
}

Status KvGet(Control& control, std::string_view space, std::string_view key, bool* found,
             std::string* value) {
  CYRAY_RETURN_IF_ERROR(FitsGcs(GcsMethod::KvGet, {space, key}));
  FlatBufferBuilder b;
  auto s = b.CreateString(space);
  auto k = b.CreateString(key);
  b.Finish(wire::CreateKvGetRequest(b, s, k));
  return CallGcs<wire::KvGetReply>(control, GcsMethod::KvGet, b, [&](const auto& reply) {
    *found = reply.found();
    *value = Bytes(reply.value());
  });
}

Status KvDelete(Control& control, std::string_view space, std::string_view key, bool prefix,
                uint32_t* deleted) {
  CYRAY_RETURN_IF_ERROR(FitsGcs(GcsMethod::KvDelete, {space, key}));
  FlatBufferBuilder b;
  auto s = b.CreateString(space);
  auto k = b.CreateString(key);
  b.Finish(wire::CreateKvDeleteRequest(b, s, k, prefix));
  return CallGcs<wire::KvDeleteReply>(control, GcsMethod::KvDelete, b,
                                      [&](const auto& reply) { *deleted = reply.deleted(); });
}

Status KvKeys(Control& control, std::string_view space, std::string_view prefix,
              std::vector<std::string>* keys) {
  CYRAY_RETURN_IF_ERROR(FitsGcs(GcsMethod::KvKeys, {space, prefix}));
  FlatBufferBuilder b;
  auto s = b.CreateString(space);
  auto p = b.CreateString(prefix);
  b.Finish(wire::CreateKvKeysRequest(b, s, p));
  return CallGcs<wire::KvKeysReply>(control, GcsMethod::KvKeys, b, [&](const auto& reply) {
    if (reply.keys() == nullptr) return;
    for (const auto* key : *reply.keys()) keys->push_back(key->str());
  });
}

Status GetActorByName(Control& control, std::string_view name, std::string_view name_space,
                      NamedActor* actor) {
  CYRAY_RETURN_IF_ERROR(FitsGcs(GcsMethod::GetActorByName, {name, name_space}));
  FlatBufferBuilder b;
  auto n = b.CreateString(name);
  auto s = b.CreateString(name_space);
  b.Finish(wire::CreateGetActorByNameRequest(b, n, s));
  return CallGcs<wire::GetActorByNameReply>(control, GcsMethod::GetActorByName, b,
                                            [&](const auto& reply) {
                                              actor->found = reply.found();
                                              actor->id = wire::FromWireOrNil(reply.actor_id());
                                              actor->handle_meta = Bytes(reply.handle_meta());
                                            });
}

Status KillActor(Control& control, const ActorId& id, bool no_restart, std::string_view reason,
                 uint32_t* least_incarnation) {
  CYRAY_RETURN_IF_ERROR(FitsGcs(GcsMethod::KillActor, {reason}));
  FlatBufferBuilder b;
  auto text = b.CreateString(reason);
  b.Finish(wire::CreateKillActorRequest(b, wire::ToWire(id), no_restart, false, text));
  return CallGcs<wire::KillActorReply>(control, GcsMethod::KillActor, b, [&](const auto& reply) {
    *least_incarnation = reply.least_incarnation();
  });
}

Status GetActorSave(Control& control, const ActorId& id, SavedActor* saved) {
  FlatBufferBuilder b;
  b.Finish(wire::CreateGetActorSaveRequest(b, wire::ToWire(id)));
  return CallGcs<wire::GetActorSaveReply>(control, GcsMethod::GetActorSave, b,
                                          [&](const auto& reply) {
                                            saved->found = reply.found();
                                            saved->state = Bytes(reply.state());
                                            saved->calls = Bytes(reply.calls());
                                          });
}

Status ListNodes(Control& control, std::vector<NodeRow>* rows) {
  FlatBufferBuilder b;
  b.Finish(wire::CreateEmpty(b));
  return CallGcs<wire::ListNodesReply>(control, GcsMethod::ListNodes, b, [&](const auto& reply) {
    if (reply.nodes() == nullptr) return;
    for (const auto* node : *reply.nodes()) {
      NodeRow row;
      row.node_id = wire::FromWireOrNil(node->node_id()).Hex();
      row.ip = flatbuffers::GetString(node->ip());
      row.hostname = flatbuffers::GetString(node->hostname());
      row.raylet_socket = flatbuffers::GetString(node->raylet_socket());
      row.death_reason = flatbuffers::GetString(node->death_reason());
      row.labels = wire::FromWire(node->labels());
      row.alive = node->alive();
      row.is_head = node->is_head();
      row.port = node->port();
      row.metrics_port = node->metrics_port();
      row.total = OutsideBundles(wire::FromWire(node->total())).amounts();
      row.available = OutsideBundles(wire::FromWire(node->available())).amounts();
      rows->push_back(std::move(row));
    }
  });
}

Status PendingDemands(Control& control, std::vector<DemandRow>* rows) {
  FlatBufferBuilder b;
  b.Finish(wire::CreateEmpty(b));
  return CallGcs<wire::ListNodesReply>(control, GcsMethod::ListNodes, b, [&](const auto& reply) {
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

Status ListActors(Control& control, std::vector<ActorRow>* rows) {
  FlatBufferBuilder b;
  b.Finish(wire::CreateEmpty(b));
  return CallGcs<wire::ListActorsReply>(control, GcsMethod::ListActors, b, [&](const auto& reply) {
    if (reply.actors() == nullptr) return;
    for (const auto* actor : *reply.actors()) {
      ActorRow row;
      row.name = flatbuffers::GetString(actor->name());
      row.name_space = flatbuffers::GetString(actor->namespace_());
      row.job_id = wire::FromWireOrNil(actor->job_id()).Hex();
      row.detached = actor->detached();
      row.restarts = actor->restarts();
      row.saved_ms = actor->saved_ms();
      row.saved_bytes = actor->saved_bytes();
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

Status ListJobs(Control& control, std::vector<JobRow>* rows) {
  FlatBufferBuilder b;
  b.Finish(wire::CreateEmpty(b));
  return CallGcs<wire::ListJobsReply>(control, GcsMethod::ListJobs, b, [&](const auto& reply) {
    if (reply.jobs() == nullptr) return;
    for (const auto* job : *reply.jobs()) {
      rows->push_back({wire::FromWireOrNil(job->job_id()).Hex(),
                       flatbuffers::GetString(job->namespace_()),
                       flatbuffers::GetString(job->entrypoint()), job->driver_pid(), job->running(),
                       job->start_ms(), job->end_ms()});
    }
  });
}

}  // namespace cyray::core
