#include "cyray/core/core_worker.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <functional>

#include "cyray/common/encoding.h"
#include "cyray/util/clock.h"
#include "cyray/util/log.h"

namespace cyray::core {
namespace {

// `counted`: a reference that passes to the view.
inline void ViewValue(Value* counted, bool is_error, ReadView& view) {
  view.is_error = is_error;
  view.value = counted;
  view.pin = nullptr;
  view.data = counted->data();
  view.size = counted->size();
}

}  // namespace

using wire::FrameType;

CoreWorker::CoreWorker()
    : poller_(mutex_, *this),
      links_(poller_, raylet_,
             {[this](Link& link, const wire::Frame& frame) { OnCoreFrame(link, frame); },
              [this](Link& link, const std::string& reason) { OnLinkBroken(link, reason); }}),
      objects_(*this),
      completion_(objects_, links_, slab_),
      tasks_(objects_, links_, raylet_, completion_, slab_,
             [this](uint8_t kind, const std::string& message) { return MakeError(kind, message); }),
      actors_(links_, raylet_, completion_,
              [this](uint8_t kind, const std::string& message, const ActorId& actor) {
                return MakeActorError(kind, message, actor);
              }),
      dependents_(slab_,
                  [this](PendingTask* task) {
                    if (task->actor != nullptr) return actors_.OnArgumentReady(task);
                    tasks_.OnArgumentReady(task);
                  }),
      execution_(links_, objects_) {}

CoreWorker::~CoreWorker() {
  Disconnect(false);
  if (keep_views_ && arena_) DetachViews();  // before the raylet sees that this process is gone
}

Status CoreWorker::Connect(UniqueFd socket, const RegisterOptions& options) {
  RegisterOptions mine = options;
  if (mine.worker_id.is_nil()) mine.worker_id = WorkerId::Random();
  auto registration = raylet_.Connect(std::move(socket), mine);
  if (!registration) return registration.error();
  registration_ = std::move(*registration);
  is_driver_ = mine.is_driver;
  interrupted_ = mine.interrupted;
  address_ = {registration_.node_id, mine.worker_id};
  job_id_ = registration_.job_id;
  auto arena =
      store::ArenaMapping::Map(std::move(registration_.arena_read),
                               std::move(registration_.arena_write), registration_.arena_bytes);
  if (!arena) return arena.error();
  arena_ = std::move(*arena);
  std::lock_guard lock(mutex_);
  links_.SetIdentity(address_);
  objects_.SetIdentity(address_);
  execution_.SetIdentity(address_);
  completion_.SetIdentity(address_, job_id_);
  task_ids_.Reset(job_id_);
  raylet_.SetHandlers([this](wire::Frame& frame) { OnRayletFrame(frame); },
                      [this] { OnRayletLost(); });
  poller_.Watch(raylet_.fd(), EPOLLIN, &raylet_);
  raylet_.SetWriteHandler([this](bool wants_write) {
    poller_.Modify(raylet_.fd(), EPOLLIN | (wants_write ? EPOLLOUT : 0u), &raylet_);
  });
  raylet_.OnReady();  // frames that came together with the registration
  poller_.StartSteward();
  return Status::Ok();
}

void CoreWorker::Disconnect(bool keep_views) {
  {
    std::lock_guard lock(mutex_);
    if (disconnecting_) return;
    disconnecting_ = true;
    keep_views_ = keep_views;
    FlushAll();
    stop_events_ = true;
    events_ready_.notify_all();
    poller_.WakeWaiters();
  }
  poller_.StopSteward();
}

void CoreWorker::AbandonAfterFork() {
  disconnecting_ = true;
  poller_.AbandonAfterFork();
}

Status CoreWorker::ShutDown() const {
  return Status(StatusCode::kDisconnected, "cyray was shut down meanwhile");
}

JobId CoreWorker::job_id() {
  std::lock_guard lock(mutex_);
  return job_id_;
}

// --- Objects ---

ObjectId CoreWorker::NextPutId() {
  std::lock_guard lock(mutex_);
  return ObjectId(task_ids_.Next(), 0);
}

ObjectEntry* CoreWorker::Put(ValuePtr value, bool is_error, std::vector<ObjectEntry*> contained) {
  std::lock_guard lock(mutex_);
  ObjectEntry* entry = objects_.NewOwned(ObjectId(task_ids_.Next(), 0));
  objects_.SetContained(entry, std::move(contained));
  objects_.Resolve(entry, std::move(value), is_error);
  return entry;
}

void CoreWorker::AddRef(ObjectEntry* entry) {
  std::lock_guard lock(mutex_);
  objects_.AddRef(entry);
}

void CoreWorker::Release(ObjectEntry* entry) {
  std::lock_guard lock(mutex_);
  objects_.Release(entry);
}

void CoreWorker::ReleaseMany(ObjectEntry* const* entries, size_t count) {
  std::lock_guard lock(mutex_);
  for (size_t i = 0; i < count; ++i) objects_.Release(entries[i]);
}

ObjectEntry* CoreWorker::Borrow(const ObjectId& id, const Address& owner, bool deferred) {
  std::lock_guard lock(mutex_);
  return objects_.Borrow(id, owner, deferred);
}

Address CoreWorker::Export(ObjectEntry* entry) {
  std::lock_guard lock(mutex_);
  objects_.Index(entry);
  return objects_.OwnerOf(entry);
}

void CoreWorker::ExportMany(ObjectEntry* const* entries, size_t count, uint8_t* table) {
  std::lock_guard lock(mutex_);
  for (size_t i = 0; i < count; ++i, table += ObjectId::kSize + sizeof(Address)) {
    objects_.Index(entries[i]);
    const Address owner = objects_.OwnerOf(entries[i]);
    std::memcpy(table, entries[i]->id.data(), ObjectId::kSize);
    std::memcpy(table + ObjectId::kSize, &owner, sizeof owner);
  }
}

void CoreWorker::BorrowMany(const uint8_t* table, size_t count, bool deferred,
                            ObjectEntry** entries) {
  std::lock_guard lock(mutex_);
  for (size_t i = 0; i < count; ++i, table += ObjectId::kSize + sizeof(Address)) {
    Address owner;
    std::memcpy(&owner, table + ObjectId::kSize, sizeof owner);
    entries[i] = objects_.Borrow(ObjectId::FromBytes(table), owner, deferred);
  }
}

bool CoreWorker::CountReady(ObjectEntry* const* entries, size_t size, size_t count, bool here,
                            size_t* first) {
  // `first` skips the prefix that is known to be ready, so that waiting for all is linear.
  while (*first < size && (here ? entries[*first]->local() : entries[*first]->ready())) ++*first;
  if (*first >= count) return true;
  size_t ready = *first;
  if (count == size) return false;
  for (size_t i = *first; i < size && ready < count; ++i) {
    if (here ? entries[i]->local() : entries[i]->ready()) {
      ++ready;
    } else if (here && entries[i]->state == ObjectState::kStored) {
      objects_.Want(entries[i]);
    }
  }
  return ready >= count;
}

bool CoreWorker::Wait(ObjectEntry* const* entries, size_t size, size_t count, bool here,
                      int64_t deadline_ns, bool or_error) {
  std::unique_lock lock(mutex_);
  size_t first = 0;
  size_t wanted = 0;
  uint64_t errors_seen = UINT64_MAX;
  const auto failed = [&] {
    if (errors_seen == objects_.errors()) return false;  // no new one: nothing to look for
    errors_seen = objects_.errors();
    // A pull that another thread waited for too may have failed, and that thread took the error:
    // what is not here is wanted anew.
    wanted = 0;
    return std::any_of(entries, entries + size, [](const ObjectEntry* entry) {
      return entry->pull_failed || (entry->is_error && entry->local());
    });
  };
  const auto ready = [&] {
    if (or_error && failed()) return true;
    // An object that turned out to be in a store has to be pulled, whoever resolved it.
    while (here && count == size && wanted < size) {
      ObjectEntry* entry = entries[wanted];
      if (!entry->local()) {
        objects_.Want(entry);
        if (entry->state == ObjectState::kPending) break;
      }
      ++wanted;
    }
    return CountReady(entries, size, count, here, &first);
  };
  if (ready()) return true;
  Waits::Scope scope(waits_, entries, size, or_error);
  for (size_t i = 0; i < size; ++i) objects_.Want(entries[i]);
  bool done = false;
  const auto over = [&] { return (done = ready()) || disconnecting_; };
  if (!LendsCpu()) {
    WaitAttentively(lock, deadline_ns, std::ref(over));
  } else if (!WaitBriefly(lock, entries, size, deadline_ns, std::ref(over)) && !done) {
    SetBlocked(true);
    WaitAttentively(lock, deadline_ns, std::ref(over));
    SetBlocked(false);
  }
  if (!done && or_error) {
    for (size_t i = 0; i < size; ++i) objects_.DropPullError(entries[i]);  // nobody reads it
  }
  return done;
}

bool CoreWorker::LendsCpu() const {
  // An actor holds its resources for life, as long as a method may go on.
  return !is_driver_ && execution_.running() > 0 && !execution_.is_actor();
}

bool CoreWorker::WaitBriefly(std::unique_lock<std::mutex>& lock, ObjectEntry* const* entries,
                             size_t size, int64_t deadline_ns, const std::function<bool()>& over) {
  // A wait shorter than this is not worth telling anybody.
  constexpr int64_t kPatienceNs = 200'000;
  // For objects that are on this node, or may be: their owner has not answered yet.
  constexpr int64_t kNearPatienceNs = 100'000'000;
  const int64_t start = MonotonicNs();
  if (poller_.WaitUntil(lock, std::min(deadline_ns, start + kPatienceNs), over)) return true;
  const auto far = [&] {
    return std::any_of(entries, entries + size,
                       [this](const ObjectEntry* entry) { return IsFar(*entry); });
  };
  poller_.WaitUntil(lock, std::min(deadline_ns, start + kNearPatienceNs),
                    [&] { return over() || far(); });
  return over() || MonotonicNs() >= deadline_ns;
}

bool CoreWorker::IsFar(const ObjectEntry& entry) const {
  if (entry.state == ObjectState::kPending) return entry.owned || entry.told_pending;
  if (entry.local()) return false;
  const auto& places = entry.extra->locations;
  return std::find(places.begin(), places.end(), address_.node) == places.end();
}

void CoreWorker::SetBlocked(bool blocked) {
  execution_.SetBlocked(blocked);
  blocked_threads_ += blocked ? 1 : -1;
  if (blocked_threads_ != (blocked ? 1 : 0)) return;
  builder_.Clear();
  builder_.Finish(wire::CreateBlocked(builder_, blocked));
  raylet_.Send(FrameType::kBlocked, builder_);
  raylet_.Flush();
}

void CoreWorker::ReadyFlags(ObjectEntry* const* entries, size_t size, bool here, uint8_t* flags) {
  std::lock_guard lock(mutex_);
  for (size_t i = 0; i < size; ++i) flags[i] = here ? entries[i]->local() : entries[i]->ready();
}

bool CoreWorker::Read(ObjectEntry* entry, ReadView* view) { return ReadMany(&entry, 1, view) == 1; }

size_t CoreWorker::ReadMany(ObjectEntry* const* entries, size_t size, ReadView* views) {
  std::lock_guard lock(mutex_);
  for (size_t i = 0; i < size; ++i) {
    ObjectEntry* entry = entries[i];
    ReadView& view = views[i];
    if (entry->state == ObjectState::kInline) {
      entry->value->Ref();
      ViewValue(entry->value.get(), entry->is_error, view);
    } else if (entry->pin != nullptr) {
      objects_.AddView(entry->pin);
      view.is_error = entry->is_error;
      view.value = nullptr;
      view.pin = entry->pin;
      view.data = arena_->read(entry->pin->offset);
      view.size = entry->pin->bytes;
    } else if (entry->pull_failed) {
      ViewValue(objects_.TakePullError(entry).release(), true, view);
    } else {
      return i;
    }
  }
  return size;
}

void CoreWorker::UnrefPin(LocalPin* pin) {
  std::lock_guard lock(mutex_);
  objects_.DropView(pin);
}

void CoreWorker::AddCallback(ObjectEntry* entry, uint64_t token) {
  std::lock_guard lock(mutex_);
  objects_.AddCallback(entry, token);
  FlushAll();
}

void CoreWorker::RemoveCallback(ObjectEntry* entry, uint64_t token) {
  std::lock_guard lock(mutex_);
  objects_.RemoveCallback(entry, token);
}

// --- Tasks and actors ---

TaskTemplate* CoreWorker::AddTemplate(const TemplateSpec& spec) {
  std::lock_guard lock(mutex_);
  auto tmpl = std::make_unique<TaskTemplate>();
  tmpl->id = static_cast<uint32_t>(templates_.size());
  tmpl->function_id = spec.function_id;
  tmpl->name = spec.name;
  tmpl->method = spec.method;
  tmpl->extra = spec.extra;
  tmpl->num_returns = spec.num_returns;
  tmpl->max_retries = spec.max_retries;
  tmpl->max_concurrency = spec.max_concurrency;
  if (!spec.is_actor_method) {
    tmpl->shape =
        tasks_.FindShape(spec.demand, spec.strategy, spec.affinity_node, spec.affinity_soft);
  }
  templates_.push_back(std::move(tmpl));
  return templates_.back().get();
}

bool CoreWorker::Submit(Submission submission, ActorClient* actor, ObjectEntry** returns) {
  std::lock_guard lock(mutex_);
  PendingTask* task = slab_.New();
  task->id = task_ids_.Next();
  task->tmpl = submission.tmpl;
  task->retries_left = submission.tmpl->max_retries;
  task->args = std::move(submission.args);
  task->refs.assign(submission.refs.begin(), submission.refs.end());
  task->contained.assign(submission.contained.begin(), submission.contained.end());
  if (submission.hold != nullptr) {
    objects_.AddRef(submission.hold);
    task->contained.push_back(submission.hold);
  }
  task->name = std::move(submission.name);
  for (int i = 0; i < submission.tmpl->num_returns; ++i) {
    ObjectEntry* entry = objects_.NewOwned(ObjectId(task->id, static_cast<uint32_t>(i + 1)));
    entry->refs = 2;  // the caller's and the task's
    task->returns.push_back(entry);
    returns[i] = entry;
  }
  if (raylet_lost_ || disconnecting_) {
    completion_.Fail(
        task, MakeError(static_cast<uint8_t>(ErrorKind::kRayletDied),
                        disconnecting_ ? ShutDown().message() : "the raylet of this node is gone"));
  } else if (actor != nullptr) {
    actors_.Submit(actor, task, objects_);
    return ActorSubmitter::Crowded(*actor);
  } else {
    tasks_.Submit(task);
    poller_.NoteTimer(tasks_.NextTickNs());
  }
  return false;
}

void CoreWorker::Throttle(ActorClient* actor) {
  constexpr int64_t kPatienceNs = 1'000'000;
  std::unique_lock lock(mutex_);
  const uint64_t answered = actor->answered;
  poller_.WaitUntil(lock, MonotonicNs() + kPatienceNs,
                    [&] { return disconnecting_ || !ActorSubmitter::Crowded(*actor); });
  ActorSubmitter::HasWaited(*actor, answered);
}

ActorClient* CoreWorker::GetActorClient(const ActorId& id, bool in_order,
                                        uint32_t max_concurrency) {
  std::lock_guard lock(mutex_);
  ActorClient* client = actors_.Acquire(id);
  client->in_order = in_order;
  client->max_concurrency = max_concurrency;
  return client;
}

void CoreWorker::ReleaseActorClient(ActorClient* client) {
  std::lock_guard lock(mutex_);
  actors_.Release(client);
}

ObjectEntry* CoreWorker::NewActorHandle(const ActorId& id) {
  std::lock_guard lock(mutex_);
  ObjectEntry* entry = objects_.NewOwned(ObjectId(TaskId::FromBytes(id.data()), UINT32_MAX));
  entry->actor_handle = true;
  objects_.Index(entry);
  return entry;
}

void CoreWorker::HoldWith(ObjectEntry* entry, std::vector<ObjectEntry*> held) {
  std::lock_guard lock(mutex_);
  objects_.SetContained(entry, std::move(held));
}

// --- Execution ---

std::unique_ptr<ExecTask> CoreWorker::NextTask(int64_t deadline_ns, bool main_thread,
                                               Event* event) {
  std::unique_lock lock(mutex_);
  event->kind = Event::Kind::kNone;
  if (const ExecTemplate* next = execution_.FrontTemplate(); next != nullptr) {
    if (next->average_us * 1000 > kReplyGatherNs) FlushAll();
  }
  const auto thread = main_thread ? ExecutionQueue::Thread::kMain : ExecutionQueue::Thread::kExtra;
  poller_.WaitUntil(lock, deadline_ns, [&] {
    return (main_thread && !events_.empty()) || execution_.HasReady(thread) || disconnecting_;
  });
  return TakeNext(thread, event);
}

std::unique_ptr<ExecTask> CoreWorker::TryNextTask(Event* event) {
  std::lock_guard lock(mutex_);
  event->kind = Event::Kind::kNone;
  auto task = TakeNext(ExecutionQueue::Thread::kMain, event);
  if (!task && event->kind == Event::Kind::kNone) external_loop_looks_ = false;
  return task;
}

std::unique_ptr<ExecTask> CoreWorker::TakeNext(ExecutionQueue::Thread thread, Event* event) {
  if (thread == ExecutionQueue::Thread::kMain && !events_.empty()) {
    *event = std::move(events_.front());
    events_.pop_front();
    return nullptr;
  }
  auto task = execution_.Next(thread);
  if (task) task->started_ns = MonotonicNs();
  return task;
}

void CoreWorker::Reply(std::unique_ptr<ExecTask> task, bool ok, std::vector<Outcome> outcomes,
                       bool retry) {
  std::lock_guard lock(mutex_);
  const WorkerId submitter = task->submitter;
  execution_.Reply(std::move(task), ok ? wire::TaskStatus::Ok : wire::TaskStatus::Error,
                   std::move(outcomes), retry);
  Link* link = links_.Find(submitter);
  if (link == nullptr) return;
  links_.FlushSoon(*link, execution_.queued() > 0 ? kReplyGatherNs : kGatherNs);
}

bool CoreWorker::ReadArgument(ExecTask* task, size_t index, ReadView* view) {
  if (index >= task->arguments.size()) return false;
  const Argument& argument = task->arguments[index];
  if (argument.entry != nullptr) return Read(argument.entry, view);
  argument.value->Ref();
  ViewValue(argument.value.get(), argument.is_error, *view);
  return true;
}

void CoreWorker::BecomeActor(bool in_order) {
  std::lock_guard lock(mutex_);
  execution_.BecomeActor(in_order);
}

void CoreWorker::ActorReady(const ActorId& id, uint32_t incarnation, bool ok,
                            const std::string& error) {
  std::lock_guard lock(mutex_);
  builder_.Clear();
  auto bytes = builder_.CreateVector(reinterpret_cast<const uint8_t*>(error.data()), error.size());
  builder_.Finish(wire::CreateActorReady(builder_, wire::ToWire(id), incarnation, ok, bytes));
  raylet_.Send(FrameType::kActorReady, builder_);
  FlushAll();
}

void CoreWorker::WorkerExiting(bool intended, const std::string& reason) {
  std::lock_guard lock(mutex_);
  execution_.Close();
  builder_.Clear();
  auto text = builder_.CreateString(reason);
  builder_.Finish(wire::CreateWorkerExiting(builder_, intended, text));
  raylet_.Send(FrameType::kWorkerExiting, builder_);
  FlushAll();
}

Address CoreWorker::PeerAddress(const WorkerId& worker) {
  std::lock_guard lock(mutex_);
  const Link* link = links_.Find(worker);
  return link != nullptr ? link->peer : address_;
}

void CoreWorker::FlushReplies() {
  std::lock_guard lock(mutex_);
  external_loop_looks_ = false;
  FlushAll();
}

// --- Events ---

void CoreWorker::PushEvent(Event event) {
  events_.push_back(std::move(event));
  events_ready_.notify_one();
  poller_.WakeWaiters();
  WakeExternalLoop();
}

void CoreWorker::WakeExternalLoop() {
  if (external_wake_fd_ < 0 || external_loop_looks_) return;
  const uint64_t one = 1;
  [[maybe_unused]] ssize_t n = ::write(external_wake_fd_, &one, sizeof one);
}

bool CoreWorker::NextEvent(int64_t deadline_ns, Event* event) {
  std::unique_lock lock(mutex_);
  auto& queue = is_driver_ ? events_ : callbacks_;
  const auto ready = [&] { return stop_events_ || !queue.empty(); };
  if (deadline_ns == kForever) {
    events_ready_.wait(lock, ready);
  } else {
    events_ready_.wait_for(
        lock, std::chrono::nanoseconds(std::max<int64_t>(0, deadline_ns - MonotonicNs())), ready);
  }
  if (queue.empty()) return false;
  *event = std::move(queue.front());
  queue.pop_front();
  return true;
}

void CoreWorker::StopEvents() {
  std::lock_guard lock(mutex_);
  stop_events_ = true;
  events_ready_.notify_all();
}

void CoreWorker::UseExternalLoop(int wake_fd) {
  std::lock_guard lock(mutex_);
  external_wake_fd_ = wake_fd;
  poller_.SetExternalLoop(true);
}

void CoreWorker::PollNow() {
  std::unique_lock lock(mutex_);
  external_loop_looks_ = external_wake_fd_ >= 0;
  poller_.PollNow(lock);
}

size_t CoreWorker::live_objects() {
  std::lock_guard lock(mutex_);
  return objects_.size();
}

}  // namespace cyray::core
