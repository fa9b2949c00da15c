// ItemStream: the items of one streaming generator, as its owner has them.
//
// The producer sends them in order, and consumers take them in order, each item once. Item n, from
// 0 on, is the object n + 2 of the task; object 1 is the generator itself, which is ready when the
// producer is over. Who waits for the next item looks at it first; one that does not come becomes
// an error that nobody sees (ErrorKind::kEndOfStream). The producer runs ahead of the consumers
// only so far; it is told of what they took when that matters to it. Guarded by the core mutex.

#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>

#include "cyray/core/object_directory.h"

namespace cyray::core {

class ItemStream {
 public:
  // Of items that are there and not taken: the producer waits at the latest with so many bytes, and
  // is told at the latest when so many were taken. An item takes kItemBytes beside its value.
  static constexpr uint64_t kMinAheadBytes = 2 << 20;
  static constexpr uint64_t kMaxAheadBytes = 64 << 20;
  static constexpr uint64_t kTellBytes = 1 << 20;
  static constexpr uint64_t kItemBytes = 64;

  ItemStream(ObjectDirectory& objects, PendingTask* producer);
  ItemStream(const ItemStream&) = delete;

  // Numbers of ids begin anew after four billion items, of which the first are long gone.
  static ObjectId IdOf(const TaskId& task, uint64_t number) {
    return {task, static_cast<uint32_t>(2 + number % (UINT32_MAX - 2))};
  }
  // The next item, ready or not; one count of it, the caller's. It stays the next one. Not when it
  // is exhausted.
  ObjectEntry* Look();
  // The next item, which is the caller's from now on, and one count of it. Null: it has not come.
  ObjectEntry* Take();
  // It will not come: all were taken.
  bool exhausted() const { return ended_ && there_.empty(); }
  // The next item has come: `resolve` gives it its value. Nothing after End().
  void Add(const std::function<void(ObjectEntry*)>& resolve);
  // There are no more.
  void End();
  // Nobody will take what is there, and the producer ends: what is waited for is `error`.
  void Close(const ValuePtr& error);

  uint64_t came() const { return came_; }
  uint64_t taken() const { return taken_; }
  // What the producer should be told, if anything: how many were taken.
  std::optional<uint64_t> TakeNews();
  // It was told all: a new attempt begins.
  void Told();

 private:
  // No item comes; who waits for one gets that.
  void Finish(const ValuePtr& instead);

  ObjectDirectory& objects_;
  PendingTask* producer_;  // null: it is over
  const TaskId task_;
  const uint64_t tell_items_;
  uint64_t came_ = 0, taken_ = 0;
  // One count each.
  std::deque<ObjectEntry*> there_;
  ObjectEntry* awaited_ = nullptr;  // the next one to come, when somebody has looked at it
  bool ended_ = false;
  uint64_t told_ = 0;          // taken, as the producer knows
  uint64_t untold_bytes_ = 0;  // taken since
};

}  // namespace cyray::core
