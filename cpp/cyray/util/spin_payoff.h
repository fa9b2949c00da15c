// SpinPayoff: whether to spin before blocking, judged by how often spinning lately paid.
//
// Where the peer needs this core to answer, spinning only keeps it waiting; and a thread that has
// spun its time slice away is not woken at once when something comes. So spinning must pay more
// often than not, and stops at the first sign that somebody else got the core meanwhile. While it
// is off, one wait in kTryEvery tries it, so that it is on again soon when the cores are free.
// Threading: none of its own; pure.

#pragma once

#include <cstdint>

namespace cyray {

class SpinPayoff {
 public:
  static constexpr uint32_t kTryEvery = 32;
  // Between two looks of a thread that spins: longer, and it was off its core. A time slice is
  // longer than this, handling what a look has found hardly ever.
  static constexpr int64_t kPreemptedNs = 1'000'000;

  bool Worth() { return payoff_ >= kWorth || ++skipped_ % kTryEvery == 0; }
  // Something came while it span; nothing came; it was off its core.
  void Paid() { payoff_ += (1 - payoff_) * kWeight; }
  void Missed() { payoff_ -= payoff_ * kWeight; }
  void Preempted() { payoff_ = 0; }

 private:
  static constexpr double kWorth = 0.5;
  static constexpr double kWeight = 0.25;

  double payoff_ = 1;  // 0 to 1
  uint32_t skipped_ = 0;
};

}  // namespace cyray
