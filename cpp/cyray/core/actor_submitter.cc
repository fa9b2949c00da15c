#include "cyray/core/actor_submitter.h"

#include <algorithm>
#include <utility>

#include "cyray/core/system_error.h"
#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace cyray::core {

using wire::FrameType;

namespace {

// A line for each of what is known of an actor besides its id, before the text of its error.
std::string About(const ActorClient& client) {
  std::string out;
  if (!client.class_name.empty()) out += "\tclass_name: " + client.class_name + "\n";
  if (!client.name.empty()) out += "\tname: " + client.name + "\n";
  return out;
}
std::string AboutDead(const ActorClient& client, const wire::ActorUpdate& update) {
  std::string out = About(client);
  const std::string ip = flatbuffers::GetString(update.node_ip());
  const NodeId node = wire::FromWireOrNil(update.node_id());
  if (update.pid() > 0) out += "\tpid: " + std::to_string(update.pid()) + "\n";
  if (!ip.empty()) out += "\tip: " + ip + "\n";
  if (!node.is_nil()) out += "\tnode_id: " + node.Hex() + "\n";
  return out;
}

size_t BytesOf(const PendingTask& task) { return task.args ? task.args->size() : 0; }

// What the process of an actor had to do when it ended: the first call is likely the one that ran.
std::string InFlight(const ActorClient& client) {
  if (client.limbo.empty()) return {};
  const std::string others =
      client.limbo.count == 1 ? "" : ", and " + std::to_string(client.limbo.count - 1) + " more";
  return "\n  In flight was the call " + NameOf(*client.limbo.first) + others + ".";
}

// Counts the tasks of this process (TaskIds).
uint64_t Sequence(const TaskId& id) {
  uint64_t sequence = 0;
  std::memcpy(&sequence, id.data() + 6, 6);
  return sequence;
}

}  // namespace

ActorSubmitter::ActorSubmitter(LinkOutbox& links, RayletOutbox& raylet, TaskCompletion& completion)
    : links_(links), raylet_(raylet), completion_(completion) {}

// --- Clients and their handles ---

ActorClient& ActorSubmitter::Client(const ActorId& id) {
  auto& slot = clients_[id];
  if (!slot) {
    slot = std::make_unique<ActorClient>();
    slot->id = id;
    slot->in_flight.tally = tally_;
    slot->first_call = slot->next_call = next_call_;
    slot->idle_at = idle_.insert(idle_.end(), slot.get());
  }
  return *slot;
}

ActorClient* ActorSubmitter::Acquire(const ActorId& id) {
  ActorClient& client = Client(id);
  if (client.handles++ == 0) {
    idle_.erase(*client.idle_at);
    client.idle_at.reset();
  }
  return &client;
}

void ActorSubmitter::Release(ActorClient* client) {
  if (--client->handles > 0) return;
  client->idle_at = idle_.insert(idle_.end(), client);
  ForgetIdle();
}

void ActorSubmitter::ForgetIdle() {
  // Each client that becomes idle makes two others be looked at: those with calls pending are put
  // off and so looked at again later.
  for (int i = 0; i < 2 && idle_.size() > kMaxIdle; ++i) {
    ActorClient& client = *idle_.front();
    if (!client.unused() || client.answering) {
      idle_.splice(idle_.end(), idle_, idle_.begin());
    } else {
      Forget(client);
    }
  }
}

void ActorSubmitter::Forget(ActorClient& client) {
  if (client.subscribed) SendSubscribe(client, false);
  if (client.link != nullptr) {
    auto it = by_worker_.find(client.link->peer.worker);
    std::erase(it->second, &client);
    if (it->second.empty()) by_worker_.erase(it);
  }
  HasNews(client);
  next_call_ = std::max(next_call_, client.next_call);
  idle_.erase(*client.idle_at);
  clients_.erase(ActorId(client.id));
}

void ActorSubmitter::SendSubscribe(const ActorClient& client, bool subscribe) {
  flatbuffers::FlatBufferBuilder b;
  b.Finish(wire::CreateSubscribeActor(b, wire::ToWire(client.id), subscribe));
  raylet_.Send(FrameType::kSubscribeActor, b);
  raylet_.Flush();
}

void ActorSubmitter::Subscribe(ActorClient& client) {
  if (!std::exchange(client.subscribed, true)) SendSubscribe(client, true);
}

// --- Calls ---

void ActorSubmitter::Submit(ActorClient* client, PendingTask* task, ObjectDirectory& objects) {
  task->actor = client;
  client->bytes += BytesOf(*task);  // until it is freed (TaskSlab)
  if (client->passes > 0) --client->passes;
  if (client->death_error) return completion_.Fail(task, client->death_error);
  if (client->unreachable && !Reconnect(*client)) {
    return completion_.Fail(task, client->unreachable);
  }
  if (client->state == wire::ActorState::Restarting && task->retries_left == 0) {
    return completion_.Fail(
        task,
        SystemError(ErrorKind::kActorUnavailable,
                    About(*client) +
                        "The actor is being restarted, as its process has ended, and this call "
                        "did not run. With `max_task_retries` calls wait until it is there.",
                    client->id));
  }
  Subscribe(*client);
  if (client->saved && task->retries_left != 0) task->call = client->next_call++;
  // Counted up first: asking for an argument may show at once that its owner is dead.
  task->unresolved = 1;
  for (ObjectEntry* entry : task->refs) {
    if (entry->ready()) continue;
    ++task->unresolved;
    objects.AddDependent(entry, task->tag());
  }
  --task->unresolved;
  CallLane& lane = client->LaneOf(*task);
  if (task->waiting_for_args() && !lane.group.in_order) {
    lane.waiting.Append(task);
  } else {
    Enqueue(*client, task);
  }
}

void ActorSubmitter::Enqueue(ActorClient& client, PendingTask* task) {
  CallLane& lane = client.LaneOf(*task);
  lane.queue.Append(task);
  Pump(client, lane);
}

void ActorSubmitter::Cancel(PendingTask* task, bool recursive) {
  ActorClient& client = *task->actor;
  CallLane& lane = client.LaneOf(*task);
  switch (task->place) {
    case Place::kInFlight:
      task->cancelled = true;
      return completion_.SendCancel(*client.link, *task, {.recursive = recursive});
    case Place::kQueue:
      lane.queue.Remove(task);
      break;
    case Place::kWaiting:
      lane.waiting.Remove(task);
      break;
    case Place::kLimbo:
      client.limbo.Remove(task);
      break;
    case Place::kKept:
      return;
    case Place::kNone:
      break;
  }
  Pump(client, lane);  // others may have stood behind it
  completion_.Cancel(task);
}

void ActorSubmitter::OnArgumentReady(PendingTask* task) {
  if (--task->unresolved > 0) return;
  ActorClient& client = *task->actor;
  CallLane& lane = client.LaneOf(*task);
  if (task->place != Place::kWaiting) return Pump(client, lane);
  lane.waiting.Remove(task);
  Enqueue(client, task);
}

void ActorSubmitter::PumpAll(ActorClient& client) {
  for (CallLane& lane : client.lanes) Pump(client, lane);
}

void ActorSubmitter::Pump(ActorClient& client, CallLane& lane) {
  if (client.incarnation < client.least_incarnation) return;
  const size_t most = kMaxInFlight + lane.group.at_once - 1;
  while (!lane.queue.empty() && client.link != nullptr && !client.losing_link &&
         lane.in_flight < most && lane.in_flight_bytes < kMaxInFlightBytes) {
    PendingTask* task = lane.queue.first;
    if (task->waiting_for_args()) break;
    lane.queue.Remove(task);
    if (!task->refs.empty()) {
      if (ValuePtr error = completion_.FailedArgument(task)) {
        completion_.Fail(task, std::move(error));
        continue;
      }
    }
    const bool was_idle = client.in_flight.count == 0;
    client.in_flight.Append(task);
    ++lane.in_flight;
    lane.in_flight_bytes += BytesOf(*task);
    Link& link = *client.link;
    completion_.Push(link, task, {});
    if (was_idle) {
      links_.Flush(link);
    } else {
      links_.FlushSoon(link);
    }
  }
}

void ActorSubmitter::OnTaskReply(Link& link, PendingTask* task, const wire::TaskReply& reply) {
  ActorClient& client = *task->actor;
  const ActorClient::Stays stays(client);
  CallLane& lane = client.LaneOf(*task);
  const bool ran = reply.status() != wire::TaskStatus::HandedBack &&
                   reply.status() != wire::TaskStatus::WorkerExiting;
  if (task->place == Place::kLimbo && ran && client.address == link.peer) {
    client.limbo.Remove(task);  // answered in time, and told by the raylet when the link was gone
  } else if (client.link == &link && task->place == Place::kInFlight) {
    client.in_flight.Remove(task);
    --lane.in_flight;
    lane.in_flight_bytes -= BytesOf(*task);
  } else {
    return completion_.Disregard(link, task, reply);  // from a past incarnation, or said twice
  }
  ++client.answered;
  if (!lane.queue.empty()) Pump(client, lane);
  switch (reply.status()) {
    case wire::TaskStatus::Cancelled:
    case wire::TaskStatus::TimedOut:
    case wire::TaskStatus::TimedOutEnding:
      return completion_.ResolveCancelled(link, task, reply, client.pid);
    case wire::TaskStatus::HandedBack:
    case wire::TaskStatus::WorkerExiting:
      if (task->cancelled) return completion_.Cancel(task);
      // The actor leaves: what becomes of this call is decided when it has.
      client.limbo.Append(task);
      return;
    case wire::TaskStatus::Included:
      return OnIncluded(client, task);
    case wire::TaskStatus::Error:
      if (reply.retry() && task->retries_left != 0) {
        if (task->retries_left > 0) --task->retries_left;
        ++task->attempt;
        completion_.Disregard(link, task, reply);
        return task->cancelled ? completion_.Cancel(task) : Enqueue(client, task);
      }
      [[fallthrough]];
    default:
      if (!IsToBeKept(*task, reply)) return completion_.Resolve(link, task, reply);
      if (task->answered) {
        completion_.Disregard(link, nullptr, reply);
      } else {
        completion_.ResolveAndKeep(link, task, reply, ActorId(client.id));
      }
      Keep(client, task);
  }
}

// --- What becomes of the actor ---

void ActorSubmitter::LoseLink(ActorClient& client) {
  if (client.link == nullptr || client.losing_link) return;
  client.losing_link = true;
  links_.Drain(*client.link);  // its last answers may be behind the news of its end
  client.losing_link = false;
  if (auto it = by_worker_.find(client.link->peer.worker); it != by_worker_.end()) {
    std::erase(it->second, &client);
    if (it->second.empty()) by_worker_.erase(it);
  }
  client.link = nullptr;
  while (PendingTask* task = client.in_flight.first) {
    completion_.NoteAbandoned(task, client.address.node);
    client.in_flight.Remove(task);
    client.limbo.Append(task);
  }
  for (CallLane& lane : client.lanes) lane.in_flight_bytes = lane.in_flight = 0;
}

void ActorSubmitter::OnLinkBroken(Link& link, const std::string& reason) {
  auto node = by_worker_.extract(link.peer.worker);
  if (node.empty()) return;
  for (ActorClient* client : node.mapped()) {
    if (client->losing_link) continue;  // there is news already
    LoseLink(*client);
    AwaitNews(*client, reason);
  }
}

void ActorSubmitter::AwaitNews(ActorClient& client, const std::string& reason) {
  client.lost_at_ns = links_.NowNs();
  client.lost_reason = reason;
  lost_.push_back(&client);
}

void ActorSubmitter::HasNews(ActorClient& client) {
  client.unreachable = {};
  if (std::exchange(client.lost_at_ns, 0) != 0) std::erase(lost_, &client);
}

void ActorSubmitter::OnProcessDied(const WorkerId& worker) {
  std::erase_if(lost_, [&](ActorClient* client) {
    if (client->address.worker != worker) return false;
    client->lost_at_ns = 0;
    return true;
  });
}

bool ActorSubmitter::Reconnect(ActorClient& client) {
  Link& link = links_.To(client.address);
  if (link.state == Link::State::kBroken) return false;  // asked for, if it can come back
  HasNews(client);
  client.link = &link;
  by_worker_[client.address.worker].push_back(&client);
  return true;
}

int64_t ActorSubmitter::NewsDueNs(const ActorClient& client) const {
  return links_.NewsDueNs(client.address, client.lost_at_ns);
}

int64_t ActorSubmitter::NextTickNs() const {
  int64_t next = kForever;
  for (const ActorClient* client : lost_) next = std::min(next, NewsDueNs(*client));
  return std::min(let_go_ns_, next == kForever ? kForever : std::max(next, look_again_ns_));
}

void ActorSubmitter::Tick(int64_t now_ns) {
  if (now_ns >= let_go_ns_) LetGoOfAll();
  std::vector<ActorClient*> due;
  look_again_ns_ = 0;
  for (ActorClient* client : lost_) {
    if (NewsDueNs(*client) > now_ns) continue;
    if (links_.IsWithoutNews(client->address, client->lost_at_ns, now_ns)) {
      due.push_back(client);
    } else {
      look_again_ns_ = now_ns + LinkOutbox::kLookForNewsNs;
    }
  }
  for (ActorClient* client : due) GiveUp(*client);
}

void ActorSubmitter::GiveUp(ActorClient& client) {
  HasNews(client);
  client.unreachable =
      SystemError(ErrorKind::kActorUnavailable,
                  About(client) + "The connection to the actor's process " +
                      client.address.ToString() + " broke (" + client.lost_reason +
                      "), and nothing was heard of its end since. Calls that were in flight may or "
                      "may not have run; those that are made later may reach it again.",
                  client.id);
  FailPending(client, ValuePtr(client.unreachable));
}

void ActorSubmitter::HoldCalls(const ActorId& id, uint32_t least_incarnation) {
  const auto it = clients_.find(id);
  if (it == clients_.end()) return;
  uint32_t& least = it->second->least_incarnation;
  least = std::max(least, least_incarnation);
}

void ActorSubmitter::OnActorUpdate(const wire::ActorUpdate& update) {
  auto it = clients_.find(wire::FromWireOrNil(update.actor_id()));
  if (it == clients_.end() || it->second->death_error) return;
  ActorClient& client = *it->second;
  if (update.incarnation() < client.incarnation) return;
  if (update.class_name() != nullptr) client.class_name = update.class_name()->str();
  client.waits = flatbuffers::GetString(update.waits());
  client.name = flatbuffers::GetString(update.name());
  switch (update.state()) {
    case wire::ActorState::Alive:
      BecomeAlive(client, update);
      break;
    case wire::ActorState::Dead: {
      client.death_cause = update.death_cause() != nullptr ? update.death_cause()->str() : "";
      client.state = update.state();
      if (update.init_error() != nullptr && update.init_error()->size() > 0) {
        return Die(client,
                   ValuePtr(Value::Copy(update.init_error()->data(), update.init_error()->size())));
      }
      LoseLink(client);  // its last answers first: what is in limbo then was in flight
      const std::string text = AboutDead(client, update) + client.death_cause + InFlight(client);
      return Die(client, SystemError(update.group_removed() ? ErrorKind::kActorGroupRemoved
                                                            : ErrorKind::kActorDied,
                                     text, client.id));
    }
    case wire::ActorState::Restarting:
      LoseLink(client);
      HasNews(client);
      if (client.state == wire::ActorState::Alive) on_restart_(client, update);
      client.state = update.state();
      client.death_cause = flatbuffers::GetString(update.death_cause());
      SettleLimbo(client);
      break;
    default:
      client.state = update.state();
  }
}

void ActorSubmitter::BecomeAlive(ActorClient& client, const wire::ActorUpdate& update) {
  const Address address = wire::FromWireOrNil(update.address());
  // Told again, maybe of a worker that is lost: what becomes of its calls is in the next update.
  if (client.state == wire::ActorState::Alive && client.address == address) return;
  LoseLink(client);
  HasNews(client);
  // The news that it was restarting may have been overtaken.
  if (client.state == wire::ActorState::Alive) on_restart_(client, update);
  client.death_cause = flatbuffers::GetString(update.death_cause());
  client.state = wire::ActorState::Alive;
  client.incarnation = update.incarnation();
  SettleLimbo(client);
  client.address = address;
  client.pid = update.pid();
  Link& link = links_.To(address);
  if (links_.IsDead(address.worker)) return;  // told late: the GCS will say what becomes of it
  if (link.state == Link::State::kBroken) return AwaitNews(client, "it was broken before");
  client.link = &link;
  by_worker_[address.worker].push_back(&client);
  PumpAll(client);
}

void ActorSubmitter::SettleLimbo(ActorClient& client) {
  std::vector<PendingTask*> again, failed, cancelled;
  const std::string in_flight = InFlight(client);
  client.asked_save = false;  // the next process was not asked
  while (PendingTask* task = client.kept.first) {
    Unkeep(client, task);
    client.limbo.Append(task);
  }
  while (PendingTask* task = client.limbo.TakeFirst()) {
    if (task->cancelled) {
      cancelled.push_back(task);
      continue;
    }
    if (task->retries_left == 0) {
      failed.push_back(task);
      continue;
    }
    if (task->retries_left > 0) --task->retries_left;
    ++task->attempt;
    again.push_back(task);
  }
  // Those that a leaving worker handed back came in no order.
  std::sort(again.begin(), again.end(), [](const PendingTask* a, const PendingTask* b) {
    return Sequence(a->id) > Sequence(b->id);
  });
  for (PendingTask* task : again) client.LaneOf(*task).queue.Prepend(task);
  for (PendingTask* task : cancelled) completion_.Cancel(task);
  if (failed.empty()) return;
  const ValuePtr error = SystemError(
      ErrorKind::kActorUnavailable,
      About(client) +
          "The actor's process ended while this call was in flight, and the actor is "
          "restarted: the call may or may not have run. `max_task_retries` has such "
          "calls run again." +
          (client.death_cause.empty() ? "" : "\n  How it ended: " + client.death_cause) + in_flight,
      client.id);
  for (PendingTask* task : failed) completion_.Fail(task, error);
}

void ActorSubmitter::Die(ActorClient& client, ValuePtr error) {
  LoseLink(client);
  HasNews(client);
  client.death_error = std::move(error);
  if (std::exchange(client.subscribed, false)) SendSubscribe(client, false);
  while (PendingTask* task = client.kept.first) {
    Unkeep(client, task);
    completion_.Drop(task);
  }
  FailPending(client, ValuePtr(client.death_error));
  on_dead_(ActorId(client.id));  // may forget the client
}

void ActorSubmitter::FailPending(ActorClient& client, const ValuePtr& error) {
  std::vector<PendingTask*> failed;
  const auto take = [&](TaskList& list) {
    while (PendingTask* task = list.TakeFirst()) failed.push_back(task);
  };
  take(client.limbo);
  for (CallLane& lane : client.lanes) {
    take(lane.waiting);
    take(lane.queue);
  }
  for (PendingTask* task : failed) {
    if (task->answered && task->retries_left != 0) {
      Keep(client, task);  // nobody waits for it, and the actor may live on
    } else {
      task->cancelled ? completion_.Cancel(task) : completion_.Fail(task, error);
    }
  }
}

void ActorSubmitter::OnRegistrationFailed(const ActorId& id, const std::string& reason) {
  ActorClient& client = Client(id);
  if (client.death_error) return;
  Die(client, SystemError(ErrorKind::kActorDied, reason, id));
}

void ActorSubmitter::FailAll(const ValuePtr& error) {
  // What fails may make clients, and forget some.
  std::vector<ActorId> living;
  for (auto& [id, client] : clients_) {
    if (!client->death_error) living.push_back(id);
  }
  for (const ActorId& id : living) {
    if (const auto it = clients_.find(id); it != clients_.end()) Die(*it->second, error);
  }
}

void ActorSubmitter::Describe(std::string& out) const {
  for (const auto& [id, client] : clients_) {
    if (client->handles == 0 && client->unused()) continue;
    out += "actor " + id.Hex() + " (" + client->class_name + ") " +
           wire::EnumNameActorState(client->state) + ": " + std::to_string(client->queued()) +
           " queued, " + std::to_string(client->in_flight.pending()) + " in flight, " +
           std::to_string(client->limbo.pending()) + " in limbo" +
           (client->saved ? ", " + std::to_string(client->kept.count) + " kept, " +
                                std::to_string(client->repeated()) + " again"
                          : "") +
           (client->incarnation < client->least_incarnation ? ", killed" : "") +
           (client->unreachable ? ", unreachable" : "") + "\n";
  }
}

void ActorSubmitter::CheckList(const ActorClient& client, const TaskList& list, bool may_wait) {
  uint32_t count = 0, answered = 0;
  for (const PendingTask* task = list.first; task != nullptr; task = task->next) {
    CYRAY_CHECK(task->live && task->actor == &client && task->place == list.place);
    CYRAY_CHECK(may_wait || !task->waiting_for_args()) << client.id.Hex();
    CYRAY_CHECK(list.place != Place::kWaiting || task->waiting_for_args()) << client.id.Hex();
    CYRAY_CHECK(list.place != Place::kKept || (task->answered && task->retries_left != 0));
    CYRAY_CHECK(list.place == Place::kInFlight || !task->cancelled || list.place == Place::kLimbo)
        << client.id.Hex();
    ++count;
    answered += task->answered ? 1 : 0;
  }
  CYRAY_CHECK(count == list.count) << count << " of " << list.count;
  CYRAY_CHECK(answered == list.answered) << answered << " of " << list.answered;
}

void ActorSubmitter::CheckInvariants() const {
  for (const auto& [id, client] : clients_) {
    CYRAY_CHECK((client->handles == 0) == client->idle_at.has_value()) << id.Hex();
    CYRAY_CHECK(!client->death_error || client->unused()) << id.Hex();
    CYRAY_CHECK(client->link != nullptr || client->in_flight.count == 0) << id.Hex();
    if (client->link != nullptr) {
      const auto& there = by_worker_.at(client->link->peer.worker);
      CYRAY_CHECK(std::count(there.begin(), there.end(), client.get()) == 1) << id.Hex();
    }
    CheckList(*client, client->limbo, /*may_wait=*/false);
    CheckList(*client, client->kept, /*may_wait=*/false);
    CYRAY_CHECK(client->saved || client->kept.empty()) << id.Hex();
    std::vector<uint32_t> in_flight(client->lanes.size());
    for (const PendingTask* task = client->in_flight.first; task != nullptr; task = task->next) {
      ++in_flight.at(task->tmpl->group);
    }
    CheckList(*client, client->in_flight, /*may_wait=*/false);
    for (size_t i = 0; i < client->lanes.size(); ++i) {
      const CallLane& lane = client->lanes[i];
      CYRAY_CHECK(lane.in_flight == in_flight[i]) << lane.in_flight << " of " << in_flight[i];
      CheckList(*client, lane.waiting, /*may_wait=*/true);
      CheckList(*client, lane.queue, lane.group.in_order);
    }
  }
  for (const ActorClient* client : lost_) {
    CYRAY_CHECK(client->lost_at_ns != 0 && client->link == nullptr) << client->id.Hex();
  }
}

}  // namespace cyray::core
