// ExecutionQueue: order, missing arguments, handing back and leaving, with submitters played by the
// test over socket pairs.

#include "cyray/core/execution_queue.h"

#include <gmock/gmock.h>

#include <set>
#include <string>

#include "cpp_tests/core/submitter_fake.h"

namespace cyray::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using wire::FrameType;
using wire::TaskStatus;

class ExecutionQueueTest : public SubmitterFake {
 protected:
  ExecutionQueueTest() {
    queue_.SetIdentity(self_);
    AddWorker(10);
    AddWorker(11);
    for (uint8_t submitter : {10, 11}) Define(submitter, 3, "f");
  }
  void Define(uint8_t submitter, uint32_t template_id, const std::string& name) {
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateTemplate(b, template_id, nullptr, nullptr, b.CreateString(name), 0, 1, 1));
    queue_.OnTemplate(LinkTo(submitter),
                      *flatbuffers::GetRoot<wire::Template>(b.GetBufferPointer()));
  }
  void OnObjectReady(ObjectEntry*, std::vector<uint64_t>,
                     std::vector<uint64_t> callbacks) override {
    for (uint64_t token : callbacks) queue_.OnArgumentHere(token & ~kExecToken);
  }

  bool SendAddBorrower(const Address&, uint64_t, const ObjectId& id) override {
    registered_.push_back(id);
    return true;
  }

  bool Push(uint8_t submitter, uint64_t tag, const ObjectId* argument = nullptr,
            uint32_t template_id = 3) {
    flatbuffers::FlatBufferBuilder b;
    flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::TaskArg>>> refs;
    if (argument != nullptr) {
      const Address owner = WorkerAddress(submitter);
      const wire::WireNodeId node = *wire::ToWire(self_.node);
      const auto arg = wire::CreateTaskArg(b, 0, wire::ToWire(*argument), wire::ToWire(owner),
                                           b.CreateVectorOfStructs(&node, 1));
      refs = b.CreateVector(&arg, 1);
    }
    const TaskId id = ids_.Next();
    b.Finish(wire::CreatePushTask(b, tag, template_id, 0, wire::ToWire(id), 0, refs));
    return queue_.OnPushTask(LinkTo(submitter),
                             *flatbuffers::GetRoot<wire::PushTask>(b.GetBufferPointer()));
  }
  void Steal(uint8_t submitter, uint32_t all_but) {
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateStealTasks(b, all_but));
    queue_.OnSteal(LinkTo(submitter),
                   *flatbuffers::GetRoot<wire::StealTasks>(b.GetBufferPointer()));
  }
  void Finish(std::unique_ptr<ExecTask> task) {
    Outcome outcome;
    outcome.value = ValuePtr(Value::Copy("r", 1));
    std::vector<Outcome> outcomes;
    outcomes.push_back(std::move(outcome));
    queue_.Reply(std::move(task), TaskStatus::Ok, std::move(outcomes), false);
  }
  // (tag, status) of the replies that came since.
  std::vector<std::pair<uint64_t, TaskStatus>> Replies(uint8_t submitter) {
    links_.FlushDirty();
    std::vector<std::pair<uint64_t, TaskStatus>> replies;
    for (const GotFrame& frame : worker_ends_[submitter]->Take(FrameType::kTaskReply)) {
      const auto* reply = frame.As<wire::TaskReply>();
      replies.emplace_back(reply->tag(), reply->status());
    }
    return replies;
  }
  std::vector<uint64_t> HandedBack(uint8_t submitter, TaskStatus status = TaskStatus::HandedBack) {
    std::vector<uint64_t> tags;
    for (const auto& [tag, got] : Replies(submitter)) {
      EXPECT_EQ(got, status);
      tags.push_back(tag);
    }
    return tags;
  }
  ObjectId LargeId(uint8_t number) const {
    TaskId task;
    task.bytes[0] = number;
    return ObjectId(task, 1);
  }

  // What a submitter was told of tasks that do not begin in order, written by now.
  std::vector<std::pair<uint64_t, bool>> ToldProgress(uint8_t submitter) {
    std::vector<std::pair<uint64_t, bool>> told;
    for (const GotFrame& frame : worker_ends_[submitter]->Take(FrameType::kTaskProgress)) {
      const auto* progress = frame.As<wire::TaskProgress>();
      told.emplace_back(progress->tag(), progress->begun());
    }
    return told;
  }

  std::vector<ObjectId> registered_;
  ExecutionQueue queue_{links_, objects_};
};

TEST_F(ExecutionQueueTest, TemplatesThatNobodyNamesAnyMoreGoAndThoseOfTasksStay) {
  Define(10, 4, "queued");
  ASSERT_TRUE(Push(10, 1, nullptr, 4));
  Define(10, 4, "running");
  ASSERT_TRUE(Push(10, 2, nullptr, 4));
  auto queued = queue_.Next();
  EXPECT_EQ(queued->tmpl->name, "queued");
  std::set<uint32_t> numbers;
  std::set<uint64_t> serials;
  for (int i = 0; i < 1000; ++i) {
    Define(10, 4, "g" + std::to_string(i));
    ASSERT_TRUE(Push(11, 3));
    Finish(queue_.Next());
    if (i == 0) continue;  // what was running has been answered, now the other one runs
    auto again = queue_.queued() > 0 ? queue_.Next() : nullptr;
    if (again) Finish(std::move(again));
    ASSERT_TRUE(Push(10, 4, nullptr, 4));
    auto task = queue_.Next();
    EXPECT_EQ(task->tmpl->name, "g" + std::to_string(i));
    numbers.insert(task->tmpl->python_id);
    serials.insert(task->tmpl->serial);
    Finish(std::move(task));
  }
  EXPECT_EQ(queued->tmpl->name, "queued") << "it runs";
  EXPECT_LE(queue_.templates(), 100u);
  EXPECT_LE(numbers.size(), 100u);
  EXPECT_EQ(serials.size(), 999u) << "whoever keeps one by its number sees that it is another";
  Finish(std::move(queued));
  queue_.OnLinkBroken(LinkTo(10));
  EXPECT_FALSE(Push(10, 5, nullptr, 4)) << "nothing is named on that link any more";
}

TEST_F(ExecutionQueueTest, TasksRunInOrderOfArrivalAndAreAnswered) {
  Push(10, 1);
  Push(11, 2);
  auto first = queue_.Next();
  EXPECT_EQ(first->tag, 1u);
  Finish(std::move(first));
  Finish(queue_.Next());
  EXPECT_EQ(queue_.Next(), nullptr);
  EXPECT_EQ(queue_.running(), 0u);
  EXPECT_THAT(Replies(10), ElementsAre(std::pair(uint64_t{1}, TaskStatus::Ok)));
  EXPECT_THAT(Replies(11), ElementsAre(std::pair(uint64_t{2}, TaskStatus::Ok)));
}

TEST_F(ExecutionQueueTest, ATaskThatIsCancelledBeforeItBeginsIsAnsweredAndOneThatRunsIsMarked) {
  const ObjectId large = LargeId(50);
  Push(10, 1);
  Push(11, 2);
  Push(10, 2);
  Push(10, 3, &large);
  auto runs = queue_.Next();
  auto other = queue_.Next();
  EXPECT_EQ(queue_.OnCancel(LinkTo(10), 1, false), runs.get());
  EXPECT_TRUE(runs->cancelled);
  EXPECT_FALSE(other->cancelled);
  EXPECT_EQ(queue_.OnCancel(LinkTo(10), 2, false), nullptr);
  EXPECT_EQ(queue_.OnCancel(LinkTo(10), 3, false), nullptr);
  EXPECT_EQ(queue_.OnCancel(LinkTo(10), 4, false), nullptr) << "it has never been here";
  EXPECT_THAT(Replies(10), ElementsAre(std::pair(uint64_t{2}, TaskStatus::Cancelled),
                                       std::pair(uint64_t{3}, TaskStatus::Cancelled)));
  objects_.OnPinned(large, 64, 10);
  EXPECT_FALSE(queue_.HasReady());
  queue_.Reply(std::move(runs), TaskStatus::Cancelled, {}, false);
  EXPECT_EQ(queue_.OnCancel(LinkTo(10), 1, false), nullptr) << "it is over";
  EXPECT_EQ(queue_.OnCancel(LinkTo(11), 2, false), other.get());
  Finish(std::move(other));
  EXPECT_THAT(Replies(10), ElementsAre(std::pair(uint64_t{1}, TaskStatus::Cancelled)));
  EXPECT_EQ(queue_.running(), 0u);
  EXPECT_EQ(objects_.size(), 0u);
}

TEST_F(ExecutionQueueTest, ATaskThatEndsWithItsProcessIsNotFoundAnyMore) {
  for (uint64_t tag : {1, 2, 3}) Push(10, tag);
  auto first = queue_.Next(), second = queue_.Next(), third = queue_.Next();
  queue_.Abandon(std::move(second));
  EXPECT_EQ(queue_.OnCancel(LinkTo(10), 2, true), nullptr);
  EXPECT_EQ(queue_.OnCancel(LinkTo(10), 3, true), third.get());
  EXPECT_TRUE(third->cancels_children);
  Finish(std::move(third));
  Finish(std::move(first));
  EXPECT_EQ(queue_.running(), 0u);
}

TEST_F(ExecutionQueueTest, ACancelledCallOfAnActorHoldsUpNobody) {
  queue_.BecomeActor({CallGroup{}});
  const ObjectId large = LargeId(50);
  Push(10, 1, &large);
  Push(10, 2);
  EXPECT_FALSE(queue_.HasReady());
  EXPECT_EQ(queue_.OnCancel(LinkTo(10), 1, false), nullptr);
  auto second = queue_.Next();
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(second->tag, 2u);
  Finish(std::move(second));
}

TEST_F(ExecutionQueueTest, ATaskOfATemplateThatNeverCameIsRefused) {
  EXPECT_FALSE(Push(10, 1, nullptr, /*template_id=*/99));
  EXPECT_FALSE(queue_.HasReady());
}

TEST_F(ExecutionQueueTest, ATaskWaitsForItsLargeArgumentAndOthersPassIt) {
  const ObjectId large = LargeId(50);
  Push(10, 1, &large);
  Push(10, 2);
  auto second = queue_.Next();
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(second->tag, 2u);
  EXPECT_FALSE(queue_.HasReady());
  objects_.OnPinned(large, 64, 10);
  auto first = queue_.Next();
  ASSERT_NE(first, nullptr);
  Finish(std::move(first));
  Finish(std::move(second));
  EXPECT_EQ(objects_.size(), 0u);
}

TEST_F(ExecutionQueueTest, CallsOfAnActorDoNotPassOneThatWaits) {
  queue_.BecomeActor({CallGroup{}});
  const ObjectId large = LargeId(50);
  Push(10, 1, &large);
  Push(10, 2);
  EXPECT_FALSE(queue_.HasReady());
  EXPECT_EQ(queue_.Next(), nullptr);
  objects_.OnPinned(large, 64, 10);
  auto first = queue_.Next();
  EXPECT_EQ(first->tag, 1u);
  Finish(std::move(first));
  Finish(queue_.Next());
}

TEST_F(ExecutionQueueTest, AnArgumentThatCannotBeHadStillLetsTheTaskFailByRunning) {
  const ObjectId large = LargeId(50);
  Push(10, 1, &large);
  using Failure = ObjectDirectory::PullFailure;
  objects_.OnPullFailed(large, Failure::kMissing, "lost", 0);
  EXPECT_FALSE(queue_.HasReady()) << "it is tried again first";
  objects_.OnPullFailed(large, Failure::kMissing, "lost", 60'000'000'000);
  auto task = queue_.Next();
  ASSERT_NE(task, nullptr);
  EXPECT_TRUE(task->arguments[0].is_error);
  EXPECT_EQ(objects_.Find(large), nullptr) << "the argument is given up with its error";
  Finish(std::move(task));
}

TEST_F(ExecutionQueueTest, AnArgumentStaysHereUntilItsTaskHasRun) {
  const ObjectId large = LargeId(50);
  Push(10, 1, &large);
  objects_.OnPinned(large, 64, 10);
  objects_.TrimWarmPins(0);
  EXPECT_TRUE(objects_.Find(large)->local());
  Finish(queue_.Next());
  EXPECT_EQ(objects_.size(), 0u);
}

TEST_F(ExecutionQueueTest, RefsThatAConstructorKeepsAreRegisteredWithTheirOwner) {
  flatbuffers::FlatBufferBuilder b;
  b.Finish(wire::CreateActorSpec(b));
  queue_.BecomeActor({CallGroup{}});
  queue_.PushCreation(*flatbuffers::GetRoot<wire::ActorSpec>(b.GetBufferPointer()),
                      queue_.Intern({}));
  auto creation = queue_.Next();
  ASSERT_NE(creation, nullptr);
  const ObjectId kept = LargeId(60), dropped = LargeId(61);
  for (const ObjectId& id : {kept, dropped}) {
    ObjectEntry* entry = objects_.Borrow(id, WorkerAddress(10), /*deferred=*/true);
    creation->borrowed.push_back(id);
    if (id == dropped) objects_.Release(entry);
  }
  Finish(std::move(creation));
  EXPECT_THAT(registered_, ElementsAre(kept));
  objects_.Release(objects_.Find(kept));
}

TEST_F(ExecutionQueueTest, AWorkerThatBlocksHandsBackWhatHasNotBegunAndWhatArrives) {
  Push(10, 1);
  Push(10, 2);
  Push(11, 3);
  auto running = queue_.Next();
  queue_.SetBlocked(true);
  Push(10, 4);
  EXPECT_THAT(HandedBack(10), testing::UnorderedElementsAre(2, 4));
  EXPECT_THAT(HandedBack(11), ElementsAre(3));
  queue_.SetBlocked(false);
  Push(10, 5);
  EXPECT_TRUE(queue_.HasReady());
  Finish(std::move(running));
}

TEST_F(ExecutionQueueTest, ThreadsThatAreLeftFromTasksRunNoCallsOfAnActorThatIsNotThreaded) {
  using Thread = TaskThread;
  queue_.BecomeActor({{.in_order = false}});
  Push(10, 1);
  EXPECT_FALSE(queue_.HasReady(Thread{.is_main = false}));
  EXPECT_EQ(queue_.Next(Thread{.is_main = false}), nullptr);
  Finish(queue_.Next(Thread{}));
  queue_.BecomeActor({{.at_once = 2, .in_order = false}});
  for (uint64_t tag = 2; tag <= 4; ++tag) Push(10, tag);
  auto main = queue_.Next(Thread{}), extra = queue_.Next(Thread{.is_main = false});
  ASSERT_NE(extra, nullptr);
  EXPECT_FALSE(queue_.HasReady(Thread{.is_main = false})) << "two run";
  EXPECT_FALSE(queue_.HasReady(Thread{})) << "two run";
  Finish(std::move(main));
  Finish(std::move(extra));
  Finish(queue_.Next(Thread{.is_main = false}));
  // More threads are left than the actor has.
  Push(10, 5);
  Push(10, 6);
  auto one = queue_.Next(Thread{.is_main = false}), other = queue_.Next(Thread{.is_main = false});
  ASSERT_NE(other, nullptr);
  EXPECT_EQ(queue_.Next(Thread{}), nullptr);
  Finish(std::move(one));
  Finish(std::move(other));
}

TEST_F(ExecutionQueueTest, AnActorThatBlocksKeepsItsCalls) {
  queue_.BecomeActor({CallGroup{}});
  Push(10, 1);
  Push(10, 2);
  auto running = queue_.Next();
  queue_.SetBlocked(true);
  Steal(10, 0);
  EXPECT_THAT(Replies(10), IsEmpty());
  EXPECT_TRUE(queue_.HasReady());
  Finish(std::move(running));
}

TEST_F(ExecutionQueueTest, TheYoungestTasksOfTheOneWhoAsksAreHandedBack) {
  for (uint64_t tag = 1; tag <= 4; ++tag) Push(10, tag);
  Push(11, 9);
  Steal(10, 2);
  EXPECT_THAT(HandedBack(10), testing::UnorderedElementsAre(3, 4));
  EXPECT_THAT(Replies(11), IsEmpty());
  EXPECT_EQ(queue_.queued(), 3u);
}

TEST_F(ExecutionQueueTest, HandingBackLetsGoOfArgumentsThatAreStillOnTheirWay) {
  const ObjectId large = LargeId(50);
  Push(10, 1, &large);
  Steal(10, 0);
  EXPECT_EQ(objects_.size(), 0u);
  objects_.OnPinned(large, 64, 10);  // comes all the same
  EXPECT_FALSE(queue_.HasReady());
}

TEST_F(ExecutionQueueTest, ATaskThatIsHandedBackWaitsForNothingAnyMore) {
  const ObjectId large = LargeId(50);
  ObjectEntry* held = objects_.Borrow(large, WorkerAddress(10), /*deferred=*/true);
  for (uint64_t tag = 1; tag <= 3; ++tag) Push(10, tag, &large);
  EXPECT_EQ(held->extra->callbacks.size(), 3u);
  Steal(10, 0);
  EXPECT_THAT(held->extra->callbacks, IsEmpty());
  objects_.Release(held);
}

TEST_F(ExecutionQueueTest, AWorkerThatLeavesHandsBackAllItHasAndGets) {
  Push(10, 1);
  Push(10, 2);
  auto running = queue_.Next();
  queue_.Close();
  Push(10, 3);
  EXPECT_THAT(HandedBack(10, TaskStatus::WorkerExiting), testing::UnorderedElementsAre(2, 3));
  Finish(std::move(running));
}

TEST_F(ExecutionQueueTest, TasksOfADeadSubmitterAreDroppedAndTheRunningOneEndsInSilence) {
  const ObjectId large = LargeId(50);
  Push(10, 1);
  Push(10, 2, &large);
  Push(11, 3);
  auto running = queue_.Next();
  queue_.OnLinkBroken(LinkTo(10));
  links_.Break(LinkTo(10), "dead");
  EXPECT_EQ(queue_.queued(), 1u);
  Finish(std::move(running));
  EXPECT_EQ(objects_.size(), 0u);
}

TEST_F(ExecutionQueueTest, WhatATaskReturnsIsItsSubmittersAndNobodysOnceTheLinkIsBroken) {
  Push(10, 1);
  Push(11, 2);
  auto first = queue_.Next(), second = queue_.Next();
  ASSERT_NE(queue_.ResultsFor(*first), nullptr);
  EXPECT_EQ(*queue_.ResultsFor(*first), WorkerAddress(10));
  queue_.OnLinkBroken(LinkTo(10));
  links_.Break(LinkTo(10), "dead");
  EXPECT_EQ(queue_.ResultsFor(*first), nullptr);
  links_.Forget(WorkerAddress(10).worker);
  links_.FlushDirty();
  EXPECT_EQ(queue_.ResultsFor(*first), nullptr);
  EXPECT_EQ(*queue_.ResultsFor(*second), WorkerAddress(11));
  Finish(std::move(first));
  Finish(std::move(second));
  EXPECT_THAT(Replies(11), ElementsAre(std::pair{uint64_t{2}, TaskStatus::Ok}));
}

TEST_F(ExecutionQueueTest, AnAnswerWithoutItsResultsIsNotSentWhenTheLinkComesBack) {
  Push(10, 1);
  auto task = queue_.Next();
  task->submitter = WorkerAddress(12).worker;  // to whom there is no link
  EXPECT_EQ(queue_.ResultsFor(*task), nullptr);
  AddWorker(12);
  queue_.Reply(std::move(task), TaskStatus::Ok, {}, false);
  EXPECT_THAT(Replies(12), IsEmpty());
}

TEST_F(ExecutionQueueTest, RefsInAResultAreHeldForTheCallerUntilItsLinkBreaks) {
  Push(10, 1);
  auto task = queue_.Next();
  const TaskId task_id = task->id;
  ObjectEntry* inner = objects_.NewOwned(LargeId(60));
  objects_.Index(inner);
  std::vector<Outcome> outcomes(1);
  outcomes[0].value = ValuePtr(Value::Copy("r", 1));
  outcomes[0].contained = {inner};
  queue_.Reply(std::move(task), TaskStatus::Ok, std::move(outcomes), false);
  EXPECT_EQ(LinkTo(10).given.size(), 1u);
  links_.FlushDirty();
  const auto replies = worker_ends_[10]->Take(FrameType::kTaskReply);
  ASSERT_EQ(replies.size(), 1u);
  EXPECT_EQ(wire::FromWireOrNil(replies[0].As<wire::TaskReply>()->task_id()), task_id);
  EXPECT_EQ(inner->refs, 1u);
  objects_.Release(inner);
}

TEST_F(ExecutionQueueTest, ASubmitterKnowsWhatBeganBeforeItRuns) {
  const ObjectId large = LargeId(50);
  Push(10, 1, &large);
  Push(10, 2);
  Push(10, 3);
  auto second = queue_.Next();
  EXPECT_EQ(second->tag, 2u);
  EXPECT_THAT(ToldProgress(10), ElementsAre(std::pair(uint64_t{1}, false)));
  objects_.OnPinned(large, 64, 10);
  Finish(std::move(second));
  auto first = queue_.Next();
  EXPECT_EQ(first->tag, 1u);
  EXPECT_THAT(ToldProgress(10), ElementsAre(std::pair(uint64_t{1}, true)));
  Finish(std::move(first));
  Finish(queue_.Next());
  EXPECT_THAT(ToldProgress(10), IsEmpty()) << "what begins in order is not spoken of";
}

struct SilentSaves : SavesOutbox {
  void AskRead(const WorkerId&, uint64_t) override {}
  void Store(ActorSave&) override {}
  void TellSaved(const WorkerId&, const CallSet&) override {}
  void TellNeverQuiet(int64_t, uint64_t) override {}
};

TEST_F(ExecutionQueueTest, ACallOfACallerThatHasEndedIsKeptByNobody) {
  SilentSaves outbox;
  ActorSaves saves({.calls = 10}, outbox, 0);
  queue_.SetSaves(&saves);
  Push(10, 1);
  auto task = queue_.Next();
  task->call = 1;
  links_.Forget(WorkerAddress(10).worker);  // while it runs
  saves.OnCallerDied(WorkerAddress(10).worker);
  Finish(std::move(task));
  EXPECT_EQ(saves.unsaved(), 1u) << "what it did stays";
  EXPECT_FALSE(saves.Includes(WorkerAddress(10).worker, 1));
  saves.CheckInvariants();
}

}  // namespace
}  // namespace cyray::core
