// Tests of GcsLease, alone and against the GCS's Membership: when a node may have been declared
// dead it has ended before, and no pause of anybody ends a node that can be reached.

#include "cyray/raylet/gcs_lease.h"

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <random>

#include "cyray/gcs/membership.h"

namespace cyray::raylet {
namespace {

TEST(GcsLease, BeatsAtEachTickAndEndsWhenNothingComesBack) {
  GcsLease lease(/*head=*/false);
  lease.Start(0, 0);
  int beats = 0, asks = 0;
  for (int64_t now = 250; now < 6000; now += 250) {
    const GcsLease::Turn turn = lease.Tick(now);
    beats += turn.beat;
    asks += turn.ask;
    ASSERT_FALSE(turn.fence) << now;
  }
  EXPECT_EQ(beats, 23);
  EXPECT_EQ(asks, 16);
  EXPECT_TRUE(lease.Tick(6000).fence);
}

TEST(GcsLease, AnAnswerCountsFromWhenItsHeartbeatWasSent) {
  GcsLease lease(/*head=*/false);
  lease.Start(0, 0);
  for (int64_t now = 250; now <= 5000; now += 250) (void)lease.Tick(now);
  lease.OnAck(1000);  // it took four seconds
  for (int64_t now = 5250; now < 7000; now += 250) ASSERT_FALSE(lease.Tick(now).fence) << now;
  EXPECT_TRUE(lease.Tick(7000).fence);
}

TEST(GcsLease, AWitnessThatHearsNothingEitherKeepsItGoing) {
  GcsLease lease(/*head=*/false);
  lease.Start(0, 0);
  for (int64_t now = 250; now <= 60'000; now += 250) {
    ASSERT_FALSE(lease.Tick(now).fence) << now;
    if (now >= 2000) lease.OnTestimony(now, /*quiet=*/true);
  }
  // One that hears of the GCS again takes nothing back: it says nothing of this node's own path.
  for (int64_t now = 60'250; now <= 61'500; now += 250) {
    lease.OnTestimony(now, /*quiet=*/false);
    ASSERT_FALSE(lease.Tick(now).fence) << now;
  }
  EXPECT_TRUE(lease.Tick(61'750).fence);
}

TEST(GcsLease, KnowsForHowLongTheGcsWasHeardOfWithoutAGap) {
  GcsLease lease(/*head=*/false);
  EXPECT_EQ(lease.HeardForMs(5000), 0);
  lease.Start(10'000, 10'000);
  const auto run = [&](int64_t from, int64_t to, bool answered) {
    for (int64_t now = from; now <= to; now += 250) {
      (void)lease.Tick(now);
      if (answered) lease.OnAck(now);
    }
  };
  run(10'250, 20'000, true);
  EXPECT_EQ(lease.HeardForMs(20'000), 10'000);
  run(20'250, 23'000, false);
  EXPECT_EQ(lease.HeardForMs(23'000), 0);
  run(23'250, 25'250, true);
  EXPECT_EQ(lease.HeardForMs(25'250), 2000);
  (void)lease.Tick(40'000);  // this process stood still
  EXPECT_EQ(lease.HeardForMs(40'000), 0);
  lease.OnAck(40'000);
  EXPECT_EQ(lease.HeardForMs(40'100), 100);
}

TEST(GcsLease, AnOldTestimonyIsNone) {
  GcsLease lease(/*head=*/false);
  lease.Start(0, 0);
  for (int64_t now = 250; now <= 5750; now += 250) (void)lease.Tick(now);
  lease.OnTestimony(4750, /*quiet=*/true);
  EXPECT_FALSE(lease.Tick(6000).fence);
  EXPECT_FALSE(lease.Tick(6250).fence);
  EXPECT_TRUE(lease.Tick(6500).fence);
}

TEST(GcsLease, AfterAPauseOfItsOwnItWaitsToBeTold) {
  GcsLease lease(/*head=*/false);
  lease.Start(0, 0);
  (void)lease.Tick(250);
  EXPECT_FALSE(lease.Tick(60'000).fence);
  EXPECT_FALSE(lease.IsQuiet(60'000)) << "the silence was its own";
  for (int64_t now = 60'250; now < 63'000; now += 250) ASSERT_FALSE(lease.Tick(now).fence) << now;
  EXPECT_TRUE(lease.Tick(63'000).fence);
}

TEST(GcsLease, ItTicksWhenItMustEndAndNotOnlyNowAndThen) {
  GcsLease lease(/*head=*/false);
  lease.Start(0, 0);
  int64_t now = 250;
  while (true) {
    const GcsLease::Turn turn = lease.Tick(now);
    if (now == 1000) lease.OnAck(330);
    if (turn.fence) break;
    ASSERT_LT(now, 6330);
    now += turn.next_ms;
  }
  EXPECT_EQ(now, 6330);
}

TEST(GcsLease, AHelloCountsFromWhenItWasSent) {
  GcsLease lease(/*head=*/false);
  lease.Start(/*hello_ms=*/0, /*now_ms=*/4000);  // the answer was long on its way
  for (int64_t now = 4250; now < 6000; now += 250) ASSERT_FALSE(lease.Tick(now).fence) << now;
  EXPECT_TRUE(lease.Tick(6000).fence);
}

TEST(GcsLease, PausesGiveANodeThatWasSilentBeforeNoMoreThanItHadLeft) {
  GcsLease lease(/*head=*/false);
  lease.Start(0, 0);
  for (int64_t now = 250; now <= 5250; now += 250) (void)lease.Tick(now);
  EXPECT_FALSE(lease.Tick(6100).fence) << "due at 5500, when 500 were left";
  EXPECT_FALSE(lease.Tick(6350).fence);
  EXPECT_TRUE(lease.Tick(6600).fence);
}

TEST(GcsLease, NotEvenPausesAgainAndAgainKeepASilentNodeGoing) {
  GcsLease lease(/*head=*/false);
  lease.Start(0, 0);
  int64_t now = 250;
  for (int tick = 0; tick < 100; ++tick) {
    const GcsLease::Turn turn = lease.Tick(now);
    if (turn.fence) break;
    now += turn.next_ms + 600;  // each tick is late
  }
  EXPECT_LT(now, 15'000);
}

TEST(GcsLease, APauseDuringASilenceOfTheGcsEndsNobody) {
  GcsLease lease(/*head=*/false);
  lease.Start(0, 0);
  int64_t now = 250;
  for (; now <= 20'000; now += 250) {
    ASSERT_FALSE(lease.Tick(now).fence) << now;
    if (now >= 2000) lease.OnTestimony(now, /*quiet=*/true);
  }
  now += 5000;  // longer than a testimony holds
  for (const int64_t end = now + 3000; now < end; now += 250) {
    ASSERT_FALSE(lease.Tick(now).fence) << now;
  }
  EXPECT_TRUE(lease.Tick(now).fence);
}

TEST(GcsLease, TheHeadTestifiesOfASilenceThatAHeartbeatOfItsOwnHasMet) {
  GcsLease lease(/*head=*/true);
  lease.Start(0, 0);
  int beats = 0;
  const auto run = [&](int64_t from, int64_t to, bool answered) {
    for (int64_t now = from; now <= to; now += 250) {
      const bool beat = lease.Tick(now).beat;
      beats += beat;
      if (beat && answered) lease.OnAck(now);
    }
  };
  run(250, 4000, true);
  EXPECT_EQ(beats, 4);
  EXPECT_FALSE(lease.IsQuiet(4250)) << "the last beat was answered";
  run(4250, 5750, false);  // the beat at 4250 is not
  EXPECT_FALSE(lease.IsQuiet(5999));
  EXPECT_TRUE(lease.IsQuiet(6000));
  lease.OnAck(4250);  // the one at 5250 is on its way
  EXPECT_FALSE(lease.IsQuiet(6000));
}

TEST(GcsLease, TheHeadIsNeverFencedAndAsksNobody) {
  GcsLease lease(/*head=*/true);
  lease.Start(0, 0);
  for (int64_t now = 250; now <= 20'000; now += 250) {
    const GcsLease::Turn turn = lease.Tick(now);
    ASSERT_FALSE(turn.fence || turn.ask) << now;
  }
  EXPECT_TRUE(lease.IsQuiet(20'000));
}

// A head's raylet, a GCS that stands still, dies and starts again, and a node that may be cut off
// from both, in steps of ten milliseconds. Messages take one to five steps.
class Timeline {
 public:
  static constexpr int64_t kStepMs = 10;
  explicit Timeline(unsigned seed) : random_(seed) {
    StartGcs();
    head_.Start(0, 0);
    node_.Start(0, 0);
  }

  void Step() {
    now_ += kStepMs;
    for (size_t i = messages_.size(); i-- > 0;) {
      if (messages_[i].at_ms > now_ || !(messages_[i].to_gcs ? gcs_runs() : true)) continue;
      const std::function<void()> deliver = std::move(messages_[i].deliver);
      messages_.erase(messages_.begin() + static_cast<std::ptrdiff_t>(i));
      deliver();
    }
    if (gcs_runs() && gcs_->NextTick() && *gcs_->NextTick() <= now_ && !gcs_->Tick(now_).empty()) {
      verdict_ms_ = now_;
    }
    Turn(head_, head_tick_, /*is_node=*/false);
    if (!fenced_ms_) Turn(node_, node_tick_, /*is_node=*/true);
  }

  void PauseGcs(int64_t ms) { gcs_resumes_ms_ = now_ + ms; }
  void KillGcs(int64_t ms) {
    gcs_.reset();
    messages_.clear();
    gcs_starts_ms_ = now_ + ms;
  }
  void Cut(bool cut) { cut_ = cut; }
  int64_t now() const { return now_; }
  std::optional<int64_t> verdict_ms() const { return verdict_ms_; }
  std::optional<int64_t> fenced_ms() const { return fenced_ms_; }
  bool over() const { return verdict_ms_ && fenced_ms_; }

 private:
  struct Message {
    int64_t at_ms;
    bool to_gcs;
    std::function<void()> deliver;
  };
  bool gcs_runs() {
    if (gcs_ == nullptr && now_ >= gcs_starts_ms_) StartGcs();
    return gcs_ != nullptr && now_ >= gcs_resumes_ms_;
  }
  void StartGcs() {
    gcs_ = std::make_unique<gcs::Membership>();
    gcs_->Restore(id_, now_);
    up_ = false;
  }
  void Send(bool to_gcs, std::function<void()> deliver) {
    messages_.push_back(
        {now_ + kStepMs * (1 + static_cast<int64_t>(random_() % 5)), to_gcs, std::move(deliver)});
  }
  void Turn(GcsLease& lease, int64_t& tick_ms, bool is_node) {
    if (now_ < tick_ms) return;
    const GcsLease::Turn turn = lease.Tick(now_);
    tick_ms = now_ + turn.next_ms;
    if (random_() % 8 == 0) tick_ms += static_cast<int64_t>(random_() % 500);  // a busy machine
    if (turn.fence) fenced_ms_ = now_;
    if (turn.ask && !cut_) {
      Send(false, [this, asked = now_] {
        if (cut_) return;
        Send(false, [this, asked, quiet = head_.IsQuiet(now_)] {
          if (!cut_) node_.OnTestimony(asked, quiet);
        });
      });
    }
    if (turn.beat && !(is_node && cut_)) Beat(lease, is_node);
  }
  // To the GCS that runs when it comes; the first one of a stream is the hello.
  void Beat(GcsLease& lease, bool is_node) {
    Send(true, [this, &lease, is_node, sent = now_] {
      if (is_node && cut_) return;
      if (is_node && !std::exchange(up_, true)) gcs_->Up(id_, now_);
      if (is_node) gcs_->Heard(id_, now_);
      Send(false, [this, &lease, is_node, sent] {
        if (!(is_node && cut_)) lease.OnAck(sent);
      });
    });
  }

  std::mt19937 random_;
  int64_t now_ = 0;
  const NodeId id_ = NodeId::Random();
  std::unique_ptr<gcs::Membership> gcs_;
  bool up_ = false;
  int64_t gcs_resumes_ms_ = 0, gcs_starts_ms_ = 0;
  GcsLease head_{/*head=*/true}, node_{/*head=*/false};
  int64_t head_tick_ = 250, node_tick_ = 250;
  bool cut_ = false;
  std::deque<Message> messages_;
  std::optional<int64_t> verdict_ms_, fenced_ms_;
};

TEST(GcsLeaseAndMembership, ANodeThatCanBeReachedOutlivesEveryPauseAndRestartOfTheGcs) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int run = 0; run < 20; ++run) {
    Timeline line(static_cast<unsigned>(random()));
    for (int i = 0; i < 10; ++i) {
      const auto length = static_cast<int64_t>(random() % 20'000);
      random() % 2 == 0 ? line.PauseGcs(length) : line.KillGcs(length);
      const int64_t end = line.now() + length + 1000 + static_cast<int64_t>(random() % 10'000);
      while (line.now() < end) line.Step();
      ASSERT_FALSE(line.verdict_ms()) << "at " << *line.verdict_ms();
      ASSERT_FALSE(line.fenced_ms()) << "at " << *line.fenced_ms();
    }
  }
}

TEST(GcsLeaseAndMembership, ANodeThatIsCutOffHasEndedWhenItIsDeclaredDead) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int run = 0; run < 300; ++run) {
    Timeline line(static_cast<unsigned>(random()));
    const auto stop = [&](int64_t until) {
      while (line.now() < until && !line.verdict_ms()) line.Step();
    };
    stop(1000 + static_cast<int64_t>(random() % 5000));
    // The GCS may pause or die at about the same time.
    const auto strike = [&] {
      const auto length = static_cast<int64_t>(random() % 12'000);
      switch (random() % 3) {
        case 0:
          return line.PauseGcs(length);
        case 1:
          return line.KillGcs(length);
        default:
          return;
      }
    };
    strike();
    stop(line.now() + static_cast<int64_t>(random() % 6000));
    line.Cut(true);
    stop(line.now() + static_cast<int64_t>(random() % 6000));
    strike();
    stop(line.now() + 60'000);
    ASSERT_TRUE(line.verdict_ms());
    ASSERT_TRUE(line.fenced_ms()) << "declared dead at " << *line.verdict_ms();
    ASSERT_LT(*line.fenced_ms(), *line.verdict_ms());
  }
}

}  // namespace
}  // namespace cyray::raylet
