// GroupPromises: what nodes were asked to reserve for placement groups and have not reported of.
//
// What a node reported last does not show what it was asked for since. A promise ends when the node
// reports after it has reserved, gives the bundles back, or dies. Threading: values, confined to
// the GCS's state loop.

#pragma once

#include <map>
#include <utility>

#include "cyray/common/ids.h"
#include "cyray/common/resources.h"

namespace cyray::gcs {

class GroupPromises {
 public:
  void Add(const NodeId& node, const PlacementGroupId& group, uint64_t attempt,
           const ResourceSet& bundle) {
    nodes_[node][{group, attempt}].resources.Add(bundle);
  }
  // Its next report counts them.
  void Reserved(const NodeId& node, const PlacementGroupId& group, uint64_t attempt) {
    const auto of_node = nodes_.find(node);
    if (of_node == nodes_.end()) return;
    const auto it = of_node->second.find({group, attempt});
    if (it != of_node->second.end()) it->second.reserved = true;
  }
  void OnReport(const NodeId& node) {
    const auto of_node = nodes_.find(node);
    if (of_node == nodes_.end()) return;
    std::erase_if(of_node->second, [](const auto& item) { return item.second.reserved; });
    if (of_node->second.empty()) nodes_.erase(of_node);
  }
  void GivenBack(const NodeId& node, const PlacementGroupId& group, uint64_t attempt) {
    const auto of_node = nodes_.find(node);
    if (of_node == nodes_.end()) return;
    of_node->second.erase({group, attempt});
    if (of_node->second.empty()) nodes_.erase(of_node);
  }
  void Gone(const PlacementGroupId& group) {
    for (auto& [node, promises] : nodes_) {
      std::erase_if(promises, [&](const auto& item) { return item.first.first == group; });
    }
    std::erase_if(nodes_, [](const auto& item) { return item.second.empty(); });
  }
  void Clear(const NodeId& node) { nodes_.erase(node); }

  // All but those of that attempt.
  void SubtractFrom(ResourceSet& available, const NodeId& node, const PlacementGroupId& group = {},
                    uint64_t attempt = 0) const {
    const auto of_node = nodes_.find(node);
    if (of_node == nodes_.end()) return;
    for (const auto& [key, promise] : of_node->second) {
      if (key != Key{group, attempt}) available.Subtract(promise.resources);
    }
  }

 private:
  struct Promise {
    ResourceSet resources;
    bool reserved = false;
  };
  using Key = std::pair<PlacementGroupId, uint64_t>;  // group, attempt
  std::map<NodeId, std::map<Key, Promise>> nodes_;
};

}  // namespace cyray::gcs
