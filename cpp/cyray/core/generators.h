// Generators: the items of the streaming generators that this process owns, from their producers to
// their consumers.
//
// A generator is an object of its own, which its handles count; with the last one its items that
// nobody took go, and its task is no longer wanted. Guarded by the core mutex.

#pragma once

#include <functional>
#include <memory>
#include <unordered_map>

#include "cyray/core/item_stream.h"
#include "cyray/core/task_types.h"

namespace cyray::core {

class Generators {
 public:
  explicit Generators(ObjectDirectory& objects) : objects_(objects) {}

  // `task` yields the items of `generator`.
  void Begin(PendingTask* task, ObjectEntry* generator);
  // Null: it is no generator, or nothing holds it.
  ItemStream* Find(const ObjectId& generator);
  // The task yields no more. `fail`, if any, gives its last item the error that it ended with.
  using Resolve = std::function<void(ObjectEntry*)>;
  void End(PendingTask* task, const Resolve& fail = {});
  // No handle is left. `maker`, if any, goes on for nobody.
  void Drop(const ObjectId& generator, PendingTask* maker);
  size_t size() const { return streams_.size(); }

 private:
  // All items that are there, as a list of refs: the generator's value.
  void Gather(ObjectEntry* generator, ItemStream& stream);

  ObjectDirectory& objects_;
  std::unordered_map<ObjectId, std::unique_ptr<ItemStream>> streams_;
};

}  // namespace cyray::core
