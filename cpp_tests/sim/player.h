// Player: what Python is in the product, for a simulated worker or driver: encodes values, submits
// tasks, gets results, and runs tasks, through the product's CoreWorker.
//
// A task is named by a key, which says all that it does and, with what it is given, what it
// returns: Expected() computes the same without a cluster.
// Threading: runs as a simulated process (kernel.h).

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cyray/core/core_worker.h"

namespace cyray::sim {

enum class TaskKind : uint8_t {
  kLeaf,   // a number
  kFan,    // the sum of three tasks that it submits and waits for
  kPass,   // puts a number, passes the ref to a kRead
  kRead,   // the sum of what the refs name that it was passed; may pass them on first
  kGive,   // a value with a ref inside, to an object of its own
  kLarge,  // a number in an object that is stored
  kSlow,   // sleeps first
};
inline constexpr uint64_t kTaskKinds = 7;
// In a salt: kGive may be among what the task starts.
inline constexpr uint64_t kGivenRefs = uint64_t{1} << 47;

struct TaskKey {
  TaskKind kind = TaskKind::kLeaf;
  uint8_t depth = 0;  // how many generations of tasks it may start
  uint64_t salt = 0;  // 48 bits

  uint64_t Pack() const;
  static TaskKey Unpack(uint64_t packed);
  TaskKey Child(uint64_t number, TaskKind kind) const;
  // The number that is its own.
  uint64_t Own() const;
};

// What a task returns that is passed refs to numbers whose sum is `passed`.
uint64_t Expected(const TaskKey& key, uint64_t passed = 0);

// A value: a number and refs.
struct Decoded {
  bool is_error = false;
  std::string error;
  uint64_t number = 0;
  std::vector<core::ObjectEntry*> refs;  // one count each
};

class Player {
 public:
  Status Connect(UniqueFd socket, const core::RegisterOptions& options) {
    return core_.Connect(std::move(socket), options);
  }
  core::CoreWorker& core() { return core_; }

  // A task; one count of the result. The refs stay the caller's.
  core::ObjectEntry* Submit(const TaskKey& key, const std::vector<core::ObjectEntry*>& refs = {});
  core::ObjectEntry* Put(uint64_t number);
  // Waits; also for what refs inside the value name, whose numbers are added.
  Decoded Get(core::ObjectEntry* entry);
  void Release(core::ObjectEntry* entry) { core_.objects().Release(entry); }

  // A worker's life.
  int RunTasks();

 private:
  core::ValuePtr Encode(uint64_t number, const std::vector<core::ObjectEntry*>& refs);
  Decoded Decode(const core::ReadView& view, core::ExecTask* call);
  void Execute(std::unique_ptr<core::ExecTask> task);
  // Adds what a child returned; false when that is an error.
  bool Add(core::ObjectEntry* child, Decoded* sum);
  Decoded Play(const TaskKey& key, const std::vector<core::ObjectEntry*>& passed);
  core::Outcome MakeOutcome(const core::ExecTask& task, const TaskKey& key, const Decoded& result);

  core::CoreWorker core_;
  std::array<core::TaskTemplate*, kTaskKinds> templates_{};
};

}  // namespace cyray::sim
