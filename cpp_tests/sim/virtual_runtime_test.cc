// Virtual time: order, repeatability from a seed, pauses and deaths of simulated processes.

#include "cyray/sim/virtual_runtime.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "cyray/util/timer.h"

namespace cyray::sim {
namespace {

constexpr int64_t kMs = 1'000'000;

TEST(VirtualTime, MovesFromEventToEventInOrderOfDueTimeThenOfMaking) {
  VirtualTime time(1);
  std::vector<int> order;
  time.At(5 * kMs, [&] { order.push_back(3); });
  time.At(2 * kMs, [&] { order.push_back(1); });
  time.At(2 * kMs, [&] { order.push_back(2); });
  const auto cancelled = time.At(3 * kMs, [&] { order.push_back(9); });
  time.Cancel(cancelled);
  while (time.Step()) {
  }
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(time.now_ns(), 5 * kMs);
}

uint64_t DigestOfAWalk(uint64_t seed) {
  VirtualTime time(seed);
  VirtualRuntime runtime(&time);
  Timer timer(&runtime);
  std::function<void()> walk = [&] {
    timer.Start(static_cast<int64_t>(runtime.Random() % 7), walk);
  };
  walk();
  time.RunFor(1000 * kMs);
  return time.digest();
}

TEST(VirtualTime, OneSeedIsOneHistory) {
  EXPECT_EQ(DigestOfAWalk(7), DigestOfAWalk(7));
  EXPECT_NE(DigestOfAWalk(7), DigestOfAWalk(8));
}

TEST(VirtualRuntime, APausedProcessFindsItsMessagesBeforeItsOverdueTimers) {
  VirtualTime time(1);
  VirtualRuntime runtime(&time);
  std::vector<std::string> order;
  runtime.RunAfter(1000, [&] { order.push_back("timer"); });
  time.RunFor(500 * kMs);
  runtime.Pause();
  time.RunFor(10'000 * kMs);
  runtime.Post([&] { order.push_back("message"); });
  time.RunFor(10'000 * kMs);
  EXPECT_TRUE(order.empty());
  runtime.Continue();
  time.RunFor(0);
  EXPECT_EQ(order, (std::vector<std::string>{"message", "timer"}));
}

TEST(VirtualRuntime, WhatACallbackLeavesWhenItPausesItsProcessRunsLater) {
  VirtualTime time(1);
  VirtualRuntime runtime(&time);
  int runs = 0;
  runtime.Post([&] { runtime.Pause(); });
  runtime.Post([&] { ++runs; });
  time.RunFor(kMs);
  EXPECT_EQ(runs, 0);
  runtime.Continue();
  time.RunFor(kMs);
  EXPECT_EQ(runs, 1);
}

TEST(VirtualRuntime, NothingOfADeadProcessRuns) {
  VirtualTime time(1);
  auto runtime = std::make_unique<VirtualRuntime>(&time);
  int runs = 0;
  runtime->Post([&] { ++runs; });
  runtime->RunAfter(1, [&] { ++runs; });
  runtime.reset();
  time.RunFor(10 * kMs);
  EXPECT_EQ(runs, 0);
  EXPECT_EQ(time.pending(), 0);
}

TEST(VirtualRuntime, AStepOfTheWallClockMovesNoTimer) {
  VirtualTime time(1);
  VirtualRuntime runtime(&time);
  int runs = 0;
  runtime.RunAfter(10, [&] { ++runs; });
  const int64_t before = runtime.WallMs();
  runtime.StepWallClock(-3'600'000);
  EXPECT_EQ(runtime.WallMs(), before - 3'600'000);
  time.RunFor(9 * kMs);
  EXPECT_EQ(runs, 0);
  time.RunFor(kMs);
  EXPECT_EQ(runs, 1);
}

}  // namespace
}  // namespace cyray::sim
