#include "cyray/core/call_set.h"

#include <algorithm>

namespace cyray::core {

void CallSet::AddRange(uint64_t begin, uint64_t end) {
  if (begin >= end) return;
  if (!ranges_.empty() && ranges_.back().end() == begin) {
    ranges_.back() = {ranges_.back().begin(), end};
    return;
  }
  // Those from `first` on end at `begin` or later, those from `last` on begin after `end`.
  const auto first = std::partition_point(ranges_.begin(), ranges_.end(),
                                          [&](const auto& range) { return range.end() < begin; });
  const auto last = std::partition_point(first, ranges_.end(),
                                         [&](const auto& range) { return range.begin() <= end; });
  if (first == last) {
    ranges_.insert(first, {begin, end});
    return;
  }
  *first = {std::min(begin, first->begin()), std::max(end, (last - 1)->end())};
  ranges_.erase(first + 1, last);
}

bool CallSet::Has(uint64_t call) const {
  if (ranges_.empty() || call >= ranges_.back().end()) return false;
  const auto range = std::partition_point(ranges_.begin(), ranges_.end(),
                                          [&](const auto& one) { return one.end() <= call; });
  return range->begin() <= call;
}

void CallSet::DropBelow(uint64_t floor) {
  const auto kept = std::partition_point(ranges_.begin(), ranges_.end(),
                                         [&](const auto& range) { return range.end() <= floor; });
  ranges_.erase(ranges_.begin(), kept);
  if (ranges_.empty() || ranges_.front().begin() >= floor) return;
  ranges_.front() = {floor, ranges_.front().end()};
}

CallSet CallSet::Read(const flatbuffers::Vector<const wire::CallRange*>* ranges) {
  CallSet out;
  if (ranges == nullptr) return out;
  for (const wire::CallRange* range : *ranges) out.AddRange(range->begin(), range->end());
  return out;
}

}  // namespace cyray::core
