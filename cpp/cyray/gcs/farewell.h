// Farewell: tells the GCS that a node has ended, with all that ran there. Said by its raylet when
// it ends in order, by its zygote when the raylet died: `raylet farewell` (raylet_main.cc).
// Threading: any thread; blocks until the GCS has it on disk or the time is over.

#pragma once

#include <cstdint>
#include <string>

#include "cyray/common/ids.h"
#include "cyray/util/status.h"

namespace cyray::gcs {

struct Farewell {
  NodeId node;
  std::string gcs_address;
  std::string token;
  std::string reason;
};
Status SayFarewell(const Farewell& farewell, int64_t timeout_ms);

}  // namespace cyray::gcs
