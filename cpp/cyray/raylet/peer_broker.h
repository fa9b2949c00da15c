// PeerBroker: brings processes together: a socket pair within the node, relayed frames beyond it.
//
// Threading: confined to the raylet's loop.
// Relayed frames of one pair of processes stay in order: each hop is one ordered connection.

#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>

#include "cyray/raylet/client_registry.h"
#include "cyray/raylet/node_options.h"
#include "cyray/raylet/peer_table.h"
#include "local_generated.h"

namespace cyray::raylet {

class PeerBroker {
 public:
  PeerBroker(const NodeOptions* options, ClientRegistry* clients, PeerTable* peers);

  // Frames of a client. False: the frame is bad.
  bool OnConnectPeer(ClientConnection& client, const wire::ConnectPeer* request);
  bool OnRelay(ClientConnection& client, const wire::Frame& frame);
  // A process of another node, or (worker nil) the whole node.
  void OnRemoteDied(const Address& address);

 private:
  bool OnPeerRelay(const NodeId& from, const wire::Frame& frame);
  bool OnPeerRelayFailed(const NodeId& from, const wire::Frame& frame);
  void OnPeerLost(const NodeId& node, const std::string& reason);
  void ForgetGonePairs();
  void SendFailed(ClientConnection& client, const Address& destination, const std::string& reason);
  void BroadcastFailed(const Address& destination, const std::string& reason);

  const NodeOptions* const options_;
  ClientRegistry* const clients_;
  PeerTable* const peers_;
  std::set<std::pair<WorkerId, WorkerId>> connected_;  // pairs of this node that have a socket pair
  size_t forget_pairs_at_ = 1'024;
  std::map<NodeId, std::set<WorkerId>> relayed_to_;  // destinations that somebody here wrote to
};

}  // namespace cyray::raylet
