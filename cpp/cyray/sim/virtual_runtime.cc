#include "cyray/sim/virtual_runtime.h"

#include <algorithm>

namespace cyray::sim {

VirtualRuntime::~VirtualRuntime() { time_->Cancel(round_); }

void VirtualRuntime::Post(std::function<void()> callback) {
  posted_.push_back(std::move(callback));
  Arm();
}

Runtime::TimerId VirtualRuntime::RunAfter(int64_t delay_ms, std::function<void()> callback) {
  const TimerId id = next_timer_++;
  const int64_t due = time_->now_ns() + std::max<int64_t>(delay_ms, 0) * 1'000'000;
  timers_.emplace(std::pair(due, id), std::move(callback));
  due_.emplace(id, due);
  Arm();
  return id;
}

void VirtualRuntime::Cancel(TimerId id) {
  const auto it = due_.find(id);
  if (it == due_.end()) return;
  timers_.erase({it->second, id});
  due_.erase(it);
}

void VirtualRuntime::Pause() {
  paused_ = true;
  time_->Cancel(round_);
  round_ = 0;
}

void VirtualRuntime::Continue() {
  paused_ = false;
  Arm();
}

// Keeps one event of the world at the next moment at which something of this process is due.
void VirtualRuntime::Arm() {
  if (paused_ || (posted_.empty() && timers_.empty())) return;
  const int64_t due =
      posted_.empty() ? std::max(timers_.begin()->first.first, time_->now_ns()) : time_->now_ns();
  if (round_ != 0 && round_at_ns_ <= due) return;
  time_->Cancel(round_);
  round_at_ns_ = due;
  round_ = time_->At(due, [this] { RunRound(); });
}

void VirtualRuntime::RunRound() {
  round_ = 0;
  std::deque<std::function<void()>> batch;
  batch.swap(posted_);
  // What a callback posts runs in a later round; one that pauses the process ends this one.
  while (!batch.empty() && !paused_) {
    const std::function<void()> callback = std::move(batch.front());
    batch.pop_front();
    callback();
  }
  posted_.insert(posted_.begin(), std::make_move_iterator(batch.begin()),
                 std::make_move_iterator(batch.end()));
  while (!paused_ && !timers_.empty() && timers_.begin()->first.first <= time_->now_ns()) {
    auto timer = timers_.extract(timers_.begin());
    due_.erase(timer.key().second);
    timer.mapped()();
  }
  Arm();
}

}  // namespace cyray::sim
