// ObjectDirectory, one process at a time: what it asks of its outbox, and what it must not free.
// Many processes at once are in directory_simulator_test.cc.

#include "cyray/core/object_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cpp_tests/core/object_directory_fixture.h"
#include "cyray/common/encoding.h"
#include "cyray/core/system_error.h"

namespace cyray::core {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;

TEST_F(ObjectDirectoryTest, AnOwnedObjectGoesWithItsLastRef) {
  ObjectEntry* entry = objects_.NewOwned(MakeId(1));
  objects_.AddRef(entry);
  objects_.Release(entry);
  EXPECT_EQ(objects_.size(), 1u);
  objects_.Release(entry);
  EXPECT_EQ(objects_.size(), 0u);
}

TEST_F(ObjectDirectoryTest, AnOwnedObjectStaysWhileSomebodyBorrowsIt) {
  ObjectEntry* entry = MakeOwned(1);
  EXPECT_TRUE(objects_.OnAddBorrower(third_.worker, MakeId(1)));
  objects_.Release(entry);
  EXPECT_NE(objects_.Find(MakeId(1)), nullptr);
  objects_.OnRemoveBorrower(third_.worker, MakeId(1));
  EXPECT_EQ(objects_.Find(MakeId(1)), nullptr);
}

TEST_F(ObjectDirectoryTest, ADeadBorrowerLetsGo) {
  ObjectEntry* entry = MakeOwned(1);
  objects_.OnAddBorrower(third_.worker, MakeId(1));
  objects_.Release(entry);
  objects_.OnProcessDied(third_.worker, "killed");
  EXPECT_EQ(objects_.size(), 0u);
}

TEST_F(ObjectDirectoryTest, AStoredObjectIsFreedWhereItIs) {
  ObjectEntry* entry = objects_.NewOwned(MakeId(1));
  objects_.ResolveStored(entry, MakeNode(1), 10);
  objects_.Release(entry);
  EXPECT_THAT(outbox_.Take(), ElementsAre("free 1"));
}

TEST_F(ObjectDirectoryTest, AChainOfObjectsThatHoldOneAnotherIsFreedAtOnce) {
  constexpr int kLength = 100'000;
  ObjectEntry* last = nullptr;
  for (int i = 0; i < kLength; ++i) {
    ObjectEntry* entry = objects_.NewOwned(MakeId(1));
    if (last != nullptr) objects_.SetContained(entry, {last});
    objects_.Resolve(entry, Bytes(), false);
    last = entry;
  }
  objects_.Release(last);
  EXPECT_EQ(objects_.size(), 0u);
}

TEST_F(ObjectDirectoryTest, ABorrowedObjectIsRegisteredOnceAndGivenUpOnce) {
  ObjectEntry* entry = objects_.Borrow(MakeId(5), owner_, false);
  EXPECT_EQ(objects_.Borrow(MakeId(5), owner_, false), entry);
  EXPECT_THAT(outbox_.Take(), ElementsAre("add 5 of 2"));
  objects_.OnRegistered(outbox_.last_registration);
  objects_.Release(entry);
  objects_.Release(entry);
  EXPECT_THAT(outbox_.Take(), ElementsAre("remove 5 of 2"));
}

TEST_F(ObjectDirectoryTest, ARefThatComesAfterTheLinkToItsOwnerBrokeIsRegisteredAgain) {
  ObjectEntry* entry = BorrowRegistered(5);
  objects_.OnState(MakeId(5), {.known = true, .value = ValuePtr(Value::Copy("v", 1))});
  ASSERT_TRUE(entry->local());
  objects_.OnProcessDied(owner_.worker, "its link broke");
  (void)outbox_.Take();
  EXPECT_EQ(objects_.Borrow(MakeId(5), owner_, false), entry);
  EXPECT_THAT(outbox_.Take(), ElementsAre("add 5 of 2"));
  objects_.OnRegistered(outbox_.last_registration);
  objects_.Release(entry);
  objects_.Release(entry);
  EXPECT_THAT(outbox_.Take(), ElementsAre("remove 5 of 2"));
}

TEST_F(ObjectDirectoryTest, NoReleaseLeavesBeforeAnEarlierRegistrationIsAcknowledged) {
  ObjectEntry* inner = objects_.Borrow(MakeId(5), owner_, false);
  ObjectEntry* other = objects_.Borrow(MakeId(6), third_, false);
  const uint64_t second = outbox_.last_registration;
  outbox_.Take();
  objects_.Release(inner);
  EXPECT_THAT(outbox_.Take(), IsEmpty());
  objects_.OnRegistered(second - 1);
  EXPECT_THAT(outbox_.Take(), IsEmpty());
  objects_.OnRegistered(second);
  EXPECT_THAT(outbox_.Take(), ElementsAre("remove 5 of 2"));
  objects_.Release(other);
}

TEST_F(ObjectDirectoryTest, ReleasesThatWaitedKeepTheirOrderAmongThemselves) {
  ObjectEntry* inner = objects_.Borrow(MakeId(5), owner_, false);
  std::vector<int> order;
  objects_.AfterRegistrations([&] {
    order.push_back(1);
    objects_.AfterRegistrations([&] { order.push_back(3); });  // made while the others run
  });
  objects_.AfterRegistrations([&] { order.push_back(2); });
  objects_.OnRegistered(outbox_.last_registration);
  EXPECT_THAT(order, ElementsAre(1, 2, 3));
  objects_.Release(inner);
}

TEST_F(ObjectDirectoryTest, ADeadOwnersAcknowledgementIsNotWaitedFor) {
  ObjectEntry* entry = objects_.Borrow(MakeId(5), owner_, false);
  bool ran = false;
  objects_.AfterRegistrations([&] { ran = true; });
  objects_.OnProcessDied(owner_.worker, "killed");
  EXPECT_TRUE(ran);
  EXPECT_TRUE(entry->local() && entry->is_error);
  objects_.Release(entry);
}

TEST_F(ObjectDirectoryTest, ADeferredBorrowThatEndsWithItsTaskTellsNobody) {
  ObjectEntry* entry = objects_.Borrow(MakeId(5), owner_, true);
  objects_.Release(entry);
  EXPECT_THAT(objects_.RegisterDeferred({MakeId(5)}), IsEmpty());
  EXPECT_THAT(outbox_.Take(), IsEmpty());
}

TEST_F(ObjectDirectoryTest, ADeferredBorrowThatOutlivesItsTaskIsRegistered) {
  ObjectEntry* entry = objects_.Borrow(MakeId(5), owner_, true);
  EXPECT_THAT(objects_.RegisterDeferred({MakeId(5)}), ElementsAre(MakeId(5)));
  EXPECT_THAT(outbox_.Take(), ElementsAre("add 5 of 2"));
  objects_.OnRegistered(outbox_.last_registration);
  objects_.Release(entry);
  EXPECT_THAT(outbox_.Take(), ElementsAre("remove 5 of 2"));
}

TEST_F(ObjectDirectoryTest, ABorrowThatCameBackBeforeItsReleaseLeftIsStillGivenUpInTheEnd) {
  ObjectEntry* entry = BorrowRegistered(5);
  ObjectEntry* other = objects_.Borrow(MakeId(6), third_, false);
  objects_.Release(entry);                           // waits for the registration of 6
  entry = objects_.Borrow(MakeId(5), owner_, true);  // now as an argument of a task
  outbox_.Take();
  objects_.OnRegistered(outbox_.last_registration);
  EXPECT_THAT(outbox_.Take(), IsEmpty());
  objects_.Release(entry);
  EXPECT_THAT(outbox_.Take(), ElementsAre("remove 5 of 2"));
  objects_.Release(other);
}

TEST_F(ObjectDirectoryTest, WhatIsBorrowedHereIsNotLentOn) {
  ObjectEntry* entry = BorrowRegistered(5);
  EXPECT_FALSE(objects_.OnAddBorrower(third_.worker, MakeId(5)));
  objects_.Release(entry);
  EXPECT_THAT(outbox_.Take(), ElementsAre("remove 5 of 2"));
  EXPECT_EQ(objects_.size(), 0u);
}

TEST_F(ObjectDirectoryTest, TakingRefsOutOfAResultRegistersThemBeforeTheGiverLetsGo) {
  const auto taken = objects_.TakeContained(third_, MakeId(9), {{MakeId(5), owner_}});
  EXPECT_THAT(outbox_.Take(), ElementsAre("add 5 of 2"));
  objects_.OnRegistered(outbox_.last_registration);
  EXPECT_THAT(outbox_.Take(), ElementsAre("taken 9 of 3"));
  objects_.Release(taken[0]);
}

TEST_F(ObjectDirectoryTest, AFetchIsAnsweredWhenTheValueComes) {
  ObjectEntry* entry = MakeOwned(1);
  objects_.OnFetch(third_.worker, 7, MakeId(1));
  outbox_.Take();
  objects_.Resolve(entry, Bytes(), false);
  EXPECT_THAT(outbox_.Take(), ElementsAre("state 1 of 3"));
  objects_.Release(entry);
}

TEST_F(ObjectDirectoryTest, AFetchOfAnObjectThatIsGoneIsAnswered) {
  objects_.OnFetch(third_.worker, 7, MakeId(1));
  EXPECT_THAT(outbox_.Take(), ElementsAre("unknown 1 of 3"));
}

TEST_F(ObjectDirectoryTest, AnsweringABorrowerThatTurnsOutDeadMayFreeTheObject) {
  ObjectEntry* entry = MakeOwned(1);
  objects_.OnAddBorrower(third_.worker, MakeId(1));
  objects_.OnFetch(third_.worker, 7, MakeId(1));
  objects_.Release(entry);
  outbox_.on_state = [&] { objects_.OnProcessDied(third_.worker, "killed"); };
  objects_.Resolve(entry, Bytes(), false);
  EXPECT_EQ(objects_.size(), 0u);
}

TEST_F(ObjectDirectoryTest, AnOwnersObjectTakesNoStateFromPeers) {
  ObjectEntry* entry = MakeOwned(1);
  objects_.OnState(MakeId(1), {.known = true, .value = Bytes()});
  EXPECT_FALSE(entry->ready());
  objects_.Release(entry);
}

TEST_F(ObjectDirectoryTest, OrphansThatLetGoOfOneAnotherFailOnceEach) {
  // A task that fails with the one drops its ref of the other.
  ObjectEntry* first = BorrowRegistered(5);
  ObjectEntry* second = BorrowRegistered(6);
  bool fell = false;
  outbox_.on_ready = [&](ObjectEntry* ready) {
    if (!std::exchange(fell, true)) objects_.Release(ready == first ? second : first);
  };
  objects_.AddCallback(first, 1);
  objects_.AddCallback(second, 2);
  objects_.OnProcessDied(owner_.worker, "killed");
  EXPECT_EQ(objects_.size(), 1u);
  for (ObjectEntry* entry : {first, second}) {
    if (entry->refs > 0 && objects_.Find(entry->id) == entry) objects_.Release(entry);
  }
  EXPECT_EQ(objects_.size(), 0u);
  ObjectEntry* fresh = objects_.NewOwned(MakeId(8));
  EXPECT_FALSE(fresh->ready());
  objects_.Release(fresh);
}

TEST_F(ObjectDirectoryTest, BorrowingFromADeadOwnerGivesAnErrorAtOnce) {
  outbox_.dead.insert(owner_.worker);
  ObjectEntry* entry = objects_.Borrow(MakeId(5), owner_, false);
  EXPECT_TRUE(entry->local() && entry->is_error);
  EXPECT_EQ(entry->value->data()[1], static_cast<uint8_t>(ErrorKind::kOwnerDied));
  bool ran = false;
  objects_.AfterRegistrations([&] { ran = true; });
  EXPECT_TRUE(ran) << "no registration is awaited";
  objects_.Release(entry);
}

// Each of them looks at itself alone: a list of many such refs is taken over in one go.
TEST_F(ObjectDirectoryTest, BorrowingManyOfADeadOwnerCostsNoMoreEach) {
  ObjectEntry* other = BorrowRegistered(7);
  outbox_.dead.insert(owner_.worker);
  ObjectEntry* entry = objects_.Borrow(MakeId(5), owner_, false);
  EXPECT_TRUE(entry->is_error);
  EXPECT_FALSE(other->ready()) << "it is told by the end of the link";
  objects_.Release(entry);
  objects_.Release(other);
}

TEST_F(ObjectDirectoryTest, WantingWhatADeadOwnerHasGivesAnErrorAtOnce) {
  ObjectEntry* entry = BorrowRegistered(5);
  outbox_.dead.insert(owner_.worker);
  objects_.Want(entry);
  EXPECT_TRUE(entry->is_error && !entry->fetching);
  objects_.Release(entry);
}

TEST_F(ObjectDirectoryTest, AnObjectThatNobodyElseKnowsIsPulledWhenItsPinWasGivenUp) {
  ObjectEntry* entry = objects_.NewOwned(MakeId(5));
  objects_.AdoptPin(entry, 64, 10);
  objects_.ResolveUnpublished(entry, MakeNode(1), 10);
  objects_.TrimWarmPins(0);
  ASSERT_FALSE(entry->local());
  objects_.Want(entry);
  objects_.OnPinned(MakeId(5), 128, 10);
  EXPECT_TRUE(entry->local());
  objects_.Release(entry);
}

TEST_F(ObjectDirectoryTest, AnErrorThatOnlyTasksWaitedForIsNotKeptForLaterReaders) {
  ObjectEntry* entry = BorrowRegistered(5);
  objects_.OnState(MakeId(5), {.known = true, .stored_bytes = 10, .locations = {MakeNode(4)}});
  objects_.AddCallback(entry, kExecToken | 1);
  constexpr int64_t kMinuteNs = 60'000'000'000;
  for (const int64_t now : {int64_t{1}, kMinuteNs}) {
    objects_.Tick(now);
    objects_.OnPullFailed(MakeId(5), ObjectDirectory::PullFailure::kNoRoom, "full", now);
  }
  EXPECT_FALSE(entry->pull_failed);
  outbox_.Take();
  objects_.Want(entry);
  EXPECT_THAT(outbox_.Take(), ElementsAre("pull 5"));
  objects_.Release(entry);
}

TEST_F(ObjectDirectoryTest, AnErrorOnItsWayToACallbackThatIsTakenBackIsDropped) {
  ObjectEntry* entry = BorrowRegistered(5);
  objects_.OnState(MakeId(5), {.known = true, .stored_bytes = 10, .locations = {MakeNode(4)}});
  objects_.AddCallback(entry, 1);
  constexpr int64_t kMinuteNs = 60'000'000'000;
  for (const int64_t now : {int64_t{1}, kMinuteNs}) {
    objects_.Tick(now);
    objects_.OnPullFailed(MakeId(5), ObjectDirectory::PullFailure::kNoRoom, "full", now);
  }
  EXPECT_TRUE(entry->pull_failed);
  objects_.RemoveCallback(entry, 1);
  EXPECT_FALSE(entry->pull_failed);
  objects_.Release(entry);
}

TEST_F(ObjectDirectoryTest, AStoredObjectIsPulledOnceAndUnpinnedOnce) {
  ObjectEntry* entry = BorrowRegistered(5);
  objects_.OnState(MakeId(5), {.known = true, .stored_bytes = 10, .locations = {MakeNode(4)}});
  objects_.AddCallback(entry, 1);
  objects_.Want(entry);
  EXPECT_THAT(outbox_.Take(), ElementsAre("pull 5"));
  objects_.OnPinned(MakeId(5), 64, 10);
  EXPECT_THAT(outbox_.Take(), ElementsAre("callback 1"));
  objects_.Release(entry);
  EXPECT_THAT(outbox_.Take(), ElementsAre("unpin 5", "remove 5 of 2"));
}

TEST_F(ObjectDirectoryTest, ACallbackThatWasTakenBackDoesNotCome) {
  ObjectEntry* entry = BorrowRegistered(5);
  objects_.AddCallback(entry, 1);
  objects_.AddCallback(entry, 2);
  objects_.RemoveCallback(entry, 1);
  objects_.RemoveCallback(entry, 3);
  objects_.OnState(MakeId(5), {.known = true, .stored_bytes = 10, .locations = {MakeNode(4)}});
  objects_.OnPinned(MakeId(5), 64, 10);
  EXPECT_THAT(outbox_.Take(), Not(Contains("callback 1")));
  objects_.RemoveCallback(entry, 2);  // too late
  objects_.Release(entry);
}

TEST_F(ObjectDirectoryTest, APinThatComesTooLateIsGivenUp) {
  ObjectEntry* entry = BorrowRegistered(5);
  objects_.OnState(MakeId(5), {.known = true, .stored_bytes = 10, .locations = {MakeNode(4)}});
  objects_.Want(entry);
  objects_.Release(entry);
  outbox_.Take();
  objects_.OnPinned(MakeId(5), 64, 10);
  EXPECT_THAT(outbox_.Take(), ElementsAre("unpin 5"));
}

TEST_F(ObjectDirectoryTest, AReaderThatOutlivedTheRefSharesItsPinWithTheNextRef) {
  ObjectEntry* entry = BorrowRegistered(5);
  objects_.OnState(MakeId(5), {.known = true, .stored_bytes = 10, .locations = {MakeNode(4)}});
  objects_.Want(entry);
  objects_.OnPinned(MakeId(5), 64, 10);
  LocalPin* pin = entry->pin;
  objects_.AddView(pin);
  objects_.Release(entry);
  entry = BorrowRegistered(5);
  objects_.OnState(MakeId(5), {.known = true, .stored_bytes = 10, .locations = {MakeNode(4)}});
  objects_.Want(entry);
  outbox_.Take();
  objects_.OnPinned(MakeId(5), 64, 10);
  EXPECT_THAT(outbox_.Take(), ElementsAre("unpin 5")) << "two pins at the raylet, one here";
  objects_.DropView(pin);
  EXPECT_THAT(outbox_.Take(), IsEmpty());
  objects_.Release(entry);
  EXPECT_THAT(outbox_.Take(), ElementsAre("unpin 5", "remove 5 of 2"));
}

using Failure = ObjectDirectory::PullFailure;
constexpr int64_t kSecond = 1'000'000'000;

TEST_F(ObjectDirectoryTest, APullThatFailsIsTriedAgainAndTheObjectStaysWhereItIs) {
  ObjectEntry* entry = objects_.NewOwned(MakeId(1));
  objects_.ResolveStored(entry, MakeNode(4), 10);
  objects_.Want(entry);
  outbox_.Take();
  objects_.OnPullFailed(MakeId(1), Failure::kNoRoom, "full", 0);
  EXPECT_FALSE(entry->answered());
  objects_.Want(entry);
  EXPECT_THAT(outbox_.Take(), IsEmpty()) << "not before the pause is over";
  objects_.Tick(objects_.NextTickNs());
  EXPECT_THAT(outbox_.Take(), ElementsAre("pull 1"));
  EXPECT_EQ(objects_.NextTickNs(), INT64_MAX);
  objects_.OnPinned(MakeId(1), 64, 10);
  EXPECT_TRUE(entry->local() && !entry->is_error);
  objects_.Release(entry);
  EXPECT_THAT(outbox_.Take(), ElementsAre("unpin 1", "free 1"));
}

TEST_F(ObjectDirectoryTest, WhoeverWaitsLongEnoughIsToldWhyAndTheNextOneHasItTriedAnew) {
  ObjectEntry* entry = objects_.NewOwned(MakeId(1));
  objects_.ResolveStored(entry, MakeNode(4), 10);
  objects_.Want(entry);
  outbox_.reader = entry;
  objects_.OnPullFailed(MakeId(1), Failure::kNoRoom, "full", 0);
  objects_.Tick(objects_.NextTickNs());
  const uint64_t errors = objects_.errors();
  objects_.OnPullFailed(MakeId(1), Failure::kNoRoom, "full", 100 * kSecond);
  EXPECT_TRUE(entry->answered() && !entry->local());
  EXPECT_GT(objects_.errors(), errors) << "who waits looks again";
  EXPECT_EQ(entry->state, ObjectState::kStored);
  const ValuePtr error = objects_.TakePullError(entry);
  EXPECT_EQ(error->data()[1], static_cast<uint8_t>(ErrorKind::kObjectStoreFull));
  EXPECT_FALSE(entry->answered());
  outbox_.Take();
  objects_.Want(entry);
  EXPECT_THAT(outbox_.Take(), ElementsAre("pull 1"));
  objects_.Release(entry);
  EXPECT_THAT(outbox_.Take(), ElementsAre("free 1")) << "the real copy";
}

TEST_F(ObjectDirectoryTest, ABorrowersFailedPullIsNobodyElsesMatter) {
  ObjectEntry* entry = BorrowRegistered(5);
  objects_.OnState(MakeId(5), {.known = true, .stored_bytes = 10, .locations = {MakeNode(4)}});
  objects_.AddCallback(entry, 1);
  objects_.OnPullFailed(MakeId(5), Failure::kMissing, "cut", 0);
  outbox_.Take();
  objects_.OnPullFailed(MakeId(5), Failure::kMissing, "cut", 100 * kSecond);
  EXPECT_THAT(outbox_.Take(), ElementsAre("callback 1"));
  EXPECT_TRUE(entry->answered());
  objects_.AddCallback(entry, 2);
  EXPECT_THAT(outbox_.Take(), ElementsAre("pull 5"));
  objects_.OnPinned(MakeId(5), 64, 10);
  EXPECT_THAT(outbox_.Take(), ElementsAre("callback 2"));
  objects_.Release(entry);
}

TEST_F(ObjectDirectoryTest, WhoWaitsWithoutReadingWaitsUntilItIsHere) {
  ObjectEntry* entry = objects_.NewOwned(MakeId(1));
  objects_.ResolveStored(entry, MakeNode(4), 10);
  objects_.Want(entry);
  outbox_.watcher = entry;
  for (int64_t now = 0; now < 200 * kSecond; now += kSecond) {
    objects_.OnPullFailed(MakeId(1), Failure::kNoRoom, "full", now);
    objects_.Tick(now + kSecond);
  }
  EXPECT_FALSE(entry->answered());
  outbox_.watcher = nullptr;
  objects_.OnPullFailed(MakeId(1), Failure::kNoRoom, "full", 200 * kSecond);
  EXPECT_EQ(objects_.NextTickNs(), INT64_MAX) << "nobody wants it any more";
  EXPECT_FALSE(entry->pulling);
  objects_.Release(entry);
}

TEST_F(ObjectDirectoryTest, APinThatNobodyReadsThroughIsGivenBackOnRequest) {
  ObjectEntry* read = objects_.NewOwned(MakeId(1));
  ObjectEntry* warm = objects_.NewOwned(MakeId(2));
  ObjectEntry* awaited = objects_.NewOwned(MakeId(3));
  ObjectEntry* last = objects_.NewOwned(MakeId(4));
  for (ObjectEntry* entry : {read, warm, awaited, last}) {
    objects_.ResolveStored(entry, MakeNode(4), 10);
    objects_.Want(entry);
    objects_.OnPinned(entry->id, 64, 10);
  }
  last->extra->locations.assign(1, MakeNode(9));
  objects_.OnNodeDied(MakeNode(9), "gone");
  LocalPin* pin = read->pin;
  objects_.AddView(pin);
  outbox_.watcher = awaited;
  outbox_.Take();
  objects_.TrimWarmPins(0);
  EXPECT_THAT(outbox_.Take(), ElementsAre("unpin 2"));
  EXPECT_FALSE(warm->local());
  EXPECT_TRUE(read->local() && awaited->local() && last->local());
  objects_.DropView(pin);
  EXPECT_TRUE(read->local()) << "the next read asks nobody";
  outbox_.watcher = nullptr;
  objects_.TrimWarmPins(0);
  EXPECT_THAT(outbox_.Take(), ElementsAre("unpin 3", "unpin 1"));
  objects_.Want(warm);
  EXPECT_THAT(outbox_.Take(), ElementsAre("pull 2"));
  objects_.CheckInvariants();
  for (ObjectEntry* entry : {read, warm, awaited, last}) objects_.Release(entry);
}

TEST_F(ObjectDirectoryTest, WarmPinsAreBoundedAndTheLongestUnusedGoFirst) {
  std::vector<ObjectEntry*> entries;
  const auto id_of = [](size_t i) {
    TaskId task;
    std::memcpy(task.bytes.data(), &i, sizeof i);
    return ObjectId(task, 0);
  };
  for (size_t i = 0; i < 2 * PinTable::kMaxWarm; ++i) {
    entries.push_back(objects_.NewOwned(id_of(i)));
    objects_.AdoptPin(entries[i], 64 * i, 10);
  }
  EXPECT_FALSE(entries.front()->local());
  EXPECT_TRUE(entries.back()->local());
  size_t local = 0;
  for (const ObjectEntry* entry : entries) local += entry->local() ? 1 : 0;
  EXPECT_GE(local, PinTable::kMaxWarm);
  EXPECT_LE(local, PinTable::kMaxWarm + PinTable::kMaxWarm / 8);
  objects_.CheckInvariants();
  for (ObjectEntry* entry : entries) objects_.Release(entry);
}

TEST_F(ObjectDirectoryTest, PinsThatHaveToStayAreNotLookedAtForEachThatComes) {
  const size_t many = PinTable::kMaxWarm + PinTable::kMaxWarm / 8;
  std::vector<ObjectEntry*>& entries = outbox_.readers;
  for (size_t i = 0; i < 2 * many; ++i) {
    TaskId task;
    std::memcpy(task.bytes.data(), &i, sizeof i);
    entries.push_back(objects_.NewOwned(ObjectId(task, 0)));
    objects_.AdoptPin(entries[i], 64 * i, 10);
    ASSERT_TRUE(entries[i]->local());
  }
  EXPECT_LE(outbox_.looks_at_waits, 32) << "each walks all that is waited for";
  objects_.CheckInvariants();
  for (ObjectEntry* entry : entries) objects_.Release(entry);
}

TEST_F(ObjectDirectoryTest, ABorrowerIsToldThatThereIsNoValueYet) {
  ObjectEntry* entry = MakeOwned(1);
  objects_.OnFetch(third_.worker, 7, MakeId(1));
  EXPECT_THAT(outbox_.Take(), ElementsAre("state 1 of 3"));
  ObjectEntry* borrowed = BorrowRegistered(5);
  objects_.Want(borrowed);
  objects_.OnState(MakeId(5), {.known = true, .pending = true});
  EXPECT_TRUE(borrowed->told_pending && !borrowed->ready());
  outbox_.Take();
  objects_.Want(borrowed);
  EXPECT_THAT(outbox_.Take(), IsEmpty()) << "the answer comes by itself";
  objects_.OnState(MakeId(5), {.known = true, .value = Bytes()});
  EXPECT_TRUE(borrowed->local());
  objects_.Release(entry);
  objects_.Release(borrowed);
}

TEST_F(ObjectDirectoryTest, PinsThatPythonLooksAtAreTold) {
  ObjectEntry* one = objects_.NewOwned(MakeId(1));
  ObjectEntry* two = objects_.NewOwned(MakeId(2));
  LocalPin* pin = objects_.AdoptPin(one, 64, 10);
  objects_.AdoptPin(two, 128, 10);
  const auto viewed = [&] {
    std::vector<uint64_t> offsets;
    objects_.ForEachViewed([&](const LocalPin& seen) { offsets.push_back(seen.offset); });
    return offsets;
  };
  EXPECT_THAT(viewed(), IsEmpty());
  objects_.AddView(pin);
  objects_.AddView(pin);
  objects_.Release(one);
  EXPECT_THAT(viewed(), ElementsAre(64));
  objects_.DropView(pin);
  EXPECT_THAT(viewed(), ElementsAre(64));
  objects_.DropView(pin);
  EXPECT_THAT(viewed(), IsEmpty());
  objects_.Release(two);
}

TEST_F(ObjectDirectoryTest, ErrorsAreCounted) {
  ObjectEntry* one = objects_.NewOwned(MakeId(1));
  ObjectEntry* two = objects_.NewOwned(MakeId(2));
  objects_.Resolve(one, ValuePtr(Value::New(1)), false);
  EXPECT_EQ(objects_.errors(), 0u);
  objects_.Resolve(two, ValuePtr(Value::New(1)), true);
  EXPECT_EQ(objects_.errors(), 1u);
  objects_.Release(one);
  objects_.Release(two);
}

TEST_F(ObjectDirectoryTest, ALostCopyIsAnErrorAndAnotherCopyIsNot) {
  ObjectEntry* one = objects_.NewOwned(MakeId(1));
  objects_.ResolveStored(one, MakeNode(4), 10);
  ObjectEntry* two = objects_.NewOwned(MakeId(2));
  objects_.ResolveStored(two, MakeNode(4), 10);
  two->extra->locations.push_back(MakeNode(5));
  objects_.OnNodeDied(MakeNode(4), "gone");
  EXPECT_TRUE(one->is_error);
  EXPECT_EQ(two->state, ObjectState::kStored);
  objects_.Release(one);
  objects_.Release(two);
}

TEST_F(ObjectDirectoryTest, TheLastHandleOfAnActorEndsIt) {
  ObjectEntry* entry = MakeOwned(1);
  entry->actor_handle = true;
  objects_.OnAddBorrower(third_.worker, MakeId(1));
  objects_.Release(entry);
  EXPECT_THAT(outbox_.Take(), IsEmpty());
  objects_.OnRemoveBorrower(third_.worker, MakeId(1));
  EXPECT_THAT(outbox_.Take(), ElementsAre("actor"));
}

TEST_F(ObjectDirectoryTest, AStateThatNamesNoPlaceMeansThatTheObjectIsLost) {
  ObjectEntry* entry = BorrowRegistered(5);
  objects_.Want(entry);
  objects_.OnState(MakeId(5), {.known = true, .stored_bytes = 10});
  EXPECT_TRUE(entry->local() && entry->is_error);
  objects_.Release(entry);
}

TEST_F(ObjectDirectoryTest, ADeathIsTheEndOfWhatTheDeadOwnedAndOfNothingElse) {
  constexpr uint8_t kBorrowed = 40;
  std::vector<ObjectEntry*> entries;
  for (uint8_t i = 0; i < kBorrowed; ++i) {
    entries.push_back(objects_.Borrow(MakeId(i), i % 2 == 0 ? owner_ : third_, true));
  }
  for (uint8_t i = 0; i < kBorrowed; i += 3) objects_.Release(std::exchange(entries[i], nullptr));
  objects_.CheckInvariants();
  objects_.OnProcessDied(owner_.worker, "killed");
  for (uint8_t i = 0; i < kBorrowed; ++i) {
    if (entries[i] == nullptr) continue;
    EXPECT_EQ(entries[i]->is_error, i % 2 == 0);
    objects_.Release(entries[i]);
  }
  EXPECT_EQ(objects_.borrowed_count(), 0u);
  EXPECT_EQ(objects_.size(), 0u);
}

TEST_F(ObjectDirectoryTest, WithoutARayletEverythingThatIsNotHereFails) {
  ObjectEntry* pending = MakeOwned(1);
  ObjectEntry* borrowed = BorrowRegistered(5);
  ObjectEntry* here = MakeOwned(2);
  objects_.Resolve(here, Bytes(), false);
  objects_.OnRayletLost(SystemError(ErrorKind::kRayletDied, ""));
  EXPECT_TRUE(pending->is_error && borrowed->is_error);
  EXPECT_FALSE(here->is_error);
  for (ObjectEntry* entry : {pending, borrowed, here}) objects_.Release(entry);
}

}  // namespace
}  // namespace cyray::core
