// TaskSubmitter: tasks that are cancelled, wherever they are, and what becomes of them then.

#include <gmock/gmock.h>

#include "cpp_tests/core/submitter_fake.h"
#include "cyray/core/task_submitter.h"

namespace cyray::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using wire::FrameType;
using wire::TaskStatus;

using TaskCancelTest = SubmitterFake;

TEST_F(TaskCancelTest, ATaskThatIsCancelledBeforeItIsPushedNeverIs) {
  AddWorker(10);
  TaskTemplate* tmpl = MakeTemplate(/*max_retries=*/-1);
  ObjectEntry* argument = objects_.NewOwned(ObjectId(ids_.Next(), 1));
  ObjectEntry* waits = Submit(tmpl, {argument});
  ObjectEntry* first = Submit(tmpl);
  ObjectEntry* second = Submit(tmpl);
  for (ObjectEntry* entry : {waits, first, second}) {
    tasks_.Cancel(entry->maker, {});
    EXPECT_EQ(KindOf(entry), ErrorKind::kTaskCancelled);
    EXPECT_EQ(entry->maker, nullptr);
  }
  tasks_.CheckInvariants();
  const auto requests = FromProcess(FrameType::kRequestLease);
  EXPECT_THAT(FromProcess(FrameType::kCancelLease), SizeIs(requests.size()));
  objects_.Resolve(argument, ValuePtr(Value::Copy("v", 1)), false);
  Grant(requests.at(0), 1, 10);
  EXPECT_THAT(Pushed(10), IsEmpty());
  Release({argument, waits, first, second});
  ExpectAllAnswered();
}

TEST_F(TaskCancelTest, ATaskThatIsCancelledWithItsWorkerIsThatOnesToEnd) {
  AddWorker(10);
  ObjectEntry* gives_up = Submit(MakeTemplate(/*max_retries=*/-1));
  GrantFirst(1, 10);
  uint64_t tag = Pushed(10).at(0);
  tasks_.Cancel(gives_up->maker, {});
  EXPECT_THAT(AskedToCancel(10), ElementsAre(tag));
  EXPECT_FALSE(gives_up->ready());
  Reply(10, tag, TaskStatus::Cancelled);
  EXPECT_EQ(KindOf(gives_up), ErrorKind::kTaskCancelled);
  // It had a value in time, or an error: no other attempt follows, though that may be retried.
  for (const TaskStatus status : {TaskStatus::Ok, TaskStatus::Error}) {
    ObjectEntry* ends = Submit(MakeTemplate(/*max_retries=*/-1));
    tag = Pushed(10).at(0);
    tasks_.Cancel(ends->maker, {});
    Reply(10, tag, status, /*retry=*/status == TaskStatus::Error);
    EXPECT_THAT(Pushed(10), IsEmpty());
    if (status == TaskStatus::Ok) {
      EXPECT_FALSE(ends->is_error);
    } else {
      EXPECT_EQ(KindOf(ends), ErrorKind::kTaskCancelled);
    }
    objects_.Release(ends);
  }
  objects_.Release(gives_up);
  ExpectAllAnswered();
}

TEST_F(TaskCancelTest, ACancelledTaskThatComesBackOrLosesItsWorkerIsOver) {
  TaskTemplate* tmpl = MakeTemplate(/*max_retries=*/-1);
  tmpl->average_us = 10;  // may be pushed ahead
  AddWorker(10);
  ObjectEntry* runs = Submit(tmpl);
  ObjectEntry* comes_back = Submit(tmpl);
  ObjectEntry* goes = Submit(tmpl);
  GrantFirst(1, 10);
  const auto tags = Pushed(10);
  ASSERT_THAT(tags, SizeIs(3));
  for (ObjectEntry* entry : {runs, comes_back, goes}) tasks_.Cancel(entry->maker, {});
  Reply(10, tags[1], TaskStatus::HandedBack);
  EXPECT_EQ(KindOf(comes_back), ErrorKind::kTaskCancelled);
  BreakLease(10);
  EXPECT_EQ(KindOf(runs), ErrorKind::kTaskCancelled);
  EXPECT_EQ(KindOf(goes), ErrorKind::kTaskCancelled);
  Release({runs, comes_back, goes});
  ExpectAllAnswered();
}

TEST_F(TaskCancelTest, ACancelledTaskWithoutRetriesIsNotSaidToHaveCrashed) {
  AddWorker(10);
  ObjectEntry* result = Submit(MakeTemplate());
  GrantFirst(1, 10);
  ASSERT_THAT(Pushed(10), SizeIs(1));
  tasks_.Cancel(result->maker, {});
  BreakLease(10);
  EXPECT_EQ(KindOf(result), ErrorKind::kTaskCancelled);
  objects_.Release(result);
  ExpectAllAnswered();
}

TEST_F(TaskCancelTest, ATaskThatIsCancelledByForceLosesItsProcessAndOthersThereNothing) {
  TaskTemplate* tmpl = MakeTemplate(/*max_retries=*/1);
  tmpl->average_us = 10;  // may be pushed ahead
  AddWorker(10);
  ObjectEntry* runs = Submit(tmpl);
  ObjectEntry* behind = Submit(tmpl);
  GrantFirst(1, 10);
  ASSERT_THAT(Pushed(10), SizeIs(2));
  tasks_.Cancel(runs->maker, {.force = true});
  const auto asked = worker_ends_[10]->Take(FrameType::kCancelTask);
  ASSERT_THAT(asked, SizeIs(1));
  EXPECT_TRUE(asked[0].As<wire::CancelTask>()->force());
  BreakLease(10);
  EXPECT_EQ(KindOf(runs), ErrorKind::kWorkerCrashed);
  EXPECT_FALSE(behind->ready());
  EXPECT_EQ(behind->maker->retries_left, 1);
  AddWorker(11);
  auto requests = FromProcess(FrameType::kRequestLease);
  Grant(requests.back(), 2, 11);
  Reply(11, Pushed(11).at(0));
  Release({runs, behind});
  ExpectAllAnswered();
}

}  // namespace
}  // namespace cyray::core
