#include "cyray/core/task_submitter.h"

#include <algorithm>
#include <array>

#include "cyray/core/lease_choice.h"
#include "cyray/core/system_error.h"
#include "cyray/util/log.h"
#include "cyray/util/sentence.h"
#include "cyray/wire/convert.h"

namespace cyray::core {
namespace {

using wire::FrameType;

// Less queued work than this is not worth moving to another worker that is idle.
constexpr double kStealWorthUs = 250;
// How often it is tried to reach who counts permits, when the connection was lost.
constexpr int64_t kTellAgainNs = 100'000'000;
}  // namespace

TaskSubmitter::TaskSubmitter(ObjectDirectory& objects, LinkOutbox& links, RayletOutbox& raylet,
                             TaskCompletion& completion, TaskSlab& slab)
    : objects_(objects),
      links_(links),
      raylet_(raylet),
      completion_(completion),
      slab_(slab),
      permits_(links) {
  permits_.set_hooks({[this](const PermitTable::Answer& answer) { OnPermits(answer); },
                      [this] { TellAllPermits(); }, [this] { TickAt(links_.NowNs()); }});
}

void TaskSubmitter::Submit(PendingTask* task) {
  // Counted up first: asking for an argument may show at once that its owner is dead.
  task->unresolved = 1;
  for (ObjectEntry* entry : task->refs) {
    if (entry->ready()) continue;
    ++task->unresolved;
    objects_.AddDependent(entry, task->tag());
  }
  if (--task->unresolved == 0) Enqueue(task, false);
}

void TaskSubmitter::OnArgumentReady(PendingTask* task) {
  if (--task->unresolved == 0) Enqueue(task, false);
}

void TaskSubmitter::Enqueue(PendingTask* task, bool front) {
  if (!task->refs.empty()) {
    if (ValuePtr error = completion_.FailedArgument(task)) {
      return completion_.Fail(task, std::move(error));
    }
  }
  Shape& shape = *task->tmpl->shape;
  front ? shape.ready.Prepend(task) : shape.ready.Append(task);
  Pump(shape);
}

void TaskSubmitter::Cancel(PendingTask* task, const Cancellation& how) {
  if (task->lease != nullptr) {
    task->cancelled = true;
    task->forced |= how.force;
    return completion_.SendCancel(*task->lease->link, *task, how);
  }
  Shape& shape = *task->tmpl->shape;
  if (task->place == Place::kQueue) shape.ready.Remove(task);
  completion_.Cancel(task);
  Pump(shape);  // nobody may wait for a worker any more
}

void TaskSubmitter::Pump(Shape& shape) {
  while (!shape.ready.empty()) {
    Lease* lease = LeaseFor(shape, *shape.ready.first->tmpl);
    if (lease == nullptr) break;
    PendingTask* task = shape.ready.TakeFirst();
    if (!task->refs.empty()) {  // an argument may have been lost since
      if (ValuePtr error = completion_.FailedArgument(task)) {
        completion_.Fail(task, std::move(error));
        continue;
      }
    }
    PushOn(*lease, task);
  }
  if (shape.limited()) SettlePermits(shape);
  if (!shape.ready.empty()) {
    AskForWorkers(shape, 0);
  } else if (!shape.requests.empty() && CountStuck(shape, links_.NowNs()) == 0) {
    CancelRequests(shape, 0);
    const bool waits = std::any_of(shape.leases.begin(), shape.leases.end(),
                                   [](const auto& lease) { return lease->in_flight.count > 1; });
    if (waits) TickAt(links_.NowNs() + kStealAfterNs);  // the next one may be slow, too
  }
}

Lease* TaskSubmitter::LeaseFor(const Shape& shape, const TaskTemplate& tmpl) const {
  if (!UsesCrew(shape, tmpl)) return ChooseLease(shape, tmpl, 0).emptiest;
  const int64_t now = links_.NowNs();
  const LeaseChoice choice = ChooseLease(shape, tmpl, now);
  const bool wakes = choice.emptiest != nullptr && choice.emptiest->in_flight.count == 0;
  return wakes && CountBusy(shape, now) >= shape.crew.size ? choice.busy : choice.emptiest;
}

void TaskSubmitter::PushOn(Lease& lease, PendingTask* task) {
  const bool was_idle = lease.in_flight.count == 0;
  task->lease = &lease;
  task->waits_there = false;
  lease.in_flight.Append(task);
  if (task->tmpl->average_us > 0) lease.queued_us += task->tmpl->average_us;
  if (was_idle) lease.last_reply_ns = links_.NowNs();
  completion_.Push(*lease.link, task, lease.gpu_ids);
  if (was_idle) {
    links_.Flush(*lease.link);
  } else {
    links_.FlushSoon(*lease.link);
    if (lease.in_flight.count == 2) TickAt(lease.last_reply_ns + kStealAfterNs);
  }
}

void TaskSubmitter::AskForWorkers(Shape& shape, size_t stuck) {
  const size_t want = shape.ready.count + stuck;
  const TaskTemplate* const tmpl = NextTemplate(shape);
  if (tmpl == nullptr || !UsesCrew(shape, *tmpl)) return RequestLeases(shape, want);
  const int64_t now = links_.NowNs();
  AdjustCrew(shape, now);
  const size_t serving = CountServing(shape, now);
  const size_t more = serving < shape.crew.size ? std::min(want, shape.crew.size - serving) : 0;
  CancelRequests(shape, more);
  RequestLeases(shape, more);
  TickAt(now + kLookAgainNs);
}

void TaskSubmitter::RequestLeases(Shape& shape, size_t want) {
  if (!raylet_.connected()) return;  // every task fails in a moment (FailAll)
  want = std::min(want, kMaxLeaseRequests);
  if (shape.limited()) want = std::min(want, shape.requests.size() + FreePermits(shape));
  while (shape.requests.size() < want) {
    const uint64_t id = raylet_.NextRequestId();
    auto& b = builder_;
    b.Clear();
    auto demand = wire::ToWire(b, shape.key.demand);
    // Where the arguments of the next task are; leases are shared, so it is a hint.
    std::vector<wire::NodeBytes> locality;
    if (!shape.ready.empty()) {
      for (const ObjectEntry* entry : shape.ready.first->refs) {
        if (entry->state != ObjectState::kStored) continue;
        for (const NodeId& node : entry->extra->locations) {
          locality.emplace_back(*wire::ToWire(node), entry->extra->stored_bytes);
        }
      }
    }
    auto places = b.CreateVectorOfStructs(locality);
    auto labels = wire::ToWire(b, shape.key.labels);
    b.Finish(wire::CreateRequestLease(b, id, demand,
                                      static_cast<wire::SchedulingStrategy>(shape.key.strategy),
                                      wire::ToWire(shape.key.affinity_node),
                                      shape.key.affinity_soft, places, labels, shape.key.priority));
    shape.requests.push_back(id);
    ++shape.unanswered;
    raylet_.Request(id, FrameType::kRequestLease, b, [this, &shape, id](wire::Frame* frame) {
      OnLeaseReply(shape, id, frame != nullptr ? frame->As<wire::LeaseReply>() : nullptr);
    });
  }
  CountRequests(shape);
  raylet_.Flush();
}

void TaskSubmitter::CancelRequests(Shape& shape, size_t keep) {
  // The raylet answers a cancelled request too (not ok), or with the lease it had granted already.
  for (size_t i = keep; i < shape.requests.size(); ++i) {
    builder_.Clear();
    builder_.Finish(wire::CreateCancelLease(builder_, shape.requests[i]));
    raylet_.Send(FrameType::kCancelLease, builder_);
  }
  shape.requests.resize(std::min(keep, shape.requests.size()));
  CountRequests(shape);
}

void TaskSubmitter::OnLeaseReply(Shape& shape, uint64_t request_id, const wire::LeaseReply* reply) {
  --shape.unanswered;
  const bool asked = std::erase(shape.requests, request_id) > 0;
  CountRequests(shape);
  if (reply == nullptr) return;
  if (!reply->ok()) {
    if (!asked || shape.ready.empty()) {
      if (shape.limited()) Pump(shape);  // its permit is free
      return;
    }
    // Unschedulable for good: every task of this shape gets to know.
    const std::string why = reply->error() != nullptr ? reply->error()->str() : "";
    const bool removed = reply->refusal() == wire::LeaseRefusal::GroupRemoved;
    const ValuePtr error =
        SystemError(removed ? ErrorKind::kTaskGroupRemoved : ErrorKind::kUnschedulable, why);
    while (PendingTask* task = shape.ready.TakeFirst()) completion_.Fail(task, error);
    if (shape.limited()) SettlePermits(shape);
    return;
  }
  auto owned = std::make_unique<Lease>();
  Lease* lease = owned.get();
  lease->id = reply->lease_id();
  lease->shape = &shape;
  lease->in_flight.tally = tally_;
  lease->worker = wire::FromWireOrNil(reply->worker());
  lease->worker_pid = reply->worker_pid();
  if (reply->gpu_ids() != nullptr) {
    lease->gpu_ids.assign(reply->gpu_ids()->begin(), reply->gpu_ids()->end());
  }
  lease->link = &links_.To(lease->worker);
  shape.leases.push_back(std::move(owned));
  if (!std::exchange(shape.has_leases, true)) with_leases_.push_back(&shape);
  leases_by_worker_[lease->worker.worker].push_back(lease);
  if (lease->link->state == Link::State::kBroken) {
    lease->broken = lease->exiting = true;  // else it would be granted again at once
    ReturnLease(*lease);
    return Pump(shape);
  }
  Pump(shape);
  if (lease->in_flight.count == 0) return BecameIdle(*lease);
  // A task that came meanwhile has the worker that was asked for those behind a slow one.
  if (const size_t stuck = CountStuck(shape, links_.NowNs()); stuck > 0) {
    AskForWorkers(shape, stuck);
  }
}

Lease* TaskSubmitter::FindLease(const Address& worker) {
  auto it = leases_by_worker_.find(worker.worker);
  return it == leases_by_worker_.end() ? nullptr : it->second.front();
}

void TaskSubmitter::OnTaskReply(Link& link, PendingTask* task, const wire::TaskReply& reply) {
  Lease* lease = task->lease;
  if (lease == nullptr || lease->link != &link) {
    return completion_.Disregard(link, task, reply);  // from a past attempt, or said twice
  }
  Shape& shape = *lease->shape;
  TaskTemplate* tmpl = task->tmpl;
  const bool was_first = lease->in_flight.first == task;
  lease->in_flight.Remove(task);
  task->lease = nullptr;
  if (tmpl->average_us > 0) lease->queued_us = std::max(0.0, lease->queued_us - tmpl->average_us);
  if (lease->in_flight.count == 0) lease->queued_us = 0;
  // What runs there goes on when others come back.
  const bool ran = reply.status() != wire::TaskStatus::HandedBack &&
                   (reply.status() != wire::TaskStatus::Cancelled || reply.run_us() > 0);
  if (ran) lease->last_reply_ns = links_.NowNs();
  if (reply.leaves()) lease->exiting = true;

  switch (reply.status()) {
    case wire::TaskStatus::Cancelled:
    case wire::TaskStatus::TimedOut:
    case wire::TaskStatus::TimedOutEnding:
      if (was_first) lease->hold = false;
      completion_.ResolveCancelled(link, task, reply, lease->worker_pid);
      break;
    case wire::TaskStatus::HandedBack:
    case wire::TaskStatus::WorkerExiting:
      if (reply.status() == wire::TaskStatus::WorkerExiting) {
        lease->exiting = true;
      } else if (lease->asked_back == AskedBack::kNothing) {
        lease->hold = true;
      }
      // Handed back in order, pushed to the front in order: the last comes out first, which for
      // independent tasks does not matter.
      task->cancelled ? completion_.Cancel(task) : shape.ready.Prepend(task);
      break;
    case wire::TaskStatus::Error:
      if (reply.retry() && task->retries_left != 0) {
        if (task->retries_left > 0) --task->retries_left;
        ++task->attempt;
        completion_.Disregard(link, task, reply);
        task->cancelled ? completion_.Cancel(task) : shape.ready.Append(task);
        break;
      }
      [[fallthrough]];
    default: {
      NoteRun(*tmpl, reply.run_us());
      shape.crew.ran_us += reply.run_us();
      ++shape.crew.answers;
      if (was_first) lease->hold = false;
      completion_.Resolve(link, task, reply);
    }
  }
  if (lease->in_flight.count <= 1) lease->asked_back = AskedBack::kNothing;
  if (lease->in_flight.count == 0) {
    lease->hold = false;
    if (lease->reclaimed || lease->exiting) {
      ReturnLease(*lease);
      return Pump(shape);
    }
  }
  Pump(shape);
  // Pump may have returned nothing to a lease that is free now.
  if (lease->in_flight.count == 0) BecameIdle(*lease);
}

void TaskSubmitter::OnTaskProgress(Link& link, PendingTask* task, bool begun) {
  if (task->lease != nullptr && task->lease->link == &link) task->waits_there = !begun;
}

void TaskSubmitter::BecameIdle(Lease& lease) {
  lease.idle_since_ns = links_.NowNs();
  TickAt(lease.idle_since_ns + KeepIdleNs(*lease.shape));
  StealFor(*lease.shape, lease);
}

void TaskSubmitter::StealFor(Shape& shape, Lease& thief) {
  const TaskTemplate* const tmpl = NextTemplate(shape);
  if (tmpl == nullptr) return;
  const int64_t now = links_.NowNs();
  if (UsesCrew(shape, *tmpl) && CountBusy(shape, now) >= shape.crew.size) {
    return TickAt(now + kLookAgainNs);
  }
  for (const auto& lease : shape.leases) {
    if (lease.get() == &thief || lease->in_flight.count < 2 || lease->broken ||
        lease->asked_back == AskedBack::kAll) {
      continue;
    }
    const bool slow = IsSlow(*lease, now);
    if (!slow && (lease->queued_us < kStealWorthUs || lease->asked_back == AskedBack::kHalf)) {
      TickAt(lease->last_reply_ns + kStealAfterNs);
      continue;
    }
    // One of them runs and does not come back.
    return AskBack(*lease, slow ? 0 : (lease->in_flight.count - 1) / 2);
  }
}

void TaskSubmitter::AskBack(Lease& lease, uint32_t all_but) {
  lease.asked_back = all_but == 0 ? AskedBack::kAll : AskedBack::kHalf;
  builder_.Clear();
  builder_.Finish(wire::CreateStealTasks(builder_, all_but));
  links_.Send(*lease.link, FrameType::kStealTasks, builder_);
  links_.Flush(*lease.link);
}

void TaskSubmitter::ReturnLease(Lease& lease) {
  builder_.Clear();
  builder_.Finish(
      wire::CreateReturnLease(builder_, lease.id, wire::ToWire(lease.worker), lease.exiting));
  raylet_.Send(FrameType::kReturnLease, builder_);
  raylet_.Flush();
  auto& by_worker = leases_by_worker_[lease.worker.worker];
  std::erase(by_worker, &lease);
  if (by_worker.empty()) leases_by_worker_.erase(lease.worker.worker);
  Shape& shape = *lease.shape;
  std::erase_if(shape.leases, [&](const auto& owned) { return owned.get() == &lease; });
  if (shape.limited()) SettlePermits(shape);
}

void TaskSubmitter::OnReclaim(uint64_t lease_id, const Address& worker) {
  auto it = leases_by_worker_.find(worker.worker);
  if (it == leases_by_worker_.end()) return;
  for (Lease* lease : it->second) {
    if (lease->id != lease_id) continue;
    if (lease->in_flight.count == 0) {
      Shape& shape = *lease->shape;
      ReturnLease(*lease);
      return Pump(shape);
    }
    lease->reclaimed = true;
    // Only what runs now stays with the worker: others wait for it.
    if (lease->in_flight.count > 1 && lease->asked_back != AskedBack::kAll) AskBack(*lease, 0);
    return;
  }
}

void TaskSubmitter::OnLinkBroken(Link& link, const std::string& reason) {
  auto it = leases_by_worker_.find(link.peer.worker);
  if (it == leases_by_worker_.end()) return;
  const int64_t now = links_.NowNs();
  for (Lease* lease : it->second) {
    lease->broken = true;
    lease->broken_at_ns = now;
    lease->broken_why = reason;
    TickAt(links_.NewsDueNs(lease->worker, now));
  }
}

void TaskSubmitter::OnGroupRemoved(const Address& worker) {
  const auto it = leases_by_worker_.find(worker.worker);
  if (it == leases_by_worker_.end()) return;
  for (Lease* lease : it->second) lease->group_removed = true;
}

void TaskSubmitter::OnLeaseBroken(const Address& worker, const std::string& reason,
                                  const BegunTags& begun) {
  while (Lease* lease = FindLease(worker)) {
    Shape& shape = *lease->shape;
    lease->broken = true;
    Requeue(*lease, reason, begun);
    ReturnLease(*lease);
    Pump(shape);
  }
}

ValuePtr TaskSubmitter::CrashError(const PendingTask& task, const Lease& lease,
                                   const std::string& reason) {
  const int worker_pid = lease.worker_pid;
  const std::string worker = "The worker (pid " + std::to_string(worker_pid) + ") ";
  const std::string& name = NameOf(task);
  if (lease.group_removed) {
    return SystemError(ErrorKind::kTaskGroupRemoved,
                       "The task " + name + " was ended while it ran: " + Sentence(reason));
  }
  if (task.forced) {
    return SystemError(ErrorKind::kWorkerCrashed, worker + "was ended, as " + name +
                                                      ", which it ran, was cancelled by force.");
  }
  return SystemError(ErrorKind::kWorkerCrashed, worker + "died while it ran " + name +
                                                    ", and no retry is left: " + Sentence(reason));
}

std::vector<PendingTask*> TaskSubmitter::Begun(const Lease& lease, const BegunTags& tags) {
  if (!tags) return LikelyBegun(lease);
  std::vector<PendingTask*> begun;
  for (PendingTask* task = lease.in_flight.first; task != nullptr; task = task->next) {
    if (std::find(tags->begin(), tags->end(), task->tag()) != tags->end()) begun.push_back(task);
  }
  return begun;
}

std::vector<PendingTask*> TaskSubmitter::LikelyBegun(const Lease& lease) {
  // A worker takes its tasks in order, but for those that wait for arguments. One is on its main
  // thread; of a function that allows several at once there may be as many, on others.
  std::vector<PendingTask*> begun;
  bool main_thread_is_taken = false;
  std::vector<std::pair<const TaskTemplate*, uint32_t>> at_once;
  for (PendingTask* task = lease.in_flight.first; task != nullptr; task = task->next) {
    if (task->waits_there) continue;
    const TaskTemplate* tmpl = task->tmpl;
    if (tmpl->max_concurrency <= 1) {
      if (!std::exchange(main_thread_is_taken, true)) begun.push_back(task);
      continue;
    }
    auto count = std::find_if(at_once.begin(), at_once.end(),
                              [tmpl](const auto& item) { return item.first == tmpl; });
    if (count == at_once.end()) count = at_once.insert(at_once.end(), {tmpl, 0});
    if (count->second++ < tmpl->max_concurrency) begun.push_back(task);
  }
  return begun;
}

void TaskSubmitter::Requeue(Lease& lease, const std::string& reason, const BegunTags& begun) {
  std::vector<PendingTask*> failed, cancelled;
  for (PendingTask* task : Begun(lease, begun)) {
    completion_.NoteAbandoned(task, lease.worker.node);
    const bool is_last = lease.group_removed || task->retries_left == 0;
    if (task->forced || (is_last && !task->cancelled)) {
      lease.in_flight.Remove(task);
      task->lease = nullptr;
      failed.push_back(task);
      continue;
    }
    if (task->retries_left > 0) --task->retries_left;
    ++task->attempt;
  }
  // What never began loses no attempt. All go to the front, in the order in which they were pushed.
  while (PendingTask* task = lease.in_flight.last) {
    lease.in_flight.Remove(task);
    task->lease = nullptr;
    if (task->cancelled) {
      cancelled.push_back(task);
    } else {
      lease.shape->ready.Prepend(task);
    }
  }
  lease.queued_us = 0;
  for (PendingTask* task : failed) {
    completion_.Fail(task, CrashError(*task, lease, reason));
  }
  for (PendingTask* task : cancelled) completion_.Cancel(task);
}

void TaskSubmitter::Tick(int64_t now_ns) {
  next_tick_ns_ = kForever;
  ticked_ns_ = now_ns;
  std::vector<Lease*> silent;
  std::erase_if(with_leases_, [](Shape* shape) {
    shape->has_leases = !shape->leases.empty();
    return !shape->has_leases;
  });
  for (size_t i = 0; i < with_leases_.size(); ++i) TickShape(*with_leases_[i], now_ns, silent);
  for (const auto& [number, shape] : limited_) ReturnOwed(*shape);
  if (!permits_.TellAgain()) TickAt(now_ns + kTellAgainNs);
  std::vector<std::pair<Address, std::string>> gone;
  for (Lease* lease : silent) {
    lease->exiting = true;  // the raylet ends the worker: it is of no use to anybody here
    gone.emplace_back(lease->worker, "the connection to its worker broke: " + lease->broken_why);
  }
  for (const auto& [worker, reason] : gone) OnLeaseBroken(worker, reason);
}

void TaskSubmitter::TickShape(Shape& shape, int64_t now_ns, std::vector<Lease*>& silent) {
  for (size_t i = 0; i < shape.leases.size();) {
    Lease& lease = *shape.leases[i];
    if (lease.broken_at_ns != 0) {
      const int64_t due = links_.NewsDueNs(lease.worker, lease.broken_at_ns);
      if (due > now_ns) {
        TickAt(due);
      } else if (links_.IsWithoutNews(lease.worker, lease.broken_at_ns, now_ns)) {
        silent.push_back(&lease);
      } else {
        TickAt(now_ns + LinkOutbox::kLookForNewsNs);
      }
    }
    if (lease.in_flight.count > 0 || lease.broken) {
      if (lease.in_flight.count > 1 && !IsSlow(lease, now_ns)) TickAt(now_ns + kLookAgainNs);
      ++i;
      continue;
    }
    if (now_ns - lease.idle_since_ns >= KeepIdleNs(shape)) {
      ReturnLease(lease);
      continue;
    }
    StealFor(shape, lease);
    TickAt(lease.idle_since_ns + KeepIdleNs(shape));
    ++i;
  }
  // The crew goes on without a worker that waits: what is behind its task is theirs.
  const TaskTemplate* const next = NextTemplate(shape);
  for (size_t i = 0; next != nullptr && UsesCrew(shape, *next) && i < shape.leases.size(); ++i) {
    Lease& lease = *shape.leases[i];
    if (IsStuck(lease, now_ns) && Waits(lease, now_ns)) AskBack(lease, 0);
  }
  if (!shape.ready.empty()) Pump(shape);
  if (const size_t stuck = CountStuck(shape, now_ns); stuck > 0) AskForWorkers(shape, stuck);
}

void TaskSubmitter::FailAll(const ValuePtr& error) {
  for (auto& shape : shapes_) {
    shape->requests.clear();
    if (shape->kin != nullptr) CountRequests(*shape);
    std::vector<PendingTask*> failed;
    while (PendingTask* task = shape->ready.TakeFirst()) failed.push_back(task);
    for (auto& lease : shape->leases) {
      lease->broken = true;
      while (PendingTask* task = lease->in_flight.first) {
        lease->in_flight.Remove(task);
        task->lease = nullptr;
        failed.push_back(task);
      }
    }
    for (PendingTask* task : failed) completion_.Fail(task, error);
  }
}

void TaskSubmitter::CheckInvariants() const {
  size_t leases = 0;
  for (const auto& shape : shapes_) {
    for (const PendingTask* task = shape->ready.first; task != nullptr; task = task->next) {
      CYRAY_CHECK(task->live && task->lease == nullptr && !task->waiting_for_args());
      CYRAY_CHECK(task->tmpl->shape == shape.get()) << task->id.Hex();
      CYRAY_CHECK(task->place == Place::kQueue && !task->cancelled) << task->id.Hex();
    }
    CheckPermits(*shape);
    CYRAY_CHECK(shape->leases.empty() || shape->has_leases) << shape->key.demand.ToString();
    for (const auto& lease : shape->leases) {
      const auto& there = leases_by_worker_.at(lease->worker.worker);
      CYRAY_CHECK(std::count(there.begin(), there.end(), lease.get()) == 1) << lease->id;
      uint32_t count = 0;
      for (const PendingTask* task = lease->in_flight.first; task != nullptr; task = task->next) {
        CYRAY_CHECK(task->live && task->lease == lease.get()) << task->id.Hex();
        ++count;
      }
      CYRAY_CHECK(count == lease->in_flight.count) << count << " of " << lease->in_flight.count;
      ++leases;
    }
  }
  for (const auto& [worker, there] : leases_by_worker_) leases -= there.size();
  CYRAY_CHECK(leases == 0) << "leases are listed that no shape has";
}

void TaskSubmitter::Describe(std::string& out) const {
  for (const auto& shape : shapes_) {
    if (shape->ready.empty() && shape->requests.empty() && shape->leases.empty()) continue;
    out += "shape {" + shape->key.demand.ToString() + "}: " + std::to_string(shape->ready.count) +
           " ready, " + std::to_string(shape->requests.size()) + " lease requests\n";
    if (shape->limited()) {
      out += "  of " + std::to_string(shape->key.max_running) + " that may run at once it has " +
             std::to_string(shape->permits.held()) + ", lacks " +
             std::to_string(shape->permits.told_lacking) + " and owes " +
             std::to_string(shape->permits.owed()) + "\n";
    }
    for (const auto& lease : shape->leases) {
      out += "  lease " + std::to_string(lease->id) + " on " + lease->worker.ToString() + " pid " +
             std::to_string(lease->worker_pid) + ": " + std::to_string(lease->in_flight.count) +
             " in flight" + (lease->hold ? ", blocked" : "") + (lease->broken ? ", broken" : "") +
             "\n";
    }
  }
}

}  // namespace cyray::core
