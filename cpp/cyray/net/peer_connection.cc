#include "cyray/net/peer_connection.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "cyray/crypto/auth.h"
#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace cyray::net {
namespace {

constexpr size_t kMaxReadPerRound = 8 << 20;  // then others get their turn
constexpr size_t kMaxWrittenPerRound = 8 << 20;
constexpr size_t kReadBytes = 64 << 10;
// Read with the end of a chunk: the packet and the frame that begin the next one.
constexpr size_t kBesideSinkBytes = 512;
constexpr size_t kMaxParts = 32;
constexpr size_t kHelloPayloadBytes = sizeof(Hello);

Handshake MakeHandshake(const PeerConnection::Identity& identity, std::optional<NodeId> target) {
  const Handshake::Party self{identity.node, identity.incarnation};
  return target ? Handshake::Dialer(identity.token, self, *target, crypto::RandomNonce())
                : Handshake::Listener(identity.token, self, crypto::RandomNonce());
}

Status Invalid(const char* what) {
  return Status(StatusCode::kProtocolError, std::string(what) + " is not valid");
}

}  // namespace

PeerConnection::PeerConnection(Runtime* runtime, const Identity& identity, Delegate* delegate,
                               std::optional<NodeId> target, std::unique_ptr<Stream> stream)
    : runtime_(runtime),
      delegate_(delegate),
      dialed_(target.has_value()),
      stream_(std::move(stream)),
      node_(target.value_or(NodeId::Nil())),
      handshake_(MakeHandshake(identity, target)),
      opening_timer_(runtime),
      ack_timer_(runtime),
      silence_timer_(runtime) {}

PeerConnection::~PeerConnection() { Close(); }

std::shared_ptr<PeerConnection> PeerConnection::Dialed(Runtime* runtime, const Identity& identity,
                                                       Delegate* delegate, const NodeId& target,
                                                       std::unique_ptr<Stream> stream) {
  std::shared_ptr<PeerConnection> connection(
      new PeerConnection(runtime, identity, delegate, target, std::move(stream)));
  const std::string hello = connection->handshake_.TakeOutput();
  connection->Append({reinterpret_cast<const uint8_t*>(hello.data()), hello.size()});
  connection->Watch();
  return connection;
}

std::shared_ptr<PeerConnection> PeerConnection::Accepted(Runtime* runtime, const Identity& identity,
                                                         Delegate* delegate,
                                                         std::unique_ptr<Stream> stream) {
  std::shared_ptr<PeerConnection> connection(
      new PeerConnection(runtime, identity, delegate, std::nullopt, std::move(stream)));
  connection->Watch();
  return connection;
}

void PeerConnection::Watch() {
  const std::weak_ptr<PeerConnection> weak = weak_from_this();
  stream_->Watch([weak](bool readable, bool writable) {
    if (const auto self = weak.lock()) self->OnReady(readable, writable);
  });
  opening_timer_.Start(kOpeningTimeoutMs, [weak] {
    const auto self = weak.lock();
    if (self == nullptr || self->state_ == State::kOpen) return;
    self->Fail(Status(StatusCode::kTimedOut, "the connection was not set up within 3 s"));
  });
}

void PeerConnection::Close() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  opening_timer_.Stop();
  ack_timer_.Stop();
  silence_timer_.Stop();
  stream_.reset();
  session_.reset();
  out_.clear();
  chunks_.clear();
  unsent_bulk_ = 0;
}

void PeerConnection::Fail(const Status& why) {
  if (state_ == State::kClosed) return;
  const auto self = weak_from_this().lock();
  Close();
  delegate_->OnClosed(*this, why);
}

void PeerConnection::OnReady(bool readable, bool writable) {
  if (writable) Flush();
  if (state_ == State::kClosed || !readable) return;
  Status status = Status::Ok();
  if (state_ == State::kHandshake) status = ReadHandshake();
  if (status.ok() && state_ != State::kClosed && state_ != State::kHandshake) status = ReadSome();
  if (!status.ok()) Fail(status);
}

// --- Setting up -------------------------------------------------------------------------------

Status PeerConnection::ReadHandshake() {
  while (!handshake_.done()) {
    std::array<uint8_t, 128> bytes;
    const iovec room{bytes.data(), std::min(bytes.size(), handshake_.wanted())};
    const Result<size_t> n = stream_->Read({&room, 1});
    if (!n) return n.error();
    if (*n == 0) return Status::Ok();
    CYRAY_RETURN_IF_ERROR(handshake_.Receive(std::span(bytes).first(*n)));
    const std::string answer = handshake_.TakeOutput();
    Append({reinterpret_cast<const uint8_t*>(answer.data()), answer.size()});
    ScheduleFlush();
  }
  node_ = handshake_.peer().node;
  state_ = State::kAwaitHello;
  if (dialed_) SendHello(delegate_->Greet(node_));
  return Status::Ok();
}

void PeerConnection::SendHello(const Greeting& greeting) {
  PacketHeader header;
  header.bytes = kHelloPayloadBytes;
  header.lane = Lane::kHello;
  header.received = greeting.received;
  const Hello hello{greeting.opened};
  Append({reinterpret_cast<const uint8_t*>(&header), sizeof header});
  Append({reinterpret_cast<const uint8_t*>(&hello), sizeof hello});
  ScheduleFlush();
}

Status PeerConnection::HandleHello(const PacketHeader& header, const uint8_t* payload) {
  Hello hello;
  std::memcpy(&hello, payload, sizeof hello);
  peer_received_ = header.received;
  delegate_->OnHello(*this, handshake_.peer(), Greeting{hello.opened, header.received});
  return Status::Ok();
}

Status PeerConnection::Open(std::shared_ptr<PeerSession> session, const Greeting& greeting) {
  CYRAY_CHECK(state_ == State::kAwaitHello) << static_cast<int>(state_);
  CYRAY_RETURN_IF_ERROR(session->Resume(peer_received_));
  state_ = State::kOpen;
  opening_timer_.Stop();
  if (!dialed_) SendHello(greeting);
  session_ = std::move(session);
  ScheduleFlush();
  return Status::Ok();
}

// --- Reading ----------------------------------------------------------------------------------

Status PeerConnection::ReadSome() {
  const auto self = shared_from_this();
  for (size_t total = 0; total < kMaxReadPerRound && state_ != State::kClosed;) {
    total += std::max<size_t>(chunk_left_, kReadBytes);
    const Result<bool> more = Receive();
    if (!more) return more.error();
    CYRAY_RETURN_IF_ERROR(Parse());
    if (!*more) break;
  }
  if (session_ == nullptr) return Status::Ok();
  if (session_->ack_due()) {
    ScheduleFlush();
  } else if (session_->owes_ack() && !ack_timer_.running()) {
    AckLater();
  }
  return Status::Ok();
}

void PeerConnection::AckLater() {
  ack_timer_.Start(kAckMs, [this] {
    ack_wanted_ = session_->owes_ack();
    if (ack_wanted_) ScheduleFlush();
  });
}

Result<bool> PeerConnection::Receive() {
  if (unread_bytes() == 0) {
    in_.clear();
    in_at_ = 0;
  } else if (in_at_ > 0) {
    in_.consume(in_at_);
    in_at_ = 0;
  }
  const size_t before = in_.size();
  std::array<uint8_t, 16 << 10> dropped;
  std::array<iovec, 2> room;
  size_t sink_bytes = 0;
  size_t parts = 0;
  if (chunk_left_ > 0) {  // and nothing is unread
    std::span<uint8_t> sink = Sink();
    if (state_ == State::kClosed) return false;
    if (sink.empty()) sink = dropped;
    sink_bytes = std::min<size_t>(sink.size(), chunk_left_);
    room[parts++] = {sink.data(), sink_bytes};
  }
  const bool whole_sink = sink_bytes == chunk_left_;
  const size_t beside = !whole_sink ? 0 : sink_bytes > 0 ? kBesideSinkBytes : kReadBytes;
  in_.resize(before + beside);
  if (beside > 0) room[parts++] = {in_.data() + before, beside};
  const Result<size_t> n = stream_->Read(std::span(room).first(parts));
  heard_ = heard_ || (n && *n > 0);
  const size_t into_sink = n ? std::min(*n, sink_bytes) : 0;
  in_.resize(before + (n ? *n - into_sink : 0));
  if (!n) return cyray::Fail(n.error());
  if (into_sink > 0) SinkFilled(into_sink);
  return *n == sink_bytes + beside;
}

Status PeerConnection::Parse() {
  while (state_ != State::kClosed && (unread_bytes() > 0)) {
    if (chunk_left_ > 0) {
      FeedSinkFromBuffer();
    } else if (packet_left_ > 0) {
      CYRAY_RETURN_IF_ERROR(FeedLane());
    } else {
      const size_t before = in_at_;
      CYRAY_RETURN_IF_ERROR(BeginPacket());
      if (in_at_ == before) return Status::Ok();
    }
  }
  return Status::Ok();
}

// Takes nothing while the header, or what is handled as a whole, is incomplete.
Status PeerConnection::BeginPacket() {
  if (unread_bytes() < kPacketHeaderBytes) return Status::Ok();
  PacketHeader header;
  std::memcpy(&header, unread(), sizeof header);
  const size_t whole = kPacketHeaderBytes + header.bytes;
  if (state_ == State::kAwaitHello) {
    if (header.lane != Lane::kHello || header.bytes != kHelloPayloadBytes) {
      return Invalid("the first packet");
    }
    if (unread_bytes() < whole) return Status::Ok();
    in_at_ += whole;
    return HandleHello(header, unread() - kHelloPayloadBytes);
  }
  if (!IsValid(header)) return Invalid("a packet");
  if (header.lane == Lane::kBulk && unread_bytes() < whole) return Status::Ok();
  const bool had_room = session_->has_room();
  CYRAY_RETURN_IF_ERROR(session_->OnAck(header.received));
  packet_ = header;
  in_at_ += kPacketHeaderBytes;
  if (header.lane < Lane::kBulk) packet_left_ = header.bytes;
  const Status status = header.lane == Lane::kBulk ? HandleChunk() : Status::Ok();
  if (!had_room && session_ != nullptr && session_->has_room()) delegate_->OnRoom(*this);
  return status;
}

Status PeerConnection::FeedLane() {
  const size_t n = std::min<size_t>(unread_bytes(), packet_left_);
  const std::span<const uint8_t> bytes(unread(), n);
  packet_left_ -= static_cast<uint32_t>(n);
  in_at_ += n;
  const std::shared_ptr<PeerSession> session = session_;  // a handler may close the connection
  return session->OnBytes(packet_.lane, bytes, [this](const wire::Frame& frame) {
    return delegate_->OnFrame(*this, frame);
  });
}

Status PeerConnection::HandleChunk() {
  wire::FrameHeader frame_header;
  const uint8_t* payload = unread();
  in_at_ += packet_.bytes;
  if (packet_.bytes < sizeof frame_header) return Invalid("an object chunk");
  std::memcpy(&frame_header, payload, sizeof frame_header);
  if (frame_header.body_bytes != packet_.bytes - sizeof frame_header ||
      frame_header.type != static_cast<uint16_t>(wire::FrameType::kObjectChunk)) {
    return Invalid("an object chunk");
  }
  // Read in place needs the alignment that a stream of packets does not have.
  std::vector<uint64_t> aligned((frame_header.body_bytes + 7) / 8);
  std::memcpy(aligned.data(), payload + sizeof frame_header, frame_header.body_bytes);
  const wire::Frame frame{wire::FrameType::kObjectChunk,
                          reinterpret_cast<const uint8_t*>(aligned.data()),
                          frame_header.body_bytes,
                          {}};
  const auto* chunk = frame.As<wire::ObjectChunk>();
  BulkReceiver* receiver = delegate_->bulk_receiver();
  if (chunk == nullptr || chunk->object_id() == nullptr || chunk->raw_bytes() > kMaxChunkBytes ||
      receiver == nullptr || !receiver->OnChunk(node_, *chunk)) {
    return Invalid("an object chunk");
  }
  chunk_request_ = chunk->request_id();
  chunk_done_ = 0;
  chunk_left_ = chunk->raw_bytes();
  if (chunk_left_ == 0) SinkFilled(0);
  return Status::Ok();
}

void PeerConnection::FeedSinkFromBuffer() {
  const size_t have = std::min<size_t>(unread_bytes(), chunk_left_);
  const std::span<uint8_t> sink = Sink();
  const size_t taken = sink.empty() ? have : std::min(have, sink.size());
  if (!sink.empty()) std::memcpy(sink.data(), unread(), taken);
  in_at_ += taken;
  SinkFilled(taken);
}

std::span<uint8_t> PeerConnection::Sink() {
  BulkReceiver* receiver = delegate_->bulk_receiver();
  if (receiver == nullptr) return {};
  return receiver->ChunkSink(node_, chunk_request_, chunk_done_, chunk_left_);
}

void PeerConnection::SinkFilled(size_t bytes) {
  chunk_done_ += static_cast<uint32_t>(bytes);
  chunk_left_ -= static_cast<uint32_t>(bytes);
  BulkReceiver* receiver = delegate_->bulk_receiver();
  if (chunk_left_ > 0 || receiver == nullptr) return;
  receiver->OnChunkEnd(node_, chunk_request_, chunk_done_);
}

// --- Writing ----------------------------------------------------------------------------------

void PeerConnection::Append(std::span<const uint8_t> bytes) {
  if (out_.empty() || !out_.back().bulk.bytes.empty()) out_.emplace_back();
  out_.back().owned.append(bytes.data(), bytes.size());
  committed_ += bytes.size();
}

// Small payloads are copied beside their header, so that many make few parts.
void PeerConnection::AppendPacket(Lane lane, std::span<const uint8_t> payload, BulkBytes bulk) {
  constexpr size_t kCopiedBytes = 2048;
  PacketHeader header;
  header.bytes = static_cast<uint32_t>(payload.size());
  header.lane = lane;
  header.received = session_->received();
  session_->AckTold();
  Append({reinterpret_cast<const uint8_t*>(&header), sizeof header});
  if (lane == Lane::kBulk || payload.size() <= kCopiedBytes) {
    if (!payload.empty()) Append(payload);
  } else {
    bulk.bytes = payload;
  }
  if (bulk.bytes.empty()) return;
  committed_ += bulk.bytes.size();
  out_.push_back(Segment{{}, std::move(bulk)});
}

// Adds the next packet to what is on its way. False: there is none.
bool PeerConnection::CommitPacket() {
  if (session_ == nullptr) return false;
  std::optional<PeerSession::Piece> piece = session_->Next(Lane::kControl);
  const bool bulk =
      !piece && !chunks_.empty() && (bulk_turn_ || session_->unsent_bytes(Lane::kRelay) == 0);
  if (!piece && !bulk) piece = session_->Next(Lane::kRelay);
  if (piece) {
    if (piece->lane == Lane::kRelay) bulk_turn_ = true;
    AppendPacket(piece->lane, piece->bytes, BulkBytes{{}, std::move(piece->keep)});
    return true;
  }
  if (bulk) {
    bulk_turn_ = false;
    Chunk chunk = std::move(chunks_.front());
    chunks_.pop_front();
    unsent_bulk_ -= chunk.bulk.bytes.size();
    AppendPacket(Lane::kBulk, {chunk.frame.data(), chunk.frame.size()}, std::move(chunk.bulk));
    return true;
  }
  if (!session_->ack_due() && !(std::exchange(ack_wanted_, false) && session_->owes_ack())) {
    return false;
  }
  AppendPacket(Lane::kAck, {}, {});
  return true;
}

void PeerConnection::SendBulk(const flatbuffers::FlatBufferBuilder& chunk, BulkBytes bulk) {
  if (state_ != State::kOpen) return;
  CYRAY_CHECK(bulk.bytes.size() <= kMaxChunkBytes) << bulk.bytes.size();
  Chunk queued;
  wire::AppendFrame(queued.frame, wire::FrameType::kObjectChunk, chunk.GetBufferPointer(),
                    chunk.GetSize());
  unsent_bulk_ += bulk.bytes.size();
  queued.bulk = std::move(bulk);
  chunks_.push_back(std::move(queued));
  room_told_ = false;
  ScheduleFlush();
}

void PeerConnection::ScheduleFlush() {
  if (flush_scheduled_ || awaits_room_ || state_ == State::kClosed) return;
  flush_scheduled_ = true;
  runtime_->Post([weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self == nullptr) return;
    self->flush_scheduled_ = false;
    self->Flush();
  });
}

void PeerConnection::Flush() {
  if (state_ == State::kClosed) return;
  const auto self = shared_from_this();
  flush_scheduled_ = true;  // what is queued below goes with this one
  size_t written = 0;
  bool full = false;
  bool drained = false;
  while (!full && written < kMaxWrittenPerRound) {
    while (committed_ < pace_.write_bytes() && CommitPacket()) {
    }
    drained = committed_ == 0;
    if (drained) break;
    const Result<size_t> n = WriteSome(full);
    if (!n) return Fail(n.error());
    written += *n;
    if (unsent_bulk_ < kLowWaterBytes && !room_told_) {
      room_told_ = true;
      delegate_->OnRoom(*this);
      if (state_ == State::kClosed) return;
    }
  }
  if (full) {
    pace_.OnFull(runtime_->NowNs());
  } else if (drained) {
    pace_.OnDrained();
  }
  if (std::exchange(unsent_limit_, pace_.unsent_bytes()) != pace_.unsent_bytes()) {
    stream_->LimitUnsent(unsent_limit_);
  }
  flush_scheduled_ = false;
  awaits_room_ = full;
  stream_->AwaitWritable(full);
  if (!full && !drained) ScheduleFlush();  // others get their turn before
  if (session_ != nullptr && !silence_timer_.running() && awaits_peer()) WatchSilence();
}

Result<size_t> PeerConnection::WriteSome(bool& full) {
  std::array<iovec, kMaxParts> parts;
  size_t count = 0;
  size_t offered = 0;
  for (auto it = out_.begin(); it != out_.end() && count < kMaxParts; ++it) {
    const size_t skip = it == out_.begin() ? out_at_ : 0;
    if (it->size() == skip) continue;
    parts[count++] = {const_cast<uint8_t*>(it->data()) + skip, it->size() - skip};
    offered += it->size() - skip;
  }
  const Result<size_t> n = stream_->Write(std::span(parts).first(count));
  if (!n) return n;
  full = *n < offered;
  heard_ = heard_ || (*n > 0 && awaits_room_);
  Consume(*n);
  pace_.OnWritten(*n);
  return n;
}

void PeerConnection::WatchSilence() {
  heard_ = false;
  silence_timer_.Start(kSilentMs, [this] {
    const auto self = shared_from_this();
    const bool silent = !heard_ && awaits_peer();
    if (silent || awaits_peer()) WatchSilence();
    if (silent) {
      silent_ = true;
      delegate_->OnSilent(*this);
    } else if (std::exchange(silent_, false)) {
      delegate_->OnHeardAgain(*this);
    }
  });
}

void PeerConnection::Consume(size_t bytes) {
  committed_ -= bytes;
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
