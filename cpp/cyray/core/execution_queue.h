// ExecutionQueue: the tasks that other processes pushed on this worker.
//
// Frames become ExecTasks in order of arrival. A task whose large arguments are not in this node's
// store yet waits for them; tasks of an actor that runs calls in order wait behind it. Python's
// threads take tasks with Next and answer with Reply. While the running task blocks in get, what
// has not begun is handed back to its submitters (unless this is an actor).
//
// Guarded by the core mutex.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core_generated.h"
#include "cyray/core/exec_templates.h"
#include "cyray/core/item_stream.h"
#include "cyray/core/link.h"
#include "cyray/core/object_directory.h"
#include "cyray/core/untold.h"

namespace cyray::core {

// A by-reference argument of a task that was pushed here.
struct Argument {
  ObjectEntry* entry = nullptr;  // null: the value came with the task, or cannot be had
  LocalPin* pin = nullptr;       // keeps what is in the store here until the task has run
  ValuePtr value;
  bool is_error = false;
  uint64_t awaited_by = 0;  // the key under which it is awaited; 0: it is not
};

// What a streaming generator has yielded.
struct Production {
  uint64_t number = 0;         // of the next item
  uint64_t there = 0;          // of earlier attempts: its owner has these
  uint64_t taken = 0;          // by consumers, as far as is known
  std::deque<uint64_t> sizes;  // of those that were sent here and are not taken
  uint64_t bytes = 0;          // of all these
  bool tells = false;          // when it has room again
};

struct ExecTask {
  WorkerId submitter;  // nil: the creation of this actor
  uint64_t tag = 0;
  ExecTemplate* tmpl = nullptr;
  TaskId id;
  uint32_t attempt = 0;
  ValuePtr args;
  std::vector<Argument> arguments;  // those by reference; one count of each entry
  std::string name;
  std::vector<int> gpu_ids;
  std::vector<ObjectId> borrowed;  // refs seen while decoding the arguments
  uint32_t missing = 0;            // arguments that are not here yet
  bool unwanted = false;           // nobody gets its answer
  bool told_waiting = false;       // its submitter knows that it did not begin when its turn came
  int64_t started_ns = 0;
  uint64_t number = 0;    // of those that began in this process, from 1
  size_t running_at = 0;  // where it is listed
  // Its submitter does not want it any more: it is to end soon. Read without the core mutex, too,
  // and what it submits before it knows of that, then.
  std::atomic<bool> cancelled = false;
  bool cancels_children = false;  // written before
  int64_t due_ns = 0;      // when it runs over its timeout or, timed out, over its grace; 0: never
  bool timed_out = false;  // and was cancelled for that
  std::unique_ptr<Production> production;
  Untold::Task untold;
  bool submitter_is_nil() const { return submitter.is_nil(); }
};

// One return value to send.
struct Outcome {
  ValuePtr value;  // inline; else it is in the store
  uint64_t stored_bytes = 0;
  bool is_error = false;
  std::vector<ObjectEntry*> contained;  // one count each, passed on
};

class ExecutionQueue {
 public:
  ExecutionQueue(LinkOutbox& links, ObjectDirectory& objects);

  void SetIdentity(const Address& self) { self_ = self; }
  void SetTaskNotes(wire::TaskNotes notes) { untold_.SetMemory(std::move(notes)); }
  // The queue is never handed back: this worker is an actor, and so many threads run its calls; one
  // is the main one, or an ExternalLoop there.
  void BecomeActor(bool in_order, uint32_t threads) {
    is_actor_ = true, in_order_ = in_order, actor_threads_ = threads;
  }
  bool is_actor() const { return is_actor_; }

  void OnTemplate(Link& link, const wire::Template& tmpl);
  // False when the frame makes no sense.
  bool OnPushTask(Link& link, const wire::PushTask& push);
  void OnSteal(Link& link, const wire::StealTasks& steal);
  // One that has not begun is answered. One that runs is marked, and returned; else null.
  const ExecTask* OnCancel(Link& link, uint64_t tag, bool recursive);
  // Asks for the creation of an actor as the first task.
  void PushCreation(const wire::ActorSpec& spec, ExecTemplate* tmpl);
  ExecTemplate* Intern(ExecTemplate tmpl);

  // Which of a worker's threads asks. An actor's threads are all alike; in other workers the extra
  // ones run only tasks whose function allows several at once.
  enum class Thread : uint8_t { kMain, kExtra };
  bool HasReady(Thread thread = Thread::kMain) const;
  // The next task to run there; null when none is ready.
  std::unique_ptr<ExecTask> Next(Thread thread = Thread::kMain);
  void Reply(std::unique_ptr<ExecTask> task, wire::TaskStatus status, std::vector<Outcome> outcomes,
             bool retry);
  // A running generator's next item. Whether its owner has it already, and it is not to be sent.
  static bool SkipItem(ExecTask& task);
  // Sends it. False: nobody gets it.
  bool SendItem(ExecTask& task, Outcome outcome);
  // Whether the generator may go on, or has to wait for its consumers.
  bool HasRoom(const ExecTask& task) const;
  // Running generators that were to be told when they have room again, and have.
  std::vector<ExecTask*> TakeThoseWithRoom();
  void OnItemsTaken(const Link& link, const wire::ItemsTaken& taken);
  // How many bytes of items may wait for consumers, for each generator.
  void SetAheadBytes(uint64_t bytes) { ahead_bytes_ = bytes; }
  // --- Timeouts: from the start of a run ---

  static constexpr int64_t kGraceNs = 2'000'000'000;
  // It begins now. Whether it may run out of time.
  bool Starts(ExecTask& task, int64_t now_ns);
  // The first moment at which a running task is over its time; kForever: none.
  int64_t NextDueNs() const { return due_.empty() ? kForever : due_.begin()->first; }
  // The next one that is over its time, marked as cancelled, and due again when its grace is over;
  // or null. `over`: it was marked before.
  ExecTask* TakeDue(int64_t now_ns, bool* over);
  // Its answer, in the name of a task that ends with this process.
  void AnswerTimedOut(ExecTask& task);
  // It began and ends with this process, without an answer.
  void Abandon(std::unique_ptr<ExecTask> task) { Unlist(*task); }
  // To be asked before results are stored: who gets them. Null when nobody will, whatever becomes
  // of the link: its submitter is dead, or looks elsewhere.
  const Address* ResultsFor(ExecTask& task);
  // The argument that `key` names is here, or will not come.
  void OnArgumentHere(uint64_t key);
  // The running task waits: hand the others back, and whatever arrives until Unblocked.
  void SetBlocked(bool blocked);
  // This worker leaves: nothing that has not begun will run here.
  void Close();
  // Nothing runs here, and what ran is answered.
  bool AllAnswered() const { return running_.empty() && unanswered_ == 0; }
  void OnLinkBroken(Link& link);

  size_t queued() const { return queue_.size(); }
  size_t templates() const { return templates_.size(); }
  uint32_t running() const { return static_cast<uint32_t>(running_.size()); }
  const ExecTemplate* FrontTemplate() const {
    return queue_.empty() ? nullptr : queue_.front()->tmpl;
  }

 private:
  void Unlist(ExecTask& task);
  bool MayRun(const ExecTask& task, Thread thread) const;
  void TakeArguments(ExecTask& task,
                     const flatbuffers::Vector<flatbuffers::Offset<wire::TaskArg>>* refs);
  void HandBack(std::unique_ptr<ExecTask> task, wire::TaskStatus status);
  void TakeHere(Argument& argument);
  void TellBegun(const ExecTask& task);
  void SendProgress(Link& link, const ExecTask& task, bool begun);
  void Release(ExecTask& task);
  // One value of `task`, the object `id` there; refs inside it are the receiver's to take.
  flatbuffers::Offset<wire::ReturnValue> Build(Link& link, const ObjectId& id, Outcome& outcome);
  void SendReply(ExecTask& task, wire::TaskStatus status, std::vector<Outcome>& outcomes,
                 const std::vector<ObjectId>& borrowed, bool retry);

  LinkOutbox& links_;
  ObjectDirectory& objects_;
  Untold untold_;
  Address self_;
  std::deque<std::unique_ptr<ExecTask>> queue_;
  ExecTemplates templates_;
  // Arguments on their way, by the key that names them in callbacks.
  struct Awaited {
    ExecTask* task;
    size_t index;
  };
  std::unordered_map<uint64_t, Awaited> awaited_;
  uint64_t next_key_ = 1;
  std::vector<ExecTask*> running_;
  uint32_t unanswered_ = 0;  // that ended, and whose refs are not registered yet
  uint64_t begun_ = 0;       // ever
  std::set<std::pair<int64_t, ExecTask*>> due_;
  bool is_actor_ = false;
  bool in_order_ = true;
  uint32_t actor_threads_ = 1;
  int blocked_ = 0;
  bool closed_ = false;
  uint64_t ahead_bytes_ = ItemStream::kMinAheadBytes;
  flatbuffers::FlatBufferBuilder builder_;
};

}  // namespace cyray::core
