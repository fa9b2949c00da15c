// OutageWatch: tells those whose work may wait for it that a node is not reached, and when it is
// again.
//
// What was sent there waits as long as the GCS says that the node lives: without a word a program
// would seem to hang. Outages of less than kPatienceMs, and those that nobody waits for, pass
// without one, and so does what this raylet has missed itself, while it stood still.
// Threading: confined to its runtime's loop.

#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>

#include "cyray/raylet/peer_table.h"
#include "cyray/util/timer.h"

namespace cyray::raylet {

class OutageWatch {
 public:
  static constexpr int64_t kPatienceMs = 5'000;
  static constexpr int64_t kLookAgainMs = 1'000;
  // To those that may wait for `node`.
  using Warn = std::function<void(const NodeId& node, const std::string& text)>;
  OutageWatch(Runtime* runtime, PeerTable* peers, Warn warn);

 private:
  void OnOutage(const NodeId& node);
  void Look(const NodeId& node);

  Runtime* const runtime_;
  PeerTable* const peers_;
  const Warn warn_;
  std::unordered_map<NodeId, int64_t> told_;  // since when it is not reached, ms
  Timers<NodeId> patience_;
};

}  // namespace cyray::raylet
