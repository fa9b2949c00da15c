// ActorSubmitter: method calls on actors, in order per caller.
//
// A client per actor: calls queue until the actor lives and their arguments are there (head of the
// line first, where order matters), then go down the link of its worker one after another. Each
// concurrency group of the actor has a queue of its own, which waits for no other. When the
// worker is lost the calls in flight wait in limbo until the GCS says what became of the actor:
// calls with retries left are sent again, in order and before younger ones, to the next
// incarnation; the others fail. When nobody says anything, for only the connection broke, they all
// fail as those of an actor that cannot be reached; later calls try a connection that came back.
//
// Callers that never wait must not shut out the others, nor fill anybody's memory: a group has at
// most kMaxInFlight calls of each process beyond those that it runs at once, or kMaxInFlightBytes
// of arguments, and a process with very many calls pending is slowed down (Crowded). Clients that
// no handle names any more are kept for a while: the next handle often comes soon.
//
// An actor that is saved (actor_saves.h) and restarted goes on from its last save. Calls with
// retries left are therefore kept when they are answered, until the actor says that a save includes
// them: after a restart they run once more before all others, for what they do to the actor, and
// what they return is nobody's. The actor knows those that its save includes by their numbers.
//
// Guarded by the core mutex.
// Invariants (CheckInvariants): calls of one client and group are pushed in order of submission
// within one incarnation; a call is in exactly one place, which it knows.

#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core_generated.h"
#include "cyray/core/call_group.h"
#include "cyray/core/call_set.h"
#include "cyray/core/task_submitter.h"
#include "local_generated.h"

namespace cyray::core {

// The calls of one concurrency group.
struct CallLane {
  CallGroup group;
  TaskList queue{.place = Place::kQueue};  // not pushed yet, in order
  TaskList waiting{.place = Place::kWaiting};
  uint32_t in_flight = 0;
  size_t in_flight_bytes = 0;  // of arguments
};

struct ActorClient {
  // Beyond so many calls pending, or bytes of their arguments, a caller should let the actor catch
  // up.
  static constexpr size_t kCrowd = 50'000;
  static constexpr size_t kCrowdBytes = 64 << 20;
  // Of an actor that is not saved as it should be so many calls are kept, or bytes of arguments.
  // A save is asked for at half of that.
  static constexpr size_t kMostKept = 200'000;
  static constexpr size_t kMostKeptBytes = 256 << 20;

  ActorId id;
  wire::ActorState state = wire::ActorState::PendingCreation;
  uint32_t incarnation = 0;
  uint32_t least_incarnation = 0;  // kill() ended those before: no call goes there
  Address address;
  Link* link = nullptr;            // while alive and reachable
  std::vector<CallLane> lanes{1};  // by group
  TaskList in_flight;
  TaskList limbo{.place = Place::kLimbo};
  TaskList kept{.place = Place::kKept};
  size_t kept_bytes = 0;  // of their arguments
  // By-reference arguments of these, and refs inside: how many name each, and its size.
  struct KeptObject {
    uint32_t calls = 0;
    size_t bytes = 0;
  };
  std::unordered_map<const ObjectEntry*, KeptObject> kept_objects;
  size_t kept_object_bytes = 0;
  bool asked_save = false;     // since it was told of the last one
  size_t let_go = 0;           // kept calls that no save included, and nobody was told of
  int64_t told_let_go_ns = 0;  // when somebody was last; 0: never
  bool saved = false;          // its calls are numbered, and kept
  uint64_t first_call = 0;     // the first number, and the next one
  uint64_t next_call = 0;
  CallSet over;           // numbers of calls that will not be made again
  uint32_t reserved = 0;  // calls that are being made where there is a limit
  uint64_t answered = 0;
  size_t bytes = 0;          // of the arguments of pending calls
  uint32_t passes = 0;       // calls that do not wait for the crowd
  bool losing_link = false;  // its last answers are read
  bool answering = false;    // a call of it is in no list just now
  bool subscribed = false;
  std::string class_name;
  std::string name;   // empty: none, or nothing is known of it yet
  std::string waits;  // for what, before it lives: "which waits for ..."; empty: nobody has said
  std::string death_cause;  // of its last process
  int pid = 0;              // while it lives, and of its last process
  ValuePtr death_error;     // what every later call gets
  ValuePtr unreachable;     // the same, until the next incarnation
  int64_t lost_at_ns = 0;   // the link broke then, and nothing was heard since
  std::string lost_reason;
  uint32_t handles = 0;
  std::optional<std::list<ActorClient*>::iterator> idle_at;  // no handles

  CallLane& LaneOf(const PendingTask& task) { return lanes[task.tmpl->group]; }
  const CallLane& LaneOf(const PendingTask& task) const { return lanes[task.tmpl->group]; }
  void SetGroups(const std::vector<CallGroup>& groups) {
    if (lanes.size() < groups.size()) lanes.resize(groups.size());
    for (size_t i = 0; i < groups.size(); ++i) lanes[i].group = groups[i];
  }
  size_t queued() const {
    size_t sum = 0;
    for (const CallLane& lane : lanes) sum += size_t{lane.queue.pending()} + lane.waiting.pending();
    return sum;
  }
  // No call below it will be made again.
  uint64_t floor() const {
    return over.empty() || over.lowest() > first_call ? first_call : over.FirstMissing();
  }
  // Calls whose results somebody waits for. Those that run again are no caller's doing: they fill
  // no limit of his.
  size_t pending() const { return queued() + in_flight.pending() + limbo.pending(); }
  // Those that run again, and are not answered once more.
  size_t repeated() const {
    size_t sum = size_t{in_flight.answered} + limbo.answered;
    for (const CallLane& lane : lanes) sum += size_t{lane.queue.answered} + lane.waiting.answered;
    return sum;
  }
  // While a call of it is in no list: what comes of an answer may let go of its last handle.
  class Stays {
   public:
    explicit Stays(ActorClient& client)
        : client_(client), before_(std::exchange(client.answering, true)) {}
    ~Stays() { client_.answering = before_; }
    Stays(const Stays&) = delete;
    Stays& operator=(const Stays&) = delete;

   private:
    ActorClient& client_;
    const bool before_;
  };
  // No call is here, nor kept.
  bool unused() const { return pending() == 0 && repeated() == 0 && kept.empty(); }
};

class ActorSubmitter {
 public:
  ActorSubmitter(LinkOutbox& links, RayletOutbox& raylet, TaskCompletion& completion);

  // What keeps an actor busy while answers travel; the queue of other callers behind it is short.
  static constexpr size_t kMaxInFlight = 4'096;
  static constexpr size_t kMaxInFlightBytes = 16 << 20;
  // Calls beyond the crowd that a caller makes before it waits again, where waiting helped nobody.
  static constexpr uint32_t kPasses = 10'000;
  // Clients without handles that are kept.
  static constexpr size_t kMaxIdle = 256;
  // A process that is to end keeps calls of an actor that is not saved for so long.
  static constexpr int64_t kLetGoNs = 30'000'000'000;
  // That kept calls were let go of, which no save included, is told so often at most, of an actor.
  static constexpr int64_t kTellLetGoNs = 60'000'000'000;

  // Whether the caller should let the actor catch up before it makes another call.
  static bool Crowded(ActorClient& client) {
    if (client.pending() <= ActorClient::kCrowd && client.bytes <= ActorClient::kCrowdBytes) {
      return false;
    }
    return client.link != nullptr && client.passes == 0;
  }
  // A caller has waited for the crowd, when `answered` calls had been answered. An actor that has
  // answered none since is busy with something else, maybe until the caller does something: it is
  // let through for a while.
  static void HasWaited(ActorClient& client, uint64_t answered) {
    client.passes = client.answered > answered ? 0 : kPasses;
  }

  // The client of an actor, for one handle more; it stays until Release, and a while longer.
  ActorClient* Acquire(const ActorId& id);
  void Release(ActorClient* client);

  void Submit(ActorClient* client, PendingTask* task, ObjectDirectory& objects);
  // No further attempt begins. One that was pushed is answered by its worker.
  void Cancel(PendingTask* task, bool recursive);
  void OnArgumentReady(PendingTask* task);
  void OnTaskReply(Link& link, PendingTask* task, const wire::TaskReply& reply);
  void OnLinkBroken(Link& link, const std::string& reason);
  // That process is dead for sure: the GCS will say what becomes of its actor.
  void OnProcessDied(const WorkerId& worker);
  void OnActorUpdate(const wire::ActorUpdate& update);
  // Registering failed: nobody else will ever hear of this actor.
  void OnRegistrationFailed(const ActorId& id, const std::string& reason);
  void FailAll(const ValuePtr& error);
  // Gives up waiting for news of lost workers. Due time in ns, kForever for none.
  int64_t NextTickNs() const;
  void Tick(int64_t now_ns);

  // The actor asks whether what it answered is read, and says which calls are in a save.
  void OnAskRead(Link& link, const wire::AskRead& ask);
  void OnCallsSaved(const Link& link, const wire::CallsSaved& saved);
  // Actors of which calls are kept here are to be saved soon. `to_end`: those of which one will be
  // kept, too, and the calls are let go of after a while: nothing else keeps this process.
  void WantSaves(bool to_end);
  // Objects that kept calls of an actor name may take so much, beside those that the last one
  // names.
  void set_most_kept_object_bytes(size_t bytes) { most_kept_object_bytes_ = bytes; }
  // Told what people should know of kept calls that were let go of.
  void set_on_let_go(std::function<void(std::string)> callback) {
    on_let_go_ = std::move(callback);
  }

  // Calls go to that incarnation or a later one. Those before are killed.
  void HoldCalls(const ActorId& id, uint32_t least_incarnation);

  // Told of each actor that is dead for good, when its calls have failed.
  void set_on_dead(std::function<void(const ActorId&)> callback) { on_dead_ = std::move(callback); }
  // Where the calls in flight are counted from now on.
  void set_tally(wire::TaskTally* tally) { tally_ = tally; }
  // Told of each actor whose process has ended and that is restarted, once for each process.
  using RestartCallback = std::function<void(const ActorClient&, const wire::ActorUpdate&)>;
  void set_on_restart(RestartCallback callback) { on_restart_ = std::move(callback); }
  // The news of that actor come from now on.
  void Subscribe(ActorClient& client);
  // Whether it has lived and is dead for good. (One that the GCS calls dead and that has not lived
  // may still be on its way there.)
  bool HasDied(const ActorId& id) const {
    const auto it = clients_.find(id);
    return it != clients_.end() && it->second->state == wire::ActorState::Dead &&
           !it->second->address.is_nil();
  }
  size_t clients() const { return clients_.size(); }
  void Describe(std::string& out) const;
  void CheckInvariants() const;

 private:
  void SendSubscribe(const ActorClient& client, bool subscribe);
  void Enqueue(ActorClient& client, PendingTask* task);
  void Pump(ActorClient& client, CallLane& lane);
  void PumpAll(ActorClient& client);
  void Die(ActorClient& client, ValuePtr error);
  // All calls that are not in flight fail.
  void FailPending(ActorClient& client, const ValuePtr& error);
  void SettleLimbo(ActorClient& client);
  // Whether the answered call may have to run again.
  static bool IsToBeKept(const PendingTask& task, const wire::TaskReply& reply);
  void Keep(ActorClient& client, PendingTask* task);
  void Unkeep(ActorClient& client, PendingTask* task);
  void BoundKept(ActorClient& client);
  // Of calls that no save included.
  void LetGo(ActorClient& client, PendingTask* task);
  void LetGoOfAll();
  void TellLetGo(ActorClient& client, const std::string& why);
  void OnIncluded(ActorClient& client, PendingTask* task);
  void SendSaveWanted(ActorClient& client);
  void BecomeAlive(ActorClient& client, const wire::ActorUpdate& update);
  void LoseLink(ActorClient& client);
  void HasNews(ActorClient& client);
  void AwaitNews(ActorClient& client, const std::string& reason);
  // Whether the process of an actor that could not be reached can be again.
  bool Reconnect(ActorClient& client);
  int64_t NewsDueNs(const ActorClient& client) const;
  void GiveUp(ActorClient& client);
  static void CheckList(const ActorClient& client, const TaskList& list, bool may_wait);
  ActorClient& Client(const ActorId& id);
  void ForgetIdle();
  void Forget(ActorClient& client);

  LinkOutbox& links_;
  RayletOutbox& raylet_;
  TaskCompletion& completion_;
  std::function<void(const ActorId&)> on_dead_ = [](const ActorId&) {};
  RestartCallback on_restart_ = [](const ActorClient&, const wire::ActorUpdate&) {};
  std::unordered_map<ActorId, std::unique_ptr<ActorClient>> clients_;
  std::unordered_map<WorkerId, std::vector<ActorClient*>> by_worker_;
  std::vector<ActorClient*> lost_;  // whose worker is lost, without news
  int64_t look_again_ns_ = 0;       // for news of them
  std::list<ActorClient*> idle_;    // the longest idle first
  wire::TaskTally* tally_ = nullptr;
  uint64_t next_call_ = 1;  // a client that is made anew does not number like its last one
  bool to_end_ = false;
  int64_t let_go_ns_ = kForever;  // kept calls are, then
  size_t most_kept_object_bytes_ = size_t{1} << 30;
  std::function<void(std::string)> on_let_go_ = [](const std::string&) {};
  flatbuffers::FlatBufferBuilder builder_;
};

}  // namespace cyray::core
