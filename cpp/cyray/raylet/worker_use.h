// WorkerUse: what a worker process was made into by its first task, and stays.
//
// It runs for one job, and with one set of GPUs or with none: a library that has looked at
// CUDA_VISIBLE_DEVICES does not look again. Threading: a value.

#pragma once

#include <compare>
#include <cstdint>
#include <vector>

#include "cyray/common/ids.h"

namespace cyray::raylet {

struct WorkerUse {
  JobId job;
  std::vector<int32_t> gpus;
  auto operator<=>(const WorkerUse&) const = default;
};

}  // namespace cyray::raylet
