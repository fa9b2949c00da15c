// ObjectTable: the life of an object, event by event, and random events against a naive model.

#include "cyray/store/object_table.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

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

// What the table should do, said in the most naive way.
class Model {
 public:
  struct Object {
    ClientId creator;
    std::multiset<ClientId> pins;
    bool cached, sealed, freed;
    uint64_t bytes = 5;
  };
  bool Gone(const Object& object) const {
    return object.sealed && object.freed && object.pins.empty();
  }
  void Sweep() {
    std::erase_if(objects, [this](const auto& entry) { return Gone(entry.second); });
  }
  bool Writes(ClientId client, const ObjectId& id) const {
    const auto known = objects.find(id);
    return known != objects.end() && !known->second.sealed && known->second.creator == client;
  }
  void ClientDied(ClientId client) {
    std::erase_if(objects, [&](const auto& entry) { return Writes(client, entry.first); });
    for (auto& [id, object] : objects) object.pins.erase(client);
  }
  // What SealAs answers; of the failures that change nothing, any, such as `failure`.
  StatusCode SealAs(const ObjectId& from, const ObjectId& to, ClientId client, uint64_t bytes,
                    StatusCode failure) {
    const bool changes = failure == StatusCode::kOk || failure == StatusCode::kAlreadyExists;
    if (!Writes(client, from) || to == from || bytes > objects[from].bytes) {
      return changes ? StatusCode::kInvalidArgument : failure;
    }
    Object named = objects[from];
    objects.erase(from);
    named.sealed = true;
    named.bytes = bytes;
    const auto [target, added] = objects.try_emplace(to, named);
    if (added) return StatusCode::kOk;
    Object& here = target->second;
    if (here.sealed && here.freed) here.freed = here.cached = false;
    if (here.sealed) here.pins.insert(client);
    return StatusCode::kAlreadyExists;
  }
  std::map<ObjectId, Object> objects;
};

void ExpectSame(const ObjectTable& table, const Model& model) {
  ASSERT_EQ(table.CheckInvariants(), "");
  StoreStats stats;
  table.AddTo(stats);
  ASSERT_EQ(stats.objects, model.objects.size());
  for (const auto& [id, object] : model.objects) ASSERT_EQ(table.IsSealed(id), object.sealed);
}

void RunRandomEvents(uint64_t seed) {
  std::mt19937_64 random(seed);
  ObjectTable table;
  Model model;
  std::set<ObjectId> deleted;
  for (int step = 0; step < 4000; ++step) {
    const ObjectId id = MakeId(static_cast<uint32_t>(random() % 12));
    const ClientId client = random() % 4;
    auto known = model.objects.find(id);
    const bool here = known != model.objects.end();
    const bool mine = model.Writes(client, id);
    ObjectTable::Actions actions;
    switch (random() % 10) {
      case 0:
      case 1: {
        ASSERT_EQ(table.MayCreate(id).ok(), !here);
        if (here) {
          if (known->second.sealed && known->second.freed) {
            known->second.freed = known->second.cached = false;
          }
          break;
        }
        const bool cached = random() % 2 == 0;
        table.Create(id, client, MakeOwner(1, static_cast<uint8_t>(client)), {0, 5},
                     cached ? CopyKind::kCached : CopyKind::kPrimary);
        model.objects[id] = {client, {client}, cached, false, false};
        break;
      }
      case 2:
        ASSERT_EQ(table.Seal(id, client, actions).ok(), mine);
        if (mine) known->second.sealed = true;
        break;
      case 3:
        if (random() % 4 != 0) break;
        ASSERT_EQ(table.Abort(id, client, "", actions).ok(), mine);
        if (mine) model.objects.erase(known);
        break;
      case 4:
        ASSERT_EQ(table.Pin(id, client).has_value(), here && known->second.sealed);
        if (here && known->second.sealed) known->second.pins.insert(client);
        break;
      case 5:
      case 6: {
        const bool pinned = here && known->second.pins.contains(client) && !mine;
        ASSERT_EQ(table.Release(id, client, actions).ok(), pinned);
        if (pinned) known->second.pins.erase(known->second.pins.find(client));
        break;
      }
      case 7:
        table.Free(id, actions);
        if (here) known->second.freed = true;
        break;
      case 8:
        if (random() % 8 != 0) break;
        table.ClientDied(client, actions);
        model.ClientDied(client);
        break;
      case 9: {
        const ObjectId to = MakeId(static_cast<uint32_t>(random() % 12));
        const uint64_t bytes = random() % 8;
        const StatusCode code =
            table.SealAs(id, to, client, MakeOwner(2, 1), bytes, actions).code();
        ASSERT_EQ(code, model.SealAs(id, to, client, bytes, code)) << "step " << step;
        break;
      }
    }
    model.Sweep();
    ASSERT_NO_FATAL_FAILURE(ExpectSame(table, model)) << "step " << step;
  }
}

TEST(ObjectTable, RandomEventsMatchTheModel) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RunRandomEvents(seed);
  }
}

}  // namespace
}  // namespace cyray::store
