// What callers keep of their calls of actors that are saved.

#include <algorithm>

#include "cyray/core/actor_submitter.h"
#include "cyray/core/system_error.h"

namespace cyray::core {

using wire::FrameType;

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
  while (client.kept.count > ActorClient::kMostKept ||
         client.kept_bytes > ActorClient::kMostKeptBytes) {
    PendingTask* const oldest = client.kept.first;
    Unkeep(client, oldest);
    completion_.Drop(oldest);
  }
  if (wants_saves_) SendSaveWanted(client);
}

void ActorSubmitter::Unkeep(ActorClient& client, PendingTask* task) {
  client.kept.Remove(task);
  if (task->args) client.kept_bytes -= task->args->size();
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

void ActorSubmitter::WantSaves(bool from_now_on) {
  wants_saves_ |= from_now_on;
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
