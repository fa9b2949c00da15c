// ChooseNode: on which of several nodes something is to run. The GCS asks it for actors, a raylet
// for tasks.
//
// kPack: on the preferred node, then on nodes under half use, beyond that on the least used.
// kSpread: on the least used. Nodes that are equally good are drawn among, so that askers who see
// the same do not all choose the same one. Threading: pure functions.

#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "cyray/common/resources.h"

namespace cyray::sched {

struct Place {
  const ResourceSet* total;
  const ResourceSet* available;
  bool preferred = false;  // where the data or the asker is
};

enum class Policy : uint8_t { kPack, kSpread };
inline constexpr double kPackBelow = 0.5;  // of a node's use

// The share in use of the scarcest resource, were `demand` taken from `available`.
double UseAfter(const ResourceSet& total, const ResourceSet& available, const ResourceSet& demand);

// Its index; nullopt when there is none. Every place is taken to be able to have `demand`.
// `random`: any number; the same numbers choose the same.
std::optional<size_t> ChooseNode(std::span<const Place> places, const ResourceSet& demand,
                                 Policy policy, uint64_t random);

}  // namespace cyray::sched
