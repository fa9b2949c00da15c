// PlacementWatch: looks after the actors that no node can take, and has their drivers told once.
//
// An actor that waits for placement at all waits for a node that is not there: one whose node is
// merely busy waits at its raylet. Who has waited from one look to the next, half a second later,
// is told of: within a second. Again if it has to wait anew.
// Threading: confined to the GCS's state loop.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "cyray/gcs/actor_table.h"
#include "cyray/gcs/node_table.h"
#include "cyray/util/timer.h"

namespace cyray::gcs {

class PlacementWatch {
 public:
  using Warn = std::function<void(const JobId&, const std::string& text)>;
  PlacementWatch(Runtime* runtime, const ActorTable* actors, const NodeTable* nodes, Warn warn);

  // Some actor waits for placement.
  void Nudge();
  // How many wait for what.
  std::map<ResourceSet, uint32_t> Pending() const;

 private:
  void Look();
  std::string TextOf(const ActorSpec& spec) const;

  const ActorTable* const actors_;
  const NodeTable* const nodes_;
  const Warn warn_;
  std::set<ActorId> seen_;    // waited at the last look
  std::set<ActorId> warned_;  // and were told of; a part of seen_
  Timer timer_;
};

}  // namespace cyray::gcs
