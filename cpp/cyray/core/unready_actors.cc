#include "cyray/core/unready_actors.h"

namespace cyray::core {

bool UnreadyActors::Await(const ActorId& actor, std::span<ObjectEntry* const> arguments,
                          ObjectDirectory& objects) {
  const uint64_t tag = next_++ << 32 | kTag;
  // Counted up first: asking for an argument may show at once that its owner is dead.
  size_t& unready = by_tag_[tag].unready = 1;
  tags_[actor] = tag;
  by_tag_[tag].actor = actor;
  for (ObjectEntry* entry : arguments) {
    if (entry->ready()) continue;
    ++unready;
    objects.AddDependent(entry, tag);
  }
  if (--unready > 0) return true;
  Forget(actor);
  return false;
}

void UnreadyActors::OnRegistered(const ActorId& actor) {
  const auto it = tags_.find(actor);
  if (it == tags_.end()) return;
  by_tag_.at(it->second).registered = true;
  EndIfReady(it->second);
}

void UnreadyActors::OnArgumentReady(uint64_t tag) {
  const auto it = by_tag_.find(tag);
  if (it == by_tag_.end()) return;
  --it->second.unready;
  EndIfReady(tag);
}

void UnreadyActors::EndIfReady(uint64_t tag) {
  const Creation& creation = by_tag_.at(tag);
  if (!creation.registered || creation.unready > 0) return;
  const ActorId actor = creation.actor;
  Forget(actor);
  on_ready_(actor);
}

void UnreadyActors::Forget(const ActorId& actor) {
  const auto it = tags_.find(actor);
  if (it == tags_.end()) return;
  by_tag_.erase(it->second);
  tags_.erase(it);
}

}  // namespace cyray::core
