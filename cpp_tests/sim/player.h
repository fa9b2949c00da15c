// Player: what Python is in the product, for a simulated worker or driver: encodes values, submits
// tasks and calls, makes actors, gets results, and runs tasks, through the product's CoreWorker.
//
// A task is named by a key, which says all that it does and, with what it is given, what it
// returns: Expected() computes the same without a cluster. Calls of actors are tasks, too.
// Threading: runs as a simulated process (kernel.h).

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "cpp_tests/sim/task_key.h"
#include "cyray/core/core_worker.h"

namespace cyray::sim {

// A value: a number and refs; or an error, as cyray encodes it.
struct Decoded {
  bool is_error = false;
  std::string error;
  uint64_t number = 0;
  std::vector<core::ObjectEntry*> refs;  // one count each
};

// What an error of cyray's own says; kind 0: it is none.
struct SystemError {
  uint8_t kind = 0;
  std::string text;
  static SystemError Of(const Decoded& value);
};

// What to submit beside the key: one count of each ref stays the caller's.
struct Given {
  std::vector<core::ObjectEntry*> refs;       // inside the argument
  std::vector<core::ObjectEntry*> arguments;  // by reference: their values are passed
  int max_retries = -1;
};

struct ActorOptions {
  int max_restarts = 0;
  std::string name;  // not empty: detached
  bool holds_cpu = false;
  uint64_t saved_every = 0;  // so many calls; 0: it is not
};

// An actor as one process knows it.
struct ActorHandle {
  ActorId id;
  core::ActorClient* client = nullptr;
  core::ObjectEntry* ref = nullptr;  // null: does not count
  bool saved = false;
};

// How all players of a world behave.
struct PlayerRules {
  int large_node = -1;         // where large results are made; -1: anywhere
  uint64_t slow_ms = 50;       // a slow task takes less
  bool some_are_free = false;  // tasks that may do so take no CPU
};

class Player {
 public:
  explicit Player(const PlayerRules& rules = {}) : rules_(rules) {}

  Status Connect(UniqueFd socket, const core::RegisterOptions& options) {
    return core_.Connect(std::move(socket), options);
  }
  core::CoreWorker& core() { return core_; }

  // A task; one count of the result.
  core::ObjectEntry* Submit(const TaskKey& key, const Given& given = {});
  core::ObjectEntry* Put(uint64_t number);
  // What a kYield yields: the sum, or the error that it ended with. It is over then, or let go of.
  Decoded Collect(core::ObjectEntry* generator, const TaskKey& key);
  // Waits; also for what refs inside the value name, whose numbers are added.
  Decoded Get(core::ObjectEntry* entry);
  void Release(core::ObjectEntry* entry) { core_.objects().Release(entry); }

  // An actor whose constructor keeps the refs, which stay the caller's.
  ActorHandle MakeActor(const ActorOptions& options, const std::vector<core::ObjectEntry*>& refs);
  // The one of that name; id nil: there is none.
  ActorHandle FindActor(const std::string& name);
  ActorHandle HandleOf(core::ObjectEntry* ref, bool saved = false);
  core::ObjectEntry* Call(const ActorHandle& actor, const TaskKey& key, const Given& given = {});
  void Drop(ActorHandle* actor);

  // A placement group of so many bundles of a CPU, in place; nothing when the GCS refuses it.
  std::optional<PlacementGroupId> MakeGroup(int bundles);
  void RemoveGroup(const PlacementGroupId& group);
  // A task in it that may be tried for ever; one count of the result.
  core::ObjectEntry* SubmitIn(const PlacementGroupId& group, const TaskKey& key);

  // A worker's life.
  int RunTasks();

 private:
  core::ValuePtr Encode(uint64_t number, const std::vector<core::ObjectEntry*>& refs);
  Decoded Decode(const core::ReadView& view, core::ExecTask* call);
  core::TaskTemplate* TemplateOf(const TaskKey& key, int max_retries, bool is_call);
  core::Submission SubmissionOf(const TaskKey& key, const Given& given, bool is_call);
  void Construct(std::unique_ptr<core::ExecTask> task);
  // An actor that is saved: goes on from its last save; takes its state.
  void BeginSaves();
  void TakeState();
  // What a kCount does, and returns.
  uint64_t Count(const core::ExecTask& task);
  void Execute(std::unique_ptr<core::ExecTask> task);
  // Adds what a child returned; false when that is an error.
  bool Add(core::ObjectEntry* child, Decoded* sum);
  bool AddArguments(core::ExecTask* task, Decoded* sum);
  Decoded Play(const TaskKey& key, core::ExecTask* task,
               const std::vector<core::ObjectEntry*>& passed);
  std::vector<core::ObjectEntry*> StartChildren(const TaskKey& key,
                                                const std::vector<core::ObjectEntry*>& passed);
  void Meet(const TaskKey& key);
  // Sends the items of a kYield.
  void Yield(core::ExecTask& task, const TaskKey& key);
  // Throws when the task that runs here was cancelled.
  void LookWhetherCancelled();
  [[noreturn]] void Die();
  void Store(core::ExecTask& task, const ObjectId& id, core::Outcome* outcome);
  core::Outcome MakeOutcome(core::ExecTask& task, const TaskKey& key, const Decoded& result);

  const PlayerRules rules_;
  core::CoreWorker core_;
  // By kind, retries, whether it is a call, and whether it takes no CPU.
  std::map<std::tuple<TaskKind, int, bool, bool>, core::TaskTemplate*> templates_;
  // Of an actor.
  ActorId actor_;
  uint32_t incarnation_ = 0;
  std::vector<core::ObjectEntry*> kept_;
  uint64_t saved_every_ = 0;
  std::set<std::pair<WorkerId, TaskId>> counted_;  // its state
  const core::ExecTask* running_ = nullptr;        // not a call: that goes on when it is cancelled
};

}  // namespace cyray::sim
