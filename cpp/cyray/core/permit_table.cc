#include "cyray/core/permit_table.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "cyray/util/log.h"

namespace cyray::core {

PermitTable::Answers PermitTable::Tell(const FunctionId& function, const Holder& holder,
                                       const Wish& wish, uint64_t granted_before) {
  Entries& entries = functions_[function];
  const auto [it, added] = entries.try_emplace(holder);
  Entry& entry = it->second;
  // Whoever has returned one is behind those who wait.
  const bool waited = !added && entry.wants() && wish.returned <= entry.wish.returned;
  if (added) entry.granted = std::max(granted_before, wish.returned);
  // What was said before may come after.
  if (wish.returned >= entry.wish.returned) entry.wish = wish;
  entry.wish.returned = std::min(entry.wish.returned, entry.granted);
  entry.wish.wanted = std::min(entry.wish.wanted, kMostWanted);
  if (!waited) entry.since = ++told_;
  entry.news = true;
  return Settle(function);
}

PermitTable::Answers PermitTable::Gone(const Address& process) {
  Answers all;
  std::vector<FunctionId> changed;
  for (auto& [function, entries] : functions_) {
    const auto gone = [&](const auto& item) { return item.first.process == process; };
    if (std::erase_if(entries, gone) > 0) changed.push_back(function);
  }
  for (const FunctionId& function : changed) {
    const Answers answers = Settle(function);
    all.insert(all.end(), answers.begin(), answers.end());
  }
  return all;
}

PermitTable::Answers PermitTable::Settle(const FunctionId& function) {
  Entries& entries = functions_.at(function);
  Grant(entries);
  Recall(entries);
  Answers answers;
  for (auto& [holder, entry] : entries) {
    if (!std::exchange(entry.news, false)) continue;
    answers.push_back({holder, function, entry.granted, entry.wish.returned, entry.recalled});
  }
  // Should it want one again, it says what it was granted.
  std::erase_if(entries, [](const auto& item) {
    return item.second.held() == 0 && item.second.wish.wanted == 0;
  });
  if (entries.empty()) functions_.erase(function);
  return answers;
}

void PermitTable::Grant(Entries& entries) {
  size_t held = 0;
  for (const auto& [holder, entry] : entries) held += entry.held();
  for (;;) {
    Entry* next = nullptr;
    for (auto& [holder, entry] : entries) {
      if (!entry.wants() || held >= entry.wish.limit) continue;
      const auto rank = [](const Entry& e) { return std::tuple(e.held(), e.since); };
      if (next == nullptr || rank(entry) < rank(*next)) next = &entry;
    }
    if (next == nullptr) return;
    ++next->granted;
    next->news = true;
    ++held;
  }
}

// As many are asked for as would let those who wait come closer to those who hold most. Whoever has
// one waits for more only until it has one less than these, so that permits do not go to and fro.
void PermitTable::Recall(Entries& entries) {
  struct Share {
    Entry* entry;
    uint64_t has;    // when all that is asked for has been returned and granted anew
    uint64_t spare;  // that it holds, and was not asked for
  };
  std::vector<Share> shares;
  uint64_t coming = 0, held = 0;
  for (const auto& [holder, entry] : entries) held += entry.held();
  // One with a lower limit than others have waits for these: no single one that came back would do.
  const auto waits_for_one = [held](const Entry& entry) {
    return entry.wants() && held <= entry.wish.limit;
  };
  bool waits = false;
  for (auto& [holder, entry] : entries) {
    coming += entry.asked_back();
    waits |= waits_for_one(entry);
    const uint64_t spare = entry.held() - entry.asked_back();
    shares.push_back({&entry, spare, spare});
  }
  if (!waits) {  // nobody needs what was asked for
    for (auto& [holder, entry] : entries) {
      entry.news |= entry.asked_back() > 0;
      entry.recalled = entry.wish.returned;
    }
    return;
  }
  for (;;) {
    Share* next = nullptr;
    Share* richest = nullptr;
    for (Share& share : shares) {
      const auto less = [](const Share& a, const Share& b) {
        return std::tuple(a.has, a.entry->since) < std::tuple(b.has, b.entry->since);
      };
      const bool wants = waits_for_one(*share.entry) && share.has < share.entry->wish.wanted;
      if (wants && (next == nullptr || less(share, *next))) next = &share;
      if (share.spare > 0 && (richest == nullptr || share.has > richest->has)) richest = &share;
    }
    if (next == nullptr) return;
    if (coming > 0) {  // one of those that come
      --coming;
      ++next->has;
      continue;
    }
    if (richest == nullptr || richest->has <= next->has + (next->has > 0 ? 1 : 0)) return;
    Entry& giver = *richest->entry;
    giver.recalled = std::max(giver.recalled, giver.wish.returned) + 1;
    giver.news = true;
    --richest->has;
    --richest->spare;
    ++next->has;
  }
}

size_t PermitTable::held(const FunctionId& function) const {
  const auto it = functions_.find(function);
  if (it == functions_.end()) return 0;
  size_t held = 0;
  for (const auto& [holder, entry] : it->second) held += entry.held();
  return held;
}

void PermitTable::CheckInvariants() const {
  for (const auto& [function, entries] : functions_) {
    uint64_t held = 0, most = 0;
    for (const auto& [holder, entry] : entries) {
      CYRAY_CHECK(entry.granted >= entry.wish.returned) << function.Hex();
      CYRAY_CHECK(entry.asked_back() <= entry.held()) << function.Hex();
      held += entry.held();
      most = std::max<uint64_t>(most, entry.wish.limit);
    }
    for (const auto& [holder, entry] : entries) {
      CYRAY_CHECK(!entry.wants() || held >= entry.wish.limit) << "one could be granted";
    }
  }
}

}  // namespace cyray::core
