// TaskCompletion: what normal tasks and actor calls have in common: pushing, replies, failing,
// letting go.
//
// Results that an attempt may have stored before its worker was lost, or that come from an attempt
// which does not count, are freed once the task has its results somewhere else. Guarded by the core
// mutex.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "core_generated.h"
#include "cyray/core/generators.h"
#include "cyray/core/link.h"
#include "cyray/core/object_directory.h"
#include "cyray/core/outbox.h"
#include "cyray/core/task_slab.h"

namespace cyray::core {

class TaskCompletion {
 public:
  TaskCompletion(ObjectDirectory& objects, LinkOutbox& links, TaskSlab& slab)
      : objects_(objects), links_(links), slab_(slab), generators_(objects) {}

  void SetIdentity(const Address& self, const JobId& job) { self_ = self, job_ = job; }
  void Push(Link& link, PendingTask* task, const std::vector<int>& gpu_ids);
  void Resolve(Link& link, PendingTask* task, const wire::TaskReply& reply);
  // The same for a call of that actor that may have to run once more, for what it does there.
  void ResolveAndKeep(Link& link, PendingTask* task, const wire::TaskReply& reply,
                      const ActorId& actor);
  // One more item of a generator. `is_there`: the task is in flight on that link.
  void AddItem(Link& link, PendingTask* task, bool is_there, const wire::StreamItem& item);
  // The same of a task that is over.
  void RefuseItem(Link& link, const wire::StreamItem& item);
  // The worker that makes its items, if it has to know, is told what was taken.
  void TellTaken(Link& link, const PendingTask& task);
  Generators& generators() { return generators_; }
  // The reply counts for nothing: its sender lets go of the refs inside the values, and what it
  // stored is freed, unless it is the result all the same. `task`: null when it is answered.
  void Disregard(Link& link, PendingTask* task, const wire::TaskReply& reply);
  // An attempt ended without an answer: what it may have stored on that node is freed when the task
  // has its results, if they are not there.
  void NoteAbandoned(const PendingTask* task, const NodeId& node);
  void Fail(PendingTask* task, ValuePtr error);
  // Its attempts are over, and there is no other one: it was cancelled.
  void Cancel(PendingTask* task);
  // Asks the worker that it was pushed to.
  void SendCancel(Link& link, const PendingTask& task, const Cancellation& how);
  // That worker has cancelled it, or ended it at its timeout; refs among its arguments may have
  // outlived what ran of it. `pid`: of that worker.
  void ResolveCancelled(Link& link, PendingTask* task, const wire::TaskReply& reply, int pid);
  // The value that makes the task fail before it runs, because of an error among its arguments.
  ValuePtr FailedArgument(const PendingTask* task);
  void Drop(PendingTask* task);

 private:
  // What attempts that do not count may have stored.
  struct Abandoned {
    std::vector<NodeId> nodes;
    uint64_t first_item = 0;  // of a generator
  };
  void GiveResults(Link& link, PendingTask* task, const wire::TaskReply& reply);
  void ResolveStream(Link& link, PendingTask* task, const wire::TaskReply& reply);
  void FreeAbandoned(const PendingTask& task, const Abandoned& abandoned);
  void TakeBorrowed(Link& link, const wire::TaskReply& reply);
  void SendTemplate(Link& link, const TaskTemplate& tmpl);
  // What came for `entry`; `outer` is its name for the giver of refs inside.
  void Give(Link& link, ObjectEntry* entry, const ObjectId& outer, const wire::ReturnValue& value);
  // What nobody takes: its refs are let go of, and what was stored is freed.
  void Refuse(Link& link, const PendingTask* task, const ObjectId& id,
              const wire::ReturnValue& value);
  void FreeUnlessThere(const ObjectId& id, const NodeId& node);
  ObjectDirectory& objects_;
  LinkOutbox& links_;
  TaskSlab& slab_;
  Address self_;
  JobId job_;
  Generators generators_;
  std::unordered_map<uint64_t, Abandoned> abandoned_;  // by the tag of a pending task
  flatbuffers::FlatBufferBuilder builder_;
};

}  // namespace cyray::core
