// Poller: who waits drives, the steward takes over when nobody does, and nobody sleeps through what
// it waits for. Each test has a deadline far above what it needs; none sleeps.

#include "cyray/core/poller.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "cyray/util/clock.h"

namespace cyray::core {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

// Counts the bytes that arrive on one socket; writes what was gathered when it is flushed.
class PollerTest : public testing::Test, public PollerHandler {
 protected:
  PollerTest() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    mine_ = UniqueFd(ends[0]);
    peer_ = UniqueFd(ends[1]);
    poller_.Watch(mine_.get(), EPOLLIN, &mine_);
  }
  ~PollerTest() override { poller_.StopSteward(); }

  void OnReady(void* cookie, uint32_t) override {
    EXPECT_EQ(cookie, &mine_);
    char bytes[64];
    const ssize_t n = read(mine_.get(), bytes, sizeof bytes);
    if (n > 0) received_ += static_cast<int>(n);
    handled_by_ = std::this_thread::get_id();
  }
  void FlushAll() override {
    if (on_flush_) on_flush_();
    if (gathered_ == 0) return;
    flushed_ += gathered_;
    gathered_ = 0;
  }
  int64_t NextTimerNs() override { return timer_ns_; }
  void RunTimers(int64_t) override {
    timer_ns_ = kForever;
    ++timers_run_;
  }

  void PeerWrites() { ASSERT_EQ(write(peer_.get(), "x", 1), 1); }
  bool WaitFor(int bytes, int64_t limit_ns = 20 * kSecond) {
    std::unique_lock lock(mutex_);
    return poller_.WaitUntil(lock, MonotonicNs() + limit_ns, [&] { return received_ >= bytes; });
  }
  // Without driving: what others bring about, the steward for instance.
  template <class Condition>
  bool Watch(Condition condition) {
    const int64_t deadline = MonotonicNs() + 20 * kSecond;
    while (MonotonicNs() < deadline) {
      {
        std::lock_guard lock(mutex_);
        if (condition()) return true;
      }
      std::this_thread::yield();
    }
    return false;
  }
  // Until some thread blocks in the seat.
  bool DriverBlocks() {
    return Watch([&] { return poller_.DriverBlocked(); });
  }

  std::mutex mutex_;
  UniqueFd mine_, peer_;
  Poller poller_{mutex_, *this};
  // Guarded by mutex_.
  int received_ = 0, gathered_ = 0, flushed_ = 0, timers_run_ = 0;
  int64_t timer_ns_ = kForever;
  std::thread::id handled_by_;
  std::function<void()> on_flush_;
};

TEST_F(PollerTest, WhoWaitsHandlesWhatArrives) {
  PeerWrites();
  EXPECT_TRUE(WaitFor(1));
  EXPECT_EQ(handled_by_, std::this_thread::get_id());
}

TEST_F(PollerTest, AWaitEndsAtItsDeadline) {
  const int64_t start = MonotonicNs();
  EXPECT_FALSE(WaitFor(1, 5'000'000));
  EXPECT_GE(MonotonicNs() - start, 5'000'000);
  EXPECT_LT(MonotonicNs() - start, 10 * kSecond);
}

TEST_F(PollerTest, WaitingWithNoTimeStillHandlesWhatIsThere) {
  poller_.StartSteward();
  PeerWrites();
  EXPECT_TRUE(WaitFor(1, 0));
}

TEST_F(PollerTest, TheStewardHandlesWhatArrivesWhenNobodyWaits) {
  poller_.StartSteward();
  PeerWrites();
  EXPECT_TRUE(Watch([&] { return received_ == 1; }));
  PeerWrites();
  EXPECT_TRUE(Watch([&] { return received_ == 2; }));
  EXPECT_NE(handled_by_, std::this_thread::get_id());
}

TEST_F(PollerTest, TheStewardFlushesWhatWasGathered) {
  poller_.StartSteward();
  PeerWrites();
  ASSERT_TRUE(Watch([&] { return received_ == 1; }));  // it blocks in epoll now, or soon
  {
    std::lock_guard lock(mutex_);
    ++gathered_;
    poller_.NoteActivity();
  }
  EXPECT_TRUE(Watch([&] { return flushed_ == 1; }));
}

TEST_F(PollerTest, TheStewardTakesOverAgainAfterEachWait) {
  poller_.StartSteward();
  for (int round = 1; round <= 40; round += 2) {
    PeerWrites();
    ASSERT_TRUE(WaitFor(round));
    PeerWrites();
    ASSERT_TRUE(Watch([&] { return received_ >= round + 1; })) << round;
  }
}

TEST_F(PollerTest, TheStewardRunsTimersThatWereSetWhileItHadLostItsSeat) {
  poller_.StartSteward();
  PeerWrites();
  ASSERT_TRUE(Watch([&] { return received_ == 1; }));
  std::thread peer([&] {
    DriverBlocks();
    PeerWrites();
  });
  ASSERT_TRUE(WaitFor(2));  // from the seat of the steward, which may sit in epoll still
  {
    std::lock_guard lock(mutex_);
    timer_ns_ = MonotonicNs() + 2'000'000;
    poller_.NoteTimer(timer_ns_);
  }
  peer.join();
  EXPECT_TRUE(Watch([&] { return timers_run_ == 1; }));
}

TEST_F(PollerTest, TwoThreadsThatWaitForOneThingBothGetItAndTheStewardGoesOn) {
  poller_.StartSteward();
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> done = 0;
    std::vector<std::thread> waiters;
    for (int i = 0; i < 2; ++i) {
      waiters.emplace_back([&] { done += WaitFor(2 * round + 1) ? 1 : 0; });
    }
    PeerWrites();
    for (std::thread& waiter : waiters) waiter.join();
    ASSERT_EQ(done, 2) << round;
    // The last to leave may not have had the seat: the steward must be at work all the same.
    PeerWrites();
    ASSERT_TRUE(Watch([&] { return received_ == 2 * round + 2; })) << round;
  }
}

TEST_F(PollerTest, ASecondThreadDrivesOnWhenTheFirstLeaves) {
  std::thread first([&] { EXPECT_TRUE(WaitFor(1)); });
  ASSERT_TRUE(DriverBlocks());
  std::thread second([&] { EXPECT_TRUE(WaitFor(2)); });
  PeerWrites();
  first.join();
  PeerWrites();
  second.join();
}

TEST_F(PollerTest, AThreadThatSleepsBesideTheDriverHasItsFramesWritten) {
  std::thread driver([&] { EXPECT_TRUE(WaitFor(1)); });
  ASSERT_TRUE(DriverBlocks());
  std::thread other([&] {
    std::unique_lock lock(mutex_);
    ++gathered_;
    EXPECT_TRUE(poller_.WaitUntil(lock, kForever, [&] { return received_ >= 1; }));
  });
  EXPECT_TRUE(Watch([&] { return flushed_ == 1; }));
  PeerWrites();
  driver.join();
  other.join();
}

TEST_F(PollerTest, ABlockedDriverWritesWhatOthersGatheredWhenAsked) {
  std::thread driver([&] { EXPECT_TRUE(WaitFor(1)); });
  for (int round = 1; round <= 20; ++round) {
    ASSERT_TRUE(DriverBlocks());
    std::lock_guard lock(mutex_);
    ++gathered_;
    poller_.NoteGathered();
  }
  EXPECT_TRUE(Watch([&] { return flushed_ == 20; }));
  PeerWrites();
  driver.join();
}

TEST_F(PollerTest, ABlockedDriverSeesWhatAnotherThreadHandled) {
  // An event loop of Python's polls by itself while another thread waits in the seat.
  for (int round = 1; round <= 200; ++round) {
    std::thread driver([&] { EXPECT_TRUE(WaitFor(round)); });
    DriverBlocks();
    PeerWrites();
    {
      std::unique_lock lock(mutex_);
      poller_.PollNow(lock);
    }
    driver.join();
  }
}

TEST_F(PollerTest, ABlockedDriverSeesWhatChangedWithoutAFrame) {
  std::thread driver([&] { EXPECT_TRUE(WaitFor(1)); });
  ASSERT_TRUE(DriverBlocks());
  {
    std::lock_guard lock(mutex_);
    received_ = 1;
    poller_.WakeWaiters();
  }
  driver.join();
}

TEST_F(PollerTest, ADriverThatSpinsSeesWhatAnotherThreadHandledBeforeItBlocks) {
  on_flush_ = [this, flushes = 0]() mutable {
    if (++flushes != 2) return;  // the second is after the spinning
    received_ = 1;               // as if another thread had
    poller_.WakeWaiters();
  };
  timer_ns_ = MonotonicNs() + 10 * kSecond;
  EXPECT_TRUE(WaitFor(1));
  EXPECT_EQ(timers_run_, 0) << "it slept until the timer";
}

TEST_F(PollerTest, ManyThreadsAndTheStewardLoseNothing) {
  poller_.StartSteward();
  constexpr int kThreads = 4, kRounds = 300;
  std::atomic<int> waits = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int round = 1; round <= kRounds; ++round) waits += WaitFor(round) ? 1 : 0;
    });
  }
  for (int round = 1; round <= kRounds; ++round) {
    PeerWrites();
    ASSERT_TRUE(Watch([&] { return received_ >= round; })) << round;
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(waits, kThreads * kRounds);
}

// The steward, which lost its seat, and the driver both wait in epoll: whoever reads what woke it
// must not take it from the other.
TEST_F(PollerTest, TheStewardStopsThoughADriverIsWokenInTheSameMoment) {
  for (int round = 0; round < 100; ++round) {
    const int seen = received_;  // no steward runs
    poller_.StartSteward();
    PeerWrites();
    ASSERT_TRUE(Watch([&] { return received_ > seen; })) << round;  // by the steward, in its seat
    bool leave = false;
    std::thread waiting([&] {
      std::unique_lock lock(mutex_);
      poller_.WaitUntil(lock, kForever, [&] { return leave; });
    });
    ASSERT_TRUE(DriverBlocks()) << round;
    {
      std::lock_guard lock(mutex_);
      leave = true;
      poller_.WakeWaiters();
    }
    poller_.StopSteward();  // ends
    waiting.join();
  }
}

TEST_F(PollerTest, ATimerThatAnotherThreadArmsWakesADriverThatBlocks) {
  bool done = false;
  std::thread waiting([&] {
    std::unique_lock lock(mutex_);
    done = poller_.WaitUntil(lock, MonotonicNs() + 20 * kSecond, [&] { return timers_run_ > 0; });
  });
  ASSERT_TRUE(DriverBlocks());
  {
    std::lock_guard lock(mutex_);
    timer_ns_ = MonotonicNs();
    poller_.NoteTimer(timer_ns_);
  }
  waiting.join();
  EXPECT_TRUE(done);
}

TEST_F(PollerTest, AForkedChildHoldsNoSocketOfItsParent) {
  int gate[2];
  ASSERT_EQ(pipe(gate), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    peer_.reset();
    poller_.AbandonAfterFork();
    close(gate[1]);
    char byte;
    _exit(read(gate[0], &byte, 1) == 0 ? 0 : 1);  // lives until the parent has looked
  }
  close(gate[0]);
  mine_.reset();
  pollfd end{peer_.get(), POLLIN, 0};
  EXPECT_EQ(poll(&end, 1, 20'000), 1) << "the child keeps the connection open";
  char byte;
  EXPECT_EQ(read(peer_.get(), &byte, 1), 0);
  close(gate[1]);
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace cyray::core
