// Bytes: FlatBuffers messages outside of frames, and their verified reading.
// Threading: values.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <cstdint>
#include <string>
#include <vector>

namespace cyray::wire {

using Bytes = std::vector<uint8_t>;

// The table in `bytes`, or nullptr when they are not one. Valid as long as `bytes`.
template <class T>
const T* VerifiedRoot(const uint8_t* data, size_t size) {
  flatbuffers::Verifier verifier(data, size, /*max_depth=*/16, /*max_tables=*/1'000'000);
  if (!verifier.VerifyBuffer<T>(nullptr)) return nullptr;
  return flatbuffers::GetRoot<T>(data);
}
template <class T>
const T* VerifiedRoot(const Bytes& bytes) {
  return VerifiedRoot<T>(bytes.data(), bytes.size());
}

// The finished content of `builder`.
inline Bytes FinishedBytes(const flatbuffers::FlatBufferBuilder& builder) {
  return Bytes(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
}

// An optional field of FlatBuffers: absent ones are empty.
inline Bytes BytesOrEmpty(const flatbuffers::Vector<uint8_t>* field) {
  return field == nullptr ? Bytes() : Bytes(field->begin(), field->end());
}

}  // namespace cyray::wire
