// ActorSubmitter: calls in order, calls in limbo, restarts and deaths.

#include "cyray/core/actor_submitter.h"

#include <gmock/gmock.h>

#include "cpp_tests/core/submitter_fake.h"

namespace cyray::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using wire::ActorState;
using wire::FrameType;
using wire::TaskStatus;

class ActorSubmitterTest : public SubmitterFake {
 protected:
  ActorSubmitterTest() {
    actor_id_.bytes[0] = 5;
    client_ = actors_.Client(actor_id_);
  }
  ObjectEntry* Call(TaskTemplate* tmpl, std::vector<ObjectEntry*> refs = {}) {
    ObjectEntry* entry = Submit(tmpl, std::move(refs), client_);
    mine_.push_back(entry);
    return entry;
  }
  void Update(ActorState state, uint32_t incarnation, uint8_t worker) {
    flatbuffers::FlatBufferBuilder b;
    const Address address = WorkerAddress(worker);
    b.Finish(wire::CreateActorUpdate(b, wire::ToWire(actor_id_), state, wire::ToWire(address),
                                     incarnation));
    actors_.OnActorUpdate(*flatbuffers::GetRoot<wire::ActorUpdate>(b.GetBufferPointer()));
  }
  void TearDown() override {
    for (ObjectEntry* entry : mine_) {
      EXPECT_TRUE(entry->ready());
      objects_.Release(entry);
    }
    ExpectAllAnswered();
    EXPECT_EQ(objects_.size(), 0u);
  }

  ActorId actor_id_;
  ActorClient* client_;
  std::vector<ObjectEntry*> mine_;
};

TEST_F(ActorSubmitterTest, CallsWaitForTheActorAndThenGoInOrder) {
  AddWorker(10);
  TaskTemplate* tmpl = MakeTemplate();
  for (int i = 0; i < 3; ++i) Call(tmpl);
  EXPECT_THAT(FromProcess(FrameType::kSubscribeActor), SizeIs(1));
  EXPECT_THAT(Pushed(10), IsEmpty());
  Update(ActorState::Alive, 0, 10);
  const auto tags = Pushed(10);
  ASSERT_THAT(tags, SizeIs(3));
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(slab_.Find(tags[i])->returns[0], mine_[i]);
  }
  for (const uint64_t tag : tags) Reply(10, tag);
}

TEST_F(ActorSubmitterTest, ACallThatWaitsForAnArgumentHoldsBackLaterOnesOnlyWhereOrderMatters) {
  AddWorker(10);
  TaskTemplate* tmpl = MakeTemplate();
  Update(ActorState::Alive, 0, 10);
  for (const bool in_order : {true, false}) {
    client_->in_order = in_order;
    ObjectEntry* argument = objects_.NewOwned(ObjectId(ids_.Next(), 1));
    Call(tmpl, {argument});
    Call(tmpl);
    const auto early = Pushed(10);
    EXPECT_THAT(early, SizeIs(in_order ? 0 : 1));
    objects_.Resolve(argument, ValuePtr(Value::Copy("v", 1)), false);
    objects_.Release(argument);
    const auto late = Pushed(10);
    EXPECT_THAT(late, SizeIs(in_order ? 2 : 1));
    for (const uint64_t tag : early) Reply(10, tag);
    for (const uint64_t tag : late) Reply(10, tag);
  }
}

TEST_F(ActorSubmitterTest, CallsInFlightAreSentAgainInOrderAndBeforeYoungerOnes) {
  AddWorker(10);
  TaskTemplate* tmpl = MakeTemplate(/*max_retries=*/1);
  Update(ActorState::Alive, 0, 10);
  Call(tmpl);
  Call(tmpl);
  const auto tags = Pushed(10);
  Kill(10);
  Call(tmpl);  // younger, while nobody knows what becomes of the actor
  EXPECT_FALSE(mine_[0]->ready());
  Update(ActorState::Restarting, 1, 0);
  AddWorker(11);
  Update(ActorState::Alive, 1, 11);
  const auto again = Pushed(11);
  ASSERT_THAT(again, SizeIs(3));
  EXPECT_THAT((std::vector<uint64_t>{again[0], again[1]}), ElementsAre(tags[0], tags[1]));
  for (const uint64_t tag : again) Reply(11, tag);
}

TEST_F(ActorSubmitterTest, CallsThatALeavingWorkerHandedBackKeepTheirOrder) {
  AddWorker(10);
  TaskTemplate* tmpl = MakeTemplate(/*max_retries=*/-1);
  Update(ActorState::Alive, 0, 10);
  for (int i = 0; i < 4; ++i) Call(tmpl);
  const auto tags = Pushed(10);
  for (size_t i = 3; i > 0; --i) Reply(10, tags[i], TaskStatus::WorkerExiting);
  Kill(10);
  Update(ActorState::Restarting, 1, 0);
  AddWorker(11);
  Update(ActorState::Alive, 1, 11);
  const auto again = Pushed(11);
  EXPECT_EQ(again, tags);
  for (const uint64_t tag : again) Reply(11, tag);
}

TEST_F(ActorSubmitterTest, CallsWithoutRetriesFailWhenTheActorRestartsAndQueuedOnesDoNot) {
  AddWorker(10);
  TaskTemplate* tmpl = MakeTemplate();
  Update(ActorState::Alive, 0, 10);
  ObjectEntry* in_flight = Call(tmpl);
  Pushed(10);
  Kill(10);
  ObjectEntry* queued = Call(tmpl);
  Update(ActorState::Restarting, 1, 0);
  EXPECT_EQ(KindOf(in_flight), ErrorKind::kActorUnavailable);
  EXPECT_FALSE(queued->ready());
  AddWorker(11);
  Update(ActorState::Alive, 1, 11);
  Reply(11, Pushed(11).at(0));
}

TEST_F(ActorSubmitterTest, ADeadActorAnswersEveryCallNowAndLater) {
  AddWorker(10);
  TaskTemplate* tmpl = MakeTemplate(/*max_retries=*/5);
  Update(ActorState::Alive, 0, 10);
  Call(tmpl);
  ObjectEntry* argument = objects_.NewOwned(ObjectId(ids_.Next(), 1));
  Call(tmpl, {argument});
  Kill(10);
  Update(ActorState::Dead, 0, 0);
  Call(tmpl);
  for (ObjectEntry* entry : mine_) EXPECT_EQ(KindOf(entry), ErrorKind::kActorDied);
  // The slot of the call that waited belongs to another task now, which waits for something else.
  ObjectEntry* other = objects_.NewOwned(ObjectId(ids_.Next(), 1));
  ObjectEntry* waits = Submit(tmpl, {other});
  objects_.Resolve(argument, ValuePtr(Value::Copy("v", 1)), false);
  EXPECT_THAT(FromProcess(FrameType::kRequestLease), IsEmpty()) << "it is pushed too early";
  objects_.Resolve(other, MakeError(1, ""), true);
  for (ObjectEntry* entry : {argument, other, waits}) objects_.Release(entry);
}

TEST_F(ActorSubmitterTest, AnswersThatTheActorHadSentCountThoughItsDeathIsHeardOfFirst) {
  AddWorker(10);
  TaskTemplate* tmpl = MakeTemplate();
  Update(ActorState::Alive, 0, 10);
  ObjectEntry* done = Call(tmpl);
  ObjectEntry* lost = Call(tmpl);
  const auto tags = Pushed(10);
  SendReply(10, tags[0], TaskStatus::Ok);
  worker_ends_.erase(10);
  Update(ActorState::Dead, 0, 0);
  EXPECT_TRUE(done->ready() && !done->is_error);
  EXPECT_EQ(KindOf(lost), ErrorKind::kActorDied);
}

TEST_F(ActorSubmitterTest, BeingToldAgainOfALostWorkerDecidesNothing) {
  AddWorker(10);
  Update(ActorState::Alive, 0, 10);
  ObjectEntry* call = Call(MakeTemplate());
  Pushed(10);
  Kill(10);
  Update(ActorState::Alive, 0, 10);
  EXPECT_FALSE(call->ready());
  Update(ActorState::Dead, 0, 0);
  EXPECT_EQ(KindOf(call), ErrorKind::kActorDied);
}

TEST_F(ActorSubmitterTest, NewsOfAPastIncarnationIsIgnored) {
  AddWorker(10);
  AddWorker(11);
  Update(ActorState::Alive, 1, 11);
  Update(ActorState::Restarting, 0, 0);
  Call(MakeTemplate());
  Reply(11, Pushed(11).at(0));
}

TEST_F(ActorSubmitterTest, ARetriableErrorRunsTheCallAgain) {
  AddWorker(10);
  Update(ActorState::Alive, 0, 10);
  ObjectEntry* call = Call(MakeTemplate(/*max_retries=*/1));
  Reply(10, Pushed(10).at(0), TaskStatus::Error, /*retry=*/true);
  EXPECT_FALSE(call->ready());
  Reply(10, Pushed(10).at(0));
  EXPECT_FALSE(call->is_error);
}

TEST_F(ActorSubmitterTest, AnActorWhoseRegistrationFailedIsDead) {
  ObjectEntry* call = Call(MakeTemplate());
  actors_.OnRegistrationFailed(actor_id_, "the name is taken");
  EXPECT_EQ(KindOf(call), ErrorKind::kActorDied);
}

TEST_F(ActorSubmitterTest, OneCallerHasABoundedNumberOfCallsInFlightAndAllAreMadeInTheEnd) {
  AddWorker(10);
  Update(ActorState::Alive, 0, 10);
  TaskTemplate* tmpl = MakeTemplate();
  constexpr size_t kCalls = ActorSubmitter::kMaxInFlight + 100;
  for (size_t i = 0; i < kCalls; ++i) {
    Call(tmpl);
    if (i % 100 == 0) links_.FlushDirty();
  }
  size_t answered = 0;
  for (auto tags = Pushed(10); !tags.empty(); tags = Pushed(10)) {
    EXPECT_LE(client_->in_flight.count, ActorSubmitter::kMaxInFlight);
    for (const uint64_t tag : tags) Reply(10, tag);
    answered += tags.size();
  }
  EXPECT_EQ(answered, kCalls);
}

}  // namespace
}  // namespace cyray::core
