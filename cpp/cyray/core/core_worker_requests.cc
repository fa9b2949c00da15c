// The asking half of CoreWorker: requests to the GCS that a thread of Python's waits for, and how
// such a wait ends early. Threading: as core_worker.h.

#include <algorithm>

#include "cyray/core/core_worker.h"
#include "gcs_generated.h"

namespace cyray::core {

using wire::FrameType;

bool CoreWorker::WaitAttentively(std::unique_lock<std::mutex>& lock, int64_t deadline_ns,
                                 const std::function<bool()>& over) {
  constexpr int64_t kSliceNs = 100'000'000;
  if (interrupted_ == nullptr) return poller_.WaitUntil(lock, deadline_ns, over);
  while (true) {
    const int64_t slice = MonotonicNs() + kSliceNs;
    if (poller_.WaitUntil(lock, std::min(slice, deadline_ns), over)) return true;
    if (deadline_ns <= slice) return false;
    lock.unlock();
    const bool interrupted = interrupted_();
    lock.lock();
    if (interrupted) return false;
  }
}

Status CoreWorker::Await(std::unique_lock<std::mutex>& lock, const std::function<bool()>& done) {
  bool ready = false;
  if (!WaitAttentively(lock, kForever, [&] { return (ready = done()) || disconnecting_; })) {
    return Status(StatusCode::kCancelled, "interrupted");
  }
  if (ready) return Status::Ok();
  return ShutDown();
}

flatbuffers::FlatBufferBuilder CoreWorker::RegistrationOf(const ActorCreation& c) {
  flatbuffers::FlatBufferBuilder spec;
  std::vector<flatbuffers::Offset<wire::TaskArg>> args;
  for (ObjectEntry* entry : c.refs) {
    objects_.Index(entry);
    const Address owner = objects_.OwnerOf(entry);
    args.push_back(wire::CreateTaskArg(spec, 0, wire::ToWire(entry->id), wire::ToWire(owner)));
  }
  auto refs = spec.CreateVector(args);
  auto blob = spec.CreateVector(c.args ? c.args->data() : nullptr, c.args ? c.args->size() : 0);
  auto class_name = spec.CreateString(c.class_name);
  auto extra = spec.CreateVector(reinterpret_cast<const uint8_t*>(c.extra.data()), c.extra.size());
  spec.Finish(wire::CreateActorSpec(spec, wire::ToWire(c.actor_id), wire::ToWire(job_id_),
                                    wire::ToWire(c.class_id), class_name, blob, refs,
                                    c.max_concurrency, extra));
  flatbuffers::FlatBufferBuilder b;
  b.ForceVectorAlignment(spec.GetSize(), 1, 8);
  auto spec_bytes = b.CreateVector(spec.GetBufferPointer(), spec.GetSize());
  auto name = b.CreateString(c.class_name);
  auto actor_name = b.CreateString(c.name);
  auto name_space = b.CreateString(c.name_space);
  auto placement = wire::ToWire(b, c.placement);
  auto held = wire::ToWire(b, c.held);
  auto meta =
      b.CreateVector(reinterpret_cast<const uint8_t*>(c.handle_meta.data()), c.handle_meta.size());
  b.Finish(wire::CreateRegisterActorRequest(
      b, wire::ToWire(c.actor_id), wire::ToWire(address_), name, actor_name, name_space, c.detached,
      c.max_restarts, placement, held, static_cast<wire::SchedulingStrategy>(c.strategy),
      wire::ToWire(c.affinity_node), c.affinity_soft, spec_bytes, meta));
  return b;
}

Status CoreWorker::CreateActor(const ActorCreation& creation, bool wait) {
  std::unique_lock lock(mutex_);
  if (disconnecting_) return ShutDown();
  const auto request = RegistrationOf(creation);
  if (wait) {
    Waits::Scope scope(waits_, "the registration of the actor ", creation.class_name);
    auto answer = AskGcs(lock, static_cast<uint16_t>(wire::GcsMethod::RegisterActor),
                         request.GetBufferPointer(), request.GetSize());
    return answer ? Status::Ok() : answer.error();
  }
  raylet_.CallGcs(static_cast<uint16_t>(wire::GcsMethod::RegisterActor), request.GetBufferPointer(),
                  request.GetSize(), [this, id = creation.actor_id](wire::Frame* frame) {
                    const auto answer = ReadGcsReply(frame);
                    if (!answer) actors_.OnRegistrationFailed(id, answer.error().message());
                  });
  raylet_.Flush();
  return Status::Ok();
}

Result<std::string> CoreWorker::ReadGcsReply(wire::Frame* frame) {
  if (frame == nullptr) {
    return Fail(StatusCode::kDisconnected, "the raylet of this node is gone");
  }
  const auto* reply = frame->As<wire::GcsReply>();
  if (!reply->ok()) {
    return Fail(static_cast<StatusCode>(reply->code()),
                reply->error() != nullptr ? reply->error()->str() : "");
  }
  if (reply->payload() == nullptr) return std::string();
  return std::string(reinterpret_cast<const char*>(reply->payload()->data()),
                     reply->payload()->size());
}

Result<std::string> CoreWorker::AskGcs(std::unique_lock<std::mutex>& lock, uint16_t method,
                                       const uint8_t* payload, size_t size) {
  if (disconnecting_) return Fail(ShutDown());
  std::optional<Result<std::string>> answer;
  const uint64_t id = raylet_.CallGcs(
      method, payload, size, [&](wire::Frame* frame) { answer.emplace(ReadGcsReply(frame)); });
  if (Status status = Await(lock, [&] { return answer.has_value(); }); !status.ok()) {
    raylet_.Forget(id);
    return Fail(std::move(status));
  }
  return std::move(*answer);
}

Result<std::string> CoreWorker::CallGcs(uint16_t method, const std::string& payload) {
  std::unique_lock lock(mutex_);
  Waits::Scope scope(waits_, "the GCS's answer to ",
                     wire::EnumNameGcsMethod(static_cast<wire::GcsMethod>(method)));
  return AskGcs(lock, method, reinterpret_cast<const uint8_t*>(payload.data()), payload.size());
}

void CoreWorker::CallGcsNoReply(uint16_t method, const std::string& payload) {
  std::lock_guard lock(mutex_);
  if (disconnecting_) return;
  raylet_.CallGcs(method, reinterpret_cast<const uint8_t*>(payload.data()), payload.size(),
                  [](wire::Frame*) {});
  raylet_.Flush();
}

}  // namespace cyray::core
