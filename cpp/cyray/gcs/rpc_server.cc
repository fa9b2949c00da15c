#include "cyray/gcs/rpc_server.h"

#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <atomic>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "cyray/gcs/message_pack.h"

namespace cyray::gcs {
namespace {

using grpc::ServerGenericBidiReactor;

constexpr int kHandshakeTimeoutMs = 5000;
constexpr int kIdleMs = 60'000;

std::string Metadata(const grpc::CallbackServerContext& context, const char* key) {
  const auto& all = context.client_metadata();
  auto it = all.find(key);
  return it == all.end() ? std::string() : std::string(it->second.data(), it->second.size());
}

grpc::Status ToGrpc(const Status& status) {
  if (status.ok()) return grpc::Status::OK;
  switch (status.code()) {
    case StatusCode::kNotFound:
      return {grpc::StatusCode::NOT_FOUND, status.message()};
    case StatusCode::kUnauthenticated:
      return {grpc::StatusCode::UNAUTHENTICATED, status.message()};
    case StatusCode::kUnavailable:
      return {grpc::StatusCode::UNAVAILABLE, status.message()};
    default:
      return {grpc::StatusCode::FAILED_PRECONDITION, status.message()};
  }
}

// Answers at once, without reading anything.
class Answer : public ServerGenericBidiReactor {
 public:
  explicit Answer(const Status& status) { Finish(ToGrpc(status)); }
  explicit Answer(const std::string& message) : message_(ToMessage(message)) {
    StartWriteAndFinish(&message_, grpc::WriteOptions(), grpc::Status::OK);
  }
  void OnDone() override { delete this; }

 private:
  grpc::ByteBuffer message_;
};

}  // namespace

// One unary call. Deletes itself when gRPC is done with it, which is after Finish.
class RpcServer::Call : public ServerGenericBidiReactor {
 public:
  Call(RpcServer* server, RpcGate::Opened opened) : server_(server), opened_(std::move(opened)) {
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    CallHeader header{};
    wire::Bytes payload;
    const Sealing sealing{*opened_.session, RpcSession::What::kRequest, {opened_.call, 0}};
    if (!ok || !Unseal(sealing, request_, &header, sizeof header, payload)) {
      Finish({grpc::StatusCode::UNAUTHENTICATED, "not a call of its session"});
      return;
    }
    request_.Clear();
    auto pending = std::make_shared<Pending>(this);
    server_->loop_->Post(
        [server = server_, header, payload = std::move(payload), pending]() mutable {
          if (server->closing_) return;
          server->handler_->OnCall(
              header.method, CallId::FromBytes(header.call_id), std::move(payload),
              [pending](const Result<wire::Bytes>& result) { pending->Reply(result); });
        });
  }
  void OnDone() override { delete this; }

 private:
  // What the handler's reply holds; shared because a std::function is copied.
  struct Pending {
    explicit Pending(Call* call) : call(call) {}
    ~Pending() {
      if (call != nullptr) call->Finish({grpc::StatusCode::UNAVAILABLE, "the GCS is ending"});
    }
    void Reply(const Result<wire::Bytes>& result) {
      if (Call* replied = std::exchange(call, nullptr)) replied->Send(result);
    }
    Call* call;
  };

  void Send(const Result<wire::Bytes>& result) {
    ReplyHeader header{};
    std::string_view body;
    if (result.has_value()) {
      body = {reinterpret_cast<const char*>(result->data()), result->size()};
    } else {
      header.code = static_cast<uint8_t>(result.error().code());
      body = result.error().message();
    }
    reply_ = Seal({*opened_.session, RpcSession::What::kReply, {opened_.call, 0}},
                  {reinterpret_cast<const char*>(&header), sizeof header}, body);
    StartWriteAndFinish(&reply_, grpc::WriteOptions(), grpc::Status::OK);
  }

  RpcServer* const server_;
  const RpcGate::Opened opened_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer reply_;
};

// One node stream. Kept by the server's map while it is open and by itself until OnDone.
class RpcServer::Stream : public ServerGenericBidiReactor {
 public:
  Stream(RpcServer* server, RpcGate::Opened opened, grpc::CallbackServerContext* context,
         StreamId id)
      : server_(server), opened_(std::move(opened)), context_(context), id_(id) {}

  void Open(std::shared_ptr<Stream> self) {
    server_->loop_->Post([this, self] {
      if (server_->closing_) {
        CloseWith(Status(StatusCode::kUnavailable, "the GCS is ending"));
        return;
      }
      server_->streams_[id_] = self;
      StartRead(&read_);
    });
    self_ = std::move(self);
  }

  void OnReadDone(bool ok) override {
    wire::Bytes pack;
    std::vector<wire::Bytes> messages;
    const Sealing sealing{*opened_.session, RpcSession::What::kUp, {opened_.call, read_count_++}};
    if (ok) ok = Unseal(sealing, read_, nullptr, 0, pack) && Unpack(pack, messages);
    read_.Clear();
    server_->loop_->Post([this, ok, messages = std::move(messages), self = self_] {
      auto it = server_->streams_.find(id_);
      if (it == server_->streams_.end()) return;
      if (ok) {
        for (const wire::Bytes& message : messages) {
          server_->handler_->OnStreamMessage(id_, message);
          if (!server_->streams_.contains(id_)) return;
        }
        StartRead(&read_);
        return;
      }
      server_->streams_.erase(it);
      CloseWith(Status::Ok());
      server_->handler_->OnStreamClosed(id_);
    });
  }

  // On the loop. The client is told that its hello was taken.
  void Accept() {
    context_->AddInitialMetadata(
        kAcceptedKey, opened_.session->Tag(RpcSession::What::kAccepted, {opened_.call, 0}, {}, {}));
    StartSendInitialMetadata();
  }

  void Send(const wire::Bytes& message) {
    std::unique_lock lock(mutex_);
    if (closed_) return;
    unsent_.Add(message);
    if (std::exchange(writing_, true)) return;
    WriteNext(lock);
  }

  void OnWriteDone(bool ok) override {
    std::unique_lock lock(mutex_);
    if (!ok) unsent_.Clear();
    if (closed_) {
      writing_ = false;
      const Status status = close_status_;
      lock.unlock();
      End(status);
      return;
    }
    // A broken stream is closed by its read, which fails too.
    writing_ = !unsent_.empty();
    if (writing_) WriteNext(lock);
  }

  void CloseWith(const Status& status) {
    std::unique_lock lock(mutex_);
    if (std::exchange(closed_, true)) return;
    close_status_ = status;
    if (writing_) {
      // The peer may never take what is being written; OnWriteDone finishes.
      context_->TryCancel();
      return;
    }
    lock.unlock();
    End(status);
  }

  void OnDone() override {
    // The last reference may be this one.
    std::shared_ptr<Stream> self = std::move(self_);
  }

 private:
  // What has gathered meanwhile, as one.
  void WriteNext(std::unique_lock<std::mutex>& lock) {
    write_ = Seal({*opened_.session, RpcSession::What::kDown, {opened_.call, sent_count_++}}, {},
                  unsent_.Take());
    lock.unlock();
    StartWrite(&write_);
  }
  // A node ends by what some ends say: they carry a tag.
  void End(const Status& status) {
    const grpc::Status end = ToGrpc(status);
    context_->AddTrailingMetadata(
        kEndKey, opened_.session->Tag(RpcSession::What::kEnd, {opened_.call, 0}, EndText(end), {}));
    Finish(end);
  }

  RpcServer* const server_;
  const RpcGate::Opened opened_;
  grpc::CallbackServerContext* const context_;
  const StreamId id_;
  grpc::ByteBuffer read_;
  uint64_t read_count_ = 0;
  std::shared_ptr<Stream> self_;
  // Guarded by mutex_ (write_: gRPC's while writing_).
  std::mutex mutex_;
  MessagePacks unsent_;
  grpc::ByteBuffer write_;
  uint64_t sent_count_ = 0;
  bool writing_ = false;
  bool closed_ = false;
  Status close_status_;
};

class RpcServer::Service : public grpc::CallbackGenericService {
 public:
  explicit Service(RpcServer* server) : server_(server) {}

  ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    const std::string& method = context->method();
    if (method == kChallengeMethod) return Challenge(*context);
    std::optional<RpcGate::Opened> opened =
        server_->gate_->Open(Metadata(*context, kOpeningKey), method, context->peer());
    if (!opened) {
      return new Answer(
          Status(StatusCode::kUnauthenticated, "no valid proof of the cluster token"));
    }
    if (method == kCallMethod) return new Call(server_, std::move(*opened));
    if (method == kStreamMethod) {
      auto stream =
          std::make_shared<Stream>(server_, std::move(*opened), context, next_stream_.fetch_add(1));
      Stream* reactor = stream.get();
      reactor->Open(std::move(stream));
      return reactor;
    }
    return new Answer(Status(StatusCode::kNotFound, "no such method"));
  }

 private:
  ServerGenericBidiReactor* Challenge(const grpc::CallbackServerContext& context) {
    const auto answer = server_->gate_->Answer(Metadata(context, kClientNonceKey), context.peer());
    if (!answer) return new Answer(Status(StatusCode::kUnauthenticated, "no nonce"));
    return new Answer(*answer);
  }

  RpcServer* const server_;
  std::atomic<StreamId> next_stream_{1};
};

RpcServer::RpcServer(EventLoop* loop, std::string token)
    : loop_(loop), token_(std::move(token)), listener_(loop) {}

RpcServer::~RpcServer() = default;

Status RpcServer::Start(UniqueFd listening, RpcHandler* handler) {
  const Result<std::string> address = net::TcpListener::AddressOf(listening.get());
  if (!address) return address.error();
  gate_ = std::make_unique<RpcGate>(token_, *address);
  handler_ = handler;
  service_ = std::make_unique<Service>(this);
  grpc::ServerBuilder builder;
  // It accepts from a socket that it was given, and that outlives it: between two lives of the GCS
  // nobody else can take its port.
  acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      grpc::InsecureServerCredentials());
  builder.RegisterCallbackGenericService(service_.get());
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  grpc::ResourceQuota quota("gcs");
  quota.SetMaxThreads(8);
  builder.SetResourceQuota(quota);
  // Raylets ping when they hear nothing, to notice a head node that vanished.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  // A stranger's connection cannot have a call that lasts, so it does not stay for ever. A raylet's
  // has its stream.
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kIdleMs);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) return {StatusCode::kUnavailable, "gRPC cannot start"};
  return listener_.Serve(std::move(listening), [this](UniqueFd socket) {
    const int on = 1;
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
    connection.fd = socket.release();
    acceptor_->HandleNewConnection(&connection);
  });
}

void RpcServer::Shutdown() {
  if (server_ == nullptr) return;
  loop_->Post([this] {
    closing_ = true;
    listener_.Close();
    for (auto& [id, stream] : std::exchange(streams_, {})) {
      stream->CloseWith(Status(StatusCode::kUnavailable, "the GCS is ending"));
    }
  });
  server_->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(500));
  server_.reset();
}

void RpcServer::Accept(StreamId stream) {
  if (auto it = streams_.find(stream); it != streams_.end()) it->second->Accept();
}

void RpcServer::Send(StreamId stream, const wire::Bytes& message) {
  if (auto it = streams_.find(stream); it != streams_.end()) it->second->Send(message);
}

void RpcServer::Close(StreamId stream, const Status& status) {
  auto it = streams_.find(stream);
  if (it == streams_.end()) return;
  std::shared_ptr<Stream> closing = std::move(it->second);
  streams_.erase(it);
  closing->CloseWith(status);
}

}  // namespace cyray::gcs
