// GcsClient over the simulated network: the simulator's stand-in for gcs/client.cc, which speaks
// gRPC with threads of its own. It keeps the contract of gcs/client.h: calls outlive connections
// and restarts of the GCS under the same id, and the stream is opened anew.
// Threading: confined to the raylet's loop.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>

#include <algorithm>
#include <map>

#include "cpp_tests/sim/messages.h"
#include "cyray/common/ids.h"
#include "cyray/gcs/client.h"
#include "cyray/util/event_loop.h"
#include "cyray/util/log.h"
#include "cyray/util/timer.h"

namespace cyray::gcs {
namespace {

using sim::Messages;
using sim::MessageType;

constexpr int64_t kGiveUpMs = 60'000;
constexpr int64_t kFirstBackoffMs = 50;
constexpr int64_t kLastBackoffMs = 500;
// As the real client's channel has it.
constexpr int64_t kLookMs = 250;
constexpr int64_t kConnectMs = 400;
constexpr int64_t kPingAfterMs = 1500;
constexpr int64_t kSilenceMs = 2500;  // of a connection: it is dead

StatusCode CodeOf(const wire::Bytes& body) { return static_cast<StatusCode>(body.at(0)); }
std::string TextOf(const wire::Bytes& body) { return {body.begin() + 1, body.end()}; }

}  // namespace

class GcsClient::Core {
 public:
  Core(EventLoop* loop, const std::string& address)
      : loop_(loop), address_(address), redial_(loop), look_(loop) {
    Look();
  }
  ~Core() { Disconnect(); }

  void Call(wire::GcsMethod method, const wire::Bytes& payload, ReplyCallback callback) {
    const uint64_t id = next_call_++;
    Pending& pending = calls_[id];
    pending.body.resize(18);
    const auto number = static_cast<uint16_t>(method);
    std::memcpy(pending.body.data(), &number, sizeof number);
    FillRandom(pending.body.data() + 2, 16);
    pending.body.insert(pending.body.end(), payload.begin(), payload.end());
    pending.callback = std::move(callback);
    pending.give_up_ms = loop_->NowMs() + kGiveUpMs;
    if (messages_ == nullptr) return DialSoon();
    SendCalls();
    Flush();
  }

  void OpenStream(StreamCallbacks callbacks) {
    stream_ = std::move(callbacks);
    wants_stream_ = true;
    if (messages_ == nullptr) return DialSoon();
    SendHello();
    Flush();
  }

  void Report(const wire::Bytes& payload) {
    if (messages_ == nullptr || !stream_open_) return;
    messages_->Send(MessageType::kReport, 0, payload);
    Flush();
  }

 private:
  struct Pending {
    wire::Bytes body;
    ReplyCallback callback;
    int64_t give_up_ms = 0;
    uint64_t sent = 0;  // on that connection
  };

  // Once there is a stream, calls follow its hello.
  void SendCalls() {
    if (wants_stream_ && !stream_up_) return;
    for (auto& [id, pending] : calls_) {
      if (std::exchange(pending.sent, connection_) == connection_) continue;
      messages_->Send(MessageType::kCall, id, pending.body);
    }
  }

  void DialSoon() {
    redial_.StartOnce(0, [this] { Dial(); });
  }

  void Dial() {
    const size_t colon = address_.rfind(':');
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(std::atoi(address_.c_str() + colon + 1)));
    ::inet_pton(AF_INET, address_.substr(0, colon).c_str(), &to.sin_addr);
    UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    ::connect(socket.get(), reinterpret_cast<sockaddr*>(&to), sizeof to);
    messages_ = std::make_shared<Messages>(std::move(socket));
    heard_ms_ = loop_->NowMs();
    connected_ = pinged_ = false;
    loop_->Add(messages_->fd(), EPOLLIN | EPOLLOUT, [this](uint32_t events) { OnReady(events); });
    ++connection_;
    SendCalls();
    if (wants_stream_) SendHello();
  }

  void SendHello() {
    stream_open_ = true;
    messages_->Send(MessageType::kReport, 0, stream_.hello());
  }

  void OnReady(uint32_t) {
    const std::shared_ptr<Messages> messages = messages_;
    connected_ = true;
    const bool open = messages->Read([&](MessageType type, uint64_t id, wire::Bytes body) {
      heard_ms_ = loop_->NowMs();
      pinged_ = false;
      backoff_ms_ = kFirstBackoffMs;
      if (messages == messages_) OnMessage(type, id, std::move(body));
    });
    if (messages != messages_) return;
    if (!open) return OnBroken("the GCS closed the connection");
    Flush();
  }

  void Flush() {
    if (!messages_->Flush()) return OnBroken("the GCS cannot be reached");
    loop_->Modify(messages_->fd(), EPOLLIN | (messages_->HasUnsent() ? EPOLLOUT : 0u));
  }

  void OnMessage(MessageType type, uint64_t id, wire::Bytes body) {
    switch (type) {
      case MessageType::kReply: {
        auto node = calls_.extract(id);
        if (node.empty()) return;
        const ReplyCallback callback = std::move(node.mapped().callback);
        if (CodeOf(body) != StatusCode::kOk) return callback(Fail(CodeOf(body), TextOf(body)));
        return callback(wire::Bytes(body.begin() + 1, body.end()));
      }
      case MessageType::kAccepted:
        stream_up_ = true;
        stream_.on_up();
        if (messages_ == nullptr) return;
        SendCalls();
        return Flush();
      case MessageType::kCommand: {
        const auto* command = wire::VerifiedRoot<wire::NodeCommand>(body);
        CYRAY_CHECK(command != nullptr && command->body() != nullptr);
        return stream_.on_command(command);
      }
      case MessageType::kClosed:
        stream_open_ = stream_up_ = false;
        stream_.on_down(Status(CodeOf(body), TextOf(body)));
        return OnBroken("the stream was closed");
      default:
        return;
    }
  }

  void OnBroken(const std::string& why) {
    Disconnect();
    stream_open_ = false;
    if (std::exchange(stream_up_, false)) {
      stream_.on_down(Status(StatusCode::kUnavailable, why));
    }
    std::vector<ReplyCallback> over;
    for (auto it = calls_.begin(); it != calls_.end();) {
      if (loop_->NowMs() < it->second.give_up_ms) {
        ++it;
        continue;
      }
      over.push_back(std::move(it->second.callback));
      it = calls_.erase(it);
    }
    redial_.Start(backoff_ms_, [this] { Dial(); });
    backoff_ms_ = std::min(2 * backoff_ms_, kLastBackoffMs);
    for (const ReplyCallback& callback : over) callback(Fail(StatusCode::kUnavailable, why));
  }

  void Disconnect() {
    if (messages_ == nullptr) return;
    loop_->Remove(messages_->fd());
    messages_.reset();
  }

  void Look() {
    look_.Start(kLookMs, [this] { Look(); });
    if (messages_ == nullptr) return;
    const int64_t silent_ms = loop_->NowMs() - heard_ms_;
    if (silent_ms > (connected_ ? kSilenceMs : kConnectMs)) return OnBroken("the GCS says nothing");
    if (silent_ms < kPingAfterMs || std::exchange(pinged_, true)) return;
    messages_->Send(MessageType::kPing, 0, {});
    Flush();
  }

  EventLoop* const loop_;
  const std::string address_;
  std::shared_ptr<Messages> messages_;  // kept by a handler while it is replaced
  std::map<uint64_t, Pending> calls_;
  uint64_t next_call_ = 1;
  uint64_t connection_ = 0;  // counts them
  StreamCallbacks stream_;
  bool wants_stream_ = false;
  bool stream_open_ = false;  // the hello was sent
  bool stream_up_ = false;
  int64_t heard_ms_ = 0;  // since the connection was dialed
  bool connected_ = false;
  bool pinged_ = false;  // since then
  int64_t backoff_ms_ = kFirstBackoffMs;
  Timer redial_, look_;
};

// Of simulated processes all run the real loop, which watches the descriptor of the connection,
// too.
GcsClient::GcsClient(Runtime* runtime, const std::string& address, const std::string&)
    : core_(std::make_shared<Core>(static_cast<EventLoop*>(runtime), address)) {}

GcsClient::~GcsClient() = default;

void GcsClient::Call(wire::GcsMethod method, wire::Bytes payload, ReplyCallback callback) {
  core_->Call(method, payload, std::move(callback));
}

void GcsClient::OpenStream(StreamCallbacks callbacks) { core_->OpenStream(std::move(callbacks)); }

void GcsClient::Report(wire::Bytes payload) { core_->Report(payload); }

}  // namespace cyray::gcs
