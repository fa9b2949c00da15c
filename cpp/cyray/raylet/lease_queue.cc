#include "cyray/raylet/lease_queue.h"

#include <iterator>
#include <utility>

#include "cyray/util/log.h"

namespace cyray::raylet {

LeaseQueue::GroupKey LeaseQueue::KeyOf(const LeaseRequest& request) {
  return {.client = request.for_actor ? Address{} : request.key.client,
          .job = request.for_actor ? request.job : JobId::Nil(),
          .for_actor = request.for_actor,
          .forwarded = request.forwarded,
          .strategy = request.strategy,
          .affinity_node = request.affinity_node,
          .affinity_soft = request.affinity_soft,
          .priority = request.priority,
          .labels = request.labels,
          .demand = request.demand,
          .held = request.for_actor ? request.held : ResourceSet{},
          .claim = request.claim != nullptr ? request.claim->attempt : 0};
}

void LeaseQueue::Add(LeaseRequest request, int64_t now_ms) {
  const auto [it, added] = groups_.try_emplace(KeyOf(request));
  Group* const group = &it->second;
  if (added) {
    group->key_ = &it->first;
    group->lane_ = LaneOf(request);
  }
  if (group->waiting_.empty()) group->stall_ = {};
  const uint64_t age = next_++;
  // A second one under the same key, which only a broken client sends, replaces the first.
  if (const auto old = index_.find(request.key); old != index_.end()) {
    Group* const other = old->second.first;
    if (other != group) {
      Cancel(request.key);
    } else {
      Unplace(group);
      group->waiting_.erase(old->second.second);
    }
  }
  index_[request.key] = {group, age};
  group->waiting_.emplace(age, Waiting{std::move(request), now_ms});
  Place(group);
}

LeaseQueue::Lane* LeaseQueue::LaneOf(const LeaseRequest& request) {
  const LaneKey key{request.job, -request.priority};
  const auto [it, added] = lanes_.try_emplace(key);
  if (added) {
    it->second.key = key;
    it->second.job = &jobs_[key.job];
    ++it->second.job->lanes;
  }
  ++it->second.groups;
  return &it->second;
}

void LeaseQueue::Place(Group* group) {
  if (group->placed_ || group->waiting_.empty()) return;
  group->placed_ = true;
  group->order_ = {group->held(), group->waiting_.begin()->first};
  const StallKey& key = group->stall_;
  Lane& lane = *group->lane_;
  switch (key.kind) {
    case StallKey::kUnsorted:
      lane.unsorted.insert(group);
      return;
    case StallKey::kMixed:
      lane.mixed.insert(group);
      return;
    case StallKey::kWorker:
      lane.without_worker[key.use].insert(group);
      return;
    case StallKey::kResource:
      lane.families[{key.here_only, key.resource}].Add(group->order_, key.amount, group);
      return;
    case StallKey::kNode:
      without_node_.insert(group);
      return;
    case StallKey::kNews:
      without_news_.insert(group);
      return;
  }
}

void LeaseQueue::Unplace(Group* group) {
  if (!std::exchange(group->placed_, false)) return;
  const StallKey& key = group->stall_;
  Lane& lane = *group->lane_;
  switch (key.kind) {
    case StallKey::kUnsorted:
      lane.unsorted.erase(group);
      return;
    case StallKey::kMixed:
      lane.mixed.erase(group);
      return;
    case StallKey::kWorker: {
      const auto it = lane.without_worker.find(key.use);
      it->second.erase(group);
      if (it->second.empty()) lane.without_worker.erase(it);
      return;
    }
    case StallKey::kResource: {
      const auto family = lane.families.find({key.here_only, key.resource});
      family->second.Remove(group->order_);
      if (family->second.empty()) lane.families.erase(family);
      return;
    }
    case StallKey::kNode:
      without_node_.erase(group);
      return;
    case StallKey::kNews:
      without_news_.erase(group);
      return;
  }
}

void LeaseQueue::DropEmpty(Group* group) {
  if (!group->waiting_.empty() || group->held_ > 0) return;
  --group->lane_->groups;
  groups_.erase(groups_.find(*group->key_));
}

LeaseRequest LeaseQueue::TakeFront(Group* group) {
  Unplace(group);
  group->lane_->served = true;
  if (std::exchange(group->lane_->promoted, false)) promoted_.erase(group->lane_->key);
  const auto front = group->waiting_.begin();
  LeaseRequest request = std::move(front->second.request);
  group->waiting_.erase(front);
  index_.erase(request.key);
  Place(group);
  DropEmpty(group);
  return request;
}

std::optional<LeaseRequest> LeaseQueue::Cancel(const RequestKey& key) {
  const auto it = index_.find(key);
  if (it == index_.end()) return std::nullopt;
  const auto [group, age] = it->second;
  index_.erase(it);
  const auto waiting = group->waiting_.find(age);
  LeaseRequest request = std::move(waiting->second.request);
  if (waiting == group->waiting_.begin()) Unplace(group);
  group->waiting_.erase(waiting);
  Place(group);
  DropEmpty(group);
  return request;
}

bool LeaseQueue::LacksResources(const RequestKey& key) const {
  const auto it = index_.find(key);
  if (it == index_.end()) return false;
  const StallKey::Kind kind = it->second.first->stall().kind;
  return kind == StallKey::kResource || kind == StallKey::kMixed;
}

void LeaseQueue::CancelOf(const Address& client) {
  std::vector<RequestKey> keys;
  const bool whole_node = client.worker.is_nil();
  for (auto it = index_.lower_bound(RequestKey{client, 0, {}}); it != index_.end(); ++it) {
    const Address& other = it->first.client;
    if (whole_node ? other.node != client.node : other != client) break;
    keys.push_back(it->first);
  }
  for (const RequestKey& key : keys) Cancel(key);
}

std::vector<LeaseRequest> LeaseQueue::TakeAll(Group* group) {
  std::vector<LeaseRequest> taken;
  for (size_t left = group->waiting_.size(); left > 0; --left) taken.push_back(TakeFront(group));
  return taken;
}

LeaseRequest LeaseQueue::Lease(Group* group) {
  ++group->held_;  // before: the group stays
  return TakeFront(group);
}

void LeaseQueue::Returned(Group* group) {
  CYRAY_CHECK(group->held_ > 0);
  Unplace(group);
  --group->held_;
  Place(group);
  DropEmpty(group);
}

std::vector<LeaseQueue::Lane*> LeaseQueue::Foremost(size_t of_each_job) {
  std::vector<Lane*> foremost;
  size_t of_this = 0;
  for (auto it = lanes_.begin(); it != lanes_.end();) {
    const LaneKey& key = it->first;
    if (it->second.waits() && !it->second.promoted) {
      foremost.push_back(&it->second);
      ++of_this;
    }
    const auto next = std::next(it);
    const bool same = next != lanes_.end() && next->first.job == key.job;
    it = same && of_this >= of_each_job ? lanes_.upper_bound({key.job, INT32_MAX}) : next;
    if (!same || of_this >= of_each_job) of_this = 0;
  }
  for (const LaneKey& key : promoted_) {
    if (Lane& lane = lanes_.at(key); lane.waits()) foremost.push_back(&lane);
  }
  return foremost;
}

void LeaseQueue::GiveUp(Group* group, int more) {
  group->given_up_ += more;
  group->lane_->job->given_up += more;
}

int64_t LeaseQueue::Promote(int64_t now_ms, int64_t patience_ms) {
  std::erase_if(lanes_, [this](const auto& item) {
    const auto& [key, lane] = item;
    if (lane.groups > 0) return false;
    if (--lane.job->lanes == 0) jobs_.erase(key.job);
    promoted_.erase(key);
    return true;
  });
  int64_t next = -1;
  const JobUse* before = nullptr;  // whose lane of a higher priority waits
  for (auto& [key, lane] : lanes_) {
    if (std::exchange(lane.served, false) || !lane.waits()) lane.served_ms = now_ms;
    if (!lane.waits()) continue;
    if (lane.job != std::exchange(before, lane.job)) {
      lane.served_ms = now_ms;  // it is the first
      continue;
    }
    const int64_t left = lane.served_ms + patience_ms - now_ms;
    if (left <= 0 && !std::exchange(lane.promoted, true)) promoted_.insert(key);
    if (left > 0 && (next < 0 || left < next)) next = left;
  }
  return next;
}

void LeaseQueue::Move(Group* group, StallKey to) {
  if (group->stall_ == to) return;
  Unplace(group);
  group->stall_ = std::move(to);
  Place(group);
}

void LeaseQueue::SortAnew() {
  for (Stall* stall : {&without_node_, &without_news_}) {
    const Stall groups = *stall;
    for (Group* group : groups) Move(group, {});
  }
}

LeaseQueue::Group* LeaseQueue::After(const Stall& stall, const Order& after) {
  const auto it = stall.upper_bound(after);
  return it == stall.end() ? nullptr : *it;
}

LeaseQueue::Group* LeaseQueue::After(const Lane& lane, const StallKey& key,
                                     const Order& after) const {
  switch (key.kind) {
    case StallKey::kUnsorted:
      return After(lane.unsorted, after);
    case StallKey::kMixed:
      return After(lane.mixed, after);
    case StallKey::kWorker: {
      const auto it = lane.without_worker.find(key.use);
      return it == lane.without_worker.end() ? nullptr : After(it->second, after);
    }
    default:
      return nullptr;
  }
}

LeaseQueue::Group* LeaseQueue::FirstWithin(const Lane& lane, const FamilyKey& family,
                                           const Order& after, int64_t limit) const {
  const auto it = lane.families.find(family);
  return it == lane.families.end() ? nullptr : it->second.FirstWithin(after, limit, &searched_);
}

LeaseQueue::Group* LeaseQueue::FirstBeyond(const Lane& lane, const FamilyKey& family,
                                           const Order& after, int64_t limit) const {
  const auto it = lane.families.find(family);
  return it == lane.families.end() ? nullptr : it->second.FirstBeyond(after, limit, &searched_);
}

void LeaseQueue::CheckInvariants() const {
  size_t waiting = 0;
  size_t standing = 0;
  for (const auto& [key, group] : groups_) {
    CYRAY_CHECK(group.held_ > 0 || !group.waiting_.empty()) << "an empty group stays";
    CYRAY_CHECK(group.placed_ == !group.waiting_.empty());
    waiting += group.waiting_.size();
    standing += group.placed_ ? 1 : 0;
    if (!group.placed_) continue;
    CYRAY_CHECK(group.order_ == std::pair(group.held(), group.waiting_.begin()->first));
  }
  CYRAY_CHECK(waiting == index_.size()) << waiting << " of " << index_.size();
  size_t found = without_node_.size() + without_news_.size();
  for (const auto& [key, lane] : lanes_) {
    CYRAY_CHECK(lane.groups >= 0 && lane.job == &jobs_.at(key.job)) << key.job.Hex();
    found += lane.unsorted.size() + lane.mixed.size();
    for (const auto& [use, stall] : lane.without_worker) found += stall.size();
    for (const auto& [resource, family] : lane.families) {
      family.CheckInvariants();
      found += family.size();
    }
  }
  std::map<JobId, JobUse> jobs;
  for (const auto& [key, lane] : lanes_) ++jobs[key.job].lanes;
  for (const auto& [key, group] : groups_) {
    jobs[group.lane_->key.job].given_up += group.given_up_;
  }
  for (const auto& [id, job] : jobs_) {
    CYRAY_CHECK(jobs[id].lanes == job.lanes && jobs[id].given_up == job.given_up) << id.Hex();
  }
  CYRAY_CHECK(found == standing) << found << " of " << standing;
}

}  // namespace cyray::raylet
