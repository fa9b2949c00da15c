// ThisProcess: what the parts of the core have in common: who this process is, the core mutex, its
// connections, and how its threads wait.
//
// Threading, of the whole core: one mutex guards all parts and machines. A part's public methods
// take it, but those below "With the core mutex held", which other parts and the poller call. It is
// never held while a thread waits (a wait gives it back) and never while Python is called. The
// accessors here need it, but for mutex() and what is constant after Register().

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "cyray/core/link.h"
#include "cyray/core/poller.h"
#include "cyray/core/raylet_client.h"
#include "cyray/core/task_ids.h"
#include "cyray/core/waits.h"
#include "cyray/store/arena_mapping.h"
#include "cyray/wire/task_notes.h"

namespace cyray::core {

class ThisProcess {
 public:
  using Lock = std::unique_lock<std::mutex>;

  ThisProcess(PollerHandler& handler, LinkTable::Events events)
      : handler_(handler), poller_(mutex_, handler), links_(poller_, raylet_, std::move(events)) {}

  // Registers with the raylet at the other end of `socket` and maps its arena, and the memory that
  // this process shares with it. Once, before anything else; blocks, without the mutex.
  Status Register(UniqueFd socket, const RegisterOptions& options,
                  std::shared_ptr<store::ArenaMapping>* arena,
                  std::optional<wire::TaskNotes>* notes);
  // From now on the raylet's frames are handled. With the mutex held.
  void Listen(RayletClient::FrameHandler on_frame, std::function<void()> on_lost);

  std::mutex& mutex() { return mutex_; }
  // Constant after Register().
  const Address& address() const { return address_; }
  const Registration& registration() const { return registration_; }
  bool is_driver() const { return is_driver_; }

  // --- With the core mutex held ---

  const JobId& job_id() const { return job_id_; }
  // A worker learns its job later than its address.
  void SetJob(const JobId& job);
  TaskIds& ids() { return ids_; }
  RayletClient& raylet() { return raylet_; }
  Poller& poller() { return poller_; }
  LinkTable& links() { return links_; }
  Waits& waits() { return waits_; }
  // Writes all that has gathered.
  void FlushAll() { handler_.FlushAll(); }

  // This process leaves: whoever waits is turned away.
  void Leave();
  bool leaving() const { return leaving_; }
  static Status ShutDown() {
    return Status(StatusCode::kDisconnected, "cyray was shut down meanwhile");
  }
  // What everybody is told when the raylet is gone: the session is over.
  Status RayletIsGone() const {
    return Status(
        StatusCode::kDisconnected,
        "The raylet of this node died, and the session is over: cyray.shutdown() and then "
        "cyray.init() begin another one. Its log is in " +
            registration_.session_dir + "/logs.");
  }

  // Waits until `over` holds; true when it does. False: the time is over, or a signal handler
  // raised, for which Python is asked from time to time, without the mutex.
  bool WaitAttentively(Lock& lock, int64_t deadline_ns, const std::function<bool()>& over);
  // The same in words: kDisconnected when this process leaves meanwhile, kTimedOut, or kCancelled
  // when a signal handler raised.
  Status Await(Lock& lock, int64_t deadline_ns, const std::function<bool()>& done);
  // For the child of a fork: nothing else may be done with this afterwards.
  void AbandonAfterFork();

 private:
  std::mutex mutex_;
  PollerHandler& handler_;
  // Constant after Register().
  Address address_;
  Registration registration_;
  bool is_driver_ = true;
  InterruptCheck interrupted_ = nullptr;
  // Guarded by mutex_.
  RayletClient raylet_;
  Poller poller_;
  LinkTable links_;
  Waits waits_;
  TaskIds ids_;
  JobId job_id_;
  bool leaving_ = false;
};

}  // namespace cyray::core
