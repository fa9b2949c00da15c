// EventLoop: epoll, timers and posted functions for the daemons: the real Runtime.
//
// A round: descriptors that are ready, then posted functions, then timers. What has arrived is so
// handled before anything is taken for overdue, also after the process stood still. Posted
// functions have 10 ms of a round: however many there are, descriptors have their turn; timers that
// may have become due after the first of those that are left was posted wait with it.
// Confined to the thread that calls Run(), except Post() and Stop(), which are thread-safe.
// Callbacks may add and remove file descriptors and timers, also their own. A removed descriptor's
// callback is not called again, even for events already gathered.
// The core library of Python processes does not use it: there whoever waits drives (core/poller.h).

#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <unordered_map>
#include <vector>

#include "cyray/util/runtime.h"
#include "cyray/util/unique_fd.h"

namespace cyray {

class EventLoop : public Runtime {
 public:
  using FdCallback = std::function<void(uint32_t epoll_events)>;

  EventLoop();
  ~EventLoop() override;
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Watches `fd`, which stays the caller's, until Remove(). `events` are EPOLLIN, EPOLLOUT, ...
  void Add(int fd, uint32_t events, FdCallback callback);
  void Modify(int fd, uint32_t events);
  void Remove(int fd);

  // Runtime
  int64_t NowNs() const override;
  int64_t WallMs() const override;
  uint64_t Random() override { return random_(); }
  void Post(std::function<void()> callback) override;
  TimerId RunAfter(int64_t delay_ms, std::function<void()> callback) override;
  void Cancel(TimerId id) override;

  // Runs until Stop().
  void Run();
  // One round: waits for events up to `timeout_ms` (-1: until something happens), then handles
  // them.
  void RunOnce(int64_t timeout_ms);
  // Thread-safe.
  void Stop();

 private:
  struct Watch {
    FdCallback callback;
    uint64_t generation;
  };
  int NextTimeoutMs(int64_t limit_ms);
  void RunTimers();
  void RunPosted();

  UniqueFd epoll_;
  UniqueFd wake_;
  // Confined to the loop.
  std::unordered_map<int, std::shared_ptr<Watch>> watches_;
  std::map<std::pair<int64_t, TimerId>, std::function<void()>> timers_;  // by due time in ms
  std::unordered_map<TimerId, int64_t> timer_due_;
  TimerId next_timer_ = 1;
  uint64_t next_generation_ = 1;
  std::mt19937_64 random_;
  struct Posted {
    int64_t after_ms;  // it was not there then
    std::function<void()> callback;
  };
  std::deque<Posted> backlog_;
  int64_t looked_ms_ = 0;  // for posted functions
  bool stopped_ = false;
  std::atomic<std::thread::id> thread_;  // that ran the last round
  // Guarded by mutex_.
  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;
};

}  // namespace cyray
