// PlaceBundles: on which nodes the bundles of a placement group are to be.
//
// kPack: on as few nodes as a greedy choice finds, the tightest that hold all first. kSpread: on as
// many, the least used first. kStrictPack: all on one. kStrictSpread: each on a node of its own,
// found by augmenting paths (Kuhn's algorithm for bipartite matching), so that it is found whenever
// there is one. Threading: pure functions.

#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "cyray/common/resources.h"

namespace cyray::sched {

enum class GroupPolicy : uint8_t { kPack, kSpread, kStrictPack, kStrictSpread };

struct Site {
  const ResourceSet* total;
  ResourceSet available;
  // Bundles of the group that are there already, and stay.
  uint32_t bundles = 0;
  bool preferred = false;  // by who asked
};

// Whether the bundle may be at the site at all, whatever is free there.
using MayBeAt = std::function<bool(size_t bundle, size_t site)>;
// The site of each bundle; nullopt when there is no room for all of them.
std::optional<std::vector<size_t>> PlaceBundles(
    std::vector<Site> sites, std::span<const ResourceSet> bundles, GroupPolicy policy,
    const MayBeAt& may_be_at = [](size_t, size_t) { return true; });

}  // namespace cyray::sched
