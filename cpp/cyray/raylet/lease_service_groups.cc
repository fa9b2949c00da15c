// What a LeaseService does for placement groups: claims of bundles, and the end of a group.

#include <utility>

#include "cyray/raylet/lease_service.h"

namespace cyray::raylet {

void LeaseService::Claim(std::shared_ptr<const BundleClaim> claim) {
  LeaseRequest request;
  request.key = claim->key();
  request.job = JobId::FromBytes(claim->group.data() + PlacementGroupId::kSize - JobId::kSize);
  for (const auto& [index, resources] : claim->bundles) request.demand.Add(resources);
  request.held = request.demand;
  request.for_actor = true;  // here and nowhere else, and counted for no client
  request.claim = std::move(claim);
  scheduler_.AddRequest(std::move(request), parts_.runtime->NowMs());
  Touch();
}

void LeaseService::OpenBundles(const PlacementGroupId& group, uint64_t attempt) {
  scheduler_.OpenBundles(group, attempt);
  Touch();
}

void LeaseService::GiveBackBundles(const PlacementGroupId& group, uint64_t attempt) {
  scheduler_.GiveBack(group, attempt);
  Touch();
}

void LeaseService::EndGroup(const PlacementGroupId& group) {
  gone_groups_.Add(group, {}, 0);
  const LeaseScheduler::GroupUse use = scheduler_.CloseGroup(group);
  for (const LeaseRequest& request : use.waiting) {
    if (request.for_actor) {
      callbacks_.on_actor_refused(request.key, RemovedText(group));
    } else {
      SendRefusal(request.key, RemovedText(group), wire::LeaseRefusal::GroupRemoved);
    }
  }
  for (const WorkerId& worker : use.workers) {
    parts_.workers->Kill(worker, RemovedText(group), /*intended=*/true);
  }
  Touch();
}

std::string LeaseService::RemovedText(const PlacementGroupId& group) {
  return "The placement group " + group.Hex() + " was removed.";
}

std::vector<PlacementGroupId> LeaseService::GroupsWaitedFor() const {
  const auto groups = scheduler_.GroupsWaitedFor();
  return {groups.begin(), groups.end()};
}

// True when it was refused.
bool LeaseService::RefuseGone(const LeaseRequest& request) {
  const auto group = GroupOf(request.demand);
  if (!group || gone_groups_.Find(*group) == nullptr) return false;
  SendRefusal(request.key, RemovedText(*group), wire::LeaseRefusal::GroupRemoved);
  return true;
}

}  // namespace cyray::raylet
