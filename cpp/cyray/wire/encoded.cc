#include "cyray/wire/encoded.h"

#include <cstring>

namespace cyray::wire {
namespace {

constexpr uint64_t kAlignment = 64;
constexpr uint64_t kBuffersBytes = 16;  // before the sizes of the buffers
constexpr uint64_t kTableAt = 8;
// The least that an argument takes: its two words and a tag; a keyword's has the size of its name
// too.
constexpr uint64_t kLeastArgument = 9;
constexpr uint64_t kLeastKeyword = 13;

// Rounds up; `offset` is at most 2^63.
uint64_t Align(uint64_t offset) { return (offset + kAlignment - 1) & ~(kAlignment - 1); }

template <class T>
T Load(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

}  // namespace

bool ArgumentReader::Open(const uint8_t* data, uint64_t bytes) {
  *this = {};
  data_ = data;
  bytes_ = bytes;
  if (!TakeWord(&positional_) || !TakeWord(&keywords_)) return false;
  return positional_ * kLeastArgument + keywords_ * kLeastKeyword <= bytes_ - at_;
}

const uint8_t* ArgumentReader::Take(uint64_t bytes) {
  if (bytes > bytes_ - at_) return nullptr;
  const uint8_t* taken = data_ + at_;
  at_ += bytes;
  return taken;
}

bool ArgumentReader::TakeWord(uint32_t* word) {
  const uint8_t* taken = Take(sizeof *word);
  if (taken == nullptr) return false;
  *word = Load<uint32_t>(taken);
  return true;
}

bool ArgumentReader::Next(EncodedArgument* argument) {
  *argument = {};
  if (uint64_t{read_} >= uint64_t{positional_} + keywords_) return false;
  if (read_ >= positional_) {
    uint32_t name_bytes = 0;
    if (!TakeWord(&name_bytes)) return false;
    argument->name = Take(name_bytes);
    argument->name_bytes = name_bytes;
    if (argument->name == nullptr) return false;
  }
  uint32_t bytes = 0, skip = 0;
  if (!TakeWord(&bytes) || !TakeWord(&skip) || bytes == 0) return false;
  if (Take(skip) == nullptr) return false;
  argument->data = Take(bytes);
  argument->bytes = bytes;
  ++read_;
  return argument->data != nullptr;
}

bool BuffersReader::Open(const uint8_t* data, uint64_t bytes) {
  *this = {};
  if (bytes < kBuffersBytes) return false;
  const auto count = Load<uint32_t>(data + 4);
  const auto head_bytes = Load<uint64_t>(data + 8);
  const uint64_t head_at = kBuffersBytes + 8 * uint64_t{count};
  if (head_at > bytes || head_bytes > bytes - head_at) return false;
  data_ = data;
  bytes_ = bytes;
  count_ = count;
  head_at_ = head_at;
  head_bytes_ = head_bytes;
  at_ = head_at + head_bytes;
  return true;
}

bool BuffersReader::Next(uint64_t* offset, uint64_t* bytes) {
  if (read_ >= count_) return false;
  const auto size = Load<uint64_t>(data_ + kBuffersBytes + 8 * uint64_t{read_});
  const uint64_t at = Align(at_);
  if (at > bytes_ || size > bytes_ - at) return false;
  *offset = at;
  *bytes = size;
  at_ = at + size;
  ++read_;
  return true;
}

bool ReadRefs(const uint8_t* data, uint64_t bytes, EncodedRefs* refs) {
  if (bytes < kTableAt) return false;
  const auto count = Load<uint32_t>(data + 4);
  const uint64_t value_at = Align(kTableAt + kRefBytes * uint64_t{count});
  if (value_at >= bytes) return false;
  const auto tag = static_cast<ValueTag>(data[value_at]);
  if (tag == ValueTag::kRefs || tag == ValueTag::kDependency) return false;
  *refs = {count, data + kTableAt, value_at};
  return true;
}

bool ReadArray(const uint8_t* head, uint64_t bytes, EncodedArray* array) {
  if (bytes < 1) return false;
  const uint32_t dimensions = head[0];
  const uint64_t dtype_at = 1 + 8 * uint64_t{dimensions};
  // A byte order, a kind of number, its size: nothing that a buffer must not be taken for.
  if (bytes < dtype_at + 3 || bytes > dtype_at + 4) return false;
  const char* dtype = reinterpret_cast<const char*>(head + dtype_at);
  if (std::memchr("<>|=", dtype[0], 4) == nullptr) return false;
  if (std::memchr("biufc", dtype[1], 5) == nullptr) return false;
  for (uint64_t i = 2; i < bytes - dtype_at; ++i) {
    if (dtype[i] < '0' || dtype[i] > '9') return false;
  }
  *array = {dimensions, head + 1, dtype, bytes - dtype_at};
  return true;
}

bool ReadDependency(const uint8_t* data, uint64_t bytes, EncodedDependency* dependency) {
  constexpr uint64_t kNameAt = 5;
  if (bytes < kNameAt + 1) return false;
  const uint64_t name_bytes = Load<uint32_t>(data + 1);
  if (name_bytes > bytes - kNameAt - 1) return false;
  const uint64_t value_at = kNameAt + name_bytes;
  if (static_cast<ValueTag>(data[value_at]) == ValueTag::kDependency) return false;
  *dependency = {reinterpret_cast<const char*>(data + kNameAt), name_bytes, value_at};
  return true;
}

bool ReadError(const uint8_t* data, uint64_t bytes, EncodedError* error) {
  constexpr uint64_t kTextAt = 2 + ActorId::kSize;
  if (bytes < kTextAt) return false;
  *error = {data[1], data + 2, reinterpret_cast<const char*>(data + kTextAt), bytes - kTextAt};
  return true;
}

}  // namespace cyray::wire
