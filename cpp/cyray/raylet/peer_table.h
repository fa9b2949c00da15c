// PeerTable: the raylet's connections to the raylets of other nodes.
//
// At most one authenticated TCP connection per node, made when something is to be sent. Only nodes
// that the GCS told of (SetNode) are dialed or accepted, whatever else they prove. When both
// sides dial at once the connection dialed by the smaller node id stays (rules in AcceptHello()).
// Frames to a node arrive in the order of Send(), or are lost together with a call of the lost
// callbacks: a refused, closed or silent (6 s) connection loses all that was queued.
// Threading: confined to the raylet's loop. Callbacks may call Send(); they run inside it never.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/net/peer_connection.h"
#include "cyray/net/tcp_listener.h"
#include "cyray/util/event_loop.h"
#include "cyray/util/status.h"
#include "cyray/wire/frame.h"

namespace cyray::raylet {

struct PeerAddress {
  std::string ip;
  uint16_t port = 0;
  auto operator<=>(const PeerAddress&) const = default;
};

class PeerTable : private net::PeerConnection::Delegate {
 public:
  // False: the frame is not valid; its connection is closed.
  using Handler = std::function<bool(const NodeId& from, const wire::Frame& frame)>;
  // What was sent to that node and is unanswered may be lost. Runs once per broken connection and
  // once per failed attempt to connect.
  using LostCallback = std::function<void(const NodeId& node, const std::string& reason)>;

  // `token`: the cluster token's bytes (crypto::LoadToken).
  PeerTable(EventLoop* loop, NodeId self, uint64_t incarnation, std::string token);
  ~PeerTable() override;

  // Port 0: any.
  Status Listen(const std::string& ip, uint16_t port);
  uint16_t port() const;
  // A stranger's connection: what Listen() does with each.
  void AcceptSocket(UniqueFd socket);

  // To be set before traffic starts. Frames of a type without a handler close the connection.
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
  // Of the object transfer alone: chunks, and a node whose queue has room again.
  void set_bulk_receiver(net::BulkReceiver* receiver) { bulk_ = receiver; }
  void set_drained_callback(std::function<void(const NodeId&)> callback) {
    on_drained_ = std::move(callback);
  }

  // Where nodes listen, from the GCS. A node that was removed is not dialed and its connection is
  // closed, with a call of the lost callbacks.
  void SetNode(const NodeId& node, PeerAddress address);
  void RemoveNode(const NodeId& node, const std::string& reason);
  bool Knows(const NodeId& node) const { return peers_.contains(node); }

  // Queues a frame. False when the node is unknown or does not read what was queued before.
  bool Send(const NodeId& node, wire::FrameType type,
            const flatbuffers::FlatBufferBuilder& builder);
  // An ObjectChunk and the bytes that follow it, which `keep` keeps alive until they are sent.
  bool SendBulk(const NodeId& node, const flatbuffers::FlatBufferBuilder& chunk,
                net::BulkBytes bytes);
  size_t unsent_bytes(const NodeId& node) const;
  bool IsConnected(const NodeId& node) const;
  std::vector<NodeId> Connected() const;

 private:
  using ConnectionPtr = std::shared_ptr<net::PeerConnection>;
  struct Peer {
    PeerAddress address;
    ConnectionPtr open;
    uint64_t incarnation = 0;  // of the open connection's peer
    ConnectionPtr dialing;
    wire::ByteBuffer pending;  // frames for the connection being made
    EventLoop::TimerId retry = 0;
  };

  // PeerConnection::Delegate
  void OnHello(net::PeerConnection& connection, const NodeId& node, uint64_t incarnation) override;
  bool OnFrame(net::PeerConnection& connection, const wire::Frame& frame) override;
  void OnDrained(net::PeerConnection& connection) override;
  void OnClosed(net::PeerConnection& connection, const Status& why) override;
  net::BulkReceiver* bulk_receiver() override { return bulk_; }

  bool AcceptHello(const Peer& peer, const NodeId& node, uint64_t incarnation) const;
  void Open(Peer& peer, ConnectionPtr connection, uint64_t incarnation);
  void Dial(const NodeId& node);
  void DialFailed(const NodeId& node, const Status& why);
  void Lost(const NodeId& node, const std::string& reason);
  // Gives up a connection without a word to anybody.
  void Discard(ConnectionPtr& connection);

  EventLoop* const loop_;
  const net::PeerConnection::Identity identity_;
  net::TcpListener listener_;
  std::unordered_map<wire::FrameType, Handler> handlers_;
  std::vector<LostCallback> lost_callbacks_;
  std::function<void(const NodeId&)> on_drained_;
  net::BulkReceiver* bulk_ = nullptr;
  std::unordered_map<NodeId, Peer> peers_;
  std::unordered_set<ConnectionPtr> strangers_;  // accepted, no hello yet
};

}  // namespace cyray::raylet
