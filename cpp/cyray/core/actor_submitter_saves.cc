// What callers keep of their calls of actors that are saved.

#include <algorithm>
#include <span>
#include <utility>

#include "cyray/core/actor_submitter.h"
#include "cyray/core/system_error.h"

namespace cyray::core {

using wire::FrameType;

namespace {

size_t BytesOf(const ObjectEntry& entry) {
  if (entry.value) return entry.value->size();
  return entry.extra ? entry.extra->stored_bytes : 0;
}

template <class Visitor>
void ForEachObject(const PendingTask& task, Visitor visit) {
  for (const ObjectEntry* entry : task.refs) visit(entry);
  for (const ObjectEntry* entry : task.contained) visit(entry);
}

}  // namespace

bool ActorSubmitter::IsToBeKept(const PendingTask& task, const wire::TaskReply& reply) {
  // Of one that was cancelled nobody knows what it did.
  return task.call != 0 && task.retries_left != 0 && !task.cancelled &&
         (reply.status() == wire::TaskStatus::Ok || reply.status() == wire::TaskStatus::Error);
}

void ActorSubmitter::Keep(ActorClient& client, PendingTask* task) {
  // What becomes ready with the answer may be the end of the actor for this process.
  if (client.death_error) return completion_.Drop(task);
  client.kept.Append(task);
  if (task->args) client.kept_bytes += task->args->size();
  ForEachObject(*task, [&](const ObjectEntry* entry) {
    ActorClient::KeptObject& kept = client.kept_objects[entry];
    if (kept.calls++ == 0) client.kept_object_bytes += kept.bytes = BytesOf(*entry);
  });
  BoundKept(client);
  if (!to_end_) return;
  let_go_ns_ = links_.NowNs() + kLetGoNs;
  SendSaveWanted(client);
}

void ActorSubmitter::Unkeep(ActorClient& client, PendingTask* task) {
  client.kept.Remove(task);
  if (task->args) client.kept_bytes -= task->args->size();
  ForEachObject(*task, [&](const ObjectEntry* entry) {
    const auto it = client.kept_objects.find(entry);
    if (--it->second.calls > 0) return;
    client.kept_object_bytes -= it->second.bytes;
    client.kept_objects.erase(it);
  });
}

void ActorSubmitter::BoundKept(ActorClient& client) {
  const auto exceeds = [&](size_t part, size_t object_bytes) {
    return client.kept.count > ActorClient::kMostKept / part ||
           client.kept_bytes > ActorClient::kMostKeptBytes / part ||
           object_bytes > most_kept_object_bytes_ / part;
  };
  if (!exceeds(2, client.kept_object_bytes)) return;
  if (!std::exchange(client.asked_save, true)) SendSaveWanted(client);
  // What the last call names is no reason to let go of others, which may name the same.
  size_t last_bytes = 0;
  std::vector<const ObjectEntry*> seen;
  ForEachObject(*client.kept.last, [&](const ObjectEntry* entry) {
    if (std::ranges::find(seen, entry) != seen.end()) return;
    seen.push_back(entry);
    last_bytes += client.kept_objects.at(entry).bytes;
  });
  while (client.kept.count > 1 && exceeds(1, client.kept_object_bytes - last_bytes)) {
    LetGo(client, client.kept.first);
  }
  TellLetGo(client, "They would be more than " + std::to_string(ActorClient::kMostKept) + ", or " +
                        std::to_string(ActorClient::kMostKeptBytes >> 20) +
                        " MiB of arguments, or " + std::to_string(most_kept_object_bytes_ >> 20) +
                        " MiB of objects.");
}

void ActorSubmitter::LetGo(ActorClient& client, PendingTask* task) {
  if (task->place == Place::kKept) Unkeep(client, task);
  ++client.let_go;
  completion_.Drop(task);
}

void ActorSubmitter::LetGoOfAll() {
  let_go_ns_ = kForever;
  std::vector<ActorId> ids;  // what goes may be the last of a client
  for (const auto& [id, client] : clients_) ids.push_back(id);
  for (const ActorId& id : ids) {
    const auto it = clients_.find(id);
    if (it == clients_.end()) continue;
    ActorClient& client = *it->second;
    const ActorClient::Stays stays(client);
    std::vector<PendingTask*> repeated;
    const auto take = [&](TaskList& list) {
      for (PendingTask* task = list.first; task != nullptr; task = task->next) {
        if (task->answered) repeated.push_back(task);
      }
      for (PendingTask* task : std::span(repeated).last(list.answered)) list.Remove(task);
    };
    take(client.limbo);
    for (CallLane& lane : client.lanes) take(lane.queue);
    for (PendingTask* task : repeated) LetGo(client, task);
    while (!client.kept.empty()) LetGo(client, client.kept.first);
    TellLetGo(client, "This worker was to end " + std::to_string(kLetGoNs / 1'000'000'000) +
                          " s ago, and stayed for them.");
  }
}

void ActorSubmitter::TellLetGo(ActorClient& client, const std::string& why) {
  const int64_t now_ns = links_.NowNs();
  if (client.let_go == 0) return;
  if (client.told_let_go_ns != 0 && now_ns < client.told_let_go_ns + kTellLetGoNs) return;
  client.told_let_go_ns = now_ns;
  const std::string name = client.name.empty() ? "" : " \"" + client.name + "\"";
  on_let_go_(
      "the actor " + client.class_name + name + " (" + client.id.Hex() +
      ") has not been saved for long, and " + std::to_string(std::exchange(client.let_go, 0)) +
      " answered calls of it that were kept until it is do not run again any more when it is "
      "restarted. " +
      why);
}

void ActorSubmitter::OnIncluded(ActorClient& client, PendingTask* task) {
  if (task->answered && task->retries_left != 0) return Keep(client, task);
  if (task->answered) return completion_.Drop(task);
  completion_.Fail(task, SystemError(ErrorKind::kActorUnavailable,
                                     "The call ran, and the state from which the actor was "
                                     "restarted includes what it did; its answer was lost with the "
                                     "actor's process before this one had read it.",
                                     client.id));
}

void ActorSubmitter::OnAskRead(Link& link, const wire::AskRead& ask) {
  // All that came before it on the link is read.
  uint64_t floor = 0;
  if (const auto it = by_worker_.find(link.peer.worker); it != by_worker_.end()) {
    floor = it->second.front()->floor();
  }
  builder_.Clear();
  builder_.Finish(wire::CreateAnswersRead(builder_, ask.number(), floor));
  links_.Send(link, FrameType::kAnswersRead, builder_);
  links_.FlushSoon(link);
}

void ActorSubmitter::OnCallsSaved(const Link& link, const wire::CallsSaved& saved) {
  const auto it = by_worker_.find(link.peer.worker);
  if (it == by_worker_.end()) return;
  ActorClient& client = *it->second.front();
  client.asked_save = false;
  const CallSet calls = CallSet::Read(saved.calls());
  std::vector<PendingTask*> done;
  for (PendingTask* task = client.kept.first; task != nullptr; task = task->next) {
    if (calls.Has(task->call)) done.push_back(task);
  }
  for (PendingTask* task : done) {
    Unkeep(client, task);
    completion_.Drop(task);
  }
}

void ActorSubmitter::WantSaves(bool to_end) {
  to_end_ |= to_end;
  if (to_end) let_go_ns_ = links_.NowNs() + kLetGoNs;
  for (const auto& [id, client] : clients_) {
    if (!client->kept.empty()) SendSaveWanted(*client);
  }
}

void ActorSubmitter::SendSaveWanted(ActorClient& client) {
  if (client.link == nullptr) return;
  builder_.Clear();
  builder_.Finish(wire::CreateSaveWanted(builder_));
  links_.Send(*client.link, FrameType::kSaveWanted, builder_);
  links_.FlushSoon(*client.link);
}

}  // namespace cyray::core
