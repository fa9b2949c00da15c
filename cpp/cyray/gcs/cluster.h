// Cluster: the nodes, their streams, the jobs on them, and what one's end means for the others.
//
// Threading: confined to the GCS's state loop.
// It queues changes and effects (commit.h); whoever handles a call ends the event.
// Invariant: when a node ends, its jobs finish before its actors are ended, so that actors of those
// jobs die instead of being started elsewhere.

#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <string>

#include "cyray/gcs/actor_director.h"
#include "cyray/gcs/change_index.h"
#include "cyray/gcs/commit.h"
#include "cyray/gcs/group_director.h"
#include "cyray/gcs/job_table.h"
#include "cyray/gcs/membership.h"
#include "cyray/gcs/node_streams.h"
#include "cyray/gcs/node_table.h"
#include "cyray/gcs/placement_watch.h"
#include "cyray/gcs/resource_views.h"
#include "cyray/util/recent.h"
#include "cyray/util/timer.h"

namespace cyray::gcs {

// What carries the node streams.
struct StreamOutlets {
  NodeStreams::SendFunction send;
  std::function<void(uint64_t stream)> accept;  // the hello was good
  std::function<void(uint64_t stream, const Status&)> close;
};

// How much is remembered of what is over.
struct ClusterMemory {
  size_t dead_nodes = 100;
  size_t finished_jobs = 1000;
  size_t saved_bytes = size_t{4} << 30;  // of all actors; they are in memory, too
};

class Cluster {
 public:
  struct Hooks {
    // The job has ended and none of its actors lives: nobody needs its functions any more.
    std::function<void(const JobId&)> job_over;
    // A placement group is in place, has lost bundles, or is gone.
    std::function<void(const PlacementGroupId&)> group_changed;
  };
  Cluster(Runtime* runtime, Commit* commit, Membership::Timing timing, StreamOutlets outlets,
          Hooks hooks, ClusterMemory memory = {});

  Status Load(Storage& storage);

  Status RegisterNode(NodeEntry node);
  // What a node that was registered is to know, for the reply.
  flatbuffers::Offset<wire::RegisterNodeReply> WriteState(
      flatbuffers::FlatBufferBuilder& builder) const;
  // It is dead: somebody knows, or it was silent for too long.
  void EndNode(const NodeId& node, const std::string& reason);
  Result<JobId> RegisterJob(JobEntry job);
  void FinishJob(const JobId& job);
  // See ActorDirector::Register. It dies at once when the end of its owner came first.
  Result<ActorId> RegisterActor(const wire::Bytes& request);
  // See GroupDirector::Register. It goes at once when the end of what it goes with came first.
  Result<PlacementGroupId> RegisterGroup(const wire::Bytes& request);
  // Whether nobody will ever ask for a function of the job.
  bool IsOver(const JobId& job);
  void WorkerDied(const Address& worker, const std::string& reason, bool intended);

  void OnStreamMessage(uint64_t stream, const wire::Bytes& message);
  void OnStreamClosed(uint64_t stream);

  ActorDirector& actors() { return actors_; }
  const ActorDirector& actors() const { return actors_; }
  GroupDirector& groups() { return groups_; }
  const GroupDirector& groups() const { return groups_; }
  const NodeTable& nodes() const { return nodes_; }
  const JobTable& jobs() const { return jobs_; }
  const PlacementWatch& waiting() const { return waiting_; }
  void CheckInvariants() const {
    nodes_.CheckInvariants();
    actors_.table().CheckInvariants();
    groups_.table().CheckInvariants();
  }

 private:
  void OnHello(uint64_t stream, const wire::NodeHello& hello);
  void OnResources(const NodeId& node, const wire::ResourceReport& report);
  void OnActorStarted(const NodeId& node, const wire::ActorStarted& started);
  void OnActorEnded(const NodeId& node, const wire::ActorEnded& ended);
  void OnWatch(uint64_t stream, const wire::WatchActor& watch);
  void TellUnknown();
  // What the node says of itself holds: who is not there has ended.
  void EndWhoIsGone(const NodeId& node, const wire::NodeHello& hello);
  // What the node has missed: changes after `known`, and who is left. Ends that are too old to be
  // kept are among no changes.
  void TellChanges(const NodeId& node, uint64_t known);
  wire::Bytes CensusCommand() const;
  // From now on it is told of others' resources.
  void TellViews(uint64_t stream, const ResourceViews::Stamp& known);

  void Tick();
  void ArmTick();
  void AnnounceNode(const NodeId& node);
  void AnnounceJob(const JobId& job);
  // Soon: once for all that changed until then, the same bytes to all who lack the same.
  void RelaySoon();
  void RelayResources();
  void OnActorDeath(const ActorId& actor);
  void AwaitGroup(const PlacementGroupId& group);
  // A detached actor may start on a node that joined after its job had ended.
  void TellEndedJob(const NodeId& node, const JobId& job);
  void WarnDriver(const JobId& job, const std::string& text);
  // Why the process died, when that was lately or its node is dead or forgotten.
  std::optional<std::string> DeathOf(const Address& worker) const;

  Runtime* const runtime_;
  Commit* const commit_;
  const StreamOutlets outlets_;
  const Hooks hooks_;
  const ClusterMemory memory_;
  NodeTable nodes_;
  Membership membership_;
  JobTable jobs_;
  NodeStreams streams_;
  ActorDirector actors_;
  PlacementWatch waiting_;
  GroupDirector groups_;
  ChangeIndex<std::pair<NodeId, JobId>> changes_;  // of nodes and jobs; one of each pair is nil
  ResourceViews views_;
  int64_t relayed_ms_ = 0;
  Recent<Address, std::string> deaths_;  // of processes, with the reason
  // Watches of actors that are not registered yet; the oldest first.
  struct UnknownWatch {
    int64_t due_ms;
    int64_t since_ms;
    uint64_t stream;
    ActorId actor;
  };
  std::deque<UnknownWatch> unknown_;
  Timer tick_;
  Timer relay_;
  Timer unknown_due_;
};

}  // namespace cyray::gcs
