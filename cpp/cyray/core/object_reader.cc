#include "cyray/core/object_reader.h"

#include <algorithm>

#include "cyray/util/clock.h"

namespace cyray::core {
namespace {

// `counted`: a reference that passes to the view.
inline void ViewValue(Value* counted, bool is_error, ReadView& view) {
  view.is_error = is_error;
  view.value = counted;
  view.pin = nullptr;
  view.data = counted->data();
  view.size = counted->size();
}

}  // namespace

bool ObjectReader::CountReady(ObjectEntry* const* entries, size_t size, size_t count, bool here,
                              size_t* first) {
  // `first` skips the prefix that is known to be ready, so that waiting for all is linear.
  while (*first < count && (here ? entries[*first]->local() : entries[*first]->ready())) ++*first;
  if (*first == count) return true;
  size_t ready = *first;
  if (count == size) return false;
  for (size_t i = *first; i < size && ready < count; ++i) {
    if (here ? entries[i]->local() : entries[i]->ready()) {
      ++ready;
    } else if (here && entries[i]->state == ObjectState::kStored) {
      directory_.Want(entries[i]);
    }
  }
  return ready >= count;
}

bool ObjectReader::Wait(ObjectEntry* const* entries, size_t size, size_t count, bool here,
                        int64_t deadline_ns, bool or_error) {
  Lock lock(process_.mutex());
  size_t first = 0;
  size_t wanted = 0;
  uint64_t errors_seen = UINT64_MAX;
  const auto failed = [&] {
    if (errors_seen == directory_.errors()) return false;  // no new one: nothing to look for
    errors_seen = directory_.errors();
    // A pull that another thread waited for too may have failed, and that thread took the error:
    // what is not here is wanted anew.
    wanted = 0;
    return or_error && std::any_of(entries, entries + size, [](const ObjectEntry* entry) {
             return entry->pull_failed || (entry->is_error && entry->local());
           });
  };
  const auto ready = [&] {
    if (failed()) return true;
    // An object that turned out to be in a store has to be pulled, whoever resolved it.
    while (here && count == size && wanted < size) {
      ObjectEntry* entry = entries[wanted];
      if (!entry->local()) {
        directory_.Want(entry);
        if (entry->state == ObjectState::kPending) break;
      }
      ++wanted;
    }
    return CountReady(entries, size, count, here, &first);
  };
  if (ready()) return true;
  Waits::Scope scope(process_.waits(), entries, size, or_error);
  for (size_t i = 0; i < size; ++i) directory_.Want(entries[i]);
  bool done = false;
  const auto over = [&] { return (done = ready()) || process_.leaving(); };
  if (!executor_.LendsCpu()) {
    process_.WaitAttentively(lock, deadline_ns, std::ref(over));
  } else if (!WaitBriefly(lock, entries, size, deadline_ns, std::ref(over)) && !done) {
    executor_.SetBlocked(true);
    process_.WaitAttentively(lock, deadline_ns, std::ref(over));
    executor_.SetBlocked(false);
  }
  if (!done && or_error) {
    for (size_t i = 0; i < size; ++i) directory_.DropPullError(entries[i]);  // nobody reads it
  }
  return done;
}

bool ObjectReader::WaitBriefly(Lock& lock, ObjectEntry* const* entries, size_t size,
                               int64_t deadline_ns, const std::function<bool()>& over) {
  // A wait shorter than this is not worth telling anybody.
  constexpr int64_t kPatienceNs = 200'000;
  // For objects that are on this node, or may be: their owner has not answered yet.
  constexpr int64_t kNearPatienceNs = 100'000'000;
  const int64_t start = MonotonicNs();
  if (process_.poller().WaitUntil(lock, std::min(deadline_ns, start + kPatienceNs), over))
    return true;
  const auto far = [&] {
    return std::any_of(entries, entries + size,
                       [this](const ObjectEntry* entry) { return IsFar(*entry); });
  };
  process_.poller().WaitUntil(lock, std::min(deadline_ns, start + kNearPatienceNs),
                              [&] { return over() || far(); });
  return over() || MonotonicNs() >= deadline_ns;
}

bool ObjectReader::IsFar(const ObjectEntry& entry) const {
  if (entry.state == ObjectState::kPending) return entry.owned || entry.told_pending;
  if (entry.local()) return false;
  const auto& places = entry.extra->locations;
  return std::find(places.begin(), places.end(), process_.address().node) == places.end();
}

bool ObjectReader::AreDistinct(ObjectEntry* const* entries, size_t size) {
  std::lock_guard lock(process_.mutex());
  const uint32_t search = ++searches_;
  for (size_t i = 0; i < size; ++i) {
    if (entries[i]->search == search) {
      // There twice, or last looked at in the search that had this number 2^32 searches ago.
      std::vector<const ObjectEntry*> sorted(entries, entries + size);
      std::sort(sorted.begin(), sorted.end());
      return std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end();
    }
    entries[i]->search = search;
  }
  return true;
}

void ObjectReader::FindReady(ObjectEntry* const* entries, size_t size, size_t count, bool here,
                             std::vector<size_t>* found) {
  std::lock_guard lock(process_.mutex());
  for (size_t i = 0; i < size && found->size() < count; ++i) {
    if (here ? entries[i]->local() : entries[i]->ready()) found->push_back(i);
  }
}

void ObjectReader::ReadyFlags(ObjectEntry* const* entries, size_t size, bool here, uint8_t* flags) {
  std::lock_guard lock(process_.mutex());
  for (size_t i = 0; i < size; ++i) flags[i] = here ? entries[i]->local() : entries[i]->ready();
}

size_t ObjectReader::ReadMany(ObjectEntry* const* entries, size_t size, ReadView* views) {
  std::lock_guard lock(process_.mutex());
  for (size_t i = 0; i < size; ++i) {
    ObjectEntry* entry = entries[i];
    ReadView& view = views[i];
    if (entry->state == ObjectState::kInline) {
      if (entry->is_error) directory_.NoteErrorRead(entry);
      entry->value->Ref();
      ViewValue(entry->value.get(), entry->is_error, view);
    } else if (entry->pin != nullptr) {
      directory_.AddView(entry->pin);
      view.is_error = entry->is_error;
      view.value = nullptr;
      view.pin = entry->pin;
      view.data = store_.arena().read(entry->pin->offset);
      view.size = entry->pin->bytes;
    } else if (entry->pull_failed) {
      ViewValue(directory_.TakePullError(entry).release(), true, view);
      process_.poller().WakeWaiters();
    } else {
      return i;
    }
  }
  return size;
}

void ObjectReader::NoteErrorsRead(ObjectEntry* const* entries, size_t size) {
  std::lock_guard lock(process_.mutex());
  for (size_t i = 0; i < size; ++i) {
    if (entries[i]->is_error) directory_.NoteErrorRead(entries[i]);
  }
}

void ObjectReader::UnrefPin(LocalPin* pin) {
  std::lock_guard lock(process_.mutex());
  directory_.DropView(pin);
}

void ObjectReader::AddCallback(ObjectEntry* entry, uint64_t token) {
  std::lock_guard lock(process_.mutex());
  directory_.AddCallback(entry, token);
  process_.FlushAll();
}

void ObjectReader::RemoveCallback(ObjectEntry* entry, uint64_t token) {
  std::lock_guard lock(process_.mutex());
  directory_.RemoveCallback(entry, token);
}

bool ObjectReader::ReadArgument(ExecTask* task, size_t index, ReadView* view) {
  if (index >= task->arguments.size()) return false;
  const Argument& argument = task->arguments[index];
  if (argument.entry != nullptr) return Read(argument.entry, view);
  argument.value->Ref();
  ViewValue(argument.value.get(), argument.is_error, *view);
  return true;
}

}  // namespace cyray::core
