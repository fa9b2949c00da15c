// Starting inputs for the fuzz targets, made from the schemas; and changes to them.
// Threading: pure functions of their random generator.

#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace cyray::fuzz {

// A valid message or stream of frames in the input format of both targets.
std::vector<uint8_t> RandomSeed(std::mt19937_64& rng);
// One of: flip bits, set a boundary value, cut, grow, copy a part elsewhere.
void Mutate(std::vector<uint8_t>& input, std::mt19937_64& rng);

}  // namespace cyray::fuzz
