#include "cyray/core/submitter.h"

#include "cyray/core/system_error.h"
#include "cyray/util/clock.h"

namespace cyray::core {

Submitter::Submitter(ThisProcess& process, Requests& requests, GcsFacts& facts,
                     ObjectDirectory& directory)
    : process_(process),
      requests_(requests),
      facts_(facts),
      directory_(directory),
      completion_(directory, process.links(), slab_),
      tasks_(directory, process.links(), process.raylet(), completion_, slab_),
      actors_(process.links(), process.raylet(), completion_),
      unready_([this](const ActorId& id) { TellArgumentsReady(id); }),
      dependents_(slab_, unready_, [this](PendingTask* task) {
        if (task->actor != nullptr) return actors_.OnArgumentReady(task);
        tasks_.OnArgumentReady(task);
      }) {
  actors_.set_on_dead([this](const ActorId& id) { LetGoOf(id); });
}

TaskTemplate* Submitter::AddTemplate(const TemplateSpec& spec) {
  std::lock_guard lock(process_.mutex());
  TaskTemplate* tmpl = slab_.templates().Take();
  tmpl->function_id = spec.function_id;
  tmpl->name = spec.name;
  tmpl->method = spec.method;
  tmpl->extra = spec.extra;
  tmpl->num_returns = spec.num_returns;
  tmpl->yields = spec.yields;
  tmpl->max_ahead = spec.max_ahead;
  tmpl->timeout_ms = spec.timeout_ms;
  tmpl->max_retries = spec.max_retries;
  tmpl->max_concurrency = spec.max_concurrency;
  tmpl->group = spec.group;
  if (!spec.is_actor_method) {
    tmpl->shape = tasks_.FindShape(spec.shape);
  }
  return tmpl;
}

void Submitter::ReleaseTemplate(TaskTemplate* tmpl) {
  std::lock_guard lock(process_.mutex());
  slab_.templates().Drop(tmpl);
}

bool Submitter::Submit(Submission submission, ActorClient* actor, ObjectEntry** returns) {
  std::lock_guard lock(process_.mutex());
  PendingTask* task = slab_.New();
  task->id = process_.ids().Next();
  task->tmpl = submission.tmpl;
  TemplateTable::Use(task->tmpl);
  task->parent = submission.parent;
  task->retries_left = submission.tmpl->max_retries;
  task->args = std::move(submission.args);
  task->refs.assign(submission.refs.begin(), submission.refs.end());
  task->contained.assign(submission.contained.begin(), submission.contained.end());
  if (submission.hold != nullptr) {
    directory_.AddRef(submission.hold);
    task->contained.push_back(submission.hold);
  }
  task->name = std::move(submission.name);
  for (int i = 0; i < submission.tmpl->num_returns; ++i) {
    ObjectEntry* entry = directory_.NewOwned(ObjectId(task->id, static_cast<uint32_t>(i + 1)));
    returns[i] = entry;
    if (submission.tmpl->yields != wire::Yields::Items) {
      entry->refs = 2;  // the caller's and the task's
      task->Makes(entry);
    }
    if (submission.tmpl->yields != wire::Yields::None) completion_.generators().Begin(task, entry);
  }
  if (submission.reserved) --actor->reserved;
  if (raylet_lost_ || process_.leaving()) {
    const Status why = process_.leaving() ? ThisProcess::ShutDown() : process_.RayletIsGone();
    completion_.Fail(task, SystemError(ErrorKind::kRayletDied, why.message()));
  } else if (actor != nullptr) {
    actors_.Submit(actor, task, directory_);
    return ActorSubmitter::Crowded(*actor);
  } else {
    tasks_.Submit(task);
    process_.poller().NoteTimer(tasks_.NextTickNs());
  }
  return false;
}

bool Submitter::Reserve(ActorClient* actor, uint32_t most) {
  std::lock_guard lock(process_.mutex());
  if (actor->pending() + actor->reserved >= most) return false;
  ++actor->reserved;
  return true;
}

void Submitter::GiveBack(ActorClient* actor) {
  std::lock_guard lock(process_.mutex());
  --actor->reserved;
}

bool Submitter::HasDied(const ActorClient* actor) {
  std::lock_guard lock(process_.mutex());
  return actor->state == wire::ActorState::Dead;
}

void Submitter::HoldCalls(const ActorId& id, uint32_t least_incarnation) {
  std::lock_guard lock(process_.mutex());
  actors_.HoldCalls(id, least_incarnation);
}

Status Submitter::Cancel(ObjectEntry* entry, const Cancellation& how) {
  std::lock_guard lock(process_.mutex());
  if (entry->ready()) return Status::Ok();
  if (!entry->owned) {
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateCancelObject(b, wire::ToWire(entry->id), how.force, how.recursive));
    Link& link = process_.links().To(directory_.OwnerOf(entry));
    process_.links().Send(link, wire::FrameType::kCancelObject, b);
    process_.links().Flush(link);
    return Status::Ok();
  }
  if (entry->maker == nullptr) return Status::Ok();  // it stands for something else
  if (how.force && entry->maker->actor != nullptr) {
    return Status(StatusCode::kInvalidArgument,
                  "force=True ends the process that runs a task, and " + NameOf(*entry->maker) +
                      " is a call of an actor: cyray.kill(actor) ends that");
  }
  CancelTask(entry->maker, how);
  process_.poller().NoteTimer(tasks_.NextTickNs());
  process_.poller().WakeWaiters();
  return Status::Ok();
}

Submitter::NextItem Submitter::TakeItem(ObjectEntry* generator, bool only_look) {
  ItemStream* const stream = completion_.generators().Find(generator->id);
  if (stream == nullptr) return {};
  const PendingTask* const maker = generator->maker;
  if (maker != nullptr && maker->tmpl->yields == wire::Yields::Gathered) return {};
  if (stream->exhausted()) return {.end = true};
  ObjectEntry* const item = only_look ? nullptr : stream->Take();
  if (item == nullptr) return {.item = stream->Look()};
  if (const PendingTask* task = generator->maker; task != nullptr) {
    if (Link* link = LinkOf(*task)) completion_.TellTaken(*link, *task);
  }
  return {.item = item, .taken = true};
}

bool Submitter::Throttle(ActorClient* actor) {
  constexpr int64_t kPatienceNs = 1'000'000'000;  // with one that answers nothing
  ThisProcess::Lock lock(process_.mutex());
  while (!process_.leaving() && ActorSubmitter::Crowded(*actor)) {
    const uint64_t answered = actor->answered;
    const Status waited = process_.Await(lock, MonotonicNs() + kPatienceNs, [&] {
      return actor->answered > answered || !ActorSubmitter::Crowded(*actor);
    });
    if (waited.code() == StatusCode::kCancelled) return false;
    ActorSubmitter::HasWaited(*actor, answered);
  }
  return true;
}

ActorClient* Submitter::GetActorClient(const ActorId& id, const std::vector<CallGroup>& groups,
                                       bool saved) {
  std::lock_guard lock(process_.mutex());
  ActorClient* client = actors_.Acquire(id);
  client->SetGroups(groups);
  client->saved |= saved;
  return client;
}

void Submitter::ReleaseActorClient(ActorClient* client) {
  std::lock_guard lock(process_.mutex());
  actors_.Release(client);
}

ActorId Submitter::NewActorId() {
  std::lock_guard lock(process_.mutex());
  return process_.ids().NextActor();
}

Status Submitter::CreateActor(const ActorCreation& creation, bool wait) {
  constexpr auto kMethod = wire::GcsMethod::RegisterActor;
  CYRAY_RETURN_IF_ERROR(CheckGcsRequestSize("the creation of the actor " + creation.class_name,
                                            RegistrationBytes(creation)));
  ThisProcess::Lock lock(process_.mutex());
  if (process_.leaving()) return ThisProcess::ShutDown();
  const bool pending = unready_.Await(creation.actor_id, creation.refs, directory_);
  const auto request =
      RegistrationOf(creation, process_.address(), process_.job_id(), directory_, pending);
  const Requests::Bytes payload(request.GetBufferPointer(), request.GetSize());
  if (wait) {
    Waits::Scope scope(process_.waits(), "the registration of the actor ", creation.class_name);
    const auto answer = requests_.AskGcs(lock, kMethod, payload);
    OnRegistered(creation.actor_id, answer);
    return answer ? Status::Ok() : answer.error();
  }
  requests_.TellGcs(kMethod, payload, [this, id = creation.actor_id](const auto& answer) {
    OnRegistered(id, answer);
    if (!answer) actors_.OnRegistrationFailed(id, answer.error().message());
  });
  process_.raylet().Flush();
  return Status::Ok();
}

void Submitter::HoldForActor(const ActorId& id, std::vector<ObjectEntry*> entries, bool created) {
  std::lock_guard lock(process_.mutex());
  if (!created) {
    for (ObjectEntry* entry : entries) directory_.Release(entry);
    return;
  }
  if (entries.empty()) return;
  ActorClient* client = actors_.Acquire(id);
  held_[id] = {client, std::move(entries)};
  if (client->death_error) return LetGoOf(id);
  actors_.Subscribe(*client);
}

// --- With the core mutex held ---

void Submitter::LetGoOf(const ActorId& id) {
  const auto node = held_.extract(id);
  if (node.empty()) return;
  for (ObjectEntry* entry : node.mapped().entries) directory_.Release(entry);
  actors_.Release(node.mapped().client);
}

void Submitter::OnRegistered(const ActorId& id, const Result<std::string>& answer) {
  // Whoever waited was interrupted: the request is on its way all the same.
  const bool ok = answer || answer.error().code() == StatusCode::kCancelled;
  ok ? unready_.OnRegistered(id) : unready_.Forget(id);
}

void Submitter::CancelTask(PendingTask* task, const Cancellation& how) {
  if (task->actor != nullptr) return actors_.Cancel(task, how.recursive);
  tasks_.Cancel(task, how);
}

Link* Submitter::LinkOf(const PendingTask& task) {
  if (task.place != Place::kInFlight) return nullptr;
  return task.actor != nullptr ? task.actor->link : task.lease->link;
}

void Submitter::OnStreamItem(Link& link, const wire::StreamItem& item) {
  PendingTask* task = slab_.Find(item.tag());
  if (task != nullptr) {
    return completion_.AddItem(link, task, LinkOf(*task) == &link, item);
  }
  completion_.RefuseItem(link, item);
}

void Submitter::OnGeneratorDropped(const ObjectId& id, PendingTask* maker) {
  completion_.generators().Drop(id, maker);
  if (maker == nullptr) return;
  unwanted_.push_back(maker->tag());
  process_.poller().NoteTimer(0);
}

void Submitter::CancelUnwanted() {
  for (const uint64_t tag : std::exchange(unwanted_, {})) {
    PendingTask* task = slab_.Find(tag);
    if (task != nullptr) CancelTask(task, {.recursive = true});
  }
}

void Submitter::OnCancelObject(const wire::CancelObject& cancel) {
  const ObjectEntry* entry = directory_.Find(wire::FromWireOrNil(cancel.object_id()));
  if (entry == nullptr || entry->maker == nullptr) return;
  if (cancel.force() && entry->maker->actor != nullptr) return;  // refused, as by its own process
  CancelTask(entry->maker, {.force = cancel.force(), .recursive = cancel.recursive()});
}

void Submitter::CancelChildren(uint64_t parent, bool force) {
  for (const uint64_t tag : slab_.ChildrenOf(parent)) {
    PendingTask* task = slab_.Find(tag);
    if (task != nullptr) CancelTask(task, {.force = force, .recursive = true});
  }
}

void Submitter::WantSaves(bool to_end) {
  actors_.WantSaves(to_end);
  process_.poller().NoteTimer(actors_.NextTickNs());
}

void Submitter::OnActorOutOfScope(const ActorId& id) {
  unready_.Forget(id);
  if (actors_.HasDied(id)) return;  // the GCS has nothing left to do
  flatbuffers::FlatBufferBuilder b;
  b.Finish(wire::CreateKillActorRequest(b, wire::ToWire(id), true, /*out_of_scope=*/true));
  facts_.Tell(wire::GcsMethod::KillActor, wire::FinishedBytes(b));
}

void Submitter::TellArgumentsReady(const ActorId& id) {
  flatbuffers::FlatBufferBuilder b;
  b.Finish(wire::CreateActorArgumentsReadyRequest(b, wire::ToWire(id)));
  facts_.Tell(wire::GcsMethod::ActorArgumentsReady, wire::FinishedBytes(b),
              [this, id](const Status& status) {
                if (!status.ok()) actors_.OnRegistrationFailed(id, status.message());
              });
}

void Submitter::OnLastAnswers(Link& link, const wire::LastAnswers& last) {
  if (last.answers() == nullptr) return;
  for (const wire::LastAnswer* answer : *last.answers()) {
    if (answer->number() <= link.replies_read || answer->task_reply() == nullptr) continue;
    const wire::Frame frame{wire::FrameType::kTaskReply,
                            answer->task_reply()->data(),
                            answer->task_reply()->size(),
                            {}};
    const auto* reply = frame.As<wire::TaskReply>();
    if (reply == nullptr) return;
    // Those before it that did not come are not noted: tasks that were handed back.
    link.replies_read = answer->number() - 1;
    OnTaskReply(link, *reply);
  }
}

void Submitter::OnTaskProgress(Link& link, const wire::TaskProgress& progress) {
  PendingTask* task = slab_.Find(progress.tag());
  if (task != nullptr) tasks_.OnTaskProgress(link, task, progress.begun());
}

void Submitter::OnLinkBroken(Link& link, const std::string& reason) {
  tasks_.OnLinkBroken(link, reason);
  actors_.OnLinkBroken(link, reason);
  permits().OnLinkBroken(link);
}

void Submitter::OnReclaim(const wire::ReclaimLease& reclaim) {
  tasks_.OnReclaim(reclaim.lease_id(), wire::FromWireOrNil(reclaim.worker()));
}

void Submitter::OnLeaseBroken(const Address& worker, const std::string& reason,
                              const Begun& begun) {
  tasks_.OnLeaseBroken(worker, reason, begun);
}

void Submitter::OnProcessDied(const Address& process, const std::string& reason) {
  tasks_.OnLeaseBroken(process, reason);
  actors_.OnProcessDied(process.worker);
  permits().OnProcessDied(process);
}

void Submitter::FailAll(const ValuePtr& error) {
  raylet_lost_ = true;
  actors_.FailAll(error);  // an actor's last answers are read, and may make tasks ready
  tasks_.FailAll(error);
}

Submitter::Unfinished Submitter::CountUnfinished() const {
  Unfinished out;
  slab_.ForEach([&](const PendingTask& task) {
    if (task.cancelled || task.answered) return true;
    const bool begun = task.place == Place::kInFlight && task.previous == nullptr;
    ++(!begun ? out.not_begun : task.actor != nullptr ? out.running_calls : out.running_tasks);
    return true;
  });
  return out;
}

void Submitter::Describe(std::string& out) const {
  out += std::to_string(slab_.templates().in_use()) + " templates in use, at most " +
         std::to_string(slab_.templates().most_in_use()) + "\n";
  tasks_.Describe(out);
  actors_.Describe(out);
}

}  // namespace cyray::core
