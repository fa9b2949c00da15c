// What the GCS knows about one actor, and what its table asks to be done.
// Threading: values, confined to the GCS's state loop.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cyray/common/bundle_names.h"
#include "cyray/common/ids.h"
#include "cyray/common/resources.h"
#include "cyray/gcs/placement_line.h"
#include "cyray/wire/bytes.h"
#include "gcs_generated.h"

namespace cyray::gcs {

// What its creator registered; does not change.
struct ActorSpec {
  ActorId id;
  Address owner;
  std::string class_name;
  std::string name;  // empty: none
  std::string ns;
  bool detached = false;
  int max_restarts = 0;  // -1: for ever
  ResourceSet placement;
  ResourceSet held;
  wire::SchedulingStrategy strategy = wire::SchedulingStrategy::Default;
  NodeId affinity_node;
  bool affinity_soft = false;
  LabelChoice labels;              // of its node
  bool arguments_pending = false;  // when it was registered
  wire::Bytes spec;                // empty once it is dead, as handle_meta
  wire::Bytes handle_meta;

  PlacementKind kind() const { return {placement, strategy, affinity_node, affinity_soft, labels}; }
};

struct ActorRecord {
  ActorSpec spec;
  wire::ActorState state = wire::ActorState::PendingCreation;
  NodeId node;                 // where it runs or was sent to start; nil: to be placed
  Address address;             // while Alive
  uint32_t incarnation = 0;    // counts starts that may have happened
  uint32_t restarts = 0;       // that max_restarts bounds
  bool ending = false;         // its last reference went: it finishes its queue
  bool group_removed = false;  // which is why it is dead
  bool stopping = false;       // its process was told to end; the next one starts when it has
  int pid = 0;
  std::string node_ip;
  std::string death_cause;  // of the last process that it had
  wire::Bytes init_error;

  bool dead() const { return state == wire::ActorState::Dead; }
  bool arguments_pending() const { return state == wire::ActorState::DependenciesUnready; }
  // Its end is the end of its owner's: but a detached one needs it for its arguments alone.
  bool is_owned() const { return !spec.detached || arguments_pending(); }
  int restarts_left() const {
    return spec.max_restarts < 0 ? -1 : spec.max_restarts - static_cast<int>(restarts);
  }
  bool may_restart() const { return !ending && restarts_left() != 0; }
};

inline JobId JobOf(const ActorId& actor) {
  return JobId::FromBytes(actor.data() + ActorId::kSize - JobId::kSize);
}

struct ActorAction {
  enum class Kind {
    kStoreState,  // the state changed and must go to disk; a dead actor's spec leaves it
    kForget,      // remove all of it from disk
    kPlace,       // choose a node, then say Placed() or Unschedulable(); else tell who watches
    kStart,       // send StartActor to `node`
    kStop,        // send StopActor to `node`
    kPublish,     // tell who watches
  };
  Kind kind;
  ActorId actor;
  NodeId node = {};
  uint32_t incarnation = 0;
  bool graceful = false;
  std::string reason = {};
};
using ActorActions = std::vector<ActorAction>;

}  // namespace cyray::gcs
