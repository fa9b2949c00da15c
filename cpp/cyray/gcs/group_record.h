// What the GCS knows about one placement group, and what its table asks to be done.
// Threading: values, confined to the GCS's state loop.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/common/labels.h"
#include "cyray/common/resources.h"
#include "gcs_generated.h"

namespace cyray::gcs {

inline JobId JobOf(const PlacementGroupId& group) {
  return JobId::FromBytes(group.data() + PlacementGroupId::kSize - JobId::kSize);
}

// What its creator registered; does not change.
struct GroupSpec {
  PlacementGroupId id;
  Address creator;
  ActorId creator_actor;  // whose end is the group's; nil: that of its job is
  std::string name;       // empty: none
  std::string ns;
  bool detached = false;
  wire::GroupPolicy policy = wire::GroupPolicy::Pack;
  std::vector<ResourceSet> bundles;
  std::vector<LabelSelector> selectors;  // of their nodes; empty: any will do
  NodeId soft_target;
};

// Of one bundle.
struct Seat {
  NodeId node;  // nil: nowhere
  uint64_t attempt = 0;
  auto operator<=>(const Seat&) const = default;
};

struct GroupRecord {
  struct Attempt {
    uint64_t id;
    std::map<uint32_t, NodeId> seats;  // of the bundles that it places
    std::set<NodeId> awaited;          // have not reserved theirs yet
    int64_t since_ms;
  };
  GroupSpec spec;
  std::vector<Seat> seats;         // by bundle
  std::optional<Attempt> attempt;  // that goes on
  std::set<NodeId> slow;           // had not reserved theirs when attempts were given up
  bool was_placed = false;
  std::string waits;  // what for, in words

  bool placed() const {
    for (const Seat& seat : seats) {
      if (seat.node.is_nil()) return false;
    }
    return true;
  }
  wire::GroupState state() const {
    if (placed()) return wire::GroupState::Created;
    return was_placed ? wire::GroupState::Rescheduling : wire::GroupState::Pending;
  }
};

struct GroupAction {
  enum class Kind {
    kStore,     // the record changed and must go to disk
    kForget,    // remove it from disk
    kPlace,     // choose nodes for the bundles without one, then say Try()
    kPrepare,   // send PrepareBundles to `node`
    kCommit,    // send CommitBundles to `node`
    kGiveBack,  // send GiveBackBundles to `node`
    kChanged,   // it is in place, or not any more: tell who waits
    kGone,      // removed: tell all nodes and who waits, end its actors
    kForgetAt,  // send GroupGone to `node` alone
  };
  Kind kind;
  PlacementGroupId group;
  NodeId node = {};
  uint64_t attempt = 0;
};
using GroupActions = std::vector<GroupAction>;

}  // namespace cyray::gcs
