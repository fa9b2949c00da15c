// RelayQueues: credit, order, pauses, and random events against a model.

#include "cyray/net/relay_queues.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>

namespace cyray::net {
namespace {

using wire::FrameType;

Address Process(uint8_t node, uint8_t worker) {
  Address address;
  address.node.bytes[0] = node;
  address.worker.bytes[0] = worker;
  return address;
}
RelayQueues::Relay Frame(const Address& to, uint64_t source, size_t bytes, uint8_t mark = 0) {
  return {to, source, FrameType::kRelay, std::vector<uint8_t>(bytes, mark)};
}

TEST(RelayQueues, ADestinationThatDoesNotReadHoldsUpNobodyElse) {
  RelayQueues queues;
  const Address slow = Process(1, 1), quick = Process(1, 2);
  while (queues.TryPass(slow, 7, 100'000)) {
  }
  queues.Push(Frame(slow, 7, 100'000));
  EXPECT_FALSE(queues.Next(slow.node));
  EXPECT_TRUE(queues.TryPass(quick, 7, 100'000));
  ASSERT_TRUE(queues.OnCredit(slow, 1 << 20));
  const auto next = queues.Next(slow.node);
  ASSERT_TRUE(next);
  EXPECT_EQ(next->destination, slow);
  EXPECT_EQ(queues.CheckInvariants(), "");
}

TEST(RelayQueues, WhatTheRayletSaysOfAProcessStaysBehindItsFrames) {
  RelayQueues queues;
  const Address to = Process(1, 1);
  ASSERT_TRUE(queues.TryPass(to, 7, RelayQueues::kCreditBytes));
  queues.Push(Frame(to, 7, 100));
  EXPECT_FALSE(queues.TryPass(to, 0, 8));
  queues.Push({to, 0, FrameType::kForwardBroken, {1}});
  EXPECT_FALSE(queues.Next(to.node));
  ASSERT_TRUE(queues.OnCredit(to, RelayQueues::kCreditBytes));
  EXPECT_EQ(queues.Next(to.node)->type, FrameType::kRelay);
  EXPECT_EQ(queues.Next(to.node)->type, FrameType::kForwardBroken);
  EXPECT_EQ(queues.CheckInvariants(), "");
}

TEST(RelayQueues, ASourceWithMuchWaitingIsPausedAndReadAgainLater) {
  RelayQueues queues;
  const Address to = Process(1, 1);
  ASSERT_TRUE(queues.TryPass(to, 7, RelayQueues::kCreditBytes));
  while (queues.waiting_bytes(7) <= RelayQueues::kPauseBytes) queues.Push(Frame(to, 7, 1 << 20));
  EXPECT_EQ(queues.TakePauses(), (RelayQueues::Pauses{{7, true}}));
  RelayQueues::Pauses pauses;
  while (pauses.empty()) {
    ASSERT_TRUE(queues.OnCredit(to, 1 << 20));
    ASSERT_TRUE(queues.Next(to.node));
    pauses = queues.TakePauses();
  }
  EXPECT_EQ(pauses, (RelayQueues::Pauses{{7, false}}));
  EXPECT_LT(queues.waiting_bytes(7), RelayQueues::kResumeBytes);
}

TEST(RelayQueues, ADeadNodeGivesItsSendersBack) {
  RelayQueues queues;
  const Address to = Process(1, 1);
  ASSERT_TRUE(queues.TryPass(to, 7, RelayQueues::kCreditBytes));
  while (queues.waiting_bytes(7) <= RelayQueues::kPauseBytes) queues.Push(Frame(to, 7, 1 << 20));
  (void)queues.TakePauses();
  queues.ForgetNode(to.node);
  EXPECT_EQ(queues.TakePauses(), (RelayQueues::Pauses{{7, false}}));
  EXPECT_EQ(queues.destinations(), 0u);
  EXPECT_EQ(queues.waiting_bytes(7), 0u);
}

TEST(RelayQueues, FramesToAProcessThatIsGoneNeedNoCredit) {
  RelayQueues queues;
  const Address to = Process(1, 1);
  ASSERT_TRUE(queues.TryPass(to, 7, RelayQueues::kCreditBytes));
  for (int i = 0; i < 10; ++i) queues.Push(Frame(to, 7, 2 << 20));
  queues.Release(to);
  int sent = 0;
  while (queues.Next(to.node)) ++sent;
  EXPECT_EQ(sent, 10);
  EXPECT_EQ(queues.destinations(), 0u);
}

// It was taken for gone, and is heard of again: credit for frames from before comes.
TEST(RelayQueues, CreditForFramesFromBeforeIsNoHarm) {
  RelayQueues queues;
  const Address to = Process(1, 1);
  ASSERT_TRUE(queues.TryPass(to, 7, 1'000));
  queues.Release(to);
  ASSERT_TRUE(queues.TryPass(to, 7, 100));
  EXPECT_TRUE(queues.OnCredit(to, 1'000));
  EXPECT_EQ(queues.destinations(), 0u);
  ASSERT_TRUE(queues.TryPass(to, 7, 100));
  EXPECT_FALSE(queues.OnCredit(Process(2, 1), 100)) << "a process of another node";
}

// Sends until it is paused.
void Flood(RelayQueues& queues, const Address& to, uint64_t source, size_t frame) {
  for (;;) {
    queues.Push(Frame(to, source, frame));
    for (const auto& [client, paused] : queues.TakePauses()) {
      if (client == source && paused) return;
    }
  }
}

TEST(RelayQueues, ManyThatSendToOneThatDoesNotReadArePausedSoonerEach) {
  RelayQueues queues;
  const Address to = Process(1, 1);
  ASSERT_TRUE(queues.TryPass(to, 1, RelayQueues::kCreditBytes));
  for (uint64_t source = 1; source <= 64; ++source) Flood(queues, to, source, 256 << 10);
  EXPECT_LT(queues.waiting_for(to), 4 * RelayQueues::kPauseBytes);
  queues.Push(Frame(to, 65, 1'000));
  EXPECT_TRUE(queues.TakePauses().empty()) << "who says little goes on";
  EXPECT_EQ(queues.CheckInvariants(), "");
  std::map<uint64_t, bool> read_again;
  while (queues.waiting_for(to) > 0) {
    ASSERT_TRUE(queues.OnCredit(to, 1 << 20));
    while (queues.Next(to.node)) {
    }
    for (const auto& [source, paused] : queues.TakePauses()) read_again[source] = !paused;
  }
  EXPECT_EQ(read_again.size(), 64u);
  for (const auto& [source, read] : read_again) EXPECT_TRUE(read) << source;
  EXPECT_EQ(queues.CheckInvariants(), "");
}

TEST(RelayQueues, WhatTheDeadHaveSentCounts) {
  RelayQueues queues;
  const Address to = Process(1, 1);
  ASSERT_TRUE(queues.TryPass(to, 1, RelayQueues::kCreditBytes));
  for (uint64_t source = 1; source <= 64; ++source) {
    Flood(queues, to, source, 256 << 10);
    queues.ForgetSource(source);
  }
  EXPECT_LT(queues.waiting_for(to), 4 * RelayQueues::kPauseBytes);
  EXPECT_EQ(queues.CheckInvariants(), "");
  queues.Release(to);
  while (queues.Next(to.node)) {
  }
  EXPECT_TRUE(queues.TakePauses().empty()) << "nobody is there to be read again";
  EXPECT_EQ(queues.waiting_bytes(1), 0u);
}

class RandomRelays : public testing::TestWithParam<uint64_t> {};

TEST_P(RandomRelays, EachDestinationGetsAllInOrderAndNeverMoreThanItsCredit) {
  std::mt19937_64 rng(GetParam());
  RelayQueues queues;
  std::map<WorkerId, uint64_t> next_sent, next_got, unread;
  std::map<uint64_t, bool> paused;
  const auto deliver = [&](const Address& to, uint64_t number, size_t bytes) {
    ASSERT_EQ(number, next_got[to.worker]++);
    unread[to.worker] += bytes;
    ASSERT_LT(unread[to.worker], RelayQueues::kCreditBytes + (2 << 20));
  };
  const auto step = [&](bool send) {
    const auto worker = static_cast<uint8_t>(1 + rng() % 4);
    const Address to = Process(1 + worker % 2, worker);
    const uint64_t source = 1 + rng() % 3;
    if (send && !paused[source]) {
      const uint64_t number = next_sent[to.worker]++;
      auto frame = Frame(to, source, 8 + (rng() % 4 == 0 ? rng() % (2 << 20) : rng() % 9000));
      std::memcpy(frame.body.data(), &number, sizeof number);
      if (queues.TryPass(to, source, frame.body.size())) {
        deliver(to, number, frame.body.size());
      } else {
        queues.Push(std::move(frame));
      }
    } else if (unread[to.worker] > 0) {
      const uint64_t bytes = 1 + rng() % unread[to.worker];
      unread[to.worker] -= bytes;
      ASSERT_TRUE(queues.OnCredit(to, bytes));
    }
    for (int i = static_cast<int>(rng() % 3); i > 0; --i) {
      const auto next = queues.Next(to.node);
      if (!next) break;
      uint64_t number;
      std::memcpy(&number, next->body.data(), sizeof number);
      deliver(next->destination, number, next->body.size());
    }
    for (const auto& [client, stop] : queues.TakePauses()) paused[client] = stop;
    ASSERT_EQ(queues.CheckInvariants(), "");
  };
  const auto both = [&](int steps, bool send) {
    for (int i = 0; i < steps; ++i) ASSERT_NO_FATAL_FAILURE(step(send && rng() % 2 == 0));
  };
  ASSERT_NO_FATAL_FAILURE(both(2000, true));
  for (int i = 0; i < 20'000 && next_got != next_sent; ++i) ASSERT_NO_FATAL_FAILURE(step(false));
  EXPECT_EQ(next_got, next_sent);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomRelays, testing::Range<uint64_t>(1, 11));

}  // namespace
}  // namespace cyray::net
