// What a LeaseScheduler knows of the other nodes, and where it lets a request run.

#include <algorithm>
#include <cstring>

#include "cyray/common/infeasible.h"
#include "cyray/raylet/lease_scheduler.h"

namespace cyray::raylet {
namespace {

// Up to this share of use, a node keeps its own tasks.
constexpr double kSpreadThreshold = 0.5;

}  // namespace

// --- Where a request should run ---------------------------------------------------------------

LeaseScheduler::Choice LeaseScheduler::Choose(const LeaseRequest& request, bool here_now) {
  const bool here_ever = resources_.HasEver(request.demand);
  if (request.for_actor || request.forwarded) return {here_ever ? Choice::kHere : Choice::kNever};
  if (request.strategy == Strategy::kNodeAffinity) {
    Choice choice = ChooseAffinity(request);
    if (choice.kind != Choice::kNever) return choice;  // kNever: a soft one, its node is of no use
  }
  if (views_.empty()) return {here_ever ? Choice::kHere : Choice::kNever};
  if (request.strategy == Strategy::kSpread) return ChooseSpread(request, here_now);
  if (const auto near = BestLocality(request)) {
    return *near == self_ ? Choice{Choice::kHere} : Choice{Choice::kThere, *near};
  }
  if (here_now && resources_.UseWith(request.demand) <= kSpreadThreshold) return {Choice::kHere};
  if (const auto free = NodeWith(request.demand, /*now=*/true)) return {Choice::kThere, *free};
  if (here_ever) return {Choice::kHere};
  if (const auto able = NodeWith(request.demand, /*now=*/false)) return {Choice::kThere, *able};
  return {Choice::kNever};
}

LeaseScheduler::Choice LeaseScheduler::ChooseAffinity(const LeaseRequest& request) const {
  const NodeId& target = request.affinity_node;
  const bool here = target == self_;
  const auto view = views_.find(target);
  if (here || view != views_.end()) {
    const bool able =
        here ? resources_.HasEver(request.demand) : view->second.total.Covers(request.demand);
    if (able && !here && view->second.avoided) return {Choice::kLater};
    if (able) return {here ? Choice::kHere : Choice::kThere, target};
  }
  if (request.affinity_soft) return {Choice::kNever};
  const std::string why = here || view != views_.end()
                              ? "can never have {" + request.demand.ToString() + "}"
                              : "is dead or unknown";
  return {Choice::kRefused, target,
          "The task is not schedulable: its node " + target.Hex() + " " + why + "."};
}

std::optional<NodeId> LeaseScheduler::BestLocality(const LeaseRequest& request) const {
  std::optional<NodeId> best;
  uint64_t best_bytes = 0;
  for (const auto& [node, bytes] : request.locality) {
    if (bytes <= best_bytes) continue;
    const auto view = views_.find(node);
    const bool has = node == self_ ? resources_.HasNow(request.demand)
                                   : view != views_.end() && view->second.HasNow(request.demand);
    if (!has) continue;
    best = node;
    best_bytes = bytes;
  }
  return best;
}

std::optional<NodeId> LeaseScheduler::NodeWith(const ResourceSet& demand, bool now) {
  if (views_.empty()) return std::nullopt;
  const auto fits = [&](const NodeView& view) {
    return now ? view.HasNow(demand) : !view.avoided && view.total.Covers(demand);
  };
  const auto pick = [&] {  // ids are random, so whoever follows a random one is, too
    NodeId id;
    for (size_t at = 0; at < NodeId::kSize; at += sizeof random_) {
      random_ = random_ * 6364136223846793005u + 1442695040888963407u;
      const uint64_t bits = random_ ^ (random_ >> 29);
      std::memcpy(id.bytes.data() + at, &bits, std::min(sizeof bits, NodeId::kSize - at));
    }
    const auto it = views_.lower_bound(id);
    return it == views_.end() ? views_.begin() : it;
  };
  const auto first = pick();
  const auto second = pick();
  if (fits(first->second) && fits(second->second)) {
    const bool less = second->second.UseWith(demand) < first->second.UseWith(demand);
    return (less ? second : first)->first;
  }
  if (fits(second->second)) return second->first;
  for (auto it = first; it != views_.end(); ++it) {
    if (fits(it->second)) return it->first;
  }
  for (auto it = views_.begin(); it != first; ++it) {
    if (fits(it->second)) return it->first;
  }
  return std::nullopt;
}

bool LeaseScheduler::AnyHasNow(const ResourceSet& demand) const {
  return std::any_of(views_.begin(), views_.end(),
                     [&](const auto& item) { return item.second.HasNow(demand); });
}

LeaseScheduler::Choice LeaseScheduler::ChooseSpread(const LeaseRequest& request, bool here_now) {
  std::vector<NodeId> able;
  if (here_now) able.push_back(self_);
  for (const auto& [node, view] : views_) {
    if (view.HasNow(request.demand)) able.push_back(node);
  }
  if (able.empty()) {
    if (resources_.HasEver(request.demand)) return {Choice::kHere};
    if (const auto node = NodeWith(request.demand, false)) return {Choice::kThere, *node};
    return {Choice::kNever};
  }
  std::sort(able.begin(), able.end());
  const NodeId node = able[spread_turn_++ % able.size()];
  return node == self_ ? Choice{Choice::kHere} : Choice{Choice::kThere, node};
}

bool LeaseScheduler::IsFeasible(const ResourceSet& demand) const {
  return resources_.HasEver(demand) ||
         std::any_of(views_.begin(), views_.end(),
                     [&](const auto& item) { return item.second.total.Covers(demand); });
}

std::string LeaseScheduler::InfeasibleText(const LeaseRequest& request) const {
  std::vector<ResourceSet> totals{resources_.total()};
  for (const auto& [node, view] : views_) totals.push_back(view.total);
  return InfeasibleWarning(request.for_actor ? "An actor" : "A task", request.demand, totals);
}

// --- What is known of them --------------------------------------------------------------------

void LeaseScheduler::SetNodeView(const NodeId& node, ResourceSet total, ResourceSet available) {
  if (node == self_) return;
  NodeView& view = views_[node];
  if (view.total != total) views_changed_ = true;
  view.total = std::move(total);
  view.available = std::move(available);
}

void LeaseScheduler::RemoveNodeView(const NodeId& node) {
  if (views_.erase(node) > 0) views_changed_ = true;
}

void LeaseScheduler::SetAvoided(const NodeId& node, bool avoided) {
  const auto view = views_.find(node);
  if (view == views_.end()) return;
  view->second.avoided = avoided;
  views_changed_ = true;
}

bool LeaseScheduler::NodeView::HasNow(const ResourceSet& demand) const {
  if (avoided || !available.Covers(demand)) return false;
  if (promised.empty()) return true;
  ResourceSet left = available;
  left.Subtract(promised);
  return left.Covers(demand);
}

double LeaseScheduler::NodeView::UseWith(const ResourceSet& demand) const {
  double use = 0;
  for (const auto& [name, amount] : demand.amounts()) {
    const auto whole = static_cast<double>(total.Get(name));
    if (amount <= 0 || whole <= 0) continue;
    const int64_t left = available.Get(name) - promised.Get(name) - amount;
    use = std::max(use, 1 - static_cast<double>(left) / whole);
  }
  return use;
}

void LeaseScheduler::ForwardAnswered(const NodeId& node, const ResourceSet& demand, bool granted) {
  const auto it = views_.find(node);
  if (it == views_.end()) return;
  it->second.promised.Subtract(demand);
  if (granted) it->second.available.Subtract(demand);  // until its next report
}

bool LeaseScheduler::IsMisplaced(const LeaseRequest& request, const NodeId& node) const {
  if (request.strategy == Strategy::kNodeAffinity) return false;
  if (const auto it = views_.find(node); it != views_.end()) {
    NodeView view = it->second;
    view.promised.Subtract(request.demand);  // its own
    if (view.HasNow(request.demand)) return false;
  }
  return resources_.HasNow(request.demand) || AnyHasNow(request.demand);
}

ResourceSet LeaseScheduler::ClusterTotal() const {
  ResourceSet sum = resources_.total();
  for (const auto& [node, view] : views_) sum.Add(view.total);
  return sum;
}

ResourceSet LeaseScheduler::ClusterAvailable() const {
  ResourceSet sum = resources_.available();
  for (const auto& [node, view] : views_) sum.Add(view.available);
  return sum;
}

}  // namespace cyray::raylet
