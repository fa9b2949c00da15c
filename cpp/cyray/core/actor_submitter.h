// ActorSubmitter: method calls on actors, in order per caller.
//
// A client per actor: calls queue until the actor lives and their arguments are there (head of the
// line first), then go down the link of its worker one after another. When the worker is lost the
// calls in flight wait in limbo until the GCS says what became of the actor: calls with retries
// left are sent again, in order and before younger ones, to the next incarnation; the others fail.
//
// Callers that never wait must not shut out the others: an actor that runs calls in order has at
// most kMaxInFlight of each process, and a process with very many calls pending is slowed down
// (Crowded).
//
// Guarded by the core mutex.
// Invariant: calls of one client are pushed in order of submission within one incarnation.

#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "core_generated.h"
#include "cyray/core/task_submitter.h"
#include "local_generated.h"

namespace cyray::core {

struct ActorClient {
  ActorId id;
  wire::ActorState state = wire::ActorState::PendingCreation;
  uint32_t incarnation = 0;
  int restarts_left = 0;
  Address address;
  Link* link = nullptr;            // while alive and reachable
  std::deque<PendingTask*> queue;  // not pushed yet, in order
  InFlight in_flight;
  InFlight limbo;            // pushed to a worker that is gone
  bool losing_link = false;  // its last answers are read
  bool subscribed = false;
  bool in_order = true;  // false for async and threaded actors: no head of the line
  size_t pending() const { return queue.size() + in_flight.count; }
  std::string class_name;
  std::string death_cause;
  ValuePtr death_error;  // what every later call gets
};

class ActorSubmitter {
 public:
  using MakeActorError =
      std::function<ValuePtr(uint8_t kind, const std::string& message, const ActorId& actor)>;
  ActorSubmitter(LinkTable& links, RayletClient& raylet, TaskCompletion& completion,
                 MakeActorError make_error);

  // What keeps an actor busy while answers travel; the queue of other callers behind it is short.
  static constexpr size_t kMaxInFlight = 4'096;
  static constexpr size_t kCrowd = 200'000;
  // Whether the caller should let the actor catch up before it makes another call.
  static bool Crowded(const ActorClient& client) {
    return client.link != nullptr && client.pending() > kCrowd;
  }

  ActorClient* Client(const ActorId& id);
  void Submit(ActorClient* client, PendingTask* task, ObjectDirectory& objects);
  void OnArgumentReady(PendingTask* task);
  void OnTaskReply(Link& link, PendingTask* task, const wire::TaskReply& reply);
  void OnLinkBroken(Link& link);
  void OnActorUpdate(const wire::ActorUpdate& update);
  // Registering failed: nobody else will ever hear of this actor.
  void OnRegistrationFailed(const ActorId& id, const std::string& reason);
  void FailAll(const ValuePtr& error);
  void Describe(std::string& out) const;

 private:
  void Subscribe(ActorClient& client);
  void Pump(ActorClient& client);
  void Die(ActorClient& client, ValuePtr error);
  void SettleLimbo(ActorClient& client);
  void BecomeAlive(ActorClient& client, const wire::ActorUpdate& update);
  void LoseLink(ActorClient& client);

  LinkTable& links_;
  RayletClient& raylet_;
  TaskCompletion& completion_;
  const MakeActorError make_error_;
  std::unordered_map<ActorId, std::unique_ptr<ActorClient>> clients_;
  std::unordered_map<WorkerId, std::vector<ActorClient*>> by_worker_;
};

}  // namespace cyray::core
