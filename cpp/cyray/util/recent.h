// Recent: a bounded memory of what is gone: the latest things, up to a number and an age.
// Threading: confined to its owner's thread. Pure: time is given to it (monotonic milliseconds).

#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <list>
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
    const auto [it, added] = values_.try_emplace(key, Kept{std::move(value), {}});
    if (added) it->second.place = order_.emplace(order_.end(), now_ms, key);
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
    return it == values_.end() ? nullptr : &it->second.value;
  }
  Value* Find(const Key& key) {
    const auto it = values_.find(key);
    return it == values_.end() ? nullptr : &it->second.value;
  }
  // The oldest first: visit(key, value).
  template <class Visitor>
  void ForEach(Visitor visit) const {
    for (const auto& [at_ms, key] : order_) visit(key, *Find(key));
  }
  bool Remove(const Key& key) {
    const auto it = values_.find(key);
    if (it == values_.end()) return false;
    order_.erase(it->second.place);
    values_.erase(it);
    return true;
  }
  size_t size() const { return values_.size(); }

 private:
  using Order = std::list<std::pair<int64_t, Key>>;
  struct Kept {
    Value value;
    typename Order::iterator place;
  };
  size_t limit_;
  int64_t keep_ms_;
  std::map<Key, Kept> values_;
  Order order_;  // the oldest first
};

}  // namespace cyray
