// ActorSubmitter: calls in order, calls in limbo, restarts and deaths.

#include "cyray/core/actor_submitter.h"

#include <gmock/gmock.h>

#include "cpp_tests/core/submitter_fake.h"
#include "cyray/util/clock.h"

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
    client_ = actors_.Acquire(actor_id_);
  }
  ObjectEntry* Call(TaskTemplate* tmpl, std::vector<ObjectEntry*> refs = {}) {
    ObjectEntry* entry = Submit(tmpl, std::move(refs), client_);
    mine_.push_back(entry);
    return entry;
  }
  void Update(ActorState state, uint32_t incarnation, uint8_t worker,
              const std::string& waits = "") {
    flatbuffers::FlatBufferBuilder b;
    const Address address = WorkerAddress(worker);
    const auto text = b.CreateString(waits);
    wire::ActorUpdateBuilder update(b);
    update.add_actor_id(wire::ToWire(actor_id_));
    update.add_state(state);
    update.add_address(wire::ToWire(address));
    update.add_incarnation(incarnation);
    update.add_waits(text);
    b.Finish(update.Finish());
    actors_.OnActorUpdate(*flatbuffers::GetRoot<wire::ActorUpdate>(b.GetBufferPointer()));
  }
  void TearDown() override {
    for (ObjectEntry* entry : mine_) {
      EXPECT_TRUE(entry->ready());
      objects_.Release(entry);
    }
    actors_.CheckInvariants();
    ExpectAllAnswered();
    EXPECT_EQ(objects_.size(), 0u);
  }

  static ActorId NumberedActor(uint32_t number) {
    ActorId actor;
    actor.bytes[15] = 1;
    std::memcpy(actor.bytes.data(), &number, sizeof number);
    return actor;
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

TEST_F(ActorSubmitterTest, ACallThatIsQueuedSaysWhatItWaitsFor) {
  AddWorker(10);
  TaskTemplate* tmpl = MakeTemplate();
  ObjectEntry* argument = objects_.NewOwned(ObjectId(ids_.Next(), 1));
  ObjectEntry* first = Call(tmpl);
  const auto of = [this](ObjectEntry* result) { return DescribeTask(*result->maker); };
  const std::string queued = "queued for actor " + actor_id_.Hex();
  EXPECT_THAT(of(first), testing::EndsWith(queued + ", of which the GCS has not told yet"));
  Update(ActorState::PendingCreation, 0, 0, "which no node can take: it needs {CPU: 8}");
  EXPECT_THAT(of(first), testing::EndsWith(queued + ", which no node can take: it needs {CPU: 8}"));
  Update(ActorState::Alive, 0, 10);
  EXPECT_THAT(of(first), testing::HasSubstr("pushed to actor"));
  ObjectEntry* second = Call(tmpl, {argument});
  ObjectEntry* third = Call(tmpl);
  EXPECT_THAT(of(second), testing::EndsWith("which waits for 1 of its arguments"));
  EXPECT_THAT(of(third), testing::EndsWith("behind a call that waits for its arguments"));
  objects_.Resolve(argument, ValuePtr(Value::Copy("v", 1)), false);
  objects_.Release(argument);
  for (const uint64_t tag : Pushed(10)) Reply(10, tag);
}

TEST_F(ActorSubmitterTest, ACallThatWaitsForAnArgumentHoldsBackLaterOnesOnlyWhereOrderMatters) {
  AddWorker(10);
  TaskTemplate* tmpl = MakeTemplate();
  Update(ActorState::Alive, 0, 10);
  for (const bool in_order : {true, false}) {
    client_->lanes[0].group.in_order = in_order;
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
  objects_.Resolve(other, SystemError(ErrorKind::kInternal, ""), true);
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

TEST_F(ActorSubmitterTest, NoCallGoesToAnIncarnationThatIsKilled) {
  AddWorker(10);
  AddWorker(20);
  TaskTemplate* tmpl = MakeTemplate();
  Update(ActorState::Alive, 0, 10);
  Call(tmpl);
  const uint64_t early = Pushed(10)[0];
  actors_.HoldCalls(actor_id_, 1);
  actors_.HoldCalls(actor_id_, 0);  // the answer to an earlier kill, which found nothing to end
  Call(tmpl);
  EXPECT_THAT(Pushed(10), IsEmpty()) << "what was killed gets another call";
  Reply(10, early);
  EXPECT_TRUE(mine_[0]->ready()) << "what it still answers counts";
  Update(ActorState::Restarting, 1, 10);
  Update(ActorState::Alive, 1, 20);
  Reply(20, Pushed(20).at(0));
  actors_.HoldCalls(actor_id_, UINT32_MAX);
  Call(tmpl);
  EXPECT_THAT(Pushed(20), IsEmpty());
  Update(ActorState::Dead, 1, 20);
  EXPECT_TRUE(mine_[2]->ready());
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

TEST_F(ActorSubmitterTest, CallsFailWhenTheConnectionBreaksAndNobodySaysThatTheActorDied) {
  AddWorker(10);
  TaskTemplate* tmpl = MakeTemplate(/*max_retries=*/5);
  Update(ActorState::Alive, 0, 10);
  ObjectEntry* in_flight = Call(tmpl);
  Pushed(10);
  links_.Break(LinkTo(10), "it sent nonsense");
  ObjectEntry* queued = Call(tmpl);
  actors_.Tick(MonotonicNs());
  EXPECT_FALSE(in_flight->ready());
  const int64_t early = actors_.NextTickNs();
  actors_.Tick(early);
  EXPECT_FALSE(in_flight->ready()) << "the raylet stands still, as far as is known";
  EXPECT_EQ(actors_.NextTickNs(), early + LinkOutbox::kLookForNewsNs);
  RayletAnswers();
  actors_.Tick(actors_.NextTickNs());
  ObjectEntry* later = Call(tmpl);
  for (ObjectEntry* entry : {in_flight, queued, later}) {
    EXPECT_EQ(KindOf(entry), ErrorKind::kActorUnavailable);
  }
  EXPECT_EQ(actors_.NextTickNs(), kForever);
  Update(ActorState::Alive, 0, 10);  // told again: nothing new
  EXPECT_TRUE(Call(tmpl)->ready());
  AddWorker(11);
  Update(ActorState::Alive, 1, 11);
  Call(tmpl);
  Reply(11, Pushed(11).at(0));
}

TEST_F(ActorSubmitterTest, ACallThatIsCancelledBeforeItIsPushedNeverIsAndHoldsUpNobody) {
  AddWorker(10);
  TaskTemplate* tmpl = MakeTemplate(/*max_retries=*/-1);
  ObjectEntry* argument = objects_.NewOwned(ObjectId(ids_.Next(), 1));
  Update(ActorState::Alive, 0, 10);
  ObjectEntry* waits = Call(tmpl, {argument});
  ObjectEntry* behind = Call(tmpl);
  ObjectEntry* last = Call(tmpl);
  EXPECT_THAT(Pushed(10), IsEmpty());
  actors_.Cancel(last->maker, false);
  actors_.Cancel(waits->maker, false);
  actors_.CheckInvariants();
  EXPECT_EQ(KindOf(waits), ErrorKind::kTaskCancelled);
  EXPECT_EQ(KindOf(last), ErrorKind::kTaskCancelled);
  objects_.Resolve(argument, ValuePtr(Value::Copy("v", 1)), false);
  objects_.Release(argument);
  Reply(10, Pushed(10).at(0));
  EXPECT_FALSE(behind->is_error);
}

TEST_F(ActorSubmitterTest, ACallThatIsCancelledIsNotMadeAgainWhateverBecomesOfTheActor) {
  AddWorker(10);
  TaskTemplate* tmpl = MakeTemplate(/*max_retries=*/-1);
  Update(ActorState::Alive, 0, 10);
  ObjectEntry* answered = Call(tmpl);
  ObjectEntry* fails = Call(tmpl);
  ObjectEntry* comes_back = Call(tmpl);
  ObjectEntry* lost = Call(tmpl);
  ObjectEntry* in_limbo = Call(tmpl);
  ObjectEntry* stays = Call(tmpl);
  const auto tags = Pushed(10);
  for (ObjectEntry* entry : {answered, fails, comes_back, lost}) actors_.Cancel(entry->maker, true);
  EXPECT_THAT(AskedToCancel(10), ElementsAre(tags[0], tags[1], tags[2], tags[3]));
  Reply(10, tags[0], TaskStatus::Cancelled);
  Reply(10, tags[1], TaskStatus::Error, /*retry=*/true);
  Reply(10, tags[2], TaskStatus::WorkerExiting);
  Kill(10);
  actors_.Cancel(in_limbo->maker, false);
  EXPECT_EQ(KindOf(in_limbo), ErrorKind::kTaskCancelled);
  Update(ActorState::Restarting, 1, 0);
  for (ObjectEntry* entry : {answered, fails, comes_back, lost}) {
    EXPECT_EQ(KindOf(entry), ErrorKind::kTaskCancelled);
  }
  AddWorker(11);
  Update(ActorState::Alive, 1, 11);
  Reply(11, Pushed(11).at(0));
  EXPECT_FALSE(stays->is_error);
}

TEST_F(ActorSubmitterTest, CallsWaitForWordOfAnActorWhoseProcessIsDeadForSure) {
  AddWorker(10);
  Update(ActorState::Alive, 0, 10);
  ObjectEntry* call = Call(MakeTemplate(/*max_retries=*/1));
  Pushed(10);
  Kill(10);
  actors_.OnProcessDied(WorkerAddress(10).worker);
  EXPECT_EQ(actors_.NextTickNs(), kForever);
  actors_.Tick(MonotonicNs() + 1'000 * LinkTable::kNewsElsewhereNs);
  EXPECT_FALSE(call->ready()) << "the GCS may be away for a while";
  Update(ActorState::Restarting, 1, 0);
  AddWorker(11);
  Update(ActorState::Alive, 1, 11);
  Reply(11, Pushed(11).at(0));
  EXPECT_FALSE(call->is_error);
}

TEST_F(ActorSubmitterTest, CallsWaitForWordOfAnActorWhoseProcessWasDeadWhenItsAddressCame) {
  AddWorker(10);
  Kill(10);
  links_.Forget(WorkerAddress(10).worker);
  links_.FlushDirty();
  Update(ActorState::Alive, 0, 10);
  ObjectEntry* call = Call(MakeTemplate());
  EXPECT_EQ(actors_.NextTickNs(), kForever);
  actors_.Tick(MonotonicNs() + 1'000 * LinkTable::kNewsElsewhereNs);
  EXPECT_FALSE(call->ready()) << "the GCS may be away for a while";
  AddWorker(11);
  Update(ActorState::Restarting, 1, 0);
  Update(ActorState::Alive, 1, 11);
  Reply(11, Pushed(11).at(0));
  EXPECT_FALSE(call->is_error);
}

TEST_F(ActorSubmitterTest, AnAnswerSaidTwiceCountsOnceWhereverTheCallIs) {
  AddWorker(10);
  TaskTemplate* tmpl = MakeTemplate(/*max_retries=*/2);
  Update(ActorState::Alive, 0, 10);
  ObjectEntry* argument = objects_.NewOwned(ObjectId(ids_.Next(), 1));
  Call(tmpl);
  Call(tmpl, {argument});
  Call(tmpl);
  const uint64_t tag = Pushed(10).at(0);
  Reply(10, tag, TaskStatus::Error, /*retry=*/true);  // queued again, behind the one that waits
  Reply(10, tag, TaskStatus::Error, /*retry=*/true);
  actors_.CheckInvariants();
  objects_.Resolve(argument, ValuePtr(Value::Copy("v", 1)), false);
  objects_.Release(argument);
  const auto tags = Pushed(10);
  ASSERT_THAT(tags, SizeIs(3));
  Reply(10, tags[0], TaskStatus::WorkerExiting);  // in limbo
  Reply(10, tags[0], TaskStatus::WorkerExiting);
  actors_.CheckInvariants();
  Reply(10, tags[1]);
  Reply(10, tags[2]);
  Kill(10);
  AddWorker(11);
  Update(ActorState::Alive, 1, 11);
  Reply(11, Pushed(11).at(0));
}

TEST_F(ActorSubmitterTest, RefsInAValueThatNobodyTakesAreLetGoOf) {
  AddWorker(10);
  Update(ActorState::Alive, 0, 10);
  Call(MakeTemplate(/*max_retries=*/1));
  const uint64_t tag = Pushed(10).at(0);
  const TaskId id = slab_.Find(tag)->id;
  ReplyWithRef(10, tag, id, /*retry=*/true);
  EXPECT_THAT(Disregarded(10), ElementsAre(ObjectId(id, 1)));
  Reply(10, Pushed(10).at(0));
  ReplyWithRef(10, tag, id);
  EXPECT_THAT(Disregarded(10), ElementsAre(ObjectId(id, 1)));
}

TEST_F(ActorSubmitterTest, AnActorHasNoMoreCallsOfOneProcessThanItRunsAtOnceAndAReserve) {
  AddWorker(10);
  client_->lanes[0].group.in_order = false;
  client_->lanes[0].group.at_once = 1'000;
  Update(ActorState::Alive, 0, 10);
  TaskTemplate* tmpl = MakeTemplate();
  for (size_t i = 0; i < ActorSubmitter::kMaxInFlight + 2'000; ++i) {
    Call(tmpl);
    if (i % 100 == 0) links_.FlushDirty();
  }
  EXPECT_EQ(client_->in_flight.count, ActorSubmitter::kMaxInFlight + 999);
  for (auto tags = Pushed(10); !tags.empty(); tags = Pushed(10)) {
    for (const uint64_t tag : tags) Reply(10, tag);
  }
}

TEST_F(ActorSubmitterTest, WhereOrderDoesNotMatterCallsThatWaitForArgumentsWaitBesideTheQueue) {
  AddWorker(10);
  client_->lanes[0].group.in_order = false;
  Update(ActorState::Alive, 0, 10);
  TaskTemplate* tmpl = MakeTemplate();
  std::vector<ObjectEntry*> arguments;
  for (int i = 0; i < 1'000; ++i) {
    arguments.push_back(objects_.NewOwned(ObjectId(ids_.Next(), 1)));
    Call(tmpl, {arguments.back()});
  }
  EXPECT_TRUE(client_->lanes[0].queue.empty());
  EXPECT_EQ(client_->pending(), 1'000u);
  actors_.CheckInvariants();
  objects_.Resolve(arguments[700], ValuePtr(Value::Copy("v", 1)), false);
  Reply(10, Pushed(10).at(0));
  EXPECT_TRUE(mine_[700]->ready());
  Update(ActorState::Dead, 0, 0);
  for (ObjectEntry* entry : arguments) objects_.Release(entry);
}

TEST_F(ActorSubmitterTest, ACrowdedActorIsNotWaitedForAtEveryCallWhileItAnswersNone) {
  AddWorker(10);
  Update(ActorState::Alive, 0, 10);
  TaskTemplate* tmpl = MakeTemplate();
  for (size_t i = 0; i < ActorClient::kCrowd; ++i) Call(tmpl);
  EXPECT_FALSE(ActorSubmitter::Crowded(*client_));
  Call(tmpl);
  EXPECT_TRUE(ActorSubmitter::Crowded(*client_));
  const uint64_t answered = client_->answered;
  ActorSubmitter::HasWaited(*client_, answered);
  for (uint32_t i = 0; i < ActorSubmitter::kPasses; ++i) {
    ASSERT_FALSE(ActorSubmitter::Crowded(*client_));
    Call(tmpl);
  }
  EXPECT_TRUE(ActorSubmitter::Crowded(*client_));
  ActorSubmitter::HasWaited(*client_, answered);
  EXPECT_FALSE(ActorSubmitter::Crowded(*client_));
  for (const uint64_t tag : Pushed(10)) Reply(10, tag);
  ActorSubmitter::HasWaited(*client_, answered);
  EXPECT_TRUE(ActorSubmitter::Crowded(*client_)) << "it answers";
  while (client_->pending() > 0) {
    for (const uint64_t tag : Pushed(10)) Reply(10, tag);
  }
}

TEST_F(ActorSubmitterTest, BytesOfArgumentsAreBoundedHereAndAtTheActor) {
  AddWorker(10);
  Update(ActorState::Alive, 0, 10);
  TaskTemplate* tmpl = MakeTemplate();
  constexpr size_t kBytes = 64 << 10;
  const std::string large(kBytes, 'x');
  const auto call = [&] { return Submit(tmpl, {}, client_, large); };
  std::vector<ObjectEntry*> entries;
  while (!ActorSubmitter::Crowded(*client_)) entries.push_back(call());
  EXPECT_EQ(entries.size(), ActorClient::kCrowdBytes / kBytes + 1);
  EXPECT_EQ(client_->in_flight.count, ActorSubmitter::kMaxInFlightBytes / kBytes);
  for (size_t round = 0; client_->pending() > 0; ++round) {
    ASSERT_LT(round, entries.size());
    for (const uint64_t tag : Pushed(10)) Reply(10, tag);
    actors_.CheckInvariants();
  }
  EXPECT_EQ(client_->bytes, 0u);
  mine_.insert(mine_.end(), entries.begin(), entries.end());
}

TEST_F(ActorSubmitterTest, OnlyAnActorThatHasLivedIsKnownToHaveDied) {
  AddWorker(10);
  Call(MakeTemplate());
  EXPECT_FALSE(actors_.HasDied(actor_id_));
  Update(ActorState::Alive, 0, 10);
  EXPECT_FALSE(actors_.HasDied(actor_id_));
  Update(ActorState::Dead, 0, 0);
  EXPECT_TRUE(actors_.HasDied(actor_id_));
}

TEST_F(ActorSubmitterTest, ADeadActorIsNotWatchedAnyMore) {
  Call(MakeTemplate());
  EXPECT_THAT(FromProcess(FrameType::kSubscribeActor), SizeIs(1));
  Update(ActorState::Dead, 0, 0);
  const auto frames = FromProcess(FrameType::kSubscribeActor);
  ASSERT_THAT(frames, SizeIs(1));
  EXPECT_FALSE(frames[0].As<wire::SubscribeActor>()->subscribe());
}

TEST_F(ActorSubmitterTest, ActorsWithoutHandlesAreForgottenTheLongestIdleFirst) {
  constexpr uint32_t kActors = 2 * ActorSubmitter::kMaxIdle;
  TaskTemplate* tmpl = MakeTemplate();
  ActorClient* busy = actors_.Acquire(NumberedActor(kActors));
  ObjectEntry* pending = Submit(tmpl, {}, busy);
  actors_.Release(busy);
  for (uint32_t i = 0; i < kActors; ++i) actors_.Release(actors_.Acquire(NumberedActor(i)));
  actors_.CheckInvariants();
  EXPECT_LE(actors_.clients(), ActorSubmitter::kMaxIdle + 1);
  EXPECT_FALSE(pending->ready());
  EXPECT_EQ(actors_.Acquire(NumberedActor(kActors)), busy) << "it had a call pending";
  actors_.OnRegistrationFailed(NumberedActor(kActors), "no such name");
  for (uint32_t i = 0; i < kActors; ++i) actors_.Release(actors_.Acquire(NumberedActor(i)));
  EXPECT_TRUE(busy->death_error) << "it has a handle";
  objects_.Release(pending);
}

TEST_F(ActorSubmitterTest, AForgottenActorIsNotWatchedAndItsCallsGoOnWhenItIsNamedAgain) {
  AddWorker(10);
  TaskTemplate* tmpl = MakeTemplate();
  Update(ActorState::Alive, 0, 10);
  Call(tmpl);
  Reply(10, Pushed(10).at(0));
  actors_.Release(client_);
  for (uint32_t i = 0; i < ActorSubmitter::kMaxIdle; ++i) {
    actors_.Release(actors_.Acquire(NumberedActor(i)));
  }
  const auto frames = FromProcess(FrameType::kSubscribeActor);
  ASSERT_THAT(frames, SizeIs(2));
  EXPECT_FALSE(frames[1].As<wire::SubscribeActor>()->subscribe());
  client_ = actors_.Acquire(actor_id_);
  Call(tmpl);
  EXPECT_THAT(FromProcess(FrameType::kSubscribeActor), SizeIs(1));
  Update(ActorState::Alive, 0, 10);
  Reply(10, Pushed(10).at(0));
}

}  // namespace
}  // namespace cyray::core
