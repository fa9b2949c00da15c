#include "cyray/core/actor_creation.h"

#include "core_generated.h"
#include "cyray/wire/convert.h"
#include "gcs_generated.h"

namespace cyray::core {
namespace {

using flatbuffers::FlatBufferBuilder;

auto CreateBytes(FlatBufferBuilder& b, const std::string& bytes) {
  return b.CreateVector(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

FlatBufferBuilder SpecOf(const ActorCreation& c, const JobId& job, ObjectDirectory& directory) {
  FlatBufferBuilder b;
  std::vector<flatbuffers::Offset<wire::TaskArg>> args;
  for (ObjectEntry* entry : c.refs) {
    directory.Index(entry);
    const Address owner = directory.OwnerOf(entry);
    args.push_back(wire::CreateTaskArg(b, 0, wire::ToWire(entry->id), wire::ToWire(owner)));
  }
  const auto refs = b.CreateVector(args);
  const auto blob = b.CreateVector(c.args ? c.args->data() : nullptr, c.args ? c.args->size() : 0);
  const auto class_name = b.CreateString(c.class_name);
  const auto extra = CreateBytes(b, c.extra);
  b.Finish(wire::CreateActorSpec(b, wire::ToWire(c.actor_id), wire::ToWire(job),
                                 wire::ToWire(c.class_id), class_name, blob, refs,
                                 c.max_concurrency, extra));
  return b;
}

}  // namespace

size_t RegistrationBytes(const ActorCreation& c) {
  constexpr size_t kRefBytes = 128;
  size_t bytes = c.args ? c.args->size() : 0;
  for (const std::string* part :
       {&c.class_name, &c.name, &c.name_space, &c.extra, &c.handle_meta}) {
    bytes += part->size();
  }
  return bytes + c.refs.size() * kRefBytes;
}

FlatBufferBuilder RegistrationOf(const ActorCreation& c, const Address& owner, const JobId& job,
                                 ObjectDirectory& directory, bool arguments_pending) {
  const FlatBufferBuilder spec = SpecOf(c, job, directory);
  FlatBufferBuilder b;
  b.ForceVectorAlignment(spec.GetSize(), 1, 8);
  const auto spec_bytes = b.CreateVector(spec.GetBufferPointer(), spec.GetSize());
  const auto name = b.CreateString(c.class_name);
  const auto actor_name = b.CreateString(c.name);
  const auto name_space = b.CreateString(c.name_space);
  const auto placement = wire::ToWire(b, c.placement);
  const auto held = wire::ToWire(b, c.held);
  const auto meta = CreateBytes(b, c.handle_meta);
  const auto labels = wire::ToWire(b, c.labels);
  b.Finish(wire::CreateRegisterActorRequest(
      b, wire::ToWire(c.actor_id), wire::ToWire(owner), name, actor_name, name_space, c.detached,
      c.max_restarts, placement, held, static_cast<wire::SchedulingStrategy>(c.strategy),
      wire::ToWire(c.affinity_node), c.affinity_soft, spec_bytes, meta, arguments_pending, labels));
  return b;
}

}  // namespace cyray::core
