// An encoded value, or encoded arguments, of a peer: whatever the bytes are, what the readers give
// out lies within them, counts are bounded by them, and reading ends.

#include <cstdlib>
#include <cstring>
#include <vector>

#include "cpp_tests/fuzz/seeds.h"
#include "cyray/wire/encoded.h"

namespace {

using namespace cyray::wire;  // NOLINT: all of one small header
using cyray::ValueTag;

// Bytes of their own, so that a sanitizer sees each step out of them.
struct Bounds {
  std::vector<uint8_t> bytes;
  uint64_t sum = 0;

  void Check(const void* at, uint64_t size) {
    const auto* begin = static_cast<const uint8_t*>(at);
    const auto* end = bytes.data() + bytes.size();
    if (begin < bytes.data() || begin > end || size > static_cast<uint64_t>(end - begin)) {
      std::abort();
    }
    for (uint64_t i = 0; i < size; ++i) sum += begin[i];
  }
};

void ReadValue(Bounds& bounds, const uint8_t* data, uint64_t size, int depth) {
  if (depth > 3) std::abort();  // nesting is bounded
  bounds.Check(data, size);
  if (size == 0) return;
  switch (static_cast<ValueTag>(data[0])) {
    case ValueTag::kPickleBuffers:
    case ValueTag::kMemoryView:
    case ValueTag::kArray: {
      BuffersReader reader;
      if (!reader.Open(data, size)) return;
      if (reader.count() > size / 8) std::abort();
      bounds.Check(reader.head(), reader.head_bytes());
      uint64_t offset = 0, bytes = 0;
      while (reader.Next(&offset, &bytes)) bounds.Check(data + offset, bytes);
      EncodedArray array;
      if (ReadArray(reader.head(), reader.head_bytes(), &array)) {
        bounds.Check(array.extents, 8 * uint64_t{array.dimensions});
        bounds.Check(array.dtype, array.dtype_bytes);
      }
      return;
    }
    case ValueTag::kRefs: {
      EncodedRefs refs;
      if (!ReadRefs(data, size, &refs)) return;
      bounds.Check(refs.table, refs.count * cyray::kRefBytes);
      return ReadValue(bounds, data + refs.value_at, size - refs.value_at, depth + 1);
    }
    case ValueTag::kDependency: {
      EncodedDependency dependency;
      if (!ReadDependency(data, size, &dependency)) return;
      bounds.Check(dependency.name, dependency.name_bytes);
      return ReadValue(bounds, data + dependency.value_at, size - dependency.value_at, depth + 1);
    }
    case ValueTag::kSystemError: {
      EncodedError error;
      if (!ReadError(data, size, &error)) return;
      bounds.Check(error.actor, 16);
      bounds.Check(error.text, error.text_bytes);
      return;
    }
    default:
      return;
  }
}

void ReadArguments(Bounds& bounds) {
  ArgumentReader reader;
  if (!reader.Open(bounds.bytes.data(), bounds.bytes.size())) return;
  const uint64_t expected = uint64_t{reader.positional()} + reader.keywords();
  if (expected > bounds.bytes.size() / 9) std::abort();
  uint64_t seen = 0;
  for (EncodedArgument argument; reader.Next(&argument); ++seen) {
    if ((argument.name != nullptr) != (seen >= reader.positional())) std::abort();
    if (argument.name != nullptr) bounds.Check(argument.name, argument.name_bytes);
    if (argument.bytes == 0) std::abort();
    ReadValue(bounds, argument.data, argument.bytes, 0);
  }
  if (seen > expected) std::abort();
}

template <class T>
void Put(std::vector<uint8_t>& out, T value) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(&value);
  out.insert(out.end(), bytes, bytes + sizeof value);
}

std::vector<uint8_t> RandomValue(std::mt19937_64& rng, int depth) {
  std::vector<uint8_t> out{static_cast<uint8_t>(rng() % 18)};
  const auto tag = static_cast<ValueTag>(out[0]);
  const auto pad = [&out](size_t alignment) {
    out.resize((out.size() + alignment - 1) / alignment * alignment);
  };
  if (tag == ValueTag::kRefs && depth < 2) {
    const uint32_t count = rng() % 4;
    pad(4);
    Put(out, count);
    out.resize(out.size() + count * cyray::kRefBytes);
    pad(64);
  } else if (tag == ValueTag::kDependency && depth < 2) {
    const uint32_t size = rng() % 9;
    Put(out, size);
    out.resize(out.size() + size);
  } else if (tag == ValueTag::kPickleBuffers || tag == ValueTag::kMemoryView ||
             tag == ValueTag::kArray) {
    const uint32_t count = tag == ValueTag::kPickleBuffers ? rng() % 4 : 1;
    const uint8_t dimensions = rng() % 3;
    pad(4);
    Put(out, count);
    Put(out, uint64_t{1} + 8 * dimensions + 3);
    std::vector<uint64_t> sizes(count);
    for (uint64_t& size : sizes) Put(out, size = rng() % 100);
    out.push_back(dimensions);
    for (int i = 0; i < dimensions; ++i) Put(out, int64_t{2});
    for (const char c : {'<', 'i', '8'}) out.push_back(static_cast<uint8_t>(c));
    for (const uint64_t size : sizes) {
      pad(64);
      out.resize(out.size() + size);
    }
    return out;
  } else {
    out.resize(out.size() + rng() % 40);
    return out;
  }
  const std::vector<uint8_t> inner = RandomValue(rng, depth + 1);
  out.insert(out.end(), inner.begin(), inner.end());
  return out;
}

}  // namespace

std::vector<uint8_t> cyray::fuzz::RandomSeed(std::mt19937_64& rng) {
  if (rng() % 2 == 0) return RandomValue(rng, 0);
  const uint32_t positional = rng() % 4, keywords = rng() % 3;
  std::vector<uint8_t> out;
  Put(out, positional);
  Put(out, keywords);
  for (uint32_t i = 0; i < positional + keywords; ++i) {
    if (i >= positional) {
      Put(out, uint32_t{3});
      for (const char c : {'k', 'e', 'y'}) out.push_back(static_cast<uint8_t>(c));
    }
    const std::vector<uint8_t> value = RandomValue(rng, 0);
    const uint32_t skip = rng() % 8;
    Put(out, static_cast<uint32_t>(value.size()));
    Put(out, skip);
    out.resize(out.size() + skip);
    out.insert(out.end(), value.begin(), value.end());
  }
  return out;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > (1 << 18)) return 0;
  Bounds bounds{std::vector<uint8_t>(data, data + size)};
  ReadArguments(bounds);
  ReadValue(bounds, bounds.bytes.data(), bounds.bytes.size(), 0);
  return 0;
}
