// What Python asks the GCS about placement groups.
// Threading: any; each waits for an answer without the core mutex.

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "cyray/core/control.h"

namespace cyray::core {

struct GroupOrder {
  PlacementGroupId id;
  Address creator;
  ActorId creator_actor;  // nil: none
  std::string name, name_space;
  bool detached = false;
  uint8_t policy = 0;  // wire::GroupPolicy
  std::vector<ResourceSet> bundles;
  NodeId soft_target;
  std::vector<LabelSelector> selectors;  // of the bundles' nodes; empty: any
};
// Ok when it is on its way, with a name when it is stored. AlreadyExists: the name is taken.
Status RegisterGroup(Control& control, const GroupOrder& order);
// `wait`: until the GCS has done it, so that its name is free; else it is on its way.
Status RemoveGroup(Control& control, const PlacementGroupId& id, bool wait);

struct GroupRow {
  std::string group_id, name, name_space, state, policy, waits, job_id, creator_actor;
  bool detached = false;
  std::vector<std::map<std::string, int64_t>> bundles;  // 1/10000 units
  std::vector<std::string> nodes;                       // of each; "": nowhere
};
// Waits until it is in place or gone. No row: it is not known yet, or not any more.
Status WaitGroup(Control& control, const PlacementGroupId& id, uint32_t wait_ms,
                 std::vector<GroupRow>* rows);
// By its id, or, when that is nil, by its name.
Status FindGroup(Control& control, const PlacementGroupId& id, std::string_view name,
                 std::string_view name_space, std::vector<GroupRow>* rows);
Status ListGroups(Control& control, std::vector<GroupRow>* rows);

}  // namespace cyray::core
