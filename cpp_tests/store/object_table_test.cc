// ObjectTable: the life of an object, event by event. Random events: object_table_model_test.cc.

#include "cyray/store/object_table.h"

#include <gtest/gtest.h>

namespace cyray::store {
namespace {

ObjectId MakeId(uint32_t index) { return ObjectId(TaskId{}, index); }
Address MakeOwner(uint8_t node, uint8_t worker) {
  Address address;
  address.node.bytes[0] = node;
  address.worker.bytes[0] = worker;
  return address;
}
const ObjectId kId = MakeId(1);
const Address kOwner = MakeOwner(1, 1);

class ObjectTableTest : public testing::Test {
 protected:
  ~ObjectTableTest() override { EXPECT_EQ(table_.CheckInvariants(), ""); }
  void Make(const ObjectId& id, ClientId client, CopyKind kind = CopyKind::kPrimary) {
    ASSERT_TRUE(table_.MayCreate(id).ok());
    table_.Create(id, client, kOwner, {64 * id.index(), 10}, kind);
    ASSERT_TRUE(table_.Seal(id, client, actions_).ok());
  }
  ObjectTable table_;
  ObjectTable::Actions actions_;
};

TEST_F(ObjectTableTest, AnObjectIsVisibleOnceSealed) {
  table_.Create(kId, 1, kOwner, {0, 10}, CopyKind::kPrimary);
  EXPECT_FALSE(table_.Pin(kId, 2));
  EXPECT_TRUE(table_.Seal(kId, 1, actions_).ok());
  EXPECT_TRUE(table_.Pin(kId, 2));
}

TEST_F(ObjectTableTest, SealingTwiceFails) {
  Make(kId, 1);
  EXPECT_EQ(table_.Seal(kId, 1, actions_).code(), StatusCode::kInvalidArgument);
}

TEST_F(ObjectTableTest, OnlyTheCreatorSeals) {
  table_.Create(kId, 1, kOwner, {0, 10}, CopyKind::kPrimary);
  EXPECT_FALSE(table_.Seal(kId, 2, actions_).ok());
  EXPECT_FALSE(table_.Seal(MakeId(9), 1, actions_).ok());
}

TEST_F(ObjectTableTest, CreatingTwiceFails) {
  Make(kId, 1);
  EXPECT_EQ(table_.MayCreate(kId).code(), StatusCode::kAlreadyExists);
}

TEST_F(ObjectTableTest, SealAnswersThoseWhoWaitWithAPin) {
  table_.Create(kId, 1, kOwner, {64, 10}, CopyKind::kPrimary);
  table_.Wait(kId, 2, 7);
  table_.Wait(kId, 2, 8);
  ASSERT_TRUE(table_.Seal(kId, 1, actions_).ok());
  ASSERT_EQ(actions_.answers.size(), 2u);
  EXPECT_EQ(actions_.answers[0].ticket, 7u);
  EXPECT_EQ(actions_.answers[1].view.offset, 64u);
  EXPECT_TRUE(table_.Release(kId, 2, actions_).ok());
  EXPECT_TRUE(table_.Release(kId, 2, actions_).ok());
  EXPECT_EQ(table_.Release(kId, 2, actions_).code(), StatusCode::kNotFound);
}

TEST_F(ObjectTableTest, AFreedObjectLivesUntilItsLastPinGoes) {
  Make(kId, 1);
  ASSERT_TRUE(table_.Pin(kId, 2));
  table_.Free(kId, actions_);
  EXPECT_TRUE(table_.Release(kId, 1, actions_).ok());
  EXPECT_TRUE(actions_.freed_offsets.empty());
  EXPECT_TRUE(table_.Release(kId, 2, actions_).ok());
  EXPECT_EQ(actions_.freed_offsets, std::vector<uint64_t>{64});
}

TEST_F(ObjectTableTest, AnUnpinnedPrimaryCopyStaysUntilItIsFreed) {
  Make(kId, 1);
  ASSERT_TRUE(table_.Release(kId, 1, actions_).ok());
  EXPECT_FALSE(table_.EvictOne(actions_));
  table_.Free(kId, actions_);
  EXPECT_EQ(actions_.deleted.size(), 1u);
}

TEST_F(ObjectTableTest, CachedCopiesAreEvictedLeastRecentlyUsedFirst) {
  for (uint32_t i = 1; i <= 3; ++i) {
    Make(MakeId(i), kRaylet, CopyKind::kCached);
    ASSERT_TRUE(table_.Release(MakeId(i), kRaylet, actions_).ok());
  }
  ASSERT_TRUE(table_.Pin(MakeId(1), 5));
  ASSERT_TRUE(table_.Release(MakeId(1), 5, actions_).ok());
  ASSERT_TRUE(table_.Pin(MakeId(2), 5));
  ASSERT_TRUE(table_.EvictOne(actions_));
  EXPECT_EQ(actions_.deleted.back(), MakeId(3));
  ASSERT_TRUE(table_.EvictOne(actions_));
  EXPECT_EQ(actions_.deleted.back(), MakeId(1));
  EXPECT_FALSE(table_.EvictOne(actions_));
}

TEST_F(ObjectTableTest, ADeadClientLosesPinsWaitsAndUnsealedObjects) {
  Make(MakeId(2), 1);
  table_.Free(MakeId(2), actions_);
  table_.Create(kId, 1, kOwner, {64, 10}, CopyKind::kPrimary);
  table_.Wait(kId, 2, 7);
  table_.Wait(MakeId(3), 1, 8);
  table_.ClientDied(1, actions_);
  EXPECT_EQ(actions_.deleted.size(), 2u);
  ASSERT_EQ(actions_.answers.size(), 1u);
  EXPECT_EQ(actions_.answers[0].ticket, 7u);
  EXPECT_EQ(actions_.answers[0].status.code(), StatusCode::kNotFound);
  EXPECT_EQ(actions_.dropped_tickets, std::vector<uint64_t>{8});
  EXPECT_FALSE(table_.HasWaiters(MakeId(3)));
}

TEST_F(ObjectTableTest, AnAbortedObjectCanBeCreatedAgain) {
  table_.Create(kId, 1, kOwner, {64, 10}, CopyKind::kPrimary);
  table_.Wait(kId, 2, 7);
  ASSERT_TRUE(table_.Abort(kId, 1, "given up", actions_, /*keep_waiters=*/true).ok());
  EXPECT_TRUE(actions_.answers.empty());
  Make(kId, 3);
  EXPECT_EQ(actions_.answers.size(), 1u);
  EXPECT_FALSE(table_.Abort(kId, 3, "too late", actions_).ok());
}

TEST_F(ObjectTableTest, ObjectsOfADeadOwnerOrNodeAreFreed) {
  table_.Create(MakeId(1), 1, MakeOwner(1, 1), {64, 1}, CopyKind::kPrimary);
  table_.Create(MakeId(2), 1, MakeOwner(1, 2), {128, 1}, CopyKind::kPrimary);
  table_.Create(MakeId(3), 1, MakeOwner(2, 1), {192, 1}, CopyKind::kCached);
  for (uint32_t i = 1; i <= 3; ++i) {
    ASSERT_TRUE(table_.Seal(MakeId(i), 1, actions_).ok());
    ASSERT_TRUE(table_.Release(MakeId(i), 1, actions_).ok());
  }
  table_.OwnerDied(MakeOwner(1, 1), actions_);
  EXPECT_EQ(actions_.deleted, std::vector<ObjectId>{MakeId(1)});
  table_.NodeDied(MakeOwner(2, 0).node, actions_);
  EXPECT_EQ(actions_.deleted.back(), MakeId(3));
  table_.NodeDied(MakeOwner(1, 0).node, actions_);
  EXPECT_EQ(actions_.deleted.size(), 3u);
}

TEST_F(ObjectTableTest, AnObjectFreedWhileBeingWrittenGoesWithItsCreatorsPin) {
  table_.Create(kId, 1, kOwner, {64, 10}, CopyKind::kPrimary);
  table_.Wait(kId, 2, 7);
  table_.Free(kId, actions_);
  EXPECT_EQ(actions_.answers.size(), 1u);
  EXPECT_FALSE(table_.Release(kId, 1, actions_).ok());
  ASSERT_TRUE(table_.Seal(kId, 1, actions_).ok());
  ASSERT_TRUE(table_.Release(kId, 1, actions_).ok());
  EXPECT_EQ(actions_.deleted.size(), 1u);
}

TEST_F(ObjectTableTest, ASpareSealedUnderANameIsThatObject) {
  const ObjectId spare = MakeId(7);
  table_.Create(spare, 1, kOwner, {64, 100}, CopyKind::kPrimary);
  table_.Wait(kId, 2, 7);
  table_.Wait(spare, 3, 8);
  const Address other = MakeOwner(1, 9);
  ASSERT_TRUE(table_.SealAs(spare, kId, 1, other, 60, actions_).ok());
  EXPECT_FALSE(table_.IsCreated(spare) || table_.IsSealed(spare));
  EXPECT_EQ(table_.OwnerOf(kId), other);
  ASSERT_EQ(actions_.answers.size(), 2u);
  EXPECT_EQ(actions_.answers[0].status.code(), StatusCode::kNotFound);
  EXPECT_EQ(actions_.answers[1].view.offset, 64u);
  EXPECT_EQ(actions_.answers[1].view.bytes, 60u);
  StoreStats stats;
  table_.AddTo(stats);
  EXPECT_EQ(stats.primary_bytes, 60u);
  table_.OwnerDied(other, actions_);
  ASSERT_TRUE(table_.Release(kId, 2, actions_).ok());
  EXPECT_TRUE(actions_.freed_offsets.empty());
  ASSERT_TRUE(table_.Release(kId, 1, actions_).ok());
  EXPECT_EQ(actions_.freed_offsets, std::vector<uint64_t>{64});
}

TEST_F(ObjectTableTest, ASpareForAnObjectThatIsHereGoesAndItsWriterPinsTheObject) {
  Make(kId, 5);
  table_.Create(MakeId(7), 1, kOwner, {448, 100}, CopyKind::kPrimary);
  EXPECT_EQ(table_.SealAs(MakeId(7), kId, 1, kOwner, 10, actions_).code(),
            StatusCode::kAlreadyExists);
  EXPECT_EQ(actions_.freed_offsets, std::vector<uint64_t>{448});
  EXPECT_TRUE(table_.Release(kId, 1, actions_).ok());
}

TEST_F(ObjectTableTest, ASpareIsSealedByItsCreatorWithinItsBlockAndUnderAnotherName) {
  const ObjectId spare = MakeId(7);
  table_.Create(spare, 1, kOwner, {64, 100}, CopyKind::kPrimary);
  EXPECT_FALSE(table_.SealAs(spare, kId, 2, kOwner, 60, actions_).ok());
  EXPECT_FALSE(table_.SealAs(spare, kId, 1, kOwner, 101, actions_).ok());
  EXPECT_FALSE(table_.SealAs(spare, spare, 1, kOwner, 100, actions_).ok());
  EXPECT_FALSE(table_.SealAs(MakeId(8), kId, 1, kOwner, 60, actions_).ok());
  EXPECT_TRUE(table_.IsCreated(spare));
  EXPECT_FALSE(table_.IsCreated(kId));
}

}  // namespace
}  // namespace cyray::store
