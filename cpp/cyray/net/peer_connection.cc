#include "cyray/net/peer_connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "cyray/crypto/auth.h"
#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace cyray::net {
namespace {

constexpr size_t kMaxReadPerRound = 8 << 20;  // then others get their turn
constexpr size_t kMaxSegmentBytes = 256 << 10;
constexpr size_t kMaxParts = 32;
constexpr uint32_t kMaxRawBytes = 4 << 20;
constexpr int64_t kOpeningTimeoutMs = 3000;
constexpr int kSilenceMs = 6000;

void SetOption(int fd, int level, int name, int value) {
  ::setsockopt(fd, level, name, &value, sizeof value);
}

// A peer that vanished without closing is noticed within kSilenceMs.
void ConfigureSocket(int fd) {
  SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  SetOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, 2);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
  SetOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, kSilenceMs);
}

bool WouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK; }

Status Gone(const char* what) {
  return Status(StatusCode::kDisconnected, Status::FromErrno(what).message());
}

Handshake MakeHandshake(const PeerConnection::Identity& identity, std::optional<NodeId> target) {
  const Handshake::Party self{identity.node, identity.incarnation};
  return target ? Handshake::Dialer(identity.token, self, *target, crypto::RandomNonce())
                : Handshake::Listener(identity.token, self, crypto::RandomNonce());
}

}  // namespace

PeerConnection::PeerConnection(EventLoop* loop, const Identity& identity, Delegate* delegate,
                               UniqueFd socket, std::optional<NodeId> target)
    : loop_(loop),
      delegate_(delegate),
      dialed_(target.has_value()),
      socket_(std::move(socket)),
      state_(dialed_ ? State::kConnecting : State::kHandshake),
      node_(target.value_or(NodeId::Nil())),
      handshake_(MakeHandshake(identity, target)) {
  ConfigureSocket(socket_.get());
}

PeerConnection::~PeerConnection() { Close(); }

Result<std::shared_ptr<PeerConnection>> PeerConnection::Dial(EventLoop* loop,
                                                             const Identity& identity,
                                                             Delegate* delegate,
                                                             const NodeId& target,
                                                             const std::string& ip, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (inet_pton(AF_INET, ip.c_str(), &address.sin_addr) != 1) {
    return cyray::Fail(StatusCode::kInvalidArgument, "not an IPv4 address: " + ip);
  }
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return cyray::Fail(Status::FromErrno("socket"));
  const int fd = socket.get();
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 &&
      errno != EINPROGRESS) {
    return cyray::Fail(Gone("connect"));
  }
  std::shared_ptr<PeerConnection> connection(
      new PeerConnection(loop, identity, delegate, std::move(socket), target));
  connection->Watch(EPOLLIN | EPOLLOUT);
  return connection;
}

std::shared_ptr<PeerConnection> PeerConnection::Accept(EventLoop* loop, const Identity& identity,
                                                       Delegate* delegate, UniqueFd socket) {
  std::shared_ptr<PeerConnection> connection(
      new PeerConnection(loop, identity, delegate, std::move(socket), std::nullopt));
  connection->Watch(EPOLLIN);
  return connection;
}

void PeerConnection::Watch(uint32_t events) {
  wants_write_ = (events & EPOLLOUT) != 0;
  const std::weak_ptr<PeerConnection> weak = weak_from_this();
  loop_->Add(socket_.get(), events, [weak](uint32_t ready) {
    if (const auto self = weak.lock()) self->OnReady(ready);
  });
  opening_timer_ = loop_->RunAfter(kOpeningTimeoutMs, [weak] {
    const auto self = weak.lock();
    if (self == nullptr || self->state_ == State::kOpen) return;
    self->Fail(Status(StatusCode::kTimedOut, "the connection was not set up within 3 s"));
  });
}

void PeerConnection::Close() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  loop_->Cancel(opening_timer_);
  loop_->Remove(socket_.get());
  socket_.reset();
  out_.clear();
  unsent_ = 0;
}

void PeerConnection::Fail(const Status& why) {
  if (state_ == State::kClosed) return;
  const auto self = weak_from_this().lock();
  Close();
  delegate_->OnClosed(*this, why);
}

void PeerConnection::OnReady(uint32_t events) {
  if (state_ == State::kConnecting) {
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) OnConnected();
    return;
  }
  if ((events & EPOLLOUT) != 0) Flush();
  if (state_ == State::kClosed || (events & ~uint32_t{EPOLLOUT}) == 0) return;
  Status status = Status::Ok();
  if (state_ == State::kHandshake) status = ReadHandshake();
  if (status.ok() && state_ != State::kClosed && state_ != State::kHandshake) status = ReadSome();
  if (!status.ok()) Fail(status);
}

void PeerConnection::OnConnected() {
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) {
    return Fail(Status(StatusCode::kDisconnected, Status::FromErrno("connect", error).message()));
  }
  state_ = State::kHandshake;
  const std::string hello = handshake_.TakeOutput();
  SendRaw(reinterpret_cast<const uint8_t*>(hello.data()), hello.size());
  Flush();
}

Status PeerConnection::ReadHandshake() {
  while (!handshake_.done()) {
    std::array<uint8_t, 128> bytes;
    const size_t wanted = std::min(bytes.size(), handshake_.wanted());
    const ssize_t n = ::recv(socket_.get(), bytes.data(), wanted, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return WouldBlock() ? Status::Ok() : Gone("recv");
    if (n == 0) {
      return Status(StatusCode::kDisconnected, "the peer closed the connection in the handshake");
    }
    CYRAY_RETURN_IF_ERROR(handshake_.Receive({bytes.data(), static_cast<size_t>(n)}));
    const std::string answer = handshake_.TakeOutput();
    SendRaw(reinterpret_cast<const uint8_t*>(answer.data()), answer.size());
  }
  node_ = handshake_.peer().node;
  state_ = State::kAwaitHello;
  if (dialed_) SendHello();
  return Status::Ok();
}

void PeerConnection::SendHello() {
  flatbuffers::FlatBufferBuilder builder(64);
  builder.Finish(wire::CreatePeerHello(builder));
  Send(wire::FrameType::kPeerHello, builder);
}

void PeerConnection::Open() {
  CYRAY_CHECK(state_ == State::kAwaitHello) << static_cast<int>(state_);
  state_ = State::kOpen;
  loop_->Cancel(opening_timer_);
  if (!dialed_) SendHello();
}

// --- Reading ---

Status PeerConnection::ReadSome() {
  const auto self = shared_from_this();
  size_t before = 0;
  for (size_t total = 0; total < kMaxReadPerRound && state_ != State::kClosed;) {
    before = chunk_left_ > 0 ? kMaxRawBytes : wire::FrameReader::kReadChunkBytes;
    const bool into_sink = chunk_left_ > 0 && reader_.unread().empty();
    Result<bool> more = into_sink ? ReadIntoSink() : ReadIntoBuffer();
    if (!more) return more.error();
    CYRAY_RETURN_IF_ERROR(CutFrames());
    if (!*more) break;
    total += before;
  }
  return Status::Ok();
}

// The bytes read; 0 when none are there.
Result<size_t> PeerConnection::Receive(std::span<uint8_t> into) {
  ssize_t n;
  do {
    n = ::recv(socket_.get(), into.data(), into.size(), MSG_DONTWAIT);
  } while (n < 0 && errno == EINTR);
  if (n == 0) return cyray::Fail(StatusCode::kDisconnected, "the peer closed the connection");
  if (n > 0) return static_cast<size_t>(n);
  if (WouldBlock()) return size_t{0};
  return cyray::Fail(Gone("recv"));
}

Result<bool> PeerConnection::ReadIntoBuffer() {
  const std::span<uint8_t> room = reader_.Room();
  const Result<size_t> n = Receive(room);
  if (!n) return cyray::Fail(n.error());
  reader_.Filled(*n);
  return *n == room.size();
}

Result<bool> PeerConnection::ReadIntoSink() {
  std::array<uint8_t, 16 << 10> dropped;
  std::span<uint8_t> sink = Sink();
  if (sink.empty()) sink = std::span(dropped).first(std::min<size_t>(dropped.size(), chunk_left_));
  const Result<size_t> n = Receive(sink.first(std::min<size_t>(sink.size(), chunk_left_)));
  if (!n) return cyray::Fail(n.error());
  if (*n == 0) return false;
  chunk_done_ += static_cast<uint32_t>(*n);
  chunk_left_ -= static_cast<uint32_t>(*n);
  EndChunkIfComplete();
  return true;
}

void PeerConnection::FeedSinkFromBuffer() {
  while (chunk_left_ > 0 && !reader_.unread().empty()) {
    const std::span<const uint8_t> unread = reader_.unread();
    const size_t have = std::min<size_t>(unread.size(), chunk_left_);
    const std::span<uint8_t> sink = Sink();
    const size_t taken = sink.empty() ? have : std::min(have, sink.size());
    if (!sink.empty()) std::memcpy(sink.data(), unread.data(), taken);
    reader_.Skip(taken);
    chunk_done_ += static_cast<uint32_t>(taken);
    chunk_left_ -= static_cast<uint32_t>(taken);
    EndChunkIfComplete();
  }
}

std::span<uint8_t> PeerConnection::Sink() {
  BulkReceiver* receiver = delegate_->bulk_receiver();
  if (receiver == nullptr) return {};
  return receiver->ChunkSink(node_, chunk_request_, chunk_done_, chunk_left_);
}

void PeerConnection::EndChunkIfComplete() {
  BulkReceiver* receiver = delegate_->bulk_receiver();
  if (chunk_left_ > 0 || receiver == nullptr) return;
  receiver->OnChunkEnd(node_, chunk_request_, chunk_done_);
}

Status PeerConnection::CutFrames() {
  while (state_ != State::kClosed) {
    FeedSinkFromBuffer();
    if (chunk_left_ > 0 || state_ == State::kClosed) return Status::Ok();
    const Result<std::optional<wire::Frame>> next = reader_.Next();
    if (!next) return next.error();
    if (!next->has_value()) return Status::Ok();
    CYRAY_RETURN_IF_ERROR(HandleFrame(**next));
  }
  return Status::Ok();
}

Status PeerConnection::HandleFrame(const wire::Frame& frame) {
  if (state_ == State::kAwaitHello) {
    if (frame.type != wire::FrameType::kPeerHello || frame.As<wire::PeerHello>() == nullptr) {
      return Status(StatusCode::kProtocolError, "the first frame is not a PeerHello");
    }
    delegate_->OnHello(*this, node_, handshake_.peer().incarnation);
    return Status::Ok();
  }
  if (frame.type == wire::FrameType::kObjectChunk) return HandleChunk(frame);
  if (!delegate_->OnFrame(*this, frame)) {
    return Status(
        StatusCode::kProtocolError,
        "a frame of type " + std::to_string(static_cast<int>(frame.type)) + " is not valid here");
  }
  return Status::Ok();
}

Status PeerConnection::HandleChunk(const wire::Frame& frame) {
  const auto* chunk = frame.As<wire::ObjectChunk>();
  BulkReceiver* receiver = delegate_->bulk_receiver();
  if (chunk == nullptr || chunk->object_id() == nullptr || chunk->raw_bytes() > kMaxRawBytes ||
      receiver == nullptr || !receiver->OnChunk(node_, *chunk)) {
    return Status(StatusCode::kProtocolError, "an object chunk is not valid");
  }
  chunk_request_ = chunk->request_id();
  chunk_done_ = 0;
  chunk_left_ = chunk->raw_bytes();
  EndChunkIfComplete();
  return Status::Ok();
}

// --- Writing ---

wire::ByteBuffer& PeerConnection::OpenSegment() {
  if (out_.empty() || !out_.back().bulk.bytes.empty() ||
      out_.back().owned.size() > kMaxSegmentBytes) {
    out_.emplace_back();
  }
  return out_.back().owned;
}

void PeerConnection::Send(wire::FrameType type, const flatbuffers::FlatBufferBuilder& builder) {
  if (state_ == State::kClosed) return;
  wire::ByteBuffer& buffer = OpenSegment();
  const size_t before = buffer.size();
  wire::AppendFrame(buffer, type, builder.GetBufferPointer(), builder.GetSize());
  unsent_ += buffer.size() - before;
  ScheduleFlush();
}

void PeerConnection::SendRaw(const uint8_t* frames, size_t bytes) {
  if (state_ == State::kClosed || bytes == 0) return;
  OpenSegment().append(frames, bytes);
  unsent_ += bytes;
  ScheduleFlush();
}

void PeerConnection::SendBulk(const flatbuffers::FlatBufferBuilder& chunk, BulkBytes bulk) {
  if (state_ == State::kClosed) return;
  Send(wire::FrameType::kObjectChunk, chunk);
  if (bulk.bytes.empty()) return;
  unsent_ += bulk.bytes.size();
  out_.push_back(Segment{{}, std::move(bulk)});
  drained_told_ = false;
}

void PeerConnection::ScheduleFlush() {
  if (flush_scheduled_ || wants_write_) return;
  flush_scheduled_ = true;
  loop_->Post([weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self == nullptr) return;
    self->flush_scheduled_ = false;
    self->Flush();
  });
}

void PeerConnection::Flush() {
  if (state_ == State::kClosed || state_ == State::kConnecting) return;
  const auto self = shared_from_this();
  while (unsent_ > 0) {
    std::array<iovec, kMaxParts> parts;
    size_t count = 0;
    for (auto it = out_.begin(); it != out_.end() && count < kMaxParts; ++it) {
      const size_t skip = it == out_.begin() ? out_at_ : 0;
      if (it->size() == skip) continue;
      parts[count++] = {const_cast<uint8_t*>(it->data()) + skip, it->size() - skip};
    }
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = count;
    const ssize_t n = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && WouldBlock()) break;
    if (n < 0) return Fail(Gone("send"));
    Consume(static_cast<size_t>(n));
  }
  const bool wants_write = unsent_ > 0;
  if (wants_write != wants_write_) {
    wants_write_ = wants_write;
    loop_->Modify(socket_.get(), wants_write ? EPOLLIN | EPOLLOUT : EPOLLIN);
  }
  if (unsent_ < kLowWaterBytes && !drained_told_) {
    drained_told_ = true;
    delegate_->OnDrained(*this);
  }
}

void PeerConnection::Consume(size_t bytes) {
  unsent_ -= bytes;
  while (bytes > 0) {
    const size_t left = out_.front().size() - out_at_;
    if (bytes < left) {
      out_at_ += bytes;
      return;
    }
    bytes -= left;
    out_at_ = 0;
    out_.pop_front();
  }
}

}  // namespace cyray::net
