// Registrar: the first frame of a client, and the jobs that drivers bring.
//
// A worker is answered at once. A driver is answered when the GCS has given its job a number and a
// worker is ready, so that its first task is quick (or when waiting for one took too long).
// Threading: confined to its runtime's loop.

#pragma once

#include <functional>
#include <vector>

#include "cyray/raylet/client_registry.h"
#include "cyray/raylet/gcs_bridge.h"
#include "cyray/raylet/job_book.h"
#include "cyray/raylet/node_options.h"
#include "cyray/raylet/note_keeper.h"
#include "cyray/raylet/worker_host.h"
#include "cyray/store/object_store.h"
#include "cyray/util/timer.h"

namespace cyray::raylet {

class Registrar {
 public:
  struct Parts {
    Runtime* runtime;
    const NodeOptions* options;
    ClientRegistry* clients;
    WorkerHost* workers;
    GcsBridge* gcs;
    JobBook* jobs;
    store::ObjectStore* store;
  };

  explicit Registrar(Parts parts) : parts_(parts), awaiting_worker_(parts.runtime) {}

  // False: the frame is bad.
  bool OnRegister(ClientConnection& client, const wire::Register* request);
  // A worker became idle: drivers that waited for one are answered.
  void OnWorkerIdle();
  // No worker can be started: drivers that wait are told.
  void OnCannotStart(const std::string& why);
  void OnDriverGone(const ClientConnection& driver);
  // What a worker that is dead has noted of its tasks; once.
  wire::TaskNotes::Noted TakeNotes(const WorkerId& worker) { return notes_.Take(worker); }
  // The tasks of this node's processes.
  wire::TaskCounts task_counts() const { return notes_.Counts(); }

 private:
  void RegisterDriver(ClientConnection& client, const wire::Register& request);
  void OnJobRegistered(uint64_t client_id, const std::vector<uint8_t>& config,
                       Result<wire::Bytes> reply);
  void FinishJob(const JobId& job);
  // Those that wait for a worker, who then do not any more.
  std::vector<ClientConnection*> TakeWaiting();
  void Answer(ClientConnection& client);
  void Refuse(ClientConnection& client, const std::string& error);

  const Parts parts_;
  NoteKeeper notes_;

  Timers<uint64_t> awaiting_worker_;  // drivers by client id, and how long at most
};

}  // namespace cyray::raylet
