// CallGroup: how calls of an actor that share threads, or an event loop, are run. Immutable.
//
// Group 0 is the default one; the others are the class's concurrency groups, in the order of their
// definition. No group waits for another.

#pragma once

#include <cstdint>

namespace cyray::core {

struct CallGroup {
  uint32_t at_once = 1;  // so many run at a time
  bool in_order = true;  // of each caller, in the order of submission
};

}  // namespace cyray::core
