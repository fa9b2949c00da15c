// Timer, Timers and Posts on a real loop: what ends with its owner, and what a callback may do.

#include "cyray/util/timer.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "cyray/util/event_loop.h"

namespace cyray {
namespace {

class TimerTest : public testing::Test {
 protected:
  // Lets all that is due within a few milliseconds run.
  void RunAll() {
    bool over = false;
    loop_.RunAfter(5, [&] { over = true; });
    while (!over) loop_.RunOnce(100);
  }
  EventLoop loop_;
  int runs_ = 0;
};

TEST_F(TimerTest, StartingAgainReplacesWhatItWasSetTo) {
  Timer timer(&loop_);
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
    Timer timer(&loop_);
    timer.Start(0, [&] { ++runs_; });
  }
  RunAll();
  EXPECT_EQ(runs_, 0);
}

TEST_F(TimerTest, ACallbackMayStartItAgainOrDestroyIt) {
  auto timer = std::make_unique<Timer>(&loop_);
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
  Timers<int> timers(&loop_);
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
  auto posts = std::make_unique<Posts>(&loop_);
  posts->Post([&] { ++runs_; });
  RunAll();
  posts->Post([&] { runs_ += 100; });
  posts.reset();
  RunAll();
  EXPECT_EQ(runs_, 1);
}

// A process that stood still finds timers overdue and messages waiting: the messages come first.
TEST_F(TimerTest, WhatWasPostedRunsBeforeATimerThatIsDue) {
  std::vector<int> order;
  loop_.RunAfter(0, [&] { order.push_back(2); });
  loop_.Post([&] { order.push_back(1); });
  RunAll();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

}  // namespace
}  // namespace cyray
