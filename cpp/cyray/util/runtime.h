// Runtime: all that a machine may know of the world outside its events: time, timers, randomness,
// and "later, on my loop".
//
// Two implementations: EventLoop (real descriptors and clocks) and sim::VirtualRuntime (virtual
// time, one seed). Whatever is built on this interface runs in a test or in the simulator
// unchanged; a class that also needs descriptors takes an EventLoop and is thin. Threading:
// confined to the thread of its loop, except Post(), which is thread-safe.

#pragma once

#include <cstdint>
#include <functional>

namespace cyray {

class Runtime {
 public:
  using TimerId = uint64_t;  // 0 names none

  virtual ~Runtime() = default;

  // Monotonic; it does not stand still while the process is stopped.
  virtual int64_t NowNs() const = 0;
  int64_t NowMs() const { return NowNs() / 1'000'000; }
  // What people and other machines call now, in milliseconds since 1970. It may jump.
  virtual int64_t WallMs() const = 0;
  // For jitter and choices, never for secrets.
  virtual uint64_t Random() = 0;

  // Runs `callback` in a later round, in order of posting.
  virtual void Post(std::function<void()> callback) = 0;
  // Runs `callback` once, `delay_ms` from now. Owners use Timer (timer.h), which cannot outlive
  // them.
  virtual TimerId RunAfter(int64_t delay_ms, std::function<void()> callback) = 0;
  // Cancelling a timer that ran is a no-op.
  virtual void Cancel(TimerId id) = 0;
};

}  // namespace cyray
