// Cluster: the nodes, their streams, the jobs on them, and what one's end means for the others.
//
// Threading: confined to the GCS's state loop.
// It queues changes to the storage and leaves flushing to whoever handles the event.
// Invariant: when a node ends, its jobs finish before its actors are ended, so that actors of those
// jobs die instead of being started elsewhere.

#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "cyray/gcs/actor_director.h"
#include "cyray/gcs/job_table.h"
#include "cyray/gcs/node_streams.h"
#include "cyray/gcs/node_table.h"
#include "cyray/gcs/placement_watch.h"
#include "cyray/gcs/storage.h"
#include "cyray/util/event_loop.h"

namespace cyray::gcs {

// What carries the node streams.
struct StreamOutlets {
  NodeStreams::SendFunction send;
  std::function<void(uint64_t stream)> accept;  // the hello was good
  std::function<void(uint64_t stream, const Status&)> close;
};

class Cluster {
 public:
  // `job_over`: the job has ended and none of its actors lives: nobody needs its functions any
  // more.
  Cluster(EventLoop* loop, Storage* storage, NodeTable::Timing timing, StreamOutlets outlets,
          std::function<void(const JobId&)> job_over);
  ~Cluster();

  Status Load();

  Status RegisterNode(NodeEntry node);
  void EndNode(const NodeId& node, const std::string& reason);
  Result<JobId> RegisterJob(JobEntry job);
  void FinishJob(const JobId& job);
  // See ActorDirector::Register. It dies at once when the end of its owner came first.
  Result<ActorId> RegisterActor(const wire::Bytes& request);
  // Whether nobody will ever ask for a function of the job.
  bool IsOver(const JobId& job);
  void WorkerDied(const Address& worker, const std::string& reason, bool intended);

  void OnStreamMessage(uint64_t stream, const wire::Bytes& message);
  void OnStreamClosed(uint64_t stream);

  ActorDirector& actors() { return actors_; }
  const ActorDirector& actors() const { return actors_; }
  const NodeTable& nodes() const { return nodes_; }
  const JobTable& jobs() const { return jobs_; }
  const PlacementWatch& waiting() const { return waiting_; }
  void CheckInvariants() const {
    nodes_.CheckInvariants();
    actors_.table().CheckInvariants();
  }

 private:
  struct Relay {  // of a node's resources to the others
    int64_t last_ms = 0;
    bool scheduled = false;
  };
  struct Death {
    Address address;
    std::string reason;
    int64_t at_ms;
  };

  void OnHello(uint64_t stream, const wire::NodeHello& hello);
  void OnResources(const NodeId& node, const wire::ResourceReport& report);
  void OnActorStarted(const NodeId& node, const wire::ActorStarted& started);
  void OnActorEnded(const NodeId& node, const wire::ActorEnded& ended);
  void OnWatch(uint64_t stream, const wire::WatchActor& watch);
  void TellEverything(const NodeId& node);

  void EndExpiredNodes();
  void ArmDeadline();
  void AnnounceNode(const NodeId& node);
  void AnnounceDeath(const Address& address, const std::string& reason);
  void RelayResources(const NodeId& node);
  void OnActorDeath(const JobId& job);
  // A detached actor may start on a node that joined after its job had ended.
  void TellEndedJob(const NodeId& node, const JobId& job);
  void WarnDriver(const JobId& job, const std::string& text);
  // Why the process died, when that was lately or its node is dead.
  std::optional<std::string> DeathOf(const Address& worker) const;

  EventLoop* const loop_;
  Storage* const storage_;
  const StreamOutlets outlets_;
  const std::function<void(const JobId&)> job_over_;
  NodeTable nodes_;
  JobTable jobs_;
  NodeStreams streams_;
  ActorDirector actors_;
  PlacementWatch waiting_;
  std::map<NodeId, Relay> relays_;
  std::deque<Death> recent_deaths_;  // told again to raylets that come back
  EventLoop::TimerId deadline_timer_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // timers ask it
};

}  // namespace cyray::gcs
