#include "cyray/raylet/node_resources.h"

#include <algorithm>

#include "cyray/util/log.h"

namespace cyray::raylet {
namespace {

ResourceSet CpuOf(const Allocation& allocation) {
  ResourceSet cpu;
  cpu.Set(kCpu, allocation.resources.Get(kCpu));
  return cpu;
}

}  // namespace

std::vector<int32_t> Allocation::GpuIds() const {
  std::vector<int32_t> ids;
  for (const auto& [instance, amount] : gpus) ids.push_back(instance);
  return ids;
}

NodeResources::NodeResources(ResourceSet total)
    : total_(std::move(total)),
      available_(total_),
      gpu_free_(static_cast<size_t>(std::max<int64_t>(total_.Get(kGpu), 0) / kResourceUnit),
                kResourceUnit) {}

bool NodeResources::PickGpus(int64_t amount, std::vector<std::pair<int, int64_t>>* picked) const {
  picked->clear();
  int64_t whole = amount / kResourceUnit;
  const int64_t fraction = amount % kResourceUnit;
  const auto count = static_cast<int>(gpu_free_.size());
  for (int i = 0; i < count && whole > 0; ++i) {
    if (gpu_free_[i] != kResourceUnit) continue;
    picked->emplace_back(i, kResourceUnit);
    --whole;
  }
  if (whole > 0) return false;
  if (fraction == 0) return true;
  int best = -1;  // the fullest instance that still has room, so that whole ones stay whole
  for (int i = 0; i < count; ++i) {
    const bool taken = std::any_of(picked->begin(), picked->end(),
                                   [i](const auto& pick) { return pick.first == i; });
    if (taken || gpu_free_[i] < fraction) continue;
    if (best < 0 || gpu_free_[i] < gpu_free_[best]) best = i;
  }
  if (best < 0) return false;
  picked->emplace_back(best, fraction);
  return true;
}

bool NodeResources::HasNow(const ResourceSet& demand) const {
  if (!available_.Covers(demand)) return false;
  const int64_t gpu = demand.Get(kGpu);
  if (gpu <= 0) return true;
  std::vector<std::pair<int, int64_t>> picked;
  return PickGpus(gpu, &picked);
}

bool NodeResources::HasEver(const ResourceSet& demand) const { return total_.Covers(demand); }

std::optional<Allocation> NodeResources::Allocate(const ResourceSet& demand) {
  if (!available_.Covers(demand)) return std::nullopt;
  Allocation allocation{demand, {}, false};
  if (const int64_t gpu = demand.Get(kGpu); gpu > 0) {
    if (!PickGpus(gpu, &allocation.gpus)) return std::nullopt;
    for (const auto& [instance, amount] : allocation.gpus) gpu_free_[instance] -= amount;
  }
  available_.Subtract(demand);
  return allocation;
}

void NodeResources::Release(const Allocation& allocation) {
  available_.Add(allocation.resources);
  if (allocation.cpu_lent) available_.Subtract(CpuOf(allocation));
  for (const auto& [instance, amount] : allocation.gpus) gpu_free_[instance] += amount;
}

void NodeResources::LendCpu(Allocation& allocation) {
  if (allocation.cpu_lent) return;
  allocation.cpu_lent = true;
  available_.Add(CpuOf(allocation));
}

void NodeResources::TakeCpuBack(Allocation& allocation) {
  if (!allocation.cpu_lent) return;
  allocation.cpu_lent = false;
  available_.Subtract(CpuOf(allocation));
}

void NodeResources::CheckInvariants() const {
  for (const auto& [name, amount] : available_.amounts()) {
    CYRAY_CHECK(amount <= total_.Get(name))
        << name << " has " << amount << " of " << total_.Get(name);
    CYRAY_CHECK(amount >= 0 || name == kCpu) << name << " has " << amount;
  }
  for (int64_t free : gpu_free_) CYRAY_CHECK(free >= 0 && free <= kResourceUnit) << free;
}

}  // namespace cyray::raylet
