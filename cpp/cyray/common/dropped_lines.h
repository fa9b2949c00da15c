// The line that stands for lines of output which were dropped on their way to a driver.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace cyray {

// So many bytes of lines may wait for a driver, in its process and at each raylet.
inline constexpr size_t kMaxLineBacklogBytes = 8u << 20;

inline std::string DroppedLines(uint64_t count) {
  return "[" + std::to_string(count) +
         " lines were dropped here: the driver did not keep up; the log files have them]";
}

}  // namespace cyray
