// NodeResources: what one node has and what of it is free.
//
// Amounts of accelerators also have instances: whole ones are handed out by number, a fraction
// shares one instance with other fractions. An allocation remembers what it took and can lend its
// CPU back while its worker blocks. Bundles of placement groups are parts of the node that were
// taken out (Reserve) and are given on under names of their own (Open, common/bundle_names.h), with
// the instances that they took. When a group leaves (Close) its names go at once, and what it took
// is free when nothing runs in it. Threading: a value, confined to its owner. Pure: no I/O, no
// clock. Invariant: available + all allocations (less lent CPU) + what bundles took = total, but
// for the names of groups that leave; amounts of "CPU" alone may be negative, after blocked workers
// came back at once or the node got less of it, and names of groups that leave.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cyray/common/bundle_names.h"
#include "cyray/common/ids.h"
#include "cyray/common/resource_names.h"
#include "cyray/common/resources.h"

namespace cyray::raylet {

struct Allocation {
  struct Device {
    std::string pool;  // "GPU", or what a bundle calls its own
    int32_t number;    // which says the kind, too (common/resource_names.h)
    int64_t amount;
  };
  ResourceSet resources;
  std::vector<Device> devices;
  bool cpu_lent = false;

  std::vector<int32_t> GpuIds() const;
  ResourceSet Cpu() const;  // its part that can be lent
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

  // The bundles of one attempt to place a group, by their index. False: there is no room for all.
  using Bundles = std::map<uint32_t, ResourceSet>;
  bool Reserve(const PlacementGroupId& group, uint64_t attempt, const Bundles& bundles);
  void Open(const PlacementGroupId& group, uint64_t attempt);
  // What was reserved in that attempt is free again; of one that is open nothing changes.
  void GiveBack(const PlacementGroupId& group, uint64_t attempt);
  void Close(const PlacementGroupId& group);
  struct Reservation {
    uint64_t attempt;
    Bundles bundles;
    std::map<uint32_t, Allocation> taken;  // from the node, by bundle
    bool open = false;
  };
  const std::map<PlacementGroupId, std::vector<Reservation>>& groups() const { return groups_; }
  // What bundles took.
  const ResourceSet& reserved() const { return reserved_; }

  // The node has so much of that from now on. Less than what is in use: nobody gets any before
  // enough is returned.
  void SetTotal(const std::string& name, int64_t amount);

  void CheckInvariants() const;

 private:
  using Pool = std::map<int32_t, int64_t>;  // free, by number
  bool PickDevices(const ResourceSet& demand, std::vector<Allocation::Device>* picked) const;
  bool PickOf(const std::string& name, int64_t amount,
              std::vector<Allocation::Device>* picked) const;
  // Free instances of what `name` stands for.
  std::vector<Allocation::Device> FreeOf(const std::string& name) const;
  void Free(const Reservation& reservation);
  void EndIfUnused(const PlacementGroupId& group);

  ResourceSet total_;
  ResourceSet available_;
  ResourceSet reserved_;
  std::map<std::string, Pool> pools_;  // of accelerators
  std::map<PlacementGroupId, std::vector<Reservation>> groups_;
  std::map<PlacementGroupId, std::vector<Reservation>> closing_;  // something runs in them yet
};

}  // namespace cyray::raylet
