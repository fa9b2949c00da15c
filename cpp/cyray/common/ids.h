// Identifiers: fixed-size byte strings, printed as hex.
//
// Layouts (bytes):
//   JobId 4.  WorkerId 16, NodeId 20 random.  ActorId 16 = 8 of its maker (random) + 4 counter, big
//   endian + JobId.  TaskId 16 = 6 of its maker (random) + 6 counter, little endian + JobId.
//   ObjectId 20 = TaskId + 4 index, little endian: 0 is a `put`, returns count from 1.
//   PlacementGroupId 18 = 14 random + JobId.
// Threading: values.

#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace cyray {

// Fills `size` bytes from the kernel's random source.
void FillRandom(void* data, size_t size);
std::string BytesToHex(const void* data, size_t size);
// Returns false unless `hex` is exactly 2 * size hex digits.
bool HexToBytes(std::string_view hex, void* data, size_t size);

template <size_t N, class Tag>
struct Id {
  static constexpr size_t kSize = N;
  std::array<uint8_t, N> bytes{};

  static Id FromBytes(const void* data) {
    Id id;
    std::memcpy(id.bytes.data(), data, N);
    return id;
  }
  static std::optional<Id> FromHex(std::string_view hex) {
    Id id;
    if (!HexToBytes(hex, id.bytes.data(), N)) return std::nullopt;
    return id;
  }
  static Id Random() {
    Id id;
    FillRandom(id.bytes.data(), N);
    return id;
  }
  static Id Nil() { return {}; }

  bool is_nil() const { return *this == Id{}; }
  const uint8_t* data() const { return bytes.data(); }
  std::string_view view() const { return {reinterpret_cast<const char*>(bytes.data()), N}; }
  std::string Hex() const { return BytesToHex(bytes.data(), N); }
  auto operator<=>(const Id&) const = default;

  size_t Hash() const {
    // All ids hold enough random or counting bits for a multiply to spread; mix the ends.
    uint64_t a = 0, b = 0;
    std::memcpy(&a, bytes.data(), N < 8 ? N : 8);
    std::memcpy(&b, bytes.data() + (N < 8 ? 0 : N - 8), N < 8 ? N : 8);
    uint64_t c = 0;
    if constexpr (N > 16) std::memcpy(&c, bytes.data() + 6, 8);
    uint64_t h = (a ^ (b * 0x9E3779B97F4A7C15ull)) + c * 0xC2B2AE3D27D4EB4Full;
    h ^= h >> 32;
    return h * 0x9E3779B97F4A7C15ull;
  }
};

using JobId = Id<4, struct JobTag>;
using WorkerId = Id<16, struct WorkerTag>;
using NodeId = Id<20, struct NodeTag>;
using ActorId = Id<16, struct ActorTag>;
using TaskId = Id<16, struct TaskTag>;
using PlacementGroupId = Id<18, struct PlacementGroupTag>;
using FunctionId = Id<16, struct FunctionTag>;  // BLAKE2b of the pickled function

struct ObjectId : Id<20, struct ObjectTag> {
  ObjectId() = default;
  ObjectId(const Id<20, struct ObjectTag>& id) : Id(id) {}
  ObjectId(const TaskId& task, uint32_t index) {
    std::memcpy(bytes.data(), task.data(), TaskId::kSize);
    std::memcpy(bytes.data() + TaskId::kSize, &index, sizeof index);
  }
  TaskId task() const { return TaskId::FromBytes(bytes.data()); }
  uint32_t index() const {
    uint32_t index;
    std::memcpy(&index, bytes.data() + TaskId::kSize, sizeof index);
    return index;
  }
};

// Where a process is: enough to reach it from any node. `worker` is unique by itself.
struct Address {
  NodeId node;
  WorkerId worker;
  auto operator<=>(const Address&) const = default;
  bool is_nil() const { return worker.is_nil(); }
  std::string ToString() const { return worker.Hex() + "@" + node.Hex().substr(0, 8); }
};

}  // namespace cyray

template <size_t N, class Tag>
struct std::hash<cyray::Id<N, Tag>> {
  size_t operator()(const cyray::Id<N, Tag>& id) const noexcept { return id.Hash(); }
};
template <>
struct std::hash<cyray::ObjectId> {
  size_t operator()(const cyray::ObjectId& id) const noexcept { return id.Hash(); }
};
