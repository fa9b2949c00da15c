// LeaseService: wires the LeaseScheduler to clients, workers and other raylets.
//
// Lease frames of clients and forwarded ones of other raylets become events of the scheduler; its
// actions become frames. The scheduler runs once at the end of a round in which something changed.
// It knows neither sockets nor processes: it speaks through lease_outbox.h. Threading: confined to
// its runtime's loop.
// Invariant: every request of a client is answered by exactly one LeaseReply, unless the client
// goes.

#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cyray/raylet/actor_outbox.h"
#include "cyray/raylet/bundle_host.h"
#include "cyray/raylet/forward_table.h"
#include "cyray/raylet/lease_outbox.h"
#include "cyray/raylet/lease_scheduler.h"
#include "cyray/raylet/node_options.h"
#include "cyray/util/status.h"
#include "cyray/util/timer.h"
#include "cyray/wire/task_notes.h"
#include "local_generated.h"
#include "peer_generated.h"

namespace cyray::raylet {

class LeaseService : public ActorLeases, public BundleLeases {
 public:
  struct Parts {
    Runtime* runtime;
    const NodeOptions* options;
    LeaseOutbox* outbox;
    LeaseWorkers* workers;
  };
  struct Callbacks {
    std::function<void(const LeaseGrant&)> on_actor_grant;
    std::function<void(const RequestKey&, const std::string& error)> on_actor_refused;
    std::function<void()> on_resources_changed;  // or what waits for them
    // The number that the next report of the resources will have, which counts all that is granted
    // now. There will be one.
    std::function<uint64_t()> next_report = [] { return 0; };
    std::function<void(const BundleClaim&)> on_reserved = [](const BundleClaim&) {};
    std::function<void(const PlacementGroupId&)> on_missing_group = [](const PlacementGroupId&) {};
  };

  LeaseService(Parts parts, Callbacks callbacks);

  // Frames of a client. False: the frame is bad.
  bool OnRequestLease(const WorkerId& client, const JobId& job, const wire::RequestLease* request);
  bool OnCancelLease(const WorkerId& client, const wire::CancelLease* cancel);
  bool OnReturnLease(const WorkerId& client, const wire::ReturnLease* lease);
  bool OnBlocked(const WorkerId& client, const wire::Blocked* blocked);

  // Frames of other raylets.
  void OnForwardLease(const NodeId& from, const wire::ForwardLease& forward);
  void OnForwardLeaseReply(const NodeId& from, const wire::ForwardLeaseReply& answer);
  void OnForwardReturnLease(const NodeId& from, const wire::ForwardReturnLease& forward);
  void OnForwardCancel(const NodeId& from, const wire::ForwardCancel& cancel);
  void OnForwardReclaim(const NodeId& from, const wire::ForwardReclaim& forward);
  void OnForwardBroken(const NodeId& from, const wire::ForwardBroken& forward);
  // What was sent to it and is unanswered stays so.
  void OnPeerLost(const NodeId& node);

  // ActorLeases; answered by on_actor_grant or on_actor_refused.
  void RequestForActor(const RequestKey& key, const JobId& job, ResourceSet held) override;
  void CancelActor(const RequestKey& key) override;
  bool LacksRoom(const RequestKey& key) const override;
  void EndActorLease(const WorkerId& worker) override;

  // BundleLeases.
  void Claim(std::shared_ptr<const BundleClaim> claim) override;
  void OpenBundles(const PlacementGroupId& group, uint64_t attempt) override;
  void GiveBackBundles(const PlacementGroupId& group, uint64_t attempt) override;
  void EndGroup(const PlacementGroupId& group) override;
  std::vector<PlacementGroupId> GroupsWaitedFor() const override;

  // A process of this node is gone: as a worker and as a client.
  // `notes`: what the process has begun, when it shared memory for that.
  void OnProcessDied(const WorkerId& worker, const std::string& reason,
                     const wire::TaskNotes::Noted* notes = nullptr);
  // A process of another node. Of a node's end the table of peers tells.
  void OnRemoteDied(const Address& address);
  void OnJobEnded(const JobId& job) { scheduler_.ForgetJob(job); }
  // No worker can be started: who waits for one and has none is told.
  // `job` nil: of all jobs.
  void RefuseStarved(const std::string& why, const JobId& job = JobId::Nil());

  void NodeDied(const NodeId& node);
  void SetNodeView(const NodeId& node, ResourceSet total, ResourceSet available,
                   uint64_t report = 0);
  void SetNodeLabels(const NodeId& node, Labels labels) {
    scheduler_.SetNodeLabels(node, std::move(labels));
  }
  // What has waited here for a second or longer; kept up to date to a second.
  const std::map<ResourceSet, uint32_t>& pending_demands() const { return pending_demands_; }
  uint64_t pending_version() const { return pending_version_; }  // grows with each change
  // The node has so much of that from now on. GPUs have numbers, and bundles are the GCS's matter.
  Status SetTotal(const std::string& name, int64_t amount);
  void Touch() { dirty_ = true; }
  bool touched() const { return dirty_; }
  // At the end of each round.
  void ScheduleIfTouched();

  const LeaseScheduler& scheduler() const { return scheduler_; }
  // What other nodes were asked for and have not answered.
  const ForwardTable& forwards() const { return forwards_; }
  uint64_t forwarded_ever() const { return next_forward_ - 1; }

 private:
  static constexpr size_t kGoneGroupsKept = 4096;
  void Apply(ScheduleActions actions);
  void SendGrant(const LeaseGrant& grant);
  void SendForward(LeaseForward forward);
  void SendRefusal(const RequestKey& key, const std::string& error,
                   wire::LeaseRefusal why = wire::LeaseRefusal::Unschedulable);
  static std::string RemovedText(const PlacementGroupId& group);
  bool RefuseGone(const LeaseRequest& request);
  void SendReclaim(uint64_t lease_id, const Address& holder, const Address& worker);
  void SendBroken(const LeaseEnd& end, const std::string& reason,
                  const wire::TaskNotes::Noted* notes);
  void EndLease(uint64_t lease_id, const Address& holder, bool worker_exiting);
  void ReturnElsewhere(const Address& client, uint64_t lease_id, const Address& worker,
                       bool exiting);
  // Asks for it back, unless that was done. The other node's answer ends it. Others may have what
  // was promised to it.
  void TakeBack(uint64_t id, ForwardedLease& forward, ForwardedLease::State state);
  void CancelForwardsOf(const Address& client);
  void WatchForwards();
  void RecallMisplaced();
  void AvoidForAWhile(const NodeId& node);
  void WatchPending();
  bool IsHere(const Address& address) const { return address.node == parts_.options->node_id; }

  const Parts parts_;
  const Callbacks callbacks_;
  LeaseScheduler scheduler_;
  ForwardTable forwards_;
  uint64_t next_forward_ = 1;
  std::map<ResourceSet, uint32_t> pending_demands_;
  uint64_t pending_version_ = 1;
  ResourceSet last_available_;
  bool dirty_ = false;
  struct Nothing {};
  Recent<PlacementGroupId, Nothing> gone_groups_{kGoneGroupsKept};

  Timer again_;           // time itself changes what the scheduler does
  Timer pending_watch_;   // runs while something waits here
  Timer forwards_watch_;  // and while something waits elsewhere
  Timers<NodeId> avoided_;
};

}  // namespace cyray::raylet
