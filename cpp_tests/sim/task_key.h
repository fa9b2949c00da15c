// TaskKey: what a simulated task does, and what it therefore returns.
// Threading: a value.

#pragma once

#include <cstdint>

namespace cyray::sim {

enum class TaskKind : uint8_t {
  kLeaf,   // a number
  kFan,    // the sum of three tasks that it submits and waits for
  kPass,   // puts a number, passes the ref to a kRead
  kRead,   // the sum of what the refs name that it was passed; may pass them on first
  kGive,   // a value with a ref inside, to an object of its own
  kLarge,  // a number in an object that is stored
  kSlow,   // sleeps first
  kSum,    // the sum of its arguments by reference
  kDie,    // ends its process in its first attempts; may have stored its result by then
  kKept,   // of an actor: the sum of what the refs name that its constructor was passed
  kCall,   // calls a kLeaf of the actor whose handle it was passed
  kMake,   // makes a detached actor, which keeps the refs that this one was passed
  kMeet,   // of depth 1 and 2: ends when the other one of its salt has begun, too
  kYield,  // a generator of numbers; of depth 1 some are stored, of depth 2 it dies on its way
           // first
  kLate,   // runs over its timeout; of depth 1 without looking whether it should end
  kDrain,  // the sum of what a kYield yields that it was passed
  kCount,  // of an actor that is saved: how many of its caller have come before it
};
// In a salt: kGive may be among what the task starts.
inline constexpr uint64_t kGivenRefs = uint64_t{1} << 47;

// In the depth of a kDie.
inline constexpr uint8_t kLingers = 8;

struct TaskKey {
  TaskKind kind = TaskKind::kLeaf;
  uint8_t depth = 0;  // how many generations of tasks it may start; of kDie: whether it stores
  uint64_t salt = 0;  // 48 bits

  uint64_t Pack() const;
  static TaskKey Unpack(uint64_t packed);
  TaskKey Child(uint64_t number, TaskKind kind) const;
  // The kind of a child of kFan.
  TaskKind KindOfChild(uint64_t number) const;
  // The number that is its own.
  uint64_t Own() const;
  // Of kYield: how many items, and the number of one.
  uint64_t Items() const { return salt % 40; }
  uint64_t Item(uint64_t number) const { return Own() + number; }
  // Whoever iterates over it stops half way, and lets it go.
  bool IsDropped() const { return kind == TaskKind::kYield && salt % 5 == 0; }
  // Of kDie: how many attempts end the process.
  uint32_t Deaths() const { return salt % 3 == 0 ? 2 : 1; }
  // Of kDie: whether it takes a while, so that it can be cancelled before.
  bool Lingers() const { return kind == TaskKind::kDie && depth >= kLingers; }
  // In worlds where some tasks take no CPU: whether it is one of them.
  bool MayBeFree() const { return kind != TaskKind::kMeet && salt % 4 == 0; }
  // Of kCall: whether the actor is saved.
  bool OfSaved() const { return kind == TaskKind::kCall && depth > 1; }
  bool StoresResult() const {
    return kind == TaskKind::kLarge || (kind == TaskKind::kDie && depth % kLingers > 0);
  }
};

// What a task returns that is passed refs to numbers whose sum is `passed`.
uint64_t Expected(const TaskKey& key, uint64_t passed = 0);

}  // namespace cyray::sim
