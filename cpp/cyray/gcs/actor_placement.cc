#include "cyray/gcs/actor_placement.h"

#include <algorithm>
#include <tuple>

namespace cyray::gcs {
namespace {

constexpr double kPackBelow = 0.5;

// The share in use of the scarcest resource, were `demand` taken from `available`.
double UseAfter(const ResourceSet& total, const ResourceSet& available, const ResourceSet& demand) {
  double use = 0;
  auto consider = [&](const std::string& name, int64_t more) {
    const auto all = static_cast<double>(total.Get(name));
    if (all > 0) use = std::max(use, 1 - static_cast<double>(available.Get(name) - more) / all);
  };
  for (const auto& [name, amount] : demand.amounts()) consider(name, amount);
  consider("CPU", demand.Get("CPU"));
  return use;
}

}  // namespace

ResourceSet ActorPlacement::AvailableOn(const NodeEntry& node) const {
  ResourceSet available = node.available;
  if (auto it = sent_.find(node.id); it != sent_.end()) available.Subtract(it->second);
  return available;
}

ActorPlacement::Choice ActorPlacement::Best(const ActorSpec& spec, const NodeTable& nodes,
                                            bool now) const {
  Choice choice;
  std::tuple<double, bool, double> best;
  for (const auto& [id, node] : nodes.nodes()) {
    if (!node.alive || !node.total.Covers(spec.placement)) continue;
    const ResourceSet available = AvailableOn(node);
    if (now && !available.Covers(spec.placement)) continue;
    const double use = UseAfter(node.total, available, spec.placement);
    const bool packs = spec.strategy != wire::SchedulingStrategy::Spread && use <= kPackBelow;
    const std::tuple<double, bool, double> score{packs ? 0 : use, id != spec.owner.node, use};
    if (choice.kind == Choice::Kind::kNode && score >= best) continue;
    best = score;
    choice = {Choice::Kind::kNode, id};
  }
  return choice;
}

ActorPlacement::Choice ActorPlacement::Choose(const ActorSpec& spec, const NodeTable& nodes) const {
  if (spec.strategy == wire::SchedulingStrategy::NodeAffinity) {
    const NodeEntry* node = nodes.Find(spec.affinity_node);
    const bool alive = node != nullptr && node->alive;
    if (alive && node->total.Covers(spec.placement)) return {Choice::Kind::kNode, node->id};
    if (!spec.affinity_soft) {
      if (alive) return {Choice::Kind::kWait};
      return {Choice::Kind::kNever,
              {},
              "The node " + spec.affinity_node.Hex() +
                  ", which its node affinity demands, is dead or does not exist."};
    }
  }
  Choice choice = Best(spec, nodes, /*now=*/true);
  return choice.kind == Choice::Kind::kNode ? choice : Best(spec, nodes, /*now=*/false);
}

void ActorPlacement::Sent(const ActorId& actor, const NodeId& node, const ResourceSet& demand) {
  Settled(actor);
  sending_[actor] = {node, demand};
  sent_[node].Add(demand);
}

void ActorPlacement::Settled(const ActorId& actor) {
  auto it = sending_.find(actor);
  if (it == sending_.end()) return;
  ResourceSet& sum = sent_[it->second.node];
  sum.Subtract(it->second.demand);
  if (sum.empty()) sent_.erase(it->second.node);
  sending_.erase(it);
}

}  // namespace cyray::gcs
