#include "cyray/raylet/peer_table.h"

#include <bit>
#include <cstring>
#include <utility>

#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace cyray::raylet {
namespace {

using net::Lane;
using wire::FrameType;

// Of two nodes whose connection broke the one with the smaller id dials first.
constexpr int64_t kPoliteMs = 60;
constexpr int64_t kLastingMs = 1'000;

// What travels in the relay lane: frames of processes, what must not overtake the last frames of a
// process, and what a driver reads.
Lane LaneOf(FrameType type) {
  switch (type) {
    case FrameType::kRelay:
    case FrameType::kForwardBroken:
    case FrameType::kForwardProcessDied:
    case FrameType::kForwardLogLines:
    case FrameType::kForwardWarning:
    case FrameType::kForwardFlushOutput:
    case FrameType::kForwardFlushOutputReply:
      return Lane::kRelay;
    default:
      return Lane::kControl;
  }
}

std::string Short(const NodeId& node) { return node.Hex().substr(0, 8); }

}  // namespace

PeerTable::PeerTable(Runtime* runtime, net::Transport* transport, NodeId self, uint64_t incarnation,
                     std::string token)
    : runtime_(runtime),
      transport_(transport),
      identity_{self, incarnation, std::move(token)},
      dials_(runtime),
      unknown_(runtime) {
  SetHandler(FrameType::kRelayCredit, [this](const NodeId& from, const wire::Frame& frame) {
    return OnCredit(from, frame);
  });
}

PeerTable::~PeerTable() {
  for (auto& [node, peer] : peers_) {
    Discard(peer.open);
    Discard(peer.dialing);
  }
  for (const ConnectionPtr& stranger : strangers_) stranger->Close();
}

Status PeerTable::Listen(const std::string& ip, uint16_t port) {
  return transport_->Listen(
      ip, port, [this](std::unique_ptr<net::Stream> stream) { AcceptStream(std::move(stream)); });
}

// --- What the GCS says ------------------------------------------------------------------------

void PeerTable::SetNode(const NodeId& node, PeerAddress address) {
  if (node == identity_.node) return;
  Peer* peer = Find(node);
  if (peer == nullptr) return;
  unknown_.Stop(node);
  peer->address = std::move(address);
  ConnectIfNeeded(node, *peer);
}

void PeerTable::RemoveNode(const NodeId& node, const std::string& reason) {
  if (node == identity_.node) return;
  dead_.Add(node, {}, 0);
  dials_.Stop(node);
  unknown_.Stop(node);
  auto it = peers_.find(node);
  if (it == peers_.end()) return;
  it->second.session->End();
  Discard(it->second.open);
  Discard(it->second.dialing);
  peers_.erase(it);
  relays_.ForgetNode(node);
  TellPauses();
  CYRAY_LOG(kInfo) << "node " << Short(node) << " is dead: " << reason;
  for (const LostCallback& callback : lost_callbacks_) callback(node, reason);
}

bool PeerTable::Knows(const NodeId& node) const {
  const Peer* peer = FindKnown(node);
  return peer != nullptr && peer->address.has_value();
}

std::vector<NodeId> PeerTable::Known() const {
  std::vector<NodeId> known;
  for (const auto& [node, peer] : peers_) {
    if (peer.address) known.push_back(node);
  }
  return known;
}

PeerTable::Peer* PeerTable::Find(const NodeId& node) {
  auto it = peers_.find(node);
  if (it != peers_.end()) return &it->second;
  if (node.is_nil() || node == identity_.node || dead_.Find(node) != nullptr) return nullptr;
  return &peers_[node];
}

const PeerTable::Peer* PeerTable::FindKnown(const NodeId& node) const {
  auto it = peers_.find(node);
  return it == peers_.end() ? nullptr : &it->second;
}

// --- Traffic ----------------------------------------------------------------------------------

bool PeerTable::Send(const NodeId& node, FrameType type,
                     const flatbuffers::FlatBufferBuilder& builder) {
  return Send(node, type, builder.GetBufferPointer(), builder.GetSize());
}

bool PeerTable::Send(const NodeId& node, FrameType type, const uint8_t* body, size_t size) {
  Peer* peer = Find(node);
  if (peer == nullptr || size > wire::kMaxFrameBytes) return false;
  SendTo(node, *peer, type, {body, size});
  return true;
}

void PeerTable::SendTo(const NodeId& node, Peer& peer, FrameType type,
                       std::span<const uint8_t> body) {
  peer.session->Send(LaneOf(type), type, body.data(), body.size());
  if (peer.open != nullptr) {
    peer.open->ScheduleFlush();
  } else {
    ConnectIfNeeded(node, peer);
  }
}

bool PeerTable::SendBulk(const NodeId& node, const flatbuffers::FlatBufferBuilder& chunk,
                         net::BulkBytes bytes) {
  auto it = peers_.find(node);
  if (it == peers_.end() || it->second.open == nullptr) return false;
  it->second.open->SendBulk(chunk, std::move(bytes));
  return true;
}

// --- Relays -----------------------------------------------------------------------------------

bool PeerTable::Relay(const Address& destination, uint64_t source, FrameType type,
                      std::span<const uint8_t> body) {
  Peer* peer = Find(destination.node);
  if (peer == nullptr || body.size() > wire::kMaxFrameBytes) return false;
  // Counted as it arrives: frames are multiples of 8 bytes.
  const size_t bytes = (body.size() + 7) & ~size_t{7};
  if (peer->session->has_room() && relays_.TryPass(destination, source, bytes)) {
    SendTo(destination.node, *peer, type, body);
    return true;
  }
  std::vector<uint8_t> kept(body.begin(), body.end());
  kept.resize(bytes);
  relays_.Push({destination, source, type, std::move(kept)});
  TellPauses();
  return true;
}

void PeerTable::PumpRelays(const NodeId& node) {
  auto it = peers_.find(node);
  while (it != peers_.end() && it->second.session->has_room()) {
    const auto relay = relays_.Next(node);
    if (!relay) break;
    SendTo(node, it->second, relay->type, relay->body);
  }
  TellPauses();
}

void PeerTable::TellPauses() {
  for (const auto& [source, paused] : relays_.TakePauses()) {
    if (on_pause_) on_pause_(source, paused);
  }
}

bool PeerTable::OnCredit(const NodeId& from, const wire::Frame& frame) {
  const auto* credit = frame.As<wire::RelayCredit>();
  if (credit == nullptr || credit->worker() == nullptr) return false;
  if (!relays_.OnCredit({from, wire::FromWire(*credit->worker())}, credit->bytes())) return false;
  PumpRelays(from);
  return true;
}

void PeerTable::GiveCredit(const NodeId& from, const WorkerId& worker, uint64_t bytes) {
  flatbuffers::FlatBufferBuilder builder(64);
  builder.Finish(wire::CreateRelayCredit(builder, wire::ToWire(worker), bytes));
  (void)Send(from, FrameType::kRelayCredit, builder);  // a dead node needs none
}

void PeerTable::ReleaseRelays(const Address& destination) {
  relays_.Release(destination);
  PumpRelays(destination.node);
}

size_t PeerTable::unsent_relay_bytes(const NodeId& node) const {
  const Peer* peer = FindKnown(node);
  return peer == nullptr ? 0 : peer->session->unsent_bytes(Lane::kRelay);
}

size_t PeerTable::unsent_bulk_bytes(const NodeId& node) const {
  const Peer* peer = FindKnown(node);
  return peer == nullptr || peer->open == nullptr ? 0 : peer->open->unsent_bulk_bytes();
}

uint64_t PeerTable::chunk_bytes(const NodeId& node) const {
  const Peer* peer = FindKnown(node);
  return peer == nullptr || peer->open == nullptr ? net::SendPace::kLeastBytes
                                                  : peer->open->chunk_bytes();
}

bool PeerTable::IsConnected(const NodeId& node) const {
  const Peer* peer = FindKnown(node);
  return peer != nullptr && peer->open != nullptr;
}

std::optional<PeerTable::Outage> PeerTable::OutageOf(const NodeId& node) const {
  const Peer* peer = FindKnown(node);
  if (peer == nullptr || !peer->address || !peer->away_ms) return std::nullopt;
  return Outage{*peer->address, runtime_->NowMs() - *peer->away_ms, peer->away_why,
                peer->session->has_unacked()};
}

void PeerTable::NoteAway(const NodeId& node, Peer& peer, int64_t for_ms, const std::string& why) {
  peer.away_why = why;
  if (peer.away_ms) return;
  peer.away_ms = runtime_->NowMs() - for_ms;
  on_outage_(node);
}

void PeerTable::NoteReached(const NodeId& node, Peer& peer) {
  if (!peer.away_ms) return;
  peer.away_ms.reset();
  on_outage_(node);
}

std::vector<NodeId> PeerTable::Met() const {
  std::vector<NodeId> nodes;
  for (const auto& [node, peer] : peers_) {
    if (peer.opened > 0) nodes.push_back(node);
  }
  return nodes;
}

bool PeerTable::OnFrame(net::PeerConnection& connection, const wire::Frame& frame) {
  auto it = handlers_.find(frame.type);
  return it != handlers_.end() && it->second(connection.node(), frame);
}

void PeerTable::OnRoom(net::PeerConnection& connection) {
  const NodeId node = connection.node();
  PumpRelays(node);
  for (const NodeCallback& callback : room_callbacks_) callback(node);
}

// --- Connecting -------------------------------------------------------------------------------

// A session that has had a connection keeps one: the other side may have something to say.
void PeerTable::ConnectIfNeeded(const NodeId& node, Peer& peer) {
  if (peer.open != nullptr || peer.dialing != nullptr) return;
  if (!peer.session->has_unacked() && peer.opened == 0) return;
  if (!peer.address) {
    if (!unknown_.running(node)) AwaitNews(node);
    return;
  }
  if (!dials_.running(node)) Dial(node);
}

// A GCS that is down tells of nobody: only one that was there all the time does not know the node.
void PeerTable::AwaitNews(const NodeId& node) {
  unknown_.Start(node, kUnknownMs, [this, node] {
    if (informed_for_ms_() < kUnknownMs) return AwaitNews(node);
    RemoveNode(node, "the cluster does not know node " + node.Hex());
  });
}

void PeerTable::Dial(const NodeId& node) {
  Peer& peer = peers_.at(node);
  auto stream = transport_->Dial(peer.address->ip, peer.address->port);
  if (!stream) return DialLater(node, peer, stream.error().message());
  peer.dialing = net::PeerConnection::Dialed(runtime_, identity_, this, node, std::move(*stream));
}

void PeerTable::OnSilent(net::PeerConnection& connection) {
  const NodeId node = connection.node();
  auto it = peers_.find(node);
  if (it == peers_.end() || it->second.open.get() != &connection) return;
  Discard(it->second.dialing);  // it had a second
  NoteAway(node, it->second, net::PeerConnection::kSilentMs, "nothing comes back");
  Dial(node);
}

void PeerTable::OnHeardAgain(net::PeerConnection& connection) {
  const NodeId node = connection.node();
  auto it = peers_.find(node);
  if (it == peers_.end() || it->second.open.get() != &connection) return;
  Discard(it->second.dialing);
  NoteReached(node, it->second);
}

// Whatever the reason: only the GCS says that a node is dead.
void PeerTable::DialLater(const NodeId& node, Peer& peer, const std::string& why) {
  NoteAway(node, peer, 0, why);
  const int64_t polite_ms = identity_.node < node ? 0 : kPoliteMs;
  const int64_t delay_ms = polite_ms + peer.backoff.NextMs(runtime_->Random());
  const auto failures = static_cast<unsigned>(peer.backoff.attempts());
  if (std::has_single_bit(failures)) {
    CYRAY_LOG(kInfo) << "no connection to node " << Short(node) << " (" << failures
                     << " in a row): " << why;
  }
  dials_.Start(node, delay_ms, [this, node] {
    auto it = peers_.find(node);
    if (it != peers_.end()) ConnectIfNeeded(node, it->second);
  });
}

void PeerTable::AcceptStream(std::unique_ptr<net::Stream> stream) {
  strangers_.insert(net::PeerConnection::Accepted(runtime_, identity_, this, std::move(stream)));
  if (strangers_.size() >= kMaxStrangers) transport_->SetAccepting(false);
}

void PeerTable::StrangerWent(const ConnectionPtr& stranger) {
  if (strangers_.erase(stranger) > 0 && strangers_.size() < kMaxStrangers) {
    transport_->SetAccepting(true);
  }
}

net::PeerConnection::Greeting PeerTable::Greet(const NodeId& node) {
  auto it = peers_.find(node);
  if (it == peers_.end()) return {};
  // From here on nothing more is received over a silent connection: the peer goes on where the
  // greeting says.
  Discard(it->second.open);
  return {it->second.opened, it->second.session->received()};
}

// The rules for two connections of one pair. Both sides come to the same end:
// - our own dialing goes on, and the accepted one is turned down, when our id is the smaller;
// - an open one that we dialed with the smaller id stays when the other side had not seen it open:
//   what was accepted now has lost that race, and the other side has closed it already;
// - otherwise the other side would not dial if it still had the open one: the new one replaces it.
bool PeerTable::AcceptsHello(const NodeId& node, const Peer& peer, uint64_t opened) const {
  const bool ours_wins = identity_.node < node;
  if (peer.open != nullptr) return !(peer.open->dialed() && ours_wins && opened < peer.opened);
  return !(peer.dialing != nullptr && ours_wins);
}

void PeerTable::OnHello(net::PeerConnection& connection, const net::Handshake::Party& party,
                        const net::PeerConnection::Greeting& greeting) {
  ConnectionPtr keep = connection.shared_from_this();
  StrangerWent(keep);
  const NodeId node = party.node;
  auto it = peers_.find(node);
  // It holds the token, but the GCS has not told of it, or not yet: it tries again.
  if (it == peers_.end() || !it->second.address) return connection.Close();
  Peer& peer = it->second;
  // A raylet that restarts has another node id.
  const bool other = peer.opened > 0 && peer.incarnation != party.incarnation;
  if (other || (!connection.dialed() && !AcceptsHello(node, peer, greeting.opened))) {
    connection.Close();
    if (peer.dialing == keep) {
      peer.dialing.reset();
      DialLater(node, peer, "another incarnation of it answers");
    }
    return;
  }
  peer.incarnation = party.incarnation;
  Open(node, peer, std::move(keep), greeting);
}

void PeerTable::Open(const NodeId& node, Peer& peer, ConnectionPtr connection,
                     const net::PeerConnection::Greeting& greeting) {
  if (peer.dialing == connection) peer.dialing.reset();
  Discard(peer.dialing);
  Discard(peer.open);
  const Status status = connection->Open(peer.session, {peer.opened, peer.session->received()});
  if (!status.ok()) {
    // What one of the two has lost does not come back: waiting for it would have no end.
    CYRAY_LOG(kError) << "the session with node " << Short(node) << ": " << status.message();
    connection->Close();
    return RemoveNode(node, "its session cannot go on: " + status.message());
  }
  dials_.Stop(node);
  peer.opened_ms = runtime_->NowMs();
  peer.progress = peer.session->progress();
  peer.opened = std::max(peer.opened, greeting.opened) + 1;
  peer.open = std::move(connection);
  NoteReached(node, peer);
  PumpRelays(node);  // what had arrived before is acknowledged by the hello, and makes room
  for (const NodeCallback& callback : reconnected_callbacks_) callback(node);
}

void PeerTable::Discard(ConnectionPtr& connection) {
  if (connection == nullptr) return;
  connection->Close();
  connection.reset();
}

void PeerTable::OnClosed(net::PeerConnection& connection, const Status& why) {
  const ConnectionPtr keep = connection.shared_from_this();
  if (strangers_.contains(keep)) {
    StrangerWent(keep);
    CYRAY_LOG(kWarning) << "a connection was closed before it was set up: " << why.message();
    return;
  }
  const NodeId node = connection.node();
  auto it = peers_.find(node);
  if (it == peers_.end()) return;
  Peer& peer = it->second;
  if (peer.dialing == keep) {
    peer.dialing.reset();
  } else if (peer.open == keep) {
    peer.open.reset();
    // One that ends at once and has brought nothing, for instance over what the peer says, does not
    // begin again and again without a pause.
    const bool lasted = runtime_->NowMs() - peer.opened_ms >= kLastingMs;
    if (lasted || peer.session->progress() != peer.progress) peer.backoff.Reset();
  } else {
    return;
  }
  DialLater(node, peer, why.message());
}

}  // namespace cyray::raylet
