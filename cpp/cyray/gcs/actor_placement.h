// ActorPlacement: on which node an actor is to start.
//
// Nodes that have the demand now, and are not suspect, come before those that could have it later.
// What a node that was restored from disk has is known when it has reported.
// Among them sched/choose_node.h decides, the creator's node being preferred. What was sent to a
// node but has not started yet counts as used, because the node's report lags behind.
// Threading: confined to the GCS's state loop. Pure.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cyray/gcs/actor_record.h"
#include "cyray/gcs/node_table.h"

namespace cyray::gcs {

class ActorPlacement {
 public:
  struct Choice {
    enum class Kind {
      kNode,
      kWait,   // no node could have it now; one may join
      kNever,  // the node it must be on is dead or unknown
    };
    Kind kind = Kind::kWait;
    NodeId node = {};
    bool later = false;  // it has no room there now
    std::string reason = {};
  };
  using Suspects = std::function<bool(const NodeId&)>;
  // `random`: any number, for draws among nodes that are equally good.
  Choice Choose(const ActorSpec& spec, const NodeTable& nodes, const Suspects& suspects,
                uint64_t random) const;

  // `actor` was sent to `node`, until Settled(): it started, ended, died or came back. `later`: it
  // waits there for room.
  void Sent(const ActorId& actor, const NodeId& node, PlacementKind kind, bool later);
  void Settled(const ActorId& actor);
  // There was no room for it where it was sent, whatever the node had reported. False: that is
  // known, or changes nothing.
  bool Waits(const ActorId& actor, const NodeId& node, PlacementKind kind);
  bool IsSentTo(const ActorId& actor, const NodeId& node) const {
    const auto it = sending_.find(actor);
    return it != sending_.end() && it->second.node == node;
  }
  // `node` has room that it had not. Who waits at another one and could have it, oldest first; they
  // count as sent to `node` from now on. `looked_at`: how many were looked at for that.
  struct Recall {
    ActorId actor;
    NodeId from;
  };
  std::vector<Recall> RecallFor(const NodeEntry& node, size_t* looked_at = nullptr);

 private:
  struct Sending {
    NodeId node;
    ResourceSet demand;
  };
  void Count(const ActorId& actor, const NodeId& node, const ResourceSet& demand);
  ResourceSet AvailableOn(const NodeEntry& node) const;
  struct Wanted {
    bool now;  // with room
    const LabelSelector* selector;
  };
  Choice Best(const ActorSpec& spec, const NodeTable& nodes, const Suspects& suspects,
              uint64_t random, const Wanted& wanted) const;

  std::map<ActorId, Sending> sending_;
  std::map<NodeId, ResourceSet> sent_;  // the sum of sending_ by node
  PlacementLine queued_;                // those of sending_ that wait at their node for room
};

}  // namespace cyray::gcs
