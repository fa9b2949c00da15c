#include "cyray/gcs/node_table.h"

#include <algorithm>

#include "cyray/util/log.h"

namespace cyray::gcs {

NodeTable::RegisterOutcome NodeTable::Register(NodeEntry entry) {
  if (const NodeEntry* known = Find(entry.id)) {
    return known->alive ? RegisterOutcome::kRepeated : RegisterOutcome::kDead;
  }
  entry.alive = true;
  entry.death_reason.clear();
  const NodeId id = entry.id;
  nodes_[id] = std::move(entry);
  return RegisterOutcome::kAdded;
}

void NodeTable::Restore(NodeEntry entry) {
  if (!entry.alive) dead_.push_back(entry.id);
  entry.awaits_report = entry.alive;
  const NodeId id = entry.id;
  nodes_[id] = std::move(entry);
}

NodeTable::Reported NodeTable::SetResources(const NodeId& id, ResourceSet available,
                                            ResourceSet total, uint64_t report_number) {
  auto it = nodes_.find(id);
  if (it == nodes_.end() || !it->second.alive) return {};
  NodeEntry& node = it->second;
  const bool total_grew = !node.total.Covers(total);
  const Reported reported{
      .changed =
          node.available != available || node.total != total || node.report_number != report_number,
      .grew = node.awaits_report || !node.available.Covers(available) || total_grew,
      .total_grew = total_grew};
  node.available = std::move(available);
  node.awaits_report = false;
  node.total = std::move(total);
  node.report_number = report_number;
  return reported;
}

void NodeTable::SetPending(const NodeId& id, std::map<ResourceSet, uint32_t> pending) {
  auto it = nodes_.find(id);
  if (it != nodes_.end() && it->second.alive) it->second.pending = std::move(pending);
}

bool NodeTable::Kill(const NodeId& id, const std::string& reason) {
  auto it = nodes_.find(id);
  if (it == nodes_.end() || !it->second.alive) return false;
  it->second.alive = false;
  it->second.death_reason = reason;
  dead_.push_back(id);
  return true;
}

const NodeEntry* NodeTable::Find(const NodeId& id) const {
  auto it = nodes_.find(id);
  return it == nodes_.end() ? nullptr : &it->second;
}

bool NodeTable::IsAlive(const NodeId& id) const {
  const NodeEntry* node = Find(id);
  return node != nullptr && node->alive;
}

ResourceSet NodeTable::Total() const {
  ResourceSet sum;
  for (const auto& [id, node] : nodes_) {
    if (node.alive) sum.Add(node.total);
  }
  return sum;
}

ResourceSet NodeTable::Available() const {
  ResourceSet sum;
  for (const auto& [id, node] : nodes_) {
    if (node.alive) sum.Add(node.available);
  }
  return sum;
}

std::vector<NodeId> NodeTable::Trim(size_t dead_kept) {
  std::vector<NodeId> forgotten;
  while (dead_.size() > dead_kept) {
    forgotten.push_back(dead_.front());
    nodes_.erase(dead_.front());
    dead_.erase(dead_.begin());
  }
  return forgotten;
}

void NodeTable::CheckInvariants() const {
  size_t dead = 0;
  for (const auto& [id, node] : nodes_) {
    CYRAY_CHECK(node.id == id) << id.Hex();
    if (!node.alive) ++dead;
  }
  CYRAY_CHECK(dead == dead_.size()) << dead << " != " << dead_.size();
}

}  // namespace cyray::gcs
