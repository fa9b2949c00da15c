// NodeStreams: which node's stream is which, who watches which actor, and sending to them.
//
// What it sends is an effect: it leaves when what it rests on is durable (commit.h), on the stream
// that the node had when it was sent.
// Threading: confined to the GCS's state loop. It knows no gRPC: bytes leave through a function.
// Invariant: a node has at most one stream; watches end with their stream.

#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/gcs/commit.h"
#include "cyray/wire/bytes.h"

namespace cyray::gcs {

class NodeStreams {
 public:
  using SendFunction = std::function<void(uint64_t stream, const wire::Bytes& message)>;
  NodeStreams(Commit* commit, SendFunction send) : commit_(commit), send_(std::move(send)) {}

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
    for (const ActorId& actor : watched_by_[stream]) watches_.erase({actor, stream});
    watched_by_.erase(stream);
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

  // `unless`: asked when the command could leave; true drops it.
  void Send(const NodeId& node, wire::Bytes command, std::function<bool()> unless = nullptr) {
    auto it = streams_.find(node);
    if (it == streams_.end()) return;
    commit_->Leave(
        [this, stream = it->second, command = std::move(command), unless = std::move(unless)] {
          if (unless == nullptr || !unless()) send_(stream, command);
        });
  }
  void SendTo(uint64_t stream, wire::Bytes command) {
    commit_->Leave([this, stream, command = std::move(command)] { send_(stream, command); });
  }
  void Broadcast(wire::Bytes command, const NodeId& except = {}) {
    std::vector<uint64_t> to;
    for (const auto& [node, stream] : streams_) {
      if (node != except) to.push_back(stream);
    }
    SendToAll(std::move(to), std::move(command));
  }
  size_t size() const { return streams_.size(); }

  // Of a stream that is bound.
  void Watch(uint64_t stream, const ActorId& actor) {
    watches_.emplace(actor, stream);
    watched_by_[stream].insert(actor);
  }
  void Unwatch(uint64_t stream, const ActorId& actor) {
    watches_.erase({actor, stream});
    if (auto it = watched_by_.find(stream); it != watched_by_.end()) it->second.erase(actor);
  }
  bool IsWatched(const ActorId& actor) const {
    auto it = watches_.lower_bound({actor, 0});
    return it != watches_.end() && it->first == actor;
  }
  void SendToWatchers(const ActorId& actor, wire::Bytes command) {
    std::vector<uint64_t> to;
    for (auto it = watches_.lower_bound({actor, 0}); it != watches_.end() && it->first == actor;
         ++it) {
      to.push_back(it->second);
    }
    SendToAll(std::move(to), std::move(command));
  }

 private:
  void SendToAll(std::vector<uint64_t> to, wire::Bytes command) {
    if (to.empty()) return;
    commit_->Leave([this, to = std::move(to), command = std::move(command)] {
      for (uint64_t stream : to) send_(stream, command);
    });
  }

  Commit* const commit_;
  const SendFunction send_;
  std::map<NodeId, uint64_t> streams_;
  std::unordered_map<uint64_t, NodeId> nodes_;
  std::set<std::pair<ActorId, uint64_t>> watches_;
  std::unordered_map<uint64_t, std::unordered_set<ActorId>> watched_by_;
};

}  // namespace cyray::gcs
