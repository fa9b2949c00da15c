#include "cyray/raylet/lease_queue.h"

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
    Join(group, request);
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

void LeaseQueue::Join(Group* group, const LeaseRequest& request) {
  group->job_ = &jobs_[request.job];
  group->level_ = &group->job_->levels[-int64_t{request.priority}];
  ++group->level_->groups;
}

LeaseQueue::Order LeaseQueue::OrderOf(const Group& group) {
  const int64_t below = group.level_->has_turn ? kTurn : -int64_t{group.priority()};
  return {{below, group.held()}, group.waiting_.begin()->first};
}

void LeaseQueue::Place(Group* group) {
  if (group->placed_ || group->waiting_.empty()) return;
  group->placed_ = true;
  group->order_ = OrderOf(*group);
  const StallKey& key = group->stall_;
  Job& job = *group->job_;
  if (key.kind != StallKey::kNode && key.kind != StallKey::kNews) {
    group->level_->standing.insert(group);
  }
  switch (key.kind) {
    case StallKey::kUnsorted:
      job.unsorted.insert(group);
      return;
    case StallKey::kMixed:
      job.mixed.insert(group);
      return;
    case StallKey::kWorker:
      job.without_worker[key.use].insert(group);
      return;
    case StallKey::kResource:
      job.families[{key.here_only, key.resource}].Add(group->order_, key.amount, group);
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
  Job& job = *group->job_;
  group->level_->standing.erase(group);
  switch (key.kind) {
    case StallKey::kUnsorted:
      job.unsorted.erase(group);
      return;
    case StallKey::kMixed:
      job.mixed.erase(group);
      return;
    case StallKey::kWorker: {
      const auto it = job.without_worker.find(key.use);
      it->second.erase(group);
      if (it->second.empty()) job.without_worker.erase(it);
      return;
    }
    case StallKey::kResource: {
      const auto family = job.families.find({key.here_only, key.resource});
      family->second.Remove(group->order_);
      if (family->second.empty()) job.families.erase(family);
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
  if (--group->level_->groups == 0) group->job_->levels.erase(-int64_t{group->priority()});
  groups_.erase(groups_.find(*group->key_));
}

LeaseRequest LeaseQueue::TakeFront(Group* group) {
  Unplace(group);
  group->level_->served = true;
  if (group->level_->has_turn) SetTurn(*group->level_, false);
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

void LeaseQueue::GiveUp(Group* group, int more) {
  group->given_up_ += more;
  group->job_->given_up += more;
}

void LeaseQueue::SetTurn(Level& level, bool has_turn) {
  level.has_turn = has_turn;
  const std::set<Group*> standing = level.standing;
  for (Group* group : standing) {
    Unplace(group);
    Place(group);
  }
}

int64_t LeaseQueue::GiveTurns(int64_t now_ms, int64_t patience_ms) {
  std::erase_if(jobs_, [](const auto& item) { return item.second.levels.empty(); });
  int64_t next = -1;
  for (auto& [id, job] : jobs_) {
    Level* longest = nullptr;
    bool is_first = true;  // of those that wait: nobody keeps it waiting
    bool has_turn = false;
    for (auto& [below, level] : job.levels) {
      const bool waits = !level.standing.empty();
      const bool served = std::exchange(level.served, false);
      if (served || !waits || is_first) level.served_ms = now_ms;
      has_turn |= level.has_turn;
      if (!waits || std::exchange(is_first, false)) continue;
      if (longest == nullptr || level.served_ms < longest->served_ms) longest = &level;
    }
    if (longest == nullptr || has_turn) continue;
    const int64_t left = longest->served_ms + patience_ms - now_ms;
    if (left <= 0) {
      SetTurn(*longest, true);
    } else if (next < 0 || left < next) {
      next = left;
    }
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

LeaseQueue::Group* LeaseQueue::After(const Job& job, const StallKey& key,
                                     const Order& after) const {
  switch (key.kind) {
    case StallKey::kUnsorted:
      return After(job.unsorted, after);
    case StallKey::kMixed:
      return After(job.mixed, after);
    case StallKey::kWorker: {
      const auto it = job.without_worker.find(key.use);
      return it == job.without_worker.end() ? nullptr : After(it->second, after);
    }
    default:
      return nullptr;
  }
}

LeaseQueue::Group* LeaseQueue::FirstWithin(const Job& job, const FamilyKey& family,
                                           const Order& after, int64_t limit) const {
  const auto it = job.families.find(family);
  return it == job.families.end() ? nullptr : it->second.FirstWithin(after, limit, &searched_);
}

LeaseQueue::Group* LeaseQueue::FirstBeyond(const Job& job, const FamilyKey& family,
                                           const Order& after, int64_t limit) const {
  const auto it = job.families.find(family);
  return it == job.families.end() ? nullptr : it->second.FirstBeyond(after, limit, &searched_);
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
    CYRAY_CHECK(group.order_ == OrderOf(group));
  }
  CYRAY_CHECK(waiting == index_.size()) << waiting << " of " << index_.size();
  size_t found = without_node_.size() + without_news_.size();
  std::map<const Job*, int> given_up;
  std::map<const Level*, int> groups;
  for (const auto& [key, group] : groups_) {
    given_up[group.job_] += group.given_up_;
    ++groups[group.level_];
  }
  for (const auto& [id, job] : jobs_) {
    found += job.unsorted.size() + job.mixed.size();
    for (const auto& [use, stall] : job.without_worker) found += stall.size();
    for (const auto& [resource, family] : job.families) {
      family.CheckInvariants();
      found += family.size();
    }
    CYRAY_CHECK(job.given_up == given_up[&job]) << id.Hex();
    for (const auto& [below, level] : job.levels) {
      CYRAY_CHECK(level.groups == groups[&level] && level.groups > 0) << below;
    }
  }
  CYRAY_CHECK(found == standing) << found << " of " << standing;
}

}  // namespace cyray::raylet
