#include "cyray/raylet/peer_table.h"

#include <utility>

#include "cyray/util/log.h"

namespace cyray::raylet {
namespace {

constexpr size_t kMaxStrangers = 64;
constexpr int64_t kRetryMs = 30;

}  // namespace

PeerTable::PeerTable(EventLoop* loop, NodeId self, uint64_t incarnation, std::string token)
    : loop_(loop), identity_{self, incarnation, std::move(token)}, listener_(loop) {}

PeerTable::~PeerTable() {
  for (auto& [node, peer] : peers_) {
    loop_->Cancel(peer.retry);
    Discard(peer.open);
    Discard(peer.dialing);
  }
  for (const ConnectionPtr& stranger : strangers_) stranger->Close();
}

Status PeerTable::Listen(const std::string& ip, uint16_t port) {
  return listener_.Listen(ip, port, [this](UniqueFd socket) { AcceptSocket(std::move(socket)); });
}

uint16_t PeerTable::port() const { return listener_.port(); }

void PeerTable::SetNode(const NodeId& node, PeerAddress address) {
  if (node == identity_.node) return;
  peers_[node].address = std::move(address);
}

void PeerTable::RemoveNode(const NodeId& node, const std::string& reason) {
  auto it = peers_.find(node);
  if (it == peers_.end()) return;
  loop_->Cancel(it->second.retry);
  Discard(it->second.open);
  Discard(it->second.dialing);
  peers_.erase(it);
  Lost(node, reason);
}

bool PeerTable::Send(const NodeId& node, wire::FrameType type,
                     const flatbuffers::FlatBufferBuilder& builder) {
  auto it = peers_.find(node);
  if (it == peers_.end()) return false;
  Peer& peer = it->second;
  if (unsent_bytes(node) + builder.GetSize() > net::PeerConnection::kMaxUnsentBytes) return false;
  if (peer.open != nullptr) {
    peer.open->Send(type, builder);
    return true;
  }
  wire::AppendFrame(peer.pending, type, builder.GetBufferPointer(), builder.GetSize());
  if (peer.dialing == nullptr && peer.retry == 0) Dial(node);
  return true;
}

bool PeerTable::SendBulk(const NodeId& node, const flatbuffers::FlatBufferBuilder& chunk,
                         net::BulkBytes bytes) {
  auto it = peers_.find(node);
  // A pull came over a connection: without one its receiver is gone.
  if (it == peers_.end() || it->second.open == nullptr) return false;
  it->second.open->SendBulk(chunk, std::move(bytes));
  return true;
}

size_t PeerTable::unsent_bytes(const NodeId& node) const {
  auto it = peers_.find(node);
  if (it == peers_.end()) return 0;
  return it->second.pending.size() +
         (it->second.open != nullptr ? it->second.open->unsent_bytes() : 0);
}

bool PeerTable::IsConnected(const NodeId& node) const {
  auto it = peers_.find(node);
  return it != peers_.end() && it->second.open != nullptr;
}

std::vector<NodeId> PeerTable::Connected() const {
  std::vector<NodeId> nodes;
  for (const auto& [node, peer] : peers_) {
    if (peer.open != nullptr) nodes.push_back(node);
  }
  return nodes;
}

void PeerTable::AcceptSocket(UniqueFd socket) {
  if (strangers_.size() >= kMaxStrangers) return;  // closes it
  strangers_.insert(net::PeerConnection::Accept(loop_, identity_, this, std::move(socket)));
}

// --- Setting up ---

void PeerTable::Dial(const NodeId& node) {
  Peer& peer = peers_.at(node);
  auto dialed =
      net::PeerConnection::Dial(loop_, identity_, this, node, peer.address.ip, peer.address.port);
  if (dialed) {
    peer.dialing = std::move(*dialed);
  } else {
    DialFailed(node, dialed.error());
  }
}

// Never calls out before returning to the loop: Send() may be above it.
void PeerTable::DialFailed(const NodeId& node, const Status& why) {
  Peer& peer = peers_.at(node);
  // Only one that was turned down: it ends when the other side has dialed, or has been told of this
  // node by the GCS, or when the GCS says that it is dead.
  const bool try_again = why.code() == StatusCode::kUnavailable;
  peer.retry = loop_->RunAfter(try_again ? kRetryMs : 0, [this, node, try_again, why] {
    auto it = peers_.find(node);
    if (it == peers_.end()) return;
    it->second.retry = 0;
    if (it->second.open != nullptr || it->second.dialing != nullptr) return;
    if (try_again) {
      Dial(node);
      return;
    }
    it->second.pending = {};
    Lost(node, "cannot connect to node " + node.Hex() + ": " + why.message());
  });
}

// The rules for two connections of one pair. Both sides come to the same end:
// - our own dialing goes on, and the accepted one is turned down, when our id is the smaller;
// - an open one that we dialed with the smaller id stays: what was accepted now is the loser of
//   that race, already closed by the other side;
// - otherwise the other side would not dial if it still had the open one: the new one replaces it.
bool PeerTable::AcceptHello(const Peer& peer, const NodeId& node, uint64_t incarnation) const {
  if (incarnation < peer.incarnation) return false;  // a late message of a dead one
  const bool ours_wins = identity_.node < node;
  if (peer.open != nullptr) {
    return incarnation > peer.incarnation || !(peer.open->dialed() && ours_wins);
  }
  return !(peer.dialing != nullptr && ours_wins);
}

void PeerTable::OnHello(net::PeerConnection& connection, const NodeId& node, uint64_t incarnation) {
  ConnectionPtr keep = connection.shared_from_this();
  strangers_.erase(keep);
  auto it = peers_.find(node);
  if (it == peers_.end()) {
    // It holds the token, but the GCS has not told of it, or not yet: it tries again.
    connection.Close();
    return;
  }
  Peer& peer = it->second;
  if (connection.dialed()) {
    peer.dialing.reset();
    Open(peer, std::move(keep), incarnation);
    return;
  }
  if (!AcceptHello(peer, node, incarnation)) {
    connection.Close();
    return;
  }
  Discard(peer.dialing);
  if (peer.open != nullptr) {
    Discard(peer.open);
    Lost(node, "node " + node.Hex() + " connected anew");
  }
  // The lost callbacks may have changed the table.
  it = peers_.find(node);
  if (it == peers_.end()) {
    connection.Close();
    return;
  }
  Discard(it->second.dialing);
  Open(it->second, std::move(keep), incarnation);
}

void PeerTable::Open(Peer& peer, ConnectionPtr connection, uint64_t incarnation) {
  loop_->Cancel(peer.retry);
  peer.retry = 0;
  peer.incarnation = incarnation;
  peer.open = std::move(connection);
  peer.open->Open();
  peer.open->SendRaw(peer.pending.data(), peer.pending.size());
  peer.pending = {};
}

void PeerTable::Discard(ConnectionPtr& connection) {
  if (connection == nullptr) return;
  connection->Close();
  connection.reset();
}

// --- Traffic and ends ---

bool PeerTable::OnFrame(net::PeerConnection& connection, const wire::Frame& frame) {
  auto it = handlers_.find(frame.type);
  return it != handlers_.end() && it->second(connection.node(), frame);
}

void PeerTable::OnDrained(net::PeerConnection& connection) {
  if (on_drained_) on_drained_(connection.node());
}

void PeerTable::OnClosed(net::PeerConnection& connection, const Status& why) {
  const ConnectionPtr keep = connection.shared_from_this();
  if (strangers_.erase(keep) > 0) {
    CYRAY_LOG(kWarning) << "a connection was closed before it was set up: " << why.message();
    return;
  }
  const NodeId node = connection.node();
  auto it = peers_.find(node);
  if (it == peers_.end()) return;
  Peer& peer = it->second;
  if (peer.dialing == keep) {
    peer.dialing.reset();
    // Turned down after the handshake: both sides dialed and the other's connection is preferred,
    // or the other side has not been told of this node yet.
    const bool turned_down = connection.authenticated() && why.code() == StatusCode::kDisconnected;
    DialFailed(node, turned_down ? Status(StatusCode::kUnavailable, why.message()) : why);
  } else if (peer.open == keep) {
    peer.open.reset();
    Lost(node, "the connection to node " + node.Hex() + " broke: " + why.message());
  }
}

void PeerTable::Lost(const NodeId& node, const std::string& reason) {
  CYRAY_LOG(kInfo) << reason;
  for (const LostCallback& callback : lost_callbacks_) callback(node, reason);
}

}  // namespace cyray::raylet
