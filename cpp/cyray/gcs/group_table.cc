#include "cyray/gcs/group_table.h"

#include <utility>

#include "cyray/util/log.h"

namespace cyray::gcs {

using Kind = GroupAction::Kind;

GroupRecord* GroupTable::FindLiving(const PlacementGroupId& id) {
  const auto it = groups_.find(id);
  return it == groups_.end() ? nullptr : &it->second;
}

const GroupRecord* GroupTable::Find(const PlacementGroupId& id) const {
  const auto it = groups_.find(id);
  return it == groups_.end() ? nullptr : &it->second;
}

const GroupRecord* GroupTable::FindByName(const std::string& ns, const std::string& name) const {
  const auto it = names_.find({ns, name});
  return it == names_.end() ? nullptr : Find(it->second);
}

void GroupTable::Add(GroupRecord record) {
  const PlacementGroupId id = record.spec.id;
  if (!record.spec.name.empty()) names_[{record.spec.ns, record.spec.name}] = id;
  if (!record.placed()) {
    tickets_[id] = next_ticket_;
    unplaced_[next_ticket_++] = id;
  }
  groups_.emplace(id, std::move(record));
}

Result<GroupActions> GroupTable::Register(GroupSpec spec) {
  const PlacementGroupId id = spec.id;
  if (groups_.contains(id) || removed_.Find(id) != nullptr) return GroupActions{};
  if (!spec.name.empty() && FindByName(spec.ns, spec.name) != nullptr) {
    return Fail(StatusCode::kAlreadyExists, "a placement group named '" + spec.name +
                                                "' exists in the namespace '" + spec.ns +
                                                "' already");
  }
  GroupRecord record;
  record.seats.resize(spec.bundles.size());
  record.spec = std::move(spec);
  Add(std::move(record));
  return GroupActions{{Kind::kStore, id}, {Kind::kPlace, id}};
}

void GroupTable::Restore(GroupRecord record) { Add(std::move(record)); }

GroupActions GroupTable::Remove(const PlacementGroupId& id) {
  GroupRecord* const record = FindLiving(id);
  if (record == nullptr) {
    // Its registration may be on its way still. What waits for it need not.
    const bool known = removed_.Find(id) != nullptr;
    GroupRecord never;
    never.spec.id = id;
    removed_.Add(id, std::move(never), 0);
    return known ? GroupActions{} : GroupActions{{Kind::kGone, id}};
  }
  if (!record->spec.name.empty()) names_.erase({record->spec.ns, record->spec.name});
  if (const auto ticket = tickets_.extract(id)) unplaced_.erase(ticket.mapped());
  record->attempt.reset();  // what it reserved goes as the group does
  removed_.Add(id, std::move(*record), 0);
  groups_.erase(id);
  return {{Kind::kForget, id}, {Kind::kGone, id}};
}

// --- Placing ---

GroupActions GroupTable::Try(const PlacementGroupId& id, uint64_t attempt,
                             const std::map<uint32_t, NodeId>& seats, int64_t now_ms) {
  GroupRecord* const record = FindLiving(id);
  if (record == nullptr || record->attempt || seats.empty()) return {};
  record->attempt = {attempt, seats, {}, now_ms};
  record->waits.clear();
  GroupActions actions;
  for (const auto& [index, node] : seats) {
    if (!record->attempt->awaited.insert(node).second) continue;
    actions.push_back({Kind::kPrepare, id, node, attempt});
  }
  return actions;
}

GroupActions GroupTable::Reserved(const NodeId& node, const PlacementGroupId& id,
                                  uint64_t attempt) {
  GroupRecord* const record = FindLiving(id);
  if (record == nullptr || !record->attempt || record->attempt->id != attempt) return {};
  record->attempt->awaited.erase(node);
  GroupActions actions;
  if (record->attempt->awaited.empty()) Settle(*record, actions);
  return actions;
}

void GroupTable::Settle(GroupRecord& record, GroupActions& actions) {
  const GroupRecord::Attempt attempt = *std::exchange(record.attempt, std::nullopt);
  std::set<NodeId> nodes;
  for (const auto& [index, node] : attempt.seats) {
    record.seats[index] = {node, attempt.id};
    nodes.insert(node);
  }
  record.was_placed = true;
  record.slow.clear();
  if (const auto ticket = tickets_.extract(record.spec.id)) unplaced_.erase(ticket.mapped());
  actions.push_back({Kind::kStore, record.spec.id});
  for (const NodeId& node : nodes) {
    actions.push_back({Kind::kCommit, record.spec.id, node, attempt.id});
  }
  actions.push_back({Kind::kChanged, record.spec.id});
}

void GroupTable::EndAttempt(GroupRecord& record, GroupActions& actions) {
  if (!record.attempt) return;
  std::set<NodeId> nodes;
  for (const auto& [index, node] : record.attempt->seats) nodes.insert(node);
  for (const NodeId& node : nodes) {
    actions.push_back({Kind::kGiveBack, record.spec.id, node, record.attempt->id});
  }
  record.attempt.reset();
}

GroupActions GroupTable::GiveUp(const PlacementGroupId& id) {
  GroupActions actions;
  GroupRecord* const record = FindLiving(id);
  if (record == nullptr || !record->attempt) return actions;
  record->slow = record->attempt->awaited;
  EndAttempt(*record, actions);
  return actions;
}

void GroupTable::SetWaits(const PlacementGroupId& id, std::string waits) {
  if (GroupRecord* const record = FindLiving(id)) record->waits = std::move(waits);
}

std::vector<PlacementGroupId> GroupTable::Waiting() const {
  std::vector<PlacementGroupId> waiting;
  for (const auto& [ticket, id] : unplaced_) {
    if (!groups_.at(id).attempt) waiting.push_back(id);
  }
  return waiting;
}

std::vector<PlacementGroupId> GroupTable::TriedSince(int64_t ms) const {
  std::vector<PlacementGroupId> tried;
  for (const auto& [ticket, id] : unplaced_) {
    const auto& attempt = groups_.at(id).attempt;
    if (attempt && attempt->since_ms <= ms) tried.push_back(id);
  }
  return tried;
}

// --- What nodes, jobs and actors come to ---

// What it had there is gone.
void GroupTable::Unseat(GroupRecord& record, const NodeId& node, GroupActions& actions) {
  bool lost = false;
  for (Seat& seat : record.seats) {
    if (seat.node != node) continue;
    seat = {};
    lost = true;
  }
  if (!lost) return;
  EndAttempt(record, actions);  // which did not count these
  const PlacementGroupId& id = record.spec.id;
  if (!tickets_.contains(id)) {
    tickets_[id] = next_ticket_;
    unplaced_[next_ticket_++] = id;
  }
  actions.push_back({Kind::kStore, id});
  actions.push_back({Kind::kChanged, id});
  actions.push_back({Kind::kPlace, id});
}

GroupActions GroupTable::NodeDied(const NodeId& node) {
  GroupActions actions;
  for (auto& [id, record] : groups_) {
    if (record.attempt) {
      for (const auto& [index, seat] : record.attempt->seats) {
        if (seat != node) continue;
        EndAttempt(record, actions);
        actions.push_back({Kind::kPlace, id});
        break;
      }
    }
    Unseat(record, node, actions);
  }
  return actions;
}

GroupActions GroupTable::Reconcile(const NodeId& node, const std::vector<Here>& here) {
  GroupActions actions;
  std::map<PlacementGroupId, std::vector<const Here*>> by_group;
  for (const Here& bundles : here) {
    if (groups_.contains(bundles.group)) {
      by_group[bundles.group].push_back(&bundles);
    } else {
      actions.push_back({Kind::kForgetAt, bundles.group, node});
    }
  }
  for (auto& [id, record] : groups_) {
    std::set<uint64_t> found;
    for (const Here* bundles : by_group[id]) {
      found.insert(bundles->attempt);
      ReconcileOne(record, node, *bundles, actions);
    }
    // What it should have and does not name, it has lost, or never heard of.
    bool lost = false;
    for (const Seat& seat : record.seats) {
      lost |= seat.node == node && !found.contains(seat.attempt);
    }
    if (lost) Unseat(record, node, actions);
    if (record.attempt && record.attempt->awaited.contains(node) &&
        !found.contains(record.attempt->id)) {
      actions.push_back({Kind::kPrepare, id, node, record.attempt->id});
    }
  }
  return actions;
}

void GroupTable::ReconcileOne(GroupRecord& record, const NodeId& node, const Here& here,
                              GroupActions& actions) {
  const PlacementGroupId& id = record.spec.id;
  for (const Seat& seat : record.seats) {
    if (seat.node != node || seat.attempt != here.attempt) continue;
    if (here.state != wire::BundlesState::Open) {
      actions.push_back({Kind::kCommit, id, node, here.attempt});
    }
    return;
  }
  if (record.attempt && record.attempt->id == here.attempt) {
    if (here.state == wire::BundlesState::Claimed) return;
    for (GroupAction& action : Reserved(node, id, here.attempt)) actions.push_back(action);
    return;
  }
  actions.push_back({Kind::kGiveBack, id, node, here.attempt});
}

template <class Whose>
GroupActions GroupTable::RemoveAll(Whose whose) {
  std::vector<PlacementGroupId> ids;
  for (const auto& [id, record] : groups_) {
    if (!record.spec.detached && whose(record.spec)) ids.push_back(id);
  }
  GroupActions actions;
  for (const PlacementGroupId& id : ids) {
    for (GroupAction& action : Remove(id)) actions.push_back(action);
  }
  return actions;
}

GroupActions GroupTable::JobFinished(const JobId& job) {
  return RemoveAll(
      [&](const GroupSpec& spec) { return spec.creator_actor.is_nil() && JobOf(spec.id) == job; });
}

GroupActions GroupTable::ActorDied(const ActorId& actor) {
  return RemoveAll([&](const GroupSpec& spec) { return spec.creator_actor == actor; });
}

void GroupTable::CheckInvariants() const {
  for (const auto& [id, record] : groups_) {
    CYRAY_CHECK(tickets_.contains(id) != record.placed()) << id.Hex();
    CYRAY_CHECK(!record.attempt || !record.placed()) << id.Hex();
    CYRAY_CHECK(record.seats.size() == record.spec.bundles.size()) << id.Hex();
    if (!record.attempt) continue;
    for (const auto& [index, node] : record.attempt->seats) {
      CYRAY_CHECK(record.seats[index].node.is_nil()) << id.Hex();
    }
  }
  CYRAY_CHECK(tickets_.size() == unplaced_.size()) << tickets_.size();
}

}  // namespace cyray::gcs
