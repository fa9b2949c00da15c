#include "cyray/raylet/actor_news.h"

#include <algorithm>
#include <vector>

#include "cyray/wire/convert.h"

namespace cyray::raylet {
namespace {

wire::Bytes Copy(const wire::ActorUpdate& update) {
  flatbuffers::FlatBufferBuilder builder;
  const auto text = [&](const flatbuffers::String* field) {
    return builder.CreateString(flatbuffers::GetString(field));
  };
  const auto cause = text(update.death_cause());
  const auto error =
      update.init_error() == nullptr
          ? 0
          : builder.CreateVector(update.init_error()->data(), update.init_error()->size());
  const auto class_name = text(update.class_name());
  const auto ip = text(update.node_ip());
  const auto waits = text(update.waits());
  const auto name = text(update.name());
  builder.Finish(wire::CreateActorUpdate(
      builder, update.actor_id(), update.state(), update.address(), update.incarnation(),
      update.restarts_left(), cause, error, class_name, update.pid(), ip, update.node_id(), waits,
      update.group_removed(), name));
  return wire::FinishedBytes(builder);
}

}  // namespace

void ActorNews::Subscribe(const WorkerId& client, const ActorId& actor) {
  const auto [it, added] = actors_.try_emplace(actor);
  watched_by_[client].insert(actor);
  // It may have talked with the process before it subscribed.
  Address& known = it->second.subscribers.try_emplace(client, it->second.lived_at).first->second;
  if (added) {
    callbacks_.watch(actor, true);
  } else if (!it->second.update.empty()) {
    Tell(actor, it->second, client, known);
  }
}

void ActorNews::Unsubscribe(const WorkerId& client, const ActorId& actor) {
  const auto of_client = watched_by_.find(client);
  if (of_client == watched_by_.end() || of_client->second.erase(actor) == 0) return;
  if (of_client->second.empty()) watched_by_.erase(of_client);
  Drop(client, actor);
}

void ActorNews::OnClientGone(const WorkerId& client) {
  const auto of_client = watched_by_.extract(client);
  if (of_client.empty()) return;
  for (const ActorId& actor : of_client.mapped()) Drop(client, actor);
}

void ActorNews::Drop(const WorkerId& client, const ActorId& id) {
  const auto it = actors_.find(id);
  const auto known = it->second.subscribers.extract(client);
  held_.erase({client, known.mapped()});
  if (!it->second.subscribers.empty()) return;
  actors_.erase(it);
  callbacks_.watch(id, false);
}

void ActorNews::WatchAgain() const {
  for (const auto& [id, actor] : actors_) callbacks_.watch(id, true);
}

void ActorNews::OnUpdate(const wire::ActorUpdate& update) {
  if (update.actor_id() == nullptr) return;
  const auto it = actors_.find(wire::FromWire(*update.actor_id()));
  if (it == actors_.end()) return;
  Actor& actor = it->second;
  actor.update = Copy(update);
  const bool lives = update.state() == wire::ActorState::Alive;
  actor.lives_at = lives ? wire::FromWireOrNil(update.address()) : Address{};
  if (lives) actor.lived_at = actor.lives_at;
  for (auto& [client, known] : actor.subscribers) Tell(it->first, actor, client, known);
}

void ActorNews::Tell(const ActorId& id, const Actor& actor, const WorkerId& client,
                     Address& known) {
  const bool left = !known.is_nil() && known != actor.lives_at;
  if (left && (held_.contains({client, known}) || callbacks_.talks(client, known))) {
    held_.try_emplace({client, known}, Held{id, runtime_->NowMs() + kHeldMs});
    return ArmRelease();
  }
  known = actor.lives_at;
  callbacks_.send(client, actor.update);
}

void ActorNews::OnTalkOver(const WorkerId& client, const Address& process) {
  const auto held = held_.extract({client, process});
  if (held.empty()) return;
  Actor& actor = actors_.at(held.mapped().actor);
  actor.subscribers.at(client) = actor.lives_at;
  callbacks_.send(client, actor.update);
}

void ActorNews::ReleaseLate() {
  std::vector<Talk> late;
  for (const auto& [talk, held] : held_) {
    if (held.until_ms <= runtime_->NowMs()) late.push_back(talk);
  }
  for (const auto& [client, process] : late) OnTalkOver(client, process);
  ArmRelease();
}

void ActorNews::ArmRelease() {
  if (held_.empty() || release_.running()) return;  // each is held for as long
  const auto first = std::min_element(held_.begin(), held_.end(), [](const auto& a, const auto& b) {
    return a.second.until_ms < b.second.until_ms;
  });
  release_.Start(std::max<int64_t>(first->second.until_ms - runtime_->NowMs(), 0),
                 [this] { ReleaseLate(); });
}

}  // namespace cyray::raylet
