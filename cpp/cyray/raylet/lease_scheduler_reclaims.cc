// How a LeaseScheduler has leases asked back from who holds more, or less urgent ones, than others
// who wait.

#include <algorithm>
#include <utility>

#include "cyray/raylet/lease_scheduler.h"

namespace cyray::raylet {
namespace {

// A lease is not asked back before it could do some work.
constexpr int64_t kMinHoldMs = 5;
// So long a lease that was asked back may take; then another one is asked for, too.
constexpr int64_t kReclaimPatienceMs = 100;
// What is looked at in one Schedule.
constexpr int kMaxVainReclaims = 16;  // groups of one resource that get nothing back
constexpr int kMaxReclaimLooks = 256;

}  // namespace

std::vector<LeaseScheduler::Victim> LeaseScheduler::Victims(int64_t now_ms,
                                                            ScheduleActions* actions) {
  std::vector<Victim> victims;
  for (const auto& [client, id] : leases_of_) {  // of actors there may be thousands
    Lease& lease = leases_.at(id);
    if (lease.reclaimed() || lease.allocation.cpu_lent) continue;
    if (now_ms - lease.granted_ms < kMinHoldMs) {
      actions->call_again_ms = kMinHoldMs;
      continue;
    }
    victims.push_back({&lease, lease.group});
  }
  return victims;
}

// A lower priority of the same job comes first, then whoever holds more: another job, or another
// group.
LeaseScheduler::Reason LeaseScheduler::ReasonToYield(const Group& holds, const Group& asks,
                                                     int coming) {
  const int held = holds.held() - holds.given_up();
  if (&holds.job() != &asks.job()) {
    const int by_job = holds.job().held - holds.job().given_up;
    return by_job > asks.job().held + coming ? Reason{1, by_job, held} : Reason{};
  }
  const int64_t above = int64_t{asks.priority()} - holds.priority();
  if (above > 0) return {2, above, held};
  if (above < 0 && !asks.has_turn()) return {};
  return held > asks.held() ? Reason{1, held, held} : Reason{};
}

LeaseScheduler::Victim* LeaseScheduler::BestVictim(const ResourceSet& missing, const Group& asks,
                                                   Reclaims& reclaims) {
  Victim* best = nullptr;
  Reason most{};
  const int coming = reclaims.coming[&asks.job()];
  for (Victim& victim : reclaims.victims) {
    if (victim.lease->reclaimed()) continue;
    const Reason reason = ReasonToYield(*victim.group, asks, coming);
    if (reason <= most) continue;
    const auto gives = [&](const auto& need) {
      return need.second > 0 && victim.lease->allocation.resources.Get(need.first) > 0;
    };
    if (std::none_of(missing.amounts().begin(), missing.amounts().end(), gives)) continue;
    best = &victim;
    most = reason;
  }
  return best;
}

void LeaseScheduler::FindReclaims(int64_t now_ms, ScheduleActions* actions) {
  Reclaims reclaims{.now_ms = now_ms, .actions = actions, .expected = resources_.available()};
  for (const auto& [client, id] : leases_of_) {
    const Lease& lease = leases_.at(id);
    // Its task may never end: after a while nobody counts on it.
    const bool soon = lease.reclaimed() && now_ms - lease.reclaim_ms < kReclaimPatienceMs;
    if (soon && !lease.allocation.cpu_lent) reclaims.expected.Add(lease.allocation.resources);
  }
  reclaims.victims = Victims(now_ms, actions);
  if (reclaims.victims.empty() && actions->call_again_ms >= 0) return;
  FairMerge merge;
  std::deque<Vain> vain;  // by source
  for (const auto& [id, job] : queue_.jobs()) AddReclaimSources(job, merge, vain);
  Group* group = nullptr;
  size_t source = 0;
  for (int left = kMaxReclaimLooks; left > 0 && merge.Next(&group, &source); --left) {
    ++looked_at_;
    const bool able = resources_.HasEver(group->demand());
    if (able && now_ms - group->front_since_ms() < kReserveCycleMs && actions->call_again_ms < 0) {
      actions->call_again_ms = std::min(kReserveAfterMs, kReclaimPatienceMs);
    }
    if (able && ReclaimFor(*group, reclaims)) {
      merge.Pass(group->order());
    } else if (vain[source].Add(group->stall().amount)) {
      merge.Pass(group->order());
    }
  }
}

// After some who get nothing back only those of a family that need less are looked at.
bool LeaseScheduler::Vain::Add(int64_t amount) {
  least = std::min(least, amount);
  if (++count < kMaxVainReclaims) return true;
  count = 0;
  limit = std::exchange(least, INT64_MAX) - 1;
  return family;
}

void LeaseScheduler::AddReclaimSources(const LeaseQueue::Job& job, FairMerge& merge,
                                       std::deque<Vain>& vain) const {
  for (const auto kind : {StallKey::kUnsorted, StallKey::kMixed}) {
    merge.Add([this, &job, kind](const Order& after) { return queue_.After(job, {kind}, after); });
    vain.emplace_back();
  }
  AddWorkerSources(job, merge);
  vain.resize(vain.size() + job.without_worker.size());
  for (const auto& [key, family] : job.families) {
    const Vain* const of_family = &vain.emplace_back(Vain{.family = true});
    merge.Add([this, &job, key, of_family](const Order& after) {
      return queue_.FirstWithin(job, key, after, of_family->limit);
    });
  }
}

// Each actor of a group is served for itself, other groups one request at a time.
bool LeaseScheduler::ReclaimFor(const Group& group, Reclaims& reclaims) {
  const size_t most = reclaims.victims.size() + 1;
  const size_t times = group.for_actor() ? std::min(group.waiting().size(), most) : 1;
  for (size_t i = 0; i < times; ++i) {
    if (!Reclaim(group, reclaims)) return false;
    reclaims.expected.Subtract(group.demand());
    ++reclaims.coming[&group.job()];
  }
  return true;
}

// Asks for leases until the group's demand is expected to be free; for none when it cannot be.
bool LeaseScheduler::Reclaim(const Group& group, Reclaims& reclaims) {
  ResourceSet* const expected = &reclaims.expected;
  const ResourceSet& demand = group.demand();
  std::vector<Victim*> asked;
  while (!expected->Covers(demand)) {
    ResourceSet missing = demand;
    missing.Subtract(*expected);
    Victim* victim = BestVictim(missing, group, reclaims);
    if (victim == nullptr) break;
    victim->lease->reclaim_ms = reclaims.now_ms;
    LeaseQueue::GiveUp(victim->group, 1);
    expected->Add(victim->lease->allocation.resources);
    asked.push_back(victim);
  }
  const bool enough = expected->Covers(demand);
  for (Victim* victim : asked) {
    Lease& lease = *victim->lease;
    if (enough) {
      reclaims.actions->reclaims.push_back(
          {lease_of_worker_.at(lease.worker), lease.key.client, lease.worker});
    } else {  // its return would not let this one run
      lease.reclaim_ms = -1;
      LeaseQueue::GiveUp(victim->group, -1);
      expected->Subtract(lease.allocation.resources);
    }
  }
  return enough;
}

}  // namespace cyray::raylet
