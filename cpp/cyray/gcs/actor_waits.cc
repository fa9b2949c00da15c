#include "cyray/gcs/actor_waits.h"

namespace cyray::gcs {

using State = wire::ActorState;

std::string WhatItWaitsFor(const ActorRecord& record) {
  if (record.dead() || record.state == State::Alive) return "";
  if (record.arguments_pending()) return "whose constructor waits for its arguments";
  const ActorSpec& spec = record.spec;
  const bool again = record.state == State::Restarting;
  if (record.stopping) {
    return "which is to start again when its last process, on node " + record.node.Hex() +
           ", has ended";
  }
  if (record.node.is_nil()) {
    const bool bound =
        spec.strategy == wire::SchedulingStrategy::NodeAffinity && !spec.affinity_soft;
    return (again ? std::string("which is to start again, and which ") : "which ") +
           (bound ? "the node that it is bound to cannot take" : "no node can take") +
           ": it needs {" + spec.placement.ToString() + "}" +
           (spec.labels.empty() ? "" : " where the labels are " + ToString(spec.labels));
  }
  const std::string held = spec.held.empty() ? "" : "{" + spec.held.ToString() + "} and ";
  return std::string("which is to start ") + (again ? "again " : "") + "on node " +
         record.node.Hex() + ": it waits there for " + held + "a worker, or its __init__ runs";
}

}  // namespace cyray::gcs
