// Tests of Membership: who is dead, and who only seemed to be because this process stood still.

#include "cyray/gcs/membership.h"

#include <gtest/gtest.h>

#include <random>

namespace cyray::gcs {
namespace {

using State = Membership::State;

class MembershipTest : public testing::Test {
 protected:
  // Ticks as a loop does that was not paused, until `now_ms`; counts the dead.
  size_t RunTo(int64_t now_ms) {
    size_t dead = 0;
    while (members_.NextTick() && *members_.NextTick() <= now_ms) {
      dead += members_.Tick(*members_.NextTick()).size();
    }
    return dead;
  }

  Membership members_{{.silence_ms = 6000,
                       .reconnect_ms = 5000,
                       .first_stream_ms = 15'000,
                       .restored_ms = 10'000,
                       .tick_ms = 500,
                       .late_ms = 500}};
  const NodeId node_ = NodeId::Random();
};

TEST_F(MembershipTest, ANodeIsSuspectUntilItsStreamIsUpAndAgainWhenItBroke) {
  EXPECT_EQ(members_.StateOf(node_), State::kUnknown);
  members_.Join(node_, 0);
  EXPECT_EQ(members_.StateOf(node_), State::kSuspect);
  members_.Up(node_, 10);
  EXPECT_EQ(members_.StateOf(node_), State::kAlive);
  members_.Down(node_, 20);
  EXPECT_EQ(members_.StateOf(node_), State::kSuspect);
  members_.Up(node_, 30);
  EXPECT_EQ(members_.StateOf(node_), State::kAlive);
  members_.End(node_);
  members_.Up(node_, 40);
  EXPECT_EQ(members_.StateOf(node_), State::kUnknown);
}

TEST_F(MembershipTest, ASilentNodeIsDeadAfterItsTimeAndNotBefore) {
  members_.Join(node_, 0);
  members_.Up(node_, 100);
  members_.Heard(node_, 1000);
  EXPECT_EQ(RunTo(6999), 0u);
  EXPECT_EQ(RunTo(8000), 1u);
  EXPECT_EQ(members_.StateOf(node_), State::kUnknown);
}

// As shipped: a connection to the GCS may be broken for five seconds.
TEST(MembershipTiming, ANodeThatComesBackWithinFiveSecondsLives) {
  Membership members{Membership::Timing{}};
  const NodeId node = NodeId::Random();
  members.Join(node, 0);
  members.Up(node, 100);
  members.Down(node, 1'000);
  const auto run_to = [&members](int64_t now_ms) {
    size_t dead = 0;
    while (members.NextTick() && *members.NextTick() <= now_ms) {
      dead += members.Tick(*members.NextTick()).size();
    }
    return dead;
  };
  EXPECT_EQ(run_to(6'100), 0u);
  members.Up(node, 6'100);
  members.Down(node, 7'000);
  EXPECT_EQ(run_to(15'000), 1u) << "not for ever";
}

TEST_F(MembershipTest, ABrokenStreamIsNotADeath) {
  members_.Join(node_, 0);
  members_.Up(node_, 0);
  EXPECT_EQ(RunTo(3000), 0u);
  members_.Down(node_, 3000);
  EXPECT_EQ(RunTo(7500), 0u);
  members_.Up(node_, 7500);
  EXPECT_EQ(RunTo(13'000), 0u);
  EXPECT_EQ(RunTo(14'500), 1u);
}

TEST_F(MembershipTest, WhatIsHeardOfASuspectWithoutAStreamDoesNotCount) {
  members_.Join(node_, 0);
  for (int64_t now = 0; now < 14'000; now += 1000) members_.Heard(node_, now);
  EXPECT_EQ(RunTo(16'000), 1u);
}

TEST_F(MembershipTest, APauseOfThisProcessIsNobodysSilence) {
  members_.Join(node_, 0);
  members_.Up(node_, 0);
  EXPECT_EQ(RunTo(5500), 0u);
  EXPECT_TRUE(members_.Tick(65'500).empty()) << "stopped for a minute";
  EXPECT_EQ(RunTo(65'999), 0u);
  EXPECT_EQ(RunTo(67'000), 1u) << "what was left of its time has passed";
}

TEST_F(MembershipTest, WhoWasHeardJustAfterAPauseHasNoMoreThanItsTime) {
  members_.Join(node_, 0);
  members_.Up(node_, 0);
  EXPECT_EQ(RunTo(1000), 0u);
  members_.Heard(node_, 61'400);  // read before the late tick, as the loop has it
  EXPECT_TRUE(members_.Tick(61'500).empty());
  EXPECT_EQ(RunTo(67'400), 0u);
  EXPECT_EQ(RunTo(68'500), 1u);
}

TEST_F(MembershipTest, AMessageBetweenTwoTicksSavesAnOverdueNode) {
  members_.Join(node_, 0);
  members_.Up(node_, 0);
  EXPECT_EQ(RunTo(6000), 0u);
  members_.Heard(node_, 6100);
  EXPECT_EQ(RunTo(12'000), 0u);
}

TEST_F(MembershipTest, ARestoredNodeHasTimeToComeBack) {
  members_.Restore(node_, 0);
  EXPECT_EQ(RunTo(9999), 0u);
  EXPECT_EQ(RunTo(11'000), 1u);
}

// Whatever happens, pauses too: nobody is dead who was heard within its time, as far as this
// process ran; whoever is silent dies soon after.
TEST_F(MembershipTest, RandomHistoriesAgreeWithAClockThatStandsStillInPauses) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int run = 0; run < 200; ++run) {
    Membership members;
    const NodeId node = NodeId::Random();
    members.Join(node, 0);
    members.Up(node, 0);
    int64_t heard_ms = 0, paused_ms = 0;  // pauses since it was heard
    bool alive = true;
    while (alive) {
      const int64_t pause = random() % 8 == 0 ? 600 + static_cast<int64_t>(random() % 20'000) : 0;
      const int64_t now = *members.NextTick() + pause;
      paused_ms += pause;
      if (random() % 6 == 0) {
        members.Heard(node, now);
        heard_ms = now;
        paused_ms = 0;
      }
      alive = members.Tick(now).empty();
      const int64_t silent_ms = now - heard_ms - paused_ms;
      if (alive) {
        ASSERT_LE(silent_ms, 7500);
      } else {
        ASSERT_GE(silent_ms, 6000);
      }
    }
  }
}

}  // namespace
}  // namespace cyray::gcs
