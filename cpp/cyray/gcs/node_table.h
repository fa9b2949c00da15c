// NodeTable: the nodes of the cluster and what they have. Whether a node is to be declared dead
// says Membership; here it is recorded.
//
// A dead node stays dead: its raylet must come back as another node (each start draws a new id).
// Threading: confined to the GCS's state loop. Pure.

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/common/labels.h"
#include "cyray/common/resources.h"

namespace cyray::gcs {

struct NodeEntry {
  NodeId id;
  bool alive = true;
  std::string ip;
  std::string hostname;
  uint16_t port = 0;
  uint16_t metrics_port = 0;  // where it answers Prometheus
  std::string raylet_socket;
  bool is_head = false;
  Labels labels;
  ResourceSet total;
  ResourceSet available;
  // Restored from disk: `available` is what it had when it registered, with a GCS of before.
  bool awaits_report = false;
  std::string death_reason;
  std::map<ResourceSet, uint32_t> pending;  // demands that wait at its raylet, and how many
  uint64_t change = 0;                      // the number of its latest change (change_index.h)
  uint64_t report_number = 0;               // by which it knows its resources
};

class NodeTable {
 public:
  enum class RegisterOutcome { kAdded, kRepeated, kDead };
  // kRepeated: it lives already, nothing changed. kDead: it lived once.
  RegisterOutcome Register(NodeEntry entry);
  void Restore(NodeEntry entry);

  struct Reported {
    bool changed = false;
    bool grew = false;        // something may fit now that did not before
    bool total_grew = false;  // also when all of it is free
  };
  Reported SetResources(const NodeId& id, ResourceSet available, ResourceSet total,
                        uint64_t report_number);
  void SetChange(const NodeId& id, uint64_t change) { nodes_.at(id).change = change; }
  void SetPending(const NodeId& id, std::map<ResourceSet, uint32_t> pending);
  // False when it was dead or is unknown.
  bool Kill(const NodeId& id, const std::string& reason);

  const NodeEntry* Find(const NodeId& id) const;
  const std::map<NodeId, NodeEntry>& nodes() const { return nodes_; }
  bool IsAlive(const NodeId& id) const;
  ResourceSet Total() const;
  ResourceSet Available() const;
  // Forgets dead nodes beyond a bound; returns their ids.
  std::vector<NodeId> Trim(size_t dead_kept);
  void CheckInvariants() const;

 private:
  std::map<NodeId, NodeEntry> nodes_;
  std::vector<NodeId> dead_;  // oldest death first
};

}  // namespace cyray::gcs
