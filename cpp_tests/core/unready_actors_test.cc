// UnreadyActors: when an actor's arguments are said to be ready.

#include "cyray/core/unready_actors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "cpp_tests/core/silent_outbox.h"

namespace cyray::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class UnreadyActorsTest : public testing::Test, public SilentOutbox {
 protected:
  ~UnreadyActorsTest() override {
    for (ObjectEntry* entry : entries_) directory_.Release(entry);
  }

  void OnObjectReady(ObjectEntry*, std::vector<uint64_t> dependents,
                     std::vector<uint64_t>) override {
    for (const uint64_t tag : dependents) unready_.OnArgumentReady(tag);
  }

  ObjectEntry* Pending() {
    entries_.push_back(directory_.NewOwned(ObjectId(TaskId::Random(), 1)));
    return entries_.back();
  }
  void Resolve(ObjectEntry* entry, bool is_error = false) {
    directory_.Resolve(entry, ValuePtr(Value::New(1)), is_error);
  }
  bool Await(std::vector<ObjectEntry*> arguments) {
    return unready_.Await(actor_, arguments, directory_);
  }

  const ActorId actor_ = ActorId::Random();
  ObjectDirectory directory_{*this, *this};
  std::vector<ActorId> told_;
  UnreadyActors unready_{[this](const ActorId& id) { told_.push_back(id); }};
  std::vector<ObjectEntry*> entries_;
};

TEST_F(UnreadyActorsTest, ReadyArgumentsNeedNoWord) {
  ObjectEntry* ready = Pending();
  Resolve(ready);
  EXPECT_FALSE(Await({}));
  EXPECT_FALSE(Await({ready, ready}));
  unready_.OnRegistered(actor_);
  EXPECT_THAT(told_, IsEmpty());
  EXPECT_EQ(unready_.size(), 0u);
}

TEST_F(UnreadyActorsTest, TheLastArgumentIsWaitedFor) {
  ObjectEntry *first = Pending(), *second = Pending();
  EXPECT_TRUE(Await({first, second, first}));
  unready_.OnRegistered(actor_);
  Resolve(first, /*is_error=*/true);
  EXPECT_THAT(told_, IsEmpty());
  Resolve(second);
  EXPECT_THAT(told_, ElementsAre(actor_));
  EXPECT_EQ(unready_.size(), 0u);
}

TEST_F(UnreadyActorsTest, TheGcsHearsNothingOfAnActorThatItDoesNotKnow) {
  ObjectEntry* argument = Pending();
  EXPECT_TRUE(Await({argument}));
  Resolve(argument);
  EXPECT_THAT(told_, IsEmpty());
  unready_.OnRegistered(actor_);
  EXPECT_THAT(told_, ElementsAre(actor_));
}

TEST_F(UnreadyActorsTest, AForgottenActorIsNotTold) {
  ObjectEntry* argument = Pending();
  EXPECT_TRUE(Await({argument}));
  unready_.OnRegistered(actor_);
  unready_.Forget(actor_);
  Resolve(argument);
  EXPECT_THAT(told_, IsEmpty());
  EXPECT_EQ(unready_.size(), 0u);
}

}  // namespace
}  // namespace cyray::core
