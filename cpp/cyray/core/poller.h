// Poller: who waits, drives.
//
// All sockets of a Python process are watched by one epoll instance. A thread that waits for
// something takes the *seat*: it polls, spins briefly while that has lately paid off, then blocks
// in epoll, and handles what arrives. Other waiting threads sleep on a condition until the driver
// leaves or something they may wait for has happened. The *steward*, one background thread, takes
// the seat when nobody polled for a nap's length, so that a process that computes still
// answers its peers. A waiting thread takes the seat from the steward without a system call: the
// steward notices when its epoll_wait returns and drops what it saw (events are level-triggered).
//
// Threading: every method but the constructor needs the core mutex held by `lock` or by the caller;
// it is released while a thread blocks or spins. Handlers run with the mutex held, on whichever
// thread drives; they never block and never touch Python.

#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

#include "cyray/core/outbox.h"
#include "cyray/util/spin_payoff.h"
#include "cyray/util/unique_fd.h"

namespace cyray::core {

// What the poller calls; the core worker implements it.
class PollerHandler {
 public:
  virtual ~PollerHandler() = default;
  // A watched descriptor is ready. `cookie` is what Watch() was given.
  virtual void OnReady(void* cookie, uint32_t events) = 0;
  // Writes everything gathered. Called before a thread blocks or spins.
  virtual void FlushAll() = 0;
  // Writes what has gathered for long enough. Called by the steward while other threads work on.
  virtual void FlushStale() { FlushAll(); }
  // A signal handler may have written to wake_fd().
  virtual void OnWoken() {}
  // Something was gathered for an own event loop (SetExternalLoop) to write.
  virtual void WakeLoop() {}
  // Timers: when the next one is due (ns, monotonic; INT64_MAX for none), and run those due.
  virtual int64_t NextTimerNs() = 0;
  virtual void RunTimers(int64_t now_ns) = 0;
};

class Poller : public SocketWatcher {
 public:
  Poller(std::mutex& mutex, PollerHandler& handler);
  ~Poller() override;

  void Watch(int fd, uint32_t events, void* cookie) override;
  void Modify(int fd, uint32_t events, void* cookie) override;
  void Unwatch(int fd) override;

  // Starts and ends the background thread. Stop() must be called without the mutex.
  void StartSteward();
  void StopSteward();
  // After fork, in the child, where neither the steward nor a sound state of anything else is to be
  // expected: closes the child's copies of all watched descriptors, so that the other ends see the
  // end of the parent. Nothing else may be done with this afterwards.
  void AbandonAfterFork();

  // Waits until `ready()` holds or `deadline_ns` passes; true when it holds. Drives meanwhile.
  template <class Ready>
  bool WaitUntil(std::unique_lock<std::mutex>& lock, int64_t deadline_ns, Ready&& ready) {
    if (ready()) return true;
    return WaitSlow(lock, deadline_ns, std::function<bool()>(std::ref(ready)));
  }

  // Handles what is ready now, without blocking: for event loops that watch epoll_fd() themselves.
  void PollNow(std::unique_lock<std::mutex>& lock);
  int epoll_fd() const { return epoll_.get(); }
  // For a signal handler, which may write 8 bytes to it: whoever polls calls OnWoken.
  int wake_fd() const { return wake_.get(); }

  // Something was queued outside a wait: makes sure that the steward looks soon.
  void NoteActivity() override {
    ++activity_;
    if (steward_blocked_) WakeSteward();
  }
  // The same when whoever drives, or the own event loop, must look too, though it may cost it a
  // wakeup: for what is rare, or what was left to it.
  void NoteGathered() override {
    NoteActivity();
    if (DriverBlocked()) WakeDriver();
    if (external_loop_) handler_.WakeLoop();
  }
  // A timer was armed outside of a handler: nobody blocks beyond `due_ns`.
  void NoteTimer(int64_t due_ns) {
    if (seat_ == 0) {
      if (steward_blocked_) WakeSteward();  // it lost the seat, to a thread that left it since
    } else if (seat_blocked_ && due_ns < blocked_until_ns_) {
      steward_seated_ ? WakeSteward() : WakeDriver();
    }
  }
  // A thread other than the steward blocks in the seat: what was just gathered must be written now,
  // for nobody else will look soon.
  bool DriverBlocked() const override { return seat_ != 0 && seat_blocked_ && !steward_seated_; }
  // An own event loop polls (async actors): the steward steps in only when that loop hangs.
  void SetExternalLoop(bool on) { external_loop_ = on; }
  // Called when something other threads may wait for has changed, maybe outside a handler.
  void WakeWaiters() {
    ++changes_;
    if (waiters_ > 0) changed_.notify_all();
    if (DriverBlocked()) WakeDriver();
  }

 private:
  bool WaitSlow(std::unique_lock<std::mutex>& lock, int64_t deadline_ns,
                std::function<bool()> ready);
  // One turn in the seat: spin, then block. Returns when something was handled, the seat was lost
  // or the deadline passed.
  void Drive(std::unique_lock<std::mutex>& lock, uint64_t ticket, int64_t deadline_ns, bool spin);
  // True when the turn is over: something was handled, or the seat was lost.
  bool Spin(std::unique_lock<std::mutex>& lock, uint64_t ticket, int64_t deadline_ns);
  int PollAndHandle(std::unique_lock<std::mutex>& lock, uint64_t ticket, int timeout_ms);
  void RunDueTimers();
  void StewardLoop();
  void StewardTurn(std::unique_lock<std::mutex>& lock);
  void WakeSteward();
  void WakeDriver();
  void Signal();
  // The eventfd is readable: reads it when all it was written for have seen it.
  void OnSignal();
  void SeatIsEmpty();

  std::mutex& mutex_;
  PollerHandler& handler_;
  UniqueFd epoll_;
  UniqueFd wake_;
  std::unique_ptr<std::thread> steward_;
  const int64_t max_spin_ns_;

  // Guarded by mutex_.
  std::condition_variable changed_;       // for waiting threads without the seat
  std::condition_variable steward_wake_;  // for the steward when it naps
  uint64_t seat_ = 0;                     // ticket of the thread that drives, 0 when empty
  uint64_t next_ticket_ = 1;
  bool seat_blocked_ = false;      // the driver sits in epoll_wait without a timeout of ours
  int64_t blocked_until_ns_ = 0;   // it wakes by itself then
  bool driver_signalled_ = false;  // it was woken by the eventfd and has not seen it yet
  bool steward_seated_ = false;
  uint64_t steward_ticket_ = 0;   // its last one
  bool steward_blocked_ = false;  // the steward sits in epoll_wait, maybe without the seat
  bool steward_signalled_ = false;
  bool steward_parked_ = false;  // the steward sleeps until a driver leaves
  bool stopping_ = false;
  bool external_loop_ = false;
  int waiters_ = 0;
  uint64_t activity_ = 0;
  bool many_waits_lately_ = false;
  uint64_t changes_ = 0;  // counts WakeWaiters: a driver that spins looks before it blocks
  SpinPayoff spin_payoff_;
};

}  // namespace cyray::core
