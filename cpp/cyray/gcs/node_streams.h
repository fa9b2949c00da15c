// NodeStreams: which node's stream is which, who watches which actor, and sending to them.
//
// Threading: confined to the GCS's state loop. It knows no gRPC: bytes leave through a function.
// Invariant: a node has at most one stream; watches end with their stream.

#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>

#include "cyray/common/ids.h"
#include "cyray/wire/bytes.h"

namespace cyray::gcs {

class NodeStreams {
 public:
  using SendFunction = std::function<void(uint64_t stream, const wire::Bytes& message)>;
  explicit NodeStreams(SendFunction send) : send_(std::move(send)) {}

  // Returns the stream that it replaces.
  std::optional<uint64_t> Bind(const NodeId& node, uint64_t stream) {
    std::optional<uint64_t> replaced = StreamOf(node);
    if (replaced) Unbind(*replaced);
    streams_[node] = stream;
    nodes_[stream] = node;
    return replaced;
  }
  // Returns the node that it belonged to.
  std::optional<NodeId> Unbind(uint64_t stream) {
    auto it = nodes_.find(stream);
    if (it == nodes_.end()) return std::nullopt;
    const NodeId node = it->second;
    nodes_.erase(it);
    streams_.erase(node);
    std::erase_if(watches_, [&](const auto& watch) { return watch.second == stream; });
    return node;
  }

  std::optional<NodeId> NodeOf(uint64_t stream) const {
    auto it = nodes_.find(stream);
    return it == nodes_.end() ? std::nullopt : std::optional(it->second);
  }
  std::optional<uint64_t> StreamOf(const NodeId& node) const {
    auto it = streams_.find(node);
    return it == streams_.end() ? std::nullopt : std::optional(it->second);
  }

  void Send(const NodeId& node, const wire::Bytes& command) const {
    if (auto it = streams_.find(node); it != streams_.end()) send_(it->second, command);
  }
  void Broadcast(const wire::Bytes& command, const NodeId& except = {}) const {
    for (const auto& [node, stream] : streams_) {
      if (node != except) send_(stream, command);
    }
  }
  size_t size() const { return streams_.size(); }

  void Watch(uint64_t stream, const ActorId& actor) { watches_.emplace(actor, stream); }
  void Unwatch(uint64_t stream, const ActorId& actor) { watches_.erase({actor, stream}); }
  bool IsWatched(const ActorId& actor) const {
    auto it = watches_.lower_bound({actor, 0});
    return it != watches_.end() && it->first == actor;
  }
  void SendToWatchers(const ActorId& actor, const wire::Bytes& command) const {
    for (auto it = watches_.lower_bound({actor, 0}); it != watches_.end() && it->first == actor;
         ++it) {
      send_(it->second, command);
    }
  }

 private:
  const SendFunction send_;
  std::map<NodeId, uint64_t> streams_;
  std::unordered_map<uint64_t, NodeId> nodes_;
  std::set<std::pair<ActorId, uint64_t>> watches_;
};

}  // namespace cyray::gcs
