// SpareBlocks: what is asked for, taken and given back, and random operations against a simple
// model.

#include "cyray/core/spare_blocks.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

namespace cyray::core {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr int64_t kSecond = 1'000'000'000;

ObjectId MakeId(uint32_t index) { return ObjectId(TaskId{}, index); }

class SpareBlocksTest : public testing::Test {
 protected:
  ~SpareBlocksTest() override { EXPECT_EQ(spares_.CheckInvariants(), ""); }
  void Hold(uint32_t index, uint64_t bytes, int64_t now_ns = 0) {
    spares_.Asked(MakeId(index), bytes);
    spares_.Granted(MakeId(index), index * kMiB, now_ns);
  }
  SpareBlocks spares_;
};

TEST_F(SpareBlocksTest, AskForThreeSmallBlocksOrOneLargeOne) {
  EXPECT_EQ(spares_.WishAfter(kMiB, 0).count, 3u);
  EXPECT_GE(spares_.WishAfter(kMiB + 1, 0).bytes, kMiB + 1);
  EXPECT_EQ(spares_.WishAfter(8 * kMiB, 0).count, 1u);
}

TEST_F(SpareBlocksTest, AskForNothingAfterTinyAndHugeObjects) {
  EXPECT_EQ(spares_.WishAfter(100 << 10, 0).count, 0u);
  EXPECT_EQ(spares_.WishAfter(16 * kMiB + 1, 0).count, 0u);
  EXPECT_EQ(spares_.WishAfter(16 * kMiB, 0).count, 1u);
}

TEST_F(SpareBlocksTest, WhatIsHeldOrAskedForIsNotAskedForAgain) {
  Hold(1, kMiB);
  spares_.Asked(MakeId(2), kMiB);
  EXPECT_EQ(spares_.WishAfter(kMiB, 0).count, 1u);
  spares_.Asked(MakeId(3), kMiB);
  EXPECT_EQ(spares_.WishAfter(kMiB, 0).count, 0u);
}

TEST_F(SpareBlocksTest, ABlockServesObjectsOfItsSizeDownToHalfOfIt) {
  Hold(1, kMiB);
  EXPECT_FALSE(spares_.Take(kMiB + 1, 0));
  EXPECT_FALSE(spares_.Take(kMiB / 2 - 1, 0));
  EXPECT_TRUE(spares_.Take(kMiB / 2, 0));
  EXPECT_FALSE(spares_.Take(kMiB, 0));
}

TEST_F(SpareBlocksTest, TheBlockGrantedLastIsTakenFirst) {
  Hold(1, kMiB);
  Hold(2, kMiB);
  EXPECT_EQ(spares_.Take(kMiB, 0)->id, MakeId(2));
  EXPECT_EQ(spares_.Take(kMiB, 0)->id, MakeId(1));
}

TEST_F(SpareBlocksTest, AnAnswerIsExpectedUntilItComes) {
  spares_.Asked(MakeId(1), kMiB);
  EXPECT_TRUE(spares_.Expects(kMiB));
  EXPECT_FALSE(spares_.Expects(4 * kMiB));
  spares_.Granted(MakeId(1), 64, 0);
  EXPECT_FALSE(spares_.Expects(kMiB));
  EXPECT_EQ(spares_.Take(kMiB, 0)->offset, 64u);
}

TEST_F(SpareBlocksTest, ARefusalStopsTheAskingForAWhile) {
  spares_.Asked(MakeId(1), kMiB);
  spares_.Refused(MakeId(1), 5);
  EXPECT_FALSE(spares_.Expects(kMiB));
  EXPECT_EQ(spares_.WishAfter(kMiB, SpareBlocks::kKeepNs).count, 0u);
  EXPECT_EQ(spares_.WishAfter(kMiB, SpareBlocks::kKeepNs + 5).count, 3u);
}

TEST_F(SpareBlocksTest, BlocksThatNothingWantsGoBackAndOthersStay) {
  Hold(1, kMiB);
  Hold(2, kMiB);
  Hold(3, 8 * kMiB);
  EXPECT_EQ(spares_.NextIdleNs(), kSecond);
  EXPECT_EQ(spares_.Take(kMiB, kSecond / 2)->id, MakeId(2));
  EXPECT_EQ(spares_.TakeIdle(kSecond), std::vector<ObjectId>{MakeId(3)});
  EXPECT_EQ(spares_.NextIdleNs(), kSecond + kSecond / 2);
  EXPECT_EQ(spares_.TakeAll(), std::vector<ObjectId>{MakeId(1)});
  EXPECT_EQ(spares_.NextIdleNs(), INT64_MAX);
}

TEST_F(SpareBlocksTest, AUsedBlockComesBackUntilThereAreEnoughOfItsSize) {
  for (uint32_t i = 1; i <= 3; ++i) Hold(i, kMiB);
  EXPECT_TRUE(spares_.PutBack({MakeId(4), 64, kMiB}, 0));
  EXPECT_FALSE(spares_.PutBack({MakeId(5), 128, kMiB}, 0));
  EXPECT_EQ(spares_.Take(kMiB, 0)->id, MakeId(4));
  EXPECT_EQ(spares_.WishAfter(kMiB, 0).count, 0u);
}

TEST_F(SpareBlocksTest, BlocksThatComeBackStayWithinTheLimitOfBytes) {
  Hold(1, SpareBlocks::kMaxBytes);
  EXPECT_FALSE(spares_.PutBack({MakeId(2), 64, kMiB}, 0));
}

void RunRandomOperations(uint64_t seed) {
  std::mt19937_64 random(seed);
  SpareBlocks spares;
  std::set<ObjectId> asked, held;
  std::map<ObjectId, uint64_t> sizes;
  int64_t now = 0;
  uint32_t next = 1;
  const auto any = [&](const std::set<ObjectId>& ids) {
    return *std::next(ids.begin(), static_cast<std::ptrdiff_t>(random() % ids.size()));
  };
  for (int step = 0; step < 3000; ++step) {
    now += static_cast<int64_t>(random() % (kSecond / 4));
    const uint64_t bytes = uint64_t{200 << 10} << (random() % 7);
    switch (random() % 6) {
      case 0: {
        const SpareBlocks::Wish wish = spares.WishAfter(bytes, now);
        for (size_t i = 0; i < wish.count; ++i) {
          ASSERT_GE(wish.bytes, bytes);
          const ObjectId id = MakeId(next++);
          spares.Asked(id, wish.bytes);
          asked.insert(id);
          sizes[id] = wish.bytes;
        }
        break;
      }
      case 1:
      case 2:
        if (asked.empty()) break;
        if (const ObjectId id = any(asked); random() % 8 == 0) {
          spares.Refused(id, now);
          asked.erase(id);
        } else {
          spares.Granted(id, 64 * id.index(), now);
          asked.erase(id);
          held.insert(id);
        }
        break;
      case 3: {
        const auto block = spares.Take(bytes, now);
        const bool fits = std::any_of(held.begin(), held.end(), [&](const ObjectId& id) {
          return sizes[id] >= bytes && sizes[id] / 2 <= bytes;
        });
        ASSERT_EQ(block.has_value(), fits);
        if (!block) break;
        ASSERT_EQ(held.erase(block->id), 1u);
        ASSERT_EQ(block->offset, 64 * block->id.index());
        ASSERT_EQ(block->bytes, sizes[block->id]);
        if (random() % 2 == 0 && spares.PutBack(*block, now)) held.insert(block->id);
        break;
      }
      case 4:
        for (const ObjectId& id : spares.TakeIdle(now)) ASSERT_EQ(held.erase(id), 1u);
        ASSERT_GT(spares.NextIdleNs(), now);
        break;
      case 5:
        if (random() % 16 != 0) break;
        ASSERT_EQ(spares.TakeAll().size(), held.size());
        held.clear();
        break;
    }
    ASSERT_EQ(spares.CheckInvariants(), "") << "step " << step;
    ASSERT_EQ(spares.held(), held.size()) << "step " << step;
    ASSERT_EQ(spares.asked(), asked.size()) << "step " << step;
  }
}

TEST(SpareBlocks, RandomOperationsMatchTheModel) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RunRandomOperations(seed);
  }
}

}  // namespace
}  // namespace cyray::core
