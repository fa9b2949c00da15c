// Timer, Timers and Posts: what ends with its owner, and what a callback may do. In virtual time,
// but for what the real loop alone decides.

#include "cyray/util/timer.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "cyray/sim/virtual_runtime.h"
#include "cyray/sim/virtual_time.h"
#include "cyray/util/event_loop.h"

namespace cyray {
namespace {

class TimerTest : public testing::Test {
 protected:
  // Lets all that is due within a few milliseconds run.
  void RunAll() { time_.RunFor(5'000'000); }

  sim::VirtualTime time_{1};
  sim::VirtualRuntime runtime_{&time_};
  int runs_ = 0;
};

TEST_F(TimerTest, StartingAgainReplacesWhatItWasSetTo) {
  Timer timer(&runtime_);
  timer.Start(1, [&] { runs_ += 100; });
  timer.Start(1, [&] { ++runs_; });
  timer.StartOnce(1, [&] { runs_ += 100; });
  EXPECT_TRUE(timer.running());
  RunAll();
  EXPECT_EQ(runs_, 1);
  EXPECT_FALSE(timer.running());
}

TEST_F(TimerTest, EndsWithItsOwner) {
  {
    Timer timer(&runtime_);
    timer.Start(0, [&] { ++runs_; });
  }
  RunAll();
  EXPECT_EQ(runs_, 0);
}

TEST_F(TimerTest, WhatIsAllowedIsCountedWithoutPausesOfThisProcess) {
  constexpr int64_t kMs = 1'000'000;
  Timer timer(&runtime_);
  timer.Allow(2'500, [&] { ++runs_; });
  time_.RunFor(1'500 * kMs);
  runtime_.Pause();
  time_.RunFor(60'000 * kMs);
  runtime_.Continue();
  time_.RunFor(1'400 * kMs);
  EXPECT_EQ(runs_, 0);
  EXPECT_TRUE(timer.running());
  time_.RunFor(200 * kMs);
  EXPECT_EQ(runs_, 1);
  EXPECT_FALSE(timer.running());
  timer.Allow(0, [&] { ++runs_; });
  RunAll();
  EXPECT_EQ(runs_, 2);
}

TEST_F(TimerTest, WhatIsAllowedToAKeyEndsWithItOrIsReplaced) {
  Timers<int> timers(&runtime_);
  timers.Allow(1, 3, [&] { runs_ += 100; });
  timers.Allow(1, 3, [&] {
    EXPECT_FALSE(timers.running(1));
    ++runs_;
  });
  timers.Allow(2, 3, [&] { runs_ += 100; });
  timers.Stop(2);
  RunAll();
  EXPECT_EQ(runs_, 1);
}

TEST_F(TimerTest, ACallbackMayStartItAgainOrDestroyIt) {
  auto timer = std::make_unique<Timer>(&runtime_);
  timer->Start(0, [&] {
    ++runs_;
    timer->Start(0, [&] {
      ++runs_;
      timer.reset();
      ++runs_;
    });
  });
  RunAll();
  EXPECT_EQ(runs_, 3);
}

TEST_F(TimerTest, EachKeyHasATimerAndACallbackMayUseItsOwn) {
  Timers<int> timers(&runtime_);
  std::vector<int> order;
  timers.Start(1, 0, [&] {
    EXPECT_FALSE(timers.running(1));
    order.push_back(1);
    timers.Start(1, 0, [&] { order.push_back(10); });
    timers.Stop(2);
  });
  timers.Start(2, 1, [&] { order.push_back(2); });
  timers.Start(3, 1, [&] {
    order.push_back(3);
    timers.StopAll();
  });
  timers.Start(4, 60'000, [&] { order.push_back(4); });
  EXPECT_EQ(timers.size(), 4);
  RunAll();
  EXPECT_EQ(order, (std::vector<int>{1, 10, 3}));
  EXPECT_EQ(timers.size(), 0);
}

TEST_F(TimerTest, PostsEndWithTheirOwner) {
  auto posts = std::make_unique<Posts>(&runtime_);
  posts->Post([&] { ++runs_; });
  RunAll();
  posts->Post([&] { runs_ += 100; });
  posts.reset();
  RunAll();
  EXPECT_EQ(runs_, 1);
}

// A process that stood still finds timers overdue and messages waiting: the messages come first.
TEST(EventLoopTimers, WhatWasPostedRunsBeforeATimerThatIsDue) {
  EventLoop loop;
  std::vector<int> order;
  loop.RunAfter(0, [&] { order.push_back(2); });
  loop.Post([&] { order.push_back(1); });
  while (order.size() < 2) loop.RunOnce(100);
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

}  // namespace
}  // namespace cyray
