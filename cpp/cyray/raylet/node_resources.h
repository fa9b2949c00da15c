// NodeResources: what one node has and what of it is free.
//
// Amounts of "GPU" also have instances: whole ones are handed out by index, a fraction shares one
// instance with other fractions. An allocation remembers what it took and can lend its CPU back
// while its worker blocks.
// Threading: a value, confined to its owner. Pure: no I/O, no clock.
// Invariant: available + all allocations (less lent CPU) = total; amounts of "CPU" alone may be
// negative, after blocked workers came back at once.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cyray/common/resource_names.h"
#include "cyray/common/resources.h"

namespace cyray::raylet {

struct Allocation {
  ResourceSet resources;
  std::vector<std::pair<int, int64_t>> gpus;  // instance, amount
  bool cpu_lent = false;

  std::vector<int32_t> GpuIds() const;
};

class NodeResources {
 public:
  explicit NodeResources(ResourceSet total);

  const ResourceSet& total() const { return total_; }
  const ResourceSet& available() const { return available_; }

  // Whether `demand` could be allocated now, or ever.
  bool HasNow(const ResourceSet& demand) const;
  bool HasEver(const ResourceSet& demand) const;

  std::optional<Allocation> Allocate(const ResourceSet& demand);
  void Release(const Allocation& allocation);
  // A blocked worker's CPU is free meanwhile; taking it back may make the node's CPU negative.
  void LendCpu(Allocation& allocation);
  void TakeCpuBack(Allocation& allocation);

  void CheckInvariants() const;

 private:
  bool PickGpus(int64_t amount, std::vector<std::pair<int, int64_t>>* picked) const;

  ResourceSet total_;
  ResourceSet available_;
  std::vector<int64_t> gpu_free_;
};

}  // namespace cyray::raylet
