#include "cyray/raylet/peer_broker.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstdint>

#include "core_generated.h"
#include "cyray/wire/byte_buffer.h"
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

PeerBroker::PeerBroker(const NodeOptions* options, ClientRegistry* clients, PeerTable* peers,
                       std::function<void(const Address&)> on_watched_died)
    : options_(options),
      clients_(clients),
      peers_(peers),
      on_watched_died_(std::move(on_watched_died)) {
  peers_->SetHandler(FrameType::kRelay, [this](const NodeId& from, const wire::Frame& frame) {
    return OnPeerRelay(from, frame);
  });
  peers_->SetHandler(FrameType::kForwardProcessDied,
                     [this](const NodeId& from, const wire::Frame& frame) {
                       return OnForwardProcessDied(from, frame);
                     });
  peers_->On<wire::WatchProcess>(
      FrameType::kWatchProcess,
      [this](const NodeId& from, const wire::WatchProcess& watch) { OnWatchProcess(from, watch); });
  peers_->set_pause_callback(
      [this](uint64_t client, bool paused) { clients_->SetReading(client, !paused); });
  clients_->set_on_taken([this](const WorkerId& worker, const NodeId& from, uint64_t bytes) {
    OnTaken(worker, from, bytes);
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
    // An end that nobody has been told of yet comes with what the process had begun.
    if (const std::string* reason = ended_.Find(peer.worker)) SendDied(client, peer, *reason);
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
  if (peers_->Relay(destination, client.id(), FrameType::kRelay, {frame.body, frame.body_bytes})) {
    NoteTalk(client.worker(), destination);
  } else {
    SendFailed(client, destination, "node " + destination.node.Hex() + " is gone");
  }
  return true;
}

bool PeerBroker::OnPeerRelay(const NodeId& from, const wire::Frame& frame) {
  const auto* relay = frame.As<wire::Relay>();
  if (relay == nullptr) return false;
  const Address source = FromWireOrNil(relay->source());
  const Address destination = FromWireOrNil(relay->destination());
  if (source.node != from || destination.node != options_->node_id) return false;
  ClientConnection* const client = clients_->Find(destination.worker);
  if (client == nullptr && !is_ending_(destination.worker)) {
    TellDied(destination, source, WhyGone(destination.worker));
    return true;
  }
  NoteTalk(destination.worker, source);  // is told of the end, behind the last answers
  owed_[destination.worker].try_emplace(from, 0);
  if (client != nullptr) clients_->SendMetered(*client, frame, from);
  return true;
}

std::string PeerBroker::WhyGone(const WorkerId& worker) const {
  const std::string* reason = ended_.Find(worker);
  return reason != nullptr ? *reason : "the process is gone";
}

void PeerBroker::OnTaken(const WorkerId& worker, const NodeId& from, uint64_t bytes) {
  auto& nodes = owed_[worker];
  const auto [owed, added] = nodes.try_emplace(from, 0);
  if (added && !peers_->Knows(from)) {  // it died meanwhile
    nodes.erase(owed);
    return;
  }
  owed->second += bytes;
  if (owed->second < net::RelayQueues::kCreditBytes / 4) return;
  peers_->GiveCredit(from, worker, std::exchange(owed->second, 0));
}

size_t PeerBroker::debts() const {
  size_t count = 0;
  for (const auto& [worker, nodes] : owed_) count += nodes.size();
  return count;
}

// --- Ends -------------------------------------------------------------------------------------

void PeerBroker::NoteTalk(const WorkerId& worker, const Address& other) {
  talks_[worker].try_emplace(other.worker, other.node);
}

bool PeerBroker::Talks(const WorkerId& worker, const Address& other) const {
  const auto it = talks_.find(worker);
  return it != talks_.end() && it->second.contains(other.worker);
}

void PeerBroker::TellDied(const Address& dead, const Address& client, const std::string& reason) {
  FlatBufferBuilder builder;
  const auto text = builder.CreateString(reason);
  const auto died = wire::CreateProcessDied(builder, ToWire(dead), text);
  builder.Finish(wire::CreateForwardProcessDied(builder, died, ToWire(client)));
  // Or its node is dead.
  (void)peers_->Relay(client, 0, FrameType::kForwardProcessDied,
                      {builder.GetBufferPointer(), builder.GetSize()});
}

void PeerBroker::PassOn(const Address& dead, const std::vector<wire::TaskNotes::Answer>& answers) {
  std::map<Address, std::vector<const wire::TaskNotes::Answer*>> by_receiver;
  for (const auto& answer : answers) by_receiver[answer.to].push_back(&answer);
  for (const auto& [receiver, for_it] : by_receiver) {
    FlatBufferBuilder inner;
    std::vector<flatbuffers::Offset<wire::LastAnswer>> list;
    for (const auto* answer : for_it) {
      // Each is read in place on arrival, and so is the frame that holds them all.
      inner.ForceVectorAlignment(answer->frame_body.size(), 1, 8);
      const auto body = inner.CreateVector(answer->frame_body);
      list.push_back(wire::CreateLastAnswer(inner, answer->number, body));
    }
    inner.Finish(wire::CreateLastAnswers(inner, inner.CreateVector(list)));
    wire::ByteBuffer frame;
    wire::AppendFrame(frame, FrameType::kLastAnswers, inner.GetBufferPointer(), inner.GetSize());
    FlatBufferBuilder outer;
    outer.ForceVectorAlignment(frame.size(), 1, 8);
    const auto bytes = outer.CreateVector(frame.data(), frame.size());
    outer.Finish(wire::CreateRelay(outer, ToWire(dead), ToWire(receiver), bytes));
    if (receiver.node != options_->node_id) {
      // Or that node is dead.
      (void)peers_->Relay(receiver, 0, FrameType::kRelay,
                          {outer.GetBufferPointer(), outer.GetSize()});
    } else if (ClientConnection* client = clients_->Find(receiver.worker)) {
      clients_->Send(*client, FrameType::kRelay, outer);
    }
  }
}

bool PeerBroker::Watch(const Address& process) {
  if (process.worker.is_nil()) return true;
  if (process.node == options_->node_id) return clients_->Find(process.worker) != nullptr;
  if (!watched_.insert(process).second) return true;
  FlatBufferBuilder builder;
  builder.Finish(wire::CreateWatchProcess(builder, ToWire(process.worker)));
  if (peers_->Send(process.node, FrameType::kWatchProcess, builder)) return true;
  watched_.erase(process);  // its node is dead
  return false;
}

void PeerBroker::OnWatchProcess(const NodeId& from, const wire::WatchProcess& watch) {
  if (watch.worker() == nullptr) return;
  const WorkerId worker = wire::FromWire(*watch.worker());
  if (clients_->Find(worker) != nullptr || is_ending_(worker)) {
    watchers_[worker].insert(from);
  } else {
    TellWatcher(from, options_->AddressOf(worker), WhyGone(worker));
  }
}

void PeerBroker::TellWatcher(const NodeId& watcher, const Address& dead,
                             const std::string& reason) {
  FlatBufferBuilder builder;
  const auto text = builder.CreateString(reason);
  const auto died = wire::CreateProcessDied(builder, ToWire(dead), text);
  builder.Finish(wire::CreateForwardProcessDied(builder, died));
  (void)peers_->Send(watcher, FrameType::kForwardProcessDied, builder);  // or it is dead
}

void PeerBroker::OnWatchedDied(const Address& address, const std::string& reason) {
  if (watched_.erase(address) == 0) return;
  on_watched_died_(address);
  OnRemoteDied(address, reason);
}

void PeerBroker::OnLocalDied(const Address& address, const std::string& reason) {
  ended_.Add(address.worker, reason, /*now_ms=*/0);  // bounded by number
  if (const auto owed = owed_.extract(address.worker); !owed.empty()) {
    // All of it: a node whose processes that talked with this one have ended hears nothing else.
    for (const auto& [node, bytes] : owed.mapped()) {
      peers_->GiveCredit(node, address.worker, UINT64_MAX);
    }
  }
  if (const auto watchers = watchers_.extract(address.worker); !watchers.empty()) {
    for (const NodeId& node : watchers.mapped()) TellWatcher(node, address, reason);
  }
  const auto talks = talks_.extract(address.worker);
  if (talks.empty()) return;
  for (const auto& [worker, node] : talks.mapped()) TellDied(address, {node, worker}, reason);
}

bool PeerBroker::OnForwardProcessDied(const NodeId& from, const wire::Frame& frame) {
  const auto* forward = frame.As<wire::ForwardProcessDied>();
  if (forward == nullptr || forward->died() == nullptr) return false;
  const Address dead = FromWireOrNil(forward->died()->address());
  if (dead.node != from) return false;
  if (forward->client() == nullptr) {
    OnWatchedDied(dead, flatbuffers::GetString(forward->died()->reason()));
    return true;
  }
  const Address destination = wire::FromWire(*forward->client());
  if (destination.node != options_->node_id) return false;
  if (const auto talks = talks_.find(destination.worker); talks != talks_.end()) {
    talks->second.erase(dead.worker);
  }
  peers_->ReleaseRelays(dead);
  ClientConnection* client = clients_->Find(destination.worker);
  if (client != nullptr) {
    SendDied(*client, dead, flatbuffers::GetString(forward->died()->reason()));
    on_talk_over_(destination.worker, dead);
  }
  return true;
}

void PeerBroker::OnRemoteDied(const Address& address, const std::string& reason) {
  if (!address.worker.is_nil()) peers_->ReleaseRelays(address);
  FlatBufferBuilder builder;
  const auto text = builder.CreateString(reason);
  builder.Finish(wire::CreateProcessDied(builder, ToWire(address), text));
  clients_->ForEach([&](ClientConnection& client) {
    if (!client.registered || Talks(client.worker(), address)) return;
    clients_->Send(client, FrameType::kProcessDied, builder);
  });
}

void PeerBroker::SendDied(ClientConnection& client, const Address& dead,
                          const std::string& reason) {
  FlatBufferBuilder builder;
  const auto text = builder.CreateString(reason);
  builder.Finish(wire::CreateProcessDied(builder, ToWire(dead), text));
  clients_->Send(client, FrameType::kProcessDied, builder);
}

void PeerBroker::OnPeerLost(const NodeId& node, const std::string& reason) {
  for (auto& [worker, nodes] : owed_) nodes.erase(node);
  for (auto& [worker, nodes] : watchers_) nodes.erase(node);
  std::erase_if(watched_, [&](const Address& process) { return process.node == node; });
  std::vector<std::pair<WorkerId, Address>> over;
  for (auto& [worker, others] : talks_) {
    ClientConnection* client = clients_->Find(worker);
    for (auto it = others.begin(); it != others.end();) {
      if (it->second != node) {
        ++it;
        continue;
      }
      if (client != nullptr) SendFailed(*client, {node, it->first}, reason);
      over.emplace_back(worker, Address{node, it->first});
      it = others.erase(it);
    }
  }
  for (const auto& [worker, other] : over) on_talk_over_(worker, other);
}

void PeerBroker::SendFailed(ClientConnection& client, const Address& destination,
                            const std::string& reason) {
  FlatBufferBuilder builder;
  const auto text = builder.CreateString(reason);
  builder.Finish(wire::CreateRelayFailed(builder, ToWire(destination), text));
  clients_->Send(client, FrameType::kRelayFailed, builder);
}

}  // namespace cyray::raylet
