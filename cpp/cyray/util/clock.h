// Time, for code that does I/O. State machines are given it by their caller, so that tests can.
// Threading: thread-safe.

#pragma once

#include <time.h>

#include <cstdint>

namespace cyray {

inline int64_t MonotonicNs() {
  timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return int64_t{ts.tv_sec} * 1'000'000'000 + ts.tv_nsec;
}
inline int64_t MonotonicMs() { return MonotonicNs() / 1'000'000; }
inline int64_t WallClockMs() {
  timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  return int64_t{ts.tv_sec} * 1000 + ts.tv_nsec / 1'000'000;
}

}  // namespace cyray
