// NodeMetrics: what a node tells Prometheus, from the numbers that were taken of it.
//
// A pure function. Names are Ray's with `cyray_` for `ray_` where they mean the same; the table in
// docs/guide.md has them all.

#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cyray/raylet/metric_family.h"
#include "cyray/raylet/node_snapshot.h"
#include "cyray/raylet/process_usage.h"

namespace cyray::raylet {

struct NodeFacts {
  std::optional<NodeSnapshot> node;  // none: the raylet's loop did not answer in time
  std::vector<ComponentUsage> components;
  MachineUsage machine;
  uint64_t raylet_descriptors = 0;
  uint64_t scrape_timeouts = 0;
};
std::vector<MetricFamily> NodeMetrics(const NodeFacts& facts);

}  // namespace cyray::raylet
