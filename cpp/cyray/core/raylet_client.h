// RayletClient: this process's connection to the raylet of its node.
//
// Requests carry an id and a callback; other frames from the raylet go to one handler. Guarded by
// the core mutex, except Connect(), which blocks and runs before anything else.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/core/outbox.h"
#include "cyray/util/status.h"
#include "cyray/wire/channel.h"
#include "cyray/wire/convert.h"
#include "local_generated.h"

namespace cyray::core {

using InterruptCheck = bool (*)();

// A person is told what a driver waits for when the raylet or the GCS says nothing for so long.
inline constexpr int64_t kSilenceMs = 5'000;

struct RegisterOptions {
  bool is_driver = true;
  WorkerId worker_id;
  std::string name_space;
  std::string entrypoint;
  std::string job_config;
  bool log_to_driver = true;
  // Runs Python's signal handlers; true, when one raised, ends a wait that is not over: for the
  // registration, and every later one of the core.
  InterruptCheck interrupted = nullptr;
  // Called once when nobody has answered the registration for kSilenceMs.
  void (*silent)() = nullptr;
};

struct Registration {
  NodeId node_id;
  JobId job_id;
  uint64_t arena_bytes = 0;
  std::string session_dir, node_ip, gcs_address, name_space;
  UniqueFd arena_read, arena_write;
  UniqueFd task_notes;
  uint16_t metrics_port = 0;  // where the node answers Prometheus
};

class RayletClient : public RayletOutbox {
 public:
  using FrameHandler = std::function<void(wire::Frame&)>;

  // Takes a connected stream socket (blocking or not), registers and waits for the answer.
  Result<Registration> Connect(UniqueFd socket, const RegisterOptions& options);

  int fd() const { return channel_ ? channel_->fd() : -1; }
  bool connected() const override { return channel_ != nullptr; }
  void SetHandlers(FrameHandler on_frame, std::function<void()> on_lost);

  // Called when the socket is full, and when it is not any more: OnReady is due when it takes more.
  void SetWriteHandler(std::function<void(bool wants_write)> on_wants_write) {
    on_wants_write_ = std::move(on_wants_write);
  }

  uint64_t NextRequestId() override { return next_request_++; }
  void Send(wire::FrameType type, const flatbuffers::FlatBufferBuilder& builder) override;
  void Request(uint64_t request_id, wire::FrameType type,
               const flatbuffers::FlatBufferBuilder& builder, ReplyHandler on_reply) override;
  void Forget(uint64_t request_id) { replies_.erase(request_id); }
  void Relay(const Address& from, const Address& to, const uint8_t* frame, size_t size) override;

  void Flush() override;
  void OnReady();
  bool HasUnsent() const override { return channel_ && channel_->HasUnsent(); }
  size_t pending_requests() const { return replies_.size(); }

 private:
  void Dispatch(wire::Frame& frame);
  void Lost();
  template <class Reply>
  void Answer(wire::Frame& frame);

  std::unique_ptr<wire::Channel> channel_;
  FrameHandler on_frame_;
  std::function<void()> on_lost_;
  std::function<void(bool)> on_wants_write_;
  bool wants_write_ = false;
  std::unordered_map<uint64_t, ReplyHandler> replies_;
  uint64_t next_request_ = 1;
  flatbuffers::FlatBufferBuilder builder_;
};

}  // namespace cyray::core
