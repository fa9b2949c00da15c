// The worker processes of a node as a WorkerHost sees them: what it asks for, and what it is told.
//
// In a raylet WorkerShell is behind it (zygote, pipes, sockets, descriptors of processes); tests
// play it. Threading: confined to the raylet's loop.

#pragma once

#include <string>

#include "cyray/common/ids.h"
#include "cyray/raylet/job_book.h"
#include "cyray/raylet/worker_lines.h"
#include "cyray/util/status.h"

namespace cyray::raylet {

class WorkerEvents {
 public:
  virtual ~WorkerEvents() = default;
  virtual void OnForked(const WorkerId& worker, int pid) = 0;
  // It never ran. `blameless`: nothing is wrong with workers; `again`: another one may be started.
  virtual void OnNeverStarted(const WorkerId& worker, const std::string& reason, bool blameless,
                              bool again) = 0;
  // `how`: "killed by signal 9 (SIGKILL)".
  virtual void OnExited(const WorkerId& worker, const std::string& how) = 0;
  virtual void OnLines(const WorkerLines& lines) = 0;
  // Processes cannot be forked, and that over and over.
  virtual void OnHopeless(const std::string& why) = 0;
};

class WorkerProcesses {
 public:
  virtual ~WorkerProcesses() = default;
  // To be called once, before all others.
  virtual void set_events(WorkerEvents* events) = 0;
  // From now on processes can be forked.
  virtual void Open() = 0;
  // No more starts: the node ends.
  virtual void Close() = 0;
  // A process with a connection and pipes, forked, or started afresh with `own`. Events follow.
  virtual Status Start(const WorkerId& worker, const JobPython* own) = 0;
  // Once it is forked, if it is not yet. False: it is gone already, told or not.
  virtual bool Kill(const WorkerId& worker) = 0;
  // It has said its pid itself, before whoever forked it did.
  virtual void NamePid(const WorkerId& worker, int pid) = 0;
  // What it is told; nothing when its connection is closed.
  virtual void TellJob(const WorkerId& worker, const Job& job) = 0;
  virtual void AskToExit(const WorkerId& worker, const std::string& reason, bool if_unused) = 0;
  // Handles all that it has said and printed, for it ends. WorkerHost may be told of its end
  // meanwhile.
  virtual void ReadOut(const WorkerId& worker) = 0;
  // The host is done with it: closes pipes and connection.
  virtual void Part(const WorkerId& worker, const std::string& reason) = 0;
  // Nobody waits for its exit any more.
  virtual void Forget(const WorkerId& worker) = 0;
  // Delivers what it has printed, lines without an end too.
  virtual void Drain(const WorkerId& worker) = 0;
  // What there is to say of its death that it did not mean, until Part (epitaph.h).
  virtual std::string EpitaphOf(const WorkerId&) const { return {}; }
  // The end of what it said of errors, until Part; `or_zygote`: else of what the zygote said.
  // A sentence for people.
  virtual std::string LastWords(const WorkerId& worker, bool or_zygote) const = 0;
};

}  // namespace cyray::raylet
