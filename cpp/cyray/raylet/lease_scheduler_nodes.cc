// What a LeaseScheduler knows of the other nodes, and where it lets a request run.

#include <algorithm>
#include <cstring>

#include "cyray/common/infeasible.h"
#include "cyray/raylet/lease_scheduler.h"
#include "cyray/sched/choose_node.h"

namespace cyray::raylet {
// --- Where a request should run ---------------------------------------------------------------

LeaseScheduler::Choice LeaseScheduler::Choose(const LeaseRequest& request, bool here_now) {
  const bool here_ever = resources_.HasEver(request.demand);
  if (request.for_actor || request.forwarded) return {here_ever ? Choice::kHere : Choice::kNever};
  if (request.strategy == Strategy::kNodeAffinity) {
    Choice choice = ChooseAffinity(request);
    if (choice.kind != Choice::kNever) return choice;  // kNever: a soft one, its node is of no use
  }
  if (!request.labels.empty()) return ChooseByLabels(request, here_now);
  if (views_.empty()) return {here_ever ? Choice::kHere : Choice::kNever};
  if (request.strategy == Strategy::kSpread) return ChooseSpread(request, here_now);
  if (const auto near = BestLocality(request)) return At(*near);
  auto node = ChoosePacked(request.demand, here_now, /*now=*/true);
  if (!node && here_ever) return {Choice::kHere};
  if (!node) node = ChoosePacked(request.demand, /*here=*/false, /*now=*/false);
  return node ? At(*node) : Choice{Choice::kNever};
}

// The first of its selectors by which there is a node with room, or else one that could ever have
// it.
LeaseScheduler::Choice LeaseScheduler::ChooseByLabels(const LeaseRequest& request, bool here_now) {
  const bool here_ever = resources_.HasEver(request.demand);
  for (const bool now : {true, false}) {
    for (const LabelSelector& selector : request.labels) {
      const bool here = (now ? here_now : here_ever) && Matches(selector, labels_);
      if (const auto node = ChooseLabelled(request, selector, here, now)) return At(*node);
    }
  }
  return {Choice::kNever};
}

std::optional<NodeId> LeaseScheduler::ChooseLabelled(const LeaseRequest& request,
                                                     const LabelSelector& selector, bool here,
                                                     bool now) {
  std::vector<sched::Place> places;
  std::vector<NodeId> ids;
  if (here) {
    places.push_back({&resources_.total(), &resources_.available(), /*preferred=*/true});
    ids.push_back(self_);
  }
  for (const auto& [node, view] : views_) {
    const bool has = now ? view.HasNow(request.demand) : view.HasEver(request.demand);
    if (!has || !Matches(selector, view.labels)) continue;
    places.push_back({&view.total, &view.left});
    ids.push_back(node);
  }
  const auto policy =
      request.strategy == Strategy::kSpread ? sched::Policy::kSpread : sched::Policy::kPack;
  const auto chosen = sched::ChooseNode(places, request.demand, policy, Random());
  return chosen ? std::optional(ids[*chosen]) : std::nullopt;
}

LeaseScheduler::Choice LeaseScheduler::At(const NodeId& node) const {
  return node == self_ ? Choice{Choice::kHere} : Choice{Choice::kThere, node};
}

LeaseScheduler::Choice LeaseScheduler::ChooseAffinity(const LeaseRequest& request) const {
  const NodeId& target = request.affinity_node;
  const bool here = target == self_;
  const auto view = views_.find(target);
  if (here || view != views_.end()) {
    const bool able =
        here ? resources_.HasEver(request.demand) : view->second.total.Covers(request.demand);
    const bool not_now = able && !here && view->second.avoided;
    if (not_now && !request.affinity_soft) return {Choice::kLater};
    if (able && !not_now) return {here ? Choice::kHere : Choice::kThere, target};
  }
  if (request.affinity_soft) return {Choice::kNever};
  const auto refused = [&](const std::string& why) -> Choice {
    return {Choice::kRefused, target,
            "The task is not schedulable: its node " + target.Hex() + " " + why + "."};
  };
  if (here || view != views_.end()) {
    return refused("can never have {" + request.demand.ToString() + "}");
  }
  if (dead_.Find(target) != nullptr) return refused("is dead");
  return {Choice::kUnknown, target, refused("is not one of the cluster's").error};
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

std::optional<NodeId> LeaseScheduler::ChoosePacked(const ResourceSet& demand, bool here, bool now) {
  std::vector<sched::Place> places;
  std::vector<NodeId> ids;
  if (here) {
    places.push_back({&resources_.total(), &resources_.available(), /*preferred=*/true});
    ids.push_back(self_);
    const double use = sched::UseAfter(resources_.total(), resources_.available(), demand);
    if (use <= sched::kPackBelow) return self_;  // no other node is asked for
  }
  for (const auto& it : TwoOf(demand, now)) {
    places.push_back({&it->second.total, &it->second.left});
    ids.push_back(it->first);
  }
  const auto chosen = sched::ChooseNode(places, demand, sched::Policy::kPack, Random());
  return chosen ? std::optional(ids[*chosen]) : std::nullopt;
}

std::vector<LeaseScheduler::Views::const_iterator> LeaseScheduler::TwoOf(const ResourceSet& demand,
                                                                         bool now) {
  std::vector<Views::const_iterator> found;
  if (views_.empty()) return found;
  const auto fits = [&](const auto& it) {
    return now ? it->second.HasNow(demand) : it->second.HasEver(demand);
  };
  const auto pick = [&]() -> Views::const_iterator {
    NodeId id;  // ids are random, so whoever follows a random one is, too
    for (size_t at = 0; at < NodeId::kSize; at += sizeof random_) {
      const uint64_t bits = Random();
      std::memcpy(id.bytes.data() + at, &bits, std::min(sizeof bits, NodeId::kSize - at));
    }
    const auto it = views_.lower_bound(id);
    return it == views_.end() ? views_.begin() : it;
  };
  const auto first = pick();
  const auto second = pick();
  if (fits(first)) found.push_back(first);
  if (second != first && fits(second)) found.push_back(second);
  for (auto it = first; found.empty() && it != views_.end(); ++it) {
    if (fits(it)) found.push_back(it);
  }
  for (auto it = views_.cbegin(); found.empty() && it != first; ++it) {
    if (fits(it)) found.push_back(it);
  }
  return found;
}

uint64_t LeaseScheduler::Random() {
  random_ = random_ * 6364136223846793005u + 1442695040888963407u;
  return random_ ^ (random_ >> 29);
}

bool LeaseScheduler::AnyHasNow(const ResourceSet& demand, const LabelChoice& labels) const {
  return std::any_of(views_.begin(), views_.end(), [&](const auto& item) {
    return item.second.HasNow(demand) && MatchesAny(labels, item.second.labels);
  });
}

LeaseScheduler::Choice LeaseScheduler::ChooseSpread(const LeaseRequest& request, bool here_now) {
  std::vector<sched::Place> places;
  std::vector<NodeId> ids;
  if (here_now) {
    places.push_back({&resources_.total(), &resources_.available()});
    ids.push_back(self_);
  }
  for (const auto& [node, view] : views_) {
    if (!view.HasNow(request.demand)) continue;
    places.push_back({&view.total, &view.left});
    ids.push_back(node);
  }
  const auto chosen = sched::ChooseNode(places, request.demand, sched::Policy::kSpread, Random());
  if (chosen) return At(ids[*chosen]);
  if (resources_.HasEver(request.demand)) return {Choice::kHere};
  const auto able = ChoosePacked(request.demand, /*here=*/false, /*now=*/false);
  return able ? At(*able) : Choice{Choice::kNever};
}

bool LeaseScheduler::IsFeasible(const LeaseRequest& request) const {
  if (resources_.HasEver(request.demand) && MatchesAny(request.labels, labels_)) return true;
  return std::any_of(views_.begin(), views_.end(), [&](const auto& item) {
    return item.second.total.Covers(request.demand) &&
           MatchesAny(request.labels, item.second.labels);
  });
}

std::string LeaseScheduler::InfeasibleText(const LeaseRequest& request) const {
  std::vector<ResourceSet> totals;
  if (MatchesAny(request.labels, labels_)) totals.push_back(OutsideBundles(resources_.total()));
  for (const auto& [node, view] : views_) {
    if (MatchesAny(request.labels, view.labels)) totals.push_back(OutsideBundles(view.total));
  }
  std::string who = request.for_actor ? "An actor" : "A task";
  if (!request.labels.empty()) {
    who += " for nodes whose labels are " + cyray::ToString(request.labels);
    if (totals.empty()) return who + " cannot be scheduled: no node matches them.";
  }
  return InfeasibleWarning(who, request.demand, totals);
}

// --- What is known of them --------------------------------------------------------------------

void LeaseScheduler::SetNodeView(const NodeId& node, ResourceSet total, ResourceSet available,
                                 uint64_t report) {
  if (node == self_) return;
  NodeView& view = views_[node];
  if (view.total != total) views_changed_ = true;
  view.total = std::move(total);
  view.report = report;
  view.left = view.available = std::move(available);
  view.left.Subtract(view.promised);
}

void LeaseScheduler::SetNodeLabels(const NodeId& node, Labels labels) {
  const auto view = views_.find(node);
  if (view == views_.end() || view->second.labels == labels) return;
  view->second.labels = std::move(labels);
  views_changed_ = true;
}

void LeaseScheduler::RemoveNodeView(const NodeId& node) {
  if (dead_.Add(node, {}, 0)) views_changed_ = true;  // who waits for news of it has them
  views_.erase(node);
}

void LeaseScheduler::SetAvoided(const NodeId& node, bool avoided) {
  const auto view = views_.find(node);
  if (view == views_.end()) return;
  view->second.avoided = avoided;
  views_changed_ = true;
}

void LeaseScheduler::NodeView::Promise(const ResourceSet& demand) {
  promised.Add(demand);
  left.Subtract(demand);
}

void LeaseScheduler::NodeView::Keep(const ResourceSet& demand) {
  promised.Subtract(demand);
  available.Subtract(demand);
}

void LeaseScheduler::NodeView::Withdraw(const ResourceSet& demand) {
  promised.Subtract(demand);
  left.Add(demand);
}

void LeaseScheduler::ForwardGranted(const NodeId& node, const ResourceSet& demand,
                                    uint64_t report) {
  const auto it = views_.find(node);
  if (it == views_.end()) return;
  if (it->second.report < report) {
    it->second.Keep(demand);  // until that report
  } else {
    it->second.Withdraw(demand);  // which was faster than the answer, and has counted it
  }
}

void LeaseScheduler::ForwardOver(const NodeId& node, const ResourceSet& demand) {
  const auto it = views_.find(node);
  if (it != views_.end()) it->second.Withdraw(demand);
}

bool LeaseScheduler::IsMisplaced(const LeaseRequest& request, const NodeId& node) const {
  if (request.strategy == Strategy::kNodeAffinity) return false;
  const auto it = views_.find(node);
  if (it != views_.end() && !it->second.avoided) {
    const NodeView& view = it->second;
    const auto& amounts = request.demand.amounts();  // which are its own among what is promised
    const bool has_room = std::all_of(amounts.begin(), amounts.end(), [&](const auto& amount) {
      return amount.second <= 0 || view.left.Get(amount.first) >= 0;
    });
    if (has_room) return false;
  }
  return (resources_.HasNow(request.demand) && MatchesAny(request.labels, labels_)) ||
         AnyHasNow(request.demand, request.labels);
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
