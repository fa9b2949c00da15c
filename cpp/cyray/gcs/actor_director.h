// ActorDirector: carries out what the actor table asks for: placing, commanding raylets, telling
// watchers, storing.
//
// Threading: confined to the GCS's state loop.
// It queues changes and effects (commit.h); whoever handles the event ends it.

#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cyray/gcs/actor_placement.h"
#include "cyray/gcs/actor_table.h"
#include "cyray/gcs/commit.h"
#include "cyray/gcs/node_streams.h"
#include "cyray/gcs/node_table.h"
#include "cyray/gcs/save_table.h"

namespace cyray::gcs {

class ActorDirector {
 public:
  struct Hooks {
    std::function<void(const ActorId&)> on_death;                   // after it is stored
    std::function<void(const NodeId&, const JobId&)> before_start;  // of an actor on that node
    std::function<void()> on_wait;                                  // no node can take some actor
    std::function<bool(const NodeId&)> is_suspect;                  // alive, without a stream
    std::function<uint64_t()> random;
  };
  // `most_saved_bytes`: what saves of all actors may take.
  ActorDirector(const NodeTable* nodes, NodeStreams* streams, Commit* commit, Hooks hooks,
                size_t most_saved_bytes);

  Status Load(Storage& storage);
  // After Load of everything: what was on nodes that are dead by now ends.
  void EndOnDeadNodes();

  // `request` is the payload that holds a RegisterActorRequest; it is stored as it is. The
  // same actor again changes nothing.
  Result<ActorId> Register(const wire::Bytes& request);
  // `request`: the payload that holds a SaveActorRequest, which is stored as it is. kNotFound: the
  // actor is dead, or that life of it is over, and what it was must not come back. kOutOfMemory:
  // there is no room for it; the one before stays.
  Status Save(const wire::Bytes& request);
  const SaveTable& saves() const { return saves_; }
  // Carries out what an event on table() gave back.
  void Apply(const ActorActions& actions);
  // Tries again to place those that wait; after nodes or their totals changed. Returns how many it
  // looked at.
  size_t PlaceWaiting();
  // The node has room that it had not: it gets actors that wait for room elsewhere.
  void OnRoom(const NodeId& node);
  // Actors that wait at that node for room, or have begun there though they were recalled.
  void OnActorsHere(const NodeId& node, const wire::ActorsHere& here);
  // A NodeCommand with the actor's state; an unknown actor is said to be dead.
  wire::Bytes UpdateCommand(const ActorId& actor) const;

  ActorTable& table() { return table_; }
  const ActorTable& table() const { return table_; }

 private:
  // False when no node can have it now.
  bool Place(const ActorId& actor);
  void Start(const ActorAction& action);
  // The actor, when that life of it is still to start there.
  const ActorRecord* FindStarting(const NodeId& node, const wire::ActorLife& life) const;
  // Whether the actor is still to start, or runs, where the action sends it.
  bool IsWanted(const ActorAction& action) const;
  void Store(const ActorId& actor);
  void Publish(const ActorId& actor);
  void DropSave(const ActorId& actor);
  Status LoadSaves(Storage& storage);

  const NodeTable* const nodes_;
  NodeStreams* const streams_;
  Commit* const commit_;
  const Hooks hooks_;
  ActorTable table_;
  SaveTable saves_;
  ActorPlacement placement_;
};

}  // namespace cyray::gcs
