// The resources that the engine itself knows. Users name others. Threading: constants.

#pragma once

namespace cyray {

inline constexpr char kCpu[] = "CPU";
inline constexpr char kGpu[] = "GPU";

}  // namespace cyray
