// ObjectStore: eviction, full stores and callbacks, on a real arena.

#include "cyray/store/object_store.h"

#include <gtest/gtest.h>

#include <random>

namespace cyray::store {
namespace {

constexpr uint64_t kMiB = 1 << 20;
ObjectId MakeId(uint32_t index) { return ObjectId(TaskId{}, index); }

class ObjectStoreTest : public testing::Test {
 protected:
  ~ObjectStoreTest() override { EXPECT_EQ(store_->CheckInvariants(), ""); }
  void Put(uint32_t index, uint64_t bytes, CopyKind kind = CopyKind::kPrimary) {
    ASSERT_TRUE(store_->Create(1, MakeId(index), bytes, {}, kind));
    ASSERT_TRUE(store_->Seal(1, MakeId(index)).ok());
    ASSERT_TRUE(store_->Release(1, MakeId(index)).ok());
  }
  std::unique_ptr<ObjectStore> store_ = *ObjectStore::Open(4 * kMiB);
};

TEST_F(ObjectStoreTest, CachedCopiesMakeRoom) {
  for (uint32_t i = 1; i <= 4; ++i) Put(i, kMiB, CopyKind::kCached);
  Put(5, 2 * kMiB);
  EXPECT_FALSE(store_->Contains(MakeId(1)));
  EXPECT_FALSE(store_->Contains(MakeId(2)));
  EXPECT_TRUE(store_->Contains(MakeId(3)));
  EXPECT_TRUE(store_->Contains(MakeId(5)));
}

TEST_F(ObjectStoreTest, AFullStoreSaysWhatIsInTheWay) {
  Put(1, 3 * kMiB);
  const auto offset = store_->Create(1, MakeId(2), 2 * kMiB, {});
  ASSERT_FALSE(offset);
  EXPECT_EQ(offset.error().code(), StatusCode::kObjectStoreFull);
  EXPECT_NE(offset.error().message().find("2097152 bytes were asked for"), std::string::npos);
  EXPECT_NE(offset.error().message().find("3145728 by objects that references keep alive"),
            std::string::npos);
  store_->Free(MakeId(1));
  EXPECT_TRUE(store_->Create(1, MakeId(2), 2 * kMiB, {}));
}

TEST_F(ObjectStoreTest, AnObjectLargerThanTheStoreEvictsNothing) {
  Put(1, kMiB, CopyKind::kCached);
  const auto offset = store_->Create(1, MakeId(2), 5 * kMiB, {});
  ASSERT_FALSE(offset);
  EXPECT_TRUE(offset.error().message().starts_with("the object is larger than the object store"));
  EXPECT_TRUE(store_->Contains(MakeId(1)));
}

TEST_F(ObjectStoreTest, WhatDoesNotFitEvenWithoutTheCachedCopiesEvictsNothing) {
  Put(1, kMiB, CopyKind::kPrimary);
  Put(2, kMiB, CopyKind::kCached);
  EXPECT_FALSE(store_->Create(1, MakeId(3), 7 * kMiB / 2, {}));
  EXPECT_TRUE(store_->Contains(MakeId(2)));
  EXPECT_TRUE(store_->Create(1, MakeId(4), 5 * kMiB / 2, {}));
  EXPECT_FALSE(store_->Contains(MakeId(2)));
}

TEST_F(ObjectStoreTest, SparesEvictNothingAndLeaveHalfOfTheStore) {
  Put(1, kMiB, CopyKind::kCached);
  ASSERT_TRUE(store_->CreateSpare(1, MakeId(2), kMiB, {}));
  const auto refused = store_->CreateSpare(1, MakeId(3), kMiB, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), StatusCode::kObjectStoreFull);
  EXPECT_TRUE(store_->Contains(MakeId(1)));
  EXPECT_TRUE(store_->Create(1, MakeId(3), 2 * kMiB, {}));
}

TEST_F(ObjectStoreTest, ASpareSealedSmallerKeepsItsBlockUntilItIsFreed) {
  const auto offset = store_->CreateSpare(1, MakeId(2), kMiB, {});
  ASSERT_TRUE(offset);
  ASSERT_TRUE(store_->SealAs(1, MakeId(2), MakeId(3), {}, kMiB / 2).ok());
  const auto view = store_->TryGet(2, MakeId(3));
  ASSERT_TRUE(view);
  EXPECT_EQ(view->offset, *offset);
  EXPECT_EQ(view->bytes, kMiB / 2);
  EXPECT_EQ(store_->stats().used_bytes, kMiB);
  store_->Free(MakeId(3));
  store_->ClientDied(1);
  store_->ClientDied(2);
  EXPECT_EQ(store_->stats().used_bytes, 0u);
}

TEST_F(ObjectStoreTest, SparesOfADeadClientAreFreed) {
  ASSERT_TRUE(store_->CreateSpare(1, MakeId(2), kMiB, {}));
  store_->ClientDied(1);
  EXPECT_EQ(store_->stats().used_bytes, 0u);
}

TEST_F(ObjectStoreTest, GetWaitsForTheSeal) {
  ASSERT_TRUE(store_->Create(1, MakeId(1), 10, {}));
  int answers = 0;
  store_->Get(2, MakeId(1), [&](Result<ObjectView> view) {
    ASSERT_TRUE(view);
    EXPECT_EQ(view->bytes, 10u);
    ++answers;
  });
  EXPECT_EQ(answers, 0);
  ASSERT_TRUE(store_->Seal(1, MakeId(1)).ok());
  EXPECT_EQ(answers, 1);
}

TEST_F(ObjectStoreTest, WhoWaitsForADeadWriterIsTold) {
  ASSERT_TRUE(store_->Create(1, MakeId(1), 10, {}));
  std::string told;
  store_->Get(2, MakeId(1), [&](Result<ObjectView> view) { told = view.error().message(); });
  store_->ClientDied(1);
  EXPECT_NE(told.find("died"), std::string::npos);
}

TEST_F(ObjectStoreTest, ADeadClientsCallbackIsNeverRun) {
  ASSERT_TRUE(store_->Create(1, MakeId(1), 10, {}));
  store_->Get(2, MakeId(1), [](Result<ObjectView>) { FAIL(); });
  store_->ClientDied(2);
  ASSERT_TRUE(store_->Seal(1, MakeId(1)).ok());
}

TEST_F(ObjectStoreTest, PinnedCopiesAreNotEvicted) {
  Put(1, 3 * kMiB, CopyKind::kCached);
  ASSERT_TRUE(store_->TryGet(7, MakeId(1)));
  EXPECT_FALSE(store_->Create(1, MakeId(2), 2 * kMiB, {}));
  EXPECT_EQ(store_->stats().pinned_bytes, 3 * kMiB);
  store_->ClientDied(7);
  EXPECT_TRUE(store_->Create(1, MakeId(2), 2 * kMiB, {}));
}

TEST_F(ObjectStoreTest, RandomUseKeepsTheInvariantsAndEndsEmpty) {
  std::mt19937_64 random(42);
  for (int step = 0; step < 5000; ++step) {
    const ObjectId id = MakeId(static_cast<uint32_t>(random() % 40));
    const ClientId client = 1 + random() % 3;
    switch (random() % 6) {
      case 0:
      case 1:
        if (store_->Create(client, id, random() % 300'000, {},
                           random() % 2 == 0 ? CopyKind::kCached : CopyKind::kPrimary)) {
          store_->Get(1 + random() % 3, id, [](Result<ObjectView>) {});
        }
        break;
      case 2:
        (void)store_->Seal(client, id);
        break;
      case 3:
        (void)store_->Release(client, id);
        break;
      case 4:
        store_->Free(id);
        break;
      case 5:
        if (random() % 20 == 0) store_->ClientDied(client);
        break;
    }
    if (step % 20 == 0) {
      ASSERT_EQ(store_->CheckInvariants(), "") << "step " << step;
    }
  }
  for (ClientId client = 1; client <= 3; ++client) store_->ClientDied(client);
  for (uint32_t i = 0; i < 40; ++i) store_->Free(MakeId(i));
  EXPECT_EQ(store_->stats().objects, 0u);
  EXPECT_EQ(store_->stats().used_bytes, 0u);
}

}  // namespace
}  // namespace cyray::store
