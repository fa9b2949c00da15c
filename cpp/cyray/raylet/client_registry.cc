#include "cyray/raylet/client_registry.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "cyray/util/log.h"

namespace cyray::raylet {
namespace {

constexpr size_t kMuchUnsentBytes = 64u << 20;
constexpr int kListenBacklog = 128;
constexpr int64_t kAcceptPauseMs = 100;
constexpr int kLastTurns = 1'000;  // a socket holds less; who inherited its other end may go on
// A client's turn, after which others have theirs; and what all turns of a round of the loop take,
// after which the raylet's other work has its.
constexpr int kTurnFills = 16;
constexpr int kTurnFrames = 256;
constexpr int64_t kTurnNs = 5'000'000;
constexpr int64_t kRoundNs = 20'000'000;
// Between two announcements, and a millisecond more for so many clients: each costs this process
// and the other some ten microseconds.
constexpr int64_t kNewsMs = 5;
constexpr int64_t kNewsPerMs = 20;

bool IsOurUser(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == geteuid();
}

}  // namespace

ClientRegistry::ClientRegistry(EventLoop* loop, Callbacks callbacks, int64_t patience_ms)
    : loop_(loop),
      callbacks_(std::move(callbacks)),
      patience_ms_(patience_ms),
      accept_pause_(loop),
      news_timer_(loop),
      posts_(loop) {}

ClientRegistry::~ClientRegistry() {
  StopListening();
  for (auto& [id, client] : clients_) {
    if (!client->closed_) loop_->Remove(client->channel_.fd());
  }
}

Status ClientRegistry::Listen(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return {StatusCode::kInvalidArgument, "the socket path " + path + " is too long"};
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return Status::FromErrno("socket");
  ::unlink(path.c_str());
  const mode_t old = ::umask(0177);
  const int bound = ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  const int error = errno;
  ::umask(old);
  if (bound != 0) return Status::FromErrno("bind " + path, error);
  if (::listen(fd.get(), kListenBacklog) != 0) return Status::FromErrno("listen " + path);
  listener_ = std::move(fd);
  loop_->Add(listener_.get(), EPOLLIN, [this](uint32_t) { Accept(); });
  return Status::Ok();
}

void ClientRegistry::StopListening() {
  if (!listener_.valid()) return;
  accept_pause_.Stop();
  loop_->Remove(listener_.get());
  listener_.reset();
}

void ClientRegistry::Accept() {
  while (true) {
    UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd.valid()) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno != EAGAIN) PauseAccepting(Status::FromErrno("accept"));
      return;
    }
    if (!IsOurUser(fd.get())) {
      CYRAY_LOG(kWarning) << "closed a connection of another user";
      continue;
    }
    Add(std::move(fd), WorkerId::Nil());
  }
}

// Out of descriptors, most likely: who connects waits in the backlog, the loop does not spin on it.
void ClientRegistry::PauseAccepting(const Status& why) {
  CYRAY_LOG(kWarning) << why.message();
  loop_->Modify(listener_.get(), 0);
  accept_pause_.Start(kAcceptPauseMs, [this] { loop_->Modify(listener_.get(), EPOLLIN); });
}

ClientConnection* ClientRegistry::Add(UniqueFd socket, const WorkerId& expected) {
  const uint64_t id = next_id_++;
  const int fd = socket.get();
  auto client = std::make_unique<ClientConnection>(id, std::move(socket), expected);
  ClientConnection* added = client.get();
  clients_[id] = std::move(client);
  if (!expected.is_nil()) by_worker_[expected] = id;
  loop_->Add(fd, EPOLLIN, [this, id](uint32_t events) { OnReady(id, events); });
  return added;
}

bool ClientRegistry::Name(ClientConnection& client, const WorkerId& worker) {
  const auto [it, added] = by_worker_.emplace(worker, client.id_);
  if (!added && it->second != client.id_) return false;
  client.worker_id = worker;
  return true;
}

ClientConnection* ClientRegistry::Find(const WorkerId& worker) const {
  const auto it = by_worker_.find(worker);
  return it == by_worker_.end() ? nullptr : FindById(it->second);
}

ClientConnection* ClientRegistry::FindById(uint64_t id) const {
  const auto it = clients_.find(id);
  return it == clients_.end() || it->second->closed_ ? nullptr : it->second.get();
}

void ClientRegistry::OnReady(uint64_t id, uint32_t events) {
  ClientConnection* client = FindById(id);
  if (client == nullptr) return;
  if ((events & EPOLLOUT) != 0) MarkDirty(*client);
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) client->paused_ = false;  // what it said last counts
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0 || client->has_turn_) return;
  if (round_ns_ >= kRoundNs || Turn(*client)) AwaitTurn(*client);
}

void ClientRegistry::AwaitTurn(ClientConnection& client) {
  if (std::exchange(client.has_turn_, true)) return;
  turns_.push_back(client.id_);
  if (!std::exchange(turns_posted_, true)) posts_.Post([this] { GiveTurns(); });
}

void ClientRegistry::GiveTurns() {
  turns_posted_ = false;
  for (size_t waiting = turns_.size(); waiting > 0 && round_ns_ < kRoundNs; --waiting) {
    const uint64_t id = turns_.front();
    turns_.pop_front();
    ClientConnection* client = FindById(id);
    if (client == nullptr) continue;
    client->has_turn_ = false;
    if (Turn(*client)) AwaitTurn(*client);
  }
  if (!turns_.empty() && !std::exchange(turns_posted_, true)) {
    posts_.Post([this] { GiveTurns(); });
  }
}

bool ClientRegistry::Turn(ClientConnection& client) {
  const int64_t begin_ns = loop_->NowNs();
  const bool more = ReadSome(client, begin_ns + kTurnNs);
  round_ns_ += loop_->NowNs() - begin_ns;
  return more && !client.closed_;
}

bool ClientRegistry::ReadSome(ClientConnection& client, int64_t until_ns) {
  int frames = 0;
  bool full = true;  // what was there may be more than was read
  for (int fills = 0; !client.closed_ && !client.paused_;) {
    auto frame = client.channel_.Next();
    if (!frame) {
      Close(client, frame.error().message());
      return false;
    }
    if (!frame->has_value()) {
      if (!full) return false;
      if (++fills > kTurnFills) return true;
      const Result<size_t> filled = client.channel_.Fill();
      if (!filled) {
        Close(client, filled.error().message());
        return false;
      }
      full = *filled >= (32u << 10);
      if (*filled == 0) return false;
      continue;
    }
    // The frame stays in the channel's buffer: it is handled before the next is asked for.
    Handle(client, **frame);
    if (++frames >= kTurnFrames || (frames % 4 == 0 && loop_->NowNs() >= until_ns)) return true;
  }
  return false;
}

void ClientRegistry::ReadOut(ClientConnection& client) {
  client.paused_ = false;
  for (int turns = 0; turns < kLastTurns && ReadSome(client, INT64_MAX); ++turns) continue;
}

void ClientRegistry::Handle(ClientConnection& client, wire::Frame& frame) {
  ++frames_handled_;
  const auto type = static_cast<int>(frame.type);
  if (callbacks_.on_frame(client, frame)) return;
  CYRAY_LOG(kWarning) << "bad frame of type " << type << " from process " << client.pid;
  Close(client, "it sent a frame that cannot be understood");
}

void ClientRegistry::Send(ClientConnection& client, wire::FrameType type,
                          const flatbuffers::FlatBufferBuilder& builder) {
  Send(client, type, builder.GetBufferPointer(), builder.GetSize());
}

void ClientRegistry::Send(ClientConnection& client, wire::FrameType type, const uint8_t* body,
                          size_t size) {
  if (client.closed_) return;
  client.channel_.Send(type, body, size);
  MarkDirty(client);
}

void ClientRegistry::SendWithFds(ClientConnection& client, wire::FrameType type,
                                 const flatbuffers::FlatBufferBuilder& builder,
                                 std::vector<UniqueFd> fds) {
  if (client.closed_) return;
  client.channel_.SendWithFds(type, builder, std::move(fds));
  MarkDirty(client);
}

void ClientRegistry::Announce(wire::FrameType type, const flatbuffers::FlatBufferBuilder& builder) {
  wire::AppendFrame(news_, type, builder.GetBufferPointer(), builder.GetSize());
  const int64_t wait_ms = next_news_ms_ - loop_->NowMs();
  if (wait_ms <= 0) return SendNews();
  news_timer_.StartOnce(wait_ms, [this] { SendNews(); });
}

void ClientRegistry::SendNews() {
  news_timer_.Stop();
  for (auto& [id, client] : clients_) {
    if (client->closed_ || !client->registered) continue;
    client->channel_.SendRaw(news_.data(), news_.size());
    MarkDirty(*client);
  }
  news_ = {};
  next_news_ms_ = loop_->NowMs() + kNewsMs + static_cast<int64_t>(clients_.size()) / kNewsPerMs;
}

void ClientRegistry::MarkDirty(ClientConnection& client) {
  if (client.dirty_) return;
  client.dirty_ = true;
  dirty_.push_back(client.id_);
}

void ClientRegistry::Flush(ClientConnection& client) {
  client.dirty_ = false;
  const size_t before = client.channel_.unsent_bytes();
  const Status status = client.channel_.Flush();
  if (!status.ok()) {
    // It has ended. What it said last, maybe why it ends, is still to be read; then its socket
    // says so, too.
    client.paused_ = false;
    if (Turn(client)) {
      AwaitTurn(client);
    } else {
      Close(client, status.message());
    }
    return;
  }
  const size_t unsent = client.channel_.unsent_bytes();
  const int64_t now_ms = loop_->NowMs();
  if (unsent < before) client.read_ms_ = now_ms;
  client.taken_ += before - unsent;
  if (!client.metered_.empty()) TakeMetered(client);
  if (unsent > kMuchUnsentBytes + client.metered_bytes_ &&
      now_ms - client.read_ms_ >= patience_ms_) {
    Close(client, "it does not read what it is sent");
    return;
  }
  if (const bool wants = client.channel_.HasUnsent(); wants != client.wants_output_) {
    client.wants_output_ = wants;
    UpdateEvents(client);
  }
}

void ClientRegistry::UpdateEvents(ClientConnection& client) {
  uint32_t events = 0;
  if (!client.paused_) events |= EPOLLIN;
  if (client.wants_output_) events |= EPOLLOUT;
  loop_->Modify(client.channel_.fd(), events);
}

void ClientRegistry::SendMetered(ClientConnection& client, const wire::Frame& frame,
                                 const NodeId& from) {
  if (client.closed_) return;
  Send(client, frame.type, frame.body, frame.body_bytes);
  client.metered_.push_back(
      {client.taken_ + client.channel_.unsent_bytes(), from, frame.body_bytes});
  client.metered_bytes_ += frame.body_bytes;
}

void ClientRegistry::TakeMetered(ClientConnection& client) {
  while (!client.metered_.empty() && client.metered_.front().end <= client.taken_) {
    const ClientConnection::Metered frame = client.metered_.front();
    client.metered_.pop_front();
    client.metered_bytes_ -= frame.bytes;
    if (on_taken_) on_taken_(client.worker_id, frame.from, frame.bytes);
  }
}

void ClientRegistry::SetReading(uint64_t id, bool reading) {
  ClientConnection* client = FindById(id);
  if (client == nullptr || client->paused_ == !reading) return;
  client->paused_ = !reading;
  UpdateEvents(*client);
  if (reading) AwaitTurn(*client);  // frames that were read before it was paused cause no event
}

void ClientRegistry::FlushAll() {
  round_ns_ = 0;
  while (!dirty_.empty() || !closed_.empty()) {  // a close may make others dirty
    for (const uint64_t id : std::exchange(dirty_, {})) {
      if (ClientConnection* client = FindById(id)) Flush(*client);
    }
    for (const uint64_t id : std::exchange(closed_, {})) clients_.erase(id);
  }
}

void ClientRegistry::Close(ClientConnection& client, const std::string& reason) {
  if (client.closed_) return;
  client.closed_ = true;
  closed_.push_back(client.id_);
  loop_->Remove(client.channel_.fd());
  const auto named = by_worker_.find(client.worker_id);
  if (named != by_worker_.end() && named->second == client.id_) by_worker_.erase(named);
  callbacks_.on_closed(client, reason);
  client.channel_.ReleaseFd();  // closed at once: the other side may wait for it
}

}  // namespace cyray::raylet
