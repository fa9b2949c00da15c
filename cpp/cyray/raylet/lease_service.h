// LeaseService: wires the LeaseScheduler to clients, workers and other raylets.
//
// Lease frames of clients and forwarded ones of other raylets become events of the scheduler; its
// actions become frames. The scheduler runs once at the end of a round in which something changed.
// Threading: confined to the raylet's loop.
// Invariant: every request of a client is answered by exactly one LeaseReply, unless the client
// goes.

#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cyray/raylet/client_registry.h"
#include "cyray/raylet/driver_feed.h"
#include "cyray/raylet/lease_scheduler.h"
#include "cyray/raylet/node_options.h"
#include "cyray/raylet/peer_table.h"
#include "cyray/raylet/worker_host.h"
#include "local_generated.h"
#include "peer_generated.h"

namespace cyray::raylet {

class LeaseService {
 public:
  struct Parts {
    EventLoop* loop;
    const NodeOptions* options;
    ClientRegistry* clients;
    WorkerHost* workers;
    PeerTable* peers;
    DriverFeed* feed;
  };
  struct Callbacks {
    std::function<void(const LeaseGrant&)> on_actor_grant;
    std::function<void(const RequestKey&, const std::string& error)> on_actor_refused;
    std::function<void()> on_resources_changed;  // or what waits for them
  };

  LeaseService(Parts parts, Callbacks callbacks);

  // Frames of a client. False: the frame is bad.
  bool OnRequestLease(ClientConnection& client, const wire::RequestLease* request);
  bool OnCancelLease(ClientConnection& client, const wire::CancelLease* cancel);
  bool OnReturnLease(ClientConnection& client, const wire::ReturnLease* lease);
  bool OnBlocked(ClientConnection& client, const wire::Blocked* blocked);

  // Resources and a worker for an actor of this node; answered by on_actor_grant.
  // Its placement demand chose this node and is not waited for: an actor that holds no CPU starts
  // also while tasks that may never end have them all.
  void RequestForActor(const RequestKey& key, const JobId& job, ResourceSet held);
  void CancelActor(const RequestKey& key);

  // A process of this node is gone: as a worker and as a client.
  void OnProcessDied(const WorkerId& worker, const std::string& reason);
  // A process of another node, or (worker nil) all of them.
  void OnRemoteDied(const Address& address);
  void OnJobEnded(const JobId& job) { scheduler_.ForgetJob(job); }
  // No worker can be started: who waits for one and has none is told.
  // `job` nil: of all jobs.
  void RefuseStarved(const std::string& why, const JobId& job = JobId::Nil());

  void SetNodeView(const NodeId& node, ResourceSet total, ResourceSet available);
  // What has waited here for a second or longer; kept up to date to a second.
  const std::map<ResourceSet, uint32_t>& pending_demands() const { return pending_demands_; }
  void Touch() { dirty_ = true; }
  bool touched() const { return dirty_; }
  // At the end of each round.
  void ScheduleIfTouched();

  const LeaseScheduler& scheduler() const { return scheduler_; }
  // What other nodes were asked for and have not answered.
  struct Forwarded {
    LeaseRequest request;
    NodeId node;
    int64_t sent_ms = 0;
    // The client does not want it any more, or it is to be placed anew when it comes back.
    enum class State : uint8_t { kWaits, kCancelled, kRecalled } state = State::kWaits;
  };
  const std::map<uint64_t, Forwarded>& forwards() const { return forwards_; }

 private:
  void RegisterPeerHandlers();
  void OnForwardLease(const NodeId& from, const wire::ForwardLease& forward);
  void OnForwardLeaseReply(const NodeId& from, const wire::ForwardLeaseReply& forward);
  void OnPeerLost(const NodeId& node);
  void Apply(ScheduleActions actions);
  void SendGrant(const LeaseGrant& grant);
  void SendForward(LeaseForward forward);
  void SendRefusal(const RequestKey& key, const std::string& error);
  void SendReclaim(uint64_t lease_id, const Address& holder, const Address& worker);
  void SendBroken(const LeaseEnd& end, const std::string& reason);
  void EndLease(uint64_t lease_id, const Address& holder, bool worker_exiting);
  void ReturnElsewhere(const Address& client, uint64_t lease_id, const Address& worker,
                       bool exiting);
  // Asks for it back, unless that was done. The other node's answer ends it.
  void TakeBack(uint64_t id, Forwarded& forward, Forwarded::State state);
  void CancelForwardsOf(const WorkerId& client);
  void WatchForwards();
  void AvoidForAWhile(const NodeId& node);
  void WatchPending();
  bool IsHere(const Address& address) const { return address.node == parts_.options->node_id; }

  const Parts parts_;
  const Callbacks callbacks_;
  LeaseScheduler scheduler_;
  std::map<uint64_t, Forwarded> forwards_;
  uint64_t next_forward_ = 1;
  std::map<ResourceSet, uint32_t> pending_demands_;
  bool pending_watched_ = false;
  bool forwards_watched_ = false;
  ResourceSet last_available_;
  EventLoop::TimerId again_timer_ = 0;
  bool dirty_ = false;
};

}  // namespace cyray::raylet
