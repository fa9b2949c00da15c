#include "cyray/raylet/peer_broker.h"

#include <sys/socket.h>

#include <algorithm>

#include "cyray/wire/convert.h"

namespace cyray::raylet {
namespace {

using flatbuffers::FlatBufferBuilder;
using wire::FrameType;
using wire::FromWireOrNil;
using wire::ToWire;

constexpr int kSocketBufferBytes = 1 << 20;

void EnlargeBuffer(int fd) {
  const int bytes = kSocketBufferBytes;
  if (::setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) != 0) {
    ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  }
}

std::pair<WorkerId, WorkerId> Pair(const WorkerId& a, const WorkerId& b) {
  return {std::min(a, b), std::max(a, b)};
}

std::vector<UniqueFd> OneFd(int fd) {
  std::vector<UniqueFd> fds;
  fds.emplace_back(fd);
  return fds;
}

}  // namespace

PeerBroker::PeerBroker(const NodeOptions* options, ClientRegistry* clients, PeerTable* peers)
    : options_(options), clients_(clients), peers_(peers) {
  peers_->SetHandler(FrameType::kRelay, [this](const NodeId& from, const wire::Frame& frame) {
    return OnPeerRelay(from, frame);
  });
  peers_->SetHandler(FrameType::kRelayFailed, [this](const NodeId& from, const wire::Frame& frame) {
    return OnPeerRelayFailed(from, frame);
  });
  peers_->AddLostCallback(
      [this](const NodeId& node, const std::string& reason) { OnPeerLost(node, reason); });
}

bool PeerBroker::OnConnectPeer(ClientConnection& client, const wire::ConnectPeer* request) {
  if (request == nullptr) return false;
  const Address peer = FromWireOrNil(request->peer());
  ClientConnection* other = peer.node == options_->node_id ? clients_->Find(peer.worker) : nullptr;
  FlatBufferBuilder builder;
  int sockets[2];
  std::string error;
  if (other == nullptr || !other->registered) {
    error = "the process " + peer.ToString() + " is gone";
  } else if (!connected_.insert(Pair(client.worker(), peer.worker)).second) {
    // The other side asked first: its PeerConnected is before this reply, and one pair is enough.
    builder.Finish(wire::CreateConnectPeerReply(builder, request->request_id(), true));
    clients_->Send(client, FrameType::kConnectPeerReply, builder);
    return true;
  } else if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sockets) != 0) {
    error = Status::FromErrno("socketpair").message();
    connected_.erase(Pair(client.worker(), peer.worker));  // the next attempt may succeed
  }
  ForgetGonePairs();
  if (!error.empty()) {
    const auto text = builder.CreateString(error);
    builder.Finish(wire::CreateConnectPeerReply(builder, request->request_id(), false, text));
    clients_->Send(client, FrameType::kConnectPeerReply, builder);
    return true;
  }
  EnlargeBuffer(sockets[0]);
  EnlargeBuffer(sockets[1]);
  builder.Finish(wire::CreateConnectPeerReply(builder, request->request_id(), true));
  clients_->SendWithFds(client, FrameType::kConnectPeerReply, builder, OneFd(sockets[0]));
  builder.Clear();
  const Address self = options_->AddressOf(client.worker());
  builder.Finish(wire::CreatePeerConnected(builder, ToWire(self)));
  clients_->SendWithFds(*other, FrameType::kPeerConnected, builder, OneFd(sockets[1]));
  return true;
}

void PeerBroker::ForgetGonePairs() {
  if (connected_.size() < forget_pairs_at_) return;
  std::erase_if(connected_, [this](const auto& pair) {
    return clients_->Find(pair.first) == nullptr || clients_->Find(pair.second) == nullptr;
  });
  forget_pairs_at_ = 2 * connected_.size() + 1'024;
}

bool PeerBroker::OnRelay(ClientConnection& client, const wire::Frame& frame) {
  const auto* relay = frame.As<wire::Relay>();
  if (relay == nullptr || relay->frame() == nullptr) return false;
  const Address source = FromWireOrNil(relay->source());
  const Address destination = FromWireOrNil(relay->destination());
  if (source != options_->AddressOf(client.worker())) return false;  // speaks for another
  if (destination.node == options_->node_id) {
    ClientConnection* other = clients_->Find(destination.worker);
    if (other == nullptr) {
      SendFailed(client, destination, "the process is gone");
    } else {
      clients_->Send(*other, FrameType::kRelay, frame.body, frame.body_bytes);
    }
    return true;
  }
  FlatBufferBuilder builder(frame.body_bytes + 64);
  builder.ForceVectorAlignment(relay->frame()->size(), 1, 8);  // it is read in place at its end
  const auto bytes = builder.CreateVector(relay->frame()->data(), relay->frame()->size());
  builder.Finish(wire::CreateRelay(builder, ToWire(source), ToWire(destination), bytes));
  if (peers_->Send(destination.node, FrameType::kRelay, builder)) {
    relayed_to_[destination.node].insert(destination.worker);
  } else {
    SendFailed(client, destination,
               "node " + destination.node.Hex() + " is gone or does not read what it is sent");
  }
  return true;
}

bool PeerBroker::OnPeerRelay(const NodeId& from, const wire::Frame& frame) {
  const auto* relay = frame.As<wire::Relay>();
  if (relay == nullptr) return false;
  const Address source = FromWireOrNil(relay->source());
  const Address destination = FromWireOrNil(relay->destination());
  if (source.node != from || destination.node != options_->node_id) return false;
  if (ClientConnection* client = clients_->Find(destination.worker)) {
    clients_->Send(*client, FrameType::kRelay, frame.body, frame.body_bytes);
    return true;
  }
  FlatBufferBuilder builder;
  const auto reason = builder.CreateString("the process is gone");
  builder.Finish(wire::CreateRelayFailed(builder, ToWire(destination), reason));
  (void)peers_->Send(from, FrameType::kRelayFailed, builder);
  return true;
}

bool PeerBroker::OnPeerRelayFailed(const NodeId& from, const wire::Frame& frame) {
  const auto* failed = frame.As<wire::RelayFailed>();
  if (failed == nullptr) return false;
  const Address destination = FromWireOrNil(failed->destination());
  if (destination.node != from) return false;  // speaks for another
  BroadcastFailed(destination, flatbuffers::GetString(failed->reason()));
  return true;
}

void PeerBroker::OnPeerLost(const NodeId& node, const std::string& reason) {
  auto lost = relayed_to_.extract(node);
  if (lost.empty()) return;
  for (const WorkerId& worker : lost.mapped()) BroadcastFailed({node, worker}, reason);
}

void PeerBroker::OnRemoteDied(const Address& address) {
  if (address.worker.is_nil()) {
    OnPeerLost(address.node, "its node died");
  } else if (const auto it = relayed_to_.find(address.node); it != relayed_to_.end()) {
    it->second.erase(address.worker);
  }
}

void PeerBroker::SendFailed(ClientConnection& client, const Address& destination,
                            const std::string& reason) {
  FlatBufferBuilder builder;
  const auto text = builder.CreateString(reason);
  builder.Finish(wire::CreateRelayFailed(builder, ToWire(destination), text));
  clients_->Send(client, FrameType::kRelayFailed, builder);
}

void PeerBroker::BroadcastFailed(const Address& destination, const std::string& reason) {
  FlatBufferBuilder builder;
  const auto text = builder.CreateString(reason);
  builder.Finish(wire::CreateRelayFailed(builder, ToWire(destination), text));
  clients_->Broadcast(FrameType::kRelayFailed, builder);
}

}  // namespace cyray::raylet
