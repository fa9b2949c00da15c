#include "cyray/gcs/node_table.h"

#include <algorithm>

#include "cyray/util/log.h"

namespace cyray::gcs {

NodeTable::RegisterOutcome NodeTable::Register(NodeEntry entry, int64_t now_ms) {
  auto it = nodes_.find(entry.id);
  if (it != nodes_.end()) {
    const NodeEntry& known = it->second;
    if (entry.incarnation < known.incarnation) return RegisterOutcome::kStale;
    if (entry.incarnation == known.incarnation) {
      return known.alive ? RegisterOutcome::kRepeated : RegisterOutcome::kStale;
    }
    CYRAY_CHECK(!known.alive) << entry.id.Hex();
    std::erase(dead_, entry.id);
  }
  entry.alive = true;
  entry.stream = 0;
  entry.death_reason.clear();
  entry.deadline_ms = now_ms + timing_.first_stream_ms;
  const NodeId id = entry.id;
  nodes_[id] = std::move(entry);
  return RegisterOutcome::kAdded;
}

void NodeTable::Restore(NodeEntry entry, int64_t now_ms) {
  entry.stream = 0;
  entry.deadline_ms = now_ms + timing_.restored_ms;
  if (!entry.alive) dead_.push_back(entry.id);
  const NodeId id = entry.id;
  nodes_[id] = std::move(entry);
}

bool NodeTable::StreamUp(const NodeId& id, uint64_t incarnation, uint64_t stream, int64_t now_ms) {
  auto it = nodes_.find(id);
  if (it == nodes_.end() || !it->second.alive || it->second.incarnation != incarnation) {
    return false;
  }
  it->second.stream = stream;
  it->second.last_heard_ms = now_ms;
  return true;
}

void NodeTable::StreamDown(const NodeId& id, uint64_t stream, int64_t now_ms) {
  auto it = nodes_.find(id);
  if (it == nodes_.end() || it->second.stream != stream) return;
  it->second.stream = 0;
  it->second.deadline_ms = now_ms + timing_.reconnect_ms;
}

void NodeTable::Heard(const NodeId& id, int64_t now_ms) {
  if (auto it = nodes_.find(id); it != nodes_.end()) it->second.last_heard_ms = now_ms;
}

void NodeTable::SetResources(const NodeId& id, ResourceSet available, ResourceSet total) {
  auto it = nodes_.find(id);
  if (it == nodes_.end() || !it->second.alive) return;
  it->second.available = std::move(available);
  it->second.total = std::move(total);
}

void NodeTable::SetPending(const NodeId& id, std::map<ResourceSet, uint32_t> pending) {
  auto it = nodes_.find(id);
  if (it != nodes_.end() && it->second.alive) it->second.pending = std::move(pending);
}

bool NodeTable::Kill(const NodeId& id, const std::string& reason) {
  auto it = nodes_.find(id);
  if (it == nodes_.end() || !it->second.alive) return false;
  it->second.alive = false;
  it->second.stream = 0;
  it->second.death_reason = reason;
  dead_.push_back(id);
  return true;
}

std::vector<NodeTable::Expired> NodeTable::ExpiredAt(int64_t now_ms) const {
  std::vector<Expired> expired;
  for (const auto& [id, node] : nodes_) {
    if (!node.alive) continue;
    if (node.stream == 0 && now_ms >= node.deadline_ms) {
      expired.push_back({id, "Its raylet lost the connection to the GCS and did not come back."});
    } else if (node.stream != 0 && now_ms >= node.last_heard_ms + timing_.silence_ms) {
      expired.push_back({id, "Its raylet was not heard of for " +
                                 std::to_string(timing_.silence_ms / 1000) + " s."});
    }
  }
  return expired;
}

std::optional<int64_t> NodeTable::NextDeadline() const {
  std::optional<int64_t> next;
  for (const auto& [id, node] : nodes_) {
    if (!node.alive) continue;
    const int64_t due =
        node.stream == 0 ? node.deadline_ms : node.last_heard_ms + timing_.silence_ms;
    next = next ? std::min(*next, due) : due;
  }
  return next;
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
    CYRAY_CHECK(node.alive || node.stream == 0) << id.Hex();
    if (!node.alive) ++dead;
  }
  CYRAY_CHECK(dead == dead_.size()) << dead << " != " << dead_.size();
}

}  // namespace cyray::gcs
