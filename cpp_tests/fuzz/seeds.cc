#include "cpp_tests/fuzz/seeds.h"

#include <algorithm>
#include <cstring>

#include "cpp_tests/fuzz/schemas.h"
#include "cyray/wire/frame.h"

namespace cyray::fuzz {
namespace {

std::vector<uint8_t> Frames(std::mt19937_64& rng) {
  std::vector<uint8_t> out{static_cast<uint8_t>(rng())};
  const auto schemas = AllSchemas();
  std::vector<uint8_t> stream;
  for (uint64_t i = 0, count = rng() % 5; i < count; ++i) {
    const auto message = RandomMessage(schemas[rng() % schemas.size()], rng);
    wire::AppendFrame(stream, static_cast<wire::FrameType>(rng() % 160), message.data(),
                      message.size(), rng() % 16 == 0);
  }
  out.insert(out.end(), stream.begin(), stream.end());
  return out;
}

}  // namespace

std::vector<uint8_t> RandomSeed(std::mt19937_64& rng) {
  if (rng() % 4 == 0) return Frames(rng);
  const auto schemas = AllSchemas();
  const size_t index = rng() % schemas.size();
  std::vector<uint8_t> out{static_cast<uint8_t>(index), static_cast<uint8_t>(index >> 8)};
  const auto message = RandomMessage(schemas[index], rng);
  out.insert(out.end(), message.begin(), message.end());
  return out;
}

void Mutate(std::vector<uint8_t>& input, std::mt19937_64& rng) {
  if (input.empty()) return;
  const size_t at = rng() % input.size();
  switch (rng() % 5) {
    case 0:
      input[at] ^= static_cast<uint8_t>(1u << (rng() % 8));
      break;
    case 1: {
      static constexpr uint32_t kEdges[] = {0, 1, 4, 8, 0x7f, 0xff, 0xffff, 0x7fffffff, 0xffffffff};
      const uint32_t value = kEdges[rng() % std::size(kEdges)];
      std::memcpy(&input[at], &value, std::min(sizeof value, input.size() - at));
      break;
    }
    case 2:
      input.resize(at);
      break;
    case 3:
      input.resize(input.size() + rng() % 64, static_cast<uint8_t>(rng()));
      break;
    default: {
      const size_t from = rng() % input.size();
      const size_t size = std::min({input.size() - at, input.size() - from, rng() % 32 + 1});
      std::memmove(&input[at], &input[from], size);
      break;
    }
  }
}

}  // namespace cyray::fuzz
