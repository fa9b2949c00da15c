// PeerBroker: brings processes together: a socket pair within the node, relayed frames beyond it.
//
// Relayed frames of one pair of processes stay in order, and are metered: what a process has taken
// its raylet gives back as credit. The end of a process is told by its own raylet, to each process
// that it has exchanged frames with and behind its last frame; and to each raylet that deals with
// it in another way (leases, objects) and so watches it. Who asks after the end is told at once.
// Threading: confined to the raylet's loop.

#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cyray/raylet/client_registry.h"
#include "cyray/raylet/node_options.h"
#include "cyray/raylet/peer_table.h"
#include "cyray/util/recent.h"
#include "cyray/wire/task_notes.h"
#include "local_generated.h"
#include "peer_generated.h"

namespace cyray::raylet {

class PeerBroker {
 public:
  // `on_watched_died`: a process of another node that was watched has ended.
  PeerBroker(const NodeOptions* options, ClientRegistry* clients, PeerTable* peers,
             std::function<void(const Address&)> on_watched_died);

  // Frames of a client. False: the frame is bad.
  bool OnConnectPeer(ClientConnection& client, const wire::ConnectPeer* request);
  bool OnRelay(ClientConnection& client, const wire::Frame& frame);
  void OnClientClosed(const ClientConnection& client) { peers_->ForgetSource(client.id()); }
  // A process of this node has ended, and may not have written these answers: to whom they are. To
  // be called before anybody is told of the end.
  void PassOn(const Address& dead, const std::vector<wire::TaskNotes::Answer>& answers);
  // A process of this node has ended: tells those of other nodes that it talked with.
  void OnLocalDied(const Address& address, const std::string& reason);
  // This node deals with that process: its end is to be told. False: it has ended already, and
  // nothing more will be told. Nil is nobody's address and never ends.
  bool Watch(const Address& process);
  // A process of another node, or (worker nil) a whole node has ended: tells the clients that will
  // not hear it behind a last frame.
  void OnRemoteDied(const Address& address, const std::string& reason);
  // Whether frames between that process of this node and the other, of another node, may be on
  // their way.
  bool Talks(const WorkerId& worker, const Address& other) const;
  // The other has ended: all that it said to `worker` was passed on before.
  using TalkOverCallback = std::function<void(const WorkerId& worker, const Address& other)>;
  void set_on_talk_over(TalkOverCallback callback) { on_talk_over_ = std::move(callback); }
  // Whether a process of this node has ended and OnLocalDied() is still to come.
  void set_is_ending(std::function<bool(const WorkerId&)> is_ending) {
    is_ending_ = std::move(is_ending);
  }
  // Pairs of a process of this node and a node that has sent to it, to which credit is owed.
  size_t debts() const;

 private:
  static constexpr size_t kMaxEnded = 4'096;

  bool OnPeerRelay(const NodeId& from, const wire::Frame& frame);
  bool OnForwardProcessDied(const NodeId& from, const wire::Frame& frame);
  void OnWatchProcess(const NodeId& from, const wire::WatchProcess& watch);
  void OnWatchedDied(const Address& address, const std::string& reason);
  void OnPeerLost(const NodeId& node, const std::string& reason);
  void OnTaken(const WorkerId& worker, const NodeId& from, uint64_t bytes);
  void NoteTalk(const WorkerId& worker, const Address& other);
  void SendDied(ClientConnection& client, const Address& dead, const std::string& reason);
  // Why a process of this node is not there.
  std::string WhyGone(const WorkerId& worker) const;
  void TellDied(const Address& dead, const Address& client, const std::string& reason);
  void TellWatcher(const NodeId& watcher, const Address& dead, const std::string& reason);
  void ForgetGonePairs();
  void SendFailed(ClientConnection& client, const Address& destination, const std::string& reason);

  const NodeOptions* const options_;
  ClientRegistry* const clients_;
  PeerTable* const peers_;
  const std::function<void(const Address&)> on_watched_died_;
  std::function<bool(const WorkerId&)> is_ending_ = [](const WorkerId&) { return false; };
  TalkOverCallback on_talk_over_ = [](const WorkerId&, const Address&) {};
  std::set<std::pair<WorkerId, WorkerId>> connected_;  // pairs of this node that have a socket pair
  size_t forget_pairs_at_ = 1'024;
  Recent<WorkerId, std::string> ended_{kMaxEnded};  // processes of this node, and why
  // By process of this node: those of other nodes that it has exchanged frames with.
  std::unordered_map<WorkerId, std::unordered_map<WorkerId, NodeId>> talks_;
  std::set<Address> watched_;                                // of other nodes, by this one
  std::unordered_map<WorkerId, std::set<NodeId>> watchers_;  // of processes of this node
  // By process of this node and node whose processes have sent to it: what it has taken of that and
  // is not given back as credit yet.
  std::unordered_map<WorkerId, std::map<NodeId, uint64_t>> owed_;
};

}  // namespace cyray::raylet
