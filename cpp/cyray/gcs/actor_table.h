// ActorTable: the life of every actor of the cluster.
//
//   Register -> (DependenciesUnready ->) PendingCreation -> (Placed, Started) -> Alive
//   -> (Ended) -> Restarting -> Alive ... and from each of them -> Dead, for good.
// Events come in as calls and give back what is to be done, in that order. An event that speaks of
// an earlier incarnation, or of a node that the actor is not on, changes nothing; when it says
// that a process runs that should not, it is answered by a kStop for that process. No process of an
// actor is started before the end of its last one is known.
// Threading: confined to the GCS's state loop. Pure: no socket, clock or file.
// Invariants (CheckInvariants): a name belongs to one actor that is neither dead nor ending; an
// actor without a node waits for placement or for its constructor's arguments; only Alive actors
// have an address. A process's death or node's death costs what it owned or ran, not what the
// cluster has.

#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cyray/gcs/actor_record.h"
#include "cyray/util/recent.h"
#include "cyray/util/status.h"

namespace cyray::gcs {

class ActorTable {
 public:
  explicit ActorTable(size_t dead_kept = 10'000);

  // kAlreadyExists: the name is taken. The same actor registered again: no actions. Otherwise
  // what was registered must go to disk with the actions.
  Result<ActorActions> Register(ActorSpec spec);
  // Puts back what was stored, in any order.
  void Restore(ActorRecord record);

  // The arguments of its constructor exist, or never will: its owner says so, or died.
  ActorActions ArgumentsReady(const ActorId& id);
  ActorActions Placed(const ActorId& id, const NodeId& node);
  ActorActions Unschedulable(const ActorId& id, const std::string& reason);

  struct StartedEvent {
    ActorId actor;
    uint32_t incarnation = 0;
    Address address;
    int pid = 0;
    std::string node_ip;
  };
  // From the raylet of `node`, as the next three.
  ActorActions Started(const NodeId& node, const StartedEvent& event);
  ActorActions InitFailed(const NodeId& node, const ActorId& id, uint32_t incarnation,
                          wire::Bytes error);
  // It had not begun there and was asked back.
  ActorActions GivenBack(const NodeId& node, const ActorId& id, uint32_t incarnation);
  struct Ending {
    std::string reason;
    bool intended = false;  // it left by its own will and is not restarted
    int pid = 0;            // of its process, and the address of its node, when it never started
    std::string node_ip = {};
  };
  // Its process is gone.
  ActorActions Ended(const NodeId& node, const ActorId& id, uint32_t incarnation,
                     const Ending& ending);

  struct KillEvent {
    bool no_restart = true;
    bool out_of_scope = false;  // its last reference went
    std::string reason;         // the death cause; empty: the usual one
  };
  // An actor not registered yet dies as soon as it is: the two may overtake each other.
  ActorActions Kill(const ActorId& id, const KillEvent& event);

  // A process died: what it owned dies (but detached actors), what ran in it has ended.
  ActorActions WorkerDied(const Address& worker, const std::string& reason, bool intended);
  ActorActions NodeDied(const NodeId& node, const std::string& reason);
  // The placement group in whose bundles they are, or were to be.
  ActorActions GroupRemoved(const PlacementGroupId& group);
  // What its driver owned dies, and what those actors owned, and so on; a detached actor lives on
  // with all that it owns. What tasks own dies with their workers, which raylets end and tell of.
  ActorActions JobFinished(const JobId& job, const Address& driver);
  struct Life {
    ActorId actor;
    uint32_t incarnation = 0;
  };
  // A raylet's stream is new: these run there or are about to, nothing else of ours is there. What
  // it was sent on the last one may be lost.
  ActorActions Reconcile(const NodeId& node, const std::vector<StartedEvent>& alive,
                         const std::vector<Life>& starting);

  const ActorRecord* Find(const ActorId& id) const;
  // Those before are dead or told to end; UINT32_MAX: no other will come. 0 of an unknown actor.
  uint32_t LeastIncarnation(const ActorId& id) const;
  // It is not in the table and will not be, as far as is remembered: it died long ago, or its
  // registration was refused.
  bool IsGone(const ActorId& id) const { return gone_.Find(id) != nullptr; }
  const ActorRecord* FindByName(const std::string& ns, const std::string& name) const;
  const std::map<ActorId, ActorRecord>& actors() const { return actors_; }
  // Those that wait for a node.
  PlacementLine& waiting() { return waiting_; }
  const PlacementLine& waiting() const { return waiting_; }
  bool HasLivingActor(const JobId& job) const;
  // Processes of the node that own living actors, but of detached ones that need them no more.
  std::vector<Address> OwnersOn(const NodeId& node) const;
  void CheckInvariants() const;

 private:
  using Name = std::pair<std::string, std::string>;  // namespace, name

  ActorRecord* FindLiving(const ActorId& id);
  // The record when `incarnation` is its present one and `node` its node.
  ActorRecord* FindCurrent(const ActorId& id, uint32_t incarnation, const NodeId& node);
  void AddLiving(const ActorRecord& record);
  void LeaveOwner(const ActorRecord& record);
  bool AwaitsPlacement(const ActorRecord& record) const {
    return !record.dead() && record.node.is_nil() && !record.arguments_pending();
  }
  void SetNode(ActorRecord& record, const NodeId& node);
  void SetAddress(ActorRecord& record, const Address& address);
  void ProcessLeft(ActorRecord& record, const std::string& reason, bool intended,
                   ActorActions& actions);
  // How an actor whose process is gone goes on.
  // `what` has become of the actor, when it is not to live again, and `how`.
  void EndProcess(ActorRecord& record, const std::string& what, const std::string& how,
                  ActorActions& actions);
  void CountRestart(ActorRecord& record);
  // Its process was told to end: it is restarted once that has.
  void AwaitEnd(ActorRecord& record, ActorActions& actions);
  void Restart(ActorRecord& record, bool counts, ActorActions& actions);
  void Die(ActorRecord& record, const std::string& cause, ActorActions& actions);
  void StopProcess(const ActorRecord& record, bool graceful, const std::string& reason,
                   ActorActions& actions);
  // `record`: of what FindCurrent() found.
  static bool MayRun(const ActorRecord* record) { return record != nullptr && !record->stopping; }
  static ActorAction StopUnwanted(const NodeId& node, const Life& life);
  void FreeName(const ActorRecord& record);
  void ForgetOldest(ActorActions& actions);

  const size_t dead_kept_;
  std::map<ActorId, ActorRecord> actors_;
  std::map<Name, ActorId> names_;
  // Living ones by the process that owns them and by its node (is_owned() alone); by the
  // process that they run in; by the node where they run or are to start; by job.
  template <class Key>
  using Index = std::set<std::pair<Key, ActorId>>;
  template <class Key>
  static std::vector<ActorId> Of(const Index<Key>& index, const Key& key);
  Index<WorkerId> owned_;
  Index<NodeId> owned_on_;
  Index<WorkerId> hosted_;
  Index<NodeId> placed_on_;
  Index<JobId> of_job_;
  Index<PlacementGroupId> in_group_;
  PlacementLine waiting_;
  std::deque<ActorId> dead_;  // oldest death first
  Recent<ActorId, KillEvent> early_kills_;
  Recent<ActorId, bool> gone_;
};

}  // namespace cyray::gcs
