// SpinPayoff: spinning goes on while it pays, stops when it does not, and is tried again.

#include "cyray/util/spin_payoff.h"

#include <gtest/gtest.h>

namespace cyray {
namespace {

int SpinsIn(SpinPayoff& payoff, int waits) {
  int spins = 0;
  for (int i = 0; i < waits; ++i) spins += payoff.Worth() ? 1 : 0;
  return spins;
}

TEST(SpinPayoff, SpinsUntilItHasMissedMoreOftenThanNot) {
  SpinPayoff payoff;
  EXPECT_EQ(SpinsIn(payoff, 100), 100);
  payoff.Missed();
  payoff.Missed();
  EXPECT_TRUE(payoff.Worth());
  payoff.Missed();
  EXPECT_FALSE(payoff.Worth());
}

TEST(SpinPayoff, AMissNowAndThenChangesNothing) {
  SpinPayoff payoff;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(payoff.Worth());
    if (i % 3 == 0)
      payoff.Missed();
    else
      payoff.Paid();
  }
}

TEST(SpinPayoff, StopsAtOnceWhenTheCoreWasTaken) {
  SpinPayoff payoff;
  payoff.Preempted();
  EXPECT_FALSE(payoff.Worth());
}

TEST(SpinPayoff, TriesNowAndThenAndGoesOnWhenItPaysAgain) {
  SpinPayoff payoff;
  payoff.Preempted();
  EXPECT_EQ(SpinsIn(payoff, 10 * SpinPayoff::kTryEvery), 10);
  payoff.Paid();
  payoff.Paid();
  EXPECT_FALSE(payoff.Worth());
  payoff.Paid();
  EXPECT_EQ(SpinsIn(payoff, 100), 100);
}

}  // namespace
}  // namespace cyray
