#include "cyray/core/actor_submitter.h"

#include <algorithm>

#include "cyray/core/errors.h"
#include "cyray/util/clock.h"
#include "cyray/wire/convert.h"

namespace cyray::core {

using wire::FrameType;

namespace {

// Counts the tasks of this process (TaskIds).
uint64_t Sequence(const TaskId& id) {
  uint64_t sequence = 0;
  std::memcpy(&sequence, id.data() + 6, 6);
  return sequence;
}

}  // namespace

ActorSubmitter::ActorSubmitter(LinkTable& links, RayletClient& raylet, TaskCompletion& completion,
                               MakeActorError make_error)
    : links_(links), raylet_(raylet), completion_(completion), make_error_(std::move(make_error)) {}

ActorClient* ActorSubmitter::Client(const ActorId& id) {
  auto& slot = clients_[id];
  if (!slot) {
    slot = std::make_unique<ActorClient>();
    slot->id = id;
  }
  return slot.get();
}

void ActorSubmitter::Subscribe(ActorClient& client) {
  if (client.subscribed) return;
  client.subscribed = true;
  flatbuffers::FlatBufferBuilder b;
  b.Finish(wire::CreateSubscribeActor(b, wire::ToWire(client.id), true));
  raylet_.Send(FrameType::kSubscribeActor, b);
  raylet_.Flush();
}

void ActorSubmitter::Submit(ActorClient* client, PendingTask* task, ObjectDirectory& objects) {
  task->actor = client;
  if (client->death_error) return completion_.Fail(task, client->death_error);
  Subscribe(*client);
  task->unresolved = 1;
  for (ObjectEntry* entry : task->refs) {
    if (entry->ready()) continue;
    ++task->unresolved;
    objects.AddDependent(entry, task->slot);
  }
  --task->unresolved;
  client->queue.push_back(task);
  Pump(*client);
}

void ActorSubmitter::OnArgumentReady(PendingTask* task) {
  if (--task->unresolved == 0) Pump(*task->actor);
}

void ActorSubmitter::Pump(ActorClient& client) {
  if (client.link == nullptr || client.losing_link) return;
  size_t kept = 0;  // calls at the head that wait for arguments, where order does not matter
  while (kept < client.queue.size() && client.link != nullptr) {
    // Only where a later call cannot be what the earlier ones wait for.
    if (client.in_order && client.in_flight.count >= kMaxInFlight) break;
    PendingTask* task = client.queue[kept];
    if (task->waiting_for_args()) {
      if (client.in_order) break;
      ++kept;
      continue;
    }
    client.queue.erase(client.queue.begin() + static_cast<ptrdiff_t>(kept));
    if (!task->refs.empty()) {
      if (ValuePtr error = completion_.FailedArgument(task)) {
        completion_.Fail(task, std::move(error));
        continue;
      }
    }
    const bool was_idle = client.in_flight.count == 0;
    client.in_flight.Append(task);
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
  if (client.link != &link) return;  // an answer from a past incarnation
  client.in_flight.Remove(task);
  if (!client.queue.empty()) Pump(client);
  switch (reply.status()) {
    case wire::TaskStatus::HandedBack:
    case wire::TaskStatus::WorkerExiting:
      // The actor leaves: what becomes of this call is decided when it has.
      client.limbo.Append(task);
      return;
    case wire::TaskStatus::Error:
      if (reply.retry() && task->retries_left != 0) {
        if (task->retries_left > 0) --task->retries_left;
        ++task->attempt;
        client.queue.push_back(task);
        return Pump(client);
      }
      [[fallthrough]];
    default:
      completion_.Resolve(link, task, reply);
  }
}

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
    client.in_flight.Remove(task);
    client.limbo.Append(task);
  }
}

void ActorSubmitter::OnLinkBroken(Link& link) {
  auto node = by_worker_.extract(link.peer.worker);
  if (node.empty()) return;
  for (ActorClient* client : node.mapped()) LoseLink(*client);
}

void ActorSubmitter::OnActorUpdate(const wire::ActorUpdate& update) {
  auto it = clients_.find(wire::FromWireOrNil(update.actor_id()));
  if (it == clients_.end() || it->second->death_error) return;
  ActorClient& client = *it->second;
  if (update.incarnation() < client.incarnation) return;
  if (update.class_name() != nullptr) client.class_name = update.class_name()->str();
  client.restarts_left = update.restarts_left();
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
      return Die(client, make_error_(static_cast<uint8_t>(ErrorKind::kActorDied),
                                     client.death_cause, client.id));
    }
    case wire::ActorState::Restarting:
      LoseLink(client);
      client.state = update.state();
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
  client.state = wire::ActorState::Alive;
  client.incarnation = update.incarnation();
  SettleLimbo(client);
  client.address = address;
  Link& link = links_.To(address);
  if (link.state == Link::State::kBroken) return;  // the next update tells
  client.link = &link;
  by_worker_[address.worker].push_back(&client);
  Pump(client);
}

void ActorSubmitter::SettleLimbo(ActorClient& client) {
  std::vector<PendingTask*> again, failed;
  while (PendingTask* task = client.limbo.first) {
    client.limbo.Remove(task);
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
    return Sequence(a->id) < Sequence(b->id);
  });
  client.queue.insert(client.queue.begin(), again.begin(), again.end());
  if (failed.empty()) return;
  const ValuePtr error = make_error_(
      static_cast<uint8_t>(ErrorKind::kActorUnavailable),
      "The actor was restarted while this call was in flight: it may or may not have run.",
      client.id);
  for (PendingTask* task : failed) completion_.Fail(task, error);
}

void ActorSubmitter::Die(ActorClient& client, ValuePtr error) {
  LoseLink(client);
  client.death_error = error;
  std::vector<PendingTask*> failed;
  while (PendingTask* task = client.limbo.first) {
    client.limbo.Remove(task);
    failed.push_back(task);
  }
  failed.insert(failed.end(), client.queue.begin(), client.queue.end());
  client.queue.clear();
  // A call that waits for an argument may still be named as its dependent: it is found dead then.
  for (PendingTask* task : failed) completion_.Fail(task, error);
}

void ActorSubmitter::OnRegistrationFailed(const ActorId& id, const std::string& reason) {
  ActorClient& client = *Client(id);
  if (client.death_error) return;
  Die(client, make_error_(static_cast<uint8_t>(ErrorKind::kActorDied), reason, id));
}

void ActorSubmitter::FailAll(const ValuePtr& error) {
  for (auto& [id, client] : clients_) {
    if (!client->death_error) Die(*client, error);
  }
}

void ActorSubmitter::Describe(std::string& out) const {
  for (const auto& [id, client] : clients_) {
    out += "actor " + id.Hex() + " (" + client->class_name + ") " +
           wire::EnumNameActorState(client->state) + ": " + std::to_string(client->queue.size()) +
           " queued, " + std::to_string(client->in_flight.count) + " in flight, " +
           std::to_string(client->limbo.count) + " in limbo\n";
  }
}

}  // namespace cyray::core
