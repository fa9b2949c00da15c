// The resources that the engine itself knows. Users name others. Threading: constants.
//
// Of accelerators whole ones are handed out by number, so that no two processes use the same one.
// Such a number says which kind it is: of GPUs, the first kind, it is the index alone. Python knows
// the same kinds (_spec/accelerators.py), and which variables tell libraries what to use.

#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace cyray {

inline constexpr char kCpu[] = "CPU";
inline constexpr char kGpu[] = "GPU";

inline constexpr std::array<const char*, 7> kAccelerators = {kGpu,           "TPU",  "NPU", "HPU",
                                                             "neuron_cores", "RBLN", "MUSA"};
inline constexpr int32_t kAcceleratorsOfKind = 1 << 16;

inline std::optional<int32_t> KindOfAccelerator(std::string_view name) {
  for (size_t kind = 0; kind < kAccelerators.size(); ++kind) {
    if (name == kAccelerators[kind]) return static_cast<int32_t>(kind);
  }
  return std::nullopt;
}

}  // namespace cyray
