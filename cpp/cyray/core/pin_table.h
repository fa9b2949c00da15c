// PinTable: the pins that this process has on sealed objects of its node's arena.
//
// A pin is needed while somebody reads (views) or is about to (holds). One that nobody needs stays
// *warm* as long as its entry lives, so that the next read asks nobody; the raylet may want warm
// pins back, for their objects are in the way of others (TakeWarm), and beyond kMaxWarm the longest
// unused go. A pin whose object has no other copy stays: the raylet would evict the object.
//
// The caller tells the raylet of each pin that goes. Guarded by the core mutex.
// Invariants (CheckInvariants): exactly the pins without views and holds are warm; each has an
// entry, which names it.

#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "cyray/core/object_entry.h"

namespace cyray::core {

class PinTable {
 public:
  // More warm ones than this are trimmed to it, an eighth at a time.
  static constexpr size_t kMaxWarm = 8'192;

  // The pin that `entry` reads through from now on. False in `added`: this process had one already,
  // and the raylet counts one too many.
  LocalPin* Add(ObjectEntry* entry, uint64_t offset, uint64_t bytes, bool* added);
  void AddView(LocalPin* pin) {
    Need(pin);
    ++pin->views;
  }
  void AddHold(LocalPin* pin) {
    Need(pin);
    ++pin->holds;
  }
  // True when the pin is gone.
  bool DropView(LocalPin* pin) {
    --pin->views;
    return Unneeded(pin);
  }
  bool DropHold(LocalPin* pin) {
    --pin->holds;
    return Unneeded(pin);
  }
  // The entry goes. True when the pin went, too.
  bool DropEntry(LocalPin* pin);

  bool TooManyWarm() const { return warm_ > trim_above_; }
  // Gives up warm pins but for `keep` of them, the longest unused first, and those that are awaited
  // or only copies. Their entries have none then. Those that had to stay are not looked at again
  // before an eighth more has come.
  std::vector<ObjectId> TakeWarm(size_t keep);

  void ForEachViewed(const std::function<void(const LocalPin&)>& visit) const;
  size_t size() const { return pins_.size(); }
  // Empty when all invariants hold, otherwise what is wrong.
  std::string CheckInvariants() const;

 private:
  static bool IsNeeded(const LocalPin& pin) { return pin.views > 0 || pin.holds > 0; }
  void Need(LocalPin* pin) {
    if (!IsNeeded(*pin)) Unlist(pin);
  }
  bool Unneeded(LocalPin* pin) {
    if (IsNeeded(*pin)) return false;
    if (pin->entry != nullptr) return List(pin), false;
    pins_.erase(ObjectId(pin->id));
    return true;
  }
  void List(LocalPin* pin) {
    pin->older = newest_;
    pin->newer = nullptr;
    (newest_ != nullptr ? newest_->newer : oldest_) = pin;
    newest_ = pin;
    ++warm_;
  }
  void Unlist(LocalPin* pin) {
    (pin->older != nullptr ? pin->older->newer : oldest_) = pin->newer;
    (pin->newer != nullptr ? pin->newer->older : newest_) = pin->older;
    pin->older = pin->newer = nullptr;
    --warm_;
  }

  std::unordered_map<ObjectId, LocalPin> pins_;
  LocalPin* oldest_ = nullptr;  // of the warm ones
  LocalPin* newest_ = nullptr;
  size_t warm_ = 0;
  size_t trim_above_ = kMaxWarm + kMaxWarm / 8;
};

}  // namespace cyray::core
