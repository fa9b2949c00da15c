// ObjectDirectory, objects that their user frees while refs to them live.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cpp_tests/core/object_directory_fixture.h"
#include "cyray/common/encoding.h"

namespace cyray::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class ObjectFreeTest : public ObjectDirectoryTest {};

TEST_F(ObjectFreeTest, AFreedObjectIsAnErrorAndItsCopyGoesOnce) {
  ObjectEntry* entry = MakeOwned(1);
  objects_.ResolveStored(entry, self_.node, 100);
  objects_.AdoptPin(entry, 64, 100);
  objects_.Free(entry);
  EXPECT_THAT(outbox_.Take(), ElementsAre("unpin 1", "free 1"));
  EXPECT_TRUE(entry->local() && entry->is_error);
  EXPECT_EQ(entry->value->data()[1], static_cast<uint8_t>(ErrorKind::kObjectFreed));
  EXPECT_EQ(objects_.errors(), 1u);
  objects_.Free(entry);
  objects_.Release(entry);
  EXPECT_THAT(outbox_.Take(), IsEmpty());
  EXPECT_EQ(objects_.size(), 0u);
}

TEST_F(ObjectFreeTest, AnOwnerTellsBorrowersOfAFreedObjectAndABorrowerItsOwner) {
  MakeOwned(1);
  objects_.Resolve(objects_.Find(MakeId(1)), Bytes(), false);
  objects_.OnAddBorrower(third_.worker, MakeId(1));
  ObjectEntry* borrowed = BorrowRegistered(2);
  objects_.Free(borrowed);
  EXPECT_THAT(outbox_.Take(), ElementsAre("freed 2 of 2"));
  EXPECT_TRUE(borrowed->local() && borrowed->is_error);
  objects_.OnFreed(third_.worker, MakeId(1));  // a borrower asks for it
  EXPECT_THAT(outbox_.Take(), ElementsAre("freed 1 of 3"));
  EXPECT_TRUE(objects_.Find(MakeId(1))->is_error);
}

TEST_F(ObjectFreeTest, ABorrowerTakesNobodysWordButItsOwners) {
  ObjectEntry* entry = BorrowRegistered(1);
  objects_.OnState(MakeId(1), {.known = true, .value = Bytes()});
  objects_.OnFreed(third_.worker, MakeId(1));
  EXPECT_FALSE(entry->is_error);
  objects_.OnFreed(owner_.worker, MakeId(1));
  EXPECT_TRUE(entry->is_error);
  EXPECT_THAT(outbox_.Take(), IsEmpty());
  objects_.OnFreed(owner_.worker, MakeId(9));  // long gone
}

TEST_F(ObjectFreeTest, WhatComesForAnObjectThatWasFreedBeforeGoes) {
  ObjectEntry* stored = MakeOwned(1);
  ObjectEntry* inlined = MakeOwned(2);
  ObjectEntry* inner = MakeOwned(3);
  objects_.AddDependent(stored, 7);
  objects_.Free(stored);
  EXPECT_THAT(outbox_.Take(), ElementsAre("task 7"));
  stored->is_error = false;  // as of the value that comes
  objects_.ResolveStored(stored, MakeNode(2), 100);
  EXPECT_THAT(outbox_.Take(), ElementsAre("free 1"));
  EXPECT_TRUE(stored->is_error);
  objects_.Free(inlined);
  objects_.SetContained(inlined, {inner});
  objects_.Resolve(inlined, Bytes(), false);
  EXPECT_TRUE(inlined->is_error);
  EXPECT_EQ(objects_.Find(MakeId(3)), nullptr);
}

TEST_F(ObjectFreeTest, AFreedObjectLetsGoOfTheRefsInsideIt) {
  ObjectEntry* outer = MakeOwned(1);
  objects_.SetContained(outer, {MakeOwned(2)});
  objects_.Resolve(outer, Bytes(), false);
  objects_.Free(outer);
  EXPECT_EQ(objects_.Find(MakeId(2)), nullptr);
}

TEST_F(ObjectFreeTest, TheMemoryOfAFreedObjectStaysWhileItIsRead) {
  ObjectEntry* entry = MakeOwned(1);
  objects_.ResolveStored(entry, self_.node, 100);
  LocalPin* pin = objects_.AdoptPin(entry, 64, 100);
  objects_.AddView(pin);
  objects_.Free(entry);
  EXPECT_THAT(outbox_.Take(), ElementsAre("free 1"));
  objects_.DropView(pin);
  EXPECT_THAT(outbox_.Take(), ElementsAre("unpin 1"));
}

TEST_F(ObjectFreeTest, OnlyTheCopyHereGoesWhereAnotherNodeHasOne) {
  ObjectEntry* entry = BorrowRegistered(1);
  objects_.OnState(MakeId(1), {.known = true, .stored_bytes = 100, .locations = {MakeNode(2)}});
  objects_.AdoptPin(entry, 64, 100);
  objects_.FreeHere(entry);
  EXPECT_THAT(outbox_.Take(), ElementsAre("unpin 1", "stray 1"));
  EXPECT_FALSE(entry->local());
  objects_.Want(entry);
  EXPECT_THAT(outbox_.Take(), ElementsAre("pull 1"));
  ObjectEntry* only_here = MakeOwned(2);
  objects_.FreeHere(only_here);
  EXPECT_FALSE(only_here->ready());
  objects_.ResolveStored(only_here, self_.node, 100);
  objects_.FreeHere(only_here);
  EXPECT_TRUE(only_here->is_error);
}

}  // namespace
}  // namespace cyray::core
