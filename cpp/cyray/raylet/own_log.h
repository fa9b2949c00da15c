// The raylet's own log (its stdout and stderr, a file of the session) does not grow without bound:
// a node that creates and ends a million workers writes a line for each. Threading: functions
// without state, for the raylet's loop.

#pragma once

#include <cstdint>

namespace cyray::raylet {

inline constexpr uint64_t kOwnLogBytes = 16u << 20;
inline constexpr int64_t kOwnLogCheckMs = 60'000;

// When the file open as `fd` is larger than `limit_bytes`: renames it to "<name>.1", in place of an
// earlier one, and points `fd` at a new file of its name. True when that was done.
bool RotateLog(int fd, uint64_t limit_bytes);
// The same for stderr, and stdout with it.
void RotateOwnLog();

}  // namespace cyray::raylet
