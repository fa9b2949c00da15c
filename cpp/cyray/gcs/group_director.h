// GroupDirector: carries out what the table of placement groups asks for: choosing nodes,
// commanding raylets, storing, telling who waits.
//
// Bundles go where there is room now; where there is none, to nodes that will have it when tasks
// and actors end, where they wait in line with them. An attempt that takes too long is given up:
// another choice may have come up, and two groups may hold what the other one lacks.
// Threading: confined to the GCS's state loop.
// It queues changes and effects (commit.h); whoever handles the event ends it.

#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "cyray/gcs/commit.h"
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
  // Nodes came, or have room that they had not.
  void PlaceWaiting();
  void OnReport(const NodeId& node);

  GroupTable& table() { return table_; }
  const GroupTable& table() const { return table_; }

 private:
  using Sum = std::map<NodeId, ResourceSet>;
  using Placement = std::map<uint32_t, NodeId>;  // by bundle

  bool Place(const PlacementGroupId& id);
  // Where the bundles without a seat go; nothing: there is no room. `later`: where there will be.
  Placement Choose(const GroupRecord& record, bool later) const;
  bool IsFeasible(const GroupRecord& record) const;
  bool MayBeAt(const GroupSpec& spec, size_t bundle, const NodeId& node) const;
  void Start(const GroupRecord& record, const Placement& placement);
  Sum Promised() const;
  Sum Seated() const;
  void SetWaits(const GroupRecord& record);
  void Prepare(const GroupAction& action);
  void SendGone(const PlacementGroupId& group, const NodeId& node);
  void Tick();
  void AnswerAsked();
  void ArmTick();

  Runtime* const runtime_;
  const NodeTable* const nodes_;
  NodeStreams* const streams_;
  Commit* const commit_;
  const Hooks hooks_;
  GroupTable table_;
  // What nodes were asked to reserve, until they have reported what is left, or gave it back.
  std::map<PlacementGroupId, Sum> promised_;
  std::set<PlacementGroupId> settled_;  // of these: reserved, but not reported of
  std::set<PlacementGroupId> warned_;
  struct Asked {
    int64_t since_ms;
    std::set<NodeId> nodes;
  };
  std::map<PlacementGroupId, Asked> asked_;  // that may come
  Timer tick_;
};

}  // namespace cyray::gcs
