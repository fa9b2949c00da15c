// LeaseScheduler: who gets which worker with which resources on this node, and what goes elsewhere.
//
// Requests wait in groups, one per (client, shape); a group is FIFO, groups are served in order of
// leases they already hold, then of age. A request is granted when its demand is free and the pool
// has a worker for its job; it is forwarded when another node suits it better or alone can run it;
// it stays pending, with a warning after a second, when no node can ever run it. Actors take part
// as requests that check `demand` and keep `held` for life. What is known of other nodes is old: a
// forwarded demand counts there until it is answered, and who found a node full may come back.
// Threading: confined to its owner. Pure: events in, Actions out; time is an argument in ms.
// Invariants: each worker has at most one lease; free resources + leases = the node's total.

#pragma once

#include <compare>
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
#include "cyray/raylet/node_resources.h"

namespace cyray::raylet {

enum class Strategy : uint8_t { kDefault = 0, kSpread = 1, kNodeAffinity = 2 };

// `id` is the client's own number for a request, or the forwarding raylet's. An actor's start is
// the request {this node, its actor id as worker id} with its incarnation as number.
struct RequestKey {
  Address client;
  uint64_t id = 0;
  auto operator<=>(const RequestKey&) const = default;
};

struct LeaseRequest {
  RequestKey key;
  JobId job;
  ResourceSet demand;  // must be free to start
  ResourceSet held;    // kept while leased; for tasks the same
  Strategy strategy = Strategy::kDefault;
  NodeId affinity_node;
  bool affinity_soft = false;
  bool for_actor = false;
  bool forwarded = false;  // came from another raylet: is not passed on again
  std::vector<std::pair<NodeId, uint64_t>> locality;
};

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
};

struct ScheduleActions {
  std::vector<LeaseGrant> grants;
  std::vector<LeaseForward> forwards;
  std::vector<LeaseRefusal> refusals;
  std::vector<LeaseReclaim> reclaims;
  std::vector<JobWarning> warnings;
  std::map<JobId, int> workers_wanted;  // requests whose resources are free but lack a worker
  int64_t call_again_ms = -1;           // time itself may change the outcome after so long
};

class LeaseScheduler {
 public:
  // Takes an idle worker for the request's job out of the pool, if there is one.
  using TakeWorker = std::function<std::optional<WorkerId>(const LeaseRequest&)>;

  LeaseScheduler(NodeId self, ResourceSet total);

  void AddRequest(LeaseRequest request, int64_t now_ms);
  bool CancelRequest(const RequestKey& key);
  ScheduleActions Schedule(int64_t now_ms, const TakeWorker& take_worker);

  // The worker whose lease ends, when `holder` holds that lease.
  std::optional<WorkerId> ReturnLease(uint64_t lease_id, const Address& holder);
  std::optional<LeaseEnd> WorkerDied(const WorkerId& worker);
  void SetBlocked(const WorkerId& worker, bool blocked);

  // Drops the requests of a dead client; returns the workers it held, which now run for nobody.
  // Their leases end with WorkerDied.
  std::vector<WorkerId> ClientDied(const WorkerId& client);
  std::vector<WorkerId> ClientsOfNodeDied(const NodeId& node);
  // The job's driver is gone. Requests of its detached actors stay.
  void ForgetJob(const JobId& job);
  // Takes out the requests that wait for a worker and for nothing else, of clients that hold no
  // lease of that shape; for when no worker can be started at all.
  // `job` nil: of all jobs.
  std::vector<LeaseRequest> TakeStarved(const JobId& job = JobId::Nil());

  // What this raylet knows of the others.
  void SetNodeView(const NodeId& node, ResourceSet total, ResourceSet available);
  void RemoveNodeView(const NodeId& node) { views_.erase(node); }
  // Nothing goes to an avoided node; who can only run there waits.
  void SetAvoided(const NodeId& node, bool avoided);
  // The answer to a forward, which must come once: the node gave what was demanded, or did not.
  void ForwardAnswered(const NodeId& node, const ResourceSet& demand, bool granted);
  // Whether a forwarded request, unanswered, could run here or at a third node now, and not there.
  bool IsMisplaced(const LeaseRequest& request, const NodeId& node) const;

  const NodeResources& resources() const { return resources_; }
  // This node and the others, as far as known.
  ResourceSet ClusterTotal() const;
  ResourceSet ClusterAvailable() const;
  size_t pending_count() const;
  size_t lease_count() const { return leases_.size(); }
  struct PendingInfo {
    RequestKey key;
    JobId job;
    ResourceSet demand;
    int64_t waited_ms;
    bool for_actor;
  };
  std::vector<PendingInfo> Pending(int64_t now_ms) const;
  // How many requests have waited for at least so long, by demand.
  std::map<ResourceSet, uint32_t> PendingDemands(int64_t now_ms, int64_t waited_ms) const;
  void CheckInvariants() const;

 private:
  struct GroupKey {
    Address client;
    bool for_actor;
    Strategy strategy;
    NodeId affinity_node;
    ResourceSet demand;
    auto operator<=>(const GroupKey&) const = default;
  };
  struct Waiting {
    LeaseRequest request;
    int64_t since_ms;
    uint64_t sequence;
  };
  struct Group {
    std::deque<Waiting> waiting;
    int held = 0;
    int given_up = 0;  // of them asked back; scratch of FindReclaims
  };
  struct Lease {
    RequestKey key;
    GroupKey group;
    WorkerId worker;
    Allocation allocation;
    int64_t granted_ms;
    int64_t reclaim_ms = -1;  // when its holder was last asked for it; -1: never
    bool for_actor = false;
    bool reclaimed() const { return reclaim_ms >= 0; }
  };
  struct NodeView {
    ResourceSet total;
    ResourceSet available;  // as it said last
    ResourceSet promised;   // of that, for forwards that it has not answered
    bool avoided = false;
    bool HasNow(const ResourceSet& demand) const;
  };
  using GroupRef = std::map<GroupKey, Group>::iterator;
  struct Victim {
    Lease* lease;
    Group* group;
  };
  enum class Step { kMoved, kWaits };
  struct Choice {
    enum Kind { kHere, kThere, kLater, kNever, kRefused } kind;
    NodeId node;
    std::string error;
  };

  static GroupKey KeyOf(const LeaseRequest& request);
  std::vector<GroupRef> FairOrder();
  Step ServeFront(GroupRef group, int64_t now_ms, const TakeWorker& take, ResourceSet* reserved,
                  ScheduleActions* actions);
  bool MayReserve(const Waiting& waiting, int64_t now_ms);
  bool HasNowBeside(const ResourceSet& demand, const ResourceSet& reserved) const;
  Choice Choose(const LeaseRequest& request, bool here_now);
  Choice ChooseAffinity(const LeaseRequest& request) const;
  std::optional<NodeId> BestLocality(const LeaseRequest& request) const;
  std::optional<NodeId> NodeWith(const ResourceSet& demand, bool now) const;
  Choice ChooseSpread(const LeaseRequest& request, bool here_now);
  void Grant(GroupRef group, const WorkerId& worker, int64_t now_ms, ScheduleActions* actions);
  void CountWantedWorkers(const std::vector<GroupRef>& order, ScheduleActions* actions);
  void FindReclaims(const std::vector<GroupRef>& order, int64_t now_ms, ScheduleActions* actions);
  bool Reclaim(const std::pair<const GroupKey, Group>& group, int64_t now_ms,
               std::vector<Victim>& victims, ResourceSet* expected, ScheduleActions* actions);
  // The leases that may be asked back.
  std::vector<Victim> Victims(int64_t now_ms, ScheduleActions* actions);
  static Victim* BestVictim(const ResourceSet& missing, int requester_holds,
                            std::vector<Victim>& victims);
  void WarnInfeasible(const std::vector<GroupRef>& order, int64_t now_ms, ScheduleActions* actions);
  // Whether some node, this one or another, could ever have it.
  bool IsFeasible(const ResourceSet& demand) const;
  std::string InfeasibleText(const LeaseRequest& request) const;
  void EndLease(std::unordered_map<uint64_t, Lease>::iterator lease);
  void DropEmpty(GroupRef group);
  template <class Predicate>
  void DropRequests(Predicate predicate);

  NodeId self_;  // constant after construction
  NodeResources resources_;
  std::map<GroupKey, Group> groups_;
  std::unordered_map<uint64_t, Lease> leases_;
  std::unordered_map<WorkerId, uint64_t> lease_of_worker_;
  std::map<NodeId, NodeView> views_;
  std::set<std::pair<JobId, ResourceSet>> warned_;
  std::optional<ResourceSet> reachable_;  // what leases alone keep from being free; of one round
  uint64_t next_lease_ = 1;
  uint64_t next_sequence_ = 1;
  size_t spread_turn_ = 0;
};

}  // namespace cyray::raylet
