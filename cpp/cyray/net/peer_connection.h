// PeerConnection: one connection to another raylet, from the handshake to its end, and the packets
// on it.
//
//   handshake -> awaiting hello -> open -> closed
//
// Nothing of the peer is parsed before the handshake is done, and nothing but its hello before it
// is open. Then it carries a PeerSession, which outlives it, and chunks of objects, which do not:
// whoever pulls asks again. The session's control lane goes first, then its relay lane and chunks
// take turns; no more is on its way into the socket than the wire takes soon (send_pace.h), so that
// nothing urgent waits long. The bytes of an ObjectChunk are written straight from the arena and
// read straight into it.
// Threading: confined to the raylet's loop. Held by shared_ptr: a callback may close the connection
// that calls it, which then lives until the call returns.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/net/handshake.h"
#include "cyray/net/peer_session.h"
#include "cyray/net/send_pace.h"
#include "cyray/net/transport.h"
#include "cyray/util/runtime.h"
#include "cyray/util/status.h"
#include "cyray/util/timer.h"
#include "cyray/wire/byte_buffer.h"
#include "cyray/wire/frame.h"
#include "peer_generated.h"

namespace cyray::net {

struct BulkBytes {
  std::span<const uint8_t> bytes;
  std::shared_ptr<const void> keep;  // e.g. a pin
};

// Where the bytes of chunks go. Asked before each read, so that a receiver may change its mind.
class BulkReceiver {
 public:
  virtual ~BulkReceiver() = default;
  // A chunk begins. False: the peer broke the protocol; the connection is closed.
  virtual bool OnChunk(const NodeId& from, const wire::ObjectChunk& chunk) = 0;
  // Room for the rest of chunk `request_id`; `done` of its bytes came. Empty: they are dropped.
  virtual std::span<uint8_t> ChunkSink(const NodeId& from, uint64_t request_id, uint32_t done,
                                       uint32_t left) = 0;
  virtual void OnChunkEnd(const NodeId& from, uint64_t request_id, uint32_t bytes) = 0;
};

class PeerConnection : public std::enable_shared_from_this<PeerConnection> {
 public:
  struct Identity {
    NodeId node;
    uint64_t incarnation;
    std::string token;
  };
  struct Greeting {
    uint64_t opened = 0;  // connections of the session that were open at the greeting's sender
    Position received{};
  };
  class Delegate {
   public:
    virtual ~Delegate() = default;
    // What a dialed connection tells the node that has proved to be at its other end. After that
    // no other connection may receive anything for the session.
    virtual Greeting Greet(const NodeId& node) = 0;
    // The peer proved who it is and said how far it is; whether it is a member is the delegate's to
    // know, which calls Open() or Close().
    virtual void OnHello(PeerConnection& connection, const Handshake::Party& peer,
                         const Greeting& greeting) = 0;
    // False closes the connection.
    virtual bool OnFrame(PeerConnection& connection, const wire::Frame& frame) = 0;
    // The unsent chunks fell below kLowWaterBytes, or the peer has acknowledged relays.
    virtual void OnRoom(PeerConnection& connection) = 0;
    // It is open, and for a second and more nothing of what was sent is acknowledged or taken, and
    // nothing comes. Called each second until something does. The wire may be cut: a lost packet is
    // sent again later and later, so a new connection may get through long before this one does.
    virtual void OnSilent(PeerConnection&) {}
    // Something came after all.
    virtual void OnHeardAgain(PeerConnection&) {}
    // Once, not after Close().
    virtual void OnClosed(PeerConnection& connection, const Status& why) = 0;
    virtual BulkReceiver* bulk_receiver() = 0;
  };
  static constexpr size_t kLowWaterBytes = 2 << 20;
  static constexpr int64_t kOpeningTimeoutMs = 3000;
  // What has been received is acknowledged after this time, when no packet has done so before.
  static constexpr int64_t kAckMs = 100;
  static constexpr int64_t kSilentMs = 1000;

  // Takes a stream that was dialed in order to reach `target`.
  static std::shared_ptr<PeerConnection> Dialed(Runtime* runtime, const Identity& identity,
                                                Delegate* delegate, const NodeId& target,
                                                std::unique_ptr<Stream> stream);
  static std::shared_ptr<PeerConnection> Accepted(Runtime* runtime, const Identity& identity,
                                                  Delegate* delegate,
                                                  std::unique_ptr<Stream> stream);
  ~PeerConnection();

  bool dialed() const { return dialed_; }
  bool is_open() const { return state_ == State::kOpen; }
  // Both sides have proved who they are.
  bool authenticated() const { return handshake_.done(); }
  // Of a dialed connection: who must answer. Of an accepted one: who is there, once authenticated.
  const NodeId& node() const { return node_; }
  size_t unsent_bulk_bytes() const { return unsent_bulk_; }
  // How large chunks should be, for what the wire carries.
  size_t chunk_bytes() const { return std::min<size_t>(pace_.write_bytes(), kMaxChunkBytes); }

  // After OnHello: from now on the session's frames flow. `greeting`: what an accepted connection
  // tells its dialer. An error when the peer goes on where it cannot be.
  Status Open(std::shared_ptr<PeerSession> session, const Greeting& greeting);
  // The session has something to send.
  void ScheduleFlush();
  // A chunk and the bytes that follow it, at most kMaxChunkBytes.
  void SendBulk(const flatbuffers::FlatBufferBuilder& chunk, BulkBytes bulk);
  // Silently: the delegate is not told.
  void Close();

 private:
  enum class State : uint8_t { kHandshake, kAwaitHello, kOpen, kClosed };
  struct Segment {
    wire::ByteBuffer owned;  // or:
    BulkBytes bulk;
    const uint8_t* data() const { return bulk.bytes.empty() ? owned.data() : bulk.bytes.data(); }
    size_t size() const { return bulk.bytes.empty() ? owned.size() : bulk.bytes.size(); }
  };
  struct Chunk {
    wire::ByteBuffer frame;
    BulkBytes bulk;
  };

  PeerConnection(Runtime* runtime, const Identity& identity, Delegate* delegate,
                 std::optional<NodeId> target, std::unique_ptr<Stream> stream);
  void Watch();
  void OnReady(bool readable, bool writable);
  Status ReadHandshake();
  void SendHello(const Greeting& greeting);

  Status ReadSome();
  // Whether more may come at once.
  Result<bool> Receive();
  Status Parse();
  Status BeginPacket();
  Status FeedLane();
  Status HandleChunk();
  Status HandleHello(const PacketHeader& header, const uint8_t* payload);
  std::span<uint8_t> Sink();
  void FeedSinkFromBuffer();
  void SinkFilled(size_t bytes);
  size_t unread_bytes() const { return in_.size() - in_at_; }
  const uint8_t* unread() const { return in_.data() + in_at_; }

  void Append(std::span<const uint8_t> bytes);
  void AppendPacket(Lane lane, std::span<const uint8_t> payload, BulkBytes bulk);
  bool CommitPacket();
  void Flush();
  // Offers the socket what is committed. The bytes that it took; `full`: not all.
  Result<size_t> WriteSome(bool& full);
  void Consume(size_t bytes);
  void AckLater();
  // Looks once in a while whether what was sent gets through.
  void WatchSilence();
  bool awaits_peer() const { return awaits_room_ || session_->awaits_ack(); }
  void Fail(const Status& why);

  Runtime* const runtime_;
  Delegate* const delegate_;
  const bool dialed_;
  std::unique_ptr<Stream> stream_;
  State state_ = State::kHandshake;
  NodeId node_;
  Handshake handshake_;
  std::shared_ptr<PeerSession> session_;  // while open; also its table's
  Position peer_received_{};              // what its hello said
  // Outgoing: what is on its way into the socket, and chunks that will be.
  std::deque<Segment> out_;
  size_t out_at_ = 0;  // sent of out_.front()
  size_t committed_ = 0;
  SendPace pace_;
  size_t unsent_limit_ = 0;
  std::deque<Chunk> chunks_;
  size_t unsent_bulk_ = 0;
  bool bulk_turn_ = false;
  bool flush_scheduled_ = false;
  bool awaits_room_ = true;
  bool room_told_ = true;
  // Incoming.
  wire::ByteBuffer in_;
  size_t in_at_ = 0;
  PacketHeader packet_;
  uint32_t packet_left_ = 0;  // bytes of a lane that are still to come of it
  uint64_t chunk_request_ = 0;
  uint32_t chunk_done_ = 0;
  uint32_t chunk_left_ = 0;

  bool ack_wanted_ = false;
  bool heard_ = false;   // since the last look: something came, or the socket took something
  bool silent_ = false;  // as the delegate was told

  Timer opening_timer_;
  Timer ack_timer_;
  Timer silence_timer_;
};

}  // namespace cyray::net
