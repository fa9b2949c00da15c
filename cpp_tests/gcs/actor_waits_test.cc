// What is said of actors that do not live yet.

#include "cyray/gcs/actor_waits.h"

#include <gtest/gtest.h>

#include "cpp_tests/gcs/payloads.h"

namespace cyray::gcs {
namespace {

using State = wire::ActorState;

ActorRecord Waiting(State state) {
  ActorRecord record;
  record.state = state;
  record.spec.placement = Cpus(2);
  return record;
}

TEST(ActorWaits, OneThatLivesOrIsDeadWaitsForNothing) {
  EXPECT_EQ(WhatItWaitsFor(Waiting(State::Alive)), "");
  EXPECT_EQ(WhatItWaitsFor(Waiting(State::Dead)), "");
}

TEST(ActorWaits, OneWithoutANodeSaysWhatItNeeds) {
  ActorRecord record = Waiting(State::PendingCreation);
  EXPECT_EQ(WhatItWaitsFor(record), "which no node can take: it needs {CPU: 2}");
  record.spec.strategy = wire::SchedulingStrategy::NodeAffinity;
  EXPECT_EQ(WhatItWaitsFor(record),
            "which the node that it is bound to cannot take: it needs {CPU: 2}");
  record.spec.affinity_soft = true;
  record.state = State::Restarting;
  EXPECT_EQ(WhatItWaitsFor(record),
            "which is to start again, and which no node can take: it needs {CPU: 2}");
}

TEST(ActorWaits, OneWithANodeSaysWhereAndWhatItHolds) {
  ActorRecord record = Waiting(State::PendingCreation);
  record.node = NodeId::Random();
  const std::string node = record.node.Hex();
  EXPECT_EQ(WhatItWaitsFor(record), "which is to start on node " + node +
                                        ": it waits there for a worker, or its __init__ runs");
  record.spec.held = Cpus(1);
  record.state = State::Restarting;
  EXPECT_EQ(WhatItWaitsFor(record),
            "which is to start again on node " + node +
                ": it waits there for {CPU: 1} and a worker, or its __init__ runs");
}

TEST(ActorWaits, OneWhoseLastProcessMustEndFirstSaysSo) {
  ActorRecord record = Waiting(State::Restarting);
  record.node = NodeId::Random();
  record.stopping = true;
  EXPECT_EQ(WhatItWaitsFor(record), "which is to start again when its last process, on node " +
                                        record.node.Hex() + ", has ended");
}

TEST(ActorWaits, OneWhoseArgumentsAreNotThereSaysSo) {
  EXPECT_EQ(WhatItWaitsFor(Waiting(State::DependenciesUnready)),
            "whose constructor waits for its arguments");
}

}  // namespace
}  // namespace cyray::gcs
