// What a LeaseScheduler does for placement groups: their bundles, and what runs in them.

#include <utility>

#include "cyray/raylet/lease_scheduler.h"

namespace cyray::raylet {

void LeaseScheduler::OpenBundles(const PlacementGroupId& group, uint64_t attempt) {
  resources_.Open(group, attempt);
  views_changed_ = true;  // who waits for them stands among those that no node can serve
}

void LeaseScheduler::GiveBack(const PlacementGroupId& group, uint64_t attempt) {
  CancelRequest({.id = attempt});
  resources_.GiveBack(group, attempt);
}

LeaseScheduler::GroupUse LeaseScheduler::CloseGroup(const PlacementGroupId& group) {
  GroupUse use;
  for (const auto& [id, lease] : leases_) {
    if (GroupOf(lease.allocation.resources) == group) use.workers.push_back(lease.worker);
  }
  std::vector<Group*> waiting;
  std::vector<RequestKey> claims;
  for (auto& [key, requests] : queue_.groups()) {
    if (requests.waiting().empty()) continue;
    const LeaseRequest& front = requests.front();
    if (front.claim != nullptr && front.claim->group == group) claims.push_back(front.key);
    if (GroupOf(key.demand) == group) waiting.push_back(&requests);
  }
  for (const RequestKey& key : claims) queue_.Cancel(key);
  for (Group* requests : waiting) {
    for (LeaseRequest& request : queue_.TakeAll(requests))
      use.waiting.push_back(std::move(request));
  }
  resources_.Close(group);
  return use;
}

std::set<PlacementGroupId> LeaseScheduler::GroupsWaitedFor() const {
  std::set<PlacementGroupId> groups;
  for (const auto& [key, requests] : queue_.groups()) {
    if (requests.waiting().empty()) continue;
    if (const auto group = GroupOf(key.demand)) groups.insert(*group);
  }
  return groups;
}

}  // namespace cyray::raylet
