// Tests of ResourceViews and ChangeIndex: who is told what; by hand, and random runs of nodes that
// lose their streams and of a GCS that is started again, against what each node then knows.

#include "cyray/gcs/resource_views.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>

#include "cyray/gcs/change_index.h"

namespace cyray::gcs {
namespace {

using Stamp = ResourceViews::Stamp;

TEST(ChangeIndex, OfEachThingTheLatestChangeIsTold) {
  ChangeIndex<int> changes;
  changes.Next(7);
  changes.Next(8);
  const uint64_t known = changes.last();
  changes.Next(9);
  changes.Next(7);
  const auto after = [&](uint64_t number) {
    std::vector<int> keys;
    changes.ForEachAfter(number, [&](int key) { keys.push_back(key); });
    return keys;
  };
  EXPECT_EQ(after(known), (std::vector{9, 7}));
  EXPECT_EQ(after(0), (std::vector{8, 9, 7}));
  changes.Forget(9);
  EXPECT_EQ(after(known), std::vector{7});
  EXPECT_TRUE(after(changes.last()).empty());
  changes.Restore(3, 100);
  EXPECT_EQ(changes.Next(4), 101u);
}

class ResourceViewsTest : public testing::Test {
 protected:
  size_t Told() {
    size_t told = 0;
    for (const ResourceViews::Batch& batch : views_.Take()) {
      told += batch.nodes.size() * batch.readers.size();
    }
    return told;
  }
  const NodeId a_ = NodeId::Random(), b_ = NodeId::Random(), c_ = NodeId::Random();
  ResourceViews views_{5};
};

TEST_F(ResourceViewsTest, AReaderIsToldWhatItLacksOnce) {
  views_.Changed(a_);
  views_.Open(1, {});
  views_.Changed(b_);
  const auto batches = views_.Take();
  ASSERT_EQ(batches.size(), 1u);
  EXPECT_EQ(batches[0].nodes, (std::vector{a_, b_}));
  EXPECT_EQ(Told(), 0u);
  for (int i = 0; i < 10; ++i) views_.Changed(c_);
  EXPECT_EQ(Told(), 1u);
}

TEST_F(ResourceViewsTest, ThoseThatLackTheSameAreToldTogether) {
  views_.Open(1, {});
  views_.Open(2, {});
  views_.Changed(a_);
  const auto batches = views_.Take();
  ASSERT_EQ(batches.size(), 1u);
  EXPECT_EQ(batches[0].readers, (std::vector<uint64_t>{1, 2}));
}

TEST_F(ResourceViewsTest, WhoComesBackIsToldTheDifference) {
  views_.Open(1, {});
  views_.Changed(a_);
  views_.Changed(b_);
  EXPECT_EQ(Told(), 2u);
  const Stamp known = views_.now();
  views_.Close(1);
  views_.Changed(b_);
  EXPECT_EQ(Told(), 0u);
  views_.Open(2, known);
  const auto batches = views_.Take();
  ASSERT_EQ(batches.size(), 1u);
  EXPECT_EQ(batches[0].nodes, std::vector{b_});
}

TEST_F(ResourceViewsTest, WhatTheLastLifeToldIsNotToldAgain) {
  views_.Open(1, {4, 10});
  views_.Open(2, {4, 8});
  views_.Changed(a_, {4, 9});
  views_.Changed(b_, {3, 1});
  views_.Changed(c_);
  const auto batches = views_.Take();
  ASSERT_EQ(batches.size(), 2u);
  for (const auto& batch : batches) {
    const bool first = batch.readers == std::vector<uint64_t>{1};
    EXPECT_EQ(batch.nodes, first ? (std::vector{b_, c_}) : (std::vector{a_, b_, c_}));
  }
}

TEST_F(ResourceViewsTest, ADeadNodeIsToldToNobody) {
  views_.Open(1, {});
  views_.Changed(a_);
  views_.Remove(a_);
  EXPECT_FALSE(views_.Knows(a_));
  EXPECT_EQ(Told(), 0u);
}

// Nodes report numbers, as raylets do, over streams that break and lose what is under way.
class Nodes {
 public:
  static constexpr size_t kNodes = 4;
  struct Message {
    std::vector<std::pair<size_t, uint64_t>> views;  // node, number
    Stamp stamp;
  };
  struct Node {
    uint64_t number = 1;
    Stamp told;  // with which the others were told of `number`
    Stamp known;
    std::array<uint64_t, kNodes> views{};
    std::optional<uint64_t> stream;
    bool reported = false;
    std::vector<Message> under_way;
  };

  explicit Nodes(uint64_t seed) : rng_(seed) { Restart(); }

  void Step() {
    const size_t index = rng_() % kNodes;
    Node& node = nodes_[index];
    switch (rng_() % 16) {
      case 0:
        return Restart();
      case 1:
        return Break(node);
      case 2:
      case 3:
        return Connect(index);
      case 4:
      case 5:
      case 6:
        ++node.number;
        node.told = {};
        node.reported = false;
        return;
      case 7:
      case 8:
      case 9:
        return Report(index);
      case 10:
      case 11:
        return Relay();
      default:
        return Receive(index);
    }
  }
  void Settle() {
    for (size_t i = 0; i < kNodes; ++i) Connect(i);
    for (size_t i = 0; i < kNodes; ++i) Report(i);
    Relay();
    for (size_t i = 0; i < kNodes; ++i) {
      while (!nodes_[i].under_way.empty()) Receive(i);
    }
    for (const Node& node : nodes_) {
      for (size_t i = 0; i < kNodes; ++i) ASSERT_EQ(node.views[i], nodes_[i].number);
    }
  }
  // All restart and say hello, and nothing changes.
  size_t ToldAfterARestart() {
    Restart();
    told_ = 0;
    for (size_t i = 0; i < kNodes; ++i) Connect(i);
    for (size_t i = 0; i < kNodes; ++i) Report(i);
    Relay();
    return told_;
  }

 private:
  void Restart() {
    for (Node& node : nodes_) Break(node);
    views_.emplace(++epoch_);
    numbers_ = {};
  }
  void Break(Node& node) {
    if (node.stream) views_->Close(*node.stream);
    node.stream.reset();
    node.under_way.clear();
  }
  void Connect(size_t index) {
    Node& node = nodes_[index];
    if (node.stream) return;
    node.stream = next_stream_++;
    node.reported = false;
    views_->Open(*node.stream, node.known);
  }
  void Report(size_t index) {
    Node& node = nodes_[index];
    if (!node.stream || node.reported) return;
    node.reported = true;
    if (numbers_[index] == node.number && views_->Knows(ids_[index])) return;
    numbers_[index] = node.number;
    views_->Changed(ids_[index], node.told);
  }
  void Relay() {
    for (const ResourceViews::Batch& batch : views_->Take()) {
      Message message{{}, views_->now()};
      for (const NodeId& id : batch.nodes) {
        const size_t index = std::find(ids_.begin(), ids_.end(), id) - ids_.begin();
        message.views.emplace_back(index, numbers_[index]);
      }
      told_ += batch.nodes.size() * batch.readers.size();
      for (Node& node : nodes_) {
        if (node.stream && std::ranges::find(batch.readers, *node.stream) != batch.readers.end()) {
          node.under_way.push_back(message);
        }
      }
    }
  }
  void Receive(size_t index) {
    Node& node = nodes_[index];
    if (node.under_way.empty()) return;
    const Message message = std::move(node.under_way.front());
    node.under_way.erase(node.under_way.begin());
    for (const auto& [other, number] : message.views) {
      node.views[other] = number;
      if (other == index && number == node.number) node.told = message.stamp;
    }
    node.known = message.stamp;
  }

  std::mt19937_64 rng_;
  std::array<NodeId, kNodes> ids_{NodeId::Random(), NodeId::Random(), NodeId::Random(),
                                  NodeId::Random()};
  std::array<Node, kNodes> nodes_;
  std::array<uint64_t, kNodes> numbers_{};  // what the GCS knows
  std::optional<ResourceViews> views_;
  uint64_t epoch_ = 0;
  uint64_t next_stream_ = 1;
  size_t told_ = 0;
};

TEST(ResourceViews, InRandomRunsEveryNodeKnowsTheLatestInTheEnd) {
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    Nodes nodes(seed);
    for (int step = 0; step < 300; ++step) nodes.Step();
    ASSERT_NO_FATAL_FAILURE(nodes.Settle()) << "seed " << seed;
  }
}

TEST(ResourceViews, ARestartWithoutChangesTellsNothing) {
  Nodes nodes(1);
  nodes.Settle();
  EXPECT_EQ(nodes.ToldAfterARestart(), 0u);
}

}  // namespace
}  // namespace cyray::gcs
