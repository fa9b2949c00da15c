// ExecutionQueue with streaming generators: what is sent of them, what is not, and when they have
// to wait for their consumers. The submitter is played by the test over a socket pair.

#include <gmock/gmock.h>

#include "cpp_tests/core/submitter_fake.h"
#include "cyray/core/execution_queue.h"

namespace cyray::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using wire::FrameType;

class ProductionTest : public SubmitterFake {
 protected:
  ProductionTest() {
    queue_.SetIdentity(self_);
    AddWorker(10);
  }
  std::unique_ptr<ExecTask> Begin(uint32_t max_ahead, uint64_t there = 0, uint64_t taken = 0) {
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateTemplate(b, 3, nullptr, nullptr, b.CreateString("f"), 0, 1, 1, 0,
                                  wire::Yields::Items, max_ahead));
    queue_.OnTemplate(LinkTo(10), *flatbuffers::GetRoot<wire::Template>(b.GetBufferPointer()));
    b.Clear();
    const TaskId id = ids_.Next();
    b.Finish(
        wire::CreatePushTask(b, kTag, 3, kAttempt, wire::ToWire(id), 0, 0, 0, 0, there, taken));
    EXPECT_TRUE(
        queue_.OnPushTask(LinkTo(10), *flatbuffers::GetRoot<wire::PushTask>(b.GetBufferPointer())));
    return queue_.Next();
  }
  bool Send(ExecTask& task, size_t bytes = 1, ObjectEntry* inside = nullptr) {
    Outcome outcome;
    outcome.value = ValuePtr(Value::Copy(std::string(bytes, 'r').data(), bytes));
    if (inside != nullptr) outcome.contained.push_back(inside);
    return queue_.SendItem(task, std::move(outcome));
  }
  void Taken(uint64_t count, uint32_t attempt = kAttempt, uint64_t tag = kTag) {
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateItemsTaken(b, tag, attempt, count));
    queue_.OnItemsTaken(LinkTo(10), *flatbuffers::GetRoot<wire::ItemsTaken>(b.GetBufferPointer()));
  }
  std::vector<uint64_t> Numbers() {
    links_.FlushDirty();
    std::vector<uint64_t> numbers;
    for (const GotFrame& frame : worker_ends_[10]->Take(FrameType::kStreamItem)) {
      const auto* item = frame.As<wire::StreamItem>();
      EXPECT_EQ(item->tag(), kTag);
      EXPECT_EQ(item->attempt(), kAttempt);
      numbers.push_back(item->number());
    }
    return numbers;
  }
  void End(std::unique_ptr<ExecTask> task) {
    queue_.Reply(std::move(task), wire::TaskStatus::Ok, {}, false);
  }

  static constexpr uint64_t kTag = 5;
  static constexpr uint32_t kAttempt = 2;
  ExecutionQueue queue_{links_, objects_};
};

TEST_F(ProductionTest, ItWaitsAtSoManyItemsUntilSomeAreTaken) {
  auto task = Begin(/*max_ahead=*/3);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(queue_.HasRoom(*task));
    EXPECT_FALSE(ExecutionQueue::SkipItem(*task));
    EXPECT_TRUE(Send(*task));
  }
  EXPECT_FALSE(queue_.HasRoom(*task));
  task->production->tells = true;
  Taken(1, kAttempt - 1);  // of an earlier attempt
  Taken(1, kAttempt, kTag + 1);
  EXPECT_FALSE(queue_.HasRoom(*task));
  EXPECT_THAT(queue_.TakeThoseWithRoom(), IsEmpty());
  Taken(1);
  EXPECT_TRUE(queue_.HasRoom(*task));
  EXPECT_THAT(queue_.TakeThoseWithRoom(), ElementsAre(task.get()));
  EXPECT_THAT(queue_.TakeThoseWithRoom(), IsEmpty()) << "once";
  EXPECT_TRUE(Send(*task));
  EXPECT_FALSE(queue_.HasRoom(*task));
  Taken(1'000'000);  // nonsense
  EXPECT_TRUE(queue_.HasRoom(*task));
  Taken(1);
  EXPECT_TRUE(queue_.HasRoom(*task));
  EXPECT_THAT(Numbers(), ElementsAre(0, 1, 2, 3));
  End(std::move(task));
  const auto replies = worker_ends_[10]->Take(FrameType::kTaskReply);
  links_.FlushDirty();
  const auto late = worker_ends_[10]->Take(FrameType::kTaskReply);
  ASSERT_THAT(replies.size() + late.size(), 1u);
  EXPECT_EQ((late.empty() ? replies : late)[0].As<wire::TaskReply>()->items(), 4u);
  Taken(4);  // it is over
}

TEST_F(ProductionTest, ItWaitsAtSoManyBytes) {
  queue_.SetAheadBytes(1000);
  auto task = Begin(/*max_ahead=*/0);
  EXPECT_TRUE(Send(*task, 500));
  EXPECT_TRUE(queue_.HasRoom(*task));
  EXPECT_TRUE(Send(*task, 500));
  EXPECT_FALSE(queue_.HasRoom(*task));
  Taken(1);
  EXPECT_TRUE(queue_.HasRoom(*task));
  Taken(2);
  EXPECT_TRUE(Send(*task, 100'000)) << "a large one goes alone";
  EXPECT_FALSE(queue_.HasRoom(*task));
  task->cancelled = true;
  EXPECT_TRUE(queue_.HasRoom(*task)) << "it is to look at that";
  End(std::move(task));
}

TEST_F(ProductionTest, WhatItsOwnerHasIsNotSentAgain) {
  auto task = Begin(/*max_ahead=*/2, /*there=*/3, /*taken=*/2);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(queue_.HasRoom(*task));
    EXPECT_TRUE(ExecutionQueue::SkipItem(*task));
  }
  EXPECT_FALSE(ExecutionQueue::SkipItem(*task));
  EXPECT_TRUE(queue_.HasRoom(*task)) << "one of three is not taken";
  EXPECT_TRUE(Send(*task));
  EXPECT_FALSE(queue_.HasRoom(*task));
  EXPECT_THAT(Numbers(), ElementsAre(3));
  End(std::move(task));
}

TEST_F(ProductionTest, WhatIsTakenBeforeItGetsThereCounts) {
  auto task = Begin(/*max_ahead=*/4, /*there=*/4);
  EXPECT_TRUE(ExecutionQueue::SkipItem(*task));
  Taken(4);  // it skips still, and is not told again
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(ExecutionQueue::SkipItem(*task));
  for (int i = 0; i < 4; ++i) {
    EXPECT_TRUE(queue_.HasRoom(*task));
    EXPECT_TRUE(Send(*task));
  }
  EXPECT_FALSE(queue_.HasRoom(*task));
  End(std::move(task));
}

TEST_F(ProductionTest, RefsInsideAnItemAreTheReceiversToTake) {
  auto task = Begin(/*max_ahead=*/0);
  const ObjectId id = ItemStream::IdOf(task->id, 0);
  ObjectEntry* inside = objects_.NewOwned(ObjectId(ids_.Next(), 1));
  objects_.AddRef(inside);
  EXPECT_TRUE(Send(*task, 1, inside));
  EXPECT_THAT(LinkTo(10).given[id], ElementsAre(inside));
  EXPECT_EQ(inside->refs, 2u);
  End(std::move(task));
}

TEST_F(ProductionTest, WhatNobodyGetsIsNotSentAndTheGeneratorNeedNotWait) {
  auto task = Begin(/*max_ahead=*/1);
  EXPECT_TRUE(Send(*task));
  EXPECT_FALSE(queue_.HasRoom(*task));
  on_broken_ = [&] { queue_.OnLinkBroken(LinkTo(10)); };
  Kill(10);
  EXPECT_TRUE(queue_.HasRoom(*task)) << "it would wait for ever";
  ObjectEntry* inside = objects_.NewOwned(ObjectId(ids_.Next(), 1));
  EXPECT_FALSE(Send(*task, 1, inside));
  EXPECT_EQ(objects_.size(), 0u);
  EXPECT_TRUE(queue_.HasRoom(*task));
  End(std::move(task));
}

}  // namespace
}  // namespace cyray::core
