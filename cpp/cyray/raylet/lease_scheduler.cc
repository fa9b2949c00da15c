#include "cyray/raylet/lease_scheduler.h"

#include <algorithm>
#include <cstdint>

#include "cyray/util/log.h"

namespace cyray::raylet {
namespace {

// The part of a cycle in which who waits long keeps others from what it needs.
constexpr int64_t kReserveEndMs = 2000;
constexpr int64_t kWarnAfterMs = 1000;
// So often somebody of a lower priority is served, however many of a higher one wait.
constexpr int64_t kPatienceMs = 5000;
constexpr int64_t kTurnsEveryMs = 100;  // how often one may be given at most
// So long news of a node may take that its driver has heard of.
constexpr int64_t kUnknownNodeMs = 5000;
// What is looked at in one Schedule beyond what it can grant.
constexpr int kMaxMixed = 64;         // groups that lack nothing single; others come next time
constexpr int64_t kMixedAgainMs = 5;  // which is so soon
constexpr int kMaxWorkersWanted = 1024;

}  // namespace

LeaseScheduler::LeaseScheduler(NodeId self, ResourceSet total, Labels labels)
    : self_(self),
      labels_(std::move(labels)),
      resources_(std::move(total)),
      random_(std::hash<NodeId>{}(self)) {}

void LeaseScheduler::AddRequest(LeaseRequest request, int64_t now_ms) {
  queue_.Add(std::move(request), now_ms);
}

bool LeaseScheduler::CancelRequest(const RequestKey& key) { return queue_.Cancel(key).has_value(); }

ScheduleActions LeaseScheduler::Schedule(int64_t now_ms, const TakeWorker& take_worker) {
  ScheduleActions actions;
  if (queue_.size() == 0) return actions;
  if (now_ms >= unknown_due_ms_) views_changed_ = true;
  if (std::exchange(views_changed_, false)) {
    unknown_due_ms_ = INT64_MAX;
    queue_.SortAnew();
  }
  if (now_ms >= turns_due_ms_) {
    turns_due_ms_ = now_ms + kTurnsEveryMs;
    turn_ms_ = queue_.GiveTurns(now_ms, kPatienceMs);
  }
  Scan scan{.now_ms = now_ms, .take = take_worker, .actions = &actions};
  Serve(scan);
  if (queue_.size() == 0) return actions;
  CountWantedWorkers(scan);
  FindReclaims(now_ms, &actions);
  WarnInfeasible(now_ms, &actions);
  if (unknown_due_ms_ != INT64_MAX) actions.CallAgainIn(unknown_due_ms_ - now_ms);
  if (turn_ms_ >= 0) actions.CallAgainIn(std::max(turn_ms_, kTurnsEveryMs));
  return actions;
}

// --- Who is looked at -------------------------------------------------------------------------

// Whoever holds the least is next each time, so that jobs and groups take turns.
void LeaseScheduler::Serve(Scan& scan) {
  FairMerge merge;
  for (const auto& [id, job] : queue_.jobs()) AddSources(job, scan, merge);
  Group* group = nullptr;
  size_t source = 0;
  int mixed = 0;
  while (merge.Next(&group, &source)) {
    ++looked_at_;
    const LeaseQueue::Order order = group->order();
    if (group->stall().kind == StallKey::kMixed) {
      if (++mixed > kMaxMixed) {
        scan.actions->call_again_ms = kMixedAgainMs;
        continue;
      }
      LeaseQueue::SetMixedAt(*group, order);
    }
    if (!IsOpen(group->stall(), scan)) {  // nobody there can be served, but the first may reserve
      Reserve(*group, scan);
    } else if (ServeFront(group, scan) == Step::kMoved) {
      merge.Stay();
    } else {
      merge.Pass(order);
    }
  }
  if (mixed <= kMaxMixed) queue_.MixedEnded();
}

// Where somebody may be served, and who reserves first of those that may not.
void LeaseScheduler::AddSources(const LeaseQueue::Job& job, Scan& scan, FairMerge& merge) {
  merge.Add([this, &job](const Order& after) { return queue_.After(job, {}, after); });
  merge.Add(
      [this, &job](const Order& after) { return queue_.After(job, {StallKey::kMixed}, after); },
      job.mixed_at);
  AddWorkerSources(job, merge);
  for (const auto& [key, family] : job.families) {
    merge.Add([this, &job, &scan, key](const Order& after) {
      return queue_.FirstWithin(job, key, after, Limit(key.first, key.second, scan));
    });
    merge.Add([this, &job, &scan, key](const Order& after) {
      return queue_.FirstBeyond(job, key, after, Limit(key.first, key.second, scan));
    });
  }
}

void LeaseScheduler::AddWorkerSources(const LeaseQueue::Job& job, FairMerge& merge) const {
  for (const auto& [use, stall] : job.without_worker) {
    merge.Add([this, &job, key = StallKey{.kind = StallKey::kWorker, .use = use}](
                  const Order& after) { return queue_.After(job, key, after); });
  }
}

bool LeaseScheduler::IsOpen(const StallKey& stall, Scan& scan) {
  if (stall.kind == StallKey::kWorker) return !scan.no_worker.contains(stall.use);
  if (stall.kind != StallKey::kResource) return true;
  return stall.amount <= Limit(stall.here_only, stall.resource, scan);
}

int64_t LeaseScheduler::Limit(bool here_only, const std::string& resource, Scan& scan) {
  const int64_t here = resources_.available().Get(resource) - scan.reserved.Get(resource);
  if (here_only || views_.empty()) return here;
  const auto [it, added] = scan.most.try_emplace(resource, 0);
  if (added) {
    for (const auto& [node, view] : views_) {
      if (view.avoided) continue;
      it->second = std::max(it->second, view.left.Get(resource));
    }
  }
  return std::max(here, it->second);
}

void LeaseScheduler::Reserve(const Group& group, Scan& scan) {
  const int64_t waited = scan.now_ms - group.front_since_ms();
  if (waited < kReserveAfterMs || waited % kReserveCycleMs >= kReserveEndMs) return;
  if (!scan.reachable) {
    scan.reachable = resources_.available();
    for (const auto& [client, id] : leases_of_) {
      scan.reachable->Add(leases_.at(id).allocation.resources);
    }
  }
  if (!scan.reachable->Covers(group.demand())) return;
  if (scan.reserved_for.insert(group.front().key).second) scan.reserved.Add(group.demand());
}

// What it lacks wherever it may run.
StallKey LeaseScheduler::Lacking(const LeaseRequest& request, Scan& scan) {
  const bool bound = request.strategy == Strategy::kNodeAffinity && request.affinity_node == self_;
  const bool here_only = request.for_actor || request.forwarded || bound;
  for (const auto& [resource, amount] : request.demand.amounts()) {
    if (amount <= 0 || amount <= Limit(here_only, resource, scan)) continue;
    return {StallKey::kResource, here_only, resource, amount, {}};
  }
  return {StallKey::kMixed};
}

bool LeaseScheduler::HasNowBeside(const LeaseRequest& request, const ResourceSet& reserved) const {
  // The sum of bundles says nothing of devices: Reserve decides, bundle by bundle.
  const bool sum_only = request.claim != nullptr;
  const bool has =
      sum_only ? resources_.available().Covers(request.demand) : resources_.HasNow(request.demand);
  if (!has || reserved.empty()) return has;
  ResourceSet left = resources_.available();
  left.Subtract(reserved);
  return left.Covers(request.demand);
}

LeaseScheduler::Step LeaseScheduler::ServeFront(Group* group, Scan& scan) {
  const LeaseRequest& request = group->front();
  const bool here_now = HasNowBeside(request, scan.reserved);
  Choice choice = Choose(request, here_now);
  switch (choice.kind) {
    case Choice::kLater:
      queue_.Move(group, {.kind = StallKey::kNews});
      return Step::kWaits;
    case Choice::kNever: {
      const bool feasible = IsFeasible(request);  // where it may not go, or not now
      queue_.Move(group, {.kind = feasible ? StallKey::kNews : StallKey::kNode});
      return Step::kWaits;
    }
    case Choice::kHere:
      return ServeHere(group, here_now, scan);
    case Choice::kUnknown:
      if (const int64_t due_ms = group->front_since_ms() + kUnknownNodeMs; scan.now_ms < due_ms) {
        unknown_due_ms_ = std::min(unknown_due_ms_, due_ms);
        queue_.Move(group, {.kind = StallKey::kNews});
        return Step::kWaits;
      }
      [[fallthrough]];
    case Choice::kRefused:
      scan.actions->refusals.push_back({queue_.TakeFront(group), std::move(choice.error)});
      return Step::kMoved;
    case Choice::kThere:
      if (auto view = views_.find(choice.node); view != views_.end()) {
        view->second.Promise(request.demand);
        scan.most.clear();
      }
      scan.actions->forwards.push_back({queue_.TakeFront(group), choice.node});
      return Step::kMoved;
  }
  return Step::kWaits;
}

LeaseScheduler::Step LeaseScheduler::ServeHere(Group* group, bool here_now, Scan& scan) {
  const LeaseRequest& request = group->front();
  if (request.claim != nullptr && here_now) {
    const BundleClaim& claim = *request.claim;
    here_now = resources_.Reserve(claim.group, claim.attempt, claim.bundles);
    if (here_now) {
      scan.actions->reserved.push_back(queue_.TakeFront(group).claim);
      return Step::kMoved;
    }
  }
  if (!here_now) {
    StallKey lacking = Lacking(request, scan);
    Reserve(*group, scan);
    queue_.Move(group, std::move(lacking));
    return Step::kWaits;
  }
  std::optional<Allocation> allocation = resources_.Allocate(request.held);
  CYRAY_CHECK(allocation.has_value())
      << request.held.ToString() << " of " << resources_.available().ToString();
  const WorkerUse use{request.job, allocation->GpuIds()};
  const bool asked = scan.no_worker.contains(use);
  const std::optional<WorkerId> worker = asked ? std::nullopt : scan.take(request, use);
  if (!worker) {
    resources_.Release(*allocation);
    scan.no_worker.insert(use);
    queue_.Move(group, {.kind = StallKey::kWorker, .use = use});
    return Step::kWaits;
  }
  Grant(group, *worker, std::move(*allocation), scan);
  return Step::kMoved;
}

void LeaseScheduler::Grant(Group* group, const WorkerId& worker, Allocation allocation,
                           Scan& scan) {
  const LeaseRequest request = queue_.Lease(group);
  CYRAY_CHECK(!lease_of_worker_.contains(worker)) << worker.Hex();
  const uint64_t id = next_lease_++;
  scan.actions->grants.push_back({request.key, id, worker, allocation.GpuIds(), request.for_actor});
  leases_[id] = Lease{.key = request.key,
                      .group = group,
                      .worker = worker,
                      .allocation = std::move(allocation),
                      .granted_ms = scan.now_ms,
                      .for_actor = request.for_actor};
  if (Counts(leases_[id])) LeaseQueue::Count(*group, 1);
  lease_of_worker_[worker] = id;
  if (!request.for_actor) leases_of_.emplace(request.key.client, id);
}

// --- Workers that waiting requests call for ---------------------------------------------------

void LeaseScheduler::CountWantedWorkers(const Scan& scan) {
  const auto lacks = [](const auto& item) { return !item.second.without_worker.empty(); };
  if (std::any_of(queue_.jobs().begin(), queue_.jobs().end(), lacks)) {
    CountWaitingForWorkers(scan.actions);
  }
  // There was room for one of these, which others with a worker have taken since. With a worker of
  // its own it is its turn next time; without one it would be passed over for ever.
  for (const WorkerUse& use : scan.no_worker) scan.actions->workers_wanted.try_emplace(use, 1);
}

void LeaseScheduler::CountWaitingForWorkers(ScheduleActions* actions) {
  FairMerge merge;
  for (const auto& [id, job] : queue_.jobs()) AddWorkerSources(job, merge);
  NodeResources scratch = resources_;
  Group* group = nullptr;
  size_t source = 0;
  for (int left = kMaxWorkersWanted; left > 0 && merge.Next(&group, &source); --left) {
    ++looked_at_;
    for (const auto& [age, waiting] : group->waiting()) {
      // Also what an actor checks but does not keep counts, or its twins would start at once.
      const auto allocation = scratch.Allocate(waiting.request.demand);
      if (!allocation || --left < 0) break;
      ++actions->workers_wanted[{waiting.request.job, allocation->GpuIds()}];
    }
    merge.Pass(group->order());
  }
}

void LeaseScheduler::WarnInfeasible(int64_t now_ms, ScheduleActions* actions) {
  LeaseQueue::Order at = LeaseQueue::kFirst;
  while (Group* group = queue_.AfterWithoutNode(at)) {
    ++looked_at_;
    at = group->order();
    const LeaseRequest& request = group->front();
    const int64_t left = kWarnAfterMs - (now_ms - group->front_since_ms());
    if (left > 0) {
      actions->CallAgainIn(left);
      continue;
    }
    if (const auto missing = GroupOf(request.demand)) {
      actions->missing_groups.push_back(*missing);
    } else if (warned_.emplace(request.job, request.demand).second) {
      actions->warnings.push_back({request.job, InfeasibleText(request)});
    }
    queue_.Move(group, {.kind = StallKey::kNews});
  }
}

// --- Ends -------------------------------------------------------------------------------------

void LeaseScheduler::EndLease(std::unordered_map<uint64_t, Lease>::iterator lease) {
  resources_.Release(lease->second.allocation);
  lease_of_worker_.erase(lease->second.worker);
  Group* const group = lease->second.group;
  if (lease->second.reclaimed()) LeaseQueue::GiveUp(group, -1);
  if (Counts(lease->second)) LeaseQueue::Count(*group, -1);
  leases_of_.erase({lease->second.key.client, lease->first});
  leases_.erase(lease);
  queue_.Returned(group);
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
  LeaseEnd end{lease->first, lease->second.key, worker, lease->second.for_actor,
               GroupOf(lease->second.allocation.resources)};
  EndLease(lease);
  return end;
}

void LeaseScheduler::SetBlocked(const WorkerId& worker, bool blocked) {
  const auto it = lease_of_worker_.find(worker);
  if (it == lease_of_worker_.end()) return;
  Lease& lease = leases_.at(it->second);
  if (lease.for_actor) return;  // what an actor holds it keeps for life
  LeaseQueue::Count(*lease.group, Counts(lease) ? -1 : 0);
  if (blocked) {
    resources_.LendCpu(lease.allocation);
  } else {
    resources_.TakeCpuBack(lease.allocation);
  }
  LeaseQueue::Count(*lease.group, Counts(lease) ? 1 : 0);
}

bool LeaseScheduler::Counts(const Lease& lease) {
  const ResourceSet& resources = lease.allocation.resources;
  return !lease.for_actor && !lease.allocation.cpu_lent && !resources.empty() &&
         !GroupOf(resources);
}

std::vector<WorkerId> LeaseScheduler::ClientDied(const Address& client) {
  queue_.CancelOf(client);
  return HeldBy(client);
}

std::vector<WorkerId> LeaseScheduler::ClientsOfNodeDied(const NodeId& node) {
  const Address all{node, WorkerId::Nil()};
  queue_.CancelOf(all);
  return HeldBy(all);
}

std::vector<WorkerId> LeaseScheduler::HeldBy(const Address& client) const {
  std::vector<WorkerId> workers;
  const bool whole_node = client.worker.is_nil();
  for (auto it = leases_of_.lower_bound({client, 0}); it != leases_of_.end(); ++it) {
    const Address& holder = it->first;
    if (whole_node ? holder.node != client.node : holder != client) break;
    workers.push_back(leases_.at(it->second).worker);
  }
  return workers;
}

void LeaseScheduler::ForgetJob(const JobId& job) {
  std::erase_if(warned_, [&](const auto& warned) { return warned.first == job; });
}

std::vector<LeaseRequest> LeaseScheduler::TakeStarved(const JobId& job) {
  std::vector<Group*> starved;
  for (auto& [key, group] : queue_.groups()) {
    if (group.waiting().empty() || group.held() > 0 || !resources_.HasNow(key.demand)) continue;
    if (group.front().claim != nullptr) continue;  // which needs no worker
    // A group is of one client, so of one job.
    if (job.is_nil() || group.front().job == job) starved.push_back(&group);
  }
  std::vector<LeaseRequest> taken;
  for (Group* group : starved) {
    for (LeaseRequest& request : queue_.TakeAll(group)) taken.push_back(std::move(request));
  }
  return taken;
}

std::vector<LeaseScheduler::PendingInfo> LeaseScheduler::Pending(int64_t now_ms,
                                                                 size_t limit) const {
  std::vector<PendingInfo> pending;
  for (const auto& [key, group] : queue_.groups()) {
    for (const auto& [age, waiting] : group.waiting()) {
      if (pending.size() >= limit) return pending;
      pending.push_back({waiting.request.key, waiting.request.job, waiting.request.demand,
                         now_ms - waiting.since_ms, waiting.request.for_actor});
    }
  }
  return pending;
}

std::vector<LeaseScheduler::LentInfo> LeaseScheduler::Lent(int64_t now_ms, size_t limit) const {
  std::vector<LentInfo> lent;
  for (const auto& [id, lease] : leases_) {
    if (lent.size() >= limit) break;
    lent.push_back({lease.key, lease.worker, lease.allocation.resources, lease.allocation.cpu_lent,
                    now_ms - lease.granted_ms, lease.for_actor});
  }
  return lent;
}

std::map<ResourceSet, uint32_t> LeaseScheduler::PendingDemands(int64_t now_ms,
                                                               int64_t waited_ms) const {
  std::map<ResourceSet, uint32_t> demands;
  for (const auto& [key, group] : queue_.groups()) {
    uint32_t count = 0;
    for (const auto& [age, waiting] : group.waiting()) {
      if (now_ms - waiting.since_ms < waited_ms) break;  // the others came later
      ++count;
    }
    if (count > 0) demands[key.demand] += count;
  }
  return demands;
}

void LeaseScheduler::CheckInvariants() const {
  resources_.CheckInvariants();
  ResourceSet sum = resources_.available();
  std::map<const Group*, std::pair<int, int>> held;  // and of these, given up
  std::map<const LeaseQueue::Job*, int> counted;
  for (const auto& [id, lease] : leases_) {
    sum.Add(lease.allocation.resources);
    if (lease.allocation.cpu_lent) sum.Subtract(lease.allocation.Cpu());
    CYRAY_CHECK(lease_of_worker_.at(lease.worker) == id) << id;
    CYRAY_CHECK(leases_of_.contains({lease.key.client, id}) != lease.for_actor) << id;
    if (Counts(lease)) ++counted[&lease.group->job()];
    if (lease.for_actor) continue;
    ++held[lease.group].first;
    held[lease.group].second += lease.reclaimed() ? 1 : 0;
  }
  sum.Add(resources_.reserved());
  CYRAY_CHECK(sum == resources_.total()) << sum.ToString();
  CYRAY_CHECK(lease_of_worker_.size() == leases_.size()) << lease_of_worker_.size();
  for (const auto& [key, group] : queue_.groups()) {
    CYRAY_CHECK(group.held() == held[&group].first) << group.held();
    CYRAY_CHECK(group.given_up() == held[&group].second) << group.given_up();
  }
  for (const auto& [id, job] : queue_.jobs()) {
    CYRAY_CHECK(job.held == counted[&job]) << job.held;
  }
  queue_.CheckInvariants();
}

}  // namespace cyray::raylet
