// ExternalLoop: an event loop of Python's (an async actor's) that polls instead of threads that
// wait.
//
// It watches poll_fd(), and a descriptor of its own that is written to when there is something to
// take that came on another way. A turn is PollNow(), everything that is there
// (Executor::TryNextTask), EndTurn(). Threading: as this_process.h says; the turns are one
// thread's.

#pragma once

#include <unistd.h>

#include <cstdint>
#include <utility>

#include "cyray/core/this_process.h"

namespace cyray::core {

class ExternalLoop {
 public:
  explicit ExternalLoop(ThisProcess& process) : process_(process) {}

  // Readable when frames wait.
  int poll_fd() const { return process_.poller().epoll_fd(); }
  // As Poller has it, for a signal handler.
  int wake_fd() const { return process_.poller().wake_fd(); }
  // From now on a loop polls; `wake_fd` wakes it.
  void Use(int wake_fd) {
    std::lock_guard lock(process_.mutex());
    wake_fd_ = wake_fd;
    process_.poller().SetExternalLoop(true);
  }
  // Handles what is there, without blocking.
  void PollNow() {
    ThisProcess::Lock lock(process_.mutex());
    looks_ = wake_fd_ >= 0;
    woken_ = false;
    process_.poller().PollNow(lock);
  }
  // Writes what the turn has gathered: replies.
  void EndTurn() {
    std::lock_guard lock(process_.mutex());
    looks_ = woken_ = false;
    process_.FlushAll();
  }

  // --- With the core mutex held ---

  // There is something to take, or to write.
  void Wake() {
    if (wake_fd_ < 0 || looks_ || std::exchange(woken_, true)) return;
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(wake_fd_, &one, sizeof one);
  }
  // The loop has a turn before it, whatever comes: after each call's end.
  void TurnFollows() { woken_ = true; }
  // It found nothing more to take: what comes from now on has to wake it. What ended in this turn
  // has had its turn.
  void FoundNothing() { looks_ = woken_ = false; }

 private:
  ThisProcess& process_;
  int wake_fd_ = -1;
  bool looks_ = false;  // from PollNow until it found nothing more to take
  bool woken_ = false;  // a turn follows, which begins with PollNow
};

}  // namespace cyray::core
