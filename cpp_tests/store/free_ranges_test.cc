// FreeRanges against a map that is searched from its beginning.

#include "cyray/store/free_ranges.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace cyray::store {
namespace {

class Model {
 public:
  void Add(uint64_t offset, uint64_t bytes) {
    auto next = ranges_.lower_bound(offset);
    if (next != ranges_.end() && offset + bytes == next->first) {
      bytes += next->second;
      next = ranges_.erase(next);
    }
    if (next != ranges_.begin() && std::prev(next)->first + std::prev(next)->second == offset) {
      std::prev(next)->second += bytes;
    } else {
      ranges_[offset] = bytes;
    }
  }
  std::optional<uint64_t> Take(uint64_t bytes) {
    for (auto it = ranges_.begin(); it != ranges_.end(); ++it) {
      const auto [offset, size] = *it;
      if (size < bytes) continue;
      ranges_.erase(it);
      if (size > bytes) ranges_[offset + bytes] = size - bytes;
      return offset;
    }
    return std::nullopt;
  }
  const std::map<uint64_t, uint64_t>& ranges() const { return ranges_; }

 private:
  std::map<uint64_t, uint64_t> ranges_;
};

TEST(FreeRanges, AnEmptyOneHasNothing) {
  FreeRanges free;
  EXPECT_EQ(free.Take(1), std::nullopt);
  EXPECT_EQ(free.largest(), 0u);
  free.Add(10, 5);
  EXPECT_EQ(free.Take(6), std::nullopt);
  EXPECT_EQ(free.Take(5), 10u);
  EXPECT_EQ(free.size(), 0u);
}

TEST(FreeRanges, RandomOperationsMatchTheModel) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    FreeRanges free;
    Model model;
    free.Add(0, 100'000);
    model.Add(0, 100'000);
    std::vector<std::pair<uint64_t, uint64_t>> taken;
    for (int step = 0; step < 4000; ++step) {
      if (random() % 2 == 0 || taken.empty()) {
        const uint64_t bytes = 1 + random() % (random() % 8 == 0 ? 5000 : 200);
        const auto offset = free.Take(bytes);
        ASSERT_EQ(offset, model.Take(bytes)) << "step " << step;
        if (offset) taken.emplace_back(*offset, bytes);
      } else {
        std::swap(taken[random() % taken.size()], taken.back());
        free.Add(taken.back().first, taken.back().second);
        model.Add(taken.back().first, taken.back().second);
        taken.pop_back();
      }
      if (step % 20 != 0) continue;
      ASSERT_EQ(free.CheckInvariants(), "") << "step " << step;
      std::map<uint64_t, uint64_t> ranges;
      free.ForEach([&](uint64_t offset, uint64_t bytes) { ranges[offset] = bytes; });
      ASSERT_EQ(ranges, model.ranges()) << "step " << step;
    }
    for (const auto& [offset, bytes] : taken) free.Add(offset, bytes);
    EXPECT_EQ(free.largest(), 100'000u);
    EXPECT_EQ(free.size(), 1u);
  }
}

}  // namespace
}  // namespace cyray::store
