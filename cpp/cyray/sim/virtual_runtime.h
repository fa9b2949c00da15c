// VirtualRuntime: the Runtime of one simulated process, over the world's VirtualTime.
//
// For unit tests of machines that hold timers (cpp_tests/raylet/peer_table_test.cc). The simulator
// of whole clusters (cpp_tests/sim) needs only VirtualTime: it runs the product's own EventLoop,
// below which its kernel answers for libc.
//
// It can be paused, as SIGSTOP does it: its clock goes on, and what became due meanwhile runs when
// it continues, posted functions before timers, as the real loop has it. Destroying it is the death
// of the process: nothing of it runs any more.
// Threading: confined to the simulation's thread.

#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <utility>

#include "cyray/sim/virtual_time.h"
#include "cyray/util/runtime.h"

namespace cyray::sim {

class VirtualRuntime : public Runtime {
 public:
  explicit VirtualRuntime(VirtualTime* time) : time_(time) {}
  ~VirtualRuntime() override;
  VirtualRuntime(const VirtualRuntime&) = delete;
  VirtualRuntime& operator=(const VirtualRuntime&) = delete;

  int64_t NowNs() const override { return time_->now_ns(); }
  int64_t WallMs() const override { return NowMs() + wall_offset_ms_; }
  uint64_t Random() override { return time_->Random(); }
  void Post(std::function<void()> callback) override;
  TimerId RunAfter(int64_t delay_ms, std::function<void()> callback) override;
  void Cancel(TimerId id) override;

  void Pause();
  void Continue();
  bool paused() const { return paused_; }
  // Somebody sets the clock on the wall.
  void StepWallClock(int64_t ms) { wall_offset_ms_ += ms; }

 private:
  static constexpr int64_t kEpochMs = 1'800'000'000'000;
  void Arm();
  void RunRound();

  VirtualTime* const time_;
  int64_t wall_offset_ms_ = kEpochMs;
  bool paused_ = false;
  std::deque<std::function<void()>> posted_;
  std::map<std::pair<int64_t, TimerId>, std::function<void()>> timers_;  // by due time in ns
  std::map<TimerId, int64_t> due_;
  TimerId next_timer_ = 1;
  VirtualTime::EventId round_ = 0;  // the event that runs the next round
  int64_t round_at_ns_ = 0;
};

}  // namespace cyray::sim
