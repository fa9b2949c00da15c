#include "cyray/core/requests.h"

#include "cyray/util/clock.h"

namespace cyray::core {
namespace {

using wire::Frame;
using wire::FrameType;
using wire::GcsMethod;

// Builds the frame; called before the payload goes.
auto GcsCall(GcsMethod method, Requests::Bytes payload) {
  return [method, payload](flatbuffers::FlatBufferBuilder& b, uint64_t id) {
    b.ForceVectorAlignment(payload.size(), 1, 8);
    const auto bytes = b.CreateVector(payload.data(), payload.size());
    b.Finish(wire::CreateGcsCall(b, id, static_cast<uint16_t>(method), bytes));
  };
}

Result<std::string> ReadGcsReply(Frame& frame) {
  const auto* reply = frame.As<wire::GcsReply>();
  if (!reply->ok()) {
    return Fail(static_cast<StatusCode>(reply->code()), flatbuffers::GetString(reply->error()));
  }
  if (reply->payload() == nullptr) return std::string();
  return std::string(reinterpret_cast<const char*>(reply->payload()->data()),
                     reply->payload()->size());
}

}  // namespace

Status CheckGcsRequestSize(std::string_view request, size_t bytes) {
  if (bytes <= kMaxGcsRequestBytes) return Status::Ok();
  return Status(StatusCode::kInvalidArgument, std::string(request) + " carries " +
                                                  std::to_string(bytes) +
                                                  " bytes, and a request to the GCS may carry " +
                                                  std::to_string(kMaxGcsRequestBytes));
}

uint64_t Requests::Send(FrameType type,
                        const std::function<void(flatbuffers::FlatBufferBuilder&, uint64_t)>& build,
                        RayletOutbox::ReplyHandler on_reply) {
  RayletClient& raylet = process_.raylet();
  const uint64_t id = raylet.NextRequestId();
  flatbuffers::FlatBufferBuilder b;
  build(b, id);
  raylet.Request(id, type, b, std::move(on_reply));
  return id;
}

Result<std::string> Requests::AskGcs(Lock& lock, GcsMethod method, Bytes payload) {
  if (Status fits = CheckGcsRequestSize(wire::EnumNameGcsMethod(method), payload.size());
      !fits.ok()) {
    return Fail(std::move(fits));
  }
  return Ask<std::string>(lock, {.type = FrameType::kGcsCall,
                                 .build = GcsCall(method, payload),
                                 .read = ReadGcsReply,
                                 .tell_of = wire::EnumNameGcsMethod(method)});
}

Status Requests::Await(Lock& lock, int64_t deadline_ns, const char* tell_of,
                       const std::function<bool()>& done) {
  if (tell_of == nullptr || !process_.is_driver()) return process_.Await(lock, deadline_ns, done);
  Status status = process_.Await(lock, MonotonicNs() + kSilenceMs * 1'000'000, done);
  if (status.code() != StatusCode::kTimedOut) return status;
  if (const int64_t now = MonotonicMs(); now - told_ms_ >= kTellAgainMs) {
    told_ms_ = now;
    on_silence_(tell_of);
  }
  return process_.Await(lock, deadline_ns, done);
}

void Requests::TellGcs(GcsMethod method, Bytes payload, Answer on_answer) {
  const auto answer = [on_answer = std::move(on_answer)](Result<std::string> result) {
    if (on_answer) on_answer(std::move(result));
  };
  Status fits = CheckGcsRequestSize(wire::EnumNameGcsMethod(method), payload.size());
  if (!fits.ok()) return answer(Fail(std::move(fits)));
  Send(FrameType::kGcsCall, GcsCall(method, payload), [this, answer](Frame* frame) {
    answer(frame != nullptr ? ReadGcsReply(*frame) : Fail(process_.RayletIsGone()));
  });
}

}  // namespace cyray::core
