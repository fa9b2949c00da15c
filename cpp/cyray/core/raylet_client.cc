#include "cyray/core/raylet_client.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "cyray/util/clock.h"

namespace cyray::core {
namespace {

using wire::Frame;
using wire::FrameType;

constexpr int64_t kRegisterTimeoutMs = 30'000;
constexpr int64_t kRegisterSliceMs = 100;  // between two looks for signals

Status WaitReadable(int fd, int64_t began_ms, const RegisterOptions& options) {
  bool told = options.silent == nullptr;
  while (true) {
    const int64_t waited = MonotonicMs() - began_ms;
    const int64_t left = kRegisterTimeoutMs - waited;
    if (left <= 0) return Status(StatusCode::kTimedOut, "no answer within 30 s");
    if (!told && waited >= kSilenceMs) {
      told = true;
      options.silent();
    }
    pollfd poll_fd{fd, POLLIN, 0};
    const int ready = ::poll(&poll_fd, 1, static_cast<int>(std::min(left, kRegisterSliceMs)));
    if (ready > 0) return Status::Ok();
    if (ready < 0 && errno != EINTR) return Status::FromErrno("poll");
    if (options.interrupted != nullptr && options.interrupted()) {
      return Status(StatusCode::kCancelled, "interrupted");
    }
  }
}

}  // namespace

Result<Registration> RayletClient::Connect(UniqueFd socket, const RegisterOptions& options) {
  const int flags = ::fcntl(socket.get(), F_GETFL);
  ::fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK);
  ::fcntl(socket.get(), F_SETFD, FD_CLOEXEC);
  auto channel = std::make_unique<wire::Channel>(std::move(socket));
  auto& b = builder_;
  b.Clear();
  auto name_space = b.CreateString(options.name_space);
  auto entrypoint = b.CreateString(options.entrypoint);
  auto config = b.CreateVector(reinterpret_cast<const uint8_t*>(options.job_config.data()),
                               options.job_config.size());
  b.Finish(wire::CreateRegister(
      b, options.is_driver ? wire::ClientKind::Driver : wire::ClientKind::Worker,
      wire::ToWire(options.worker_id), ::getpid(), name_space, entrypoint, config,
      options.log_to_driver));
  channel->Send(FrameType::kRegister, b);
  if (Status s = channel->Flush(); !s.ok()) return Fail(s);

  const int64_t began_ms = MonotonicMs();
  while (true) {
    if (Status s = WaitReadable(channel->fd(), began_ms, options); !s.ok()) return Fail(s);
    auto filled = channel->Fill();
    if (!filled) return Fail(filled.error());
    auto next = channel->Next();
    if (!next) return Fail(next.error());
    if (!next->has_value()) continue;
    Frame& frame = **next;
    const auto* reply = frame.As<wire::RegisterReply>();
    if (frame.type != FrameType::kRegisterReply || reply == nullptr) {
      return Fail(StatusCode::kProtocolError, "the raylet's first frame is no RegisterReply");
    }
    if (!reply->ok()) return Fail(StatusCode::kUnavailable, flatbuffers::GetString(reply->error()));
    if (frame.fds.size() < 2) {
      return Fail(StatusCode::kProtocolError, "RegisterReply came without the arena");
    }
    Registration r{wire::FromWireOrNil(reply->node_id()),
                   wire::FromWireOrNil(reply->job_id()),
                   reply->arena_bytes(),
                   flatbuffers::GetString(reply->session_dir()),
                   flatbuffers::GetString(reply->node_ip()),
                   flatbuffers::GetString(reply->gcs_address()),
                   flatbuffers::GetString(reply->namespace_()),
                   std::move(frame.fds[0]),
                   std::move(frame.fds[1]),
                   frame.fds.size() > 2 ? std::move(frame.fds[2]) : UniqueFd(),
                   reply->metrics_port()};
    channel_ = std::move(channel);
    return r;
  }
}

void RayletClient::SetHandlers(FrameHandler on_frame, std::function<void()> on_lost) {
  on_frame_ = std::move(on_frame);
  on_lost_ = std::move(on_lost);
}

void RayletClient::Send(FrameType type, const flatbuffers::FlatBufferBuilder& builder) {
  if (channel_) channel_->Send(type, builder);
}

void RayletClient::Request(uint64_t request_id, FrameType type,
                           const flatbuffers::FlatBufferBuilder& builder, ReplyHandler on_reply) {
  if (!channel_) {
    on_reply(nullptr);
    return;
  }
  replies_.emplace(request_id, std::move(on_reply));
  channel_->Send(type, builder);
}

void RayletClient::Relay(const Address& from, const Address& to, const uint8_t* frame,
                         size_t size) {
  builder_.Clear();
  // The inner frame is read in place on arrival, so it keeps the alignment of frames.
  builder_.ForceVectorAlignment(size, 1, 8);
  auto bytes = builder_.CreateVector(frame, size);
  builder_.Finish(wire::CreateRelay(builder_, wire::ToWire(from), wire::ToWire(to), bytes));
  Send(FrameType::kRelay, builder_);
}

void RayletClient::Flush() {
  if (!channel_ || !channel_->HasUnsent()) return;
  // A broken socket is readable: OnReady finds the end, after what the raylet still sent. Not here,
  // where a frame of it may be in use up the stack.
  if (!channel_->Flush().ok()) return;
  const bool wants_write = channel_->HasUnsent();
  if (wants_write != wants_write_ && on_wants_write_) {
    wants_write_ = wants_write;
    on_wants_write_(wants_write);
  }
}

void RayletClient::OnReady() {
  if (!channel_) return;
  auto filled = channel_->Fill();
  if (!filled) return Lost();
  while (channel_) {
    auto next = channel_->Next();
    if (!next) return Lost();
    if (!next->has_value()) break;
    Dispatch(**next);
  }
  Flush();
}

template <class Reply>
void RayletClient::Answer(Frame& frame) {
  const auto* reply = frame.As<Reply>();
  if (reply == nullptr) return Lost();
  auto node = replies_.extract(reply->request_id());
  if (!node.empty()) node.mapped()(&frame);
}

void RayletClient::Dispatch(Frame& frame) {
  switch (frame.type) {
    case FrameType::kLeaseReply:
      return Answer<wire::LeaseReply>(frame);
    case FrameType::kConnectPeerReply:
      return Answer<wire::ConnectPeerReply>(frame);
    case FrameType::kCreateObjectReply:
      return Answer<wire::CreateObjectReply>(frame);
    case FrameType::kGetObjectReply:
      return Answer<wire::GetObjectReply>(frame);
    case FrameType::kGcsReply:
      return Answer<wire::GcsReply>(frame);
    case FrameType::kNodeInfoReply:
      return Answer<wire::NodeInfoReply>(frame);
    case FrameType::kSetResourceReply:
      return Answer<wire::SetResourceReply>(frame);
    case FrameType::kPong:
      return Answer<wire::Pong>(frame);
    case FrameType::kFlushOutputReply:
      return Answer<wire::FlushOutputReply>(frame);
    default:
      on_frame_(frame);
  }
}

void RayletClient::Lost() {
  if (!channel_) return;
  // The poller drops a closed descriptor by itself.
  channel_.reset();
  auto replies = std::move(replies_);
  replies_.clear();
  for (auto& [id, on_reply] : replies) on_reply(nullptr);
  on_lost_();
}

}  // namespace cyray::core
