// GroupDirector: carries out what the table of placement groups asks for: choosing nodes,
// commanding raylets, storing, telling who waits.
//
// Bundles go where there is room now; where there is none, to nodes that will have it when tasks
// and actors end, where they wait in line with them. An attempt that takes too long is given up
// when that helps: nodes that were slow are left out then if others can do without them, and two
// groups may hold what the other one lacks. One that merely waits in line keeps its place there.
// Threading: confined to the GCS's state loop.
// It queues changes and effects (commit.h); whoever handles the event ends it.

#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "cyray/gcs/commit.h"
#include "cyray/gcs/group_promises.h"
#include "cyray/gcs/group_table.h"
#include "cyray/gcs/node_streams.h"
#include "cyray/gcs/node_table.h"
#include "cyray/util/timer.h"
#include "cyray/wire/bytes.h"

namespace cyray::gcs {

class GroupDirector {
 public:
  struct Hooks {
    std::function<void(const PlacementGroupId&)>
        on_changed;  // in place, lost or gone; after it is stored
    std::function<void(const PlacementGroupId&)> on_gone;  // at once: what is in it ends
    std::function<void(const JobId&, const std::string& text)> warn;
    std::function<bool(const NodeId&)> is_suspect;  // alive, without a stream
    std::function<bool(const JobId&)> is_running;
  };
  GroupDirector(Runtime* runtime, const NodeTable* nodes, NodeStreams* streams, Commit* commit,
                Hooks hooks);

  Status Load(Storage& storage);
  // After Load of everything.
  void EndOnDeadNodes();

  // `request` is the payload that holds a RegisterGroupRequest.
  Result<PlacementGroupId> Register(const wire::Bytes& request);
  // Carries out what an event on table() gave back.
  void Apply(const GroupActions& actions);
  void OnHello(const NodeId& node, const wire::NodeHello& hello);
  void OnReserved(const NodeId& node, const wire::BundlesReserved& reserved);
  void OnAsk(const NodeId& node, const PlacementGroupId& group);
  // It is not known, and its registration may be on its way: calls overtake each other.
  bool MayCome(const PlacementGroupId& group) const;
  // Something is to run in it: when it may come and does not, it is said to be gone.
  void Await(const PlacementGroupId& group);
  // Nodes came.
  void PlaceWaiting();
  // What the node reported is known.
  void OnReport(const NodeId& node);
  // Some node has room that it had not: it is looked at soon, once for all that said so until then.
  void OnRoom();
  void NodeDied(const NodeId& node);

  GroupTable& table() { return table_; }
  const GroupTable& table() const { return table_; }

 private:
  using Sum = std::map<NodeId, ResourceSet>;
  using Placement = std::map<uint32_t, NodeId>;  // by bundle

  bool Place(const PlacementGroupId& id);
  Placement ChooseBest(const GroupRecord& record) const;
  // Where the bundles without a seat go; nothing: there is no room. `later`: where there will be.
  Placement Choose(const GroupRecord& record, bool later, const std::set<NodeId>& without) const;
  // Whether an attempt that takes long is in others' way, or has a better choice.
  bool IsBetterGivenUp(const GroupRecord& record) const;
  bool IsFeasible(const GroupRecord& record) const;
  bool MayBeAt(const GroupSpec& spec, size_t bundle, const NodeId& node) const;
  void Start(const GroupRecord& record, const Placement& placement);
  Sum Seated(const GroupRecord& without) const;
  void SetWaits(const GroupRecord& record);
  // A question about names of resources that are likely written wrong; or nothing.
  std::string Meant(const GroupSpec& spec) const;
  void Prepare(const GroupAction& action);
  void SendGone(const PlacementGroupId& group, const NodeId& node);
  void Tick();
  void AnswerAsked();
  // As its hello says, and what it will be asked for.
  void KeepPromises(const NodeId& node, const std::vector<GroupTable::Here>& here);
  void ArmTick();

  Runtime* const runtime_;
  const NodeTable* const nodes_;
  NodeStreams* const streams_;
  Commit* const commit_;
  const Hooks hooks_;
  GroupTable table_;
  GroupPromises promises_;
  std::set<PlacementGroupId> warned_;
  struct Asked {
    int64_t since_ms;
    std::set<NodeId> nodes;
  };
  std::map<PlacementGroupId, Asked> asked_;  // that may come
  int64_t looked_ms_ = 0;                    // when those that wait were looked at last
  Timer tick_;
  Timer look_;
};

}  // namespace cyray::gcs
