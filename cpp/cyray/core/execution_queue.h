// ExecutionQueue: the tasks that other processes pushed on this worker.
//
// Frames become ExecTasks, in a lane for each concurrency group of an actor, in one otherwise. A
// task whose large arguments are not in this node's store yet waits for them; calls of the same
// caller wait behind it where a group runs them in order. Python's threads take tasks with Next and
// answer with Reply. While the running task blocks in get, what has not begun is handed back to its
// submitters (unless this is an actor).
//
// Guarded by the core mutex.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core_generated.h"
#include "cyray/core/actor_saves.h"
#include "cyray/core/exec_lane.h"
#include "cyray/core/exec_task.h"
#include "cyray/core/exec_templates.h"
#include "cyray/core/item_stream.h"
#include "cyray/core/link.h"
#include "cyray/core/object_directory.h"
#include "cyray/core/untold.h"

namespace cyray::core {

// Which of a worker's threads asks for a task. Those of one group of an actor are all alike; in
// other workers the extra ones run only tasks whose function allows several at once.
struct TaskThread {
  bool is_main = true;
  uint32_t group = 0;
};

class ExecutionQueue {
 public:
  ExecutionQueue(LinkOutbox& links, ObjectDirectory& objects);

  void SetIdentity(const Address& self) { self_ = self; }
  void SetTaskNotes(wire::TaskNotes notes) {
    tally_ = &notes.tally();
    untold_.SetMemory(std::move(notes));
  }
  // The queue is never handed back: this worker is an actor, and its groups, the default one first,
  // run so many calls at once. Of those of the default group one is on the main thread, or on an
  // ExternalLoop there.
  void BecomeActor(const std::vector<CallGroup>& groups);
  bool is_actor() const { return is_actor_; }
  // This actor is saved: these learn which calls have ended, and know those that are not to run.
  void SetSaves(ActorSaves* saves) { saves_ = saves; }
  // Whether no further call begins.
  void Hold(bool held) { held_ = held; }

  void OnTemplate(Link& link, const wire::Template& tmpl);
  // False when the frame makes no sense.
  bool OnPushTask(Link& link, const wire::PushTask& push);
  void OnSteal(Link& link, const wire::StealTasks& steal);
  // One that has not begun is answered. One that runs is marked, and returned; else null.
  const ExecTask* OnCancel(Link& link, uint64_t tag, bool recursive);
  // Asks for the creation of an actor as the first task.
  void PushCreation(const wire::ActorSpec& spec, ExecTemplate* tmpl);
  ExecTemplate* Intern(ExecTemplate tmpl);

  bool HasReady(TaskThread thread = {}) const;
  // The next task to run there; null when none is ready.
  std::unique_ptr<ExecTask> Next(TaskThread thread = {});
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

  size_t queued() const;
  size_t templates() const { return templates_.size(); }
  uint32_t running() const { return static_cast<uint32_t>(running_.size()); }
  const std::vector<ExecTask*>& all_running() const { return running_; }
  // Of the task that a thread of the default group will probably take next; null: there is none.
  const ExecTemplate* FrontTemplate() const {
    const ExecTask* const front = lanes_.front().front();
    return front == nullptr ? nullptr : front->tmpl;
  }

 private:
  void Unlist(ExecTask& task);
  void Count(wire::TaskCount what, int64_t by = 1) {
    if (tally_ != nullptr) tally_->Add(what, by);
  }
  void TellSaves(const ExecTask& task, wire::TaskStatus status, bool retry);
  // Whether that thread may take any task of its lane now.
  bool IsFree(const ExecLane& lane, TaskThread thread) const;
  bool MayRun(const ExecTask& task, TaskThread thread) const;
  bool InOrder(const ExecLane& lane) const { return is_actor_ && lane.limits().in_order; }
  ExecLane& LaneOf(const ExecTask& task) { return lanes_[task.group]; }
  void TakeArguments(ExecTask& task,
                     const flatbuffers::Vector<flatbuffers::Offset<wire::TaskArg>>* refs);
  void HandBack(std::unique_ptr<ExecTask> task, wire::TaskStatus status);
  void HandBackAll(std::vector<std::unique_ptr<ExecTask>> tasks, wire::TaskStatus status);
  ExecTask* FindQueued(const WorkerId& caller, uint64_t tag) const;
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
  wire::TaskTally* tally_ = nullptr;  // in the memory of untold_
  Address self_;
  std::vector<ExecLane> lanes_{1};  // by group
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
  bool held_ = false;
  ActorSaves* saves_ = nullptr;
  int blocked_ = 0;
  bool closed_ = false;
  uint64_t ahead_bytes_ = ItemStream::kMinAheadBytes;
  flatbuffers::FlatBufferBuilder builder_;
};

}  // namespace cyray::core
