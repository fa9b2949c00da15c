// GroupTable: the placement groups, and how their bundles come to be in place.
//
//   registered -> Try: nodes are asked to reserve -> all have: stored -> CommitBundles
//                      one dies or takes too long -> all give back, and it is tried again
//   a node dies: the bundles there are placed again, the others stay
//   removed, by its creator or with it: all nodes are told
// An attempt has a number that no other has, so what a node says of one that was given up is never
// taken for another. What is committed was stored before: a node's hello is put right against what
// is known here (Reconcile), whoever died or forgot meanwhile, so that no bundle leaks or is placed
// twice.
// Threading: confined to the GCS's state loop. Pure: it is told the time and numbers.

#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cyray/gcs/group_record.h"
#include "cyray/util/recent.h"
#include "cyray/util/status.h"

namespace cyray::gcs {

class GroupTable {
 public:
  // kAlreadyExists: the name is taken. The same group registered again: no actions.
  Result<GroupActions> Register(GroupSpec spec);
  void Restore(GroupRecord record);
  // One that is not known will not come to be.
  GroupActions Remove(const PlacementGroupId& id);

  // Its bundles without a seat are to be there.
  GroupActions Try(const PlacementGroupId& id, uint64_t attempt,
                   const std::map<uint32_t, NodeId>& seats, int64_t now_ms);
  GroupActions Reserved(const NodeId& node, const PlacementGroupId& id, uint64_t attempt);
  // The attempt is given up; who had not reserved is slow.
  GroupActions GiveUp(const PlacementGroupId& id);
  void SetWaits(const PlacementGroupId& id, std::string waits);

  GroupActions NodeDied(const NodeId& node);
  struct Here {
    PlacementGroupId group;
    uint64_t attempt;
    wire::BundlesState state;
  };
  // A raylet's stream is new: these are its bundles, and no others.
  GroupActions Reconcile(const NodeId& node, const std::vector<Here>& here);
  GroupActions JobFinished(const JobId& job);
  GroupActions ActorDied(const ActorId& actor);

  const GroupRecord* Find(const PlacementGroupId& id) const;
  const GroupRecord* FindByName(const std::string& ns, const std::string& name) const;
  const std::map<PlacementGroupId, GroupRecord>& groups() const { return groups_; }
  // The latest that were removed, as they were.
  const GroupRecord* FindRemoved(const PlacementGroupId& id) const { return removed_.Find(id); }
  const Recent<PlacementGroupId, GroupRecord>& removed() const { return removed_; }
  // Those that have bundles without a seat and no attempt, oldest first.
  std::vector<PlacementGroupId> Waiting() const;
  // Those with an attempt that goes on since then or before.
  std::vector<PlacementGroupId> TriedSince(int64_t ms) const;
  bool has_unplaced() const { return !unplaced_.empty(); }
  void CheckInvariants() const;

 private:
  static constexpr size_t kRemovedKept = 1000;  // for who asks what became of them
  using Name = std::pair<std::string, std::string>;

  GroupRecord* FindLiving(const PlacementGroupId& id);
  void Add(GroupRecord record);
  void Unseat(GroupRecord& record, const NodeId& node, GroupActions& actions);
  void EndAttempt(GroupRecord& record, GroupActions& actions);
  void Settle(GroupRecord& record, GroupActions& actions);
  // What the node has of the group, from one attempt.
  void ReconcileOne(GroupRecord& record, const NodeId& node, const Here& here,
                    GroupActions& actions);
  template <class Whose>
  GroupActions RemoveAll(Whose whose);

  std::map<PlacementGroupId, GroupRecord> groups_;
  std::map<Name, PlacementGroupId> names_;
  std::map<uint64_t, PlacementGroupId> unplaced_;  // by ticket: the oldest first
  std::map<PlacementGroupId, uint64_t> tickets_;   // of these
  uint64_t next_ticket_ = 1;
  Recent<PlacementGroupId, GroupRecord> removed_{kRemovedKept};
};

}  // namespace cyray::gcs
