// ActorHost: the actors that live on this node, from StartActor to the end of their worker.
//
//   StartActor -> waiting (resources, worker) -> creating (AssignActor sent) -> alive (ActorReady)
//   StopActor or the worker's death ends each of these states.
// An end that is told while the GCS is away is lost: the latest are kept and told again to one that
// comes back, which ignores what it knows. It is also told who waits here for room, as what had
// room when it chose this node may have been taken since: it may recall them for another node.
// It knows neither sockets nor processes: it speaks through actor_outbox.h. Threading: confined to
// its runtime's loop.
// Invariant: an actor past `waiting` has exactly one worker, and that worker this actor alone.

#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>
#include <vector>

#include "cyray/raylet/actor_outbox.h"
#include "cyray/raylet/dead_worker.h"
#include "cyray/raylet/lease_scheduler.h"
#include "cyray/raylet/node_options.h"
#include "cyray/util/runtime.h"
#include "cyray/util/timer.h"
#include "gcs_generated.h"
#include "local_generated.h"

namespace cyray::raylet {

class ActorHost {
 public:
  struct Parts {
    Runtime* runtime;
    const NodeOptions* options;
    ActorOutbox* outbox;
    ActorLeases* leases;
    ActorWorkers* workers;
  };

  explicit ActorHost(Parts parts) : parts_(parts), look_(parts.runtime) {}

  void OnStartActor(const wire::StartActor& start);
  void OnStopActor(const wire::StopActor& stop);
  // Gives an actor that still waits back to the GCS.
  void OnRecallActor(const wire::RecallActor& recall);
  // The scheduler found resources and a worker, or never will.
  void OnGrant(const LeaseGrant& grant);
  void OnRefused(const RequestKey& key, const std::string& error);
  // The worker owns what somebody uses, which would end with the actor: another one becomes it.
  void OnWorkerStays(const WorkerId& worker);
  // `pid`: of that worker. False: the frame is bad.
  bool OnActorReady(const WorkerId& worker, int pid, const wire::ActorReady* ready);
  void OnWorkerDied(const DeadWorker& dead);

  bool HasActorOf(const JobId& job) const;
  // The actors that are alive here, for NodeHello; with those whose end TellAgain() will tell:
  // the GCS takes an actor that is not there for lost, not for one that left.
  std::vector<flatbuffers::Offset<wire::ActorStarted>> WriteAlive(
      flatbuffers::FlatBufferBuilder& builder) const;
  // And those that wait here or are being created.
  std::vector<flatbuffers::Offset<wire::ActorLife>> WriteStarting(
      flatbuffers::FlatBufferBuilder& builder) const;
  // The stream is new, the hello was accepted: what was told on the last one may be lost.
  void TellAgain();

  enum class State : uint8_t { kWaiting, kCreating, kAlive };
  static constexpr int64_t kTold = INT64_MAX;
  struct Actor {
    State state = State::kWaiting;
    int64_t tell_ms = 0;  // when the GCS is told that it waits for room; kTold: it was
    uint32_t incarnation = 0;
    JobId job;
    std::string class_name;
    ResourceSet held;
    std::vector<uint8_t> spec;  // until its worker has taken it
    WorkerId worker;
    std::string stop_reason;  // it is to end, by a worker that may not have taken it
  };
  const std::unordered_map<ActorId, Actor>& actors() const { return actors_; }

 private:
  struct Ended {
    ActorId id;
    uint32_t incarnation;
    Address address;  // nil: it was never alive
    wire::Bytes report;
    int64_t at_ms;
  };
  using Actors = std::unordered_map<ActorId, Actor>;

  bool MayDecline(const Actor& actor) const;
  static RequestKey KeyOf(const ActorId& actor, uint32_t incarnation) {
    return {.id = incarnation, .actor = actor};
  }
  // A report that it is alive, or that its __init__ failed.
  wire::Bytes StartedReport(const ActorId& id, const Actor& actor, int pid,
                            const wire::ActorReady& ready) const;
  // `pid`: of the process that was to be it, or was; 0: none.
  void End(Actors::iterator actor, const std::string& reason, bool intended, int pid = 0);
  void End(Actors::iterator actor, wire::Bytes report);
  bool HasEnded(const ActorId& id, uint32_t incarnation) const;
  void AskForRoom(const ActorId& id, Actor& actor);
  void LookWhoWaits();
  void LookAt(int64_t at_ms);  // or earlier

  const Parts parts_;
  Actors actors_;
  std::unordered_map<WorkerId, ActorId> by_worker_;
  std::deque<Ended> ended_;  // the oldest first
  size_t ended_bytes_ = 0;   // of their reports
  int64_t look_at_ms_ = 0;
  Timer look_;  // at who waits
};

}  // namespace cyray::raylet
