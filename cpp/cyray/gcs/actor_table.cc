#include "cyray/gcs/actor_table.h"

#include <algorithm>

#include "cyray/common/exit_reasons.h"
#include "cyray/util/log.h"
#include "cyray/util/sentence.h"

namespace cyray::gcs {
namespace {

using Kind = ActorAction::Kind;
using State = wire::ActorState;

constexpr size_t kEarlyKillsKept = 100'000;
constexpr size_t kGoneKept = 100'000;
constexpr char kKilled[] = "The actor is dead because it was killed by `cyray.kill`.";
constexpr char kAskedToRestart[] = "it was killed by `cyray.kill(no_restart=False)`.";
constexpr char kBecause[] = "The actor is dead because ";
constexpr char kOwnerDied[] = "The actor is dead because its owner has died. ";
constexpr char kOutOfScope[] =
    "The actor is dead because all references to the actor were removed.";
constexpr char kWorkerDied[] = "The actor is dead because its worker process has died. ";
constexpr char kGroupRemoved[] =
    "The actor is dead because the placement group that it was in was removed: ";
constexpr char kNodeDied[] = "The actor is dead because its node has died. ";

void AddAll(ActorActions added, ActorActions& actions) {
  std::ranges::move(added, std::back_inserter(actions));
}

// Of a process that never ran a call: its end is most likely the doing of __init__.
std::string InItsInit(const ActorRecord& record) {
  if (record.state == State::Alive || record.pid == 0) return {};
  const uint32_t starts = record.incarnation + 1;
  return "That was before its __init__ had ended" +
         (starts == 1 ? ". " : "; it was started " + std::to_string(starts) + " times in all. ");
}

}  // namespace

ActorTable::ActorTable(size_t dead_kept)
    : dead_kept_(dead_kept), early_kills_(kEarlyKillsKept), gone_(kGoneKept) {}

template <class Key>
std::vector<ActorId> ActorTable::Of(const Index<Key>& index, const Key& key) {
  std::vector<ActorId> ids;
  for (auto it = index.lower_bound({key, ActorId::Nil()}); it != index.end() && it->first == key;
       ++it) {
    ids.push_back(it->second);
  }
  return ids;
}

Result<ActorActions> ActorTable::Register(ActorSpec spec) {
  if (actors_.contains(spec.id)) return ActorActions{};
  if (!spec.name.empty()) {
    const Name name{spec.ns, spec.name};
    if (names_.contains(name)) {
      gone_.Add(spec.id, true, /*now_ms=*/0);
      return Fail(StatusCode::kAlreadyExists,
                  "The name " + spec.name + " (namespace=" + spec.ns +
                      ") is already taken. Please use "
                      "a different name or get the existing actor using cyray.get_actor('" +
                      spec.name + "', namespace='" + spec.ns + "')");
    }
    names_[name] = spec.id;
  }
  const ActorId id = spec.id;
  gone_.Remove(id);  // refused, and asked for again
  ActorRecord& record = actors_[id];
  record.spec = std::move(spec);
  if (record.spec.arguments_pending) record.state = State::DependenciesUnready;
  AddLiving(record);
  if (AwaitsPlacement(record)) waiting_.Add(id, record.spec.kind());
  ActorActions actions{{Kind::kStoreState, id}};
  if (!AwaitsPlacement(record)) actions.push_back({Kind::kPublish, id});
  if (const KillEvent* early = early_kills_.Find(id)) {
    for (ActorAction& action : Kill(id, *early)) actions.push_back(std::move(action));
    early_kills_.Remove(id);
  }
  if (AwaitsPlacement(record)) actions.push_back({Kind::kPlace, id});
  return actions;
}

ActorActions ActorTable::ArgumentsReady(const ActorId& id) {
  ActorRecord* record = FindLiving(id);
  if (record == nullptr || !record->arguments_pending()) return {};
  record->state = State::PendingCreation;
  if (!record->is_owned()) LeaveOwner(*record);
  waiting_.Add(id, record->spec.kind());
  return {{Kind::kStoreState, id}, {Kind::kPlace, id}};
}

void ActorTable::Restore(ActorRecord record) {
  const ActorId id = record.spec.id;
  if (record.dead()) {
    dead_.push_back(id);
  } else {
    AddLiving(record);
    if (!record.spec.name.empty() && !record.ending) {
      names_.try_emplace({record.spec.ns, record.spec.name}, id);
    }
    if (AwaitsPlacement(record)) waiting_.Add(id, record.spec.kind());
  }
  actors_[id] = std::move(record);
}

ActorActions ActorTable::Placed(const ActorId& id, const NodeId& node) {
  ActorRecord* record = FindLiving(id);
  if (record == nullptr || !AwaitsPlacement(*record)) return {};
  SetNode(*record, node);
  waiting_.Remove(id);
  return {
      {Kind::kStoreState, id}, {Kind::kPublish, id}, {Kind::kStart, id, node, record->incarnation}};
}

ActorActions ActorTable::Unschedulable(const ActorId& id, const std::string& reason) {
  ActorRecord* record = FindLiving(id);
  if (record == nullptr || !AwaitsPlacement(*record)) return {};
  ActorActions actions;
  Die(*record, "The actor is not schedulable: " + reason, actions);
  return actions;
}

ActorActions ActorTable::Started(const NodeId& node, const StartedEvent& event) {
  ActorRecord* record = FindCurrent(event.actor, event.incarnation, node);
  if (!MayRun(record)) return {StopUnwanted(node, {event.actor, event.incarnation})};
  if (record->state == State::Alive) return {};
  record->state = State::Alive;
  SetAddress(*record, event.address);
  record->pid = event.pid;
  record->node_ip = event.node_ip;
  return {{Kind::kStoreState, event.actor}, {Kind::kPublish, event.actor}};
}

ActorActions ActorTable::InitFailed(const NodeId& node, const ActorId& id, uint32_t incarnation,
                                    wire::Bytes error) {
  ActorRecord* record = FindCurrent(id, incarnation, node);
  if (record == nullptr || record->state == State::Alive) return {};
  ActorActions actions;
  if (record->stopping) {
    Restart(*record, /*counts=*/false, actions);
  } else {
    record->init_error = std::move(error);
    Die(*record, "The actor died because of an error raised in its creation task.", actions);
  }
  return actions;
}

ActorActions ActorTable::GivenBack(const NodeId& node, const ActorId& id, uint32_t incarnation) {
  ActorRecord* record = FindCurrent(id, incarnation, node);
  if (record == nullptr || record->state == State::Alive) return {};
  ActorActions actions;
  if (record->ending) {
    Die(*record, kOutOfScope, actions);
  } else {
    Restart(*record, /*counts=*/false, actions);
  }
  return actions;
}

ActorActions ActorTable::Ended(const NodeId& node, const ActorId& id, uint32_t incarnation,
                               const Ending& ending) {
  ActorRecord* record = FindCurrent(id, incarnation, node);
  if (record == nullptr) return {};
  if (record->pid == 0 && ending.pid != 0) {
    record->pid = ending.pid;
    record->node_ip = ending.node_ip;
  }
  ActorActions actions;
  ProcessLeft(*record, ending.reason, ending.intended, actions);
  return actions;
}

uint32_t ActorTable::LeastIncarnation(const ActorId& id) const {
  const ActorRecord* record = Find(id);
  if (record == nullptr) return 0;
  return record->dead() ? UINT32_MAX : record->incarnation + (record->stopping ? 1 : 0);
}

ActorActions ActorTable::Kill(const ActorId& id, const KillEvent& event) {
  ActorRecord* record = FindLiving(id);
  ActorActions actions;
  if (record == nullptr) {
    if (!actors_.contains(id)) early_kills_.Add(id, event, /*now_ms=*/0);  // bounded by number
    return actions;
  }
  if (event.out_of_scope) {
    if (record->spec.detached || record->ending) return actions;
    if (record->node.is_nil() || record->stopping) {
      Die(*record, kOutOfScope, actions);
      return actions;
    }
    record->ending = true;
    FreeName(*record);
    StopProcess(*record, /*graceful=*/true, kOutOfScope, actions);
    actions.push_back({Kind::kStoreState, id});
    return actions;
  }
  if (!event.no_restart && (record->node.is_nil() || record->stopping)) return actions;
  const std::string cause = event.reason.empty() ? kKilled : event.reason;
  StopProcess(*record, /*graceful=*/false, cause, actions);
  if (event.no_restart || !record->may_restart()) {
    Die(*record, cause, actions);
  } else {
    record->death_cause = event.reason.empty() ? kAskedToRestart : Sentence(event.reason);
    AwaitEnd(*record, actions);
  }
  return actions;
}

ActorActions ActorTable::GroupRemoved(const PlacementGroupId& group) {
  ActorActions actions;
  for (const ActorId& id : Of(in_group_, group)) {
    actors_[id].group_removed = true;
    AddAll(Kill(id, {.reason = kGroupRemoved + group.Hex() + "."}), actions);
  }
  return actions;
}

ActorActions ActorTable::WorkerDied(const Address& worker, const std::string& reason,
                                    bool intended) {
  ActorActions actions;
  std::set<ActorId> concerned;
  for (const ActorId& id : Of(owned_, worker.worker)) concerned.insert(id);
  for (const ActorId& id : Of(hosted_, worker.worker)) concerned.insert(id);
  for (const ActorId& id : concerned) {
    ActorRecord& record = actors_[id];
    if (record.spec.owner.worker == worker.worker && !record.spec.detached) {
      const std::string cause =
          kOwnerDied + ("Owner: " + record.spec.owner.ToString() + ". ") + reason;
      if (record.address.worker != worker.worker) StopProcess(record, false, cause, actions);
      Die(record, cause, actions);
    } else if (record.arguments_pending()) {
      AddAll(ArgumentsReady(id), actions);
    } else {
      ProcessLeft(record, reason, intended, actions);
    }
  }
  return actions;
}

ActorActions ActorTable::NodeDied(const NodeId& node, const std::string& reason) {
  ActorActions actions;
  std::set<ActorId> concerned;
  for (const ActorId& id : Of(owned_on_, node)) concerned.insert(id);
  for (const ActorId& id : Of(placed_on_, node)) concerned.insert(id);
  for (const ActorId& id : concerned) {
    ActorRecord& record = actors_[id];
    if (record.spec.owner.node == node && !record.spec.detached) {
      if (record.node != node) {
        StopProcess(record, false, std::string(kOwnerDied) + reason, actions);
      }
      Die(record, std::string(kOwnerDied) + "Its node died: " + reason, actions);
    } else if (record.arguments_pending()) {
      AddAll(ArgumentsReady(id), actions);
    } else if (record.node == node) {
      if (record.state != State::Alive && !record.ending) {
        Restart(record, /*counts=*/false, actions);  // it had not begun to live
      } else {
        EndProcess(record, kNodeDied, "Node " + node.Hex() + ": " + reason, actions);
      }
    }
  }
  return actions;
}

ActorActions ActorTable::JobFinished(const JobId& job, const Address& driver) {
  ActorActions actions;
  const std::string cause = std::string(kOwnerDied) + "Its job " + job.Hex() + " has finished.";
  std::vector<WorkerId> ending = {driver.worker};
  while (!ending.empty()) {
    const WorkerId owner = ending.back();
    ending.pop_back();
    for (const ActorId& id : Of(owned_, owner)) {
      ActorRecord& record = actors_[id];
      if (record.spec.detached) {
        AddAll(ArgumentsReady(id), actions);
        continue;
      }
      if (!record.address.worker.is_nil()) ending.push_back(record.address.worker);
      StopProcess(record, false, cause, actions);
      Die(record, cause, actions);
    }
  }
  return actions;
}

ActorActions ActorTable::Reconcile(const NodeId& node, const std::vector<StartedEvent>& alive,
                                   const std::vector<Life>& starting) {
  ActorActions actions;
  std::set<ActorId> running, here;
  for (const StartedEvent& event : alive) {
    if (FindCurrent(event.actor, event.incarnation, node) != nullptr) running.insert(event.actor);
    AddAll(Started(node, event), actions);
  }
  here = running;
  for (const Life& life : starting) {
    const ActorRecord* record = FindCurrent(life.actor, life.incarnation, node);
    if (record != nullptr) here.insert(life.actor);
    if (!MayRun(record)) actions.push_back(StopUnwanted(node, life));
  }
  for (const ActorId& id : Of(placed_on_, node)) {
    ActorRecord& record = actors_[id];
    const bool is_here = here.contains(id);
    if (record.ending && is_here) {
      StopProcess(record, /*graceful=*/true, kOutOfScope, actions);
    } else if (record.ending) {
      Die(record, kOutOfScope, actions);
    } else if (record.stopping) {
      if (!is_here) Restart(record, /*counts=*/false, actions);
    } else if (record.state != State::Alive) {
      // A raylet that has the order to start does nothing.
      actions.push_back({Kind::kStart, id, node, record.incarnation});
    } else if (!running.contains(id)) {
      EndProcess(record, kWorkerDied, "Its raylet came back without it.", actions);
    }
  }
  return actions;
}

void ActorTable::ProcessLeft(ActorRecord& record, const std::string& reason, bool intended,
                             ActorActions& actions) {
  const std::string died = kWorkerDied + InItsInit(record);
  const std::string how = Sentence(reason);
  if (intended && !record.ending && !record.stopping) {
    Die(record, died + "Worker exit type: INTENDED_USER_EXIT. " + how, actions);
  } else {
    const bool over_time = reason.starts_with(kOverTime);
    EndProcess(record, over_time ? kBecause : died + "Worker exit type: SYSTEM_ERROR. ", how,
               actions);
  }
}

void ActorTable::EndProcess(ActorRecord& record, const std::string& what, const std::string& how,
                            ActorActions& actions) {
  if (record.stopping || record.may_restart()) {
    if (!record.stopping) record.death_cause = how;  // who had it stopped has said why
    Restart(record, /*counts=*/!record.stopping, actions);
  } else {
    Die(record, record.ending ? kOutOfScope : what + how, actions);
  }
}

void ActorTable::CountRestart(ActorRecord& record) {
  record.state = State::Restarting;
  ++record.restarts;
  SetAddress(record, Address{});
  record.pid = 0;
}

void ActorTable::AwaitEnd(ActorRecord& record, ActorActions& actions) {
  CountRestart(record);
  record.stopping = true;
  actions.push_back({Kind::kStoreState, record.spec.id});
  actions.push_back({Kind::kPublish, record.spec.id});
}

void ActorTable::Restart(ActorRecord& record, bool counts, ActorActions& actions) {
  const ActorId id = record.spec.id;
  if (counts) CountRestart(record);
  record.stopping = false;
  record.pid = 0;
  ++record.incarnation;
  SetNode(record, NodeId::Nil());
  waiting_.Add(id, record.spec.kind());
  actions.push_back({Kind::kStoreState, id});
  actions.push_back({Kind::kPlace, id});
}

void ActorTable::Die(ActorRecord& record, const std::string& cause, ActorActions& actions) {
  const ActorId id = record.spec.id;
  FreeName(record);
  record.state = State::Dead;
  record.death_cause = cause;
  SetAddress(record, Address{});
  record.ending = record.stopping = false;
  wire::Bytes().swap(record.spec.spec);
  wire::Bytes().swap(record.spec.handle_meta);
  waiting_.Remove(id);
  LeaveOwner(record);
  placed_on_.erase({record.node, id});
  of_job_.erase({JobOf(id), id});
  if (const auto group = GroupOf(record.spec.placement)) in_group_.erase({*group, id});
  dead_.push_back(id);
  actions.push_back({Kind::kStoreState, id});
  actions.push_back({Kind::kPublish, id});
  ForgetOldest(actions);
}

void ActorTable::AddLiving(const ActorRecord& record) {
  const ActorId id = record.spec.id;
  of_job_.emplace(JobOf(id), id);
  if (const auto group = GroupOf(record.spec.placement)) in_group_.emplace(*group, id);
  if (record.is_owned()) {
    owned_.emplace(record.spec.owner.worker, id);
    owned_on_.emplace(record.spec.owner.node, id);
  }
  if (!record.node.is_nil()) placed_on_.emplace(record.node, id);
  if (!record.address.is_nil()) hosted_.emplace(record.address.worker, id);
}

void ActorTable::LeaveOwner(const ActorRecord& record) {
  owned_.erase({record.spec.owner.worker, record.spec.id});
  owned_on_.erase({record.spec.owner.node, record.spec.id});
}

void ActorTable::SetNode(ActorRecord& record, const NodeId& node) {
  placed_on_.erase({record.node, record.spec.id});
  record.node = node;
  if (!node.is_nil()) placed_on_.emplace(node, record.spec.id);
}

void ActorTable::SetAddress(ActorRecord& record, const Address& address) {
  hosted_.erase({record.address.worker, record.spec.id});
  record.address = address;
  if (!address.is_nil()) hosted_.emplace(address.worker, record.spec.id);
}

void ActorTable::StopProcess(const ActorRecord& record, bool graceful, const std::string& reason,
                             ActorActions& actions) {
  if (record.node.is_nil()) return;
  actions.push_back(
      {Kind::kStop, record.spec.id, record.node, record.incarnation, graceful, reason});
}

ActorAction ActorTable::StopUnwanted(const NodeId& node, const Life& life) {
  return {Kind::kStop,      life.actor, node,
          life.incarnation, false,      "This life of the actor is not wanted any more."};
}

void ActorTable::FreeName(const ActorRecord& record) {
  if (record.spec.name.empty()) return;
  auto it = names_.find({record.spec.ns, record.spec.name});
  if (it != names_.end() && it->second == record.spec.id) names_.erase(it);
}

void ActorTable::ForgetOldest(ActorActions& actions) {
  while (dead_.size() > dead_kept_) {
    actions.push_back({Kind::kForget, dead_.front()});
    gone_.Add(dead_.front(), true, /*now_ms=*/0);
    actors_.erase(dead_.front());
    dead_.pop_front();
  }
}

ActorRecord* ActorTable::FindLiving(const ActorId& id) {
  auto it = actors_.find(id);
  return it == actors_.end() || it->second.dead() ? nullptr : &it->second;
}

ActorRecord* ActorTable::FindCurrent(const ActorId& id, uint32_t incarnation, const NodeId& node) {
  ActorRecord* record = FindLiving(id);
  if (record == nullptr || record->incarnation != incarnation || record->node != node)
    return nullptr;
  return record;
}

const ActorRecord* ActorTable::Find(const ActorId& id) const {
  auto it = actors_.find(id);
  return it == actors_.end() ? nullptr : &it->second;
}

const ActorRecord* ActorTable::FindByName(const std::string& ns, const std::string& name) const {
  auto it = names_.find({ns, name});
  return it == names_.end() ? nullptr : Find(it->second);
}

bool ActorTable::HasLivingActor(const JobId& job) const {
  const auto it = of_job_.lower_bound({job, ActorId::Nil()});
  return it != of_job_.end() && it->first == job;
}

std::vector<Address> ActorTable::OwnersOn(const NodeId& node) const {
  std::set<Address> owners;
  for (const ActorId& id : Of(owned_on_, node)) owners.insert(actors_.at(id).spec.owner);
  return {owners.begin(), owners.end()};
}

void ActorTable::CheckInvariants() const {
  size_t living = 0, named = 0, owned = 0, hosted = 0, placed = 0;
  for (const auto& [id, record] : actors_) {
    CYRAY_CHECK(record.spec.id == id) << id.Hex();
    CYRAY_CHECK(record.dead() != of_job_.contains({JobOf(id), id})) << id.Hex();
    CYRAY_CHECK((record.state == State::Alive) == !record.address.is_nil()) << id.Hex();
    CYRAY_CHECK(waiting_.Contains(id) == AwaitsPlacement(record)) << id.Hex();
    if (record.dead()) continue;
    ++living;
    const bool is_owned = owned_.contains({record.spec.owner.worker, id});
    const bool is_hosted = hosted_.contains({record.address.worker, id});
    owned += is_owned;
    hosted += is_hosted;
    placed += placed_on_.contains({record.node, id});
    CYRAY_CHECK(is_owned == record.is_owned()) << id.Hex();
    CYRAY_CHECK(!record.arguments_pending() || record.node.is_nil()) << id.Hex();
    CYRAY_CHECK(!record.stopping ||
                (record.state == State::Restarting && !record.node.is_nil() && !record.ending))
        << id.Hex();
    CYRAY_CHECK(is_hosted == !record.address.is_nil()) << id.Hex();
    CYRAY_CHECK(owned_on_.contains({record.spec.owner.node, id}) == is_owned) << id.Hex();
    CYRAY_CHECK(placed_on_.contains({record.node, id}) == !record.node.is_nil()) << id.Hex();
    CYRAY_CHECK(record.spec.max_restarts < 0 || record.restarts_left() >= 0) << id.Hex();
    if (record.spec.name.empty() || record.ending) continue;
    ++named;
    CYRAY_CHECK(FindByName(record.spec.ns, record.spec.name) == &record) << record.spec.name;
  }
  CYRAY_CHECK(named == names_.size()) << named << " != " << names_.size();
  CYRAY_CHECK(owned == owned_.size() && owned == owned_on_.size()) << owned;
  CYRAY_CHECK(hosted == hosted_.size() && placed == placed_on_.size()) << hosted << " " << placed;
  CYRAY_CHECK(living == of_job_.size() && waiting_.size() <= living) << living;
  CYRAY_CHECK(dead_.size() + living == actors_.size()) << dead_.size();
}

}  // namespace cyray::gcs
