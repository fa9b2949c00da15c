// Timers and posts that end with their owner, so that no callback meets a destroyed object.
//
// A class keeps them as its last members: they are destroyed first, before what their callbacks
// use. Threading: confined to the runtime's loop.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cyray/util/runtime.h"

namespace cyray {

// One shot. A callback may start it again, or destroy it.
class Timer {
 public:
  explicit Timer(Runtime* runtime) : runtime_(runtime) {}
  ~Timer() { Stop(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Runs `callback` once, `delay_ms` from now, instead of what it was set to.
  void Start(int64_t delay_ms, std::function<void()> callback) {
    Stop();
    id_ = runtime_->RunAfter(delay_ms, [this, callback = std::move(callback)]() mutable {
      id_ = 0;
      const std::function<void()> run = std::move(callback);  // `this` may end in it
      run();
    });
  }
  // The same, unless it runs already.
  void StartOnce(int64_t delay_ms, std::function<void()> callback) {
    if (!running()) Start(delay_ms, std::move(callback));
  }
  // Runs `callback` once another process has had `limit_ms` for what it is to do. Time in which
  // this process stood still (stopped, or with its machine) does not count: the other one may have
  // stood still, too, and what it has said is not read yet.
  void Allow(int64_t limit_ms, std::function<void()> callback) {
    const int64_t step_ms = std::clamp<int64_t>(limit_ms, 0, kStepMs);
    const int64_t due_ms = runtime_->NowMs() + step_ms;
    Start(step_ms, [this, limit_ms, step_ms, due_ms, callback = std::move(callback)]() mutable {
      const bool stood_still = runtime_->NowMs() - due_ms > kStoodStillMs;
      const int64_t left_ms = stood_still ? std::max<int64_t>(limit_ms, 1) : limit_ms - step_ms;
      if (left_ms > 0) return Allow(left_ms, std::move(callback));
      callback();
    });
  }
  void Stop() {
    if (id_ != 0) runtime_->Cancel(std::exchange(id_, 0));
  }
  bool running() const { return id_ != 0; }

 private:
  static constexpr int64_t kStepMs = 1'000;      // the most of what Allow does not count
  static constexpr int64_t kStoodStillMs = 500;  // a timer that is later than that
  Runtime* const runtime_;
  Runtime::TimerId id_ = 0;
};

// A timer for each key: of workers, requests, nodes.
template <class Key>
class Timers {
 public:
  explicit Timers(Runtime* runtime) : runtime_(runtime) {}

  // Replaces what ran for `key`. The callback may start or stop timers, its own too.
  void Start(const Key& key, int64_t delay_ms, std::function<void()> callback) {
    Replace(key)->Start(delay_ms, Ending(key, std::move(callback)));
  }
  // The same, as Timer::Allow.
  void Allow(const Key& key, int64_t limit_ms, std::function<void()> callback) {
    Replace(key)->Allow(limit_ms, Ending(key, std::move(callback)));
  }
  void Stop(const Key& key) { timers_.erase(key); }
  void StopAll() { timers_.clear(); }
  bool running(const Key& key) const { return timers_.contains(key); }
  std::vector<Key> keys() const {
    std::vector<Key> running;
    for (const auto& [key, timer] : timers_) running.push_back(key);
    return running;
  }
  size_t size() const { return timers_.size(); }

 private:
  Timer* Replace(const Key& key) {
    std::unique_ptr<Timer>& timer = timers_[key];
    timer = std::make_unique<Timer>(runtime_);
    return timer.get();
  }
  // Ends the timer before its callback runs.
  std::function<void()> Ending(const Key& key, std::function<void()> callback) {
    return [this, key, callback = std::move(callback)] {
      const std::function<void()> run = callback;
      timers_.erase(key);  // ends this lambda's timer, not `run`
      run();
    };
  }

  Runtime* const runtime_;
  std::unordered_map<Key, std::unique_ptr<Timer>> timers_;
};

// Posts of one owner: those that have not run when it ends never do.
class Posts {
 public:
  explicit Posts(Runtime* runtime) : runtime_(runtime) {}
  Posts(const Posts&) = delete;
  Posts& operator=(const Posts&) = delete;

  void Post(std::function<void()> callback) {
    runtime_->Post([alive = std::weak_ptr<char>(alive_), callback = std::move(callback)] {
      if (!alive.expired()) callback();
    });
  }

 private:
  Runtime* const runtime_;
  const std::shared_ptr<char> alive_ = std::make_shared<char>();  // owned here alone
};

}  // namespace cyray
