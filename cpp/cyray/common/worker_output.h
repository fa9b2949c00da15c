// Where the output of a worker is, for texts that tell people of its end.
//
// Pure.

#pragma once

#include <string>

namespace cyray {

// A sentence with a space before it; empty when nothing is known of its process.
inline std::string WhereOutputIs(int pid) {
  if (pid <= 0) return "";
  return " Its last output is in worker-*-" + std::to_string(pid) +
         ".out and .err in the logs folder of the session.";
}

}  // namespace cyray
