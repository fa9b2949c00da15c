// LeaseRequest: what a client, another raylet or an actor's start asks a raylet's scheduler for.
//
// Threading: values.

#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/common/labels.h"
#include "cyray/common/resources.h"

namespace cyray::raylet {

enum class Strategy : uint8_t { kDefault = 0, kSpread = 1, kNodeAffinity = 2 };

// Of a client: its own number for a request, or the forwarding raylet's. Of an actor's start:
// the actor and its incarnation, and no client.
struct RequestKey {
  Address client;
  uint64_t id = 0;
  ActorId actor;
  auto operator<=>(const RequestKey&) const = default;
};

// Bundles that the GCS wants kept free on this node, in an attempt to place their group.
struct BundleClaim {
  PlacementGroupId group;
  uint64_t attempt;  // a number that no other one has
  std::map<uint32_t, ResourceSet> bundles;

  RequestKey key() const { return {.id = attempt}; }
};

struct LeaseRequest {
  RequestKey key;
  JobId job;
  ResourceSet demand;  // must be free to start
  ResourceSet held;    // kept while leased; for tasks the same
  Strategy strategy = Strategy::kDefault;
  NodeId affinity_node;
  bool affinity_soft = false;
  LabelChoice labels;    // of its node
  int32_t priority = 0;  // higher goes first among those of its job
  bool for_actor = false;
  bool forwarded = false;  // came from another raylet: is not passed on again
  std::vector<std::pair<NodeId, uint64_t>> locality;
  std::shared_ptr<const BundleClaim> claim;  // needs no worker; `demand` is its sum
};

}  // namespace cyray::raylet
