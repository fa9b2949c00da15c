// The requests that the GCS's tests and fuzz targets send. Threading: pure functions.

#pragma once

#include <string>
#include <vector>

#include "cyray/gcs/codec.h"
#include "cyray/wire/bytes.h"
#include "cyray/wire/convert.h"

namespace cyray::gcs {

inline ResourceSet Cpus(int64_t count) {
  ResourceSet set;
  set.Set("CPU", count * kResourceUnit);
  return set;
}

// A new actor id of job 1.
inline ActorId NewActorId(uint32_t job = 1) {
  ActorId id = ActorId::Random();
  std::memcpy(id.bytes.data() + ActorId::kSize - sizeof job, &job, sizeof job);
  return id;
}

inline wire::Bytes KvPutPayload(const std::string& key, const std::string& value,
                                bool overwrite = true) {
  flatbuffers::FlatBufferBuilder builder;
  auto space = builder.CreateString("s");
  auto k = builder.CreateString(key);
  auto v = builder.CreateVector(reinterpret_cast<const uint8_t*>(value.data()), value.size());
  builder.Finish(wire::CreateKvPutRequest(builder, space, k, v, overwrite));
  return wire::FinishedBytes(builder);
}

inline wire::Bytes KvGetPayload(const std::string& key) {
  flatbuffers::FlatBufferBuilder builder;
  auto space = builder.CreateString("s");
  auto k = builder.CreateString(key);
  builder.Finish(wire::CreateKvGetRequest(builder, space, k));
  return wire::FinishedBytes(builder);
}

inline wire::Bytes PutFunctionPayload(const JobId& job, const FunctionId& id,
                                      const std::string& code) {
  flatbuffers::FlatBufferBuilder builder;
  auto bytes = builder.CreateVector(reinterpret_cast<const uint8_t*>(code.data()), code.size());
  builder.Finish(
      wire::CreatePutFunctionRequest(builder, wire::ToWire(job), wire::ToWire(id), bytes));
  return wire::FinishedBytes(builder);
}

inline wire::Bytes GetFunctionPayload(const JobId& job, const FunctionId& id, uint32_t wait_ms) {
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(
      wire::CreateGetFunctionRequest(builder, wire::ToWire(job), wire::ToWire(id), wait_ms));
  return wire::FinishedBytes(builder);
}

inline wire::Bytes RegisterJobPayload(const Address& driver) {
  flatbuffers::FlatBufferBuilder builder;
  const uint8_t config[] = {1, 2, 3};
  auto bytes = builder.CreateVector(config, sizeof config);
  builder.Finish(wire::CreateRegisterJobRequest(builder, wire::ToWire(driver), 7, 0, 0, bytes));
  return wire::FinishedBytes(builder);
}

struct ActorOptions {
  std::string name;
  bool detached = false;
  int max_restarts = 0;
  int64_t cpus = 1;
  Address owner = {};
};

inline wire::Bytes RegisterActorPayload(const ActorId& id, const ActorOptions& options) {
  flatbuffers::FlatBufferBuilder builder;
  auto class_name = builder.CreateString("Counter");
  auto name = builder.CreateString(options.name);
  auto placement = wire::ToWire(builder, Cpus(options.cpus));
  const uint8_t spec_bytes[] = {9, 8, 7};
  auto spec = builder.CreateVector(spec_bytes, sizeof spec_bytes);
  wire::RegisterActorRequestBuilder request(builder);
  request.add_actor_id(wire::ToWire(id));
  request.add_owner(wire::ToWire(options.owner));
  request.add_class_name(class_name);
  request.add_name(name);
  request.add_detached(options.detached);
  request.add_max_restarts(options.max_restarts);
  request.add_placement(placement);
  request.add_spec(spec);
  request.add_handle_meta(spec);
  builder.Finish(request.Finish());
  return wire::FinishedBytes(builder);
}

inline wire::Bytes SaveActorPayload(const ActorId& id, uint32_t incarnation, uint64_t number,
                                    const std::string& state) {
  flatbuffers::FlatBufferBuilder builder;
  auto bytes = builder.CreateVector(reinterpret_cast<const uint8_t*>(state.data()), state.size());
  builder.Finish(wire::CreateSaveActorRequest(builder, wire::ToWire(id), incarnation, number,
                                              /*taken_ms=*/1000, bytes));
  return wire::FinishedBytes(builder);
}

inline wire::Bytes KillPayload(const ActorId& id, bool no_restart, bool out_of_scope) {
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(wire::CreateKillActorRequest(builder, wire::ToWire(id), no_restart, out_of_scope));
  return wire::FinishedBytes(builder);
}

inline wire::Bytes ChangeActorsPayload(const std::vector<wire::Bytes>& registrations,
                                       const std::vector<ActorId>& dropped) {
  flatbuffers::FlatBufferBuilder builder;
  std::vector<flatbuffers::Offset<wire::ActorRegistration>> made;
  for (const wire::Bytes& one : registrations) {
    made.push_back(wire::CreateActorRegistration(builder, builder.CreateVector(one)));
  }
  std::vector<wire::WireActorId> ids;
  for (const ActorId& id : dropped) ids.push_back(*wire::ToWire(id));
  const auto list = builder.CreateVector(made);
  const auto drops = builder.CreateVectorOfStructs(ids);
  builder.Finish(wire::CreateChangeActorsRequest(builder, list, drops));
  return wire::FinishedBytes(builder);
}

inline wire::Bytes DropPayload(const std::vector<ActorId>& actors) {
  return ChangeActorsPayload({}, actors);
}

inline wire::Bytes KvDeletePayload(const std::string& key, bool prefix = false) {
  flatbuffers::FlatBufferBuilder builder;
  auto space = builder.CreateString("s");
  auto k = builder.CreateString(key);
  builder.Finish(wire::CreateKvDeleteRequest(builder, space, k, prefix));
  return wire::FinishedBytes(builder);
}

inline wire::Bytes FinishJobPayload(const JobId& job) {
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(wire::CreateFinishJobRequest(builder, wire::ToWire(job)));
  return wire::FinishedBytes(builder);
}

inline wire::Bytes WorkerDeathPayload(const Address& worker) {
  flatbuffers::FlatBufferBuilder builder;
  auto reason = builder.CreateString("killed by signal 9");
  builder.Finish(wire::CreateReportWorkerDeathRequest(builder, wire::ToWire(worker), reason));
  return wire::FinishedBytes(builder);
}

inline wire::Bytes RegisterNodePayload(const NodeId& id, const ResourceSet& total) {
  NodeEntry node;
  node.id = id;
  node.ip = "127.0.0.1";
  node.total = total;
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(wire::CreateRegisterNodeRequest(builder, WriteNode(builder, node)));
  return wire::FinishedBytes(builder);
}

inline wire::Bytes NodeLeavesPayload(const NodeId& id) {
  flatbuffers::FlatBufferBuilder builder;
  auto reason = builder.CreateString("it was told to end");
  builder.Finish(wire::CreateNodeLeavesRequest(builder, wire::ToWire(id), reason));
  return wire::FinishedBytes(builder);
}

}  // namespace cyray::gcs
