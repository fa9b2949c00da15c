// TaskSubmitter: from f.remote() to the reply, for tasks that are not actor calls.
//
// A task waits for its by-reference arguments, then in its shape's queue, then is pushed on a
// leased worker. Leases are asked for while tasks wait and kept while there is work. An idle worker
// gets a task at once, but for short tasks that ask for nothing, which a crew takes
// (lease_choice.h). A busy one gets tasks ahead only as far as their known run times promise that
// it will reach them within about two milliseconds. What sits behind a task that blocks or turns
// out slow comes back (HandedBack) and runs elsewhere, so pushing ahead never deadlocks.
//
// Guarded by the core mutex.
// Invariant: a live task is in exactly one place: waiting for arguments, in a shape's queue, or in
// flight on one lease.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core_generated.h"
#include "cyray/core/link.h"
#include "cyray/core/object_directory.h"
#include "cyray/core/outbox.h"
#include "cyray/core/permit_office.h"
#include "cyray/core/task_completion.h"
#include "cyray/core/task_slab.h"
#include "cyray/core/task_types.h"
#include "local_generated.h"

namespace cyray::core {

class TaskSubmitter {
 public:
  TaskSubmitter(ObjectDirectory& objects, LinkOutbox& links, RayletOutbox& raylet,
                TaskCompletion& completion, TaskSlab& slab);

  // For one more template; whoever drops that one counts it down.
  Shape* FindShape(const ShapeKey& key);
  // Queues a task whose return entries are made; `task` is live and belongs to the submitter now.
  void Submit(PendingTask* task);
  void OnArgumentReady(PendingTask* task);
  // No further attempt begins. One that was pushed is answered by its worker, or ends with it.
  void Cancel(PendingTask* task, const Cancellation& how);

  void OnTaskReply(Link& link, PendingTask* task, const wire::TaskReply& reply);
  // What its worker says of a task that is not taken in order.
  void OnTaskProgress(Link& link, PendingTask* task, bool begun);
  // Why the worker is gone comes with OnLeaseBroken; when it does not come, the worker lives, and
  // its leases are given up all the same.
  void OnLinkBroken(Link& link, const std::string& reason);
  void OnReclaim(uint64_t lease_id, const Address& worker);
  // OnLeaseBroken follows. What ran there is not tried again.
  void OnGroupRemoved(const Address& worker);
  PermitOffice& permits() { return permits_; }
  // Of a limited shape: those that are used neither for a lease nor for a request.
  static size_t FreePermits(const Shape& shape);
  // The tags of the tasks that had begun there and are not answered, when that is known.
  using BegunTags = std::optional<std::vector<uint64_t>>;
  void OnLeaseBroken(const Address& worker, const std::string& reason,
                     const BegunTags& begun = std::nullopt);
  // Returns idle leases, finds other workers for tasks behind slow ones. Due times in ns, kForever
  // for none.
  int64_t NextTickNs() const { return next_tick_ns_; }
  void Tick(int64_t now_ns);
  // Everything fails: the raylet is gone.
  void FailAll(const ValuePtr& error);
  // Where the tasks in flight are counted from now on.
  void set_tally(wire::TaskTally* tally) { tally_ = tally; }
  // For dumps.
  void Describe(std::string& out) const;
  void CheckInvariants() const;

 private:
  static constexpr size_t kMaxLeaseRequests = 10;  // of a shape at once
  void ForgetUnusedShapes();
  std::shared_ptr<Kin> KinOf(ShapeKey key);
  // After its requests have changed.
  void CountRequests(Shape& shape);
  // How long a lease of that shape is kept that has nothing to do.
  static int64_t KeepIdleNs(const Shape& shape);
  void TickShape(Shape& shape, int64_t now_ns, std::vector<Lease*>& silent);
  void Enqueue(PendingTask* task, bool front);
  void Pump(Shape& shape);
  // The one that takes the next task, or null.
  Lease* LeaseFor(const Shape& shape, const TaskTemplate& tmpl) const;
  void PushOn(Lease& lease, PendingTask* task);
  // For what is ready and for so many that are stuck.
  void AskForWorkers(Shape& shape, size_t stuck);
  // So that `want` requests are on their way.
  void RequestLeases(Shape& shape, size_t want);
  // But for the oldest ones.
  void CancelRequests(Shape& shape, size_t keep);
  void OnLeaseReply(Shape& shape, uint64_t request_id, const wire::LeaseReply* reply);
  void BecameIdle(Lease& lease);
  void ReturnLease(Lease& lease);
  void StealFor(Shape& shape, Lease& thief);
  // Its worker is to hand back what it has not begun, but for so many.
  void AskBack(Lease& lease, uint32_t all_but);
  // The tasks on a lease that have begun, as far as can be known: those that may not run again.
  static std::vector<PendingTask*> Begun(const Lease& lease, const BegunTags& begun);
  // When nothing is known of it, as of a worker whose node is dead.
  static std::vector<PendingTask*> LikelyBegun(const Lease& lease);
  static ValuePtr CrashError(const PendingTask& task, const Lease& lease,
                             const std::string& reason);
  void Requeue(Lease& lease, const std::string& reason, const BegunTags& begun);
  Lease* FindLease(const Address& worker);
  // --- Of limited shapes ---
  // Of the event that is handled, or of a tick.
  int64_t LatestNs() const;
  // Gives back those that are of no use, or owed and free; says when more are wanted, or fewer.
  void SettlePermits(Shape& shape);
  void TellPermits(Shape& shape, uint32_t wanted);
  void TellAllPermits();
  void OnPermits(const PermitTable::Answer& answer);
  void ReturnOwed(Shape& shape);
  void CheckPermits(const Shape& shape) const;
  void TickAt(int64_t due_ns) {
    if (due_ns < next_tick_ns_) next_tick_ns_ = due_ns;
  }

  ObjectDirectory& objects_;
  LinkOutbox& links_;
  RayletOutbox& raylet_;
  TaskCompletion& completion_;
  TaskSlab& slab_;
  // The memory of shapes stays, for answers to requests that were given up name theirs. One without
  // templates and without work serves as another, a while later.
  std::vector<std::unique_ptr<Shape>> shapes_;
  std::vector<Shape*> free_shapes_;
  size_t look_at_ = 64;  // how many there may be before it is looked which are used
  std::map<ShapeKey, Shape*> shapes_by_key_;
  std::map<ShapeKey, std::weak_ptr<Kin>> kin_;
  std::vector<Shape*> with_leases_;
  PermitOffice permits_;
  std::unordered_map<uint32_t, Shape*> limited_;  // by the number of their permits
  uint32_t next_limited_ = 1;
  std::unordered_map<WorkerId, std::vector<Lease*>> leases_by_worker_;
  int64_t next_tick_ns_ = kForever;
  int64_t ticked_ns_ = 0;  // the time of the last tick
  wire::TaskTally* tally_ = nullptr;
  flatbuffers::FlatBufferBuilder builder_;
};

}  // namespace cyray::core
