// PullTable: holders in turn, limits, cancelled attempts, and random events.

#include <gtest/gtest.h>

#include <random>

#include "cyray/raylet/object_transfer_pulls.h"

namespace cyray::raylet {
namespace {

using Kind = PullTable::Action::Kind;
using Verdict = PullTable::Verdict;

ObjectId MakeId(uint32_t index) { return ObjectId(TaskId{}, index); }
NodeId MakeNode(uint8_t index) {
  NodeId node;
  node.bytes[0] = index;
  return node;
}

class PullTableTest : public testing::Test {
 protected:
  ~PullTableTest() override { EXPECT_EQ(table_.CheckInvariants(), ""); }
  uint64_t Start(uint32_t index, const std::vector<NodeId>& nodes) {
    actions_.clear();
    table_.Start(MakeId(index), nodes, actions_);
    return actions_.empty() ? 0 : actions_[0].request_id;
  }
  PullTable table_;
  PullTable::Actions actions_;
};

TEST_F(PullTableTest, ChunksInOrderCompleteAPull) {
  const uint64_t request = Start(1, {MakeNode(1)});
  ASSERT_EQ(actions_.size(), 1u);
  EXPECT_EQ(table_.OnChunk(MakeNode(1), {request, MakeId(1), 10, 0, 6, false}, actions_),
            Verdict::kTake);
  table_.SetRoom(request, 640);
  EXPECT_FALSE(table_.OnChunkEnd(request, 6, actions_));
  EXPECT_EQ(table_.OnChunk(MakeNode(1), {request, MakeId(1), 10, 6, 4, false}, actions_),
            Verdict::kTake);
  const auto complete = table_.OnChunkEnd(request, 4, actions_);
  ASSERT_TRUE(complete);
  EXPECT_EQ(complete->offset, 640u);
  EXPECT_EQ(table_.size(), 0u);
}

TEST_F(PullTableTest, ASecondGetJoinsTheRunningPull) {
  Start(1, {MakeNode(1)});
  Start(1, {MakeNode(1), MakeNode(2)});
  EXPECT_TRUE(actions_.empty());
}

TEST_F(PullTableTest, HoldersAreTriedInTurnAndAllAreNamedInTheError) {
  const uint64_t first = Start(1, {MakeNode(1), MakeNode(2)});
  actions_.clear();
  table_.OnChunk(MakeNode(1), {first, MakeId(1), 0, 0, 0, true}, actions_);
  ASSERT_EQ(actions_.size(), 1u);
  EXPECT_EQ(actions_[0].node, MakeNode(2));
  actions_.clear();
  table_.OnNodeLost(MakeNode(2), "the connection to node 02 broke", actions_);
  ASSERT_EQ(actions_.size(), 1u);
  EXPECT_EQ(actions_[0].kind, Kind::kFail);
  const std::string& text = actions_[0].status.message();
  EXPECT_NE(text.find(MakeId(1).Hex()), std::string::npos);
  EXPECT_NE(text.find("node 01000000 does not have it"), std::string::npos);
  EXPECT_NE(text.find("node 02 broke"), std::string::npos);
}

TEST_F(PullTableTest, AfterANewConnectionAPullGoesOnWhereItIs) {
  const uint64_t first = Start(1, {MakeNode(1)});
  table_.OnChunk(MakeNode(1), {first, MakeId(1), 10, 0, 6, false}, actions_);
  table_.SetRoom(first, 64);
  table_.OnChunkEnd(first, 6, actions_);
  table_.OnChunk(MakeNode(1), {first, MakeId(1), 10, 6, 4, false}, actions_);  // and it breaks
  actions_.clear();
  table_.OnReconnected(MakeNode(1), actions_);
  ASSERT_EQ(actions_.size(), 2u);
  EXPECT_EQ(actions_[0].kind, Kind::kCancel);
  EXPECT_EQ(actions_[0].request_id, first);
  EXPECT_EQ(actions_[1].kind, Kind::kAsk);
  EXPECT_EQ(actions_[1].offset, 6u);
  const uint64_t second = actions_[1].request_id;
  EXPECT_EQ(table_.OnChunk(MakeNode(1), {first, MakeId(1), 10, 6, 4, false}, actions_),
            Verdict::kDrop);
  EXPECT_EQ(table_.OnChunk(MakeNode(1), {second, MakeId(1), 10, 6, 4, false}, actions_),
            Verdict::kTake);
  const auto complete = table_.OnChunkEnd(second, 4, actions_);
  ASSERT_TRUE(complete);
  EXPECT_EQ(complete->offset, 64u);
}

TEST_F(PullTableTest, AHolderThatDiesHalfwayGivesItsRoomBackAndTheNextBegins) {
  const uint64_t first = Start(1, {MakeNode(1), MakeNode(2)});
  table_.OnChunk(MakeNode(1), {first, MakeId(1), 10, 0, 6, false}, actions_);
  table_.SetRoom(first, 0);
  table_.OnChunkEnd(first, 6, actions_);
  actions_.clear();
  table_.OnNodeLost(MakeNode(1), "gone", actions_);
  ASSERT_EQ(actions_.size(), 2u);
  EXPECT_EQ(actions_[0].kind, Kind::kAbort);
  EXPECT_EQ(actions_[1].kind, Kind::kAsk);
  const uint64_t second = actions_[1].request_id;
  EXPECT_EQ(table_.OnChunk(MakeNode(1), {first, MakeId(1), 10, 6, 4, false}, actions_),
            Verdict::kDrop);
  EXPECT_EQ(table_.OnChunk(MakeNode(2), {second, MakeId(1), 10, 0, 10, false}, actions_),
            Verdict::kTake);
}

TEST_F(PullTableTest, ChunksThatDoNotFitBreakTheProtocol) {
  const uint64_t request = Start(1, {MakeNode(1)});
  const auto verdict = [&](NodeId from, PullTable::ChunkHeader chunk) {
    return table_.OnChunk(from, chunk, actions_);
  };
  EXPECT_EQ(verdict(MakeNode(2), {request, MakeId(1), 10, 0, 5, false}), Verdict::kProtocolError);
  EXPECT_EQ(verdict(MakeNode(1), {request, MakeId(2), 10, 0, 5, false}), Verdict::kProtocolError);
  EXPECT_EQ(verdict(MakeNode(1), {request, MakeId(1), 10, 5, 5, false}), Verdict::kProtocolError);
  EXPECT_EQ(verdict(MakeNode(1), {request, MakeId(1), 4, 0, 5, false}), Verdict::kProtocolError);
  EXPECT_EQ(verdict(MakeNode(1), {request, MakeId(1), 4, 0, 0, false}), Verdict::kProtocolError);
  EXPECT_EQ(verdict(MakeNode(1), {request, MakeId(1), ~0ull, 0, ~0u, false}),
            Verdict::kProtocolError);
  EXPECT_EQ(verdict(MakeNode(1), {99, MakeId(1), ~0ull, 0, ~0u, false}), Verdict::kProtocolError);
}

TEST_F(PullTableTest, OnlySoManyRunPerHolder) {
  for (uint32_t i = 1; i <= PullTable::kMaxPerNode; ++i) EXPECT_NE(Start(i, {MakeNode(1)}), 0u);
  EXPECT_EQ(Start(100, {MakeNode(1)}), 0u);
  EXPECT_NE(Start(101, {MakeNode(2)}), 0u);
  actions_.clear();
  table_.Cancel(MakeId(1), actions_);
  ASSERT_EQ(actions_.size(), 2u);
  EXPECT_EQ(actions_[0].kind, Kind::kCancel);
  EXPECT_EQ(actions_[1].kind, Kind::kAsk);
  EXPECT_EQ(actions_[1].id, MakeId(100));
}

TEST_F(PullTableTest, ANodesEndFailsRunningAndWaitingPulls) {
  for (uint32_t i = 1; i <= 20; ++i) Start(i, {MakeNode(1)});
  actions_.clear();
  table_.OnNodeLost(MakeNode(1), "gone", actions_);
  EXPECT_EQ(actions_.size(), 20u);
  EXPECT_EQ(table_.size(), 0u);
}

TEST(PullTable, RandomEventsKeepTheInvariantsAndEveryPullEnds) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    PullTable table;
    std::vector<std::pair<NodeId, uint64_t>> asked;
    for (int step = 0; step < 3000; ++step) {
      PullTable::Actions actions;
      const ObjectId id = MakeId(static_cast<uint32_t>(random() % 60));
      const NodeId node = MakeNode(static_cast<uint8_t>(1 + random() % 3));
      const auto pick =
          asked.empty() ? std::pair<NodeId, uint64_t>{node, 0} : asked[random() % asked.size()];
      const PullTable::Pull* pull = table.Find(pick.second);
      switch (random() % 6) {
        case 0:
        case 1:
          table.Start(id, {node, MakeNode(static_cast<uint8_t>(1 + random() % 3))}, actions);
          break;
        case 2:
        case 3:
          if (pull != nullptr) {
            const uint64_t left = 100 - pull->received;
            const auto bytes = static_cast<uint32_t>(1 + random() % left);
            if (table.OnChunk(pick.first,
                              {pick.second, pull->id, 100, pull->received, bytes, false},
                              actions) == Verdict::kTake) {
              if (!pull->has_room) table.SetRoom(pick.second, 0);
              table.OnChunkEnd(pick.second, bytes, actions);
            }
          }
          break;
        case 4:
          if (pull != nullptr) {
            table.OnChunk(pick.first, {pick.second, pull->id, 0, 0, 0, true}, actions);
          }
          break;
        case 5:
          if (random() % 10 == 0) {
            table.OnNodeLost(node, "lost", actions);
          } else {
            table.Cancel(id, actions);
          }
          break;
      }
      for (const auto& action : actions) {
        if (action.kind == Kind::kAsk) asked.emplace_back(action.node, action.request_id);
      }
      std::erase_if(asked, [&](const auto& entry) { return table.Find(entry.second) == nullptr; });
      ASSERT_EQ(table.CheckInvariants(), "") << "step " << step;
    }
    for (int round = 0; round < 4; ++round) {  // each pull knows three holders at most
      PullTable::Actions actions;
      for (uint8_t node = 1; node <= 3; ++node) table.OnNodeLost(MakeNode(node), "lost", actions);
    }
    EXPECT_EQ(table.size(), 0u);
  }
}

}  // namespace
}  // namespace cyray::raylet
