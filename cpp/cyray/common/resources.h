// ResourceSet: amounts of named resources in units of 1/10000, as leases and nodes count them.
//
// Invariant: no stored amount is zero; amounts may be negative (a node whose blocked tasks all came
// back at once). Sums that no 64 bits hold, which only nonsense from a peer gives, stop at the
// limit. Names are the users': "CPU", "GPU", "memory" (bytes), "node:<ip>", custom ones. Threading:
// a value.

#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <string>

namespace cyray {

inline constexpr int64_t kResourceUnit = 10'000;

class ResourceSet {
 public:
  ResourceSet() = default;

  int64_t Get(const std::string& name) const {
    auto it = amounts_.find(name);
    return it == amounts_.end() ? 0 : it->second;
  }
  void Set(const std::string& name, int64_t amount) {
    amount = std::max(amount, -kMax);
    if (amount == 0) {
      amounts_.erase(name);
    } else {
      amounts_[name] = amount;
    }
  }
  void Add(const ResourceSet& other) {
    for (const auto& [name, amount] : other.amounts_) Set(name, Sum(Get(name), amount));
  }
  void Subtract(const ResourceSet& other) {
    for (const auto& [name, amount] : other.amounts_) Set(name, Sum(Get(name), -amount));
  }
  // Whether every amount of `demand` is there.
  bool Covers(const ResourceSet& demand) const {
    for (const auto& [name, amount] : demand.amounts_) {
      if (amount > 0 && Get(name) < amount) return false;
    }
    return true;
  }
  bool empty() const { return amounts_.empty(); }
  const std::map<std::string, int64_t>& amounts() const { return amounts_; }
  // "CPU: 1, GPU: 0.5", for messages.
  std::string ToString() const;
  auto operator<=>(const ResourceSet&) const = default;

 private:
  static constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  static int64_t Sum(int64_t a, int64_t b) {
    int64_t sum;
    if (__builtin_add_overflow(a, b, &sum)) return b > 0 ? kMax : -kMax;
    return sum;
  }

  std::map<std::string, int64_t> amounts_;
};

}  // namespace cyray
