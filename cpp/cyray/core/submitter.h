// Submitter: from f.remote() and actor.method.remote() to their replies.
//
// Makes tasks and their results' entries and hands them to the two machines: TaskSubmitter (leased
// workers) and ActorSubmitter (actors). What both have in common is here, too: the memory of
// pending tasks, their completion, and the news of their arguments.
// Threading: as this_process.h says. Throttle, and CreateActor with `wait`, block.

#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "cyray/core/actor_creation.h"
#include "cyray/core/actor_submitter.h"
#include "cyray/core/dependent_tasks.h"
#include "cyray/core/gcs_facts.h"
#include "cyray/core/requests.h"
#include "cyray/core/submission.h"
#include "cyray/core/task_completion.h"
#include "cyray/core/task_slab.h"
#include "cyray/core/task_submitter.h"
#include "cyray/core/unready_actors.h"

namespace cyray::core {

class Submitter {
 public:
  Submitter(ThisProcess& process, Requests& requests, GcsFacts& facts, ObjectDirectory& directory);

  // One that this caller uses until it is released; tasks use theirs by themselves.
  TaskTemplate* AddTemplate(const TemplateSpec& spec);
  void ReleaseTemplate(TaskTemplate* tmpl);
  // Queues a task or, with `actor`, a call. `returns` gets tmpl->num_returns entries, one ref each.
  // Counts in `submission` pass to the task.
  // True when the caller should call Throttle before it submits more.
  bool Submit(Submission submission, ActorClient* actor, ObjectEntry** returns);
  // Whether fewer than `most` calls of the actor are pending. Then one more counts as such, until
  // it is submitted as `reserved`, or given back.
  bool Reserve(ActorClient* actor, uint32_t most);
  void GiveBack(ActorClient* actor);
  // Whether the actor is dead for good, as far as is known here.
  bool HasDied(const ActorClient* actor);
  // The task that makes `entry` is not to begin, or to end: its result will be TaskCancelledError,
  // unless it is there already. Of another process's task its owner is asked, once, if it can be
  // reached. An error for a call that is to be cancelled by force.
  Status Cancel(ObjectEntry* entry, const Cancellation& how);
  // Lets a crowded actor catch up, as long as it answers calls. False: a signal handler raised.
  bool Throttle(ActorClient* actor);
  // For one handle; ReleaseActorClient gives it back. `groups`: of the actor, the default one
  // first; templates of its methods name them.
  // `saved`: its calls are kept until its state is saved.
  ActorClient* GetActorClient(const ActorId& id, const std::vector<CallGroup>& groups,
                              bool saved = false);
  void ReleaseActorClient(ActorClient* client);
  // Calls of the actor go to that incarnation or a later one: those before were killed.
  void HoldCalls(const ActorId& id, uint32_t least_incarnation);
  ActorId NewActorId();
  // Registers an actor; `wait` blocks for the acknowledgement (names may be taken), else a failure
  // becomes the death of the actor.
  Status CreateActor(const ActorCreation& creation, bool wait);
  // The counts of `entries`, which restarts of a detached actor need, are let go when it is dead
  // for good: at once when it was not `created`.
  void HoldForActor(const ActorId& id, std::vector<ObjectEntry*> entries, bool created);

  // --- With the core mutex held ---

  // Where tasks are counted from now on, with none submitted yet.
  void SetTally(wire::TaskTally* tally) {
    slab_.set_tally(tally);
    tasks_.set_tally(tally);
    actors_.set_tally(tally);
  }
  // `driver`: of the job; nil when it has ended.
  void SetIdentity(const Address& self, const JobId& job, const Address& driver) {
    completion_.SetIdentity(self, job);
    permits().SetIdentity(self, driver);
  }
  PermitOffice& permits() { return tasks_.permits(); }
  // Arguments of these tasks and actors (tags) are ready.
  void OnArgumentsReady(const std::vector<uint64_t>& tags) { dependents_.Tell(tags); }
  // From workers.
  void OnTaskReply(Link& link, const wire::TaskReply& reply) {
    ++link.replies_read;
    PendingTask* task = slab_.Find(reply.tag());
    if (task == nullptr) return completion_.Disregard(link, nullptr, reply);
    if (task->actor != nullptr) return actors_.OnTaskReply(link, task, reply);
    tasks_.OnTaskReply(link, task, reply);
  }
  // The next item of a generator, and one count of it. Not `taken`, as it was only looked at or has
  // not come, it stays the next one, or turns out as the end. Null: at the end, or where this is no
  // generator of this process.
  struct NextItem {
    ObjectEntry* item = nullptr;
    bool taken = false;
    bool end = false;
    bool found() const { return item != nullptr || end; }
  };
  NextItem TakeItem(ObjectEntry* generator, bool only_look);
  void OnStreamItem(Link& link, const wire::StreamItem& item);
  // No handle of a generator is left: what makes its items is cancelled, a moment later.
  void OnGeneratorDropped(const ObjectId& id, PendingTask* maker);
  // Of a worker that is dead: what did not come on its link.
  void OnLastAnswers(Link& link, const wire::LastAnswers& last);
  void OnTaskProgress(Link& link, const wire::TaskProgress& progress);
  void OnLinkBroken(Link& link, const std::string& reason);
  // From whoever holds a ref to it.
  void OnCancelObject(const wire::CancelObject& cancel);
  // What the task running here with that number submitted is to end with it.
  void CancelChildren(uint64_t parent, bool force);
  // From the raylet.
  void OnReclaim(const wire::ReclaimLease& reclaim);
  // The last ref of an actor's handle went: the GCS is to end it.
  void OnActorOutOfScope(const ActorId& id);
  void OnActorUpdate(const wire::ActorUpdate& update) { actors_.OnActorUpdate(update); }
  void OnAskRead(Link& link, const wire::AskRead& ask) { actors_.OnAskRead(link, ask); }
  void OnCallsSaved(const Link& link, const wire::CallsSaved& saved) {
    actors_.OnCallsSaved(link, saved);
  }
  void WantSaves(bool to_end);
  void SetMostKeptObjectBytes(size_t bytes) { actors_.set_most_kept_object_bytes(bytes); }
  // What people should know of kept calls that were let go of.
  void set_on_let_go(std::function<void(std::string)> callback) {
    actors_.set_on_let_go(std::move(callback));
  }
  using Begun = TaskSubmitter::BegunTags;
  // That worker is lent to this process no more. What it had answered is read first.
  void OnLeaseBroken(const Address& worker, const std::string& reason, const Begun& begun = {});
  void OnGroupRemoved(const Address& worker) { tasks_.OnGroupRemoved(worker); }
  // That process is dead.
  void OnProcessDied(const Address& process, const std::string& reason);
  // Nothing is pushed on that link any more, while what came on it is still read.
  void StopPushing(Link& link, const std::string& reason) { tasks_.OnLinkBroken(link, reason); }
  // All that is pending fails.
  void FailAll(const ValuePtr& error);

  int64_t NextTimerNs() const {
    if (!unwanted_.empty()) return 0;
    return std::min(tasks_.NextTickNs(), actors_.NextTickNs());
  }
  void RunTimers(int64_t now_ns) {
    if (!unwanted_.empty()) CancelUnwanted();
    if (tasks_.NextTickNs() <= now_ns) tasks_.Tick(now_ns);
    if (actors_.NextTickNs() > now_ns) return;
    actors_.Tick(now_ns);
    process_.poller().WakeWaiters();  // the process may have waited for it to end
  }
  // Tasks whose results somebody waits for.
  size_t pending() const { return slab_.pending(); }
  // Whether there are such, or calls that an actor may need again.
  bool has_any() const { return slab_.live() > 0; }
  size_t actors() const { return actors_.clients(); }
  const TaskSlab& slab() const { return slab_; }
  // Of what was submitted here and is neither over nor cancelled. What a worker has taken counts as
  // begun, if nothing stands before it there.
  struct Unfinished {
    size_t not_begun = 0;
    size_t running_tasks = 0;
    size_t running_calls = 0;  // of actors
  };
  Unfinished CountUnfinished() const;
  void set_on_restart(ActorSubmitter::RestartCallback callback) {
    actors_.set_on_restart(std::move(callback));
  }
  void Describe(std::string& out) const;

 private:
  void OnRegistered(const ActorId& id, const Result<std::string>& answer);
  void TellArgumentsReady(const ActorId& id);
  void LetGoOf(const ActorId& id);
  void CancelTask(PendingTask* task, const Cancellation& how);
  void CancelUnwanted();
  // Where it was pushed; null: nowhere.
  static Link* LinkOf(const PendingTask& task);

  struct Held {
    ActorClient* client;
    std::vector<ObjectEntry*> entries;
  };

  ThisProcess& process_;
  Requests& requests_;
  GcsFacts& facts_;
  ObjectDirectory& directory_;
  // Guarded by the core mutex.
  std::unordered_map<ActorId, Held> held_;
  TaskSlab slab_;
  TaskCompletion completion_;
  TaskSubmitter tasks_;
  ActorSubmitter actors_;
  UnreadyActors unready_;
  DependentTasks dependents_;
  std::vector<uint64_t> unwanted_;  // tags of tasks whose generators are dropped
  bool raylet_lost_ = false;
};

}  // namespace cyray::core
