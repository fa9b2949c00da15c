// Starting inputs for the fuzz targets, made from the schemas; and changes to them.
// Threading: pure functions of their random generator.

#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <span>
#include <string_view>
#include <vector>

namespace cyray::fuzz {

// Defined by each target: a valid input in its format.
std::vector<uint8_t> RandomSeed(std::mt19937_64& rng);

// Up to four frames with tables of any schema, as they follow one another on a socket.
std::vector<uint8_t> RandomFrames(std::mt19937_64& rng);
// One frame of `type` with a random table of the schema called `name`.
std::vector<uint8_t> RandomFrame(uint16_t type, std::string_view name, std::mt19937_64& rng);
// A random table of the schema called `name`.
std::vector<uint8_t> RandomTable(std::string_view name, std::mt19937_64& rng);

// Inputs that say who sends what: a byte that chooses the sender, two for the size, the bytes.
void AppendMessage(std::vector<uint8_t>& input, uint8_t sender, std::span<const uint8_t> bytes);
// Calls visit(sender, bytes) for each; the last may be cut.
template <class Visit>
void ForEachMessage(std::span<const uint8_t> input, Visit visit) {
  constexpr size_t kHeadBytes = 3;
  while (input.size() > kHeadBytes) {
    const uint8_t sender = input[0];
    const size_t size = input[1] | input[2] << 8;
    input = input.subspan(kHeadBytes);
    const std::span<const uint8_t> bytes = input.first(std::min(size, input.size()));
    visit(sender, bytes);
    input = input.subspan(bytes.size());
  }
}

// One of: flip bits, set a boundary value, cut, grow, copy a part elsewhere.
void Mutate(std::vector<uint8_t>& input, std::mt19937_64& rng);

}  // namespace cyray::fuzz
