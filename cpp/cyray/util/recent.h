// Recent: a bounded memory of what is gone: the latest things, up to a number, an age and, if need
// be, a weight. The latest one stays, whatever it weighs.
// Threading: confined to its owner's thread. Pure: time is given to it (monotonic milliseconds).

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <utility>
#include <vector>

namespace cyray {

template <class Key, class Value>
class Recent {
 public:
  static constexpr int64_t kForEver = std::numeric_limits<int64_t>::max();
  using Weight = std::function<size_t(const Value&)>;
  explicit Recent(size_t limit, int64_t keep_ms = kForEver) : limit_(limit), keep_ms_(keep_ms) {}
  // All together weigh at most `weight_limit`.
  Recent(size_t limit, int64_t keep_ms, Weight weight, size_t weight_limit)
      : limit_(limit), keep_ms_(keep_ms), weight_(std::move(weight)), weight_limit_(weight_limit) {}

  // False when it is remembered already; nothing changes then. What is too old or too many goes;
  // returns in `forgotten`, when given, whose it was.
  bool Add(const Key& key, Value value, int64_t now_ms, std::vector<Key>* forgotten = nullptr) {
    const auto [it, added] = values_.try_emplace(key, std::move(value));
    if (added) {
      order_.emplace_back(now_ms, key);
      weighs_ += WeightOf(it->second);
    }
    while (order_.size() > limit_ || (weighs_ > weight_limit_ && order_.size() > 1) ||
           (!order_.empty() && now_ms - order_.front().first > keep_ms_)) {
      const auto oldest = values_.find(order_.front().second);
      weighs_ -= WeightOf(oldest->second);
      values_.erase(oldest);
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
    const auto it = values_.find(key);
    if (it == values_.end()) return false;
    weighs_ -= WeightOf(it->second);
    values_.erase(it);
    std::erase_if(order_, [&key](const auto& made) { return made.second == key; });
    return true;
  }
  size_t size() const { return values_.size(); }

 private:
  size_t WeightOf(const Value& value) const { return weight_ ? weight_(value) : 0; }

  const size_t limit_;
  const int64_t keep_ms_;
  const Weight weight_;
  const size_t weight_limit_ = 0;
  size_t weighs_ = 0;
  std::map<Key, Value> values_;
  std::deque<std::pair<int64_t, Key>> order_;
};

}  // namespace cyray
