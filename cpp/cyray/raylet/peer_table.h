// PeerTable: this raylet's sessions with the raylets of other nodes, and the connections under
// them.
//
// One session for each node (net/peer_session.h), from the first frame until the GCS says that the
// node is dead. A connection is made when something is to be sent and made anew whenever it breaks:
// nobody above notices, and what was sent arrives once and in order. While an open one is silent
// another is dialed each second, and takes its place if it gets through first. Only RemoveNode()
// loses frames. Frames to a node that the GCS has not told of yet wait; when it has not after
// kUnknownMs there is no such node. Only nodes that the GCS told of (SetNode) are dialed or
// accepted, whatever else they prove. When both sides dial at once the connection dialed by the
// smaller node id stays (AcceptsHello). Beyond kMaxStrangers connections whose other end is not
// known yet, those that connect wait in the backlog. Threading: confined to the raylet's loop.
// Callbacks may call Send(); they run inside it never.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/net/peer_connection.h"
#include "cyray/net/peer_session.h"
#include "cyray/net/relay_queues.h"
#include "cyray/net/transport.h"
#include "cyray/util/backoff.h"
#include "cyray/util/recent.h"
#include "cyray/util/runtime.h"
#include "cyray/util/status.h"
#include "cyray/util/timer.h"
#include "cyray/wire/frame.h"

namespace cyray::raylet {

struct PeerAddress {
  std::string ip;
  uint16_t port = 0;
  auto operator<=>(const PeerAddress&) const = default;
};

class PeerTable : private net::PeerConnection::Delegate {
 public:
  static constexpr size_t kMaxStrangers = 64;
  static constexpr size_t kMaxDead = 4'096;  // dead nodes that are remembered
  static constexpr int64_t kUnknownMs = 30'000;

  // False: the frame is not valid; its connection is closed, which changes nothing else.
  using Handler = std::function<bool(const NodeId& from, const wire::Frame& frame)>;
  using NodeCallback = std::function<void(const NodeId& node)>;
  // A node that lives, as far as the GCS says, and is not reached.
  struct Outage {
    PeerAddress address;
    int64_t for_ms;
    std::string why;
    bool awaited;  // what was sent to it waits
  };
  // A client whose frames wait too much, or no longer.
  using PauseCallback = std::function<void(uint64_t source, bool paused)>;
  // The node is dead: what was sent to it and is unanswered stays so.
  using LostCallback = std::function<void(const NodeId& node, const std::string& reason)>;

  // `token`: the cluster token's bytes (crypto::LoadToken).
  PeerTable(Runtime* runtime, net::Transport* transport, NodeId self, uint64_t incarnation,
            std::string token);
  ~PeerTable() override;

  // Port 0: any.
  Status Listen(const std::string& ip, uint16_t port);
  uint16_t port() const { return transport_->port(); }
  // A stranger's connection: what Listen() does with each.
  void AcceptStream(std::unique_ptr<net::Stream> stream);

  // To be set before traffic starts. Frames of a type without a handler are not valid.
  void SetHandler(wire::FrameType type, Handler handler) { handlers_[type] = std::move(handler); }
  // The same with the verified table: On<wire::ForwardLease>(FrameType::kForwardLease, [](...)
  // {...}).
  template <class Table>
  void On(wire::FrameType type,
          std::function<void(const NodeId& from, const Table& table)> handler) {
    SetHandler(type, [handler = std::move(handler)](const NodeId& from, const wire::Frame& frame) {
      const Table* table = frame.As<Table>();
      if (table == nullptr) return false;
      handler(from, *table);
      return true;
    });
  }
  void AddLostCallback(LostCallback callback) { lost_callbacks_.push_back(std::move(callback)); }
  // A new connection is open: chunks that the one before had not brought never come.
  void AddReconnectedCallback(NodeCallback callback) {
    reconnected_callbacks_.push_back(std::move(callback));
  }
  // There is room for more chunks, or for more relays.
  void AddRoomCallback(NodeCallback callback) { room_callbacks_.push_back(std::move(callback)); }
  // An outage begins or ends.
  void set_outage_callback(NodeCallback callback) { on_outage_ = std::move(callback); }
  void set_bulk_receiver(net::BulkReceiver* receiver) { bulk_ = receiver; }
  void set_pause_callback(PauseCallback callback) { on_pause_ = std::move(callback); }
  // For how long the GCS has been heard of without a gap. A node that it has not told of in that
  // time is not known to it either.
  void set_informed_for_ms(std::function<int64_t()> informed) {
    informed_for_ms_ = std::move(informed);
  }

  // What the GCS says. A node that was removed is dead for ever: its session ends, with a call of
  // the lost callbacks.
  void SetNode(const NodeId& node, PeerAddress address);
  void RemoveNode(const NodeId& node, const std::string& reason);
  // Whether the GCS has told of it and not of its death.
  bool Knows(const NodeId& node) const;

  // How many nodes are known to be dead.
  size_t dead() const { return dead_.size(); }

  // All of those.
  std::vector<NodeId> Known() const;

  // Queues a frame. False: the node is dead, or the frame is larger than wire::kMaxFrameBytes.
  [[nodiscard]] bool Send(const NodeId& node, wire::FrameType type,
                          const flatbuffers::FlatBufferBuilder& builder);
  [[nodiscard]] bool Send(const NodeId& node, wire::FrameType type, const uint8_t* body,
                          size_t size);
  // An ObjectChunk and the bytes that follow it, which `keep` keeps alive until they are sent. It
  // may be lost; false when it surely is.
  bool SendBulk(const NodeId& node, const flatbuffers::FlatBufferBuilder& chunk,
                net::BulkBytes bytes);
  // A frame to a process, behind all that were sent to it before (net/relay_queues.h). `source`:
  // the client that sends it, which is paused when it sends more than is read; 0: this raylet
  // itself.
  [[nodiscard]] bool Relay(const Address& destination, uint64_t source, wire::FrameType type,
                           std::span<const uint8_t> body);
  // A process of this node has read so much of the relays that came from `from`.
  void GiveCredit(const NodeId& from, const WorkerId& worker, uint64_t bytes);
  // That process is gone: what waits for it is sent, to be answered by its raylet.
  void ReleaseRelays(const Address& destination);
  void ForgetSource(uint64_t source) { relays_.ForgetSource(source); }
  const net::RelayQueues& relays() const { return relays_; }
  size_t unsent_relay_bytes(const NodeId& node) const;
  size_t unsent_bulk_bytes(const NodeId& node) const;
  // How many bytes a chunk to that node should bring.
  uint64_t chunk_bytes(const NodeId& node) const;
  bool IsConnected(const NodeId& node) const;
  std::optional<Outage> OutageOf(const NodeId& node) const;
  // The nodes with which there has been a connection.
  std::vector<NodeId> Met() const;

 private:
  using ConnectionPtr = std::shared_ptr<net::PeerConnection>;
  struct Peer {
    std::optional<PeerAddress> address;  // none: the GCS has not told of it
    std::shared_ptr<net::PeerSession> session = std::make_shared<net::PeerSession>();
    uint64_t incarnation = 0;  // of the peer, once met
    uint64_t opened = 0;       // connections
    int64_t opened_ms = 0;     // when the open one was
    uint64_t progress = 0;     // of the session, then
    ConnectionPtr open;
    ConnectionPtr dialing;
    Backoff backoff{20, 1'000};
    std::optional<int64_t> away_ms;  // since when it is not reached
    std::string away_why;
  };

  // PeerConnection::Delegate
  net::PeerConnection::Greeting Greet(const NodeId& node) override;
  void OnHello(net::PeerConnection& connection, const net::Handshake::Party& party,
               const net::PeerConnection::Greeting& greeting) override;
  bool OnFrame(net::PeerConnection& connection, const wire::Frame& frame) override;
  void OnRoom(net::PeerConnection& connection) override;
  void OnSilent(net::PeerConnection& connection) override;
  void OnHeardAgain(net::PeerConnection& connection) override;
  void OnClosed(net::PeerConnection& connection, const Status& why) override;
  net::BulkReceiver* bulk_receiver() override { return bulk_; }

  bool OnCredit(const NodeId& from, const wire::Frame& frame);
  void PumpRelays(const NodeId& node);
  void TellPauses();
  // The node's entry, made if need be; null when it is dead.
  Peer* Find(const NodeId& node);
  const Peer* FindKnown(const NodeId& node) const;
  bool AcceptsHello(const NodeId& node, const Peer& peer, uint64_t opened) const;
  void Open(const NodeId& node, Peer& peer, ConnectionPtr connection,
            const net::PeerConnection::Greeting& greeting);
  void SendTo(const NodeId& node, Peer& peer, wire::FrameType type, std::span<const uint8_t> body);
  void AwaitNews(const NodeId& node);
  void ConnectIfNeeded(const NodeId& node, Peer& peer);
  void Dial(const NodeId& node);
  void DialLater(const NodeId& node, Peer& peer, const std::string& why);
  void NoteAway(const NodeId& node, Peer& peer, int64_t for_ms, const std::string& why);
  void NoteReached(const NodeId& node, Peer& peer);
  void StrangerWent(const ConnectionPtr& stranger);
  // Gives up a connection without a word to anybody.
  static void Discard(ConnectionPtr& connection);

  Runtime* const runtime_;
  net::Transport* const transport_;
  const net::PeerConnection::Identity identity_;
  std::unordered_map<wire::FrameType, Handler> handlers_;
  std::vector<LostCallback> lost_callbacks_;
  std::vector<NodeCallback> reconnected_callbacks_;
  std::vector<NodeCallback> room_callbacks_;
  std::function<int64_t()> informed_for_ms_ = [] { return INT64_MAX; };
  PauseCallback on_pause_;
  NodeCallback on_outage_ = [](const NodeId&) {};
  net::BulkReceiver* bulk_ = nullptr;
  net::RelayQueues relays_;
  std::unordered_map<NodeId, Peer> peers_;
  std::unordered_set<ConnectionPtr> strangers_;  // accepted, no hello yet
  struct Nothing {};
  Recent<NodeId, Nothing> dead_{kMaxDead};

  Timers<NodeId> dials_;
  Timers<NodeId> unknown_;  // nodes that frames wait for
};

}  // namespace cyray::raylet
