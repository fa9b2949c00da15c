// ActorSaves: when this actor's state is saved, which calls that includes, and who has to know.
//
// A save is a state and, for each caller that keeps its calls (actor_submitter.h), which of them it
// includes. An actor that is restarted from it leaves those out that come again. Their answers are
// not part of it: it waits until the callers have read them, and goes to the GCS then. When it is
// stored the callers are told which calls they need not keep any longer.
//
// One save is under way at a time. States are taken while no call runs: where several run at once
// new ones are held back for that, but not for long. Times are monotonic and given to it.
// Guarded by the core mutex. Pure.
// Invariants (CheckInvariants): a save includes calls that have ended, and nothing else; it is
// stored when its callers have read their answers or ReadNs() have passed; numbers of saves grow.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/core/call_set.h"
#include "cyray/core/outbox.h"
#include "cyray/wire/bytes.h"

namespace cyray::core {

struct SaveRules {
  uint64_t calls = 0;    // after so many that ended; 0: however many
  int64_t every_ns = 0;  // a change is unsaved for so long at most; 0: for however long
  bool asks = false;     // the actor is asked after each call, whatever else
};

struct ActorSave {
  uint64_t number = 0;
  int64_t taken_ms = 0;  // since 1970
  uint64_t ended = 0;    // calls since the state before
  wire::Bytes state;     // as whoever stores it wants it
  wire::Bytes calls;     // a finished wire::IncludedCalls
  std::vector<std::pair<WorkerId, CallSet>> included;
};

class SavesOutbox {
 public:
  virtual ~SavesOutbox() = default;
  // Behind all that it was answered so far. OnRead says when it has read that.
  virtual void AskRead(const WorkerId& caller, uint64_t number) = 0;
  // OnStored or OnRefused says what became of it. May take the state.
  virtual void Store(ActorSave& save) = 0;
  virtual void TellSaved(const WorkerId& caller, const CallSet& calls) = 0;
  // For so long a state could not be taken, as calls ran at each moment; so many have ended since
  // the last one was.
  virtual void TellNeverQuiet(int64_t for_ns, uint64_t calls) = 0;
};

class ActorSaves {
 public:
  ActorSaves(const SaveRules& rules, SavesOutbox& outbox, int64_t now_ns)
      : rules_(rules), outbox_(outbox), last_taken_ns_(now_ns) {}

  // A quiet moment is waited for so long, then new calls are held back for so long at most; when
  // that does not help they are not again for so long, twice as long each time. A quiet moment that
  // comes meanwhile is used.
  static constexpr int64_t kAwaitQuietNs = 100'000'000;
  static constexpr int64_t kHoldNs = 1'000'000'000;
  static constexpr int64_t kPauseNs = 10'000'000'000;
  static constexpr int64_t kMostPauseNs = 160'000'000'000;
  // That there was none in two attempts or more is told so often at most.
  static constexpr int64_t kTellNs = 60'000'000'000;
  // Taking states may cost the actor one part in so many of its time. Below that a state is cheap.
  static constexpr int64_t kShare = 4;
  static constexpr int64_t kCheapNs = 10'000'000;
  // After one that could not be taken.
  static constexpr int64_t kAfterFailureNs = 10'000'000'000;
  // For callers that do not answer. They may be frozen; what they were answered is on its way. One
  // that did not in that time is not waited for so long again before it is heard from.
  static constexpr int64_t kReadNs = 10'000'000'000;
  static constexpr int64_t kReadSilentNs = 100'000'000;
  // Of an actor that leaves: for all of them.
  static constexpr int64_t kReadLastNs = 1'000'000'000;
  // What callers keep of their calls at most, whatever the rules say.
  static constexpr uint64_t kMostKept = 10'000;
  static constexpr size_t kMostKeptBytes = 32 << 20;
  // A life begins with so many callers of earlier ones at most: those that were heard from last.
  static constexpr size_t kMostCallers = 4'096;

  // The state that this life began with. False: the bytes are no wire::IncludedCalls.
  bool Restore(std::string_view calls);

  // --- Calls. `call`: its number; 0: its caller does not keep it ---

  bool Includes(const WorkerId& caller, uint64_t call) const;
  struct EndedCall {
    WorkerId caller;
    uint64_t call = 0;
    bool again = false;  // it raised, and is tried again under this number
    size_t bytes = 0;    // of its arguments
  };
  void Ended(const EndedCall& call);
  // One that the state includes was made again, and did not run. Its caller keeps it until a save
  // of this life includes it: the one that this life began with may be on no disk yet.
  void MadeAgain(const WorkerId& caller);
  // A caller would like to end, or to keep less.
  void Want(const WorkerId& caller);
  void OnCallerDied(const WorkerId& caller);
  // What it was told last may not have reached it.
  void OnCallerLost(const WorkerId& caller);

  // --- When ---

  enum class Step : uint8_t {
    kNothing,
    kHold,     // no further call is to begin
    kTake,     // nor now: the state is to be taken (Taken, NotTaken)
    kRelease,  // calls may begin again
  };
  // Whether a call that has ended is a reason to look: its time is told by NextTickNs.
  bool NeedsLook() const {
    return stage_ != Stage::kIdle || unsaved_ <= 1 || unquiet_ > 0 || DueByCount();
  }
  // `quiet`: no call runs.
  Step Look(int64_t now_ns, bool quiet);
  int64_t NextTickNs() const;
  void Tick(int64_t now_ns);

  // The actor leaves: what is taken now is its last state, and takes the place of one that waits
  // for its callers. False: all that has happened is in one that was taken.
  bool BeginLast();

  // --- A save ---

  // The calls that the state includes now: a finished wire::IncludedCalls, with the callers that
  // were heard from last first.
  wire::Bytes Included() const;
  void Taken(wire::Bytes state, int64_t taken_ms, int64_t now_ns);
  enum class Why : uint8_t { kFailed, kDeclined };
  void NotTaken(Why why, int64_t now_ns);
  void OnRead(const WorkerId& caller, uint64_t number, uint64_t floor);
  void OnStored(int64_t now_ns);
  // The GCS has no use for it.
  void OnRefused(int64_t now_ns);

  // All that was taken is stored, or refused.
  bool IsSettled() const { return !under_way_ && !next_; }
  bool is_taking() const { return stage_ == Stage::kTaking; }
  // 0: it is not being taken.
  int64_t taking_since_ns() const { return is_taking() ? since_ns_ : 0; }
  bool is_last() const { return last_; }
  uint64_t unsaved() const { return unsaved_; }
  int64_t last_taken_ns() const { return last_taken_ns_; }
  // The numbers of the last save that was taken, and of the last that is stored; 0: none is.
  uint64_t last_number() const { return last_number_; }
  uint64_t stored_number() const { return stored_number_; }
  void CheckInvariants() const;

 private:
  enum class Stage : uint8_t { kIdle, kAwaitQuiet, kHolding, kTaking };
  struct Caller {
    CallSet included;    // that it may make again
    uint64_t ended = 0;  // of those that it keeps, in this life
    uint64_t read = 0;   // of these it has read the answers of so many
    uint64_t asked = 0;  // whether it had read so many, with that number
    uint64_t asked_number = 0;
    // In no state that was taken, and kept there:
    uint64_t kept = 0;
    size_t kept_bytes = 0;
    bool wants = false;    // a save for these
    uint64_t changed = 0;  // the number of the save that has its latest call, or will
    uint64_t told = 0;     // and of the last one that it was told of
    bool silent = false;   // it was asked, and did not say in time that it had read
    uint64_t heard = 0;    // when it was heard from last: grows
  };
  struct UnderWay {
    ActorSave save;
    std::set<WorkerId> asked;  // that have not said yet that they have read
    size_t awaited = 0;        // of these: they are not silent
    int64_t since_ns = 0;
    bool storing = false;
  };

  bool MayTake(int64_t now_ns) const;
  int64_t ReadNs() const { return last_ ? kReadLastNs : kReadNs; }
  bool Due(int64_t now_ns) const;
  // By the number of calls, or as somebody wants it.
  bool DueByCount() const;
  int64_t DueByTimeNs() const;
  void NoteUnquiet(int64_t now_ns);
  // When callers of the save that is under way are not waited for any longer.
  int64_t ReadDueNs() const;
  // It is in no state that was taken, and kept by its caller.
  void NoteKept(Caller& caller, size_t bytes);
  void ForgetKept(Caller& caller);
  void Begin(ActorSave save, int64_t now_ns);
  void Store();
  void GoOn(int64_t now_ns);
  Caller& CallerOf(const WorkerId& id);
  Caller* Find(const WorkerId& id);

  const SaveRules rules_;
  SavesOutbox& outbox_;
  std::map<WorkerId, Caller> callers_;
  std::pair<WorkerId, Caller*> latest_{};  // of these; null: none
  uint64_t heard_ = 0;                     // the last that one of them has
  Stage stage_ = Stage::kIdle;
  int64_t since_ns_ = 0;  // when this stage began
  int64_t not_before_ns_ = 0;
  int unquiet_ = 0;  // attempts since a state could be taken that found no quiet moment
  int64_t unquiet_since_ns_ = 0;
  int64_t hold_not_before_ns_ = 0;
  int64_t told_unquiet_ns_ = 0;  // 0: never
  int64_t last_taken_ns_;
  uint64_t unsaved_ =
      0;  // calls that ended, or were made again, and are in no state that was taken
  uint64_t declined_ = 0;
  uint64_t kept_ = 0;  // of these, by callers that live
  size_t kept_bytes_ = 0;
  size_t wanted_ = 0;  // by so many of them
  bool last_ = false;  // the actor leaves
  uint64_t last_number_ = 0;
  uint64_t stored_number_ = 0;
  std::optional<UnderWay> under_way_;
  std::optional<ActorSave> next_;  // taken meanwhile; a newer one takes its place
};

}  // namespace cyray::core
