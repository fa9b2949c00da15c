#include "cyray/gcs/placement_watch.h"

#include <utility>
#include <vector>

#include "cyray/common/infeasible.h"

namespace cyray::gcs {
namespace {

constexpr int64_t kLookEveryMs = 500;

}  // namespace

PlacementWatch::PlacementWatch(Runtime* runtime, const ActorTable* actors, const NodeTable* nodes,
                               Warn warn)
    : actors_(actors), nodes_(nodes), warn_(std::move(warn)), timer_(runtime) {}

void PlacementWatch::Nudge() {
  timer_.StartOnce(kLookEveryMs, [this] { Look(); });
}

void PlacementWatch::Look() {
  std::set<ActorId> waiting;
  for (const ActorId& id : actors_->waiting().All()) waiting.insert(id);
  std::erase_if(warned_, [&](const ActorId& id) { return !waiting.contains(id); });
  for (const ActorId& id : waiting) {
    if (!seen_.contains(id) || !warned_.insert(id).second) continue;
    const ActorRecord* record = actors_->Find(id);
    if (record == nullptr || GroupOf(record->spec.placement)) continue;  // its group is told of
    warn_(JobOf(id), TextOf(record->spec));
  }
  seen_ = std::move(waiting);
  if (!seen_.empty()) Nudge();
}

std::string PlacementWatch::TextOf(const ActorSpec& spec) const {
  const bool bound = spec.strategy == wire::SchedulingStrategy::NodeAffinity && !spec.affinity_soft;
  std::vector<ResourceSet> totals;
  for (const auto& [id, node] : nodes_->nodes()) {
    const bool may = (!bound || id == spec.affinity_node) && MatchesAny(spec.labels, node.labels);
    if (node.alive && may) totals.push_back(OutsideBundles(node.total));
  }
  std::string who = "An actor of class " + spec.class_name;
  if (!spec.labels.empty()) {
    who += " for nodes whose labels are " + ToString(spec.labels);
    if (totals.empty()) return who + " cannot be scheduled: no node matches them.";
  }
  return InfeasibleWarning(bound ? who + " that is bound to one node" : who, spec.placement,
                           totals);
}

std::map<ResourceSet, uint32_t> PlacementWatch::Pending() const {
  std::map<ResourceSet, uint32_t> pending;
  for (const ActorId& id : actors_->waiting().All()) {
    if (const ActorRecord* record = actors_->Find(id)) ++pending[record->spec.placement];
  }
  return pending;
}

}  // namespace cyray::gcs
