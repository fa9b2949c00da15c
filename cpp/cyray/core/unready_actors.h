// UnreadyActors: actors whose constructors wait for their arguments.
//
// An actor takes its place once all that its constructor gets exists: placed before, it could hold
// the very slot that a task needs which makes one of its arguments. Its name is registered at once;
// the GCS places it when it hears that the arguments are ready, values or errors alike.
//
// Guarded by the core mutex. Pure: what is to be sent goes out by the callback.

#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <unordered_map>

#include "cyray/common/ids.h"
#include "cyray/core/object_directory.h"

namespace cyray::core {

class UnreadyActors {
 public:
  // A dependent with this bit in its tag is an actor and no task: slots of tasks never have it.
  static constexpr uint64_t kTag = uint64_t{1} << 31;

  explicit UnreadyActors(std::function<void(const ActorId&)> on_ready)
      : on_ready_(std::move(on_ready)) {}

  // To be called before the registration is sent. False: all of `arguments` are ready. True: the
  // actor is to be registered as one that waits, and `on_ready` follows once OnRegistered() was
  // called and the last of them is there.
  bool Await(const ActorId& actor, std::span<ObjectEntry* const> arguments,
             ObjectDirectory& objects);
  void OnRegistered(const ActorId& actor);
  void OnArgumentReady(uint64_t tag);
  // It is not wanted any more, or could not be registered.
  void Forget(const ActorId& actor);

  size_t size() const { return by_tag_.size(); }

 private:
  struct Creation {
    ActorId actor;
    size_t unready = 0;
    bool registered = false;
  };
  void EndIfReady(uint64_t tag);

  const std::function<void(const ActorId&)> on_ready_;
  std::unordered_map<uint64_t, Creation> by_tag_;
  std::unordered_map<ActorId, uint64_t> tags_;
  uint64_t next_ = 0;
};

}  // namespace cyray::core
