// LeaseQueue: the requests that wait for leases, in an order that lets a raylet look at few of
// them.
//
// Requests of one client, shape and priority form a group, which is FIFO; actors of one job and
// shape form one, too. The job that holds the fewest leases is served first, of its groups those of
// the highest priority, of these the one that holds the fewest (an actor's counts none), then the
// oldest. Of the priorities that others of their job have kept waiting for long, the one that has
// waited longest has a turn: it is served once before them.
// A group stands in one stall of its job, which says what was missing when it was last looked at:
// an amount of one resource, a worker for one use, a node that could ever have it. The stalls of
// one resource are a family, whose groups are found by order and amount (FairIndex): when a CPU is
// returned and 8,000 groups wait for one, each for another share of it or with another priority,
// only the first that can be served is looked at.
// Threading: confined to its owner. Pure. Invariants: a group is here while it has requests or
// leases; it stands in exactly one stall while it has requests; each stall is in fair order. Jobs
// stay until GiveTurns finds them without groups, priorities while they have groups.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cyray/raylet/fair_index.h"
#include "cyray/raylet/lease_request.h"
#include "cyray/raylet/worker_use.h"

namespace cyray::raylet {

// What a group waits for.
struct StallKey {
  enum Kind : uint8_t {
    kUnsorted,  // not looked at yet
    kMixed,     // nothing single is missing: one node has the CPUs, another one the GPUs
    kWorker,    // for `use`; its resources were free
    kResource,  // `amount` of `resource`
    kNode,      // no node can ever have it
    kNews,      // other news of nodes; its driver knows why, or need not
  };
  Kind kind = kUnsorted;
  bool here_only = false;  // not to be passed on to another node
  std::string resource;
  int64_t amount = 0;
  WorkerUse use;
  auto operator<=>(const StallKey&) const = default;
};

class LeaseQueue {
 public:
  struct Waiting {
    LeaseRequest request;
    int64_t since_ms;
  };
  struct GroupKey {
    Address client;  // nil for actors
    JobId job;       // of actors alone
    bool for_actor;
    bool forwarded;
    Strategy strategy;
    NodeId affinity_node;
    bool affinity_soft;
    int32_t priority;
    LabelChoice labels;
    ResourceSet demand;
    ResourceSet held;
    uint64_t claim;  // the attempt of a BundleClaim, 0: none
    auto operator<=>(const GroupKey&) const = default;
  };
  // In a job: 0 less the priority and the leases held, then the age.
  using Order = std::pair<std::pair<int64_t, int>, uint64_t>;
  struct Job;
  struct Level;
  class Group {
   public:
    const LeaseRequest& front() const { return waiting_.begin()->second.request; }
    int64_t front_since_ms() const { return waiting_.begin()->second.since_ms; }
    const ResourceSet& demand() const { return key_->demand; }
    bool for_actor() const { return key_->for_actor; }
    const std::map<uint64_t, Waiting>& waiting() const { return waiting_; }
    // Leases of its own; none for actors, each of which is served for itself.
    int held() const { return for_actor() ? 0 : held_; }
    const StallKey& stall() const { return stall_; }
    const Order& order() const { return order_; }
    const Job& job() const { return *job_; }
    int32_t priority() const { return key_->priority; }
    bool has_turn() const { return order_.first.first == kTurn; }
    // Of those it holds, asked back.
    int given_up() const { return given_up_; }

   private:
    friend class LeaseQueue;
    const GroupKey* key_ = nullptr;
    Job* job_ = nullptr;
    Level* level_ = nullptr;
    std::map<uint64_t, Waiting> waiting_;  // by age
    int held_ = 0;
    int given_up_ = 0;
    Order order_;  // fixed while it stands in a stall
    StallKey stall_;
    bool placed_ = false;
  };
  struct FairLess {
    using is_transparent = void;
    bool operator()(const Group* a, const Group* b) const { return a->order_ < b->order_; }
    bool operator()(const Group* a, const Order& b) const { return a->order_ < b; }
    bool operator()(const Order& a, const Group* b) const { return a < b->order_; }
  };
  using Stall = std::set<Group*, FairLess>;
  using Family = FairIndex<Order, Group>;          // the stalls of one resource
  using FamilyKey = std::pair<bool, std::string>;  // here_only, resource
  static constexpr int64_t kTurn = INT64_MIN;      // before all priorities
  static constexpr Order kFirst{{kTurn, -1}, 0};
  // The groups of one priority.
  struct Level {
    std::set<Group*> standing;  // in stalls of the job
    int groups = 0;
    bool served = true;     // since its turn was looked at
    bool has_turn = false;  // until it is served
    int64_t served_ms = 0;
  };
  struct Job {
    // Leases that take something from others: none of actors, of processes that wait for what they
    // submitted, of what asks for nothing, or has a bundle's.
    int held = 0;
    int given_up = 0;  // of all leases, asked back
    Stall unsorted, mixed;
    std::map<WorkerUse, Stall> without_worker;
    std::map<FamilyKey, Family> families;
    Order mixed_at = kFirst;          // where the last look left `mixed`
    std::map<int64_t, Level> levels;  // by 0 less the priority
  };
  // Who comes first, of all jobs.
  using Rank = std::pair<int, Order>;
  static Rank RankOf(const Group& group) { return {group.job_->held, group.order_}; }

  void Add(LeaseRequest request, int64_t now_ms);
  // Takes out the request at the front of `group`, which is gone afterwards if it is empty.
  LeaseRequest TakeFront(Group* group);
  // The same, for a lease that begins: the group stays until Returned.
  LeaseRequest Lease(Group* group);
  void Returned(Group* group);
  std::optional<LeaseRequest> Cancel(const RequestKey& key);
  // Those of a client; its worker id nil: of all clients of that node. None of actors.
  void CancelOf(const Address& client);
  // Whether it waits for resources, as far as it was looked at.
  bool LacksResources(const RequestKey& key) const;
  // Takes out those of a group.
  std::vector<LeaseRequest> TakeAll(Group* group);

  // So many more of its leases are asked back, or fewer.
  static void GiveUp(Group* group, int more);
  // So many more of its leases count for its job, or fewer.
  static void Count(const Group& group, int more) { group.job_->held += more; }
  // Where a look at those that lack nothing single ended; at the end of all, kFirst.
  static void SetMixedAt(const Group& group, const Order& order) { group.job_->mixed_at = order; }
  void MixedEnded() {
    for (auto& [id, job] : jobs_) job.mixed_at = kFirst;
  }

  // In each job the priority that has been waiting longest, for `patience_ms` or longer, has a
  // turn. Returns in how many ms the next one has waited for that long; -1: nobody waits for a
  // turn.
  int64_t GiveTurns(int64_t now_ms, int64_t patience_ms);

  void Move(Group* group, StallKey to);
  // What no node could have may be possible now.
  void SortAnew();

  // The first group of a stall behind `after`, in fair order; nullptr: there is none. Not for
  // stalls of resources, nor for those of nodes and news, which are of all jobs.
  Group* After(const Job& job, const StallKey& stall, const Order& after) const;
  Group* AfterWithoutNode(const Order& after) const { return After(without_node_, after); }
  // The same in the stalls of a resource, of those that wait for at most so much, or for more.
  Group* FirstWithin(const Job& job, const FamilyKey& family, const Order& after,
                     int64_t limit) const;
  Group* FirstBeyond(const Job& job, const FamilyKey& family, const Order& after,
                     int64_t limit) const;
  // How much of the families' indexes was looked at for that, ever.
  uint64_t searched() const { return searched_; }
  const std::map<JobId, Job>& jobs() const { return jobs_; }
  const std::map<GroupKey, Group>& groups() const { return groups_; }
  std::map<GroupKey, Group>& groups() { return groups_; }  // to move, not to add or erase
  size_t size() const { return index_.size(); }
  void CheckInvariants() const;

 private:
  static GroupKey KeyOf(const LeaseRequest& request);
  static Group* After(const Stall& stall, const Order& after);
  void Join(Group* group, const LeaseRequest& request);
  static Order OrderOf(const Group& group);
  // It has a turn, or no more.
  void SetTurn(Level& level, bool has_turn);
  void Place(Group* group);
  void Unplace(Group* group);
  void DropEmpty(Group* group);

  std::map<GroupKey, Group> groups_;
  std::map<RequestKey, std::pair<Group*, uint64_t>> index_;
  std::map<JobId, Job> jobs_;
  Stall without_node_, without_news_;  // of all jobs
  uint64_t next_ = 1;
  mutable uint64_t searched_ = 0;
};

}  // namespace cyray::raylet
