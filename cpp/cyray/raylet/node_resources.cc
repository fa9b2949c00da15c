#include "cyray/raylet/node_resources.h"

#include <algorithm>
#include <utility>

#include "cyray/util/log.h"

namespace cyray::raylet {
namespace {

// What `demand` asks for of accelerators, by kind: the name and the amount. In one bundle, rather
// than in any, which such a demand names too.
std::map<int32_t, std::pair<std::string, int64_t>> DevicesAskedFor(const ResourceSet& demand) {
  std::map<int32_t, std::pair<std::string, int64_t>> asked;
  for (const auto& [name, amount] : demand.amounts()) {
    if (amount <= 0) continue;
    const auto kind = KindOfAccelerator(BaseName(name));
    if (!kind) continue;
    auto& [longest, of_it] = asked[*kind];
    if (name.size() <= longest.size()) continue;
    longest = name;
    of_it = amount;
  }
  return asked;
}

}  // namespace

std::vector<int32_t> Allocation::GpuIds() const {
  std::vector<int32_t> ids;
  for (const Device& device : devices) ids.push_back(device.number);
  return ids;
}

ResourceSet Allocation::Cpu() const {
  ResourceSet cpu;
  for (const auto& [name, amount] : resources.amounts()) {
    if (BaseName(name) == kCpu) cpu.Set(name, amount);
  }
  return cpu;
}

NodeResources::NodeResources(ResourceSet total) : total_(std::move(total)), available_(total_) {
  for (const auto& [kind, asked] : DevicesAskedFor(total_)) {
    const auto& [name, amount] = asked;
    const auto count =
        static_cast<int32_t>(std::min<int64_t>(amount / kResourceUnit, kAcceleratorsOfKind));
    for (int32_t i = 0; i < count; ++i)
      pools_[name][kind * kAcceleratorsOfKind + i] = kResourceUnit;
  }
}

std::vector<Allocation::Device> NodeResources::FreeOf(const std::string& name) const {
  std::vector<Allocation::Device> free;
  const auto add = [&](const std::string& pool_name, const Pool& pool) {
    for (const auto& [number, amount] : pool) free.push_back({pool_name, number, amount});
  };
  if (const auto pool = pools_.find(name); pool != pools_.end()) {
    add(name, pool->second);
  } else if (IsOfBundle(name)) {  // of any bundle of the group
    const std::string group = name.substr(name.size() - 2 * PlacementGroupId::kSize);
    for (const auto& [pool_name, pool_of_bundle] : pools_) {
      if (!pool_name.ends_with(group) || BaseName(pool_name) != BaseName(name)) continue;
      add(pool_name, pool_of_bundle);
    }
  }
  return free;
}

bool NodeResources::PickDevices(const ResourceSet& demand,
                                std::vector<Allocation::Device>* picked) const {
  picked->clear();
  for (const auto& [kind, asked] : DevicesAskedFor(demand)) {
    if (!PickOf(asked.first, asked.second, picked)) return false;
  }
  return true;
}

bool NodeResources::PickOf(const std::string& name, int64_t amount,
                           std::vector<Allocation::Device>* picked) const {
  int64_t whole = amount / kResourceUnit;
  const int64_t fraction = amount % kResourceUnit;
  std::vector<Allocation::Device> free = FreeOf(name);
  for (auto it = free.begin(); it != free.end() && whole > 0;) {
    if (it->amount != kResourceUnit) {
      ++it;
      continue;
    }
    picked->push_back(*it);
    it = free.erase(it);
    --whole;
  }
  if (whole > 0) return false;
  if (fraction == 0) return true;
  // The fullest instance that still has room, so that whole ones stay whole.
  const Allocation::Device* best = nullptr;
  for (const Allocation::Device& device : free) {
    if (device.amount < fraction) continue;
    if (best == nullptr || device.amount < best->amount) best = &device;
  }
  if (best == nullptr) return false;
  picked->push_back({best->pool, best->number, fraction});
  return true;
}

bool NodeResources::HasNow(const ResourceSet& demand) const {
  if (!available_.Covers(demand)) return false;
  std::vector<Allocation::Device> picked;
  return PickDevices(demand, &picked);
}

bool NodeResources::HasEver(const ResourceSet& demand) const { return total_.Covers(demand); }

std::optional<Allocation> NodeResources::Allocate(const ResourceSet& demand) {
  if (!available_.Covers(demand)) return std::nullopt;
  Allocation allocation{demand, {}, false};
  if (!PickDevices(demand, &allocation.devices)) return std::nullopt;
  for (const Allocation::Device& device : allocation.devices) {
    pools_[device.pool][device.number] -= device.amount;
  }
  available_.Subtract(demand);
  return allocation;
}

void NodeResources::Release(const Allocation& allocation) {
  available_.Add(allocation.resources);
  if (allocation.cpu_lent) available_.Subtract(allocation.Cpu());
  for (const Allocation::Device& device : allocation.devices) {
    if (const auto pool = pools_.find(device.pool); pool != pools_.end()) {
      pool->second[device.number] += device.amount;
    }
  }
  if (closing_.empty()) return;
  if (const auto group = GroupOf(allocation.resources)) EndIfUnused(*group);
}

void NodeResources::LendCpu(Allocation& allocation) {
  if (allocation.cpu_lent) return;
  allocation.cpu_lent = true;
  available_.Add(allocation.Cpu());
}

void NodeResources::TakeCpuBack(Allocation& allocation) {
  if (!allocation.cpu_lent) return;
  allocation.cpu_lent = false;
  available_.Subtract(allocation.Cpu());
}

// --- Bundles ----------------------------------------------------------------------------------

bool NodeResources::Reserve(const PlacementGroupId& group, uint64_t attempt,
                            const Bundles& bundles) {
  Reservation reservation{attempt, bundles, {}};
  for (const auto& [index, resources] : bundles) {
    auto taken = Allocate(resources);
    if (!taken) {
      Free(reservation);
      return false;
    }
    reserved_.Add(resources);
    reservation.taken.emplace(index, std::move(*taken));
  }
  groups_[group].push_back(std::move(reservation));
  return true;
}

void NodeResources::Free(const Reservation& reservation) {
  for (const auto& [index, taken] : reservation.taken) {
    reserved_.Subtract(taken.resources);
    Release(taken);
  }
}

void NodeResources::Open(const PlacementGroupId& group, uint64_t attempt) {
  const auto it = groups_.find(group);
  if (it == groups_.end()) return;
  for (Reservation& reservation : it->second) {
    if (reservation.attempt != attempt || std::exchange(reservation.open, true)) continue;
    for (const auto& [index, taken] : reservation.taken) {
      const ResourceSet names = OfBundle(taken.resources, group, index);
      total_.Add(names);
      available_.Add(names);
      const auto devices = DevicesAskedFor(names);
      for (const Allocation::Device& device : taken.devices) {
        pools_[devices.at(device.number / kAcceleratorsOfKind).first][device.number] +=
            device.amount;
      }
    }
  }
}

void NodeResources::GiveBack(const PlacementGroupId& group, uint64_t attempt) {
  const auto it = groups_.find(group);
  if (it == groups_.end()) return;
  std::erase_if(it->second, [&](const Reservation& reservation) {
    if (reservation.attempt != attempt || reservation.open) return false;
    Free(reservation);
    return true;
  });
  if (it->second.empty()) groups_.erase(it);
}

void NodeResources::Close(const PlacementGroupId& group) {
  auto node = groups_.extract(group);
  if (node.empty()) return;
  std::vector<Reservation>& closing = closing_[group];
  for (Reservation& reservation : node.mapped()) {
    if (!reservation.open) {
      Free(reservation);
      continue;
    }
    for (const auto& [index, taken] : reservation.taken) {
      const ResourceSet names = OfBundle(taken.resources, group, index);
      total_.Subtract(names);
      available_.Subtract(names);
    }
    closing.push_back(std::move(reservation));
  }
  EndIfUnused(group);
}

void NodeResources::EndIfUnused(const PlacementGroupId& group) {
  const auto closing = closing_.find(group);
  if (closing == closing_.end() || available_.Get(MarkerOf(group)) != 0) return;
  std::erase_if(pools_, [&](const auto& pool) { return pool.first.ends_with(group.Hex()); });
  const auto node = closing_.extract(closing);
  for (const Reservation& reservation : node.mapped()) Free(reservation);
}

void NodeResources::SetTotal(const std::string& name, int64_t amount) {
  ResourceSet change;
  change.Set(name, amount - total_.Get(name));
  total_.Add(change);
  available_.Add(change);
}

void NodeResources::CheckInvariants() const {
  for (const auto& [name, amount] : available_.amounts()) {
    CYRAY_CHECK(amount <= total_.Get(name))
        << name << " has " << amount << " of " << total_.Get(name);
  }
  for (const auto& [pool_name, pool] : pools_) {
    for (const auto& [instance, free] : pool) {
      CYRAY_CHECK(free >= 0 && free <= kResourceUnit) << pool_name << " " << free;
    }
  }
  ResourceSet taken;
  for (const auto* groups : {&groups_, &closing_}) {
    for (const auto& [group, reservations] : *groups) {
      for (const Reservation& reservation : reservations) {
        for (const auto& [index, allocation] : reservation.taken) taken.Add(allocation.resources);
      }
    }
  }
  CYRAY_CHECK(taken == reserved_) << reserved_.ToString();
}

}  // namespace cyray::raylet
