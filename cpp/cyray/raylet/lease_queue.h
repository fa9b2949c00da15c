// LeaseQueue: the requests that wait for leases, in an order that lets a raylet look at few of
// them.
//
// Requests of one client and shape form a group, which is FIFO; actors of one job and shape form
// one, too. Groups are served in order of the leases they already hold (an actor's group counts
// none), then of age. A group stands in one stall, which says what was missing when it was last
// looked at: an amount of one resource, a worker for one use, a node that could ever have it. The
// stalls of one resource are a family, whose groups are found by order and amount (FairIndex): when
// a CPU is returned and 8,000 groups wait for one, each for another share of it, only the first
// that can be served is looked at.
// Threading: confined to its owner. Pure. Invariants: a group is here while it has requests or
// leases; it stands in exactly one stall while it has requests; each stall is in fair order.

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
    LabelChoice labels;
    ResourceSet demand;
    ResourceSet held;
    uint64_t claim;  // the attempt of a BundleClaim, 0: none
    auto operator<=>(const GroupKey&) const = default;
  };
  using Order = std::pair<int, uint64_t>;  // leases held, age
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
    int given_up = 0;  // of `held`, asked back

   private:
    friend class LeaseQueue;
    const GroupKey* key_ = nullptr;
    std::map<uint64_t, Waiting> waiting_;  // by age
    int held_ = 0;
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

  void Move(Group* group, StallKey to);
  // What no node could have may be possible now.
  void SortAnew();

  // The first group of a stall behind `after`, in fair order; nullptr: there is none. Not for
  // stalls of resources.
  Group* After(const StallKey& stall, const Order& after) const;
  // The same in the stalls of a resource, of those that wait for at most so much, or for more.
  Group* FirstWithin(const FamilyKey& family, const Order& after, int64_t limit) const;
  Group* FirstBeyond(const FamilyKey& family, const Order& after, int64_t limit) const;
  // How much of the families' indexes was looked at for that, ever.
  uint64_t searched() const { return searched_; }
  static constexpr Order kFirst{-1, 0};
  const std::map<FamilyKey, Family>& families() const { return families_; }
  const std::map<WorkerUse, Stall>& without_worker() const { return without_worker_; }
  const std::map<GroupKey, Group>& groups() const { return groups_; }
  std::map<GroupKey, Group>& groups() { return groups_; }  // to move, not to add or erase
  size_t size() const { return index_.size(); }
  void CheckInvariants() const;

 private:
  static GroupKey KeyOf(const LeaseRequest& request);
  const Stall* Find(const StallKey& key) const;
  void Place(Group* group);
  void Unplace(Group* group);
  void DropEmpty(Group* group);

  std::map<GroupKey, Group> groups_;
  std::map<RequestKey, std::pair<Group*, uint64_t>> index_;
  Stall unsorted_, mixed_, without_node_, without_news_;
  std::map<WorkerUse, Stall> without_worker_;
  std::map<FamilyKey, Family> families_;
  uint64_t next_ = 1;
  mutable uint64_t searched_ = 0;
};

}  // namespace cyray::raylet
