// ActorNews: what becomes of actors, told to the clients of this node that watch them.
//
// The GCS tells this raylet once, for all of its clients. News of an actor do not overtake the last
// answers of the process that it had on another node: a client that talks with that process hears
// that the actor has left it behind its last frame (OnTalkOver), or after kHeldMs, when the path
// there is cut and nobody has found it dead. Of several news a client that waits hears the last.
// Threading: confined to its runtime's loop. Pure.
// Invariant: an actor is watched at the GCS exactly while some client here is subscribed to it.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "cyray/common/ids.h"
#include "cyray/util/timer.h"
#include "cyray/wire/bytes.h"
#include "gcs_generated.h"

namespace cyray::raylet {

class ActorNews {
 public:
  static constexpr int64_t kHeldMs = 5'000;
  struct Callbacks {
    // The GCS is to tell of that actor, or not any more.
    std::function<void(const ActorId&, bool watch)> watch;
    // A finished ActorUpdate, to a client.
    std::function<void(const WorkerId& client, const wire::Bytes& update)> send;
    // Whether frames of that process, of another node, may be on their way to that client.
    std::function<bool(const WorkerId& client, const Address& process)> talks;
  };
  ActorNews(Runtime* runtime, Callbacks callbacks)
      : runtime_(runtime), callbacks_(std::move(callbacks)), release_(runtime) {}

  // Tells what is known, too.
  void Subscribe(const WorkerId& client, const ActorId& actor);
  void Unsubscribe(const WorkerId& client, const ActorId& actor);
  void OnClientGone(const WorkerId& client);
  void OnUpdate(const wire::ActorUpdate& update);
  // All that the process has said to that client was passed on, and its end.
  void OnTalkOver(const WorkerId& client, const Address& process);
  bool IsWatched(const ActorId& actor) const { return actors_.contains(actor); }
  // To a GCS that knows nothing of this node's watches.
  void WatchAgain() const;

 private:
  struct Actor {
    wire::Bytes update;  // the last one, finished; empty before the first
    Address lives_at;    // nil while it does not
    Address lived_at;    // the same, or where it did last
    // By client: where the actor lives, for all that this one knows.
    std::unordered_map<WorkerId, Address> subscribers;
  };
  using Talk = std::pair<WorkerId, Address>;  // of a client and a process
  struct Held {
    ActorId actor;  // that the process was
    int64_t until_ms;
  };
  // Sends the news, or holds them; `known`: the client's entry.
  void Tell(const ActorId& id, const Actor& actor, const WorkerId& client, Address& known);
  void Drop(const WorkerId& client, const ActorId& actor);
  void ReleaseLate();
  void ArmRelease();

  Runtime* const runtime_;
  const Callbacks callbacks_;
  std::unordered_map<ActorId, Actor> actors_;
  std::unordered_map<WorkerId, std::unordered_set<ActorId>> watched_by_;
  std::map<Talk, Held> held_;
  Timer release_;  // runs while something is held
};

}  // namespace cyray::raylet
