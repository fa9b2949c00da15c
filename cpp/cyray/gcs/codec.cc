#include "cyray/gcs/codec.h"

#include <algorithm>

#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace cyray::gcs {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;
using wire::FromWire;
using wire::FromWireOrNil;
using wire::ToWire;

Offset<flatbuffers::String> Text(FlatBufferBuilder& builder, const std::string& text) {
  return text.empty() ? Offset<flatbuffers::String>() : builder.CreateString(text);
}
Offset<flatbuffers::Vector<uint8_t>> Blob(FlatBufferBuilder& builder, const wire::Bytes& bytes) {
  return bytes.empty() ? Offset<flatbuffers::Vector<uint8_t>>() : builder.CreateVector(bytes);
}

}  // namespace

StatusCode CodeFromWire(uint8_t code) {
  return code <= static_cast<uint8_t>(StatusCode::kInternal) ? static_cast<StatusCode>(code)
                                                             : StatusCode::kInternal;
}

Result<ActorSpec> ReadActorSpec(const wire::RegisterActorRequest& request) {
  ActorSpec spec;
  spec.id = FromWireOrNil(request.actor_id());
  spec.owner = FromWireOrNil(request.owner());
  if (spec.id.is_nil() || spec.owner.is_nil()) {
    return Fail(StatusCode::kInvalidArgument, "RegisterActor without actor id or owner");
  }
  spec.class_name = flatbuffers::GetString(request.class_name());
  spec.name = flatbuffers::GetString(request.name());
  spec.ns = flatbuffers::GetString(request.namespace_());
  spec.detached = request.detached();
  spec.max_restarts = std::max(request.max_restarts(), -1);
  spec.placement = FromWire(request.placement());
  spec.held = FromWire(request.held());
  spec.strategy = request.strategy();
  spec.affinity_node = FromWireOrNil(request.affinity_node());
  spec.affinity_soft = request.affinity_soft();
  spec.arguments_pending = request.arguments_pending();
  spec.labels = FromWire(request.labels());
  spec.spec = wire::BytesOrEmpty(request.spec());
  spec.handle_meta = wire::BytesOrEmpty(request.handle_meta());
  return spec;
}

Offset<wire::ActorUpdate> WriteUpdate(FlatBufferBuilder& builder, const ActorRecord& record,
                                      const std::string& waits) {
  auto cause = Text(builder, record.death_cause);
  auto init_error = Blob(builder, record.init_error);
  auto class_name = Text(builder, record.spec.class_name);
  auto node_ip = Text(builder, record.node_ip);
  auto waits_text = Text(builder, waits);
  auto name = Text(builder, record.spec.name);
  wire::ActorUpdateBuilder update(builder);
  update.add_actor_id(ToWire(record.spec.id));
  update.add_state(record.state);
  update.add_address(ToWire(record.address));
  update.add_incarnation(record.incarnation);
  update.add_restarts_left(record.restarts_left());
  update.add_death_cause(cause);
  update.add_init_error(init_error);
  update.add_class_name(class_name);
  update.add_name(name);
  update.add_pid(record.pid);
  update.add_node_ip(node_ip);
  update.add_node_id(ToWire(record.node));
  update.add_waits(waits_text);
  update.add_group_removed(record.group_removed);
  return update.Finish();
}

Offset<wire::ActorInfo> WriteInfo(FlatBufferBuilder& builder, const ActorRecord& record,
                                  const SaveTable::Save* save) {
  auto update = WriteUpdate(builder, record);
  auto name = Text(builder, record.spec.name);
  auto ns = Text(builder, record.spec.ns);
  const JobId job = JobOf(record.spec.id);
  wire::ActorInfoBuilder info(builder);
  info.add_update(update);
  info.add_job_id(ToWire(job));
  info.add_name(name);
  info.add_namespace_(ns);
  info.add_owner(ToWire(record.spec.owner));
  info.add_detached(record.spec.detached);
  info.add_restarts(record.restarts);
  if (save != nullptr) {
    info.add_saved_ms(save->taken_ms);
    info.add_saved_bytes(save->state_bytes);
  }
  return info.Finish();
}

void LogUnreadable(const char* what, std::string_view key) {
  CYRAY_LOG(kError) << "a stored " << what
                    << " is unreadable and left out: " << BytesToHex(key.data(), key.size());
}

wire::Bytes StoredState(const ActorRecord& record) {
  FlatBufferBuilder builder(512);
  auto info = WriteInfo(builder, record);
  wire::StoredActorStateBuilder state(builder);
  state.add_info(info);
  state.add_node(ToWire(record.node));
  state.add_ending(record.ending);
  state.add_stopping(record.stopping);
  builder.Finish(state.Finish());
  return wire::FinishedBytes(builder);
}

bool ReadStoredState(const wire::Bytes& bytes, ActorRecord& record) {
  const auto* state = wire::VerifiedRoot<wire::StoredActorState>(bytes);
  if (state == nullptr || state->info() == nullptr || state->info()->update() == nullptr)
    return false;
  const wire::ActorInfo& info = *state->info();
  const wire::ActorUpdate& update = *info.update();
  record.spec.id = FromWireOrNil(update.actor_id());
  record.spec.owner = FromWireOrNil(info.owner());
  record.spec.class_name = flatbuffers::GetString(update.class_name());
  record.spec.name = flatbuffers::GetString(info.name());
  record.spec.ns = flatbuffers::GetString(info.namespace_());
  record.spec.detached = info.detached();
  record.restarts = info.restarts();
  record.spec.max_restarts =
      update.restarts_left() < 0 ? -1 : update.restarts_left() + static_cast<int>(info.restarts());
  record.state = update.state();
  record.node = FromWireOrNil(state->node());
  record.address = FromWireOrNil(update.address());
  record.incarnation = update.incarnation();
  record.ending = state->ending();
  record.stopping = state->stopping();
  record.pid = update.pid();
  record.node_ip = flatbuffers::GetString(update.node_ip());
  record.death_cause = flatbuffers::GetString(update.death_cause());
  record.init_error = wire::BytesOrEmpty(update.init_error());
  record.group_removed = update.group_removed();
  return true;
}

std::map<ResourceSet, uint32_t> ReadPending(const WirePending* pending) {
  std::map<ResourceSet, uint32_t> read;
  if (pending == nullptr) return read;
  for (const wire::PendingDemand* one : *pending) read[FromWire(one->demand())] += one->count();
  return read;
}

Offset<WirePending> WritePending(FlatBufferBuilder& builder,
                                 const std::map<ResourceSet, uint32_t>& pending) {
  if (pending.empty()) return {};
  std::vector<Offset<wire::PendingDemand>> written;
  for (const auto& [demand, count] : pending) {
    written.push_back(wire::CreatePendingDemand(builder, ToWire(builder, demand), count));
  }
  return builder.CreateVector(written);
}

NodeEntry ReadNode(const wire::NodeRecord& record) {
  NodeEntry node;
  node.id = FromWireOrNil(record.node_id());
  node.alive = record.alive();
  node.ip = flatbuffers::GetString(record.ip());
  node.hostname = flatbuffers::GetString(record.hostname());
  node.port = record.port();
  node.metrics_port = record.metrics_port();
  node.raylet_socket = flatbuffers::GetString(record.raylet_socket());
  node.is_head = record.is_head();
  node.labels = FromWire(record.labels());
  node.total = FromWire(record.total());
  node.available = FromWire(record.available());
  node.death_reason = flatbuffers::GetString(record.death_reason());
  node.change = record.change();
  return node;
}

Offset<wire::NodeRecord> WriteNode(FlatBufferBuilder& builder, const NodeEntry& node) {
  auto ip = Text(builder, node.ip);
  auto hostname = Text(builder, node.hostname);
  auto socket = Text(builder, node.raylet_socket);
  auto total = ToWire(builder, node.total);
  auto available = ToWire(builder, node.available);
  auto reason = Text(builder, node.death_reason);
  auto pending = WritePending(builder, node.pending);
  auto labels = ToWire(builder, node.labels);
  wire::NodeRecordBuilder record(builder);
  record.add_node_id(ToWire(node.id));
  record.add_alive(node.alive);
  record.add_ip(ip);
  record.add_hostname(hostname);
  record.add_port(node.port);
  record.add_metrics_port(node.metrics_port);
  record.add_raylet_socket(socket);
  record.add_is_head(node.is_head);
  record.add_total(total);
  record.add_available(available);
  record.add_death_reason(reason);
  record.add_pending(pending);
  record.add_labels(labels);
  record.add_change(node.change);
  return record.Finish();
}

JobEntry ReadJob(const wire::JobRecord& record) {
  JobEntry job;
  job.id = FromWireOrNil(record.job_id());
  job.driver = FromWireOrNil(record.driver());
  job.driver_pid = record.driver_pid();
  job.ns = flatbuffers::GetString(record.namespace_());
  job.entrypoint = flatbuffers::GetString(record.entrypoint());
  job.running = record.running();
  job.start_ms = record.start_ms();
  job.end_ms = record.end_ms();
  job.change = record.change();
  return job;
}

Offset<wire::JobRecord> WriteJob(FlatBufferBuilder& builder, const JobEntry& job) {
  auto ns = Text(builder, job.ns);
  auto entrypoint = Text(builder, job.entrypoint);
  return wire::CreateJobRecord(builder, ToWire(job.id), ToWire(job.driver), job.driver_pid, ns,
                               entrypoint, job.running, job.start_ms, job.end_ms, job.change);
}

Offset<wire::JobChanged> WriteJobChanged(FlatBufferBuilder& builder, const JobEntry& job) {
  auto record = WriteJob(builder, job);
  auto config = Blob(builder, job.config);
  return wire::CreateJobChanged(builder, record, config);
}

}  // namespace cyray::gcs
