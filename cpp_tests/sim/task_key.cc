#include "cpp_tests/sim/task_key.h"

#include <iterator>

namespace cyray::sim {
namespace {

constexpr uint64_t kSaltMask = (uint64_t{1} << 48) - 1;

uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

}  // namespace

uint64_t TaskKey::Pack() const {
  return uint64_t{static_cast<uint8_t>(kind)} << 56 | uint64_t{depth} << 48 | (salt & kSaltMask);
}

TaskKey TaskKey::Unpack(uint64_t packed) {
  return {static_cast<TaskKind>(packed >> 56), static_cast<uint8_t>(packed >> 48 & 0xff),
          packed & kSaltMask};
}

TaskKey TaskKey::Child(uint64_t number, TaskKind child) const {
  return {child, static_cast<uint8_t>(depth - 1),
          (Mix(salt + number + 1) & (kGivenRefs - 1)) | (salt & kGivenRefs)};
}

TaskKind TaskKey::KindOfChild(uint64_t number) const {
  constexpr TaskKind kKinds[] = {TaskKind::kLeaf, TaskKind::kFan,   TaskKind::kPass,
                                 TaskKind::kGive, TaskKind::kLarge, TaskKind::kSlow};
  const TaskKind kind = kKinds[Mix(salt * 7 + number) % std::size(kKinds)];
  return kind == TaskKind::kGive && (salt & kGivenRefs) == 0 ? TaskKind::kLeaf : kind;
}

uint64_t TaskKey::Own() const { return Mix(Pack()) >> 8; }

uint64_t Expected(const TaskKey& key, uint64_t passed) {
  uint64_t sum = key.Own();
  switch (key.kind) {
    case TaskKind::kFan:
      if (key.depth == 0) return sum;
      for (uint64_t i = 0; i < 3; ++i) sum += Expected(key.Child(i, key.KindOfChild(i)));
      return sum;
    case TaskKind::kPass:
      if (key.depth == 0) return sum;
      return sum + Expected(key.Child(0, TaskKind::kRead), key.salt);
    case TaskKind::kRead:
      if (key.depth == 0) return sum + passed;
      return sum + Expected(key.Child(0, TaskKind::kRead), passed);
    case TaskKind::kGive:
      return sum + key.salt;
    case TaskKind::kSum:
    case TaskKind::kCount:
    case TaskKind::kKept:
      return sum + passed;
    case TaskKind::kYield: {
      uint64_t all = 0;
      for (uint64_t i = 0; i < key.Items(); ++i) all += key.Item(i);
      return all;
    }
    case TaskKind::kDrain:
      return sum + Expected(key.Child(0, TaskKind::kYield));
    case TaskKind::kCall:
      return sum + Expected(key.Child(0, TaskKind::kLeaf));
    default:
      return sum;
  }
}

}  // namespace cyray::sim
