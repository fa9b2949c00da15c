#include "cpp_tests/fuzz/seeds.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "cpp_tests/fuzz/schemas.h"
#include "cyray/wire/frame.h"

namespace cyray::fuzz {

void AppendMessage(std::vector<uint8_t>& input, uint8_t sender, std::span<const uint8_t> bytes) {
  const auto size = static_cast<uint16_t>(bytes.size());
  input.insert(input.end(), {sender, static_cast<uint8_t>(size), static_cast<uint8_t>(size >> 8)});
  input.insert(input.end(), bytes.begin(), bytes.end());
}

std::vector<uint8_t> RandomFrames(std::mt19937_64& rng) {
  const auto schemas = AllSchemas();
  std::vector<uint8_t> stream;
  for (uint64_t i = 0, count = rng() % 5; i < count; ++i) {
    const auto message = RandomMessage(schemas[rng() % schemas.size()], rng);
    wire::AppendFrame(stream, static_cast<wire::FrameType>(rng() % 160), message.data(),
                      message.size(), rng() % 16 == 0);
  }
  return stream;
}

std::vector<uint8_t> RandomTable(std::string_view name, std::mt19937_64& rng) {
  for (const Schema& schema : AllSchemas()) {
    if (schema.name == name) return RandomMessage(schema, rng);
  }
  std::abort();  // a name that is not in the schemas
}

std::vector<uint8_t> RandomFrame(uint16_t type, std::string_view name, std::mt19937_64& rng) {
  const std::vector<uint8_t> table = RandomTable(name, rng);
  std::vector<uint8_t> frame;
  wire::AppendFrame(frame, static_cast<wire::FrameType>(type), table.data(), table.size());
  return frame;
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
