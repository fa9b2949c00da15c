// WorkerPool: which workers a node has, what each does, and when to start or end some.
//
// A worker belongs to no job until its first use; that job, and the GPUs that it had then, it
// keeps. The pool starts workers that waiting leases and actors call for, a few ahead at the start,
// and one before its need while actors are being created; workers idle beyond the node's CPUs leave
// after a second. A job with a Python of its own never gets a worker that was not started for it:
// those are bound from the start. Threading: confined to its owner. Pure: events in, actions out;
// ids and time are arguments. Invariants: a worker is in idle_ exactly while its state is kIdle;
// one that is bound to a job while it starts is counted in starting_for_.

#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/raylet/worker_use.h"

namespace cyray::raylet {

enum class WorkerState : uint8_t { kStarting, kIdle, kLeased, kActor, kExiting };
const char* WorkerStateName(WorkerState state);

class WorkerPool {
 public:
  struct Worker {
    WorkerState state = WorkerState::kStarting;
    JobId job;  // nil until bound
    bool used = false;
    bool served = false;        // a lease of it was returned
    bool keeps = false;         // owned what somebody uses, when it was asked: it becomes no actor
    std::vector<int32_t> gpus;  // since it was used
    int64_t idle_since_ms = 0;  // in the future, when it could not leave
  };
  struct Taken {
    WorkerId worker;
    bool newly_bound;
  };

  // `prestart` workers are started ahead; up to `keep_idle` idle ones stay for good.
  WorkerPool(int prestart, int keep_idle) : prestart_(prestart), keep_idle_(keep_idle) {}

  // How many workers to start now, given that `wanted` idle ones are missing per job.
  int WorkersToStart(const std::map<WorkerUse, int>& wanted, int64_t now_ms) const;
  // The same for a job with a Python of its own.
  int WorkersToStartFor(const WorkerUse& use, int wanted) const;
  // How many to start for the first tasks of a node, or of a job that begins.
  int WorkersToPrestart() const;

  // `job`: nil, or the only one that may have it.
  void Started(const WorkerId& worker, const JobId& job = JobId::Nil());
  void Registered(const WorkerId& worker, int64_t now_ms);
  std::optional<Taken> Take(const WorkerUse& use, bool for_actor, int64_t now_ms,
                            bool own_python = false);
  // It was to become an actor, and owns what somebody uses, which would end with the actor: it is
  // idle again, and makes no actor before it has served another lease.
  void Decline(const WorkerId& worker, int64_t now_ms);
  // Its lease was returned. False when the worker cannot be used again (it leaves, or is unknown).
  bool PutBack(const WorkerId& worker, int64_t now_ms);
  void MarkExiting(const WorkerId& worker);
  // One that was marked by TakeExpired() cannot leave: it is idle again, and not asked anew for ten
  // seconds.
  void Stay(const WorkerId& worker, int64_t now_ms);
  void Remove(const WorkerId& worker);

  std::vector<WorkerId> WorkersOfJob(const JobId& job, bool actors_too) const;
  // Idle workers that should leave now, marked as exiting; and when to ask again (-1: not needed).
  std::vector<WorkerId> TakeExpired(int64_t now_ms);
  int64_t NextExpiryMs(int64_t now_ms) const;

  const Worker* Find(const WorkerId& worker) const;
  const std::unordered_map<WorkerId, Worker>& workers() const { return workers_; }
  int starting_count() const { return starting_; }
  bool HasIdleUnbound() const;
  void CheckInvariants() const;

 private:
  int PrestartsWanted(int64_t now_ms) const;
  int StartingLimit() const;
  int StartingFor(const JobId& job) const;
  // How many idle workers that have a job would do; without those that make no actor, for who still
  // waits beside one of them wants to be an actor.
  int IdleFor(const WorkerUse& use) const;
  void BecomeIdle(const WorkerId& id, Worker& worker, int64_t now_ms);
  void EraseIdle(const WorkerId& worker);
  void EndStarting(const Worker& worker);

  const int prestart_;
  const int keep_idle_;
  std::unordered_map<WorkerId, Worker> workers_;
  std::deque<WorkerId> idle_;          // in the order of becoming idle
  int starting_ = 0;                   // those without a job
  std::map<JobId, int> starting_for_;  // the others
  int64_t last_actor_ms_ = -1'000'000;
};

}  // namespace cyray::raylet
