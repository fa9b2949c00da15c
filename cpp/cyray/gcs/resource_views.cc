#include "cyray/gcs/resource_views.h"

namespace cyray::gcs {

void ResourceViews::Changed(const NodeId& node, const Stamp& told) {
  Remove(node);
  entries_[node] = {++version_, told};
  by_version_[version_] = node;
}

void ResourceViews::Remove(const NodeId& node) {
  const auto it = entries_.find(node);
  if (it == entries_.end()) return;
  by_version_.erase(it->second.version);
  entries_.erase(it);
}

void ResourceViews::Open(uint64_t reader, const Stamp& told) {
  readers_[reader] = told.epoch == epoch_ ? Reader{told.version, {}} : Reader{0, told};
}

std::vector<NodeId> ResourceViews::LackedBy(const Reader& reader) const {
  std::vector<NodeId> nodes;
  for (auto it = by_version_.upper_bound(reader.version); it != by_version_.end(); ++it) {
    const Stamp& told = entries_.at(it->second).told;
    const bool knows = told.epoch != 0 && told.epoch == reader.before.epoch &&
                       told.version <= reader.before.version;
    if (!knows) nodes.push_back(it->second);
  }
  return nodes;
}

std::vector<ResourceViews::Batch> ResourceViews::Take() {
  std::map<Reader, Batch> batches;
  for (auto& [id, reader] : readers_) {
    if (reader.version >= version_) continue;
    const auto [batch, added] = batches.try_emplace(reader);
    if (added) batch->second.nodes = LackedBy(reader);
    batch->second.readers.push_back(id);
    reader.version = version_;
  }
  std::vector<Batch> taken;
  for (auto& [reader, batch] : batches) {
    if (!batch.nodes.empty()) taken.push_back(std::move(batch));
  }
  return taken;
}

}  // namespace cyray::gcs
