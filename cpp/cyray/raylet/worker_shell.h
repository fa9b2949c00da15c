// WorkerShell: the worker processes of a node, real ones: how they are started, signalled, read.
//
// Forked by the zygote, or started afresh when that fails or when the job has a Python of its own.
// What to start, whom to end and when is WorkerHost's business. Threading: confined to the raylet's
// loop. Invariant: a signal goes to a descriptor of the process (pidfd); to a number only where
// that is a child of this process which is not reaped.

#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "cyray/raylet/client_registry.h"
#include "cyray/raylet/node_options.h"
#include "cyray/raylet/process_supervisor.h"
#include "cyray/raylet/worker_logs.h"
#include "cyray/raylet/worker_processes.h"
#include "cyray/raylet/zygote_link.h"

namespace cyray::raylet {

class WorkerShell : public WorkerProcesses {
 public:
  struct Parts {
    EventLoop* loop;
    const NodeOptions* options;
    ProcessSupervisor* supervisor;
    ClientRegistry* clients;
  };

  explicit WorkerShell(Parts parts);
  ~WorkerShell() override;

  // WorkerProcesses
  void set_events(WorkerEvents* events) override { events_ = events; }
  void Open() override { zygote_.Start(); }
  void Close() override { zygote_.Stop(); }
  Status Start(const WorkerId& worker, const JobPython* own) override;
  bool Kill(const WorkerId& worker) override;
  void NamePid(const WorkerId& worker, int pid) override { logs_.SetPid(worker, pid); }
  void TellJob(const WorkerId& worker, const Job& job) override;
  void AskToExit(const WorkerId& worker, const std::string& reason, bool if_unused) override;
  void ReadOut(const WorkerId& worker) override;
  void Part(const WorkerId& worker, const std::string& reason) override;
  void Forget(const WorkerId& worker) override;
  void Drain(const WorkerId& worker) override { logs_.Drain(worker); }
  std::string EpitaphOf(const WorkerId& worker) const override;
  std::string LastWords(const WorkerId& worker, bool or_zygote) const override;

  // The wait status of a worker whose zygote is gone.
  void OnOrphanExited(int pid, int wait_status) { OnExited(pid, wait_status); }
  // Waits, without the loop, until the killed are gone, and keeps what they printed last.
  void AwaitGone(int64_t limit_ms);
  int zygote_pid() const { return zygote_.pid(); }

 private:
  struct Process {
    int pid = 0;
    UniqueFd pidfd;  // none: a child of this process, started when no descriptor was free
    bool exited = false;
    bool kill_wanted = false;
    bool killed = false;  // by a SIGKILL
  };

  void StartFresh(const ZygoteLink::ForkRequest& request, const JobPython* own);
  void OnForked(const WorkerId& worker, int pid, UniqueFd pidfd);
  // `most_bytes`: of memory that it had at once; 0: not known.
  void OnExited(int pid, int wait_status, int64_t most_bytes = 0);

  const Parts parts_;
  WorkerEvents* events_ = nullptr;
  std::unordered_map<WorkerId, Process> processes_;
  std::unordered_map<int, WorkerId> by_pid_;
  WorkerLogs logs_;
  ZygoteLink zygote_;
};

}  // namespace cyray::raylet
