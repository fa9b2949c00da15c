#include "cyray/core/execution_queue.h"

#include <algorithm>

#include "cyray/wire/convert.h"

namespace cyray::core {

using wire::FrameType;

ExecutionQueue::ExecutionQueue(LinkOutbox& links, ObjectDirectory& objects)
    : links_(links), objects_(objects), untold_(links) {}

ExecTemplate* ExecutionQueue::Intern(ExecTemplate tmpl) {
  return templates_.Intern(std::move(tmpl), [this](const ExecTemplate& found) {
    return found.running > 0 || std::any_of(lanes_.begin(), lanes_.end(), [&](const auto& lane) {
             return lane.HasTemplate(found);
           });
  });
}

void ExecutionQueue::BecomeActor(const std::vector<CallGroup>& groups) {
  is_actor_ = true;
  while (lanes_.size() < groups.size()) lanes_.emplace_back();
  for (size_t i = 0; i < groups.size(); ++i) lanes_[i].SetLimits(groups[i]);
}

size_t ExecutionQueue::queued() const {
  size_t sum = 0;
  for (const ExecLane& lane : lanes_) sum += lane.size();
  return sum;
}

void ExecutionQueue::OnTemplate(Link& link, const wire::Template& wire_template) {
  ExecTemplate tmpl;
  tmpl.function_id = wire::FromWireOrNil(wire_template.function_id());
  tmpl.job_id = wire::FromWireOrNil(wire_template.job_id());
  if (wire_template.name() != nullptr) tmpl.name = wire_template.name()->str();
  if (wire_template.method() != nullptr) tmpl.method = wire_template.method()->str();
  tmpl.num_returns = wire_template.num_returns();
  tmpl.yields = wire_template.yields();
  tmpl.max_ahead = wire_template.max_ahead();
  tmpl.timeout_ms = wire_template.timeout_ms();
  tmpl.max_concurrency = std::max(1u, wire_template.max_concurrency());
  tmpl.group = wire_template.group();
  if (wire_template.extra() != nullptr) {
    tmpl.extra.assign(reinterpret_cast<const char*>(wire_template.extra()->data()),
                      wire_template.extra()->size());
  }
  ExecTemplates::Name(link, wire_template.template_id(), Intern(std::move(tmpl)));
}

bool ExecutionQueue::OnPushTask(Link& link, const wire::PushTask& push) {
  auto it = link.exec_templates.find(push.template_id());
  if (it == link.exec_templates.end() || push.task_id() == nullptr) return false;
  auto task = std::make_unique<ExecTask>();
  if (is_actor_) task->group = it->second->group;
  if (task->group >= lanes_.size()) return false;
  task->submitter = link.peer.worker;
  task->tag = push.tag();
  task->tmpl = it->second;
  task->id = wire::FromWire(*push.task_id());
  task->attempt = push.attempt();
  if (push.name() != nullptr) task->name = push.name()->str();
  if (push.gpu_ids() != nullptr) {
    task->gpu_ids.assign(push.gpu_ids()->begin(), push.gpu_ids()->end());
  }
  task->call = push.call();
  if (saves_ != nullptr && saves_->Includes(task->submitter, task->call)) {
    saves_->MadeAgain(task->submitter);
    HandBack(std::move(task), wire::TaskStatus::Included);
    links_.FlushSoon(link);
    return true;
  }
  if (closed_ || (blocked_ > 0 && !is_actor_)) {
    HandBack(std::move(task),
             closed_ ? wire::TaskStatus::WorkerExiting : wire::TaskStatus::HandedBack);
    return true;
  }
  if (task->tmpl->yields != wire::Yields::None) {
    task->production = std::make_unique<Production>();
    task->production->there = push.items_there();
    task->production->taken = push.items_taken();
  }
  if (push.args() != nullptr && push.args()->size() > 0) {
    task->args = ValuePtr(Value::Copy(push.args()->data(), push.args()->size()));
  }
  ExecTask& queued = *task;
  LaneOf(queued).Add(std::move(task));
  Count(wire::TaskCount::kQueued);
  TakeArguments(queued, push.refs());
  if (queued.missing > 0 && !is_actor_) {
    queued.told_waiting = true;
    SendProgress(link, queued, /*begun=*/false);
    links_.FlushSoon(link);
  }
  return true;
}

void ExecutionQueue::PushCreation(const wire::ActorSpec& spec, ExecTemplate* tmpl) {
  auto task = std::make_unique<ExecTask>();
  task->tmpl = tmpl;
  if (spec.args() != nullptr && spec.args()->size() > 0) {
    task->args = ValuePtr(Value::Copy(spec.args()->data(), spec.args()->size()));
  }
  ExecTask& queued = *task;
  lanes_.front().AddFirst(std::move(task));
  Count(wire::TaskCount::kQueued);
  TakeArguments(queued, spec.refs());
}

void ExecutionQueue::TakeArguments(
    ExecTask& task, const flatbuffers::Vector<flatbuffers::Offset<wire::TaskArg>>* refs) {
  if (refs == nullptr) return;
  task.arguments.resize(refs->size());
  for (size_t i = 0; i < task.arguments.size(); ++i) {
    const wire::TaskArg* arg = refs->Get(static_cast<flatbuffers::uoffset_t>(i));
    Argument& argument = task.arguments[i];
    if (arg->value() != nullptr || arg->object_id() == nullptr || arg->owner() == nullptr) {
      const uint8_t* data = arg->value() != nullptr ? arg->value()->data() : nullptr;
      argument.value =
          ValuePtr(Value::Copy(data, arg->value() != nullptr ? arg->value()->size() : 0));
      continue;
    }
    // The submitter keeps it alive until the reply, so the owner need not know of us.
    ObjectEntry* entry = objects_.Borrow(wire::FromWire(*arg->object_id()),
                                         wire::FromWire(*arg->owner()), /*deferred=*/true);
    argument.entry = entry;
    if (!entry->ready() && arg->locations() != nullptr && arg->locations()->size() > 0) {
      ObjectDirectory::StateUpdate update;
      update.known = true;
      for (const wire::WireNodeId* node : *arg->locations()) {
        update.locations.push_back(wire::FromWire(*node));
      }
      objects_.OnState(entry->id, std::move(update));
    }
    if (entry->local()) {
      TakeHere(argument);
      continue;
    }
    ++task.missing;
    const uint64_t key = next_key_++;
    argument.awaited_by = key;
    awaited_[key] = {&task, i};
    objects_.AddCallback(entry, kExecToken | key);
  }
}

void ExecutionQueue::TakeHere(Argument& argument) {
  ObjectEntry* entry = argument.entry;
  if (entry->local()) {
    argument.pin = objects_.Hold(entry);
    return;
  }
  argument.value = entry->extra->pull_error;  // others may wait for the same
  argument.is_error = true;
  argument.entry = nullptr;
  objects_.Release(entry);
}

void ExecutionQueue::OnArgumentHere(uint64_t key) {
  auto node = awaited_.extract(key);
  if (node.empty()) return;  // the task went meanwhile
  ExecTask& task = *node.mapped().task;
  Argument& argument = task.arguments[node.mapped().index];
  argument.awaited_by = 0;
  TakeHere(argument);
  --task.missing;
}

bool ExecutionQueue::IsFree(const ExecLane& lane, TaskThread thread) const {
  if (lane.empty()) return false;
  if (!is_actor_) return true;
  if (held_) return false;
  // Of one at a time the default group's is the main thread, or an event loop there, which has a
  // bound of its own. Threads that are left from tasks must not make an actor a threaded one.
  const uint32_t at_once = lane.limits().at_once;
  if (thread.group == 0 && at_once == 1) return thread.is_main;
  return lane.running() < at_once;
}

bool ExecutionQueue::MayRun(const ExecTask& task, TaskThread thread) const {
  if (task.missing > 0) return false;
  if (task.submitter_is_nil()) return thread.is_main;  // the creation of an actor
  if (is_actor_) return true;
  const uint32_t limit = task.tmpl->max_concurrency;
  return limit > 1 ? task.tmpl->running < limit : thread.is_main;
}

bool ExecutionQueue::HasReady(TaskThread thread) const {
  const ExecLane& lane = lanes_[thread.group];
  return IsFree(lane, thread) &&
         lane.Has(InOrder(lane), [&](const ExecTask& task) { return MayRun(task, thread); });
}

std::unique_ptr<ExecTask> ExecutionQueue::Next(TaskThread thread) {
  ExecLane& lane = lanes_[thread.group];
  if (!IsFree(lane, thread)) return nullptr;
  bool was_first = false;
  auto task = lane.Take(InOrder(lane), &was_first,
                        [&](const ExecTask& found) { return MayRun(found, thread); });
  if (!task) return nullptr;
  // Its submitter has to know what began here, in case the task is the end of this process.
  if (task->told_waiting || (!was_first && !is_actor_)) TellBegun(*task);
  if (!is_actor_ && !task->submitter_is_nil()) {
    task->untold = untold_.Begin(task->submitter, task->tag);
  }
  Count(wire::TaskCount::kQueued, -1);
  Count(wire::TaskCount::kRunning);
  task->number = ++begun_;
  task->running_at = running_.size();
  running_.push_back(task.get());
  lane.Begins();
  ++task->tmpl->running;
  return task;
}

void ExecutionQueue::TellBegun(const ExecTask& task) {
  Link* link = links_.Find(task.submitter);
  if (link == nullptr) return;
  if (task.told_waiting) SendProgress(*link, task, /*begun=*/true);
  links_.Flush(*link);
}

void ExecutionQueue::SendProgress(Link& link, const ExecTask& task, bool begun) {
  builder_.Clear();
  builder_.Finish(wire::CreateTaskProgress(builder_, task.tag, begun));
  links_.Send(link, FrameType::kTaskProgress, builder_);
}

void ExecutionQueue::Release(ExecTask& task) {
  for (Argument& argument : task.arguments) {
    if (argument.awaited_by != 0) {
      awaited_.erase(argument.awaited_by);
      objects_.RemoveCallback(argument.entry, kExecToken | argument.awaited_by);
    }
    if (argument.pin != nullptr) objects_.DropHold(argument.pin);
    if (argument.entry != nullptr) objects_.Release(argument.entry);
  }
  task.arguments.clear();
}

bool ExecutionQueue::Starts(ExecTask& task, int64_t now_ns) {
  task.started_ns = now_ns;
  if (task.tmpl->timeout_ms == 0 || task.submitter_is_nil()) return false;
  // Two hundred years are enough for each.
  const auto ms = static_cast<int64_t>(std::min<uint64_t>(task.tmpl->timeout_ms, INT64_MAX >> 22));
  task.due_ns = now_ns + ms * 1'000'000;
  due_.emplace(task.due_ns, &task);
  return true;
}

ExecTask* ExecutionQueue::TakeDue(int64_t now_ns, bool* over) {
  if (NextDueNs() > now_ns) return nullptr;
  ExecTask* const task = due_.begin()->second;
  due_.erase(due_.begin());
  *over = std::exchange(task->timed_out, true);
  task->due_ns = 0;
  if (*over) return task;
  task->cancels_children = true;
  task->cancelled = true;
  task->due_ns = now_ns + kGraceNs;
  due_.emplace(task->due_ns, task);
  return task;
}

void ExecutionQueue::AnswerTimedOut(ExecTask& task) {
  std::vector<Outcome> none;
  SendReply(task, wire::TaskStatus::TimedOutEnding, none, {}, false);
}

void ExecutionQueue::Unlist(ExecTask& task) {
  if (task.due_ns != 0) due_.erase({task.due_ns, &task});
  running_.back()->running_at = task.running_at;
  std::swap(running_[task.running_at], running_.back());
  running_.pop_back();
  LaneOf(task).Ends();
  Count(wire::TaskCount::kRunning, -1);
}

void ExecutionQueue::TellSaves(const ExecTask& task, wire::TaskStatus status, bool retry) {
  if (task.submitter_is_nil()) return;
  size_t bytes = task.args ? task.args->size() : 0;
  for (const Argument& argument : task.arguments) {
    if (argument.value) bytes += argument.value->size();
    if (argument.pin != nullptr) bytes += argument.pin->bytes;
  }
  saves_->Ended({.caller = task.submitter,
                 .call = links_.IsDead(task.submitter) ? 0 : task.call,  // nobody keeps it
                 .again = status == wire::TaskStatus::Error && retry,
                 .bytes = bytes});
}

void ExecutionQueue::Reply(std::unique_ptr<ExecTask> task, wire::TaskStatus status,
                           std::vector<Outcome> outcomes, bool retry) {
  Unlist(*task);
  Count(status == wire::TaskStatus::Ok ? wire::TaskCount::kFinished : wire::TaskCount::kFailed);
  if (saves_ != nullptr) TellSaves(*task, status, retry);
  task->args = {};
  Release(*task);
  // Refs that outlive the task are registered with their owners before the submitter may let go. An
  // actor's constructor has no submitter that waits: whoever registered the actor keeps its
  // arguments until it is gone, which for a detached one may be soon.
  std::vector<ObjectId> held;
  if (!task->borrowed.empty()) held = objects_.RegisterDeferred(task->borrowed);
  // Its template stays until the answer is written.
  const auto ended = [](const ExecTask& over) { --over.tmpl->running; };
  if (task->submitter.is_nil()) return ended(*task);
  if (task->borrowed.empty()) {
    ended(*task);
    return SendReply(*task, status, outcomes, {}, retry);
  }
  auto shared = std::make_shared<std::pair<std::unique_ptr<ExecTask>, std::vector<Outcome>>>(
      std::move(task), std::move(outcomes));
  ++unanswered_;
  objects_.AfterRegistrations([this, ended, shared, status, held = std::move(held), retry] {
    --unanswered_;
    ended(*shared->first);
    SendReply(*shared->first, status, shared->second, held, retry);
  });
}

const Address* ExecutionQueue::ResultsFor(ExecTask& task) {
  const Link* link = links_.Find(task.submitter);
  task.unwanted =
      (task.production && task.unwanted) || link == nullptr || link->state == Link::State::kBroken;
  return task.unwanted ? nullptr : &link->peer;
}

void ExecutionQueue::SendReply(ExecTask& task, wire::TaskStatus status,
                               std::vector<Outcome>& outcomes,
                               const std::vector<ObjectId>& borrowed, bool retry) {
  Link* link = links_.Find(task.submitter);
  if (task.unwanted || link == nullptr || link->state == Link::State::kBroken) {
    untold_.Drop(task.untold);
    for (Outcome& outcome : outcomes) {
      for (ObjectEntry* entry : outcome.contained) objects_.Release(entry);
    }
    return;
  }
  auto& b = builder_;
  b.Clear();
  const wire::WireTaskId* named = nullptr;  // only who has to name it is told
  flatbuffers::Offset<wire::ReturnValue> one;
  std::vector<flatbuffers::Offset<wire::ReturnValue>> many;
  for (size_t i = 0; i < outcomes.size(); ++i) {
    Outcome& outcome = outcomes[i];
    if (!outcome.value || !outcome.contained.empty()) named = wire::ToWire(task.id);
    const auto done = Build(*link, ObjectId(task.id, static_cast<uint32_t>(i + 1)), outcome);
    if (outcomes.size() == 1) {
      one = done;
    } else {
      many.push_back(done);
    }
  }
  const auto returns = outcomes.size() == 1 ? b.CreateVector(&one, 1) : b.CreateVector(many);
  flatbuffers::Offset<flatbuffers::Vector<const wire::WireObjectId*>> held;
  if (!borrowed.empty()) {
    held = b.CreateVectorOfStructs(wire::ToWire(borrowed.front()), borrowed.size());
  }
  uint32_t run_us = 0;
  if (task.started_ns != 0) {
    const int64_t ns = links_.NowNs() - task.started_ns;
    run_us = static_cast<uint32_t>(std::min<int64_t>((ns + 500) / 1000, UINT32_MAX));
    task.tmpl->average_us = task.tmpl->average_us * 0.8 + run_us * 0.2;
  }
  const uint64_t items = task.production ? task.production->number : 0;
  b.Finish(wire::CreateTaskReply(b, task.tag, status, returns, held, run_us, retry, named, items,
                                 /*leaves=*/closed_ && !is_actor_));
  links_.Send(*link, FrameType::kTaskReply, b);
  ++link->replies_sent;
  if (task.number == 0) return;
  // Without its items the answer of a generator says nothing: it is not to arrive without them.
  const auto way = task.production ? Untold::Way::kWritten : Untold::Way::kNoted;
  untold_.Answered(task.untold, *link, b.GetBufferPointer(), b.GetSize(), way);
}

flatbuffers::Offset<wire::ReturnValue> ExecutionQueue::Build(Link& link, const ObjectId& id,
                                                             Outcome& outcome) {
  auto& b = builder_;
  flatbuffers::Offset<flatbuffers::Vector<uint8_t>> value;
  if (outcome.value) value = b.CreateVector(outcome.value->data(), outcome.value->size());
  flatbuffers::Offset<flatbuffers::Vector<const wire::RefWithOwner*>> contained;
  if (!outcome.contained.empty()) {
    std::vector<wire::RefWithOwner> refs;
    for (ObjectEntry* entry : outcome.contained) {
      const Address owner = objects_.OwnerOf(entry);
      refs.emplace_back(*wire::ToWire(entry->id), *wire::ToWire(owner));
    }
    contained = b.CreateVectorOfStructs(refs);
    auto& given = link.given[id];
    given.insert(given.end(), outcome.contained.begin(), outcome.contained.end());
  }
  wire::ReturnValueBuilder rv(b);
  if (outcome.value) {
    rv.add_value(value);
  } else {
    rv.add_stored_bytes(outcome.stored_bytes);
    rv.add_node(wire::ToWire(self_.node));
  }
  rv.add_is_error(outcome.is_error);
  if (!outcome.contained.empty()) rv.add_contained(contained);
  return rv.Finish();
}

bool ExecutionQueue::SkipItem(ExecTask& task) {
  Production& production = *task.production;
  if (production.number >= production.there) return false;
  ++production.number;
  return true;
}

bool ExecutionQueue::SendItem(ExecTask& task, Outcome outcome) {
  Link* const link = links_.Find(task.submitter);
  if (task.unwanted || link == nullptr || link->state == Link::State::kBroken) {
    task.unwanted = true;
    for (ObjectEntry* entry : outcome.contained) objects_.Release(entry);
    return false;
  }
  Production& production = *task.production;
  const uint64_t number = production.number++;
  const uint64_t bytes =
      ItemStream::kItemBytes + (outcome.value ? outcome.value->size() : outcome.stored_bytes);
  production.sizes.push_back(bytes);
  production.bytes += bytes;
  builder_.Clear();
  const auto item = Build(*link, ItemStream::IdOf(task.id, number), outcome);
  builder_.Finish(wire::CreateStreamItem(builder_, task.tag, task.attempt, number,
                                         wire::ToWire(task.id), item));
  links_.Send(*link, FrameType::kStreamItem, builder_);
  links_.FlushSoon(*link, kReplyGatherNs);
  return true;
}

bool ExecutionQueue::HasRoom(const ExecTask& task) const {
  const Production& production = *task.production;
  if (task.unwanted || task.cancelled || production.number <= production.taken) return true;
  if (task.tmpl->yields == wire::Yields::Gathered) return true;  // nobody takes any before the end
  const uint64_t ahead = production.number - production.taken;
  const uint32_t most = task.tmpl->max_ahead;
  return production.bytes < ahead_bytes_ && (most == 0 || ahead < most);
}

void ExecutionQueue::OnItemsTaken(const Link& link, const wire::ItemsTaken& taken) {
  const auto is_it = [&](const auto& task) {
    return task->tag == taken.tag() && task->submitter == link.peer.worker &&
           task->attempt == taken.attempt() && task->production;
  };
  ExecTask* task = nullptr;
  if (auto runs = std::find_if(running_.begin(), running_.end(), is_it); runs != running_.end()) {
    task = *runs;
  } else {
    task = FindQueued(link.peer.worker, taken.tag());  // what is there of earlier attempts
  }
  if (task == nullptr || !is_it(task)) return;
  Production& production = *task->production;
  // It is not told again of those that are there and that this attempt has not got to yet.
  const uint64_t most = std::max(production.number, production.there);
  production.taken = std::max(production.taken, std::min(taken.count(), most));
  const uint64_t ahead = production.number - std::min(production.number, production.taken);
  while (production.sizes.size() > ahead) {
    production.bytes -= production.sizes.front();
    production.sizes.pop_front();
  }
}

std::vector<ExecTask*> ExecutionQueue::TakeThoseWithRoom() {
  std::vector<ExecTask*> found;
  for (ExecTask* task : running_) {
    if (!task->production || !task->production->tells || !HasRoom(*task)) continue;
    task->production->tells = false;
    found.push_back(task);
  }
  return found;
}

void ExecutionQueue::HandBack(std::unique_ptr<ExecTask> task, wire::TaskStatus status) {
  Release(*task);
  std::vector<Outcome> none;
  task->started_ns = 0;
  SendReply(*task, status, none, {}, false);
}

void ExecutionQueue::HandBackAll(std::vector<std::unique_ptr<ExecTask>> tasks,
                                 wire::TaskStatus status) {
  Count(wire::TaskCount::kQueued, -static_cast<int64_t>(tasks.size()));
  // The youngest first: their submitters put each in front of those that came back before.
  for (auto it = tasks.rbegin(); it != tasks.rend(); ++it) {
    if ((*it)->submitter_is_nil()) {
      Release(**it);
    } else {
      HandBack(std::move(*it), status);
    }
  }
}

ExecTask* ExecutionQueue::FindQueued(const WorkerId& caller, uint64_t tag) const {
  for (const ExecLane& lane : lanes_) {
    if (ExecTask* task = lane.Find(caller, tag)) return task;
  }
  return nullptr;
}

void ExecutionQueue::OnSteal(Link& link, const wire::StealTasks& steal) {
  if (is_actor_) return;
  // The youngest go back; the oldest of this submitter stay, up to `all_but`.
  HandBackAll(lanes_.front().TakeFrom(link.peer.worker, steal.all_but()),
              wire::TaskStatus::HandedBack);
  links_.Flush(link);
}

const ExecTask* ExecutionQueue::OnCancel(Link& link, uint64_t tag, bool recursive) {
  const auto is_it = [&](const auto& task) {
    return task->tag == tag && task->submitter == link.peer.worker;
  };
  const auto runs = std::find_if(running_.begin(), running_.end(), is_it);
  if (runs != running_.end()) {
    (*runs)->cancels_children |= recursive;
    (*runs)->cancelled = true;
    return *runs;
  }
  for (ExecLane& lane : lanes_) {
    auto task = lane.Remove(link.peer.worker, tag);
    if (!task) continue;
    Count(wire::TaskCount::kQueued, -1);
    HandBack(std::move(task), wire::TaskStatus::Cancelled);
    links_.FlushSoon(link);
    break;
  }
  return nullptr;  // or it was answered, or handed back
}

void ExecutionQueue::SetBlocked(bool blocked) {
  blocked_ += blocked ? 1 : -1;
  if (!blocked || is_actor_) return;
  HandBackAll(lanes_.front().TakeAll(), wire::TaskStatus::HandedBack);
}

void ExecutionQueue::Close() {
  closed_ = true;
  for (ExecLane& lane : lanes_) HandBackAll(lane.TakeAll(), wire::TaskStatus::WorkerExiting);
}

void ExecutionQueue::OnLinkBroken(Link& link) {
  for (ExecLane& lane : lanes_) {
    for (auto& task : lane.TakeFrom(link.peer.worker, /*all_but=*/0)) {
      Count(wire::TaskCount::kQueued, -1);
      Release(*task);
    }
    lane.Forget(link.peer.worker);
  }
  // Should the link come back, its submitter has looked elsewhere for the items that follow.
  for (ExecTask* task : running_) {
    if (task->production && task->submitter == link.peer.worker) task->unwanted = true;
  }
  untold_.OnLinkBroken(link.peer.worker);
  ExecTemplates::Forget(link);
}

}  // namespace cyray::core
