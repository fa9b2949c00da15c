// CoreWorker: the library inside every Python process: submits, owns, executes.
//
// A facade: it builds the parts, connects them and hands them out to `_raylet.pyx`. Each part is a
// class with a file of its own. Below them are the machines (submitters, directory, execution
// queue), which know no socket and no clock; the parts are what Python and the wires see of them.
//
// clang-format off
//   objects()    the refs that this process holds
//   reader()     waits for objects, reads them
//   store()      blocks of the node's store
//   submitter()  tasks and actor calls from here
//   items()      items of generators, for consumers
//   executor()   tasks and actor calls to here
//   saver()      the saves of this actor's state
//   events()     what Python has to do besides
//   control()    questions to the GCS and the raylet
//   loop()       a loop of Python's that polls
// clang-format on
//
// Threading: one mutex guards all of it (this_process.h). Nothing calls Python but InterruptCheck,
// between the slices of a long wait and without the mutex. Threads: Python's own, and the poller's
// steward (poller.h).

#pragma once

#include <string>

#include "cyray/core/control.h"
#include "cyray/core/event_queue.h"
#include "cyray/core/executor.h"
#include "cyray/core/external_loop.h"
#include "cyray/core/item_taker.h"
#include "cyray/core/object_directory.h"
#include "cyray/core/object_reader.h"
#include "cyray/core/objects.h"
#include "cyray/core/requests.h"
#include "cyray/core/router.h"
#include "cyray/core/saver.h"
#include "cyray/core/store_client.h"
#include "cyray/core/submitter.h"
#include "cyray/core/this_process.h"

namespace cyray::core {

class CoreWorker : private PollerHandler {
 public:
  CoreWorker();
  ~CoreWorker() override;

  // Registers with the raylet at the other end of `socket` and starts the steward. Once.
  Status Connect(UniqueFd socket, const RegisterOptions& options);
  // Turns away the threads that wait, and ends the steward. Calls that need the raylet answer
  // kDisconnected from now on. The session ends when the last owner of this object lets it go: with
  // `keep_views`, what Python still reads of the arena becomes private copies then.
  void Disconnect(bool keep_views = true);
  // In the child of a fork: forgets the connections without touching the parent's.
  void AbandonAfterFork() { process_.AbandonAfterFork(); }

  // Constant after Connect.
  const Address& address() const { return process_.address(); }
  const Registration& registration() const { return process_.registration(); }
  JobId job_id();

  Objects& objects() { return objects_; }
  ObjectReader& reader() { return reader_; }
  StoreClient& store() { return store_; }
  Submitter& submitter() { return submitter_; }
  ItemTaker& items() { return items_; }
  Executor& executor() { return executor_; }
  Saver& saver() { return saver_; }
  EventQueue& events() { return events_; }
  ExternalLoop& loop() { return loop_; }
  Control& control() { return control_; }

  // Ends the actor's process; no later call of this one goes there.
  Status KillActor(const ActorId& id, bool no_restart, std::string_view reason);

  // What this process does and waits for, for people.
  std::string Describe();
  // A line for each of the first of these objects that are not here: what makes it, and where that
  // is. Their holder keeps them.
  std::string DescribeMissing(ObjectEntry* const* entries, size_t size);
  // The same as JSON (process_report.h), for whoever looks further.
  std::string ReportMissing(ObjectEntry* const* entries, size_t size);
  // The waits of this process's threads that have lasted for so long, and began after the one of
  // that number.
  std::string ReportWaits(int64_t for_ms, uint64_t after);
  // What is not over of all that this process submitted.
  Submitter::Unfinished CountUnfinished();
  // Errors of this driver's tasks that nobody has got since the last call, or at all; each is given
  // once, with a count. The number of those left out, when there are more than `most`.
  size_t TakeUnreadErrors(bool all, size_t most, std::vector<ReadView>* errors);

 private:
  // PollerHandler
  void OnReady(void* cookie, uint32_t events) override;
  void OnWoken() override { executor_.LookWhetherToEnd(); }
  void FlushAll() override;
  void FlushStale() override;
  int64_t NextTimerNs() override;
  void RunTimers(int64_t now_ns) override;
  void WakeLoop() override { loop_.Wake(); }

  std::string DescribeMissing(const ObjectEntry& entry);
  void TellOfRestart(const ActorClient& actor, const wire::ActorUpdate& update);

  // In order of construction: the parts refer to what stands above them, and keep the addresses of
  // some that stand below for later.
  ThisProcess process_;
  Requests requests_;
  GcsFacts facts_;
  Control control_;
  ExternalLoop loop_;
  EventQueue events_;
  StoreClient store_;
  Objects objects_;
  ObjectDirectory directory_;
  Executor executor_;
  Saver saver_;
  ObjectReader reader_;
  Submitter submitter_;
  ItemTaker items_;
  Router router_;
  bool keep_views_ = false;
};

}  // namespace cyray::core
