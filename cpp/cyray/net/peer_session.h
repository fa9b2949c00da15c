// PeerSession: what two raylets say to each other, whatever becomes of the connections between
// them.
//
// A session belongs to two raylets (a raylet that restarts has another node id) and lasts until the
// GCS says that one of them is dead. It has two lanes in each direction, control and relay: each is
// a stream of frames, counted in bytes. What the peer has not acknowledged is kept; a connection
// that begins goes on at the byte that the peer has received. So every frame arrives once and in
// the order of its lane, wherever connections were cut. A frame of the control lane may overtake
// those of the relay lane, never the other way: who writes to the connection takes control first.
// Acknowledgements are cumulative and travel with every packet; ack_due() asks for one alone.
//
// A pure state machine: no socket, clock or random source. Threading: confined to the raylet's
// loop. Memory: what is unacknowledged, and the frame that is incomplete. Relays are held back
// while has_room() is false (relay_queues.h); the control lane is bounded by what it asks and
// answers.
// Invariants (CheckInvariants): acknowledged <= sent <= queued on each lane; the blocks cover
// exactly what is unacknowledged.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "cyray/net/packet.h"
#include "cyray/util/status.h"
#include "cyray/wire/byte_buffer.h"
#include "cyray/wire/frame.h"
#include "cyray/wire/frame_reader.h"

namespace cyray::net {

class PeerSession {
 public:
  // Relays that the peer has not acknowledged; then the next ones wait.
  static constexpr size_t kRelayWindowBytes = size_t{32} << 20;
  // So much may be received before it is acknowledged.
  static constexpr size_t kAckEveryBytes = 64 << 10;

  // The next bytes of a lane. `keep` keeps them alive, also after they were acknowledged.
  struct Piece {
    Lane lane;
    std::span<const uint8_t> bytes;
    std::shared_ptr<const void> keep;
  };
  // False: the frame is not valid. It may end the session (End).
  using FrameHandler = std::function<bool(const wire::Frame&)>;

  // --- Sending. `lane`: kControl or kRelay. `size`: at most wire::kMaxFrameBytes.
  void Send(Lane lane, wire::FrameType type, const uint8_t* body, size_t size);
  bool has_room() const { return unacked_bytes(Lane::kRelay) < kRelayWindowBytes; }
  // What is to be written next on this lane, at most kMaxPayloadBytes; it counts as sent.
  std::optional<Piece> Next(Lane lane);
  size_t unsent_bytes(Lane lane) const { return out(lane).end - out(lane).sent; }
  size_t unacked_bytes(Lane lane) const { return out(lane).end - out(lane).acked; }
  bool has_unacked() const {
    return unacked_bytes(Lane::kControl) + unacked_bytes(Lane::kRelay) > 0;
  }

  // --- Connections.
  // A connection has begun, at whose other end so much was received. An error: that cannot be.
  Status Resume(const Position& peer_received);
  // Acknowledged by a packet of the connection.
  Status OnAck(const Position& peer_received);

  // --- Receiving.
  Position received() const { return {in_[0].received, in_[1].received}; }
  // Bytes of both lanes and directions that have arrived: connections which move it are of use.
  uint64_t progress() const;
  // The next bytes of a lane came. All whole frames are handled, also when an earlier one was not
  // valid: they count as received. An error closes the connection.
  Status OnBytes(Lane lane, std::span<const uint8_t> bytes, const FrameHandler& handler);
  bool ack_due() const;
  // Something has been received that the peer has not been told of.
  bool owes_ack() const { return received() != told_; }
  // Something is sent and not acknowledged.
  bool awaits_ack() const { return out_[0].acked < out_[0].sent || out_[1].acked < out_[1].sent; }
  // What has been received is being told to the peer.
  void AckTold() { told_ = received(); }

  // The peer is dead: nothing is handled any more.
  void End() { ended_ = true; }
  bool ended() const { return ended_; }
  std::string CheckInvariants() const;

 private:
  // Bytes that stay where they are: it is filled up to the capacity that it began with, also while
  // somebody reads what is in it.
  using Block = wire::ByteBuffer;
  struct Outgoing {
    std::deque<std::shared_ptr<Block>> blocks;
    uint64_t begin = 0;  // of blocks.front()
    uint64_t acked = 0;
    uint64_t sent = 0;
    uint64_t end = 0;
    size_t next_block = 0;  // where `sent` is
    size_t next_at = 0;
  };
  struct Incoming {
    uint64_t received = 0;
    wire::FrameReader reader;
  };
  const Outgoing& out(Lane lane) const { return out_[static_cast<size_t>(lane)]; }
  Status HandleFrames(Incoming& in, const FrameHandler& handler);
  static Block& RoomFor(Outgoing& out, size_t bytes);
  static void Rewind(Outgoing& out, uint64_t to);

  std::array<Outgoing, kSessionLanes> out_;
  std::array<Incoming, kSessionLanes> in_;
  Position told_{};
  bool ended_ = false;
};

}  // namespace cyray::net
