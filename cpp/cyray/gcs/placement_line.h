// PlacementLine: actors that wait for room, oldest first, and by what they ask for: when the oldest
// of a kind finds no room, none of its kind does, so nobody looks at the others.
// Threading: confined to the GCS's state loop. Pure.

#pragma once

#include <cstdint>
#include <map>
#include <queue>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/common/labels.h"
#include "cyray/common/resources.h"
#include "gcs_generated.h"

namespace cyray::gcs {

// What decides where an actor can be placed.
struct PlacementKind {
  ResourceSet demand;
  wire::SchedulingStrategy strategy = wire::SchedulingStrategy::Default;
  NodeId affinity_node;
  bool affinity_soft = false;
  LabelChoice labels;
  NodeId waits_at;  // a node that may get room for it; nil: none yet
  // Its affinity would bring it back to that node from any other.
  bool is_bound_to(const NodeId& node) const {
    return strategy == wire::SchedulingStrategy::NodeAffinity && affinity_node == node;
  }
  auto operator<=>(const PlacementKind&) const = default;
};

class PlacementLine {
 public:
  // At the end; it must not wait already.
  void Add(const ActorId& actor, const PlacementKind& kind) {
    const auto line = lines_.try_emplace(kind).first;
    line->second.emplace(next_ticket_, actor);
    places_[actor] = {next_ticket_++, line};
  }
  bool Remove(const ActorId& actor) {
    const auto it = places_.find(actor);
    if (it == places_.end()) return false;
    const auto [ticket, line] = it->second;
    line->second.erase(ticket);
    if (line->second.empty()) lines_.erase(line);
    places_.erase(it);
    return true;
  }
  bool Contains(const ActorId& actor) const { return places_.contains(actor); }
  size_t size() const { return places_.size(); }

  // visit(actor): oldest first, of the kinds that suit; false passes over the rest of its kind. The
  // visitor may remove the actor that it is given, and no other. Returns how many were visited.
  template <class Visitor>
  size_t Visit(Visitor visit) {
    return Visit(visit, [](const PlacementKind&) { return true; });
  }
  template <class Visitor, class Suits>
  size_t Visit(Visitor visit, Suits suits) {
    using Next = std::pair<uint64_t, PlacementKind>;
    std::priority_queue<Next, std::vector<Next>, std::greater<>> order;
    for (const auto& [kind, line] : lines_) {
      if (suits(kind)) order.emplace(line.begin()->first, kind);
    }
    size_t visited = 0;
    while (!order.empty()) {
      const auto [ticket, kind] = order.top();
      order.pop();
      ++visited;
      const ActorId actor = lines_.at(kind).at(ticket);  // what is listed may go
      if (!visit(actor)) continue;
      const auto line = lines_.find(kind);
      if (line == lines_.end()) continue;
      const auto next = line->second.upper_bound(ticket);
      if (next != line->second.end()) order.emplace(next->first, kind);
    }
    return visited;
  }
  // Oldest first.
  std::vector<ActorId> All() const {
    std::map<uint64_t, ActorId> all;
    for (const auto& [actor, place] : places_) all.emplace(place.ticket, actor);
    std::vector<ActorId> ids;
    for (const auto& [ticket, actor] : all) ids.push_back(actor);
    return ids;
  }

 private:
  using Lines = std::map<PlacementKind, std::map<uint64_t, ActorId>>;
  struct Place {
    uint64_t ticket;
    Lines::iterator line;
  };

  uint64_t next_ticket_ = 1;
  Lines lines_;
  std::unordered_map<ActorId, Place> places_;
};

}  // namespace cyray::gcs
