#include "cyray/core/executor.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "cyray/common/exit_reasons.h"
#include "cyray/core/system_error.h"
#include "cyray/util/clock.h"
#include "cyray/wire/convert.h"

namespace cyray::core {

using wire::FrameType;

std::unique_ptr<ExecTask> Executor::NextTask(int64_t deadline_ns, TaskThread thread, Event* event) {
  ThisProcess::Lock lock(process_.mutex());
  event->kind = Event::Kind::kNone;
  if (asked_to_end_.load(std::memory_order_relaxed)) LookWhetherToEnd();
  if (const ExecTemplate* next = queue_.FrontTemplate(); next != nullptr) {
    if (next->average_us * 1000 > kReplyGatherNs) process_.FlushAll();
  }
  if (retired_) process_.FlushAll();  // it may end with the last answer
  process_.poller().WaitUntil(lock, deadline_ns, [&] {
    return (thread.is_main && (!events_.empty() || IsOver())) || queue_.HasReady(thread) ||
           process_.leaving();
  });
  if (thread.is_main && TakeEnd(event)) return nullptr;
  return TakeNext(thread, event, /*for_loop=*/loops_of_groups_ && thread.group > 0);
}

std::unique_ptr<ExecTask> Executor::TryNextTask(Event* event, bool may_begin) {
  std::lock_guard lock(process_.mutex());
  event->kind = Event::Kind::kNone;
  if (asked_to_end_.load(std::memory_order_relaxed)) LookWhetherToEnd();
  std::unique_ptr<ExecTask> task;
  if (TakeEnd(event)) return nullptr;
  if (may_begin || !events_.empty()) task = TakeNext({}, event, /*for_loop=*/true);
  if (!task && event->kind == Event::Kind::kNone) loop_.FoundNothing();
  return task;
}

std::unique_ptr<ExecTask> Executor::TakeNext(TaskThread thread, Event* event, bool for_loop) {
  if (thread.is_main && !events_.empty()) {
    *event = events_.Take();
    return nullptr;
  }
  auto task = queue_.Next(thread);
  if (task && for_loop) {
    task->started_ns = MonotonicNs();
  } else if (task) {
    Starts(*task);
  }
  return task;
}

void Executor::StartsOnLoop(ExecTask& task) {
  std::lock_guard lock(process_.mutex());
  Starts(task);
}

void Executor::Starts(ExecTask& task) {
  if (queue_.Starts(task, MonotonicNs())) process_.poller().NoteTimer(queue_.NextDueNs());
}

void Executor::Reply(std::unique_ptr<ExecTask> task, bool ok, std::vector<Outcome> outcomes,
                     bool retry) {
  SendReply(std::move(task), ok ? wire::TaskStatus::Ok : wire::TaskStatus::Error,
            std::move(outcomes), retry);
}

void Executor::ReplyCancelled(std::unique_ptr<ExecTask> task) {
  SendReply(std::move(task), wire::TaskStatus::Cancelled, {}, false);
}

void Executor::SendReply(std::unique_ptr<ExecTask> task, wire::TaskStatus status,
                         std::vector<Outcome> outcomes, bool retry) {
  std::lock_guard lock(process_.mutex());
  const WorkerId submitter = task->submitter;
  const uint32_t group = task->group;
  const bool timed_out = status == wire::TaskStatus::Cancelled && task->timed_out;
  if (timed_out) status = wire::TaskStatus::TimedOut;
  queue_.Reply(std::move(task), status, std::move(outcomes), retry);
  if (group == 0) loop_.TurnFollows();
  if (after_reply_) after_reply_();
  // Whoever takes calls to the loop of that group waits for room there.
  if (loops_of_groups_ && group > 0 && queue_.HasReady({.is_main = false, .group = group})) {
    process_.poller().WakeWaiters();
  }
  LinkTable& links = process_.links();
  Link* link = links.Find(submitter);
  if (link == nullptr) return;
  links.FlushSoon(*link, queue_.queued() > 0 ? kReplyGatherNs : kGatherNs);
  if (!retired_) return;
  process_.FlushAll();
  process_.poller().WakeWaiters();  // the main thread may wait for the last answer
  if (group > 0) loop_.Wake();
}

bool Executor::SkipItem(ExecTask& task) {
  if (task.production->there == 0) return false;
  std::lock_guard lock(process_.mutex());
  return ExecutionQueue::SkipItem(task);
}

Executor::Sent Executor::SendItem(ExecTask& task, Outcome outcome) {
  std::lock_guard lock(process_.mutex());
  if (!queue_.SendItem(task, std::move(outcome))) return Sent::kUnwanted;
  return queue_.HasRoom(task) ? Sent::kGoOn : Sent::kWait;
}

bool Executor::AwaitRoom(const ExecTask& task) {
  // A wait shorter than this is not worth telling anybody.
  constexpr int64_t kPatienceNs = 200'000;
  ThisProcess::Lock lock(process_.mutex());
  bool has_room = false;
  const auto over = [&] { return (has_room = queue_.HasRoom(task)) || process_.leaving(); };
  if (process_.poller().WaitUntil(lock, MonotonicNs() + kPatienceNs, over)) return has_room;
  Waits::Scope scope(process_.waits(), "room for the items of ", task.tmpl->name);
  const bool lends = LendsCpu();
  if (lends) SetBlocked(true);
  process_.WaitAttentively(lock, kForever, over);
  if (lends) SetBlocked(false);
  return has_room;
}

bool Executor::HasRoomOrTells(ExecTask& task) {
  std::lock_guard lock(process_.mutex());
  task.production->tells = !queue_.HasRoom(task);
  return !task.production->tells;
}

void Executor::OnItemsTaken(const Link& link, const wire::ItemsTaken& taken) {
  queue_.OnItemsTaken(link, taken);
  TellOfRoom();
}

void Executor::OnLinkBroken(Link& link) {
  queue_.OnLinkBroken(link);
  TellOfRoom();
}

void Executor::TellOfRoom() {
  for (const ExecTask* task : queue_.TakeThoseWithRoom()) {
    Event event;
    event.kind = Event::Kind::kRoom;
    event.token = task->number;
    PushEvent(std::move(event), *task);
  }
}

void Executor::Abandon(std::unique_ptr<ExecTask> task) {
  std::lock_guard lock(process_.mutex());
  queue_.Abandon(std::move(task));
}

bool Executor::OwnerOfResults(ExecTask& task, Address* owner) {
  std::lock_guard lock(process_.mutex());
  const Address* submitter = queue_.ResultsFor(task);
  if (submitter != nullptr) *owner = *submitter;
  return submitter != nullptr;
}

void Executor::BecomeActor(const std::vector<CallGroup>& groups, bool loops_of_groups) {
  std::lock_guard lock(process_.mutex());
  queue_.BecomeActor(groups);
  loops_of_groups_ = loops_of_groups;
  if (loops_of_groups) events_.ServeGroups();
}

void Executor::ActorReady(const ActorId& id, uint32_t incarnation, bool ok,
                          std::string_view error) {
  ValuePtr instead;
  if (error.size() > kMaxErrorBytes) {
    instead = SystemError(ErrorKind::kActorDied,
                          "its constructor raised an error that takes " +
                              std::to_string(error.size()) + " bytes, more than the " +
                              std::to_string(kMaxErrorBytes) + " of which callers are told",
                          id);
    error = {reinterpret_cast<const char*>(instead->data()), instead->size()};
  }
  std::lock_guard lock(process_.mutex());
  builder_.Clear();
  auto bytes = builder_.CreateVector(reinterpret_cast<const uint8_t*>(error.data()), error.size());
  builder_.Finish(wire::CreateActorReady(builder_, wire::ToWire(id), incarnation, ok, bytes));
  process_.raylet().Send(FrameType::kActorReady, builder_);
  process_.FlushAll();
}

void Executor::WorkerExiting(bool intended, const std::string& reason) {
  std::lock_guard lock(process_.mutex());
  queue_.Close();
  SendExiting(intended, reason);
}

void Executor::Retire(const std::string& reason) {
  std::lock_guard lock(process_.mutex());
  BeginToRetire(reason);
}

void Executor::BeginToRetire(const std::string& reason) {
  if (std::exchange(retired_, true)) return;
  retired_for_ = reason;
  queue_.Close();
  on_retire_();
  if (!queue_.is_actor()) SendExiting(/*intended=*/true, reason, /*when_unused=*/true);
  process_.FlushAll();
}

void Executor::Hold(bool held) {
  queue_.Hold(held);
  if (held) return;
  process_.poller().WakeWaiters();
  loop_.Wake();
}

void Executor::LookWhetherToEnd() {
  if (!asked_to_end_.exchange(false)) return;
  ends_used_ = true;
  BeginToRetire("its process got SIGTERM");
  process_.poller().WakeWaiters();
  loop_.Wake();
}

bool Executor::TakeEnd(Event* event) {
  if (!events_.empty() || !IsOver()) return false;
  event->kind = Event::Kind::kExit;
  event->flag = !queue_.is_actor();  // an actor may be restarted
  event->text = retired_for_;
  return true;
}

bool Executor::IsOver() const {
  if (!retired_ || !queue_.AllAnswered() || (!ends_used_ && in_use_())) return false;
  const auto& links = process_.links().all();
  return std::all_of(links.begin(), links.end(), [this](const auto& found) {
    const Link& link = *found.second;
    if (link.state == Link::State::kBroken) return true;
    return (ends_used_ || link.given.empty()) && !process_.links().HasUnsent(link);
  });
}

void Executor::SendExiting(bool intended, const std::string& reason, bool when_unused) {
  builder_.Clear();
  auto text = builder_.CreateString(reason);
  builder_.Finish(wire::CreateWorkerExiting(builder_, intended, text, when_unused));
  process_.raylet().Send(FrameType::kWorkerExiting, builder_);
  process_.FlushAll();
}

void Executor::SetInterrupt(std::function<void()> interrupt) {
  std::lock_guard lock(process_.mutex());
  interrupt_ = std::move(interrupt);
}

uint64_t Executor::OnCancel(Link& link, const wire::CancelTask& cancel) {
  const ExecTask* task = queue_.OnCancel(link, cancel.tag(), cancel.recursive());
  loop_.Wake();  // what stood behind it
  if (task == nullptr) return 0;
  if (queue_.is_actor() || !cancel.force()) Interrupt(*task);
  return task->number;
}

void Executor::Interrupt(const ExecTask& task) {
  if (!queue_.is_actor()) return interrupt_();
  Event event;
  event.kind = Event::Kind::kCancel;
  event.token = task.number;
  PushEvent(std::move(event), task);
}

void Executor::PushEvent(Event event, const ExecTask& task) {
  if (task.group > 0) return events_.PushOfGroup(std::move(event));
  events_.Push(std::move(event));
  loop_.Wake();
}

void Executor::RunTimers(int64_t now_ns) {
  bool over = false;
  while (ExecTask* task = queue_.TakeDue(now_ns, &over)) {
    if (over) {
      queue_.AnswerTimedOut(*task);
      EndByForce(queue_.is_actor() ? std::string(kOverTime) + task->tmpl->name +
                                         " did not end when it was told to"
                                   : "a task that ran there, " + task->tmpl->name +
                                         ", ran over its timeout_s and did not end when told to");
    }
    cancel_children_(task->number);
    Interrupt(*task);
  }
}

void Executor::EndByForce(const std::string& why) {
  // An actor that its call kept busy may be restarted.
  SendExiting(/*intended=*/!queue_.is_actor(), why);
  ::_exit(1);
}

void Executor::OnAssignActor(const wire::AssignActor& assign) {
  if (assign.spec() == nullptr || assign.actor_id() == nullptr) return;
  flatbuffers::Verifier verifier(assign.spec()->data(), assign.spec()->size());
  if (!verifier.VerifyBuffer<wire::ActorSpec>(nullptr)) return;
  const auto* spec = flatbuffers::GetRoot<wire::ActorSpec>(assign.spec()->data());
  ExecTemplate tmpl;
  tmpl.function_id = wire::FromWireOrNil(spec->class_id());
  tmpl.job_id = wire::FromWireOrNil(spec->job_id());
  tmpl.name = flatbuffers::GetString(spec->class_name());
  tmpl.max_concurrency = std::max(1u, spec->max_concurrency());
  Event event;
  event.kind = Event::Kind::kBecomeActor;
  event.id = std::string(wire::FromWire(*assign.actor_id()).view());
  event.number = assign.incarnation();
  event.label = tmpl.name;
  event.token = tmpl.max_concurrency;
  if (spec->extra() != nullptr) {
    event.text.assign(reinterpret_cast<const char*>(spec->extra()->data()), spec->extra()->size());
  }
  if (assign.gpu_ids() != nullptr) {
    event.gpu_ids.assign(assign.gpu_ids()->begin(), assign.gpu_ids()->end());
  }
  queue_.BecomeActor({CallGroup{}});
  queue_.PushCreation(*spec, queue_.Intern(std::move(tmpl)));
  events_.Push(std::move(event));
}

void Executor::SetBlocked(bool blocked) {
  queue_.SetBlocked(blocked);
  blocked_threads_ += blocked ? 1 : -1;
  if (blocked_threads_ != (blocked ? 1 : 0)) return;
  builder_.Clear();
  builder_.Finish(wire::CreateBlocked(builder_, blocked));
  process_.raylet().Send(FrameType::kBlocked, builder_);
  process_.raylet().Flush();
}

}  // namespace cyray::core
