#include "cyray/gcs/actor_placement.h"

#include <vector>

#include "cyray/sched/choose_node.h"

namespace cyray::gcs {

ResourceSet ActorPlacement::AvailableOn(const NodeEntry& node) const {
  ResourceSet available = node.available;
  if (auto it = sent_.find(node.id); it != sent_.end()) available.Subtract(it->second);
  return available;
}

ActorPlacement::Choice ActorPlacement::Best(const ActorSpec& spec, const NodeTable& nodes,
                                            const Suspects& suspects, uint64_t random,
                                            const Wanted& wanted) const {
  std::vector<NodeId> ids;
  std::vector<ResourceSet> available;
  std::vector<sched::Place> places;
  available.reserve(nodes.nodes().size());  // places point into it
  for (const auto& [id, node] : nodes.nodes()) {
    if (!node.alive || !node.total.Covers(spec.placement)) continue;
    if (!Matches(*wanted.selector, node.labels)) continue;
    ResourceSet free = AvailableOn(node);
    const bool may_have_room = free.Covers(spec.placement) && !node.awaits_report;
    if (wanted.now && (!may_have_room || suspects(id))) continue;
    ids.push_back(id);
    available.push_back(std::move(free));
    places.push_back({&node.total, &available.back(), id == spec.owner.node});
  }
  const sched::Policy policy = spec.strategy == wire::SchedulingStrategy::Spread
                                   ? sched::Policy::kSpread
                                   : sched::Policy::kPack;
  const std::optional<size_t> best = sched::ChooseNode(places, spec.placement, policy, random);
  if (!best) return {};
  return {Choice::Kind::kNode, ids[*best], /*later=*/!wanted.now};
}

ActorPlacement::Choice ActorPlacement::Choose(const ActorSpec& spec, const NodeTable& nodes,
                                              const Suspects& suspects, uint64_t random) const {
  if (spec.strategy == wire::SchedulingStrategy::NodeAffinity) {
    const NodeEntry* node = nodes.Find(spec.affinity_node);
    const bool alive = node != nullptr && node->alive;
    if (alive && node->total.Covers(spec.placement)) return {Choice::Kind::kNode, node->id, false};
    if (!spec.affinity_soft) {
      if (alive) return {Choice::Kind::kWait};
      return {Choice::Kind::kNever,
              {},
              false,
              "The node " + spec.affinity_node.Hex() +
                  ", which its node affinity demands, is dead or does not exist."};
    }
  }
  static const LabelChoice kAny{{}};
  const LabelChoice& selectors = spec.labels.empty() ? kAny : spec.labels;
  for (const bool now : {true, false}) {
    for (const LabelSelector& selector : selectors) {
      Choice choice = Best(spec, nodes, suspects, random, {now, &selector});
      if (choice.kind == Choice::Kind::kNode) return choice;
    }
  }
  return {};
}

void ActorPlacement::Sent(const ActorId& actor, const NodeId& node, PlacementKind kind,
                          bool later) {
  Settled(actor);
  Count(actor, node, kind.demand);
  if (later) Waits(actor, node, std::move(kind));
}

bool ActorPlacement::Waits(const ActorId& actor, const NodeId& node, PlacementKind kind) {
  if (!IsSentTo(actor, node) || queued_.Contains(actor) || kind.is_bound_to(node)) return false;
  kind.waits_at = node;
  queued_.Add(actor, kind);
  return true;
}

void ActorPlacement::Count(const ActorId& actor, const NodeId& node, const ResourceSet& demand) {
  sending_[actor] = {node, demand};
  sent_[node].Add(demand);
}

void ActorPlacement::Settled(const ActorId& actor) {
  queued_.Remove(actor);
  auto it = sending_.find(actor);
  if (it == sending_.end()) return;
  ResourceSet& sum = sent_[it->second.node];
  sum.Subtract(it->second.demand);
  if (sum.empty()) sent_.erase(it->second.node);
  sending_.erase(it);
}

std::vector<ActorPlacement::Recall> ActorPlacement::RecallFor(const NodeEntry& node,
                                                              size_t* looked_at) {
  std::vector<Recall> recalls;
  ResourceSet free = AvailableOn(node);
  const auto suits = [&](const PlacementKind& kind) {
    return kind.waits_at != node.id && free.Covers(kind.demand) &&
           MatchesAny(kind.labels, node.labels);
  };
  const auto recall = [&](const ActorId& actor) {
    const auto [from, demand] = sending_.at(actor);
    if (!free.Covers(demand)) return false;
    recalls.push_back({actor, from});
    Settled(actor);
    Count(actor, node.id, demand);
    free.Subtract(demand);
    return true;
  };
  const size_t looked = queued_.Visit(recall, suits);
  if (looked_at != nullptr) *looked_at = looked;
  return recalls;
}

}  // namespace cyray::gcs
