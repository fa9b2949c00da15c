// ClientStream: one attempt of a raylet's node stream, over one gRPC call.
//
// Threading: Send on the loop; gRPC's threads call the reactions, which only post through the
// listener's functions. It keeps itself until gRPC is done with it.
// Invariant: messages leave in the order of Send; the hold that AddHold() took is given back
// exactly once, when reading ends, and nothing is started after that.

#pragma once

#include <grpcpp/generic/generic_stub.h>

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "cyray/gcs/rpc.h"

namespace cyray::gcs {

class ClientStream : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  struct Listener {  // called on gRPC's threads
    std::function<void()> on_accepted;
    std::function<void(wire::Bytes)> on_message;
    // The last; with the stream itself, whose context must not end on a gRPC thread.
    std::function<void(std::shared_ptr<ClientStream>, const grpc::Status&)> on_done;
  };

  explicit ClientStream(Listener listener) : listener_(std::move(listener)) {}
  grpc::ClientContext* context() { return &context_; }

  // After PrepareBidiStreamingCall.
  void Start(std::shared_ptr<ClientStream> self) {
    self_ = std::move(self);
    AddHold();
    StartRead(&read_);
    StartCall();
  }

  // An empty message is a heartbeat.
  void Send(const wire::Bytes& message) {
    std::lock_guard lock(mutex_);
    if (reading_ended_) return;
    unsent_.push_back(ToMessage(message));
    if (!std::exchange(writing_, true)) StartWrite(&unsent_.front());
  }

  void OnReadInitialMetadataDone(bool ok) override {
    if (ok) listener_.on_accepted();
  }
  void OnReadDone(bool ok) override {
    wire::Bytes message;
    if (ok && FromMessage(read_, nullptr, 0, message)) {
      read_.Clear();
      listener_.on_message(std::move(message));
      StartRead(&read_);
      return;
    }
    {
      std::lock_guard lock(mutex_);
      reading_ended_ = true;
    }
    RemoveHold();
  }
  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    unsent_.pop_front();
    if (!ok || reading_ended_) unsent_.clear();
    writing_ = !unsent_.empty();
    if (writing_) StartWrite(&unsent_.front());
  }
  void OnDone(const grpc::Status& status) override {
    // A copy: the listener is a member of what may end as soon as it was posted.
    const auto on_done = listener_.on_done;
    on_done(std::move(self_), status);
  }

 private:
  const Listener listener_;
  std::shared_ptr<ClientStream> self_;
  grpc::ClientContext context_;
  grpc::ByteBuffer read_;
  // Guarded by mutex_ (the front element: gRPC's while writing_).
  std::mutex mutex_;
  std::deque<grpc::ByteBuffer> unsent_;
  bool writing_ = false;
  bool reading_ended_ = false;
};

}  // namespace cyray::gcs
