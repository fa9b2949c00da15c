// CoreWorker: the library inside every Python process: submits, owns, executes.
//
// Wiring only: it connects the parts (links, directory, submitters, execution queue), routes frames
// to them and is what `_raylet.pyx` calls. One mutex guards everything below; every public method
// takes it. Methods that wait release it, and Python releases the GIL around them. Nothing calls
// Python but InterruptCheck, between the slices of a long wait and without the mutex.
//
// Threads: Python's own, and the poller's steward (poller.h).

#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cyray/core/actor_submitter.h"
#include "cyray/core/dependent_tasks.h"
#include "cyray/core/execution_queue.h"
#include "cyray/core/link.h"
#include "cyray/core/object_directory.h"
#include "cyray/core/poller.h"
#include "cyray/core/raylet_client.h"
#include "cyray/core/spare_blocks.h"
#include "cyray/core/submission.h"
#include "cyray/core/task_ids.h"
#include "cyray/core/task_submitter.h"
#include "cyray/core/waits.h"
#include "cyray/store/arena_mapping.h"

namespace cyray::core {

// Something Python has to do. `kind` tells which fields count.
struct Event {
  enum class Kind : uint8_t {
    kNone,
    kCallback,     // token: the object of AddCallback is here
    kLogLines,     // number: pid; label, text: node ip, lines, flag: stderr
    kWarning,      // text
    kAssignJob,    // id: job, label: namespace, text: config
    kBecomeActor,  // id: actor; number: incarnation; text: spec's extra; label: class name
    kExit,         // leave; flag: gracefully; text: why
    kRayletLost,
  };
  Kind kind = Kind::kNone;
  uint64_t token = 0;
  int64_t number = 0;
  bool flag = false;
  std::string id, label, text;
  std::vector<std::string> lines;
  std::vector<int> gpu_ids;
};

// An encoded value that can be read in place while the holder keeps `value` or `pin` referenced.
struct ReadView {
  const uint8_t* data = nullptr;
  uint64_t size = 0;
  bool is_error = false;
  Value* value = nullptr;   // one reference passed to the caller, or
  LocalPin* pin = nullptr;  // one reference passed to the caller
};

// A created, unsealed object of the store.
struct StoreBlock {
  ObjectId id;
  Address owner;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  uint8_t* data = nullptr;
  ObjectId spare = {};    // not nil: the raylet knows the block under this name until it is sealed
  uint64_t capacity = 0;  // of a spare
};

// An object of this process in a spare block, not sealed as long as nobody else may name it.
struct Unpublished {
  SpareBlocks::Block block;
  uint64_t bytes = 0;
  bool freed = false;     // no refs
  bool unpinned = false;  // no readers
};

class CoreWorker : private PollerHandler, private DirectoryOutbox {
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
  void AbandonAfterFork();

  const Address& address() const { return address_; }
  const Registration& registration() const { return registration_; }
  JobId job_id();
  // --- Objects ---
  ObjectEntry* Put(ValuePtr value, bool is_error, std::vector<ObjectEntry*> contained);
  // Reserves `bytes` in this node's store for an object `id` of `owner`: a spare block, else it
  // asks the raylet and waits. AlreadyExists, now or unseen when it is sealed: the store has the
  // object.
  Result<StoreBlock> CreateInStore(const ObjectId& id, const Address& owner, uint64_t bytes);
  ObjectId NextPutId();
  // Makes the block immutable. SealOwned makes it an object of this process; SealReturn leaves it
  // to its owner.
  ObjectEntry* SealOwned(const StoreBlock& block, std::vector<ObjectEntry*> contained);
  void SealReturn(const StoreBlock& block);
  void AbortBlock(const StoreBlock& block);
  void AddRef(ObjectEntry* entry);
  void Release(ObjectEntry* entry);
  void ReleaseMany(ObjectEntry* const* entries, size_t count);
  ObjectEntry* Borrow(const ObjectId& id, const Address& owner, bool deferred);
  // The address that a serialized ref carries; from now on others may name the object.
  Address Export(ObjectEntry* entry);
  // The same for many: `table` gets, and has, an ObjectId and an Address (56 bytes) for each.
  void ExportMany(ObjectEntry* const* entries, size_t count, uint8_t* table);
  void BorrowMany(const uint8_t* table, size_t count, bool deferred, ObjectEntry** entries);
  // Waits until `count` of the entries are ready (or, with `here`, readable in place).
  // With `or_error`, which is for waiting for all, one error that is here is enough too.
  // False: the time is over, a signal handler raised (InterruptCheck), or the process leaves. A
  // running task that waits gives its CPU back meanwhile.
  bool Wait(ObjectEntry* const* entries, size_t size, size_t count, bool here, int64_t deadline_ns,
            bool or_error = false);
  // Which entries are ready, in order, at most `count`; sets flags[i].
  void ReadyFlags(ObjectEntry* const* entries, size_t size, bool here, uint8_t* flags);
  // The value of an entry that is here; false when it is not.
  bool Read(ObjectEntry* entry, ReadView* view);
  size_t ReadMany(ObjectEntry* const* entries, size_t size, ReadView* views);
  void UnrefPin(LocalPin* pin);
  // An event with `token` when the value is here. With kThreadToken in it, a worker's callback goes
  // to whoever calls NextEvent; else, and in a driver always, it is an event like all others.
  void AddCallback(ObjectEntry* entry, uint64_t token);
  // Whoever waited does not any more. An event that is queued already still comes.
  void RemoveCallback(ObjectEntry* entry, uint64_t token);
  store::ArenaMapping& arena() { return *arena_; }
  // What Python reads may outlive this object.
  const std::shared_ptr<store::ArenaMapping>& shared_arena() const { return arena_; }

  // --- Tasks and actors ---
  struct TemplateSpec {
    FunctionId function_id;
    std::string name, method, extra;
    int num_returns = 1;
    int max_retries = 0;
    uint32_t max_concurrency = 1;
    ResourceSet demand;
    uint8_t strategy = 0;
    NodeId affinity_node;
    bool affinity_soft = false;
    bool is_actor_method = false;
  };
  TaskTemplate* AddTemplate(const TemplateSpec& spec);
  // Queues a task or, with `actor`, a call. `returns` gets tmpl->num_returns entries, one ref each.
  // Counts in `submission` pass to the task.
  // True when the caller should call Throttle before it submits more.
  bool Submit(Submission submission, ActorClient* actor, ObjectEntry** returns);
  // Lets a crowded actor catch up, for a millisecond at most, and not again while it does not.
  void Throttle(ActorClient* actor);
  // For one handle; ReleaseActorClient gives it back. `in_order`: the actor runs calls one by one.
  ActorClient* GetActorClient(const ActorId& id, bool in_order, uint32_t max_concurrency = 1);
  void ReleaseActorClient(ActorClient* client);
  // A handle entry of an actor this process creates: its last ref ends the actor.
  ObjectEntry* NewActorHandle(const ActorId& id);
  // `entry` keeps `held` alive as long as it lives; takes over one count of each.
  void HoldWith(ObjectEntry* entry, std::vector<ObjectEntry*> held);
  // Names of cyray's wire tables stay out of Python: this builds RegisterActorRequest from `spec`.
  struct ActorCreation {
    ActorId actor_id;
    FunctionId class_id;
    std::string class_name, name, name_space, extra, handle_meta;
    ResourceSet placement, held;
    uint8_t strategy = 0;
    NodeId affinity_node;
    bool affinity_soft = false;
    bool detached = false;
    int max_restarts = 0;
    uint32_t max_concurrency = 1;
    ValuePtr args;
    std::vector<ObjectEntry*> refs;  // kept by the caller as long as the actor may start again
  };
  // Sends it; `wait` blocks for the acknowledgement (names may be taken), else a failure becomes
  // the death of the actor.
  Status CreateActor(const ActorCreation& creation, bool wait);
  // A request of gcs.fbs, built and read by gcs_requests.h. Blocks.
  Result<std::string> CallGcs(uint16_t method, const std::string& payload);
  void CallGcsNoReply(uint16_t method, const std::string& payload);

  // --- Execution (workers)
  // ------------------------------------------------------------------------- The next thing to do
  // on this thread: a task, an event, or neither when the time is over. Events are for the main
  // thread alone: they may end the process.
  std::unique_ptr<ExecTask> NextTask(int64_t deadline_ns, bool main_thread, Event* event);
  // The same without waiting or polling.
  std::unique_ptr<ExecTask> TryNextTask(Event* event);
  // Where that process is, if this one has a link to it; else this process's own address.
  Address PeerAddress(const WorkerId& worker);
  // Ends a task that began; takes its outcomes.
  void Reply(std::unique_ptr<ExecTask> task, bool ok, std::vector<Outcome> outcomes, bool retry);
  // The value of a by-reference argument of a running task.
  bool ReadArgument(ExecTask* task, size_t index, ReadView* view);
  void BecomeActor(bool in_order);
  void ActorReady(const ActorId& id, uint32_t incarnation, bool ok, const std::string& error);
  void WorkerExiting(bool intended, const std::string& reason);
  void FlushReplies();

  // --- Events ---

  // Waits for an event without driving: for a thread that prints logs and completes futures. In
  // workers, whose main thread takes the events with NextTask, there are only callbacks.
  bool NextEvent(int64_t deadline_ns, Event* event);
  void StopEvents();
  // For an event loop of Python that watches poll_fd(): handle what is there.
  int poll_fd() const { return poller_.epoll_fd(); }
  void UseExternalLoop(int wake_fd);
  void PollNow();
  std::string Describe();
  std::string NodeDump();
  // Waits, for a moment, until all that this driver's workers have printed was sent here.
  void FlushOutput();
  size_t live_objects();

 private:
  // PollerHandler
  void OnReady(void* cookie, uint32_t events) override;
  void FlushAll() override;
  void FlushStale() override;
  int64_t NextTimerNs() override;
  void RunTimers(int64_t now_ns) override;
  // DirectoryOutbox
  void SendFetch(const Address& owner, uint64_t request_id, const ObjectId& id) override;
  void SendState(const WorkerId& to, uint64_t request_id, const ObjectId& id,
                 const ObjectEntry* entry) override;
  void SendAddBorrower(const Address& owner, uint64_t request_id, const ObjectId& id) override;
  void SendRemoveBorrower(const Address& owner, const ObjectId& id) override;
  void SendContainedTaken(const Address& giver, const ObjectId& outer) override;
  void PullToStore(ObjectEntry* entry) override;
  void ReleasePin(const ObjectId& id) override;
  bool IsWaitedFor(const ObjectEntry* entry, bool to_read) override;
  void ForEachWaitedFor(const std::function<void(ObjectEntry*)>& visit) override;
  void Publish(const ObjectId& id) override;
  void FreeStored(const ObjectId& id, const std::vector<NodeId>& locations) override;
  void FreeStray(const ObjectId& id, const NodeId& node) override;
  void ActorOutOfScope(const ActorId& id) override;
  void OnObjectReady(ObjectEntry* entry, std::vector<uint64_t> dependents,
                     std::vector<uint64_t> callbacks) override;
  ValuePtr MakeError(uint8_t kind, const std::string& message) override;
  ValuePtr MakeActorError(uint8_t kind, const std::string& message, const ActorId& actor);

  void OnCoreFrame(Link& link, const wire::Frame& frame);
  void OnObjectFrame(Link& link, const wire::Frame& frame);
  void OnRayletFrame(wire::Frame& frame);
  void OnRayletEvent(wire::Frame& frame);
  void OnAssignActor(const wire::AssignActor& assign);
  void OnProcessDied(const Address& address, const std::string& reason);
  void OnPeerGone(const Address& peer, const std::string& reason);
  void OnLinkBroken(Link& link, const std::string& reason);
  void OnRayletLost();
  void PushEvent(Event event);
  void WakeExternalLoop();
  std::unique_ptr<ExecTask> TakeNext(ExecutionQueue::Thread thread, Event* event);
  void SetBlocked(bool blocked);
  void DetachViews();
  Status ShutDown() const;
  // While this process waits somebody else may use its CPU.
  bool LendsCpu() const;
  // Waits as long as it is not worth lending the CPU. True when the wait is over.
  bool WaitBriefly(std::unique_lock<std::mutex>& lock, ObjectEntry* const* entries, size_t size,
                   int64_t deadline_ns, const std::function<bool()>& over);
  // Somebody has to make the object first, or it comes from another node.
  bool IsFar(const ObjectEntry& entry) const;
  // Requests that are waited for (core_worker_requests.cc).
  // True when `over` holds. False: the time is over, or a signal handler raised.
  bool WaitAttentively(std::unique_lock<std::mutex>& lock, int64_t deadline_ns,
                       const std::function<bool()>& over);
  Status Await(std::unique_lock<std::mutex>& lock, const std::function<bool()>& done);
  Result<std::string> AskGcs(std::unique_lock<std::mutex>& lock, uint16_t method,
                             const uint8_t* payload, size_t size);
  static Result<std::string> ReadGcsReply(wire::Frame* frame);
  flatbuffers::FlatBufferBuilder RegistrationOf(const ActorCreation& creation);
  std::string DescribeMissing(const ObjectEntry& entry);
  void SendToPeer(const Address& peer, wire::FrameType type);
  // Store blocks (core_worker_store.cc).
  Result<bool> TakeSpare(std::unique_lock<std::mutex>& lock, StoreBlock& block);
  Status RequestBlock(std::unique_lock<std::mutex>& lock, StoreBlock& block);
  void AskForSpares(uint64_t bytes);
  void OnSpareReply(const ObjectId& id, uint64_t bytes, wire::Frame* frame);
  void GiveBack(const std::vector<ObjectId>& spares);
  void SendSeal(const StoreBlock& block);
  void SendAbort(const ObjectId& id);
  void SendReleases();
  void PublishAll();
  void RecycleIfDone(const ObjectId& id);
  bool CountReady(ObjectEntry* const* entries, size_t size, size_t count, bool here, size_t* first);

  std::mutex mutex_;
  // Constant after Connect.
  Address address_;
  Registration registration_;
  bool is_driver_ = true;
  InterruptCheck interrupted_ = nullptr;
  std::shared_ptr<store::ArenaMapping> arena_;  // shared with the memory that Python reads
  // Guarded by mutex_.
  RayletClient raylet_;
  Poller poller_;
  LinkTable links_;
  ObjectDirectory objects_;
  TaskSlab slab_;
  TaskCompletion completion_;
  TaskSubmitter tasks_;
  ActorSubmitter actors_;
  DependentTasks dependents_;
  ExecutionQueue execution_;
  Waits waits_;
  TaskIds task_ids_;
  SpareBlocks spares_;
  std::unordered_map<ObjectId, Unpublished> unpublished_;
  std::deque<std::unique_ptr<TaskTemplate>> templates_;
  std::vector<ObjectId> pins_to_release_;
  std::vector<std::pair<ObjectId, std::vector<NodeId>>> to_free_;
  std::deque<Event> events_;
  std::deque<Event> callbacks_;  // those of a worker's thread for futures
  std::condition_variable events_ready_;
  JobId job_id_;
  int external_wake_fd_ = -1;
  bool external_loop_looks_ = false;  // from PollNow until it found nothing more to take
  int blocked_threads_ = 0;
  bool stop_events_ = false;
  bool raylet_lost_ = false;
  bool disconnecting_ = false;
  bool keep_views_ = false;
  flatbuffers::FlatBufferBuilder builder_;
};

}  // namespace cyray::core
