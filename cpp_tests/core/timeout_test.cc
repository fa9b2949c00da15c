// ExecutionQueue: running tasks that are over their time, and those that do not end then.

#include <gmock/gmock.h>

#include "cpp_tests/core/submitter_fake.h"
#include "cyray/core/execution_queue.h"

namespace cyray::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using wire::FrameType;
using wire::TaskStatus;

class TimeoutTest : public SubmitterFake {
 protected:
  TimeoutTest() {
    AddWorker(10);
    queue_.BecomeActor({{.at_once = 8, .in_order = false}});
  }
  std::unique_ptr<ExecTask> Begin(uint64_t tag, uint64_t timeout_ms, int64_t now_ns) {
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateTemplate(b, 3, nullptr, nullptr, b.CreateString("f"), 0, 1, 1, 0,
                                  wire::Yields::None, 0, timeout_ms));
    queue_.OnTemplate(LinkTo(10), *flatbuffers::GetRoot<wire::Template>(b.GetBufferPointer()));
    b.Clear();
    const TaskId id = ids_.Next();
    b.Finish(wire::CreatePushTask(b, tag, 3, 0, wire::ToWire(id)));
    EXPECT_TRUE(
        queue_.OnPushTask(LinkTo(10), *flatbuffers::GetRoot<wire::PushTask>(b.GetBufferPointer())));
    auto task = queue_.Next();
    EXPECT_EQ(queue_.Starts(*task, now_ns), timeout_ms > 0);
    return task;
  }
  void End(std::unique_ptr<ExecTask> task) {
    queue_.Reply(std::move(task), TaskStatus::Ok, {}, false);
  }
  std::vector<std::pair<uint64_t, TaskStatus>> Replies() {
    links_.FlushDirty();
    std::vector<std::pair<uint64_t, TaskStatus>> replies;
    for (const GotFrame& frame : worker_ends_[10]->Take(FrameType::kTaskReply)) {
      const auto* reply = frame.As<wire::TaskReply>();
      replies.emplace_back(reply->tag(), reply->status());
    }
    return replies;
  }
  static constexpr int64_t kMs = 1'000'000;

  ExecutionQueue queue_{links_, objects_};
};

TEST_F(TimeoutTest, TheOneThatIsOverItsTimeFirstComesFirstAndOnce) {
  auto never = Begin(1, 0, 0);
  auto late = Begin(2, 500, 0);
  auto early = Begin(3, 100, 10 * kMs);
  auto ends = Begin(4, 50, 0);
  EXPECT_EQ(queue_.NextDueNs(), 50 * kMs);
  End(std::move(ends));
  EXPECT_EQ(queue_.NextDueNs(), 110 * kMs);
  bool over = true;
  EXPECT_EQ(queue_.TakeDue(110 * kMs - 1, &over), nullptr);
  EXPECT_EQ(queue_.TakeDue(120 * kMs, &over), early.get());
  EXPECT_FALSE(over);
  EXPECT_TRUE(early->timed_out && early->cancelled && early->cancels_children);
  EXPECT_EQ(queue_.TakeDue(120 * kMs, &over), nullptr);
  EXPECT_EQ(queue_.NextDueNs(), 500 * kMs);
  EXPECT_EQ(queue_.TakeDue(600 * kMs, &over), late.get());
  End(std::move(late));  // it was interrupted
  EXPECT_EQ(queue_.NextDueNs(), 120 * kMs + ExecutionQueue::kGraceNs);
  EXPECT_EQ(queue_.TakeDue(120 * kMs + ExecutionQueue::kGraceNs, &over), early.get());
  EXPECT_TRUE(over);
  EXPECT_EQ(queue_.NextDueNs(), kForever);
  EXPECT_THAT(Replies(), ElementsAre(std::pair(4, TaskStatus::Ok), std::pair(2, TaskStatus::Ok)));
  queue_.AnswerTimedOut(*early);
  EXPECT_THAT(Replies(), ElementsAre(std::pair(3, TaskStatus::TimedOutEnding)));
  EXPECT_FALSE(never->timed_out);
  End(std::move(never));
  End(std::move(early));
}

TEST_F(TimeoutTest, ATimeoutOfAgesIsOne) {
  auto task = Begin(1, UINT64_MAX, 1'000 * kMs);
  EXPECT_GT(queue_.NextDueNs(), INT64_MAX / 8);
  End(std::move(task));
  EXPECT_EQ(queue_.NextDueNs(), kForever);
}

}  // namespace
}  // namespace cyray::core
