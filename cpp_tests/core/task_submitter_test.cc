// TaskSubmitter: leases, pushing ahead, taking back, retries, and that every task is answered
// whatever happens to its worker, in whatever order the news comes.

#include "cyray/core/task_submitter.h"

#include <gmock/gmock.h>

#include <set>

#include "cpp_tests/core/submitter_fake.h"
#include "cyray/util/clock.h"

namespace cyray::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using wire::FrameType;
using wire::TaskStatus;

class TaskSubmitterTest : public SubmitterFake {
 protected:
  // A template whose run time is known: its tasks may be pushed ahead.
  TaskTemplate* KnownTemplate(double average_us, int max_retries = 0) {
    TaskTemplate* tmpl = MakeTemplate(max_retries);
    tmpl->average_us = average_us;
    return tmpl;
  }
  // For tasks behind slow ones, when these have become slow.
  std::vector<GotFrame> RequestsForWhatWaits() {
    const int64_t deadline = MonotonicNs() + 10'000'000'000;
    std::vector<GotFrame> requests;
    while (requests.empty() && MonotonicNs() < deadline) {
      tasks_.Tick(MonotonicNs());
      requests = FromProcess(FrameType::kRequestLease);
    }
    return requests;
  }
};

TEST_F(TaskSubmitterTest, ATaskWaitsForALeaseRunsAndIsAnswered) {
  AddWorker(10);
  ObjectEntry* result = Submit(MakeTemplate());
  EXPECT_FALSE(result->ready());
  GrantFirst(1, 10);
  const auto tags = Pushed(10);
  ASSERT_THAT(tags, SizeIs(1));
  Reply(10, tags[0]);
  EXPECT_TRUE(result->ready() && !result->is_error);
  objects_.Release(result);
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, ShapesWithoutTemplatesAndWorkServeAsOthers) {
  AddWorker(10);
  std::set<Shape*> seen;
  TaskTemplate* busy = MakeTemplate();
  ObjectEntry* result = Submit(busy);
  Shape* shape = busy->shape;
  slab_.templates().Drop(busy);
  for (int i = 1; i <= 1000; ++i) {
    ResourceSet demand;
    demand.Set("memory", i);
    TaskTemplate* tmpl = slab_.templates().Take();
    tmpl->shape = tasks_.FindShape({.demand = demand});
    EXPECT_EQ(tmpl->shape, tasks_.FindShape({.demand = demand}));
    --tmpl->shape->templates;
    seen.insert(tmpl->shape);
    slab_.templates().Drop(tmpl);
  }
  EXPECT_LE(seen.size(), 100u);
  EXPECT_FALSE(seen.contains(shape)) << "its task waits";
  GrantFirst(1, 10);
  Reply(10, Pushed(10)[0]);
  objects_.Release(result);
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, LeasesAreAskedForPerWaitingTaskUpToABound) {
  TaskTemplate* tmpl = MakeTemplate();
  for (int i = 0; i < 50; ++i) objects_.Release(Submit(tmpl));
  EXPECT_THAT(FromProcess(FrameType::kRequestLease), SizeIs(10));
}

TEST_F(TaskSubmitterTest, TasksOfUnknownLengthGoOneAtATime) {
  AddWorker(10);
  TaskTemplate* tmpl = MakeTemplate();
  for (int i = 0; i < 3; ++i) objects_.Release(Submit(tmpl));
  GrantFirst(1, 10);
  EXPECT_THAT(Pushed(10), SizeIs(1));
}

TEST_F(TaskSubmitterTest, ShortTasksArePushedAheadAsFarAsTheirRunTimesPromise) {
  AddWorker(10);
  TaskTemplate* tmpl = KnownTemplate(100);
  for (int i = 0; i < 50; ++i) objects_.Release(Submit(tmpl));
  GrantFirst(1, 10);
  const auto tags = Pushed(10);
  EXPECT_GE(tags.size(), 19u);
  EXPECT_LE(tags.size(), 21u);
}

TEST_F(TaskSubmitterTest, RequestsThatNobodyNeedsAnyMoreAreCancelledAndALateLeaseIsReturned) {
  AddWorker(10);
  AddWorker(11);
  TaskTemplate* tmpl = KnownTemplate(10);
  for (int i = 0; i < 5; ++i) objects_.Release(Submit(tmpl));
  const auto requests = FromProcess(FrameType::kRequestLease);
  ASSERT_THAT(requests, SizeIs(5));
  Grant(requests[0], 1, 10);
  EXPECT_THAT(FromProcess(FrameType::kCancelLease), SizeIs(4));
  Grant(requests[1], 2, 11);  // it was on its way
  for (const uint64_t tag : Pushed(10)) Reply(10, tag);
  ExpectAllAnswered();
  tasks_.Tick(MonotonicNs() + 1'000'000'000);
  EXPECT_THAT(FromProcess(FrameType::kReturnLease), SizeIs(2));
}

TEST_F(TaskSubmitterTest, ARefusedRequestFailsTheTasksThatWait) {
  ObjectEntry* result = Submit(MakeTemplate());
  const uint64_t id =
      FromProcess(FrameType::kRequestLease)[0].As<wire::RequestLease>()->request_id();
  FromRaylet(FrameType::kLeaseReply, [&](auto& b) { return wire::CreateLeaseReply(b, id, false); });
  EXPECT_EQ(KindOf(result), ErrorKind::kUnschedulable);
  objects_.Release(result);
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, ATaskWaitsForItsArguments) {
  AddWorker(10);
  TaskTemplate* tmpl = MakeTemplate();
  ObjectEntry* argument = objects_.NewOwned(ObjectId(ids_.Next(), 1));
  ObjectEntry* result = Submit(tmpl, {argument, argument});
  EXPECT_THAT(FromProcess(FrameType::kRequestLease), IsEmpty());
  objects_.Resolve(argument, ValuePtr(Value::Copy("v", 1)), false);
  GrantFirst(1, 10);
  const auto tags = Pushed(10);
  ASSERT_THAT(tags, SizeIs(1));
  Reply(10, tags[0]);
  Release({argument, result});
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, AFailedArgumentIsTheTasksError) {
  ObjectEntry* argument = objects_.NewOwned(ObjectId(ids_.Next(), 1));
  ObjectEntry* result = Submit(MakeTemplate(), {argument});
  objects_.Resolve(argument, SystemError(ErrorKind::kWorkerCrashed, ""), true);
  EXPECT_TRUE(result->is_error);
  Release({argument, result});
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, AFailureGoesThroughAChainOfAnyLength) {
  constexpr int kLength = 200'000;
  TaskTemplate* tmpl = MakeTemplate();
  ObjectEntry* first = objects_.NewOwned(ObjectId(ids_.Next(), 1));
  ObjectEntry* last = first;
  for (int i = 0; i < kLength; ++i) {
    ObjectEntry* next = Submit(tmpl, {last});
    if (last != first) objects_.Release(last);
    last = next;
  }
  objects_.Resolve(first, SystemError(ErrorKind::kWorkerCrashed, ""), true);
  EXPECT_TRUE(last->is_error);
  Release({first, last});
  ExpectAllAnswered();
  EXPECT_EQ(objects_.size(), 0u);
}

TEST_F(TaskSubmitterTest, AnAnswerWithoutAValueIsAnError) {
  AddWorker(10);
  ObjectEntry* result = Submit(MakeTemplate());
  GrantFirst(1, 10);
  const uint64_t tag = Pushed(10).at(0);
  worker_ends_[10]->Send(FrameType::kTaskReply,
                         [&](auto& b) { return wire::CreateTaskReply(b, tag, TaskStatus::Ok); });
  links_.OnReady(LinkTo(10), EPOLLIN);
  EXPECT_EQ(KindOf(result), ErrorKind::kInternal);
  objects_.Release(result);
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, AnArgumentWhoseOwnerIsFoundDeadWhileAskingFailsTheTaskOnce) {
  const Address owner = WorkerAddress(77);
  dead_owner = owner.worker;
  ObjectEntry* first = objects_.Borrow(ObjectId(ids_.Next(), 1), owner, true);
  ObjectEntry* second = objects_.Borrow(ObjectId(ids_.Next(), 1), owner, true);
  ObjectEntry* result = Submit(MakeTemplate(), {first, second});
  EXPECT_TRUE(result->is_error);
  Release({first, second, result});
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, ATaskSharesAWorkerWithItsLikeAndStandsBehindNoOther) {
  AddWorker(10);
  AddWorker(11);
  ObjectEntry* other = Submit(MakeTemplate());
  TaskTemplate* sharing = MakeTemplate();
  sharing->max_concurrency = 4;
  GrantFirst(1, 10);
  EXPECT_THAT(Pushed(10), SizeIs(1));
  std::vector<ObjectEntry*> results{other};
  for (int i = 0; i < 3; ++i) results.push_back(Submit(sharing));
  EXPECT_THAT(Pushed(10), IsEmpty());
  GrantFirst(2, 11);
  EXPECT_THAT(Pushed(11), SizeIs(3));
  sharing->average_us = 100;  // short ones so far: one may stand behind another function's
  results.push_back(Submit(sharing));
  EXPECT_THAT(Pushed(10), IsEmpty());
  EXPECT_THAT(Pushed(11), SizeIs(1));
  BreakLease(10);
  BreakLease(11);
  for (ObjectEntry* entry : results) objects_.Release(entry);
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, ARetriableErrorRunsTheTaskAgainAndTheLastOneStays) {
  AddWorker(10);
  ObjectEntry* result = Submit(MakeTemplate(/*max_retries=*/1));
  GrantFirst(1, 10);
  Reply(10, Pushed(10).at(0), TaskStatus::Error, /*retry=*/true);
  EXPECT_FALSE(result->ready());
  Reply(10, Pushed(10).at(0), TaskStatus::Error, /*retry=*/true);
  EXPECT_TRUE(result->is_error);
  objects_.Release(result);
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, TasksThatABlockedWorkerHandsBackRunElsewhere) {
  AddWorker(10);
  AddWorker(11);
  TaskTemplate* tmpl = KnownTemplate(10);
  ObjectEntry* blocked = Submit(tmpl);
  ObjectEntry* other = Submit(tmpl);
  GrantFirst(1, 10);
  const auto tags = Pushed(10);
  ASSERT_THAT(tags, SizeIs(2));
  Reply(10, tags[1], TaskStatus::HandedBack);
  EXPECT_THAT(Pushed(10), IsEmpty()) << "nothing goes behind a task that waits";
  GrantFirst(2, 11);
  const auto again = Pushed(11);
  ASSERT_THAT(again, SizeIs(1));
  Reply(11, again[0]);
  EXPECT_TRUE(other->ready());
  Reply(10, tags[0]);
  EXPECT_TRUE(blocked->ready());
  Release({blocked, other});
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, AnIdleWorkerTakesTasksFromOneThatDoesNotAnswer) {
  AddWorker(10);
  AddWorker(11);
  TaskTemplate* tmpl = KnownTemplate(10);
  for (int i = 0; i < 4; ++i) objects_.Release(Submit(tmpl));
  const auto requests = FromProcess(FrameType::kRequestLease);
  Grant(requests[0], 1, 10);
  const auto tags = Pushed(10);
  ASSERT_THAT(tags, SizeIs(4));
  Grant(requests[1], 2, 11);
  const int64_t deadline = MonotonicNs() + 10'000'000'000;
  std::vector<GotFrame> steals;
  while (steals.empty() && MonotonicNs() < deadline) {
    tasks_.Tick(MonotonicNs());
    links_.FlushDirty();
    steals = worker_ends_[10]->Take(FrameType::kStealTasks);
  }
  ASSERT_THAT(steals, SizeIs(1));
  // One of them was answered meanwhile: its reply and the stolen ones cross.
  Reply(10, tags[0]);
  for (size_t i = 3; i > 1; --i) Reply(10, tags[i], TaskStatus::HandedBack);
  const auto moved = Pushed(11);
  EXPECT_FALSE(moved.empty());
  for (const uint64_t tag : moved) Reply(11, tag);
  Reply(10, tags[1]);
  for (uint8_t worker : {10, 11}) {
    for (auto more = Pushed(worker); !more.empty(); more = Pushed(worker)) {
      for (const uint64_t tag : more) Reply(worker, tag);
    }
  }
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, ATaskBehindASlowOneGetsAWorkerOfItsOwn) {
  AddWorker(10);
  AddWorker(11);
  TaskTemplate* tmpl = KnownTemplate(10);
  ObjectEntry* slow = Submit(tmpl);
  GrantFirst(1, 10);
  ObjectEntry* quick = Submit(tmpl);
  const auto tags = Pushed(10);
  ASSERT_THAT(tags, SizeIs(2));
  const auto requests = RequestsForWhatWaits();
  ASSERT_THAT(requests, SizeIs(1));
  tasks_.Tick(MonotonicNs());
  EXPECT_THAT(FromProcess(FrameType::kRequestLease), IsEmpty()) << "it is on its way";
  Grant(requests[0], 2, 11);
  ASSERT_THAT(worker_ends_[10]->Take(FrameType::kStealTasks), SizeIs(1));
  Reply(10, tags[1], TaskStatus::HandedBack);
  const auto moved = Pushed(11);
  ASSERT_THAT(moved, SizeIs(1));
  Reply(11, moved[0]);
  EXPECT_TRUE(quick->ready() && !slow->ready());
  Reply(10, tags[0]);
  Release({slow, quick});
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, AnotherWorkerIsAskedForWhenATaskThatCameMeanwhileTookTheOne) {
  AddWorker(10);
  AddWorker(11);
  TaskTemplate* tmpl = KnownTemplate(10);
  ObjectEntry* slow = Submit(tmpl);
  GrantFirst(1, 10);
  ObjectEntry* quick = Submit(tmpl);
  const auto tags = Pushed(10);
  ASSERT_THAT(tags, SizeIs(2));
  const auto requests = RequestsForWhatWaits();
  ASSERT_THAT(requests, SizeIs(1));
  ObjectEntry* other = Submit(MakeTemplate());
  EXPECT_THAT(FromProcess(FrameType::kRequestLease), IsEmpty()) << "it is on its way";
  Grant(requests[0], 2, 11);
  const auto taken = Pushed(11);
  ASSERT_THAT(taken, SizeIs(1));
  EXPECT_THAT(FromProcess(FrameType::kRequestLease), SizeIs(1))
      << "for the one behind the slow one";
  Reply(11, taken[0]);
  Reply(10, tags[0]);
  Reply(10, tags[1]);
  Release({slow, quick, other});
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, AnIdleWorkerTakesTheOnlyTaskBehindOneThatIsKnownToBeLong) {
  AddWorker(10);
  AddWorker(11);
  ObjectEntry* slow = Submit(KnownTemplate(500'000));
  GrantFirst(1, 10);
  ObjectEntry* quick = Submit(KnownTemplate(10));
  const auto tags = Pushed(10);
  ASSERT_THAT(tags, SizeIs(2));
  ObjectEntry* third = Submit(MakeTemplate());
  GrantFirst(2, 11);
  Reply(11, Pushed(11).at(0));
  const auto steals = worker_ends_[10]->Take(FrameType::kStealTasks);
  ASSERT_THAT(steals, SizeIs(1));
  EXPECT_EQ(steals[0].As<wire::StealTasks>()->all_but(), 0u);
  Reply(10, tags[1], TaskStatus::HandedBack);
  const auto moved = Pushed(11);
  ASSERT_THAT(moved, SizeIs(1));
  Reply(11, moved[0]);
  EXPECT_TRUE(quick->ready() && !slow->ready());
  Reply(10, tags[0]);
  Release({slow, quick, third});
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, ARequestForATaskBehindASlowOneIsCancelledWhenThatIsDone) {
  AddWorker(10);
  TaskTemplate* tmpl = KnownTemplate(10);
  ObjectEntry* slow = Submit(tmpl);
  GrantFirst(1, 10);
  ObjectEntry* quick = Submit(tmpl);
  const auto tags = Pushed(10);
  ASSERT_THAT(tags, SizeIs(2));
  tasks_.Tick(MonotonicNs() + 1'000'000'000);
  EXPECT_THAT(FromProcess(FrameType::kRequestLease), SizeIs(1));
  Reply(10, tags[0]);
  Reply(10, tags[1]);
  EXPECT_THAT(FromProcess(FrameType::kCancelLease), SizeIs(1));
  Release({slow, quick});
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, AWorkerIsAskedForAnewWhenTheNextTaskIsTheSlowOne) {
  AddWorker(10);
  TaskTemplate* tmpl = KnownTemplate(10);
  std::vector<ObjectEntry*> results{Submit(tmpl)};
  GrantFirst(1, 10);
  for (int i = 0; i < 2; ++i) results.push_back(Submit(tmpl));
  const auto tags = Pushed(10);
  ASSERT_THAT(tags, SizeIs(3));
  tasks_.Tick(MonotonicNs() + 1'000'000'000);
  ASSERT_THAT(FromProcess(FrameType::kRequestLease), SizeIs(1));
  Reply(10, tags[0]);
  ASSERT_THAT(FromProcess(FrameType::kCancelLease), SizeIs(1));
  ASSERT_LT(tasks_.NextTickNs(), kForever) << "the second may be slow, too";
  tasks_.Tick(MonotonicNs() + 1'000'000'000);
  EXPECT_THAT(FromProcess(FrameType::kRequestLease), SizeIs(1));
  for (size_t i = 1; i < tags.size(); ++i) Reply(10, tags[i]);
  for (ObjectEntry* result : results) objects_.Release(result);
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, AReclaimedLeaseIsReturnedWhenWhatRunsIsDone) {
  AddWorker(10);
  TaskTemplate* tmpl = KnownTemplate(10);
  ObjectEntry* first = Submit(tmpl);
  ObjectEntry* second = Submit(tmpl);
  GrantFirst(1, 10);
  const auto tags = Pushed(10);
  tasks_.OnReclaim(1, WorkerAddress(10));
  EXPECT_THAT(worker_ends_[10]->Take(FrameType::kStealTasks), SizeIs(1));
  Reply(10, tags[1], TaskStatus::HandedBack);
  EXPECT_THAT(Pushed(10), IsEmpty());
  EXPECT_THAT(FromProcess(FrameType::kReturnLease), IsEmpty());
  Reply(10, tags[0]);
  EXPECT_THAT(FromProcess(FrameType::kReturnLease), SizeIs(1));
  AddWorker(11);
  GrantFirst(2, 11);
  Reply(11, Pushed(11).at(0));
  Release({first, second});
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, AnIdleReclaimedLeaseIsReturnedAtOnce) {
  AddWorker(10);
  objects_.Release(Submit(MakeTemplate()));
  GrantFirst(1, 10);
  Reply(10, Pushed(10).at(0));
  tasks_.OnReclaim(1, WorkerAddress(10));
  EXPECT_THAT(FromProcess(FrameType::kReturnLease), SizeIs(1));
}

TEST_F(TaskSubmitterTest, AnIdleLeaseIsKeptForItsKindOfTaskUnlessOneOfAnotherPriorityWaits) {
  const auto with_priority = [this](int32_t priority) {
    TaskTemplate* tmpl = slab_.templates().Take();
    tmpl->shape = tasks_.FindShape({.demand = OneCpu(), .priority = priority});
    return tmpl;
  };
  AddWorker(10);
  objects_.Release(Submit(with_priority(5)));
  GrantFirst(1, 10);
  const int64_t before_idle = MonotonicNs();
  Reply(10, Pushed(10).at(0));
  tasks_.Tick(before_idle + 1'000'000);
  EXPECT_THAT(FromProcess(FrameType::kReturnLease), IsEmpty());
  ResourceSet gpu;
  gpu.Set("GPU", 10'000);
  ObjectEntry* other = Submit(MakeTemplate(0, gpu));
  tasks_.Tick(before_idle + 1'000'000);
  EXPECT_THAT(FromProcess(FrameType::kReturnLease), IsEmpty()) << "it is of no use to that one";
  ObjectEntry* lower = Submit(with_priority(1));
  EXPECT_LE(tasks_.NextTickNs(), MonotonicNs() + 1'000'000);
  tasks_.Tick(MonotonicNs() + 1'000'000);
  EXPECT_THAT(FromProcess(FrameType::kReturnLease), SizeIs(1));
  tasks_.FailAll(SystemError(ErrorKind::kUnschedulable, ""));
  Release({other, lower});
}

TEST_F(TaskSubmitterTest, ATaskThatRanOnADeadWorkerFailsAndThoseBehindItRunElsewhere) {
  AddWorker(10);
  TaskTemplate* tmpl = KnownTemplate(10);
  ObjectEntry* ran = Submit(tmpl);
  ObjectEntry* behind = Submit(tmpl);
  GrantFirst(1, 10);
  ASSERT_THAT(Pushed(10), SizeIs(2));
  Kill(10);
  EXPECT_FALSE(ran->ready()) << "why comes with LeaseBroken";
  BreakLease(10);
  EXPECT_EQ(KindOf(ran), ErrorKind::kWorkerCrashed);
  AddWorker(11);
  GrantFirst(2, 11);
  Reply(11, Pushed(11).at(0));
  EXPECT_TRUE(behind->ready() && !behind->is_error);
  Release({ran, behind});
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, AnswersThatADeadWorkerHadSentCountThoughItsEndIsHeardOfFirst) {
  AddWorker(10);
  TaskTemplate* tmpl = KnownTemplate(10);
  ObjectEntry* done = Submit(tmpl);
  ObjectEntry* ran = Submit(tmpl);
  GrantFirst(1, 10);
  const auto tags = Pushed(10);
  SendReply(10, tags[0], TaskStatus::Ok);
  worker_ends_.erase(10);
  BreakLease(10);
  EXPECT_TRUE(done->ready() && !done->is_error);
  EXPECT_EQ(KindOf(ran), ErrorKind::kWorkerCrashed);
  Release({done, ran});
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, AWriteToADeadWorkerLosesNoneOfItsAnswers) {
  AddWorker(10);
  TaskTemplate* tmpl = KnownTemplate(10);
  ObjectEntry* done = Submit(tmpl);
  GrantFirst(1, 10);
  SendReply(10, Pushed(10).at(0), TaskStatus::Ok);
  worker_ends_.erase(10);
  ObjectEntry* late = Submit(tmpl);  // its push finds the socket closed
  links_.FlushDirty();
  links_.OnReady(LinkTo(10), EPOLLIN | EPOLLHUP);
  EXPECT_TRUE(done->ready() && !done->is_error);
  BreakLease(10);
  EXPECT_TRUE(late->ready());
  Release({done, late});
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, AnAnswerFromAPastAttemptIsIgnored) {
  AddWorker(10);
  AddWorker(11);
  ObjectEntry* result = Submit(MakeTemplate(/*max_retries=*/3));
  GrantFirst(1, 10);
  const uint64_t tag = Pushed(10).at(0);
  tasks_.OnLeaseBroken(WorkerAddress(10), "the raylet says so");
  GrantFirst(2, 11);
  ASSERT_THAT(Pushed(11), SizeIs(1));
  Reply(10, tag, TaskStatus::Error);
  EXPECT_FALSE(result->ready());
  Reply(11, tag);
  EXPECT_TRUE(result->ready() && !result->is_error);
  objects_.Release(result);
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, AWorkerThatLeavesGetsNothingMoreAndItsLeaseSaysSo) {
  AddWorker(10);
  TaskTemplate* tmpl = KnownTemplate(10);
  objects_.Release(Submit(tmpl));
  objects_.Release(Submit(tmpl));
  GrantFirst(1, 10);
  const auto tags = Pushed(10);
  Reply(10, tags[1], TaskStatus::WorkerExiting);
  EXPECT_THAT(Pushed(10), IsEmpty());
  Reply(10, tags[0]);
  const auto returned = FromProcess(FrameType::kReturnLease);
  ASSERT_THAT(returned, SizeIs(1));
  EXPECT_TRUE(returned[0].As<wire::ReturnLease>()->worker_exiting());
  AddWorker(11);
  GrantFirst(2, 11);
  Reply(11, Pushed(11).at(0));
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, ALeaseWhoseConnectionBrokeThoughItsWorkerLivesIsGivenUp) {
  AddWorker(10);
  TaskTemplate* tmpl = KnownTemplate(10);
  ObjectEntry* ran = Submit(tmpl);
  ObjectEntry* behind = Submit(tmpl);
  GrantFirst(1, 10);
  ASSERT_THAT(Pushed(10), SizeIs(2));
  links_.Break(LinkTo(10), "it sent nonsense");
  tasks_.Tick(MonotonicNs());
  EXPECT_FALSE(ran->ready()) << "the raylet may still say that the worker died";
  EXPECT_LE(tasks_.NextTickNs(), MonotonicNs() + LinkTable::kNewsHereNs);
  tasks_.Tick(MonotonicNs() + LinkTable::kNewsHereNs);
  EXPECT_FALSE(ran->ready()) << "the raylet stands still, as far as is known";
  RayletAnswers();
  tasks_.Tick(MonotonicNs() + LinkTable::kNewsHereNs + LinkOutbox::kLookForNewsNs);
  tasks_.CheckInvariants();
  EXPECT_EQ(KindOf(ran), ErrorKind::kWorkerCrashed);
  const auto returned = FromProcess(FrameType::kReturnLease);
  ASSERT_THAT(returned, SizeIs(1));
  EXPECT_TRUE(returned[0].As<wire::ReturnLease>()->worker_exiting());
  AddWorker(11);
  GrantFirst(2, 11);
  Reply(11, Pushed(11).at(0));
  EXPECT_TRUE(behind->ready() && !behind->is_error);
  Release({ran, behind});
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, AWorkerThatCannotBeTalkedToIsNotPutBackForTheNextRequest) {
  AddWorker(10);
  links_.Break(LinkTo(10), "it sent nonsense");
  ObjectEntry* result = Submit(MakeTemplate());
  GrantFirst(1, 10);
  const auto returned = FromProcess(FrameType::kReturnLease);
  ASSERT_THAT(returned, SizeIs(1));
  EXPECT_TRUE(returned[0].As<wire::ReturnLease>()->worker_exiting());
  AddWorker(11);
  GrantFirst(2, 11);
  Reply(11, Pushed(11).at(0));
  objects_.Release(result);
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, RefsInAValueThatNobodyTakesAreLetGoOf) {
  AddWorker(10);
  ObjectEntry* result = Submit(MakeTemplate(/*max_retries=*/1));
  GrantFirst(1, 10);
  const uint64_t tag = Pushed(10).at(0);
  const TaskId id = slab_.Find(tag)->id;
  ReplyWithRef(10, tag, id, /*retry=*/true);
  EXPECT_THAT(Disregarded(10), ElementsAre(ObjectId(id, 1)));
  EXPECT_THAT(Pushed(10), SizeIs(1));
  ReplyWithRef(10, tag, id);
  EXPECT_TRUE(result->ready());
  EXPECT_THAT(Disregarded(10), IsEmpty()) << "only when they are registered";
  ReplyWithRef(10, tag, id);  // says it twice
  EXPECT_THAT(Disregarded(10), ElementsAre(ObjectId(id, 1)));
  objects_.Release(result);
  EXPECT_EQ(slab_.live(), 0u);
}

TEST_F(TaskSubmitterTest, WithoutARayletEveryTaskFailsAndNothingIsAskedFor) {
  AddWorker(10);
  TaskTemplate* tmpl = KnownTemplate(10);
  ObjectEntry* running = Submit(tmpl);
  GrantFirst(1, 10);
  tmpl->average_us = -1;
  ObjectEntry* waiting = Submit(tmpl);
  raylet_end_.reset();
  raylet_.OnReady();
  EXPECT_TRUE(raylet_lost_);
  tasks_.FailAll(SystemError(ErrorKind::kRayletDied, ""));
  EXPECT_EQ(KindOf(running), ErrorKind::kRayletDied);
  EXPECT_EQ(KindOf(waiting), ErrorKind::kRayletDied);
  Release({running, waiting});
  objects_.Release(Submit(tmpl));  // returns, though there is nobody to ask
  EXPECT_EQ(slab_.live(), 1u);
}

TEST_F(TaskSubmitterTest, ATaskThatWaitedForItsArgumentsAtAWorkerThatDiedLosesNoAttempt) {
  AddWorker(10);
  AddWorker(11);
  TaskTemplate* tmpl = KnownTemplate(10);
  ObjectEntry* waits = Submit(tmpl);
  ObjectEntry* runs = Submit(tmpl);
  GrantFirst(1, 10);
  const auto tags = Pushed(10);
  ASSERT_THAT(tags, SizeIs(2));
  Progress(10, tags[0], /*begun=*/false);
  BreakLease(10);
  EXPECT_EQ(KindOf(runs), ErrorKind::kWorkerCrashed);
  EXPECT_FALSE(waits->ready());
  GrantFirst(2, 11);
  Reply(11, Pushed(11).at(0));
  EXPECT_TRUE(waits->ready() && !waits->is_error);
  Release({waits, runs});
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, ATaskThatBeganLateIsTheOneThatRan) {
  AddWorker(10);
  AddWorker(11);
  TaskTemplate* tmpl = KnownTemplate(10);
  ObjectEntry* late = Submit(tmpl);
  ObjectEntry* behind = Submit(tmpl);
  GrantFirst(1, 10);
  const auto tags = Pushed(10);
  Progress(10, tags[0], /*begun=*/false);
  Progress(10, tags[0], /*begun=*/true);
  BreakLease(10);
  EXPECT_EQ(KindOf(late), ErrorKind::kWorkerCrashed);
  EXPECT_FALSE(behind->ready());
  GrantFirst(2, 11);
  Reply(11, Pushed(11).at(0));
  Release({late, behind});
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, WhatAWorkerSaidLastDecidesWhichTasksHadBegun) {
  AddWorker(10);
  AddWorker(11);
  TaskTemplate* tmpl = KnownTemplate(10);
  std::vector<ObjectEntry*> results;
  for (int i = 0; i < 4; ++i) results.push_back(Submit(tmpl));
  GrantFirst(1, 10);
  const auto tags = Pushed(10);
  ASSERT_THAT(tags, SizeIs(4));
  Kill(10);
  // The first one is answered there and nobody heard of it; the third began before the second.
  tasks_.OnLeaseBroken(WorkerAddress(10), "crashed", std::vector{tags[2], tags[0]});
  std::vector<bool> failed;
  for (const ObjectEntry* result : results) failed.push_back(result->ready());
  EXPECT_THAT(failed, ElementsAre(true, false, true, false));
  GrantFirst(2, 11);
  for (const uint64_t tag : Pushed(11)) Reply(11, tag);
  for (ObjectEntry* result : results) objects_.Release(result);
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, WhenNoTaskHadBegunNoneLosesAnAttempt) {
  AddWorker(10);
  AddWorker(11);
  ObjectEntry* result = Submit(KnownTemplate(10));
  GrantFirst(1, 10);
  ASSERT_THAT(Pushed(10), SizeIs(1));
  Kill(10);
  tasks_.OnLeaseBroken(WorkerAddress(10), "crashed", std::vector<uint64_t>{});
  EXPECT_FALSE(result->ready());
  GrantFirst(2, 11);
  Reply(11, Pushed(11).at(0));
  EXPECT_TRUE(result->ready() && !result->is_error);
  Release({result});
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, AsManyTasksHaveBegunAsTheirFunctionAllowsAtOnce) {
  AddWorker(10);
  AddWorker(11);
  TaskTemplate* plain = KnownTemplate(10);
  TaskTemplate* threaded = KnownTemplate(10);
  threaded->max_concurrency = 2;
  std::vector<ObjectEntry*> results;
  for (TaskTemplate* tmpl : {threaded, plain, threaded, threaded, plain}) {
    results.push_back(Submit(tmpl));
  }
  GrantFirst(1, 10);
  ASSERT_THAT(Pushed(10), SizeIs(5));
  BreakLease(10);
  std::vector<bool> failed;
  for (const ObjectEntry* result : results) failed.push_back(result->ready());
  EXPECT_THAT(failed, ElementsAre(true, true, true, false, false));
  GrantFirst(2, 11);
  for (const uint64_t tag : Pushed(11)) Reply(11, tag);
  for (ObjectEntry* result : results) objects_.Release(result);
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, WhatAnAbandonedAttemptStoredIsFreedWhenAnotherOneCounts) {
  AddWorker(10);
  AddWorker(11);
  NodeId far;
  far.bytes[0] = 9;
  ObjectEntry* result = Submit(KnownTemplate(10, /*max_retries=*/1));
  GrantFirst(1, 10);
  ASSERT_THAT(Pushed(10), SizeIs(1));
  BreakLease(10);
  EXPECT_THAT(strays_, IsEmpty()) << "the next attempt may find it there";
  GrantFirst(2, 11);
  ReplyStored(11, Pushed(11).at(0), result->id.task(), far);
  EXPECT_THAT(strays_, ElementsAre(std::pair(result->id, self_.node)));
  objects_.Release(result);
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, AResultThatIsWhereTheAbandonedAttemptRanStays) {
  AddWorker(10);
  AddWorker(11);
  ObjectEntry* result = Submit(KnownTemplate(10, /*max_retries=*/1));
  GrantFirst(1, 10);
  ASSERT_THAT(Pushed(10), SizeIs(1));
  BreakLease(10);
  GrantFirst(2, 11);
  const uint64_t tag = Pushed(11).at(0);
  ReplyStored(11, tag, result->id.task(), self_.node);
  ReplyStored(11, tag, result->id.task(), self_.node);  // said twice
  EXPECT_THAT(strays_, IsEmpty());
  NodeId far;
  far.bytes[0] = 9;
  ReplyStored(11, tag, result->id.task(), far);  // from an attempt that was given up long ago
  EXPECT_THAT(strays_, ElementsAre(std::pair(result->id, far)));
  objects_.Release(result);
  ExpectAllAnswered();
}

TEST_F(TaskSubmitterTest, EqualDemandsShareAShapeAndOthersDoNot) {
  const auto demand = [](int64_t cpu, int64_t memory) {
    ResourceSet set;
    set.Set("CPU", cpu);
    set.Set("memory", memory);
    return set;
  };
  NodeId node;
  node.bytes[0] = 3;
  Shape* shape = tasks_.FindShape({.demand = demand(1, 2)});
  EXPECT_EQ(tasks_.FindShape({.demand = demand(1, 2)}), shape);
  EXPECT_NE(tasks_.FindShape({.demand = demand(1, 3)}), shape);
  EXPECT_NE(tasks_.FindShape({.demand = demand(1, 2), .strategy = 1}), shape);
  EXPECT_NE(tasks_.FindShape({.demand = demand(1, 2), .affinity_node = node}), shape);
  EXPECT_NE(tasks_.FindShape({.demand = demand(1, 2), .affinity_soft = true}), shape);
}

}  // namespace
}  // namespace cyray::core
