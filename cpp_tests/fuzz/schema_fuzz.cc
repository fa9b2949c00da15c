// Bytes from a peer as any table: what verifies can be read completely. The first two bytes choose
// the table.

#include <cstring>
#include <vector>

#include "cpp_tests/fuzz/schemas.h"
#include "cpp_tests/fuzz/seeds.h"

std::vector<uint8_t> cyray::fuzz::RandomSeed(std::mt19937_64& rng) {
  const auto schemas = AllSchemas();
  const size_t index = rng() % schemas.size();
  std::vector<uint8_t> input{static_cast<uint8_t>(index), static_cast<uint8_t>(index >> 8)};
  const std::vector<uint8_t> message = RandomMessage(schemas[index], rng);
  input.insert(input.end(), message.begin(), message.end());
  return input;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cyray::fuzz;
  if (size < 2) return 0;
  const auto schemas = AllSchemas();
  const Schema& schema = schemas[(data[0] | data[1] << 8) % schemas.size()];
  // Exactly as many bytes as there are, on the heap and aligned, so that the address sanitizer sees
  // a read past the end.
  std::vector<uint64_t> aligned((size - 2 + 7) / 8);
  if (size > 2) std::memcpy(aligned.data(), data + 2, size - 2);
  const auto* body = reinterpret_cast<const uint8_t*>(aligned.data());
  if (!VerifyAs(schema, body, size - 2)) return 0;
  [[maybe_unused]] static volatile uint64_t sink;
  sink = WalkTable(schema.type(), flatbuffers::GetRoot<flatbuffers::Table>(body));
  return 0;
}
