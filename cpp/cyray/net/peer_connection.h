// PeerConnection: one TCP connection to another raylet, from connect to close.
//
//   connecting -> handshake -> awaiting hello -> open -> closed
//
// Nothing of the peer is parsed before the handshake is done, and nothing but PeerHello before it
// is open. Frames gather and are written at the end of the loop's round. The bytes of an
// ObjectChunk are written straight from the arena and read straight into it.
// Threading: confined to the raylet's loop. Held by shared_ptr: a callback may close the connection
// that calls it, which then lives until the call returns.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "cyray/common/ids.h"
#include "cyray/net/handshake.h"
#include "cyray/util/event_loop.h"
#include "cyray/util/status.h"
#include "cyray/util/unique_fd.h"
#include "cyray/wire/byte_buffer.h"
#include "cyray/wire/frame.h"
#include "cyray/wire/frame_reader.h"
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
  class Delegate {
   public:
    virtual ~Delegate() = default;
    // The peer proved who it is; whether it is a member is the delegate's to know, which calls
    // Open() or Close().
    virtual void OnHello(PeerConnection& connection, const NodeId& node, uint64_t incarnation) = 0;
    // False closes the connection.
    virtual bool OnFrame(PeerConnection& connection, const wire::Frame& frame) = 0;
    // The unsent bytes fell below kLowWaterBytes.
    virtual void OnDrained(PeerConnection& connection) = 0;
    // Once, not after Close().
    virtual void OnClosed(PeerConnection& connection, const Status& why) = 0;
    virtual BulkReceiver* bulk_receiver() = 0;
  };
  static constexpr size_t kLowWaterBytes = 2 << 20;
  // A peer that does not read so much is given up.
  static constexpr size_t kMaxUnsentBytes = size_t{512} << 20;

  // Starts connecting; fails at once only when the address is not one.
  static Result<std::shared_ptr<PeerConnection>> Dial(EventLoop* loop, const Identity& identity,
                                                      Delegate* delegate, const NodeId& target,
                                                      const std::string& ip, uint16_t port);
  static std::shared_ptr<PeerConnection> Accept(EventLoop* loop, const Identity& identity,
                                                Delegate* delegate, UniqueFd socket);
  ~PeerConnection();

  bool dialed() const { return dialed_; }
  bool is_open() const { return state_ == State::kOpen; }
  // Both sides have proved who they are.
  bool authenticated() const { return handshake_.done(); }
  // Of a dialed connection: who must answer. Of an accepted one: who is there, once authenticated.
  const NodeId& node() const { return node_; }
  size_t unsent_bytes() const { return unsent_; }

  // After OnHello: from now on frames flow.
  void Open();
  void Send(wire::FrameType type, const flatbuffers::FlatBufferBuilder& builder);
  void SendRaw(const uint8_t* frames, size_t bytes);
  void SendBulk(const flatbuffers::FlatBufferBuilder& chunk, BulkBytes bulk);
  // Silently: the delegate is not told.
  void Close();

 private:
  enum class State : uint8_t { kConnecting, kHandshake, kAwaitHello, kOpen, kClosed };
  struct Segment {
    wire::ByteBuffer owned;  // or:
    BulkBytes bulk;
    const uint8_t* data() const { return bulk.bytes.empty() ? owned.data() : bulk.bytes.data(); }
    size_t size() const { return bulk.bytes.empty() ? owned.size() : bulk.bytes.size(); }
  };

  PeerConnection(EventLoop* loop, const Identity& identity, Delegate* delegate, UniqueFd socket,
                 std::optional<NodeId> target);
  void Watch(uint32_t events);
  void OnReady(uint32_t events);
  void OnConnected();
  Status ReadHandshake();
  Status ReadSome();
  Result<size_t> Receive(std::span<uint8_t> into);
  // Whether more may come at once.
  Result<bool> ReadIntoBuffer();
  Result<bool> ReadIntoSink();
  Status CutFrames();
  Status HandleFrame(const wire::Frame& frame);
  std::span<uint8_t> Sink();
  Status HandleChunk(const wire::Frame& frame);
  void FeedSinkFromBuffer();
  void EndChunkIfComplete();
  void SendHello();
  wire::ByteBuffer& OpenSegment();
  void ScheduleFlush();
  void Flush();
  void Consume(size_t bytes);
  void Fail(const Status& why);

  EventLoop* const loop_;
  Delegate* const delegate_;
  const bool dialed_;
  UniqueFd socket_;
  State state_;
  NodeId node_;
  Handshake handshake_;
  EventLoop::TimerId opening_timer_ = 0;
  // Outgoing.
  std::deque<Segment> out_;
  size_t out_at_ = 0;  // sent of out_.front()
  size_t unsent_ = 0;
  bool flush_scheduled_ = false;
  bool wants_write_ = false;
  bool drained_told_ = true;
  // Incoming.
  wire::FrameReader reader_;
  uint64_t chunk_request_ = 0;
  uint32_t chunk_done_ = 0;
  uint32_t chunk_left_ = 0;
};

}  // namespace cyray::net
