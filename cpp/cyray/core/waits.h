// Waits: what the threads of this process wait for, for people who ask why nothing happens.
//
// A wait is a Scope on the stack of the thread that waits. Guarded by the core mutex, which the
// thread holds whenever it does not sleep.

#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "cyray/core/object_entry.h"
#include "cyray/util/clock.h"

namespace cyray::core {

class Waits {
 public:
  class Scope {
   public:
    // `what` must outlive the scope; `detail` continues it.
    Scope(Waits& waits, const char* what, std::string detail = {})
        : Scope(waits, what, std::move(detail), nullptr, 0) {}
    // A wait for objects; `to_read`: for all, and an error is as good as a value.
    Scope(Waits& waits, ObjectEntry* const* entries, size_t size, bool to_read)
        : Scope(waits, "objects", {}, entries, size) {
      to_read_ = to_read;
    }
    ~Scope() {
      (previous_ != nullptr ? previous_->next_ : waits_.first_) = next_;
      if (next_ != nullptr) next_->previous_ = previous_;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    friend class Waits;
    Scope(Waits& waits, const char* what, std::string detail, ObjectEntry* const* entries,
          size_t size)
        : waits_(waits),
          what_(what),
          detail_(std::move(detail)),
          entries_(entries),
          size_(size),
          number_(++waits.begun_),
          since_ns_(MonotonicNs()),
          next_(waits.first_) {
      if (next_ != nullptr) next_->previous_ = this;
      waits.first_ = this;
    }

    Waits& waits_;
    const char* const what_;
    const std::string detail_;
    ObjectEntry* const* const entries_;
    const size_t size_;
    bool to_read_ = false;
    const uint64_t number_;  // of all waits of this process
    const int64_t since_ns_;
    Scope* next_;
    Scope* previous_ = nullptr;
  };

  // A wait, for who tells of it.
  struct Wait {
    const char* what;
    const std::string& detail;
    ObjectEntry* const* entries;
    size_t size;
    bool for_all;  // to read them; else some may be enough
    uint64_t number;
    int64_t since_ns;
  };
  bool any() const { return first_ != nullptr; }
  void ForEach(const std::function<void(const Wait&)>& visit) const {
    for (const Scope* wait = first_; wait != nullptr; wait = wait->next_) {
      visit({wait->what_, wait->detail_, wait->entries_, wait->size_, wait->to_read_, wait->number_,
             wait->since_ns_});
    }
  }

  bool IsWaitedFor(const ObjectEntry* entry, bool to_read) const {
    for (const Scope* wait = first_; wait != nullptr; wait = wait->next_) {
      if (to_read && !wait->to_read_) continue;
      const auto end = wait->entries_ + wait->size_;
      if (std::find(wait->entries_, end, entry) != end) return true;
    }
    return false;
  }

  void ForEachEntry(const std::function<void(ObjectEntry*)>& visit) const {
    for (const Scope* wait = first_; wait != nullptr; wait = wait->next_) {
      for (size_t i = 0; i < wait->size_; ++i) visit(wait->entries_[i]);
    }
  }

  // A line per wait, and one for each of the first objects that are missing, in the words of
  // `describe`.
  void Describe(std::string& out,
                const std::function<std::string(const ObjectEntry&)>& describe) const {
    constexpr size_t kMostObjects = 3;
    for (const Scope* wait = first_; wait != nullptr; wait = wait->next_) {
      size_t missing = 0;
      std::string lines;
      for (size_t i = 0; i < wait->size_; ++i) {
        if (wait->entries_[i]->local()) continue;
        if (++missing <= kMostObjects) lines += "  " + describe(*wait->entries_[i]) + "\n";
      }
      out += "a thread waits for ";
      if (wait->size_ > 0)
        out += std::to_string(missing) + " of " + std::to_string(wait->size_) + " ";
      out += wait->what_ + wait->detail_ + ", for " +
             std::to_string((MonotonicNs() - wait->since_ns_) / 1'000'000) + " ms\n" + lines;
    }
  }

 private:
  Scope* first_ = nullptr;
  uint64_t begun_ = 0;
};

}  // namespace cyray::core
