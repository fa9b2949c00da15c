// Timers and posts that end with their owner, so that no callback meets a destroyed object.
//
// A class keeps them as its last members: they are destroyed first, before what their callbacks
// use. Threading: confined to the runtime's loop.

#pragma once

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
  void Stop() {
    if (id_ != 0) runtime_->Cancel(std::exchange(id_, 0));
  }
  bool running() const { return id_ != 0; }

 private:
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
    Stop(key);
    auto timer = std::make_unique<Timer>(runtime_);
    timer->Start(delay_ms, [this, key, callback = std::move(callback)] {
      const std::function<void()> run = callback;
      timers_.erase(key);  // ends this lambda's timer, not `run`
      run();
    });
    timers_.emplace(key, std::move(timer));
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
