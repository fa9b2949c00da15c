#include "cyray/core/pin_table.h"

#include <algorithm>

namespace cyray::core {

LocalPin* PinTable::Add(ObjectEntry* entry, uint64_t offset, uint64_t bytes, bool* added) {
  auto [it, is_new] = pins_.try_emplace(entry->id);
  LocalPin* pin = &it->second;
  *added = is_new;
  if (is_new) {
    pin->id = entry->id;
    pin->offset = offset;
    pin->bytes = bytes;
    List(pin);
  }
  pin->entry = entry;
  entry->pin = pin;
  return pin;
}

bool PinTable::DropEntry(LocalPin* pin) {
  pin->entry->pin = nullptr;
  pin->entry = nullptr;
  if (IsNeeded(*pin)) return false;
  Unlist(pin);
  pins_.erase(ObjectId(pin->id));
  return true;
}

std::vector<ObjectId> PinTable::TakeWarm(size_t keep) {
  std::vector<ObjectId> taken;
  for (LocalPin* pin = oldest_; pin != nullptr && warm_ > keep;) {
    LocalPin* next = pin->newer;
    if (!pin->only_copy && !pin->awaited) {
      taken.push_back(pin->id);
      DropEntry(pin);
    }
    pin = next;
  }
  const size_t stay = std::max(kMaxWarm, warm_);
  trim_above_ = stay + stay / 8;
  return taken;
}

void PinTable::ForEachViewed(const std::function<void(const LocalPin&)>& visit) const {
  for (const auto& [id, pin] : pins_) {
    if (pin.views > 0) visit(pin);
  }
}

std::string PinTable::CheckInvariants() const {
  size_t warm = 0;
  for (const auto& [id, pin] : pins_) {
    if (pin.id != id) return "a pin has another id than its place";
    if (pin.entry != nullptr && pin.entry->pin != &pin) return id.Hex() + " is not its entry's pin";
    if (IsNeeded(pin)) continue;
    if (pin.entry == nullptr) return id.Hex() + " is pinned for nobody";
    ++warm;
  }
  size_t listed = 0;
  for (const LocalPin* pin = oldest_; pin != nullptr; pin = pin->newer) {
    if (IsNeeded(*pin)) return pin->id.Hex() + " is warm and needed";
    if (pin->newer == nullptr && pin != newest_) return "the warm pins have two ends";
    ++listed;
  }
  return listed == warm && warm == warm_ ? "" : "warm pins are miscounted";
}

}  // namespace cyray::core
