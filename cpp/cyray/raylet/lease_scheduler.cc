#include "cyray/raylet/lease_scheduler.h"

#include <algorithm>

#include "cyray/common/infeasible.h"
#include "cyray/util/log.h"

namespace cyray::raylet {
namespace {

// A lease is not asked back before it could do some work.
constexpr int64_t kMinHoldMs = 5;
// A request that waited this long keeps smaller ones from taking what it needs, part of the time.
constexpr int64_t kReserveAfterMs = 100;
constexpr int64_t kReserveCycleMs = 4000;
constexpr int64_t kReserveEndMs = 2000;
// So long a lease that was asked back may take; then another one is asked for, too.
constexpr int64_t kReclaimPatienceMs = 100;
constexpr int64_t kWarnAfterMs = 1000;
// Up to this share of use, a node keeps its own tasks.
constexpr double kSpreadThreshold = 0.5;

}  // namespace

LeaseScheduler::LeaseScheduler(NodeId self, ResourceSet total)
    : self_(self), resources_(std::move(total)) {}

LeaseScheduler::GroupKey LeaseScheduler::KeyOf(const LeaseRequest& request) {
  return {request.key.client, request.for_actor, request.strategy, request.affinity_node,
          request.demand};
}

void LeaseScheduler::AddRequest(LeaseRequest request, int64_t now_ms) {
  Group& group = groups_[KeyOf(request)];
  group.waiting.push_back({std::move(request), now_ms, next_sequence_++});
}

template <class Predicate>
void LeaseScheduler::DropRequests(Predicate predicate) {
  for (auto it = groups_.begin(); it != groups_.end();) {
    std::erase_if(it->second.waiting, predicate);
    const GroupRef group = it++;
    DropEmpty(group);
  }
}

void LeaseScheduler::DropEmpty(GroupRef group) {
  if (group->second.waiting.empty() && group->second.held == 0) groups_.erase(group);
}

bool LeaseScheduler::CancelRequest(const RequestKey& key) {
  // The groups of a client lie side by side.
  for (GroupRef it = groups_.lower_bound(GroupKey{key.client, false, {}, {}, {}});
       it != groups_.end() && it->first.client == key.client; ++it) {
    const size_t dropped = std::erase_if(
        it->second.waiting, [&](const Waiting& waiting) { return waiting.request.key == key; });
    if (dropped == 0) continue;
    DropEmpty(it);
    return true;
  }
  return false;
}

std::vector<LeaseScheduler::GroupRef> LeaseScheduler::FairOrder() {
  std::vector<GroupRef> order;
  for (auto it = groups_.begin(); it != groups_.end(); ++it) {
    if (!it->second.waiting.empty()) order.push_back(it);
  }
  std::sort(order.begin(), order.end(), [](GroupRef a, GroupRef b) {
    if (a->second.held != b->second.held) return a->second.held < b->second.held;
    return a->second.waiting.front().sequence < b->second.waiting.front().sequence;
  });
  return order;
}

ScheduleActions LeaseScheduler::Schedule(int64_t now_ms, const TakeWorker& take_worker) {
  ScheduleActions actions;
  std::vector<GroupRef> order;
  bool moved = true;
  while (moved) {  // at most one request of each group a round, so that groups take turns
    moved = false;
    reachable_.reset();
    ResourceSet reserved;
    order = FairOrder();
    for (GroupRef group : order) {
      if (ServeFront(group, now_ms, take_worker, &reserved, &actions) == Step::kMoved) moved = true;
    }
  }
  if (order.empty()) return actions;  // nobody waits
  CountWantedWorkers(order, &actions);
  FindReclaims(order, now_ms, &actions);
  WarnInfeasible(order, now_ms, &actions);
  return actions;
}

bool LeaseScheduler::HasNowBeside(const ResourceSet& demand, const ResourceSet& reserved) const {
  if (!resources_.HasNow(demand)) return false;
  if (reserved.empty()) return true;
  ResourceSet left = resources_.available();
  left.Subtract(reserved);
  return left.Covers(demand);
}

bool LeaseScheduler::MayReserve(const Waiting& waiting, int64_t now_ms) {
  const int64_t waited = now_ms - waiting.since_ms;
  if (waited < kReserveAfterMs || waited % kReserveCycleMs >= kReserveEndMs) return false;
  if (!reachable_) {
    reachable_ = resources_.available();
    for (const auto& [id, lease] : leases_) {
      if (!lease.for_actor) reachable_->Add(lease.allocation.resources);
    }
  }
  return reachable_->Covers(waiting.request.demand);
}

LeaseScheduler::Step LeaseScheduler::ServeFront(GroupRef group, int64_t now_ms,
                                                const TakeWorker& take, ResourceSet* reserved,
                                                ScheduleActions* actions) {
  Waiting& front = group->second.waiting.front();
  const LeaseRequest& request = front.request;
  const bool here_now = HasNowBeside(request.demand, *reserved);
  Choice choice = Choose(request, here_now);
  switch (choice.kind) {
    case Choice::kLater:
    case Choice::kNever:
      return Step::kWaits;
    case Choice::kRefused:
      actions->refusals.push_back({std::move(front.request), std::move(choice.error)});
      break;
    case Choice::kThere:
      if (auto view = views_.find(choice.node); view != views_.end()) {
        view->second.promised.Add(request.demand);
      }
      actions->forwards.push_back({std::move(front.request), choice.node});
      break;
    case Choice::kHere: {
      if (!here_now) {
        if (MayReserve(front, now_ms)) reserved->Add(request.demand);
        return Step::kWaits;
      }
      const std::optional<WorkerId> worker = take(request);
      if (!worker) return Step::kWaits;
      Grant(group, *worker, now_ms, actions);
      return Step::kMoved;
    }
  }
  group->second.waiting.pop_front();
  DropEmpty(group);
  return Step::kMoved;
}

void LeaseScheduler::Grant(GroupRef group, const WorkerId& worker, int64_t now_ms,
                           ScheduleActions* actions) {
  LeaseRequest request = std::move(group->second.waiting.front().request);
  group->second.waiting.pop_front();
  std::optional<Allocation> allocation = resources_.Allocate(request.held);
  CYRAY_CHECK(allocation.has_value())
      << request.held.ToString() << " of " << resources_.available().ToString();
  CYRAY_CHECK(!lease_of_worker_.contains(worker)) << worker.Hex();
  const uint64_t id = next_lease_++;
  actions->grants.push_back({request.key, id, worker, allocation->GpuIds(), request.for_actor});
  leases_[id] = Lease{.key = request.key,
                      .group = group->first,
                      .worker = worker,
                      .allocation = std::move(*allocation),
                      .granted_ms = now_ms,
                      .for_actor = request.for_actor};
  lease_of_worker_[worker] = id;
  ++group->second.held;
}

// --- Where a request should run ---------------------------------------------------------------

LeaseScheduler::Choice LeaseScheduler::Choose(const LeaseRequest& request, bool here_now) {
  const bool here_ever = resources_.HasEver(request.demand);
  if (request.for_actor || request.forwarded) return {here_ever ? Choice::kHere : Choice::kNever};
  if (request.strategy == Strategy::kNodeAffinity) {
    Choice choice = ChooseAffinity(request);
    if (choice.kind != Choice::kNever) return choice;  // kNever: a soft one, its node is of no use
  }
  if (views_.empty()) return {here_ever ? Choice::kHere : Choice::kNever};
  if (request.strategy == Strategy::kSpread) return ChooseSpread(request, here_now);
  if (const auto near = BestLocality(request)) {
    return *near == self_ ? Choice{Choice::kHere} : Choice{Choice::kThere, *near};
  }
  if (here_now && resources_.UseWith(request.demand) <= kSpreadThreshold) return {Choice::kHere};
  if (const auto free = NodeWith(request.demand, /*now=*/true)) return {Choice::kThere, *free};
  if (here_ever) return {Choice::kHere};
  if (const auto able = NodeWith(request.demand, /*now=*/false)) return {Choice::kThere, *able};
  return {Choice::kNever};
}

LeaseScheduler::Choice LeaseScheduler::ChooseAffinity(const LeaseRequest& request) const {
  const NodeId& target = request.affinity_node;
  const bool here = target == self_;
  const auto view = views_.find(target);
  if (here || view != views_.end()) {
    const bool able =
        here ? resources_.HasEver(request.demand) : view->second.total.Covers(request.demand);
    if (able && !here && view->second.avoided) return {Choice::kLater};
    if (able) return {here ? Choice::kHere : Choice::kThere, target};
  }
  if (request.affinity_soft) return {Choice::kNever};
  const std::string why = here || view != views_.end()
                              ? "can never have {" + request.demand.ToString() + "}"
                              : "is dead or unknown";
  return {Choice::kRefused, target,
          "The task is not schedulable: its node " + target.Hex() + " " + why + "."};
}

std::optional<NodeId> LeaseScheduler::BestLocality(const LeaseRequest& request) const {
  std::optional<NodeId> best;
  uint64_t best_bytes = 0;
  for (const auto& [node, bytes] : request.locality) {
    if (bytes <= best_bytes) continue;
    const auto view = views_.find(node);
    const bool has = node == self_ ? resources_.HasNow(request.demand)
                                   : view != views_.end() && view->second.HasNow(request.demand);
    if (!has) continue;
    best = node;
    best_bytes = bytes;
  }
  return best;
}

std::optional<NodeId> LeaseScheduler::NodeWith(const ResourceSet& demand, bool now) const {
  for (const auto& [node, view] : views_) {
    if (now ? view.HasNow(demand) : !view.avoided && view.total.Covers(demand)) return node;
  }
  return std::nullopt;
}

LeaseScheduler::Choice LeaseScheduler::ChooseSpread(const LeaseRequest& request, bool here_now) {
  std::vector<NodeId> able;
  if (here_now) able.push_back(self_);
  for (const auto& [node, view] : views_) {
    if (view.HasNow(request.demand)) able.push_back(node);
  }
  if (able.empty()) {
    if (resources_.HasEver(request.demand)) return {Choice::kHere};
    if (const auto node = NodeWith(request.demand, false)) return {Choice::kThere, *node};
    return {Choice::kNever};
  }
  std::sort(able.begin(), able.end());
  const NodeId node = able[spread_turn_++ % able.size()];
  return node == self_ ? Choice{Choice::kHere} : Choice{Choice::kThere, node};
}

// --- Workers and leases that waiting requests call for ----------------------------------------

void LeaseScheduler::CountWantedWorkers(const std::vector<GroupRef>& order,
                                        ScheduleActions* actions) {
  NodeResources scratch = resources_;
  for (const GroupRef group : order) {
    for (const Waiting& waiting : group->second.waiting) {
      if (!scratch.HasNow(waiting.request.demand)) break;
      // Also what an actor checks but does not keep counts, or its twins would start at once.
      if (!scratch.Allocate(waiting.request.demand)) break;
      ++actions->workers_wanted[waiting.request.job];
    }
  }
}

std::vector<LeaseScheduler::Victim> LeaseScheduler::Victims(int64_t now_ms,
                                                            ScheduleActions* actions) {
  std::vector<Victim> victims;
  for (auto& [id, lease] : leases_) {
    if (lease.for_actor || lease.reclaimed() || lease.allocation.cpu_lent) continue;
    if (now_ms - lease.granted_ms < kMinHoldMs) {
      actions->call_again_ms = kMinHoldMs;
      continue;
    }
    victims.push_back({&lease, &groups_.at(lease.group)});
  }
  return victims;
}

LeaseScheduler::Victim* LeaseScheduler::BestVictim(const ResourceSet& missing, int requester_holds,
                                                   std::vector<Victim>& victims) {
  Victim* best = nullptr;
  int best_holds = requester_holds;
  for (Victim& victim : victims) {
    const int holds = victim.group->held - victim.group->given_up;
    if (victim.lease->reclaimed() || holds <= best_holds) continue;
    const auto gives = [&](const auto& need) {
      return need.second > 0 && victim.lease->allocation.resources.Get(need.first) > 0;
    };
    if (std::none_of(missing.amounts().begin(), missing.amounts().end(), gives)) continue;
    best = &victim;
    best_holds = holds;
  }
  return best;
}

void LeaseScheduler::FindReclaims(const std::vector<GroupRef>& order, int64_t now_ms,
                                  ScheduleActions* actions) {
  ResourceSet expected = resources_.available();
  for (auto& [key, group] : groups_) group.given_up = 0;
  for (const auto& [id, lease] : leases_) {
    if (!lease.reclaimed()) continue;
    ++groups_.at(lease.group).given_up;
    // Its task may never end: after a while nobody counts on it.
    const bool soon = now_ms - lease.reclaim_ms < kReclaimPatienceMs;
    if (soon && !lease.allocation.cpu_lent) expected.Add(lease.allocation.resources);
  }
  std::vector<Victim> victims = Victims(now_ms, actions);
  std::set<ResourceSet> in_vain;  // who holds more cannot get what one who holds less could not
  for (const GroupRef group : order) {
    const Waiting& front = group->second.waiting.front();
    const ResourceSet& demand = front.request.demand;
    if (!resources_.HasEver(demand)) continue;
    if (now_ms - front.since_ms < kReserveCycleMs && actions->call_again_ms < 0) {
      actions->call_again_ms = std::min(kReserveAfterMs, kReclaimPatienceMs);
    }
    if (in_vain.contains(demand)) continue;
    if (Reclaim(*group, now_ms, victims, &expected, actions)) {
      expected.Subtract(demand);
    } else {
      in_vain.insert(demand);
    }
  }
}

// Asks for leases until the group's demand is expected to be free; for none when it cannot be.
bool LeaseScheduler::Reclaim(const std::pair<const GroupKey, Group>& group, int64_t now_ms,
                             std::vector<Victim>& victims, ResourceSet* expected,
                             ScheduleActions* actions) {
  const ResourceSet& demand = group.second.waiting.front().request.demand;
  std::vector<Victim*> asked;
  while (!expected->Covers(demand)) {
    ResourceSet missing = demand;
    missing.Subtract(*expected);
    Victim* victim = BestVictim(missing, group.second.held, victims);
    if (victim == nullptr) break;
    victim->lease->reclaim_ms = now_ms;
    ++victim->group->given_up;
    expected->Add(victim->lease->allocation.resources);
    asked.push_back(victim);
  }
  const bool enough = expected->Covers(demand);
  for (Victim* victim : asked) {
    Lease& lease = *victim->lease;
    if (enough) {
      actions->reclaims.push_back(
          {lease_of_worker_.at(lease.worker), lease.key.client, lease.worker});
    } else {  // its return would not let this one run
      lease.reclaim_ms = -1;
      --victim->group->given_up;
      expected->Subtract(lease.allocation.resources);
    }
  }
  return enough;
}

void LeaseScheduler::WarnInfeasible(const std::vector<GroupRef>& order, int64_t now_ms,
                                    ScheduleActions* actions) {
  for (const GroupRef group : order) {
    const Waiting& front = group->second.waiting.front();
    const LeaseRequest& request = front.request;
    if (IsFeasible(request.demand)) continue;
    const int64_t waited = now_ms - front.since_ms;
    if (waited < kWarnAfterMs) {
      const int64_t left = kWarnAfterMs - waited;
      if (actions->call_again_ms < 0 || left < actions->call_again_ms) {
        actions->call_again_ms = left;
      }
    } else if (warned_.emplace(request.job, request.demand).second) {
      actions->warnings.push_back({request.job, InfeasibleText(request)});
    }
  }
}

bool LeaseScheduler::IsFeasible(const ResourceSet& demand) const {
  return resources_.HasEver(demand) ||
         std::any_of(views_.begin(), views_.end(),
                     [&](const auto& item) { return item.second.total.Covers(demand); });
}

std::string LeaseScheduler::InfeasibleText(const LeaseRequest& request) const {
  std::vector<ResourceSet> totals{resources_.total()};
  for (const auto& [node, view] : views_) totals.push_back(view.total);
  return InfeasibleWarning(request.for_actor ? "An actor" : "A task", request.demand, totals);
}

// --- Ends -------------------------------------------------------------------------------------

void LeaseScheduler::EndLease(std::unordered_map<uint64_t, Lease>::iterator lease) {
  resources_.Release(lease->second.allocation);
  lease_of_worker_.erase(lease->second.worker);
  const GroupRef group = groups_.find(lease->second.group);
  CYRAY_CHECK(group != groups_.end() && group->second.held > 0) << lease->first;
  --group->second.held;
  leases_.erase(lease);
  DropEmpty(group);
}

std::optional<WorkerId> LeaseScheduler::ReturnLease(uint64_t lease_id, const Address& holder) {
  const auto lease = leases_.find(lease_id);
  if (lease == leases_.end() || lease->second.for_actor || lease->second.key.client != holder) {
    return std::nullopt;
  }
  const WorkerId worker = lease->second.worker;
  EndLease(lease);
  return worker;
}

std::optional<LeaseEnd> LeaseScheduler::WorkerDied(const WorkerId& worker) {
  const auto it = lease_of_worker_.find(worker);
  if (it == lease_of_worker_.end()) return std::nullopt;
  const auto lease = leases_.find(it->second);
  LeaseEnd end{lease->first, lease->second.key, worker, lease->second.for_actor};
  EndLease(lease);
  return end;
}

void LeaseScheduler::SetBlocked(const WorkerId& worker, bool blocked) {
  const auto it = lease_of_worker_.find(worker);
  if (it == lease_of_worker_.end()) return;
  Allocation& allocation = leases_.at(it->second).allocation;
  if (blocked) {
    resources_.LendCpu(allocation);
  } else {
    resources_.TakeCpuBack(allocation);
  }
}

std::vector<WorkerId> LeaseScheduler::ClientDied(const WorkerId& client) {
  DropRequests([&](const Waiting& waiting) {
    return !waiting.request.for_actor && waiting.request.key.client.worker == client;
  });
  std::vector<WorkerId> workers;
  for (const auto& [id, lease] : leases_) {
    if (!lease.for_actor && lease.key.client.worker == client) workers.push_back(lease.worker);
  }
  return workers;
}

std::vector<WorkerId> LeaseScheduler::ClientsOfNodeDied(const NodeId& node) {
  DropRequests([&](const Waiting& waiting) {
    return !waiting.request.for_actor && waiting.request.key.client.node == node;
  });
  std::vector<WorkerId> workers;
  for (const auto& [id, lease] : leases_) {
    if (!lease.for_actor && lease.key.client.node == node) workers.push_back(lease.worker);
  }
  return workers;
}

void LeaseScheduler::ForgetJob(const JobId& job) {
  std::erase_if(warned_, [&](const auto& warned) { return warned.first == job; });
}

std::vector<LeaseRequest> LeaseScheduler::TakeStarved(const JobId& job) {
  std::vector<LeaseRequest> taken;
  for (auto it = groups_.begin(); it != groups_.end();) {
    const GroupRef group = it++;
    if (group->second.held > 0 || !resources_.HasNow(group->first.demand)) continue;
    // A group is of one client, so of one job.
    if (!job.is_nil() && !group->second.waiting.empty() &&
        group->second.waiting.front().request.job != job) {
      continue;
    }
    for (Waiting& waiting : group->second.waiting) taken.push_back(std::move(waiting.request));
    groups_.erase(group);
  }
  return taken;
}

void LeaseScheduler::SetNodeView(const NodeId& node, ResourceSet total, ResourceSet available) {
  if (node == self_) return;
  NodeView& view = views_[node];
  view.total = std::move(total);
  view.available = std::move(available);
}

void LeaseScheduler::SetAvoided(const NodeId& node, bool avoided) {
  if (const auto view = views_.find(node); view != views_.end()) view->second.avoided = avoided;
}

bool LeaseScheduler::NodeView::HasNow(const ResourceSet& demand) const {
  if (avoided || !available.Covers(demand)) return false;
  if (promised.empty()) return true;
  ResourceSet left = available;
  left.Subtract(promised);
  return left.Covers(demand);
}

void LeaseScheduler::ForwardAnswered(const NodeId& node, const ResourceSet& demand, bool granted) {
  const auto it = views_.find(node);
  if (it == views_.end()) return;
  it->second.promised.Subtract(demand);
  if (granted) it->second.available.Subtract(demand);  // until its next report
}

bool LeaseScheduler::IsMisplaced(const LeaseRequest& request, const NodeId& node) const {
  if (request.strategy == Strategy::kNodeAffinity) return false;
  if (const auto it = views_.find(node); it != views_.end()) {
    NodeView view = it->second;
    view.promised.Subtract(request.demand);  // its own
    if (view.HasNow(request.demand)) return false;
  }
  return resources_.HasNow(request.demand) || NodeWith(request.demand, /*now=*/true);
}

ResourceSet LeaseScheduler::ClusterTotal() const {
  ResourceSet sum = resources_.total();
  for (const auto& [node, view] : views_) sum.Add(view.total);
  return sum;
}

ResourceSet LeaseScheduler::ClusterAvailable() const {
  ResourceSet sum = resources_.available();
  for (const auto& [node, view] : views_) sum.Add(view.available);
  return sum;
}

size_t LeaseScheduler::pending_count() const {
  size_t count = 0;
  for (const auto& [key, group] : groups_) count += group.waiting.size();
  return count;
}

std::vector<LeaseScheduler::PendingInfo> LeaseScheduler::Pending(int64_t now_ms) const {
  std::vector<PendingInfo> pending;
  for (const auto& [key, group] : groups_) {
    for (const Waiting& waiting : group.waiting) {
      pending.push_back({waiting.request.key, waiting.request.job, waiting.request.demand,
                         now_ms - waiting.since_ms, waiting.request.for_actor});
    }
  }
  return pending;
}

std::map<ResourceSet, uint32_t> LeaseScheduler::PendingDemands(int64_t now_ms,
                                                               int64_t waited_ms) const {
  std::map<ResourceSet, uint32_t> demands;
  for (const auto& [key, group] : groups_) {
    for (const Waiting& waiting : group.waiting) {
      if (now_ms - waiting.since_ms < waited_ms) break;  // the others came later
      ++demands[waiting.request.demand];
    }
  }
  return demands;
}

void LeaseScheduler::CheckInvariants() const {
  resources_.CheckInvariants();
  ResourceSet sum = resources_.available();
  std::map<GroupKey, int> held;
  for (const auto& [id, lease] : leases_) {
    sum.Add(lease.allocation.resources);
    if (lease.allocation.cpu_lent) {
      ResourceSet cpu;
      cpu.Set(kCpu, lease.allocation.resources.Get(kCpu));
      sum.Subtract(cpu);
    }
    CYRAY_CHECK(lease_of_worker_.at(lease.worker) == id) << id;
    ++held[lease.group];
  }
  CYRAY_CHECK(sum == resources_.total()) << sum.ToString();
  CYRAY_CHECK(lease_of_worker_.size() == leases_.size()) << lease_of_worker_.size();
  for (const auto& [key, group] : groups_) {
    CYRAY_CHECK(group.held == held[key]) << group.held;
    CYRAY_CHECK(group.held > 0 || !group.waiting.empty()) << "an empty group stays";
  }
}

}  // namespace cyray::raylet
