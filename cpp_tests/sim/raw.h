// System calls past libc, whose names the simulator answers itself (libc.cc).
// Threading: functions without state.

#pragma once

#include <sys/syscall.h>

#include <cerrno>

namespace cyray::sim {

template <class... Arguments>
long RawSyscall(long number, Arguments... arguments) {
  const long values[6] = {(long)arguments...};  // NOLINT: numbers and addresses alike
  long result;
  register long r10 __asm__("r10") = values[3];
  register long r8 __asm__("r8") = values[4];
  register long r9 __asm__("r9") = values[5];
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(values[0]), "S"(values[1]), "d"(values[2]), "r"(r10), "r"(r8),
                     "r"(r9)
                   : "rcx", "r11", "memory");
  if (result >= 0 || result < -4095) return result;
  errno = static_cast<int>(-result);
  return -1;
}

}  // namespace cyray::sim
