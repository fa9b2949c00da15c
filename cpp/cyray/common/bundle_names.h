// What a bundle of a placement group is among the resources of its node.
//
// A bundle that is in place adds to its node, for each resource X that it holds, as much of
// "X_group_<index>_<group>" and of "X_group_<group>", and of a marker "bundle". What runs in a
// bundle asks for both names, what may run in any bundle of the group for the second alone; so
// leases, queues and nodes' views need know nothing of groups. Threading: pure functions.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "cyray/common/ids.h"
#include "cyray/common/resources.h"

namespace cyray {

inline constexpr int32_t kAnyBundle = -1;

// `demand` as it is asked for inside a bundle of the group.
ResourceSet InBundle(const ResourceSet& demand, const PlacementGroupId& group, int32_t index);
// What the node has more once that bundle is in place.
ResourceSet OfBundle(const ResourceSet& resources, const PlacementGroupId& group, uint32_t index);

// The group in whose bundles the demand is to be met, if any.
std::optional<PlacementGroupId> GroupOf(const ResourceSet& demand);
// The name of a resource without the bundle: "CPU" for "CPU_group_0_<group>".
std::string_view BaseName(std::string_view name);
bool IsOfBundle(std::string_view name);
// Of which all that runs in the group's bundles on a node holds some.
std::string MarkerOf(const PlacementGroupId& group);

// What `set` amounts to by the names that people use: {"CPU": 1} for what asks for a CPU in a
// bundle.
ResourceSet WithoutBundles(const ResourceSet& set);
// What of `set` is of no bundle.
ResourceSet OutsideBundles(const ResourceSet& set);

}  // namespace cyray
