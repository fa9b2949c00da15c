// ResourceViews: who has to be told what of the nodes' resources.
//
// Each change of a node's resources has a version, and a reader (a node's stream) has been told all
// up to one: what it lacks is found by version, so a change costs its readers one entry each, and a
// reader that comes back costs what changed meanwhile.
// Versions count within one life of the GCS, its epoch. After a restart readers say what they were
// told by the last one (a Stamp), and a node that reports what it reported before says with which
// stamp the others were told: who was told up to there or further is not told again.
// Threading: confined to the GCS's state loop. Pure.
// Invariant: every node that is known has one version, its latest.

#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

#include "cyray/common/ids.h"

namespace cyray::gcs {

struct ViewStamp {
  uint64_t epoch = 0;  // 0: none
  uint64_t version = 0;
  auto operator<=>(const ViewStamp&) const = default;
};

class ResourceViews {
 public:
  using Stamp = ViewStamp;

  explicit ResourceViews(uint64_t epoch) : epoch_(epoch) {}

  // The node's resources are others than before, as far as anybody knows; `told`: but who was told
  // up to that stamp knows them.
  void Changed(const NodeId& node, const Stamp& told = {});
  // Whether Changed() was ever told of it.
  bool Knows(const NodeId& node) const { return entries_.contains(node); }
  void Remove(const NodeId& node);

  // Has been told all up to `told`.
  void Open(uint64_t reader, const Stamp& told);
  void Close(uint64_t reader) { readers_.erase(reader); }

  // What some lack now, and who: they count as told. Those who lack the same are together.
  struct Batch {
    std::vector<NodeId> nodes;
    std::vector<uint64_t> readers;
  };
  std::vector<Batch> Take();
  // With which what is taken now is told.
  Stamp now() const { return {epoch_, version_}; }

 private:
  struct Entry {
    uint64_t version;
    Stamp told;
  };
  struct Reader {
    uint64_t version = 0;  // told all up to it in this epoch
    Stamp before;          // and by an earlier life
    auto operator<=>(const Reader&) const = default;
  };
  std::vector<NodeId> LackedBy(const Reader& reader) const;

  const uint64_t epoch_;
  uint64_t version_ = 0;
  std::unordered_map<NodeId, Entry> entries_;
  std::map<uint64_t, NodeId> by_version_;
  std::map<uint64_t, Reader> readers_;
};

}  // namespace cyray::gcs
