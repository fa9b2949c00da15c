// Recent: a bounded memory of what is gone: the latest things, up to a number and an age.
// Threading: confined to its owner's thread. Pure: time is given to it (monotonic milliseconds).

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <utility>
#include <vector>

namespace cyray {

template <class Key, class Value>
class Recent {
 public:
  static constexpr int64_t kForEver = std::numeric_limits<int64_t>::max();
  explicit Recent(size_t limit, int64_t keep_ms = kForEver) : limit_(limit), keep_ms_(keep_ms) {}

  // False when it is remembered already; nothing changes then. What is too old or too many goes;
  // returns in `forgotten`, when given, whose it was.
  bool Add(const Key& key, Value value, int64_t now_ms, std::vector<Key>* forgotten = nullptr) {
    const bool added = values_.try_emplace(key, std::move(value)).second;
    if (added) order_.emplace_back(now_ms, key);
    while (order_.size() > limit_ ||
           (!order_.empty() && now_ms - order_.front().first > keep_ms_)) {
      values_.erase(order_.front().second);
      if (forgotten != nullptr) forgotten->push_back(order_.front().second);
      order_.pop_front();
    }
    return added;
  }
  // nullptr: not remembered. Valid until the next change.
  const Value* Find(const Key& key) const {
    const auto it = values_.find(key);
    return it == values_.end() ? nullptr : &it->second;
  }
  Value* Find(const Key& key) {
    const auto it = values_.find(key);
    return it == values_.end() ? nullptr : &it->second;
  }
  // The oldest first: visit(key, value).
  template <class Visitor>
  void ForEach(Visitor visit) const {
    for (const auto& [at_ms, key] : order_) visit(key, *Find(key));
  }
  bool Remove(const Key& key) {
    if (values_.erase(key) == 0) return false;
    std::erase_if(order_, [&key](const auto& made) { return made.second == key; });
    return true;
  }
  size_t size() const { return values_.size(); }

 private:
  const size_t limit_;
  const int64_t keep_ms_;
  std::map<Key, Value> values_;
  std::deque<std::pair<int64_t, Key>> order_;
};

}  // namespace cyray
