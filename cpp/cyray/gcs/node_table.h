// NodeTable: the nodes of the cluster, whether they live, and what they have.
//
// A node lives from Register() until its stream with the GCS has been broken for `reconnect_ms` or
// silent for `silence_ms`. A dead node stays dead: its raylet must come back as another node or
// with a higher incarnation.
// Threading: confined to the GCS's state loop. Pure: time is given to it (monotonic milliseconds).
// Invariant: a node has a stream only while it lives.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/common/resources.h"

namespace cyray::gcs {

struct NodeEntry {
  NodeId id;
  uint64_t incarnation = 0;
  bool alive = true;
  std::string ip;
  std::string hostname;
  uint16_t port = 0;
  std::string raylet_socket;
  bool is_head = false;
  ResourceSet total;
  ResourceSet available;
  std::string death_reason;
  std::string session_dir;
  int pid = 0;
  std::map<ResourceSet, uint32_t> pending;  // demands that wait at its raylet, and how many
  // Not stored.
  uint64_t stream = 0;  // 0: none
  int64_t last_heard_ms = 0;
  int64_t deadline_ms = 0;  // without a stream: dead from then on
};

class NodeTable {
 public:
  struct Timing {
    int64_t reconnect_ms = 500;        // after a stream broke
    int64_t silence_ms = 6000;         // of an open stream
    int64_t first_stream_ms = 15'000;  // after Register
    int64_t restored_ms = 5000;        // after the GCS itself was started again
  };
  NodeTable() = default;
  explicit NodeTable(Timing timing) : timing_(timing) {}

  enum class RegisterOutcome { kAdded, kRepeated, kStale };
  // kRepeated: the same incarnation again, nothing changed. kStale: that incarnation is dead or
  // an older one. A higher incarnation of a living node must be registered after Kill().
  RegisterOutcome Register(NodeEntry entry, int64_t now_ms);
  void Restore(NodeEntry entry, int64_t now_ms);

  // False when the node is unknown, dead or of another incarnation: the stream must be closed.
  bool StreamUp(const NodeId& id, uint64_t incarnation, uint64_t stream, int64_t now_ms);
  // Nothing happens when another stream has taken its place.
  void StreamDown(const NodeId& id, uint64_t stream, int64_t now_ms);
  void Heard(const NodeId& id, int64_t now_ms);
  void SetResources(const NodeId& id, ResourceSet available, ResourceSet total);
  void SetPending(const NodeId& id, std::map<ResourceSet, uint32_t> pending);
  // False when it was dead or is unknown.
  bool Kill(const NodeId& id, const std::string& reason);

  struct Expired {
    NodeId id;
    std::string reason;
  };
  // Nodes that must be Kill()ed by now.
  std::vector<Expired> ExpiredAt(int64_t now_ms) const;
  // When ExpiredAt() may next find one; nullopt when no node lives.
  std::optional<int64_t> NextDeadline() const;

  const NodeEntry* Find(const NodeId& id) const;
  const std::map<NodeId, NodeEntry>& nodes() const { return nodes_; }
  bool IsAlive(const NodeId& id) const;
  ResourceSet Total() const;
  ResourceSet Available() const;
  // Forgets dead nodes beyond a bound; returns their ids.
  std::vector<NodeId> Trim(size_t dead_kept);
  void CheckInvariants() const;

 private:
  Timing timing_;
  std::map<NodeId, NodeEntry> nodes_;
  std::vector<NodeId> dead_;  // oldest death first
};

}  // namespace cyray::gcs
