#include "cyray/gcs/methods.h"

namespace cyray::gcs {

using flatbuffers::FlatBufferBuilder;
using wire::GcsMethod;

std::unexpected<Status> BadRequest() {
  return Fail(StatusCode::kInvalidArgument, "the request's bytes are not what its method takes");
}

wire::Bytes EmptyReply() {
  FlatBufferBuilder builder(32);
  return Finished(builder, wire::CreateEmpty(builder));
}

std::initializer_list<Storage::Kind> ReadBy(GcsMethod method) {
  using Kind = Storage::Kind;
  static constexpr auto kKeys = {Kind::kKv};
  static constexpr auto kActors = {Kind::kActorSpec, Kind::kActorState};
  static constexpr auto kJobs = {Kind::kJob};
  static constexpr auto kNodes = {Kind::kNode};
  static constexpr auto kGroups = {Kind::kGroup};
  static constexpr auto kSaves = {Kind::kActorSave};
  switch (method) {
    case GcsMethod::KvGet:
    case GcsMethod::KvKeys:
      return kKeys;
    case GcsMethod::GetActorByName:
    case GcsMethod::ListActors:
      return kActors;
    case GcsMethod::ListJobs:
      return kJobs;
    case GcsMethod::ListNodes:
    case GcsMethod::ClusterResources:
      return kNodes;
    case GcsMethod::FindGroup:
    case GcsMethod::ListGroups:
      return kGroups;
    case GcsMethod::GetActorSave:
      return kSaves;
    default:
      return {};
  }
}

bool IsOnce(GcsMethod method, const wire::Bytes& payload) {
  switch (method) {
    case GcsMethod::KvPut:
    case GcsMethod::KvDelete:
    case GcsMethod::RegisterJob:
      return true;
    case GcsMethod::KillActor: {
      // Whoever is to stay dead cannot die twice; a restart can be asked for twice.
      const auto* request = wire::VerifiedRoot<wire::KillActorRequest>(payload);
      return request != nullptr && !request->no_restart() && !request->out_of_scope();
    }
    default:
      return false;
  }
}

bool IsRequest(GcsMethod method) {
  switch (method) {
    case GcsMethod::KvPut:
    case GcsMethod::KvDelete:
    case GcsMethod::RegisterActor:
    case GcsMethod::RegisterJob:
    case GcsMethod::RegisterNode:
      return true;
    default:
      return false;
  }
}

Result<wire::Bytes> NotDurable(GcsMethod method, const Status& why) {
  const char* what = "it was done, but the GCS cannot store that now and will try again: ";
  if (IsRequest(method)) what = "the GCS cannot store the change, so nothing was changed: ";
  return Fail(why.code(), what + why.message());
}

wire::Bytes ChangeActorsReply(const std::vector<Result<ActorId>>& registered,
                              const Status& dropped) {
  FlatBufferBuilder builder;
  const auto refusal = [&builder](size_t index, const Status& why) {
    const auto error = builder.CreateString(why.message());
    return wire::CreateActorRefusal(builder, static_cast<uint32_t>(index),
                                    static_cast<uint8_t>(why.code()), error);
  };
  std::vector<flatbuffers::Offset<wire::ActorRefusal>> refused;
  for (size_t i = 0; i < registered.size(); ++i) {
    if (!registered[i]) refused.push_back(refusal(i, registered[i].error()));
  }
  const auto list = builder.CreateVector(refused);
  const auto not_stored = dropped.ok() ? 0 : refusal(0, dropped);
  builder.Finish(wire::CreateChangeActorsReply(builder, list, not_stored));
  return wire::FinishedBytes(builder);
}

}  // namespace cyray::gcs
