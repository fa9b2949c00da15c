#include "cyray/net/peer_session.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "cyray/util/log.h"

namespace cyray::net {
namespace {

constexpr size_t kFirstBlockBytes = 4 << 10;  // a lane that says little keeps little
constexpr size_t kBlockBytes = 64 << 10;

}  // namespace

// --- Sending ----------------------------------------------------------------------------------

void PeerSession::Send(Lane lane, wire::FrameType type, const uint8_t* body, size_t size) {
  CYRAY_CHECK(size <= wire::kMaxFrameBytes) << size;
  Outgoing& out = out_[static_cast<size_t>(lane)];
  const size_t bytes = wire::kFrameHeaderBytes + ((size + 7) & ~size_t{7});
  wire::AppendFrame(RoomFor(out, bytes), type, body, size);
  out.end += bytes;
}

PeerSession::Block& PeerSession::RoomFor(Outgoing& out, size_t bytes) {
  if (!out.blocks.empty()) {
    Block& last = *out.blocks.back();
    if (last.capacity() - last.size() >= bytes) return last;
  }
  const size_t least = out.blocks.empty() ? kFirstBlockBytes : kBlockBytes;
  out.blocks.push_back(std::make_shared<Block>());
  out.blocks.back()->reserve(std::max(least, bytes));
  return *out.blocks.back();
}

std::optional<PeerSession::Piece> PeerSession::Next(Lane lane) {
  Outgoing& out = out_[static_cast<size_t>(lane)];
  if (out.sent == out.end) return std::nullopt;
  if (out.next_at == out.blocks[out.next_block]->size()) {
    ++out.next_block;
    out.next_at = 0;
  }
  const std::shared_ptr<Block>& block = out.blocks[out.next_block];
  const size_t size = std::min<size_t>(block->size() - out.next_at, kMaxPayloadBytes);
  Piece piece{lane, {block->data() + out.next_at, size}, block};
  out.next_at += size;
  out.sent += size;
  return piece;
}

// --- Connections ------------------------------------------------------------------------------

Status PeerSession::Resume(const Position& peer_received) {
  // What an earlier connection wrote may have arrived, acknowledged or not.
  for (size_t lane = 0; lane < kSessionLanes; ++lane) {
    const Outgoing& out = out_[lane];
    if (peer_received[lane] < out.acked || peer_received[lane] > out.sent) {
      return Status(StatusCode::kProtocolError,
                    "the peer goes on at byte " + std::to_string(peer_received[lane]) +
                        " of lane " + std::to_string(lane) + ", which is not between " +
                        std::to_string(out.acked) + " and " + std::to_string(out.sent));
    }
  }
  CYRAY_RETURN_IF_ERROR(OnAck(peer_received));
  for (size_t lane = 0; lane < kSessionLanes; ++lane) Rewind(out_[lane], peer_received[lane]);
  told_ = received();
  return Status::Ok();
}

// `to` is within what is kept.
void PeerSession::Rewind(Outgoing& out, uint64_t to) {
  out.sent = to;
  uint64_t at = out.begin;
  out.next_block = 0;
  while (out.next_block < out.blocks.size() && to - at > out.blocks[out.next_block]->size()) {
    at += out.blocks[out.next_block++]->size();
  }
  out.next_at = static_cast<size_t>(to - at);
}

Status PeerSession::OnAck(const Position& peer_received) {
  for (size_t lane = 0; lane < kSessionLanes; ++lane) {
    Outgoing& out = out_[lane];
    const uint64_t acked = peer_received[lane];
    if (acked < out.acked || acked > out.sent) {
      return Status(StatusCode::kProtocolError, "the peer acknowledges what was not sent");
    }
    out.acked = acked;
    while (!out.blocks.empty() && out.begin + out.blocks.front()->size() <= acked) {
      out.begin += out.blocks.front()->size();
      out.blocks.pop_front();
      if (out.next_block > 0) {
        --out.next_block;
      } else {
        out.next_at = 0;
      }
    }
  }
  return Status::Ok();
}

// --- Receiving --------------------------------------------------------------------------------

Status PeerSession::OnBytes(Lane lane, std::span<const uint8_t> bytes,
                            const FrameHandler& handler) {
  Incoming& in = in_[static_cast<size_t>(lane)];
  Status status = Status::Ok();
  while (!bytes.empty()) {
    const std::span<uint8_t> room = in.reader.Room();
    const size_t n = std::min(room.size(), bytes.size());
    std::memcpy(room.data(), bytes.data(), n);
    in.reader.Filled(n);
    in.received += n;
    bytes = bytes.subspan(n);
    Status handled = HandleFrames(in, handler);
    if (status.ok()) status = std::move(handled);
  }
  return status;
}

Status PeerSession::HandleFrames(Incoming& in, const FrameHandler& handler) {
  Status status = Status::Ok();
  while (!ended_) {
    const Result<std::optional<wire::Frame>> next = in.reader.Next();
    if (!next) return next.error();
    if (!next->has_value()) return status;
    if (!handler(**next) && status.ok()) {
      status = Status(StatusCode::kProtocolError,
                      "a frame of type " + std::to_string(static_cast<int>((*next)->type)) +
                          " is not valid here");
    }
  }
  return status;
}

uint64_t PeerSession::progress() const {
  uint64_t sum = 0;
  for (size_t lane = 0; lane < kSessionLanes; ++lane) sum += in_[lane].received + out_[lane].acked;
  return sum;
}

bool PeerSession::ack_due() const {
  return in_[0].received - told_[0] + (in_[1].received - told_[1]) >= kAckEveryBytes;
}

std::string PeerSession::CheckInvariants() const {
  for (const Outgoing& out : out_) {
    if (out.acked > out.sent || out.sent > out.end) return "a lane's counts are out of order";
    uint64_t end = out.begin;
    for (const auto& block : out.blocks) end += block->size();
    if (end != out.end) return "the blocks of a lane are not what was queued";
    if (out.begin > out.acked) return "a lane has forgotten what is unacknowledged";
    if (!out.blocks.empty() && out.begin + out.blocks.front()->size() <= out.acked) {
      return "a lane keeps a block that is acknowledged";
    }
  }
  return "";
}

}  // namespace cyray::net
