// System calls past libc, whose names the simulator answers itself (libc.cc).
// Threading: functions without state.

#pragma once

#include <sys/syscall.h>

#include <cerrno>

namespace cyray::sim {

inline long RawSyscall(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                       long f = 0) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  if (result >= 0 || result < -4095) return result;
  errno = static_cast<int>(-result);
  return -1;
}

inline long RawSyscall(long number, const void* a, long b = 0, long c = 0) {
  return RawSyscall(number, reinterpret_cast<long>(a), b, c);
}

}  // namespace cyray::sim
