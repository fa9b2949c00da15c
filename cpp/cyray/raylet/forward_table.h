// ForwardTable: the lease requests that other nodes were asked for and have not answered.
//
// Found by the number they were sent with, by their request and by their client, so that a cancel
// or a death looks at none of the others. Threading: confined to its owner. Pure. Invariant: one
// entry for each number; the numbers grow, so the first entries were sent first.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "cyray/raylet/lease_request.h"

namespace cyray::raylet {

struct ForwardedLease {
  LeaseRequest request;
  NodeId node;
  int64_t sent_ms = 0;
  // The client does not want it any more, or it is to be placed anew when it comes back.
  enum class State : uint8_t { kWaits, kCancelled, kRecalled } state = State::kWaits;
};

class ForwardTable {
 public:
  using Map = std::map<uint64_t, ForwardedLease>;

  void Add(uint64_t id, ForwardedLease forward) {
    by_key_.emplace(forward.request.key, id);
    forwards_.emplace(id, std::move(forward));
  }
  ForwardedLease* Find(uint64_t id) {
    const auto it = forwards_.find(id);
    return it == forwards_.end() ? nullptr : &it->second;
  }
  std::optional<ForwardedLease> Take(uint64_t id) {
    const auto node = forwards_.extract(id);
    if (node.empty()) return std::nullopt;
    by_key_.erase({node.mapped().request.key, id});
    return std::move(node.mapped());
  }
  // By what the client calls it: more than one only when a client uses a number again.
  std::vector<uint64_t> OfRequest(const RequestKey& key) const {
    std::vector<uint64_t> ids;
    for (auto it = by_key_.lower_bound({key, 0}); it != by_key_.end() && it->first == key; ++it) {
      ids.push_back(it->second);
    }
    return ids;
  }
  std::vector<uint64_t> OfClient(const Address& client) const {
    std::vector<uint64_t> ids;
    for (auto it = by_key_.lower_bound({RequestKey{client, 0, {}}, 0});
         it != by_key_.end() && it->first.client == client; ++it) {
      ids.push_back(it->second);
    }
    return ids;
  }
  std::vector<uint64_t> OfNode(const NodeId& node) const {
    std::vector<uint64_t> ids;
    for (const auto& [id, forward] : forwards_) {
      if (forward.node == node) ids.push_back(id);
    }
    return ids;
  }
  const Map& all() const { return forwards_; }
  bool empty() const { return forwards_.empty(); }

 private:
  Map forwards_;
  std::set<std::pair<RequestKey, uint64_t>> by_key_;
};

}  // namespace cyray::raylet
