#include "cyray/core/control.h"

#include <variant>

#include "cyray/util/clock.h"
#include "local_generated.h"

namespace cyray::core {

using flatbuffers::FlatBufferBuilder;
using wire::FrameType;

Result<std::string> Control::Ask(wire::GcsMethod method, const FlatBufferBuilder& payload) {
  ThisProcess::Lock lock(process_.mutex());
  Waits::Scope scope(process_.waits(), "the GCS's answer to ", wire::EnumNameGcsMethod(method));
  return requests_.AskGcs(lock, method, {payload.GetBufferPointer(), payload.GetSize()});
}

void Control::Tell(wire::GcsMethod method, const FlatBufferBuilder& payload) {
  std::lock_guard lock(process_.mutex());
  if (process_.leaving()) return;
  facts_.Tell(method, wire::FinishedBytes(payload));
  process_.raylet().Flush();
}

Status Control::NodeDump(std::string* json, bool everywhere) {
  constexpr int64_t kPatienceNs = 2'000'000'000;
  ThisProcess::Lock lock(process_.mutex());
  auto dump = requests_.Ask<std::string>(
      lock,
      {.type = FrameType::kNodeInfo,
       .build = [everywhere](FlatBufferBuilder& b,
                             uint64_t id) { b.Finish(wire::CreateNodeInfo(b, id, everywhere)); },
       .read = [](wire::Frame& frame) -> Result<std::string> {
         return flatbuffers::GetString(frame.As<wire::NodeInfoReply>()->json());
       },
       .deadline_ns = MonotonicNs() + kPatienceNs});
  if (!dump) return dump.error();
  *json = std::move(*dump);
  return Status::Ok();
}

Status Control::SetResource(const std::string& name, int64_t amount) {
  ThisProcess::Lock lock(process_.mutex());
  const auto set = requests_.Ask<std::monostate>(
      lock, {.type = FrameType::kSetResource,
             .build =
                 [&](FlatBufferBuilder& b, uint64_t id) {
                   const auto text = b.CreateString(name);
                   b.Finish(wire::CreateSetResource(b, id, text, amount));
                 },
             .read = [](wire::Frame& frame) -> Result<std::monostate> {
               const auto* reply = frame.As<wire::SetResourceReply>();
               if (reply->ok()) return std::monostate{};
               return Fail(StatusCode::kInvalidArgument, flatbuffers::GetString(reply->error()));
             }});
  return set ? Status::Ok() : set.error();
}

Status Control::FlushOutput() {
  constexpr int64_t kPatienceNs = 200'000'000;
  ThisProcess::Lock lock(process_.mutex());
  const auto done = requests_.Ask<std::monostate>(
      lock,
      {.type = FrameType::kFlushOutput,
       .build = [](FlatBufferBuilder& b, uint64_t id) { b.Finish(wire::CreateFlushOutput(b, id)); },
       .read = [](wire::Frame&) -> Result<std::monostate> { return {}; },
       .deadline_ns = MonotonicNs() + kPatienceNs});
  return done ? Status::Ok() : done.error();
}

}  // namespace cyray::core
