// LeaseScheduler: who gets which worker with which resources on this node, and what goes elsewhere.
//
// Requests wait in a LeaseQueue and are served in its order: jobs get fair shares, and within a job
// the higher priority goes first and has leases of lower ones asked back. A request is granted when
// its demand is free and the pool has a worker for its job and GPUs; it is forwarded when another
// node suits it better or alone can run it; it stays pending, with a warning after a second, when
// no node can ever run it. News of nodes may come later than a request that names one, which is
// therefore awaited for a while. Actors take part as requests that check `demand` and keep `held`
// for life. What is known of other nodes is old: a forwarded demand counts there until it is
// answered, and who found a node full may come back. Schedule looks at the groups whose stall says
// that they may run now, not at all that wait. Threading: confined to its owner. Pure: events in,
// Actions out; time is an argument in ms. Invariants: each worker has at most one lease; free
// resources + leases = the node's total.

#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/common/resources.h"
#include "cyray/raylet/fair_merge.h"
#include "cyray/raylet/lease_queue.h"
#include "cyray/raylet/lease_request.h"
#include "cyray/raylet/node_resources.h"
#include "cyray/raylet/worker_use.h"
#include "cyray/util/recent.h"

namespace cyray::raylet {

struct LeaseGrant {
  RequestKey key;
  uint64_t lease_id;
  WorkerId worker;
  std::vector<int32_t> gpu_ids;
  bool for_actor;
};
struct LeaseForward {
  LeaseRequest request;
  NodeId node;
};
struct LeaseRefusal {
  LeaseRequest request;
  std::string error;
};
struct LeaseReclaim {
  uint64_t lease_id;
  Address holder;
  WorkerId worker;
};
struct JobWarning {
  JobId job;
  std::string text;
};
struct LeaseEnd {
  uint64_t lease_id;
  RequestKey key;  // of the request it was granted to; key.client holds it
  WorkerId worker;
  bool for_actor;
  std::optional<PlacementGroupId> group;  // in whose bundle it was
};

struct ScheduleActions {
  std::vector<LeaseGrant> grants;
  std::vector<LeaseForward> forwards;
  std::vector<LeaseRefusal> refusals;
  std::vector<LeaseReclaim> reclaims;
  std::vector<std::shared_ptr<const BundleClaim>> reserved;
  std::vector<PlacementGroupId> missing_groups;  // on no node, for longer than news of them take
  std::vector<JobWarning> warnings;
  std::map<WorkerUse, int> workers_wanted;  // requests whose resources are free but lack a worker
  int64_t call_again_ms = -1;               // time itself may change the outcome after so long
  void CallAgainIn(int64_t ms) {
    call_again_ms = call_again_ms < 0 ? ms : std::min(call_again_ms, ms);
  }
};

class LeaseScheduler {
 public:
  // Takes an idle worker for that use out of the pool, if there is one.
  using TakeWorker = std::function<std::optional<WorkerId>(const LeaseRequest&, const WorkerUse&)>;

  LeaseScheduler(NodeId self, ResourceSet total, Labels labels = {});

  void AddRequest(LeaseRequest request, int64_t now_ms);
  bool CancelRequest(const RequestKey& key);
  // Whether a request waits for resources of this node.
  bool LacksResources(const RequestKey& key) const { return queue_.LacksResources(key); }
  ScheduleActions Schedule(int64_t now_ms, const TakeWorker& take_worker);

  // The worker whose lease ends, when `holder` holds that lease.
  std::optional<WorkerId> ReturnLease(uint64_t lease_id, const Address& holder);
  std::optional<LeaseEnd> WorkerDied(const WorkerId& worker);
  void SetBlocked(const WorkerId& worker, bool blocked);

  // Drops the requests of a dead client; returns the workers it held, which now run for nobody.
  // Their leases end with WorkerDied.
  std::vector<WorkerId> ClientDied(const Address& client);
  std::vector<WorkerId> ClientsOfNodeDied(const NodeId& node);
  // The job's driver is gone. Requests of its detached actors stay.
  void ForgetJob(const JobId& job);
  // Takes out the requests that wait for a worker and for nothing else, of clients that hold no
  // lease of that shape; for when no worker can be started at all.
  // `job` nil: of all jobs.
  std::vector<LeaseRequest> TakeStarved(const JobId& job = JobId::Nil());

  // Bundles of placement groups (NodeResources). A claim is a request that reserves them.
  void OpenBundles(const PlacementGroupId& group, uint64_t attempt);
  void GiveBack(const PlacementGroupId& group, uint64_t attempt);
  struct GroupUse {
    std::vector<WorkerId> workers;      // that run something in its bundles; their leases stay
    std::vector<LeaseRequest> waiting;  // for room in them; they are taken out
  };
  GroupUse CloseGroup(const PlacementGroupId& group);
  std::set<PlacementGroupId> GroupsWaitedFor() const;
  void SetTotal(const std::string& name, int64_t amount) {
    resources_.SetTotal(name, amount);
    views_changed_ = true;  // what no node could have this one may have now
  }

  // What this raylet knows of the others. `report`: the number of their resources, when known.
  void SetNodeView(const NodeId& node, ResourceSet total, ResourceSet available,
                   uint64_t report = 0);
  // Of a node that has a view.
  void SetNodeLabels(const NodeId& node, Labels labels);
  void RemoveNodeView(const NodeId& node);
  // Nothing goes to an avoided node; who can only run there waits.
  void SetAvoided(const NodeId& node, bool avoided);
  // The answer to a forward, of which one must come once: the node gave what was demanded, which
  // its resources count from that number on; or it did not.
  void ForwardGranted(const NodeId& node, const ResourceSet& demand, uint64_t report);
  void ForwardOver(const NodeId& node, const ResourceSet& demand);
  // Whether a forwarded request, unanswered, could run here or at a third node now, and not there.
  bool IsMisplaced(const LeaseRequest& request, const NodeId& node) const;

  const NodeResources& resources() const { return resources_; }
  // This node and the others, as far as known.
  ResourceSet ClusterTotal() const;
  ResourceSet ClusterAvailable() const;
  size_t pending_count() const { return queue_.size(); }
  // How many groups, and places in their indexes, Schedule has looked at, ever.
  uint64_t looked_at() const { return looked_at_ + queue_.searched(); }
  size_t lease_count() const { return leases_.size(); }
  uint64_t granted_ever() const { return next_lease_ - 1; }
  struct PendingInfo {
    RequestKey key;
    JobId job;
    ResourceSet demand;
    int64_t waited_ms;
    bool for_actor;
  };
  std::vector<PendingInfo> Pending(int64_t now_ms, size_t limit) const;
  // What this node has lent, and to whom.
  struct LentInfo {
    RequestKey key;  // whom it was granted to
    WorkerId worker;
    ResourceSet resources;
    bool cpu_lent;  // its task waits, and others may have its CPU meanwhile
    int64_t for_ms;
    bool for_actor;
  };
  std::vector<LentInfo> Lent(int64_t now_ms, size_t limit) const;
  // How many requests have waited for at least so long, by demand.
  std::map<ResourceSet, uint32_t> PendingDemands(int64_t now_ms, int64_t waited_ms) const;
  void CheckInvariants() const;

 private:
  static constexpr size_t kDeadNodesKept = 4096;
  // A request that waited this long keeps smaller ones from taking what it needs, part of the time.
  static constexpr int64_t kReserveAfterMs = 100;
  static constexpr int64_t kReserveCycleMs = 4000;
  using Group = LeaseQueue::Group;
  struct Lease {
    RequestKey key;
    Group* group;
    WorkerId worker;
    Allocation allocation;
    int64_t granted_ms;
    int64_t reclaim_ms = -1;  // when its holder was last asked for it; -1: never
    bool for_actor = false;
    bool reclaimed() const { return reclaim_ms >= 0; }
  };
  struct NodeView {
    Labels labels;
    ResourceSet total;
    ResourceSet available;  // as it said last, less what it gave since
    uint64_t report = 0;    // the number of that
    ResourceSet promised;   // of that, for forwards that it has not answered
    ResourceSet left;       // what is not promised
    bool avoided = false;
    void Promise(const ResourceSet& demand);
    // It is answered: from then on what the node has left tells, or the promise is void.
    void Keep(const ResourceSet& demand);
    void Withdraw(const ResourceSet& demand);
    bool HasNow(const ResourceSet& demand) const { return !avoided && left.Covers(demand); }
    bool HasEver(const ResourceSet& demand) const { return !avoided && total.Covers(demand); }
  };
  struct Victim {
    Lease* lease;
    Group* group;
  };
  using Views = std::map<NodeId, NodeView>;
  enum class Step { kMoved, kWaits };
  // What a single Schedule knows.
  struct Scan {
    int64_t now_ms;
    const TakeWorker& take;
    ScheduleActions* actions;
    ResourceSet reserved;  // by those who waited long
    std::set<RequestKey> reserved_for;
    std::set<WorkerUse> no_worker;         // none was left for these
    std::map<std::string, int64_t> most;   // at one other node
    std::optional<ResourceSet> reachable;  // what leases alone keep from being free
  };
  // What a look for leases to be asked back knows.
  struct Reclaims {
    int64_t now_ms;
    ScheduleActions* actions;
    ResourceSet expected;                               // to be free soon
    std::vector<Victim> victims;                        // who may be asked
    std::map<const LeaseQueue::Job*, int> coming = {};  // leases that a job is to get of that
  };
  struct Choice {
    enum Kind { kHere, kThere, kLater, kNever, kRefused, kUnknown } kind;
    NodeId node;
    std::string error;  // kUnknown: the refusal, should no news come of the node
  };

  // Of one source of waiting groups: those that got no lease back.
  struct Vain {
    bool family = false;
    int64_t limit = INT64_MAX;  // who needs more is not looked at any more
    int64_t least = INT64_MAX;  // that was needed, of the latest
    int count = 0;
    // Whether to go on in that source.
    bool Add(int64_t amount);
  };
  using Order = LeaseQueue::Order;

  void Serve(Scan& scan);
  void AddSources(const LeaseQueue::Job& job, Scan& scan, FairMerge& merge);
  void AddWorkerSources(const LeaseQueue::Job& job, FairMerge& merge) const;
  void AddReclaimSources(const LeaseQueue::Job& job, FairMerge& merge,
                         std::deque<Vain>& vain) const;
  bool IsOpen(const StallKey& stall, Scan& scan);
  // The most of a resource that one request may get now.
  int64_t Limit(bool here_only, const std::string& resource, Scan& scan);
  void Reserve(const Group& group, Scan& scan);
  Step ServeFront(Group* group, Scan& scan);
  Step ServeHere(Group* group, bool here_now, Scan& scan);
  StallKey Lacking(const LeaseRequest& request, Scan& scan);
  bool HasNowBeside(const LeaseRequest& request, const ResourceSet& reserved) const;
  Choice Choose(const LeaseRequest& request, bool here_now);
  Choice At(const NodeId& node) const;
  Choice ChooseAffinity(const LeaseRequest& request) const;
  Choice ChooseByLabels(const LeaseRequest& request, bool here_now);
  // Among nodes that match; `now`: that have room.
  std::optional<NodeId> ChooseLabelled(const LeaseRequest& request, const LabelSelector& selector,
                                       bool here, bool now);
  std::optional<NodeId> BestLocality(const LeaseRequest& request) const;
  // Of this node, if it has room, and two that chance picks of those that have it now (or could
  // ever), so that raylets that decide at the same time do not all choose the same.
  std::optional<NodeId> ChoosePacked(const ResourceSet& demand, bool here, bool now);
  std::vector<Views::const_iterator> TwoOf(const ResourceSet& demand, bool now);
  bool AnyHasNow(const ResourceSet& demand, const LabelChoice& labels) const;
  Choice ChooseSpread(const LeaseRequest& request, bool here_now);
  void Grant(Group* group, const WorkerId& worker, Allocation allocation, Scan& scan);
  void CountWantedWorkers(const Scan& scan);
  void CountWaitingForWorkers(ScheduleActions* actions);
  void FindReclaims(int64_t now_ms, ScheduleActions* actions);
  // For as many of its front requests as may be; false when one of them gets nothing.
  bool ReclaimFor(const Group& group, Reclaims& reclaims);
  bool Reclaim(const Group& group, Reclaims& reclaims);
  // The leases that may be asked back.
  std::vector<Victim> Victims(int64_t now_ms, ScheduleActions* actions);
  // The one that has the most reason to give its lease to the group.
  static Victim* BestVictim(const ResourceSet& missing, const Group& asks, Reclaims& reclaims);
  // The more, the larger; 0: none.
  using Reason = std::array<int64_t, 3>;
  static Reason ReasonToYield(const Group& holds, const Group& asks, int coming);
  void WarnInfeasible(int64_t now_ms, ScheduleActions* actions);
  // Whether some node, this one or another, could ever have it.
  bool IsFeasible(const LeaseRequest& request) const;
  std::string InfeasibleText(const LeaseRequest& request) const;
  // The workers that a client has leased; its worker id nil: all clients of that node.
  std::vector<WorkerId> HeldBy(const Address& client) const;
  uint64_t Random();
  void EndLease(std::unordered_map<uint64_t, Lease>::iterator lease);
  // Whether it counts for its job (LeaseQueue::Job).
  static bool Counts(const Lease& lease);

  NodeId self_;    // constant after construction
  Labels labels_;  // the same
  NodeResources resources_;
  LeaseQueue queue_;
  std::unordered_map<uint64_t, Lease> leases_;
  std::unordered_map<WorkerId, uint64_t> lease_of_worker_;
  std::set<std::pair<Address, uint64_t>> leases_of_;  // by client; without actors'
  Views views_;
  std::set<std::pair<JobId, ResourceSet>> warned_;
  struct Nothing {};
  Recent<NodeId, Nothing> dead_{kDeadNodesKept};
  bool views_changed_ = false;          // who no node could have may have one now
  int64_t unknown_due_ms_ = INT64_MAX;  // when the first who waits for news of a node is refused
  int64_t turns_due_ms_ = 0;            // when it is looked whose turn it is among priorities
  int64_t turn_ms_ = -1;                // what that said: somebody's turn comes in so many ms
  uint64_t next_lease_ = 1;
  uint64_t random_;
  uint64_t looked_at_ = 0;
};

}  // namespace cyray::raylet
