// EventLoop: epoll, timers and posted functions for the daemons.
//
// Confined to the thread that calls Run(), except Post() and Stop(), which are thread-safe.
// Callbacks may add and remove file descriptors and timers, also their own. A removed descriptor's
// callback is not called again, even for events already gathered.
// The core library of Python processes does not use it: there whoever waits drives (core/poller.h).

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "cyray/util/unique_fd.h"

namespace cyray {

class EventLoop {
 public:
  using FdCallback = std::function<void(uint32_t epoll_events)>;
  using TimerId = uint64_t;

  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Watches `fd`, which stays the caller's, until Remove(). `events` are EPOLLIN, EPOLLOUT, ...
  void Add(int fd, uint32_t events, FdCallback callback);
  void Modify(int fd, uint32_t events);
  void Remove(int fd);

  // Runs `callback` once, `delay_ms` from now. Cancelling a timer that ran is a no-op.
  TimerId RunAfter(int64_t delay_ms, std::function<void()> callback);
  void Cancel(TimerId id);

  // Thread-safe: runs `callback` on the loop, in order of posting.
  void Post(std::function<void()> callback);

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
  int NextTimeoutMs(int64_t limit_ms) const;
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
  bool stopped_ = false;
  // Guarded by mutex_.
  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;
};

}  // namespace cyray
