// ActorHost: the actors that live on this node, from StartActor to the end of their worker.
//
//   StartActor -> waiting (resources, worker) -> creating (AssignActor sent) -> alive (ActorReady)
//   StopActor or the worker's death ends each of these states.
// Threading: confined to the raylet's loop.
// Invariant: an actor past `waiting` has exactly one worker, and that worker this actor alone.

#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "cyray/raylet/client_registry.h"
#include "cyray/raylet/gcs_bridge.h"
#include "cyray/raylet/lease_service.h"
#include "cyray/raylet/node_options.h"
#include "cyray/raylet/worker_host.h"
#include "gcs_generated.h"

namespace cyray::raylet {

class ActorHost {
 public:
  struct Parts {
    const NodeOptions* options;
    ClientRegistry* clients;
    WorkerHost* workers;
    LeaseService* leases;
    GcsBridge* gcs;
  };

  explicit ActorHost(Parts parts) : parts_(parts) {}

  void OnStartActor(const wire::StartActor& start);
  void OnStopActor(const wire::StopActor& stop);
  // The scheduler found resources and a worker, or never will.
  void OnGrant(const LeaseGrant& grant);
  void OnRefused(const RequestKey& key, const std::string& error);
  bool OnActorReady(ClientConnection& client, const wire::ActorReady* ready);
  void OnWorkerDied(const DeadWorker& dead);

  bool HasActorOf(const JobId& job) const;
  // The actors that are alive here, for NodeHello.
  std::vector<flatbuffers::Offset<wire::ActorStarted>> WriteAlive(
      flatbuffers::FlatBufferBuilder& builder) const;

  enum class State : uint8_t { kWaiting, kCreating, kAlive };
  struct Actor {
    State state = State::kWaiting;
    uint32_t incarnation = 0;
    JobId job;
    std::string class_name;
    std::vector<uint8_t> spec;
    WorkerId worker;
  };
  const std::unordered_map<ActorId, Actor>& actors() const { return actors_; }

 private:
  static RequestKey KeyOf(const NodeId& node, const ActorId& actor, uint32_t incarnation);
  void ReportStarted(const ActorId& id, const Actor& actor, int pid, bool ok,
                     const std::vector<uint8_t>& error);
  void ReportEnded(const ActorId& id, uint32_t incarnation, const std::string& reason,
                   bool intended);

  const Parts parts_;
  std::unordered_map<ActorId, Actor> actors_;
  std::unordered_map<WorkerId, ActorId> by_worker_;
};

}  // namespace cyray::raylet
