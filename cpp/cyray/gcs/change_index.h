// ChangeIndex: the latest change of each thing by its number, so that who knows all changes up to
// one is told those after it, and no others.
//
// Numbers are kept with the things on disk, so that they go on when the GCS is started again,
// behind a gap: the last ones may have been of things that were forgotten since, and are known to
// others. Threading: confined to its owner. Pure. Invariant: a thing has one number, its latest.

#pragma once

#include <algorithm>
#include <cstdint>
#include <map>

namespace cyray::gcs {

template <class Key>
class ChangeIndex {
 public:
  // Its number, greater than all before.
  uint64_t Next(const Key& key) {
    Restore(key, last_ + 1);
    return last_;
  }
  void Restore(const Key& key, uint64_t number) {
    Forget(key);
    numbers_[key] = number;
    by_number_[number] = key;
    last_ = std::max(last_, number);
  }
  void Forget(const Key& key) {
    const auto it = numbers_.find(key);
    if (it == numbers_.end()) return;
    by_number_.erase(it->second);
    numbers_.erase(it);
  }
  // All that was kept is restored.
  void BeginAnew() { last_ += kGap; }
  uint64_t last() const { return last_; }
  // In their order.
  template <class Visitor>
  void ForEachAfter(uint64_t number, Visitor visit) const {
    for (auto it = by_number_.upper_bound(number); it != by_number_.end(); ++it) visit(it->second);
  }

 private:
  static constexpr uint64_t kGap = uint64_t{1} << 32;
  std::map<Key, uint64_t> numbers_;
  std::map<uint64_t, Key> by_number_;
  uint64_t last_ = 0;
};

}  // namespace cyray::gcs
