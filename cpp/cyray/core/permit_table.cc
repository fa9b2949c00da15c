#include "cyray/core/permit_table.h"

#include <algorithm>
#include <tuple>

#include "cyray/util/log.h"

namespace cyray::core {

PermitTable::Answers PermitTable::Tell(const FunctionId& function, const Holder& holder,
                                       const Wish& wish, uint64_t granted_before) {
  Entries& entries = functions_[function];
  const auto [it, added] = entries.try_emplace(holder);
  Entry& entry = it->second;
  // Whoever has returned one is behind those who wait.
  const bool waited = !added && entry.wants() && wish.returned <= entry.wish.returned;
  if (added) {
    entry.granted = std::clamp(granted_before, wish.returned, wish.returned + kMostWanted);
  }
  // What was said before may come after.
  if (wish.returned >= entry.wish.returned) entry.wish = wish;
  entry.wish.returned = std::min(entry.wish.returned, entry.granted);
  entry.wish.wanted = std::min(entry.wish.wanted, kMostWanted);
  if (!waited) entry.since = ++told_;
  return Settle(function, &holder);
}

PermitTable::Answers PermitTable::Gone(const Address& process) {
  Answers all;
  std::vector<FunctionId> empty;
  for (auto& [function, entries] : functions_) {
    const auto gone = [&](const auto& item) { return item.first.process == process; };
    if (std::erase_if(entries, gone) == 0) continue;
    const Answers answers = Settle(function, nullptr);
    all.insert(all.end(), answers.begin(), answers.end());
    if (entries.empty()) empty.push_back(function);
  }
  for (const FunctionId& function : empty) functions_.erase(function);
  return all;
}

PermitTable::Answers PermitTable::Settle(const FunctionId& function, const Holder* told) {
  Entries& entries = functions_.at(function);
  const Entries before = entries;
  Grant(entries);
  Recall(entries);
  Answers answers;
  for (const auto& [holder, entry] : entries) {
    const Entry& old = before.at(holder);
    const bool news = entry.granted != old.granted || entry.recalled != old.recalled;
    if (!news && (told == nullptr || holder != *told)) continue;
    answers.push_back({holder, function, entry.granted, entry.recalled});
  }
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
  uint64_t coming = 0;
  bool waits = false;
  for (auto& [holder, entry] : entries) {
    coming += entry.asked_back();
    waits |= entry.wants();
    const uint64_t spare = entry.held() - entry.asked_back();
    shares.push_back({&entry, spare, spare});
  }
  if (!waits) {  // nobody needs what was asked for
    for (auto& [holder, entry] : entries) entry.recalled = entry.wish.returned;
    return;
  }
  for (;;) {
    Share* next = nullptr;
    Share* richest = nullptr;
    for (Share& share : shares) {
      const auto less = [](const Share& a, const Share& b) {
        return std::tuple(a.has, a.entry->since) < std::tuple(b.has, b.entry->since);
      };
      const bool wants = share.entry->wants() && share.has < share.entry->wish.wanted;
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
