// ClientStream: one attempt of a raylet's node stream, over one gRPC call.
//
// Every message has a tag of the session that it was opened in (rpc_auth.h); what has none, or
// another place's, ends the stream. Threading: Send on the loop; gRPC's threads call the reactions,
// which only post through the listener's functions. It keeps itself until gRPC is done with it.
// Invariant: messages leave in the order of Send; the hold that AddHold() took is given back
// exactly once, when reading ends, and nothing is started after that.

#pragma once

#include <grpcpp/generic/generic_stub.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "cyray/gcs/message_pack.h"
#include "cyray/gcs/rpc.h"

namespace cyray::gcs {

class ClientStream : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  struct Listener {  // called on gRPC's threads
    std::function<void()> on_accepted;
    std::function<void(std::vector<wire::Bytes>)> on_messages;  // that came together
    // The last; with the stream itself, whose context must not end on a gRPC thread. A status
    // that ends a node and is not the server's own word is UNAVAILABLE.
    std::function<void(std::shared_ptr<ClientStream>, const grpc::Status&)> on_done;
  };

  // Call `call` of `session`.
  ClientStream(std::shared_ptr<const RpcSession> session, uint64_t call, Listener listener)
      : session_(std::move(session)), call_(call), listener_(std::move(listener)) {
    context_.AddMetadata(kOpeningKey, session_->Opening(call, kStreamMethod));
  }
  grpc::ClientContext* context() { return &context_; }

  // After PrepareBidiStreamingCall.
  void Start(std::shared_ptr<ClientStream> self) {
    self_ = std::move(self);
    AddHold();
    StartRead(&read_);
    StartCall();
  }

  void Send(const wire::Bytes& message) {
    std::lock_guard lock(mutex_);
    if (reading_ended_) return;
    unsent_.Add(message);
    if (!std::exchange(writing_, true)) WriteNext();
  }

  void OnReadInitialMetadataDone(bool ok) override {
    if (ok && HasTag(context_.GetServerInitialMetadata(), kAcceptedKey, RpcSession::What::kAccepted,
                     {})) {
      listener_.on_accepted();
    }
  }
  void OnReadDone(bool ok) override {
    wire::Bytes pack;
    std::vector<wire::Bytes> messages;
    const Sealing sealing{*session_, RpcSession::What::kDown, {call_, read_count_++}};
    if (ok && !(Unseal(sealing, read_, nullptr, 0, pack) && Unpack(pack, messages))) {
      ok = false;
      context_.TryCancel();
    }
    if (ok) {
      read_.Clear();
      listener_.on_messages(std::move(messages));
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
    if (!ok || reading_ended_) unsent_.Clear();
    writing_ = !unsent_.empty();
    if (writing_) WriteNext();
  }
  void OnDone(const grpc::Status& status) override {
    // A copy: the listener is a member of what may end as soon as it was posted.
    const auto on_done = listener_.on_done;
    const bool servers_word = HasTag(context_.GetServerTrailingMetadata(), kEndKey,
                                     RpcSession::What::kEnd, EndText(status));
    const bool unproved = status.error_code() == grpc::StatusCode::NOT_FOUND && !servers_word;
    on_done(std::move(self_), unproved ? grpc::Status(grpc::StatusCode::UNAVAILABLE,
                                                      "a stream's end that nobody vouches for")
                                       : status);
  }

 private:
  // With the mutex held: what has gathered, as one.
  void WriteNext() {
    write_ = Seal({*session_, RpcSession::What::kUp, {call_, sent_count_++}}, {}, unsent_.Take());
    StartWrite(&write_);
  }
  bool HasTag(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata, const char* key,
              RpcSession::What what, std::string_view text) const {
    const auto it = metadata.find(key);
    return it != metadata.end() &&
           session_->IsTag({it->second.data(), it->second.size()}, what, {call_, 0}, text, {});
  }

  const std::shared_ptr<const RpcSession> session_;
  const uint64_t call_;
  const Listener listener_;
  std::shared_ptr<ClientStream> self_;
  grpc::ClientContext context_;
  grpc::ByteBuffer read_;
  uint64_t read_count_ = 0;
  // Guarded by mutex_ (write_: gRPC's while writing_).
  std::mutex mutex_;
  MessagePacks unsent_;
  grpc::ByteBuffer write_;
  uint64_t sent_count_ = 0;
  bool writing_ = false;
  bool reading_ended_ = false;
};

}  // namespace cyray::gcs
