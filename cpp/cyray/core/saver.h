// Saver: saves this actor's state: ActorSaves (actor_saves.h), connected.
//
// When a state is due the main thread gets an event, and no call begins until it says Taken() or
// NotTaken(). The state goes to the GCS like every fact that it has to learn (gcs_facts.h), so it
// may be away, or its disk full: the actor goes on, and is not saved meanwhile.
// Threading: as this_process.h says. Load() and AwaitSaved() block.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "cyray/core/actor_saves.h"
#include "cyray/core/event_queue.h"
#include "cyray/core/executor.h"
#include "cyray/core/gcs_facts.h"
#include "cyray/core/this_process.h"

namespace cyray::core {

class Saver : private SavesOutbox {
 public:
  Saver(ThisProcess& process, ObjectDirectory& directory, GcsFacts& facts, Executor& executor,
        EventQueue& events)
      : process_(process),
        directory_(directory),
        facts_(facts),
        executor_(executor),
        events_(events) {}

  // That the GCS has no room is told so often at most.
  static constexpr int64_t kTellNs = 60'000'000'000;
  // What a state may have at most: all of the GCS's other work waits while its disk takes one.
  static constexpr size_t kMaxStateBytes = 64 << 20;

  // This process is an actor that is saved. Before its first call. `label`: its class, for people.
  void Begin(const ActorId& actor, uint32_t incarnation, const SaveRules& rules, std::string label);
  // It goes on from a state that included these calls (a finished wire::IncludedCalls). False: the
  // bytes are none.
  bool Restore(std::string_view calls);
  // The calls that the state includes now, in this form.
  std::string IncludedCalls();
  // What came of the event. kInvalidArgument: the state is too large; NotTaken() is to follow.
  Status Taken(std::string_view state, int64_t taken_ms);
  void NotTaken(bool declined);
  struct Since {
    uint64_t calls = 0;  // that ended, and how long it is, since the last one was taken
    int64_t ns = 0;
    uint64_t taken = 0;   // the number of that one
    uint64_t stored = 0;  // and of the last one that is stored
  };
  Since SinceLast();
  // For an actor that leaves: whether its state is to be taken now, which it cannot where a call
  // runs. Else no call begins any more.
  enum class Last : uint8_t { kNothing, kDue, kCallRuns };
  Last BeginLast();
  // Waits until all that was taken is stored, or why the last of it is not is known.
  Status AwaitSettled(int64_t deadline_ns);

  // --- With the core mutex held ---

  void OnAnswersRead(const Link& link, const wire::AnswersRead& read);
  void OnSaveWanted(const Link& link);
  void OnLinkBroken(const Link& link);
  void OnProcessDied(const WorkerId& worker);
  // Since when the state is being taken; 0: it is not.
  int64_t taking_since_ns() const { return saves_ ? saves_->taking_since_ns() : 0; }
  int64_t NextTimerNs() const { return saves_ ? saves_->NextTickNs() : kForever; }
  void RunTimers(int64_t now_ns);

 private:
  // SavesOutbox
  void AskRead(const WorkerId& caller, uint64_t number) override;
  void Store(ActorSave& save) override;
  void TellSaved(const WorkerId& caller, const CallSet& calls) override;
  void TellNeverQuiet(int64_t for_ns, uint64_t calls) override;

  // Carries out what is to be done now.
  void Look();
  void TellRefused(const Status& why);
  // What goes to the GCS, made before the mutex is taken for it.
  wire::Bytes Request(std::string_view state, int64_t taken_ms);
  void Send(const WorkerId& caller, wire::FrameType type);

  ThisProcess& process_;
  ObjectDirectory& directory_;
  GcsFacts& facts_;
  Executor& executor_;
  EventQueue& events_;
  // Guarded by the core mutex.
  std::optional<ActorSaves> saves_;
  ActorId actor_;
  uint32_t incarnation_ = 0;
  std::string label_;
  Status refused_;  // why the last that was to be stored is not
  int64_t told_refused_ns_ = 0;
  flatbuffers::FlatBufferBuilder builder_;
};

}  // namespace cyray::core
