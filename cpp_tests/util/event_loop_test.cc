// EventLoop with real descriptors: order of timers and posts, removal from within callbacks, reuse
// of descriptor numbers, posts from other threads.

#include "cyray/util/event_loop.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <thread>

#include "cyray/util/clock.h"

namespace cyray {
namespace {

std::array<UniqueFd, 2> SocketPair() {
  int ends[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

TEST(EventLoop, RunsTimersInOrderOfTheirDueTimes) {
  EventLoop loop;
  std::vector<int> order;
  loop.RunAfter(6, [&] { order.push_back(3); });
  loop.RunAfter(0, [&] { order.push_back(1); });
  loop.RunAfter(3, [&] { order.push_back(2); });
  while (order.size() < 3) loop.RunOnce(100);
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

TEST(EventLoop, TimersOfOneInstantRunInTheOrderTheyWereSet) {
  EventLoop loop;
  std::vector<int> order;
  for (int i = 0; i < 50; ++i) loop.RunAfter(0, [&order, i] { order.push_back(i); });
  while (order.size() < 50) loop.RunOnce(10);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(order[i], i);
}

TEST(EventLoop, ACancelledTimerDoesNotRunEvenWhenDue) {
  EventLoop loop;
  bool ran = false, other = false;
  EventLoop::TimerId second = 0;
  loop.RunAfter(0, [&] { loop.Cancel(second); });
  second = loop.RunAfter(0, [&] { ran = true; });
  loop.RunAfter(2, [&] { other = true; });
  while (!other) loop.RunOnce(10);
  EXPECT_FALSE(ran);
  loop.Cancel(second);  // a no-op by now
}

TEST(EventLoop, ATimerNeverRunsEarly) {
  EventLoop loop;
  const int64_t start = MonotonicMs();
  int64_t at = 0;
  loop.RunAfter(15, [&] { at = MonotonicMs(); });
  while (at == 0) loop.RunOnce(100);
  EXPECT_GE(at - start, 15);
}

TEST(EventLoop, ATimerInAMonthDoesNotKeepOthersWaiting) {
  EventLoop loop;
  loop.RunAfter(int64_t{40} * 24 * 3600 * 1000, [] { FAIL(); });
  bool posted = false;
  loop.RunOnce(0);
  loop.Post([&] { posted = true; });
  loop.RunOnce(-1);
  EXPECT_TRUE(posted);
}

TEST(EventLoop, RunOnceReturnsAtItsTimeout) {
  EventLoop loop;
  loop.RunAfter(60'000, [] {});
  const int64_t start = MonotonicMs();
  loop.RunOnce(10);
  EXPECT_LT(MonotonicMs() - start, 5'000);
}

TEST(EventLoop, CallsBackWhileADescriptorIsReadable) {
  EventLoop loop;
  auto [reader, writer] = SocketPair();
  int calls = 0;
  loop.Add(reader.get(), EPOLLIN, [&](uint32_t events) {
    EXPECT_TRUE(events & EPOLLIN);
    ++calls;
  });
  loop.RunOnce(0);
  EXPECT_EQ(calls, 0);
  ASSERT_EQ(::write(writer.get(), "x", 1), 1);
  loop.RunOnce(100);
  loop.RunOnce(100);  // nobody read: level triggered
  EXPECT_EQ(calls, 2);
  loop.Modify(reader.get(), 0);
  loop.RunOnce(0);
  EXPECT_EQ(calls, 2);
}

TEST(EventLoop, ACallbackMayRemoveItselfAndTheOthersOfItsRound) {
  EventLoop loop;
  auto [a_reader, a_writer] = SocketPair();
  auto [b_reader, b_writer] = SocketPair();
  int calls = 0;
  const auto remove_both = [&](uint32_t) {
    ++calls;
    loop.Remove(a_reader.get());
    loop.Remove(b_reader.get());
  };
  loop.Add(a_reader.get(), EPOLLIN, remove_both);
  loop.Add(b_reader.get(), EPOLLIN, remove_both);
  ASSERT_EQ(::write(a_writer.get(), "x", 1), 1);
  ASSERT_EQ(::write(b_writer.get(), "x", 1), 1);
  loop.RunOnce(100);
  loop.RunOnce(0);
  EXPECT_EQ(calls, 1);
}

TEST(EventLoop, AnEventOfAClosedDescriptorDoesNotReachItsSuccessorOfTheSameNumber) {
  EventLoop loop;
  auto [a_reader, a_writer] = SocketPair();
  auto [b_reader, b_writer] = SocketPair();
  int wrong = 0, rounds = 0;
  // Whichever runs first replaces the other by a fresh, silent socket with the same number.
  const auto replace = [&](UniqueFd& victim) {
    if (++rounds > 1) return;
    loop.Remove(victim.get());
    const int number = victim.get();
    auto fresh = SocketPair();
    ASSERT_EQ(dup2(fresh[0].get(), number), number);
    loop.Add(number, EPOLLIN, [&](uint32_t) { ++wrong; });
  };
  loop.Add(a_reader.get(), EPOLLIN, [&](uint32_t) { replace(b_reader); });
  loop.Add(b_reader.get(), EPOLLIN, [&](uint32_t) { replace(a_reader); });
  ASSERT_EQ(::write(a_writer.get(), "x", 1), 1);
  ASSERT_EQ(::write(b_writer.get(), "x", 1), 1);
  loop.RunOnce(100);
  EXPECT_EQ(rounds, 1);
  EXPECT_EQ(wrong, 0);
}

TEST(EventLoop, PostsOfManyThreadsAllRunAndEachThreadsInOrder) {
  EventLoop loop;
  constexpr int kThreads = 4, kPosts = 2'000;
  std::array<int, kThreads> next{};
  int total = 0;
  bool in_order = true;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kPosts; ++i) {
        loop.Post([&, t, i] {
          in_order &= next[t]++ == i;
          if (++total == kThreads * kPosts) loop.Stop();
        });
      }
    });
  }
  loop.Run();
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(total, kThreads * kPosts);
  EXPECT_TRUE(in_order);
}

TEST(EventLoop, APostMadeByAPostRunsInTheNextRound) {
  EventLoop loop;
  int depth = 0;
  loop.Post([&] {
    ++depth;
    loop.Post([&] {
      ++depth;
      loop.Stop();
    });
  });
  loop.Run();
  EXPECT_EQ(depth, 2);
}

TEST(EventLoop, ManyPostsLetDescriptorsHaveTheirTurnAndComeBeforeLaterTimers) {
  EventLoop loop;
  auto [reader, writer] = SocketPair();
  ASSERT_EQ(::write(writer.get(), "x", 1), 1);
  constexpr int kPosts = 2'000;
  int ran = 0, calls = 0, rounds = 0;
  bool in_order = true, timer = false;
  loop.RunOnce(0);
  for (int i = 0; i < kPosts; ++i) {
    loop.Post([&, i] {
      in_order &= ran++ == i;
      const int64_t until = MonotonicNs() + 50'000;
      while (MonotonicNs() < until) {
      }
    });
  }
  loop.RunAfter(1, [&] {
    timer = true;
    EXPECT_EQ(ran, kPosts) << "they were posted before it was due";
  });
  loop.Add(reader.get(), EPOLLIN, [&](uint32_t) { ++calls; });
  for (; !timer; ++rounds) loop.RunOnce(-1);
  EXPECT_TRUE(in_order);
  EXPECT_GE(rounds, 4) << "100 ms of posts in rounds of 10";
  EXPECT_EQ(calls, rounds);
}

TEST(EventLoop, APostMadeByATimerIsNotSleptOver) {
  EventLoop loop;
  loop.RunAfter(1, [&] { loop.Post([&] { loop.Stop(); }); });
  loop.Run();
}

TEST(EventLoop, RunsAgainAfterStop) {
  EventLoop loop;
  for (int i = 0; i < 3; ++i) {
    loop.RunAfter(1, [&] { loop.Stop(); });
    loop.Run();
  }
}

}  // namespace
}  // namespace cyray
