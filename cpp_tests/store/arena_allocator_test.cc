// ArenaAllocator: placement, reuse, coalescing, and random operations against a byte map.

#include "cyray/store/arena_allocator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <vector>

namespace cyray::store {
namespace {

constexpr uint64_t kMiB = 1 << 20;

TEST(ArenaAllocator, BlocksAreAlignedAndNeverEmpty) {
  ArenaAllocator allocator(kMiB);
  EXPECT_EQ(allocator.Allocate(0), 0u);
  EXPECT_EQ(allocator.Allocate(1), 64u);
  EXPECT_EQ(allocator.Allocate(65), 128u);
  EXPECT_EQ(allocator.Allocate(64), 256u);
  EXPECT_EQ(allocator.used_bytes(), 64u + 64 + 128 + 64);
  EXPECT_EQ(allocator.CheckInvariants(), "");
}

TEST(ArenaAllocator, TheLowestRangeThatFitsIsUsed) {
  ArenaAllocator allocator(16 * kMiB);
  const auto a = allocator.Allocate(2 * kMiB), gap1 = allocator.Allocate(64);
  const auto b = allocator.Allocate(kMiB), gap2 = allocator.Allocate(64);
  ASSERT_TRUE(gap1 && gap2);
  allocator.Free(*b);
  allocator.Free(*a);
  EXPECT_EQ(allocator.Allocate(kMiB), a);
  EXPECT_EQ(allocator.Allocate(2 * kMiB), *gap2 + 64);
  EXPECT_EQ(allocator.Allocate(kMiB), *a + kMiB);
  EXPECT_EQ(allocator.Allocate(kMiB), b);
}

TEST(ArenaAllocator, FreedMemoryComesBeforeTheUntouchedTail) {
  ArenaAllocator allocator(64 * kMiB);
  const auto a = allocator.Allocate(8 * kMiB);
  const uint64_t high = allocator.high_water();
  for (int i = 0; i < 10; ++i) {
    allocator.Free(*a);
    EXPECT_EQ(allocator.Allocate(8 * kMiB), a);
  }
  EXPECT_EQ(allocator.high_water(), high);
}

TEST(ArenaAllocator, NeighboursCoalesce) {
  ArenaAllocator allocator(3 * kMiB);
  const auto a = allocator.Allocate(kMiB), b = allocator.Allocate(kMiB),
             c = allocator.Allocate(kMiB);
  EXPECT_FALSE(allocator.Allocate(1));
  allocator.Free(*a);
  allocator.Free(*c);
  EXPECT_FALSE(allocator.Allocate(2 * kMiB));
  allocator.Free(*b);
  EXPECT_EQ(allocator.Allocate(3 * kMiB), 0u);
}

TEST(ArenaAllocator, ManySmallBlocksLeaveNothingBehind) {
  ArenaAllocator allocator(64 * 64);
  std::vector<uint64_t> offsets;
  while (const auto offset = allocator.Allocate(64)) offsets.push_back(*offset);
  EXPECT_EQ(offsets.size(), 64u);
  for (uint64_t offset : offsets) allocator.Free(offset);
  EXPECT_EQ(allocator.Allocate(64 * 64), 0u);
  EXPECT_EQ(allocator.CheckInvariants(), "");
}

// Half of what a service puts are small objects that live a hundred times longer than the large
// ones between them. Where there is room for each, nearly each must find it.
TEST(ArenaAllocator, LongLivedSmallObjectsDoNotShutOutLargeOnes) {
  constexpr uint64_t kCapacity = 1024 * kMiB;
  std::mt19937_64 random(7);
  std::lognormal_distribution<double> small_bytes(std::log(200e3), 0.5), large_bytes(std::log(8e6));
  std::exponential_distribution<double> small_life(1 / 6000.0), large_life(1 / 60.0);
  ArenaAllocator allocator(kCapacity);
  std::multimap<double, uint64_t> ends;  // when a block is freed
  int failed = 0;
  constexpr int kSteps = 40'000;
  for (int now = 0; now < kSteps; ++now) {
    const bool small = random() % 2 == 0;
    const auto bytes = static_cast<uint64_t>(small ? std::clamp(small_bytes(random), 1e5, 1e6)
                                                   : std::clamp(large_bytes(random), 5e5, 2e8));
    while (!ends.empty() &&
           (ends.begin()->first <= now || allocator.used_bytes() + bytes > kCapacity / 10 * 6)) {
      allocator.Free(ends.begin()->second);
      ends.erase(ends.begin());
    }
    if (const auto offset = allocator.Allocate(bytes)) {
      ends.emplace(now + (small || random() % 50 == 0 ? small_life(random) : large_life(random)),
                   *offset);
    } else {
      ++failed;
    }
  }
  EXPECT_LT(failed, kSteps / 200);
}

TEST(ArenaAllocator, HugeRequestsFailInsteadOfWrappingAround) {
  ArenaAllocator allocator(kMiB);
  EXPECT_FALSE(allocator.Allocate(~uint64_t{0}));
  EXPECT_FALSE(allocator.Allocate(~uint64_t{0} - 63));
  EXPECT_FALSE(allocator.Allocate(kMiB + 1));
  EXPECT_EQ(allocator.Free(128), 0u);
}

TEST(ArenaAllocator, RandomOperationsKeepTheInvariantsAndNeverOverlap) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    ArenaAllocator allocator(kMiB);
    std::map<uint64_t, uint64_t> model;  // offset -> bytes
    uint64_t used = 0;
    for (int step = 0; step < 3000; ++step) {
      if (random() % 5 < 3) {
        const uint64_t bytes = random() % (random() % 4 == 0 ? 100'000 : 2000);
        const auto offset = allocator.Allocate(bytes);
        if (!offset) continue;
        const uint64_t block = ArenaAllocator::BlockBytes(bytes);
        auto next = model.lower_bound(*offset);
        ASSERT_TRUE(next == model.end() || *offset + block <= next->first);
        if (next != model.begin()) {
          auto before = std::prev(next);
          ASSERT_LE(before->first + before->second, *offset);
        }
        ASSERT_LE(*offset + block, kMiB);
        model[*offset] = block;
        used += block;
      } else if (!model.empty()) {
        auto victim = std::next(model.begin(), static_cast<long>(random() % model.size()));
        ASSERT_EQ(allocator.Free(victim->first), victim->second);
        used -= victim->second;
        model.erase(victim);
      }
      ASSERT_EQ(allocator.used_bytes(), used);
      if (step % 50 == 0) {
        ASSERT_EQ(allocator.CheckInvariants(), "");
      }
    }
    while (!model.empty()) {
      allocator.Free(model.begin()->first);
      model.erase(model.begin());
    }
    EXPECT_EQ(allocator.Allocate(kMiB), 0u);
    EXPECT_EQ(allocator.CheckInvariants(), "");
  }
}

}  // namespace
}  // namespace cyray::store
