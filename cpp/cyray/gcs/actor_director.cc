#include "cyray/gcs/actor_director.h"

#include <set>
#include <unordered_map>

#include "cyray/gcs/actor_waits.h"
#include "cyray/gcs/codec.h"
#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace cyray::gcs {

using wire::ToWire;

ActorDirector::ActorDirector(const NodeTable* nodes, NodeStreams* streams, Commit* commit,
                             Hooks hooks, size_t most_saved_bytes)
    : nodes_(nodes),
      streams_(streams),
      commit_(commit),
      hooks_(std::move(hooks)),
      saves_(most_saved_bytes) {}

Status ActorDirector::Load(Storage& storage) {
  std::unordered_map<ActorId, ActorSpec> specs;
  CYRAY_RETURN_IF_ERROR(
      storage.Load(Storage::Kind::kActorSpec, [&](std::string_view, wire::Bytes value) {
        const auto* request = wire::VerifiedRoot<wire::RegisterActorRequest>(value);
        if (request == nullptr) return;  // its state names it
        Result<ActorSpec> spec = ReadActorSpec(*request);
        if (spec.has_value()) specs[spec->id] = std::move(*spec);
      }));
  CYRAY_RETURN_IF_ERROR(
      storage.Load(Storage::Kind::kActorState, [&](std::string_view key, wire::Bytes value) {
        ActorRecord record;
        if (!ReadStoredState(value, record)) return LogUnreadable("actor", key);
        auto spec = specs.find(record.spec.id);
        if (spec != specs.end()) {
          record.spec = std::move(spec->second);
        } else if (!record.dead()) {
          CYRAY_LOG(kError) << "a stored actor has no spec: " << record.spec.id.Hex();
          return;
        }
        table_.Restore(std::move(record));
      }));
  return LoadSaves(storage);
}

Status ActorDirector::LoadSaves(Storage& storage) {
  return storage.Load(Storage::Kind::kActorSave, [&](std::string_view key, wire::Bytes value) {
    if (!saves_.Put(std::move(value))) LogUnreadable("save of an actor", key);
  });
}

Status ActorDirector::Save(const wire::Bytes& bytes) {
  const auto* request = wire::VerifiedRoot<wire::SaveActorRequest>(bytes);
  if (request == nullptr) return Status(StatusCode::kInvalidArgument, "not a SaveActorRequest");
  const ActorId id = wire::FromWireOrNil(request->actor_id());
  const ActorRecord* record = table_.Find(id);
  if (record == nullptr || record->dead() || record->incarnation != request->incarnation()) {
    return Status(StatusCode::kNotFound, "the actor is dead, or lives in another process by now");
  }
  if (!saves_.HasRoom(id, bytes.size())) {
    return Status(StatusCode::kOutOfMemory,
                  "it takes " + std::to_string(bytes.size()) +
                      " bytes, and the saves of all actors would be more than the " +
                      std::to_string(saves_.most_bytes()) +
                      " that they may take (CYRAY_SAVES_MIB of the head node)");
  }
  if (saves_.Put(bytes)) commit_->Put(Storage::Kind::kActorSave, id.view(), bytes);
  return Status::Ok();
}

void ActorDirector::DropSave(const ActorId& actor) {
  if (saves_.Erase(actor)) commit_->Erase(Storage::Kind::kActorSave, actor.view());
}

void ActorDirector::EndOnDeadNodes() {
  std::set<NodeId> gone;
  for (const auto& [id, record] : table_.actors()) {
    if (record.dead()) continue;
    for (const NodeId& node : {record.node, record.spec.owner.node}) {
      if (!node.is_nil() && !nodes_->IsAlive(node)) gone.insert(node);
    }
  }
  for (const NodeId& node : gone)
    Apply(table_.NodeDied(node, "It died before the GCS was started again."));
}

Result<ActorId> ActorDirector::Register(const wire::Bytes& request_bytes) {
  const auto* request = wire::VerifiedRoot<wire::RegisterActorRequest>(request_bytes);
  if (request == nullptr) return Fail(StatusCode::kInvalidArgument, "not a RegisterActorRequest");
  Result<ActorSpec> spec = ReadActorSpec(*request);
  if (!spec.has_value()) return Fail(spec.error());
  const ActorId id = spec->id;
  Result<ActorActions> actions = table_.Register(std::move(*spec));
  if (!actions.has_value()) return Fail(actions.error());
  if (actions->empty()) return id;
  commit_->Put(Storage::Kind::kActorSpec, id.view(), request_bytes);
  Apply(*actions);
  return id;
}

void ActorDirector::Apply(const ActorActions& actions) {
  for (const ActorAction& action : actions) {
    switch (action.kind) {
      case ActorAction::Kind::kStoreState:
        Store(action.actor);
        break;
      case ActorAction::Kind::kForget:
        commit_->Erase(Storage::Kind::kActorState, action.actor.view());
        commit_->Erase(Storage::Kind::kActorSpec, action.actor.view());
        DropSave(action.actor);
        break;
      case ActorAction::Kind::kPlace:
        if (!Place(action.actor)) Publish(action.actor);
        break;
      case ActorAction::Kind::kStart:
        Start(action);
        break;
      case ActorAction::Kind::kStop: {
        flatbuffers::FlatBufferBuilder builder(256);
        auto reason = builder.CreateString(action.reason);
        streams_->Send(action.node,
                       FinishCommand(builder, wire::CreateStopActor(builder, ToWire(action.actor),
                                                                    action.incarnation,
                                                                    action.graceful, reason)));
        break;
      }
      case ActorAction::Kind::kPublish:
        Publish(action.actor);
        break;
    }
  }
}

bool ActorDirector::Place(const ActorId& actor) {
  const ActorRecord* record = table_.Find(actor);
  if (record == nullptr || record->dead() || !record->node.is_nil()) return true;
  placement_.Settled(actor);
  const ActorPlacement::Choice choice =
      placement_.Choose(record->spec, *nodes_, hooks_.is_suspect, hooks_.random());
  switch (choice.kind) {
    case ActorPlacement::Choice::Kind::kNode:
      placement_.Sent(actor, choice.node, record->spec.kind(), choice.later);
      Apply(table_.Placed(actor, choice.node));
      return true;
    case ActorPlacement::Choice::Kind::kNever:
      Apply(table_.Unschedulable(actor, choice.reason));
      return true;
    case ActorPlacement::Choice::Kind::kWait:
      hooks_.on_wait();
      return false;
  }
  return true;
}

size_t ActorDirector::PlaceWaiting() {
  return table_.waiting().Visit([this](const ActorId& actor) { return Place(actor); });
}

void ActorDirector::OnRoom(const NodeId& id) {
  const NodeEntry* node = nodes_->Find(id);
  if (node == nullptr || !node->alive || node->awaits_report || hooks_.is_suspect(id)) return;
  for (const auto& [actor, from] : placement_.RecallFor(*node)) {
    const ActorRecord* record = table_.Find(actor);
    flatbuffers::FlatBufferBuilder builder(128);
    streams_->Send(from, FinishCommand(builder, wire::CreateRecallActor(builder, ToWire(actor),
                                                                        record->incarnation)));
  }
}

void ActorDirector::OnActorsHere(const NodeId& node, const wire::ActorsHere& here) {
  bool changed = false;
  if (here.begun() != nullptr) {
    for (const wire::ActorLife* life : *here.begun()) {
      const ActorRecord* record = FindStarting(node, *life);
      if (record == nullptr) continue;
      placement_.Sent(record->spec.id, node, record->spec.kind(), /*later=*/false);
      changed = true;
    }
  }
  if (here.waiting() != nullptr) {
    for (const wire::ActorLife* life : *here.waiting()) {
      const ActorRecord* record = FindStarting(node, *life);
      if (record == nullptr) continue;
      changed |= placement_.Waits(record->spec.id, node, record->spec.kind());
    }
  }
  if (!changed) return;
  for (const auto& [id, entry] : nodes_->nodes()) OnRoom(id);
}

const ActorRecord* ActorDirector::FindStarting(const NodeId& node,
                                               const wire::ActorLife& life) const {
  const ActorRecord* record = table_.Find(wire::FromWireOrNil(life.actor_id()));
  const bool starts = record != nullptr && !record->dead() && record->node == node &&
                      record->incarnation == life.incarnation() &&
                      record->state != wire::ActorState::Alive;
  return starts ? record : nullptr;
}

void ActorDirector::Start(const ActorAction& action) {
  const ActorRecord* record = table_.Find(action.actor);
  if (record == nullptr || record->dead()) return;
  const ActorSpec& spec = record->spec;
  // Told again to a raylet that came back: a recall may have been lost with its stream.
  if (!placement_.IsSentTo(spec.id, action.node)) {
    placement_.Sent(spec.id, action.node, spec.kind(), /*later=*/true);
  }
  hooks_.before_start(action.node, JobOf(spec.id));
  flatbuffers::FlatBufferBuilder builder(spec.spec.size() + 512);
  auto class_name = builder.CreateString(spec.class_name);
  auto placement = ToWire(builder, spec.placement);
  auto held = ToWire(builder, spec.held);
  auto bytes = builder.CreateVector(spec.spec);
  const JobId job = JobOf(spec.id);
  streams_->Send(
      action.node,
      FinishCommand(
          builder, wire::CreateStartActor(builder, ToWire(spec.id), action.incarnation, ToWire(job),
                                          class_name, placement, held, bytes, ToWire(spec.owner))),
      [this, action] { return !IsWanted(action); });
}

bool ActorDirector::IsWanted(const ActorAction& action) const {
  const ActorRecord* record = table_.Find(action.actor);
  return record != nullptr && !record->dead() && record->incarnation == action.incarnation &&
         record->node == action.node;
}

void ActorDirector::Store(const ActorId& actor) {
  const ActorRecord* record = table_.Find(actor);
  if (record == nullptr) return;
  commit_->Put(Storage::Kind::kActorState, actor.view(), StoredState(*record));
  if (!record->dead()) return;
  commit_->Erase(Storage::Kind::kActorSpec, actor.view());
  DropSave(actor);
}

void ActorDirector::Publish(const ActorId& actor) {
  // Without a record it is dead and was forgotten before this: very many died at once.
  const ActorRecord* record = table_.Find(actor);
  const bool dead = record == nullptr || record->dead();
  const bool starting = !dead && !record->node.is_nil() && record->state != wire::ActorState::Alive;
  if (!starting) placement_.Settled(actor);
  if (streams_->IsWatched(actor)) streams_->SendToWatchers(actor, UpdateCommand(actor));
  if (dead) hooks_.on_death(actor);
}

wire::Bytes ActorDirector::UpdateCommand(const ActorId& actor) const {
  flatbuffers::FlatBufferBuilder builder(512);
  if (const ActorRecord* record = table_.Find(actor)) {
    return FinishCommand(builder, WriteUpdate(builder, *record, WhatItWaitsFor(*record)));
  }
  ActorRecord unknown;
  unknown.spec.id = actor;
  unknown.state = wire::ActorState::Dead;
  unknown.death_cause = "The actor is dead and its record is gone, or it never was.";
  return FinishCommand(builder, WriteUpdate(builder, unknown));
}

}  // namespace cyray::gcs
