// Executor: runs what other processes push on this worker.
//
// Python's threads take tasks from the ExecutionQueue here and answer them. A main thread takes
// events between tasks (EventQueue); they may end the process. A worker also becomes an actor here,
// says that it leaves, and lends its CPU to the node while a task waits.
// Threading: as this_process.h says. NextTask blocks.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cyray/core/event_queue.h"
#include "cyray/core/execution_queue.h"
#include "cyray/core/this_process.h"
#include "local_generated.h"

namespace cyray::core {

class Executor {
 public:
  Executor(ThisProcess& process, ObjectDirectory& directory, EventQueue& events, ExternalLoop& loop)
      : process_(process), events_(events), loop_(loop), queue_(process.links(), directory) {}

  // The next thing to do on this thread: a task, an event, or neither when the time is over. Events
  // are for the main thread alone.
  std::unique_ptr<ExecTask> NextTask(int64_t deadline_ns, TaskThread thread, Event* event);
  // The same without waiting or polling, for an ExternalLoop. Where no further task `may_begin`
  // there are events all the same: what runs may wait for them.
  std::unique_ptr<ExecTask> TryNextTask(Event* event, bool may_begin = true);
  // One that was taken for a loop, which others may have kept busy since, takes its first step: its
  // timeout counts from now on. (To be called where it has one.)
  void StartsOnLoop(ExecTask& task);
  // Ends a task that began; takes its outcomes.
  void Reply(std::unique_ptr<ExecTask> task, bool ok, std::vector<Outcome> outcomes, bool retry);
  // The same for one that was cancelled, or is over its time, and therefore gave up.
  void ReplyCancelled(std::unique_ptr<ExecTask> task);
  // A running generator's next item: whether it is not to be sent, as its owner has it.
  bool SkipItem(ExecTask& task);
  // Sends it. Then the generator goes on, or waits (AwaitRoom) for its consumers, or ends.
  enum class Sent : uint8_t { kGoOn, kWait, kUnwanted };
  Sent SendItem(ExecTask& task, Outcome outcome);
  // False: a signal handler raised, or the process leaves. Lends the CPU, as a get does.
  bool AwaitRoom(const ExecTask& task);
  // The same for a call on an event loop: whether it may go on. Else an event tells when it may.
  bool HasRoomOrTells(ExecTask& task);
  // It ends with this process, which leaves: its submitter learns of that.
  void Abandon(std::unique_ptr<ExecTask> task);
  // Who owns what the task returns. False: nobody, and its answer will reach nobody.
  bool OwnerOfResults(ExecTask& task, Address* owner);

  // Its groups, the default one first. `loops_of_groups`: the others run on loops of their own, and
  // a thread takes what concerns their calls (EventQueue::Next).
  void BecomeActor(const std::vector<CallGroup>& groups, bool loops_of_groups = false);
  // `error`, when the constructor failed: its encoded value, which whoever calls the actor gets.
  // One that is too large to travel through the GCS is replaced by one that says so.
  void ActorReady(const ActorId& id, uint32_t incarnation, bool ok, std::string_view error);
  void WorkerExiting(bool intended, const std::string& reason);
  // This worker takes no more tasks. When those that run have ended, and no other process uses what
  // it owns, the main thread gets the event that ends it. Refs of its own do not keep it: whoever
  // limits the calls of a function may do so for what it leaves behind.
  void Retire(const std::string& reason);
  // For a handler of SIGTERM: the same as Retire, but for what others use, which keeps nobody. An
  // actor does not say that it leaves before it does. Writes to Poller::wake_fd() come next.
  std::atomic<bool>& asked_to_end() { return asked_to_end_; }
  // Called after each answer, with the core mutex held.
  void SetAfterReply(std::function<void()> after_reply) { after_reply_ = std::move(after_reply); }
  // Called when it begins to retire, with the core mutex held.
  void SetOnRetire(std::function<void()> on_retire) { on_retire_ = std::move(on_retire); }
  // Says whether others use what this process owns, or it waits for what it has submitted; called
  // with the core mutex held.
  void SetInUse(std::function<bool()> in_use) { in_use_ = std::move(in_use); }
  // When a task is cancelled that runs, `interrupt` is called, on any thread and with the core
  // mutex held: Python's main thread is to look whether that is what runs there. Of an actor's call
  // there is an event.
  void SetInterrupt(std::function<void()> interrupt);

  // --- With the core mutex held ---

  // As ExecutionQueue has them.
  void SetSaves(ActorSaves* saves) { queue_.SetSaves(saves); }
  void Hold(bool held);
  // Begins to end, if it was asked to.
  void LookWhetherToEnd();
  void SetIdentity(const Address& self) { queue_.SetIdentity(self); }
  void SetAheadBytes(uint64_t bytes) { queue_.SetAheadBytes(bytes); }
  void SetTaskNotes(wire::TaskNotes notes) { queue_.SetTaskNotes(std::move(notes)); }
  // From submitters.
  void OnTemplate(Link& link, const wire::Template& tmpl) { queue_.OnTemplate(link, tmpl); }
  // False when the frame makes no sense.
  bool OnPushTask(Link& link, const wire::PushTask& push) {
    if (!queue_.OnPushTask(link, push)) return false;
    if (push.call() != 0 && after_reply_) after_reply_();  // it may be answered already
    loop_.Wake();
    return true;
  }
  void OnSteal(Link& link, const wire::StealTasks& steal) { queue_.OnSteal(link, steal); }
  // The number of the task, when it runs: Python is told, unless it is to end by force, which is
  // left to the caller. Else 0.
  uint64_t OnCancel(Link& link, const wire::CancelTask& cancel);
  // What runs here is to end with this process, at once. Does not return.
  [[noreturn]] void EndByForce(const std::string& why);
  // What a task that runs here submitted is to end with it.
  void set_cancel_children(std::function<void(uint64_t number)> cancel) {
    cancel_children_ = std::move(cancel);
  }
  // When the next running task is over its time, and what becomes of those that are.
  int64_t NextTimerNs() const { return queue_.NextDueNs(); }
  void RunTimers(int64_t now_ns);
  void OnItemsTaken(const Link& link, const wire::ItemsTaken& taken);
  void OnLinkBroken(Link& link);
  // The argument that `key` names is here, or will not come.
  void OnArgumentHere(uint64_t key) {
    queue_.OnArgumentHere(key);
    loop_.Wake();
  }
  // From the raylet.
  void OnAssignActor(const wire::AssignActor& assign);

  // While this process waits somebody else may use its CPU.
  bool LendsCpu() const {
    // An actor holds its resources for life, as long as a method may go on.
    return !process_.is_driver() && queue_.running() > 0 && !queue_.is_actor();
  }
  // A thread begins, or ends, to wait for so long that the CPU is lent.
  void SetBlocked(bool blocked);
  bool is_actor() const { return queue_.is_actor(); }
  size_t queued() const { return queue_.queued(); }
  uint32_t running() const { return queue_.running(); }
  const ExecutionQueue& queue() const { return queue_; }

 private:
  void SendReply(std::unique_ptr<ExecTask> task, wire::TaskStatus status,
                 std::vector<Outcome> outcomes, bool retry);
  void TellOfRoom();
  void BeginToRetire(const std::string& reason);
  // Python is told that the task is cancelled.
  void Interrupt(const ExecTask& task);
  void PushEvent(Event event, const ExecTask& task);
  void SendExiting(bool intended, const std::string& reason, bool when_unused = false);
  // A worker that takes no more tasks may end: nobody would miss anything.
  bool IsOver() const;
  bool TakeEnd(Event* event);
  std::unique_ptr<ExecTask> TakeNext(TaskThread thread, Event* event, bool for_loop);
  void Starts(ExecTask& task);

  ThisProcess& process_;
  EventQueue& events_;
  ExternalLoop& loop_;
  // Guarded by the core mutex.
  ExecutionQueue queue_;
  int blocked_threads_ = 0;
  std::function<void()> interrupt_ = [] {};
  std::function<void(uint64_t)> cancel_children_ = [](uint64_t) {};
  std::function<void()> after_reply_;  // null: nobody is to know
  std::function<void()> on_retire_ = [] {};
  std::function<bool()> in_use_ = [] { return false; };
  bool loops_of_groups_ = false;
  std::atomic<bool> asked_to_end_ = false;  // read and written without the mutex
  bool retired_ = false;
  bool ends_used_ = false;  // when it has retired it leaves whoever uses what it owns
  std::string retired_for_;
  flatbuffers::FlatBufferBuilder builder_;
};

}  // namespace cyray::core
