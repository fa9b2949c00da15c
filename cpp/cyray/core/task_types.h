// What the submitting side of a process knows about tasks, their shapes and leases.
// Plain structs, guarded by the core mutex; TaskSubmitter and ActorSubmitter own them.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core_generated.h"
#include "cyray/common/ids.h"
#include "cyray/common/labels.h"
#include "cyray/common/resources.h"
#include "cyray/core/object_entry.h"
#include "cyray/core/value.h"
#include "cyray/wire/task_tally.h"

namespace cyray::core {

struct Lease;
struct Link;
struct Shape;
struct ActorClient;
class ItemStream;

// The static part of a task: one per remote function and set of options, or per actor method.
struct TaskTemplate {
  uint32_t id = 0;
  uint32_t version = 1;  // of those that had this id
  uint32_t uses = 0;     // by Python and by live tasks
  FunctionId function_id;
  std::string name;
  std::string method;
  int num_returns = 1;
  wire::Yields yields = wire::Yields::None;
  uint32_t max_ahead = 0;   // items, as in wire::Template
  uint64_t timeout_ms = 0;  // 0: none
  int max_retries = 0;      // -1: for ever
  uint32_t max_concurrency = 1;
  uint32_t group = 0;      // of the actor whose method it is (CallGroup)
  std::string extra;       // options that only the worker's Python side reads
  Shape* shape = nullptr;  // normal tasks
  double average_us = -1;  // run time, moving average; -1 while unknown
  bool was_long = false;   // the last run took far longer than those before it
};

// Where a task is.
enum class Place : uint8_t {
  kNone,      // being moved; a normal task that waits for arguments
  kWaiting,   // for arguments, where order does not matter
  kQueue,     // to be pushed
  kInFlight,  // pushed
  kLimbo,     // pushed to a worker that is gone
  kKept,      // answered, and in no save of its actor
};

// What a caller wants of a task that it cancels.
struct Cancellation {
  bool force = false;      // where it runs, its process ends
  bool recursive = false;  // so do, or are cancelled, the tasks that it submitted
};

// A submitted task until its reply. Lives in a slab; `tag` on the wire is slot and generation.
struct PendingTask {
  uint32_t slot = 0;
  uint32_t generation = 0;
  TaskId id;
  TaskTemplate* tmpl = nullptr;
  ValuePtr args;
  std::vector<ObjectEntry*> refs;       // by-reference arguments, one count each
  std::vector<ObjectEntry*> contained;  // refs inside argument values, one count each
  std::vector<ObjectEntry*> returns;    // one count each, held until resolved
  // Of a streaming generator, until its handles are gone: what stands for it, not counted here, and
  // its items.
  ObjectEntry* generator = nullptr;
  ItemStream* stream = nullptr;
  std::unique_ptr<std::string> name;  // overrides the template's
  ActorClient* actor = nullptr;
  Lease* lease = nullptr;       // where it was pushed
  PendingTask* next = nullptr;  // in the list of what was pushed there, in order
  PendingTask* previous = nullptr;
  uint32_t unresolved = 0;  // refs that have no value yet
  uint32_t attempt = 0;
  int retries_left = 0;
  // Of a call of an actor that is saved: its number among those that are kept until a save includes
  // them, 0: it is not; and, when it was `answered`, how many items it had.
  uint64_t call = 0;
  uint64_t items = 0;
  uint64_t parent = 0;  // the task running here that submitted it, by number; 0: none
  bool live = false;
  bool waits_there = false;  // pushed, and its worker lacks arguments: others begin before it
  bool cancelled = false;    // no further attempt begins
  bool answered = false;     // what further attempts return is nobody's (TaskSlab::NoteAnswered)
  bool forced = false;       // and the process of this one is ended for that
  Place place = Place::kNone;
  // It is the task that makes `entry`, and has a count of it.
  void Makes(ObjectEntry* entry) {
    entry->maker = this;
    returns.push_back(entry);
  }
  bool waiting_for_args() const { return unresolved > 0; }
  uint64_t tag() const { return uint64_t{generation} << 32 | slot; }
};

// The tasks in one place, in order. Each is in one list at most. Those in flight count as pushed,
// but for calls that run again.
struct TaskList {
  PendingTask* first = nullptr;
  PendingTask* last = nullptr;
  uint32_t count = 0;
  uint32_t answered = 0;  // of these: calls that run again, for what they do
  Place place = Place::kInFlight;
  wire::TaskTally* tally = nullptr;  // of a list of tasks in flight; null in tests

  bool empty() const { return first == nullptr; }
  // Those whose results somebody waits for.
  uint32_t pending() const { return count - answered; }
  void Prepend(PendingTask* task) { Insert(nullptr, task, first); }
  void Append(PendingTask* task) { Insert(last, task, nullptr); }
  void Remove(PendingTask* task) {
    (task->previous != nullptr ? task->previous->next : first) = task->next;
    (task->next != nullptr ? task->next->previous : last) = task->previous;
    task->next = task->previous = nullptr;
    task->place = Place::kNone;
    --count;
    if (task->answered) --answered;
    if (tally != nullptr && !task->answered) tally->Add(wire::TaskCount::kPushed, -1);
  }
  PendingTask* TakeFirst() {
    PendingTask* task = first;
    if (task != nullptr) Remove(task);
    return task;
  }

 private:
  void Insert(PendingTask* before, PendingTask* task, PendingTask* after) {
    task->previous = before;
    task->next = after;
    (before != nullptr ? before->next : first) = task;
    (after != nullptr ? after->previous : last) = task;
    task->place = place;
    ++count;
    if (task->answered) ++answered;
    if (tally != nullptr && !task->answered) tally->Add(wire::TaskCount::kPushed);
  }
};

// What the worker of a lease was asked to hand back of what it has not begun.
enum class AskedBack : uint8_t { kNothing, kHalf, kAll };

// A worker lent to this process for tasks of one shape.
struct Lease {
  uint64_t id = 0;
  Shape* shape = nullptr;
  Address worker;
  int worker_pid = 0;
  Link* link = nullptr;
  std::vector<int> gpu_ids;
  TaskList in_flight;
  double queued_us = 0;  // estimate of the run time of what is in flight
  int64_t idle_since_ns = 0;
  int64_t last_reply_ns = 0;
  bool reclaimed = false;                      // to be returned when drained
  bool hold = false;                           // its worker blocks in get: push nothing ahead
  AskedBack asked_back = AskedBack::kNothing;  // until at most one task is left
  bool broken = false;
  int64_t broken_at_ns = 0;  // when its link broke, and nothing was heard since
  std::string broken_why;
  bool exiting = false;        // the worker said it leaves
  bool group_removed = false;  // the placement group that it is in is no more
};

// The workers that short tasks keep busy where nothing else bounds how many these are.
struct Crew {
  size_t size = 4;  // to begin with, and the least
  // Since it was looked last whether they suffice:
  int64_t looked_ns = 0;
  double ran_us = 0;  // in tasks
  uint32_t answers = 0;
  // The last look made it larger; what came before.
  bool grew = false;
  double rate_before = 0;  // answers a us
  int looks_to_pass = 0;   // before it may grow again
};

// What a task asks for of the workers that may run it.
struct ShapeKey {
  ResourceSet demand;
  uint8_t strategy = 0;
  NodeId affinity_node;
  bool affinity_soft = false;
  LabelChoice labels;    // of the node
  int32_t priority = 0;  // among what waits of the job
  // At most so many tasks of that function run at once in the job; 0: any number.
  uint32_t max_running = 0;
  FunctionId limited;  // nil without
  auto operator<=>(const ShapeKey&) const = default;
};

// Of a shape whose tasks may run only so many at once: what it was granted, ever, and so on.
struct Permits {
  uint32_t number = 0;  // by which it is known where they are counted
  uint64_t granted = 0;
  uint64_t returned = 0;
  uint64_t recalled = 0;      // so many are to be returned
  uint64_t told_lacking = 0;  // of what was said to be wanted
  int64_t since_ns = 0;       // when the last were granted
  bool telling = false;       // whoever tells looks at the answer
  uint64_t held() const { return granted - returned; }
  uint64_t owed() const { return recalled > returned ? recalled - returned : 0; }
};

// Shapes that ask for the same of a node, in whatever order and number.
struct Kin {
  size_t requests = 0;  // RequestLease in flight, of all of them
};

// Tasks that any lease of the same shape can run.
struct Shape {
  ShapeKey key;
  std::shared_ptr<Kin> kin;
  size_t counted = 0;                      // of its requests, in those of its kin
  bool bounded = false;                    // a node has room for so many at once, and for no more
  TaskList ready{.place = Place::kQueue};  // arguments there, waiting for a lease
  std::vector<std::unique_ptr<Lease>> leases;
  std::vector<uint64_t> requests;  // RequestLease in flight, oldest first
  uint32_t unanswered = 0;         // of these and of those that were cancelled
  Crew crew;                       // of a shape that is not bounded
  bool has_leases = false;         // is in the submitter's list of those that have
  uint32_t templates = 0;          // whose tasks are of this shape
  Permits permits;                 // of one that is limited
  bool limited() const { return key.max_running > 0; }
};

}  // namespace cyray::core
