#include "cyray/core/item_stream.h"

#include <utility>

#include "cyray/common/encoding.h"
#include "cyray/core/system_error.h"
#include "cyray/core/task_types.h"

namespace cyray::core {

// Told of half of what it may be ahead, the producer never waits for a consumer that waits for it.
ItemStream::ItemStream(ObjectDirectory& objects, PendingTask* producer)
    : objects_(objects),
      producer_(producer),
      task_(producer->id),
      tell_items_(producer->tmpl->max_ahead == 0 ? UINT64_MAX
                                                 : (uint64_t{producer->tmpl->max_ahead} + 1) / 2) {}

ObjectEntry* ItemStream::Look() {
  if (there_.empty() && awaited_ == nullptr) {
    awaited_ = objects_.NewOwned(IdOf(task_, came_));
    awaited_->maker = producer_;
  }
  ObjectEntry* const entry = there_.empty() ? awaited_ : there_.front();
  objects_.AddRef(entry);
  return entry;
}

ObjectEntry* ItemStream::Take() {
  if (there_.empty()) return nullptr;
  ObjectEntry* const entry = there_.front();
  there_.pop_front();
  ++taken_;
  untold_bytes_ += kItemBytes;
  if (entry->state == ObjectState::kInline) {
    untold_bytes_ += entry->value->size();
  } else if (entry->extra) {
    untold_bytes_ += entry->extra->stored_bytes;
  }
  return entry;
}

void ItemStream::Add(const std::function<void(ObjectEntry*)>& resolve) {
  ObjectEntry* entry = std::exchange(awaited_, nullptr);
  if (entry == nullptr) entry = objects_.NewOwned(IdOf(task_, came_));
  entry->maker = nullptr;
  ++came_;
  there_.push_back(entry);
  resolve(entry);
}

void ItemStream::End() {
  Finish(SystemError(ErrorKind::kEndOfStream, "the generator is exhausted"));
}

void ItemStream::Close(const ValuePtr& error) {
  Finish(error);
  for (ObjectEntry* entry : std::exchange(there_, {})) objects_.Release(entry);
}

void ItemStream::Finish(const ValuePtr& instead) {
  ended_ = true;
  producer_ = nullptr;
  ObjectEntry* const entry = std::exchange(awaited_, nullptr);
  if (entry == nullptr) return;
  entry->maker = nullptr;
  objects_.Resolve(entry, instead, true);
  objects_.Release(entry);
}

std::optional<uint64_t> ItemStream::TakeNews() {
  if (ended_ || (untold_bytes_ < kTellBytes && taken_ - told_ < tell_items_)) return {};
  Told();
  return told_;
}

void ItemStream::Told() {
  told_ = taken_;
  untold_bytes_ = 0;
}

}  // namespace cyray::core
