// WorkerHost: the worker processes of a node: when they are started, whom they work for, how they
// end.
//
// It binds workers to jobs, ends them, and notices their deaths. A worker is dead when its
// connection closed and its exit is known, or a moment after the first of the two, so that the
// reason can be told; first of all what it said last is read, which may be the reason, or that it
// meant to leave. Whatever it held is settled by the owner's on_died. Time in which this raylet
// stood still is not counted against a worker. The processes themselves
// are behind worker_processes.h. Threading: confined to its runtime's loop.
// Invariants: each process here has its entry in the pool until it is declared dead; its own entry
// goes when the process is gone, whether anybody tells of its exit or not.

#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "cyray/raylet/actor_outbox.h"
#include "cyray/raylet/dead_worker.h"
#include "cyray/raylet/job_book.h"
#include "cyray/raylet/lease_outbox.h"
#include "cyray/raylet/node_options.h"
#include "cyray/raylet/worker_pool.h"
#include "cyray/raylet/worker_processes.h"
#include "cyray/util/backoff.h"
#include "cyray/util/timer.h"

namespace cyray::raylet {

// How many processes it has had.
struct WorkerTally {
  uint64_t started = 0;
  uint64_t left = 0;    // of these, as they or others meant them to
  uint64_t failed = 0;  // ended otherwise
};

class WorkerHost : public LeaseWorkers, public ActorWorkers, private WorkerEvents {
 public:
  struct Callbacks {
    std::function<void()> on_idle;  // a worker became available
    std::function<void(const DeadWorker&)> on_died;
    std::function<void(const std::string& why)> on_cannot_start;
    // Its own Python does not come up; the others' does.
    std::function<void(const JobId&, const std::string& why)> on_job_cannot_start;
    std::function<void(const JobId&, const WorkerLines&)> on_lines;
  };
  struct Parts {
    Runtime* runtime;
    const NodeOptions* options;
    WorkerProcesses* processes;
    const JobBook* jobs;
  };

  WorkerHost(Parts parts, Callbacks callbacks);
  ~WorkerHost() override;

  // Starts the zygote and the workers wanted from the beginning.
  void Start();
  void Ensure(const std::map<WorkerUse, int>& wanted) override;
  void EnsurePrestarted();
  // Takes an idle worker and tells it its job.
  std::optional<WorkerId> Take(const WorkerUse& use, bool for_actor) override;
  void PutBack(const WorkerId& worker) override;

  // `pid`: what it says itself.
  void OnRegistered(const WorkerId& worker, int pid);
  void OnConnectionClosed(const WorkerId& worker);
  // The worker said that it leaves.
  void OnExiting(const WorkerId& worker, bool intended, const std::string& reason) override;
  // It takes no more tasks, and says that it leaves when nobody uses what it owns.
  void OnRetires(const WorkerId& worker, const std::string& reason);
  bool Retires(const WorkerId& worker) const override;
  void Kill(const WorkerId& worker, const std::string& reason, bool intended) override;
  void AskToExit(const WorkerId& worker, const std::string& reason, int64_t kill_after_ms,
                 bool if_unused) override;
  bool HasServed(const WorkerId& worker) const override;
  // The worker owns what somebody uses: it was asked to leave if unused, or to become an actor.
  void OnStays(const WorkerId& worker);
  // The idle and starting workers of a job that is over. Those that work end with whoever they
  // work for.
  void EndIdleOf(const JobId& job);
  // Ends everything at once; for the end of the node.
  void KillAll();
  // Sends what workers of that job have printed until now, lines without an end too.
  void DrainOutput(const JobId& job);

  const WorkerPool& pool() const { return pool_; }
  const WorkerTally& tally() const { return tally_; }
  // It has closed its connection, and is not declared dead yet.
  bool IsEnding(const WorkerId& worker) const;
  std::vector<WorkerId> Ending() const;
  int PidOf(const WorkerId& worker) const override;
  bool HasIdleUnbound() const { return pool_.HasIdleUnbound(); }

 private:
  struct Process {
    int pid = 0;
    bool registered = false;
    bool connection_closed = false;
    bool exited = false;
    bool read_out = false;  // as the first step of Declare
    bool declared = false;
    bool intended = false;
    bool kill_wanted = false;
    bool may_stay = false;    // asked to leave if unused, and has not answered
    bool retires = false;     // takes no more tasks, and leaves when nobody uses what it owns
    bool blameless = false;   // when it does not come up, that is no failure to start
    std::string told_reason;  // said before the death; comes before the exit status
    std::string exit_text;
  };

  // What its workers run, when it is not the node's Python.
  const JobPython* OwnPython(const JobId& job) const;
  void EnsureForked(const std::map<WorkerUse, int>& wanted);
  // False when it cannot even be asked for. `job`: the one with a Python of its own it is for.
  bool StartWorker(const JobId& job = JobId::Nil());
  // WorkerEvents
  void OnForked(const WorkerId& worker, int pid) override;
  void OnNeverStarted(const WorkerId& worker, const std::string& reason, bool blameless,
                      bool again) override;
  void OnExited(const WorkerId& worker, const std::string& how) override;
  void OnLines(const WorkerLines& lines) override;
  void OnHopeless(const std::string& why) override { callbacks_.on_cannot_start(why); }

  void StartAgainLater(const std::map<WorkerUse, int>& wanted);
  void AwaitRest(const WorkerId& worker);
  void Declare(const WorkerId& worker);
  // Of one that is declared dead: kills it then, and again until it is gone.
  void EndLater(const WorkerId& worker, int64_t delay_ms);
  void Forget(const WorkerId& worker);
  void NoteStartFailure(const std::string& reason, const WorkerId& worker);
  void NoteOwnFailure(const JobId& job, const std::string& reason, const WorkerId& worker);
  // False: the process is gone.
  bool SendKill(const WorkerId& worker, Process& process);
  void TellJob(const WorkerId& worker, const JobId& job);
  void ArmExpiry();

  const Parts parts_;
  const Callbacks callbacks_;
  WorkerPool pool_;
  std::unordered_map<WorkerId, Process> processes_;
  Backoff start_backoff_{10, 2'000};   // of failures since a worker last came up
  int64_t start_again_ms_ = 0;         // not before, after a failure
  std::map<WorkerUse, int> wanted_;    // by then
  std::map<JobId, int> own_failures_;  // in a row, of jobs with a Python of their own
  bool ending_ = false;
  WorkerTally tally_;

  Timer start_again_;
  Timer expiry_;                // of idle workers
  Timers<WorkerId> registers_;  // which must come
  Timers<WorkerId> leaving_;    // asked to, and killed when it did not
  Timers<WorkerId> exits_;      // said that it leaves, and is killed when it did not
  Timers<WorkerId> rest_;       // half of a death is known
  Timers<WorkerId> last_;       // declared dead, and its process may still run
};

}  // namespace cyray::raylet
