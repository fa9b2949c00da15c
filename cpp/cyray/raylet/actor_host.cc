#include "cyray/raylet/actor_host.h"

#include <algorithm>

#include "cyray/gcs/codec.h"
#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace cyray::raylet {
namespace {

using flatbuffers::FlatBufferBuilder;
using wire::FrameType;
using wire::FromWire;
using wire::FromWireOrNil;
using wire::ToWire;

constexpr int64_t kGracefulLimitMs = 30'000;
constexpr int64_t kLeaveMs = 1000;      // for a worker whose __init__ failed
constexpr int64_t kDeclineMs = 100;     // for a worker to say that it does not become the actor
constexpr int64_t kEndKeptMs = 60'000;  // as long as calls of the GCS are tried
// Who waits longer than this is told of; longer with each life of the actor, for what makes it wait
// may not be in what nodes report (which GPU is free, who has waited longer): it would be sent from
// one to the other.
constexpr int64_t kTellMs = 200;
constexpr uint32_t kMaxTellDoublings = 8;
constexpr size_t kEndsKept = 1000;
constexpr size_t kEndBytesKept = 16 << 20;  // the error of an __init__ may be large

}  // namespace

void ActorHost::OnStartActor(const wire::StartActor& start) {
  if (start.actor_id() == nullptr) return;
  const ActorId id = FromWire(*start.actor_id());
  if (HasEnded(id, start.incarnation())) return;  // the GCS had not heard of that yet
  const auto [it, added] = actors_.try_emplace(id);
  Actor& actor = it->second;
  if (!added) {
    if (actor.incarnation >= start.incarnation()) return;  // told again after a reconnection
    if (actor.state != State::kWaiting) {
      CYRAY_LOG(kWarning) << "actor " << id.Hex() << " is to start while it still runs";
      by_worker_.erase(actor.worker);
      parts_.workers->Kill(actor.worker, "the actor was started anew", true);
    } else {
      parts_.leases->CancelActor(KeyOf(id, actor.incarnation));
    }
  }
  actor = Actor{};
  actor.incarnation = start.incarnation();
  actor.job = FromWireOrNil(start.job_id());
  actor.class_name = flatbuffers::GetString(start.class_name());
  actor.spec = wire::BytesOrEmpty(start.spec());
  actor.held = FromWire(start.held());
  AskForRoom(id, actor);
}

void ActorHost::AskForRoom(const ActorId& id, Actor& actor) {
  actor.tell_ms =
      parts_.runtime->NowMs() + (kTellMs << std::min(actor.incarnation, kMaxTellDoublings));
  parts_.leases->RequestForActor(KeyOf(id, actor.incarnation), actor.job, actor.held);
  LookAt(actor.tell_ms);
}

void ActorHost::LookAt(int64_t at_ms) {
  if (look_.running() && look_at_ms_ <= at_ms) return;
  look_at_ms_ = at_ms;
  look_.Start(at_ms - parts_.runtime->NowMs(), [this] { LookWhoWaits(); });
}

void ActorHost::LookWhoWaits() {
  FlatBufferBuilder builder;
  std::vector<flatbuffers::Offset<wire::ActorLife>> waiting;
  const int64_t now = parts_.runtime->NowMs();
  int64_t next = kTold;
  for (auto& [id, actor] : actors_) {
    if (actor.state != State::kWaiting) continue;
    if (actor.tell_ms <= now && parts_.leases->LacksRoom(KeyOf(id, actor.incarnation))) {
      waiting.push_back(wire::CreateActorLife(builder, ToWire(id), actor.incarnation));
      actor.tell_ms = kTold;
    }
    next = std::min(next, std::max(actor.tell_ms, now + kTellMs));
  }
  if (!waiting.empty()) {
    const auto list = builder.CreateVector(waiting);
    parts_.outbox->Report(gcs::FinishReport(builder, wire::CreateActorsHere(builder, list)));
  }
  if (next != kTold) LookAt(next);
}

void ActorHost::OnGrant(const LeaseGrant& grant) {
  const ActorId& id = grant.key.actor;
  const auto it = actors_.find(id);
  if (it == actors_.end() || it->second.incarnation != grant.key.id) {
    parts_.workers->Kill(grant.worker, "its actor is no longer wanted", true);
    return;
  }
  Actor& actor = it->second;
  actor.state = State::kCreating;
  actor.worker = grant.worker;
  by_worker_[grant.worker] = id;
  FlatBufferBuilder builder;
  const auto spec = builder.CreateVector(actor.spec);
  const auto gpus = builder.CreateVector(grant.gpu_ids);
  builder.Finish(wire::CreateAssignActor(builder, ToWire(id), actor.incarnation, spec, gpus));
  parts_.outbox->ToWorker(grant.worker, FrameType::kAssignActor, builder);
}

void ActorHost::OnWorkerStays(const WorkerId& worker) {
  const auto found = by_worker_.find(worker);
  if (found == by_worker_.end()) return;
  const auto it = actors_.find(found->second);
  if (it == actors_.end() || it->second.state != State::kCreating) return;
  Actor& actor = it->second;
  parts_.leases->EndActorLease(worker);
  if (!actor.stop_reason.empty()) return End(it, std::string(actor.stop_reason), true);
  by_worker_.erase(found);
  actor.state = State::kWaiting;
  actor.worker = {};
  AskForRoom(it->first, actor);
}

void ActorHost::OnRefused(const RequestKey& key, const std::string& error) {
  const ActorId& id = key.actor;
  const auto it = actors_.find(id);
  if (it == actors_.end() || it->second.incarnation != key.id) return;
  End(it, error, false);
}

bool ActorHost::OnActorReady(const WorkerId& worker, int pid, const wire::ActorReady* ready) {
  if (ready == nullptr || ready->actor_id() == nullptr) return false;
  const ActorId id = FromWire(*ready->actor_id());
  const auto it = actors_.find(id);
  if (it == actors_.end() || it->second.worker != worker ||
      it->second.incarnation != ready->incarnation()) {
    return true;  // stopped meanwhile
  }
  it->second.spec = {};
  wire::Bytes report = StartedReport(id, it->second, pid, *ready);
  if (ready->ok()) {
    it->second.state = State::kAlive;
    parts_.outbox->Report(std::move(report));
  } else {
    End(it, std::move(report));
    parts_.workers->AskToExit(worker, "its actor's __init__ raised an error", kLeaveMs,
                              /*if_unused=*/false);
  }
  return true;
}

// A worker that has served leases may own what others use, and be about to decline the actor.
bool ActorHost::MayDecline(const Actor& actor) const {
  return actor.state == State::kCreating && parts_.workers->HasServed(actor.worker);
}

void ActorHost::OnStopActor(const wire::StopActor& stop) {
  if (stop.actor_id() == nullptr) return;
  const ActorId id = FromWire(*stop.actor_id());
  const auto it = actors_.find(id);
  if (it == actors_.end() || it->second.incarnation != stop.incarnation()) return;
  Actor& actor = it->second;
  const std::string reason = flatbuffers::GetString(stop.reason());
  if (actor.state == State::kWaiting) {
    parts_.leases->CancelActor(KeyOf(id, actor.incarnation));
    End(it, reason, true);
  } else if (MayDecline(actor)) {
    if (actor.stop_reason.empty() || !stop.graceful()) {
      actor.stop_reason = reason;
      parts_.workers->AskToExit(actor.worker, reason,
                                stop.graceful() ? kGracefulLimitMs : kDeclineMs,
                                /*if_unused=*/true);
    }
  } else if (stop.graceful()) {
    parts_.workers->AskToExit(actor.worker, reason, kGracefulLimitMs, /*if_unused=*/false);
  } else {
    parts_.workers->Kill(actor.worker, reason, true);
  }
}

void ActorHost::OnRecallActor(const wire::RecallActor& recall) {
  if (recall.actor_id() == nullptr) return;
  const ActorId id = FromWire(*recall.actor_id());
  const auto it = actors_.find(id);
  if (it == actors_.end() || it->second.incarnation != recall.incarnation()) return;
  FlatBufferBuilder builder(128);
  if (it->second.state != State::kWaiting) {
    const auto life = wire::CreateActorLife(builder, ToWire(id), recall.incarnation());
    const auto begun = builder.CreateVector(&life, 1);
    parts_.outbox->Report(gcs::FinishReport(builder, wire::CreateActorsHere(builder, 0, begun)));
    return;
  }
  parts_.leases->CancelActor(KeyOf(id, recall.incarnation()));
  actors_.erase(it);
  parts_.outbox->Report(gcs::FinishReport(
      builder, wire::CreateActorGivenBack(builder, ToWire(id), recall.incarnation())));
}

void ActorHost::OnWorkerDied(const DeadWorker& dead) {
  const auto found = by_worker_.find(dead.id);
  if (found == by_worker_.end()) return;
  const auto it = actors_.find(found->second);
  if (it != actors_.end()) End(it, dead.reason, dead.intended, dead.pid);
}

wire::Bytes ActorHost::StartedReport(const ActorId& id, const Actor& actor, int pid,
                                     const wire::ActorReady& ready) const {
  FlatBufferBuilder builder;
  const auto error = builder.CreateVector(wire::BytesOrEmpty(ready.error()));
  const Address address = parts_.options->AddressOf(actor.worker);
  return gcs::FinishReport(
      builder, wire::CreateActorStarted(builder, ToWire(id), actor.incarnation, ToWire(address),
                                        pid, ready.ok(), error));
}

// --- Ends -------------------------------------------------------------------------------------

void ActorHost::End(Actors::iterator actor, const std::string& reason, bool intended, int pid) {
  FlatBufferBuilder builder;
  const auto text = builder.CreateString(reason);
  End(actor, gcs::FinishReport(
                 builder, wire::CreateActorEnded(builder, ToWire(actor->first),
                                                 actor->second.incarnation, text, intended, pid)));
}

void ActorHost::End(Actors::iterator actor, wire::Bytes report) {
  const auto& [id, ended] = *actor;
  const int64_t now = parts_.runtime->NowMs();
  parts_.outbox->Report(report);
  const Address address =
      ended.state == State::kAlive ? parts_.options->AddressOf(ended.worker) : Address{};
  ended_bytes_ += report.size();
  ended_.push_back({id, ended.incarnation, address, std::move(report), now});
  while (ended_.size() > kEndsKept || (ended_bytes_ > kEndBytesKept && ended_.size() > 1) ||
         ended_.front().at_ms + kEndKeptMs < now) {
    ended_bytes_ -= ended_.front().report.size();
    ended_.pop_front();
  }
  by_worker_.erase(ended.worker);
  actors_.erase(actor);
}

bool ActorHost::HasEnded(const ActorId& id, uint32_t incarnation) const {
  return std::any_of(ended_.begin(), ended_.end(), [&](const Ended& ended) {
    return ended.id == id && ended.incarnation == incarnation;
  });
}

void ActorHost::TellAgain() {
  for (const Ended& ended : ended_) parts_.outbox->Report(ended.report);
  for (auto& [id, actor] : actors_) {
    if (actor.state != State::kWaiting) continue;
    actor.tell_ms = parts_.runtime->NowMs() + kTellMs;
    LookAt(actor.tell_ms);
  }
}

bool ActorHost::HasActorOf(const JobId& job) const {
  return std::any_of(actors_.begin(), actors_.end(),
                     [&](const auto& actor) { return actor.second.job == job; });
}

std::vector<flatbuffers::Offset<wire::ActorStarted>> ActorHost::WriteAlive(
    FlatBufferBuilder& builder) const {
  std::vector<flatbuffers::Offset<wire::ActorStarted>> alive;
  for (const auto& [id, actor] : actors_) {
    if (actor.state != State::kAlive) continue;
    const Address address = parts_.options->AddressOf(actor.worker);
    alive.push_back(wire::CreateActorStarted(builder, ToWire(id), actor.incarnation,
                                             ToWire(address), parts_.workers->PidOf(actor.worker),
                                             true));
  }
  for (const Ended& ended : ended_) {
    if (ended.address.is_nil()) continue;
    alive.push_back(wire::CreateActorStarted(builder, ToWire(ended.id), ended.incarnation,
                                             ToWire(ended.address), 0, true));
  }
  return alive;
}

std::vector<flatbuffers::Offset<wire::ActorLife>> ActorHost::WriteStarting(
    FlatBufferBuilder& builder) const {
  std::vector<flatbuffers::Offset<wire::ActorLife>> starting;
  for (const auto& [id, actor] : actors_) {
    if (actor.state == State::kAlive) continue;
    starting.push_back(wire::CreateActorLife(builder, ToWire(id), actor.incarnation));
  }
  return starting;
}

}  // namespace cyray::raylet
