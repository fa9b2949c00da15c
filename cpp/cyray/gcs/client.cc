#include "cyray/gcs/client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <set>

#include "cyray/crypto/auth.h"
#include "cyray/gcs/client_stream.h"
#include "cyray/gcs/codec.h"
#include "cyray/gcs/rpc.h"
#include "cyray/util/backoff.h"
#include "cyray/util/log.h"
#include "cyray/util/timer.h"

namespace cyray::gcs {
namespace {

constexpr std::string_view kIpv4Scheme = "ipv4:";  // as gRPC writes a peer's address
constexpr int64_t kGiveUpMs = 60'000;
constexpr int64_t kLookForExpiredMs = 1000;
constexpr int64_t kAttemptMs = 60'000;  // longer than the server holds any call
constexpr int64_t kFirstBackoffMs = 50;
constexpr int64_t kLastBackoffMs = 500;

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
  // A cable that was out for five seconds costs no node: TCP sends again after 3 s and then after 6
  // s of silence, when a raylet has fenced itself, so new connections are dialed before that. Each
  // attempt may take so long, a multiple of what a busy GCS needs; there is time for more than one
  // between the cable's return and the fence (docs/decisions/0014).
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 1500);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 1000);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 400);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // Connections are not shared between clients: a proof belongs to one connection.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

Status FromGrpc(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      return Status(StatusCode::kDisconnected, "the GCS closed the connection");
    case grpc::StatusCode::NOT_FOUND:
      return Status(StatusCode::kNotFound, status.error_message());
    case grpc::StatusCode::UNAUTHENTICATED:
      return Status(StatusCode::kUnauthenticated, status.error_message());
    default:
      return Status(StatusCode::kUnavailable,
                    "the GCS cannot be reached: " + status.error_message());
  }
}

}  // namespace

class GcsClient::Core : public std::enable_shared_from_this<Core> {
 public:
  Core(Runtime* runtime, const std::string& address, std::string token)
      : runtime_(runtime),
        token_(std::move(token)),
        stub_(MakeChannel(address)),
        expiry_(runtime) {}

  void Call(wire::GcsMethod method, wire::Bytes payload, ReplyCallback callback);
  void OpenStream(StreamCallbacks callbacks);
  void Report(const wire::Bytes& payload) {
    if (stream_ != nullptr) stream_->Send(payload);
  }
  void Close();

 private:
  struct Pending {
    CallHeader header{};
    wire::Bytes payload;
    grpc::ByteBuffer request;
    grpc::ByteBuffer reply;
    ReplyCallback callback;
    int64_t give_up_ms = 0;
    // Of the running attempt: its session and its number there.
    std::shared_ptr<const RpcSession> session;
    uint64_t call = 0;
    Backoff backoff{kFirstBackoffMs, kLastBackoffMs};
    std::unique_ptr<grpc::ClientContext> context;  // of the running attempt
  };
  using PendingPtr = std::shared_ptr<Pending>;

  // Counts the gRPC operations that may still post. Their callbacks share it, because it is the
  // last thing they touch.
  struct Running {
    std::mutex mutex;
    std::condition_variable none;
    int count = 0;  // guarded by mutex

    void Began() {
      std::lock_guard lock(mutex);
      ++count;
    }
    void Over() {
      std::lock_guard lock(mutex);
      if (--count == 0) none.notify_all();
    }
    void AwaitNone() {
      std::unique_lock lock(mutex);
      none.wait(lock, [this] { return count == 0; });
    }
  };

  // From a gRPC thread: runs `function` on the loop unless the client is gone. Whatever holds the
  // channel (this object, contexts) must end on the loop's thread: gRPC cannot end a channel on a
  // thread of its own. So callbacks move such things into `function`, and it dies there.
  void PostToLoop(std::function<void()> function);
  void After(int64_t ms, std::function<void()> function);

  void Submit(const PendingPtr& pending);
  void Attempt(const PendingPtr& pending);
  void AttemptDone(const PendingPtr& pending, const grpc::Status& status);
  void Retry(const PendingPtr& pending, const Status& why);
  void Finish(const PendingPtr& pending, Result<wire::Bytes> result);

  void EnsureSession();
  void Challenge();
  void ChallengeDone(const PendingPtr& challenge, const std::string& client_nonce,
                     const grpc::Status& status);
  void SessionReady();
  void SubmitWaiting();
  void SessionFailed(const Status& status);
  // That session is of no use any more: the next call begins another.
  void Drop(const std::shared_ptr<const RpcSession>& session);

  void StartStream();
  void StreamAccepted(uint64_t number);
  void StreamMessage(uint64_t number, const wire::Bytes& message);
  void StreamDone(uint64_t number, const grpc::Status& status);
  // Those that have waited for too long fail.
  void ExpireWaiting(const Status& why);
  void ArmExpiry();
  bool ready() const {
    return session_state_ == SessionState::kReady && (!wants_stream_ || stream_up_);
  }

  // Constant after construction.
  Runtime* const runtime_;
  const std::string token_;
  const std::shared_ptr<Running> running_ = std::make_shared<Running>();

  // Confined to the loop.
  grpc::GenericStub stub_;
  bool closed_ = false;
  enum class SessionState { kNone, kChallenging, kReady } session_state_ = SessionState::kNone;
  std::shared_ptr<const RpcSession> session_;  // the latest; shared with its calls and stream
  uint64_t last_call_ = 0;                     // its number in the session
  Backoff challenge_backoff_{kFirstBackoffMs, kLastBackoffMs};
  std::deque<PendingPtr> waiting_;  // for a session, and the stream if there is to be one
  std::set<PendingPtr> attempts_;   // running, challenges too
  StreamCallbacks callbacks_;
  bool wants_stream_ = false;
  bool stream_retry_due_ = false;
  std::shared_ptr<ClientStream> stream_;  // also kept by itself
  uint64_t stream_number_ = 0;
  bool stream_up_ = false;
  Backoff stream_backoff_{kFirstBackoffMs, kLastBackoffMs};
  std::shared_ptr<const RpcSession> stream_session_;
  Timer expiry_;  // runs while some wait; stopped by Close()
};

void GcsClient::Core::PostToLoop(std::function<void()> function) {
  runtime_->Post([self = shared_from_this(), function = std::move(function)] {
    if (!self->closed_) function();
  });
}

void GcsClient::Core::After(int64_t ms, std::function<void()> function) {
  runtime_->RunAfter(ms, [weak = weak_from_this(), function = std::move(function)] {
    std::shared_ptr<Core> self = weak.lock();
    if (self != nullptr && !self->closed_) function();
  });
}

void GcsClient::Core::Close() {
  closed_ = true;
  expiry_.Stop();
  for (const PendingPtr& pending : attempts_) pending->context->TryCancel();
  if (stream_ != nullptr) stream_->context()->TryCancel();
  running_->AwaitNone();
  stream_.reset();
  attempts_.clear();
  waiting_.clear();
}

// --- Calls ---

void GcsClient::Core::Call(wire::GcsMethod method, wire::Bytes payload, ReplyCallback callback) {
  auto pending = std::make_shared<Pending>();
  pending->header.method = static_cast<uint16_t>(method);
  FillRandom(pending->header.call_id, sizeof pending->header.call_id);
  pending->payload = std::move(payload);
  pending->callback = std::move(callback);
  pending->give_up_ms = runtime_->NowMs() + kGiveUpMs;
  Submit(pending);
}

void GcsClient::Core::Submit(const PendingPtr& pending) {
  if (ready()) {
    Attempt(pending);
  } else {
    waiting_.push_back(pending);
    ArmExpiry();
    EnsureSession();
  }
}

// Whatever keeps them waiting: a stream that is open and not accepted tells of nothing.
void GcsClient::Core::ArmExpiry() {
  if (waiting_.empty()) return;
  expiry_.StartOnce(kLookForExpiredMs, [this] {
    ExpireWaiting(Status(StatusCode::kUnavailable, "the GCS does not answer"));
  });
}

void GcsClient::Core::Attempt(const PendingPtr& pending) {
  pending->session = session_;
  pending->call = ++last_call_;
  const auto text = [](const void* bytes, size_t size) {
    return std::string_view(static_cast<const char*>(bytes), size);
  };
  pending->request = Seal({*session_, RpcSession::What::kRequest, {pending->call, 0}},
                          text(&pending->header, sizeof pending->header),
                          text(pending->payload.data(), pending->payload.size()));
  pending->reply.Clear();
  pending->context = std::make_unique<grpc::ClientContext>();
  pending->context->set_deadline(std::chrono::system_clock::now() +
                                 std::chrono::milliseconds(kAttemptMs));
  pending->context->AddMetadata(kOpeningKey, session_->Opening(pending->call, kCallMethod));
  attempts_.insert(pending);
  running_->Began();
  stub_.UnaryCall(pending->context.get(), kCallMethod, grpc::StubOptions(), &pending->request,
                  &pending->reply,
                  [this, running = running_, held = pending](grpc::Status status) mutable {
                    PostToLoop([this, held = std::move(held), status = std::move(status)] {
                      AttemptDone(held, status);
                    });
                    running->Over();
                  });
}

void GcsClient::Core::AttemptDone(const PendingPtr& pending, const grpc::Status& status) {
  attempts_.erase(pending);
  if (status.ok()) {
    ReplyHeader header{};
    wire::Bytes body;
    const Sealing sealing{*pending->session, RpcSession::What::kReply, {pending->call, 0}};
    if (!Unseal(sealing, pending->reply, &header, sizeof header, body)) {
      // Somebody else answered, or changed what the GCS said.
      Drop(pending->session);
      Retry(pending, Status(StatusCode::kUnavailable, "the GCS's reply is not its own"));
    } else if (header.code != 0) {
      Finish(pending, Fail(CodeFromWire(header.code), std::string(body.begin(), body.end())));
    } else {
      Finish(pending, std::move(body));
    }
    return;
  }
  // A new connection, maybe to a server started anew: prove the token on it. Who holds another
  // token was told so by its challenge.
  if (status.error_code() == grpc::StatusCode::UNAUTHENTICATED) Drop(pending->session);
  if (status.error_code() == grpc::StatusCode::INVALID_ARGUMENT ||
      status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) {
    Finish(pending, Fail(StatusCode::kInvalidArgument, status.error_message()));
  } else {
    Retry(pending, FromGrpc(status));
  }
}

void GcsClient::Core::Retry(const PendingPtr& pending, const Status& why) {
  if (runtime_->NowMs() >= pending->give_up_ms) {
    Finish(pending, Fail(why));
  } else {
    After(pending->backoff.NextMs(runtime_->Random()), [this, pending] { Submit(pending); });
  }
}

void GcsClient::Core::Drop(const std::shared_ptr<const RpcSession>& session) {
  if (session_ == session && session_state_ == SessionState::kReady) {
    session_state_ = SessionState::kNone;
  }
}

void GcsClient::Core::Finish(const PendingPtr& pending, Result<wire::Bytes> result) {
  ReplyCallback callback = std::move(pending->callback);
  callback(std::move(result));
}

// --- Session: both sides' proof, for one connection ---

void GcsClient::Core::EnsureSession() {
  if (session_state_ == SessionState::kNone) {
    session_state_ = SessionState::kChallenging;
    Challenge();
  }
}

void GcsClient::Core::Challenge() {
  const std::string client_nonce = crypto::RandomNonce();
  auto challenge = std::make_shared<Pending>();
  challenge->context = std::make_unique<grpc::ClientContext>();
  challenge->context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  // It leaves as soon as there is a connection: of the time that a node has to be heard of, none is
  // spent on a pause between two tries.
  challenge->context->set_wait_for_ready(true);
  challenge->context->AddMetadata(kClientNonceKey, client_nonce);
  challenge->request = ToMessage("");
  attempts_.insert(challenge);
  running_->Began();
  stub_.UnaryCall(
      challenge->context.get(), kChallengeMethod, grpc::StubOptions(), &challenge->request,
      &challenge->reply,
      [this, running = running_, held = challenge, client_nonce](grpc::Status status) mutable {
        PostToLoop([this, held = std::move(held), client_nonce, status = std::move(status)] {
          ChallengeDone(held, client_nonce, status);
        });
        running->Over();
      });
}

void GcsClient::Core::ChallengeDone(const PendingPtr& challenge, const std::string& client_nonce,
                                    const grpc::Status& status) {
  attempts_.erase(challenge);
  if (!status.ok()) {
    ExpireWaiting(FromGrpc(status));
    if (waiting_.empty() && !wants_stream_) {
      session_state_ = SessionState::kNone;
    } else {
      After(challenge_backoff_.NextMs(runtime_->Random()), [this] { Challenge(); });
    }
    return;
  }
  challenge_backoff_.Reset();
  const wire::Bytes answer = FromMessage(challenge->reply);
  std::string dialed = challenge->context->peer();
  if (dialed.starts_with(kIpv4Scheme)) dialed.erase(0, kIpv4Scheme.size());
  std::optional<RpcSession> session = ProvedSession(
      token_, client_nonce, {reinterpret_cast<const char*>(answer.data()), answer.size()}, dialed);
  if (!session) {
    SessionFailed(Status(StatusCode::kUnauthenticated,
                         "the GCS could not prove that it holds this cluster's token and listens "
                         "at " +
                             dialed));
    return;
  }
  session_ = std::make_shared<RpcSession>(std::move(*session));
  SessionReady();
}

void GcsClient::Core::SessionReady() {
  session_state_ = SessionState::kReady;
  last_call_ = 0;
  if (ready()) SubmitWaiting();
  if (wants_stream_ && stream_ == nullptr && !stream_retry_due_) StartStream();
}

void GcsClient::Core::SubmitWaiting() {
  for (const PendingPtr& pending : std::exchange(waiting_, {})) Submit(pending);
}

void GcsClient::Core::ExpireWaiting(const Status& why) {
  const int64_t now = runtime_->NowMs();
  for (const PendingPtr& pending : std::exchange(waiting_, {})) {
    if (now >= pending->give_up_ms) {
      Finish(pending, Fail(why));
    } else {
      waiting_.push_back(pending);
    }
  }
  ArmExpiry();
}

void GcsClient::Core::SessionFailed(const Status& status) {
  session_state_ = SessionState::kNone;
  for (const PendingPtr& pending : std::exchange(waiting_, {})) Finish(pending, Fail(status));
  if (wants_stream_ && stream_ == nullptr && !stream_retry_due_) {
    stream_retry_due_ = true;
    callbacks_.on_down(status);
    After(stream_backoff_.NextMs(runtime_->Random()), [this] { StartStream(); });
  }
}

// --- The node stream ---

void GcsClient::Core::OpenStream(StreamCallbacks callbacks) {
  CYRAY_CHECK(!wants_stream_) << "OpenStream twice";
  callbacks_ = std::move(callbacks);
  wants_stream_ = true;
  StartStream();
}

void GcsClient::Core::StartStream() {
  stream_retry_due_ = false;
  if (stream_ != nullptr) return;
  if (session_state_ != SessionState::kReady) {
    EnsureSession();
    return;
  }
  const uint64_t number = ++stream_number_;
  ClientStream::Listener listener;
  listener.on_accepted = [this, number] { PostToLoop([this, number] { StreamAccepted(number); }); };
  listener.on_messages = [this, number](std::vector<wire::Bytes> messages) {
    PostToLoop([this, number, messages = std::move(messages)] {
      for (const wire::Bytes& message : messages) StreamMessage(number, message);
    });
  };
  listener.on_done = [this, running = running_, number](std::shared_ptr<ClientStream> stream,
                                                        const grpc::Status& status) {
    PostToLoop([this, number, stream = std::move(stream), status] { StreamDone(number, status); });
    running->Over();
  };
  stream_ = std::make_shared<ClientStream>(session_, ++last_call_, std::move(listener));
  stream_session_ = session_;
  running_->Began();
  stub_.PrepareBidiStreamingCall(stream_->context(), kStreamMethod, grpc::StubOptions(),
                                 stream_.get());
  stream_->Send(callbacks_.hello());
  stream_->Start(stream_);
}

void GcsClient::Core::StreamAccepted(uint64_t number) {
  if (number != stream_number_ || stream_ == nullptr) return;
  stream_up_ = true;
  stream_backoff_.Reset();
  callbacks_.on_up();
  SubmitWaiting();
}

void GcsClient::Core::StreamMessage(uint64_t number, const wire::Bytes& message) {
  if (closed_ || number != stream_number_) return;
  const auto* command = wire::VerifiedRoot<wire::NodeCommand>(message);
  // A union may verify with a type and without its table.
  if (command == nullptr || command->body() == nullptr) {
    CYRAY_LOG(kWarning) << "a message of the GCS is not a NodeCommand; dropped";
    return;
  }
  callbacks_.on_command(command);
}

void GcsClient::Core::StreamDone(uint64_t number, const grpc::Status& status) {
  if (number != stream_number_) return;
  stream_ = nullptr;
  const bool was_up = std::exchange(stream_up_, false);
  const Status down = FromGrpc(status);
  // Of a connection that broke the session is worth nothing on the next one.
  if (down.code() != StatusCode::kNotFound) Drop(stream_session_);
  ExpireWaiting(down);
  stream_retry_due_ = true;
  After(stream_backoff_.NextMs(runtime_->Random()), [this] { StartStream(); });
  if (was_up || down.code() == StatusCode::kNotFound) callbacks_.on_down(down);
}

// ------------------------------------------------------------------------------------------------

GcsClient::GcsClient(Runtime* runtime, const std::string& address, const std::string& token)
    : core_(std::make_shared<Core>(runtime, address, token)) {}

GcsClient::~GcsClient() { core_->Close(); }

void GcsClient::Call(wire::GcsMethod method, wire::Bytes payload, ReplyCallback callback) {
  core_->Call(method, std::move(payload), std::move(callback));
}

void GcsClient::OpenStream(StreamCallbacks callbacks) { core_->OpenStream(std::move(callbacks)); }

void GcsClient::Report(wire::Bytes payload) { core_->Report(payload); }

}  // namespace cyray::gcs
