// ExecutionQueue against a model: two submitters push, steal and break; the worker runs, blocks,
// gets arguments late and leaves. Every task is answered once: it ran, or came back, and what ran
// did so in the order in which its submitter pushed it. A failing run prints its seed.

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <vector>

#include "cpp_tests/core/execution_run.h"

namespace cyray::core {
namespace {

using wire::FrameType;
using wire::TaskStatus;

class QueueRun : public ExecutionRun {
 public:
  QueueRun(uint64_t seed, bool actor) : ExecutionRun(seed, actor) {
    for (const uint8_t submitter : {10, 11}) AddSubmitter(submitter, /*max_concurrency=*/1);
  }

 private:
  struct Task {
    uint8_t submitter;
    ObjectId argument;
    bool ran = false;
    int answers = 0;
    bool cancelled = false;  // before it began
  };
  uint8_t AnySubmitter() { return static_cast<uint8_t>(10 + Below(2)); }

  void Step() override {
    const size_t dice = Below(100);
    if (dice < 4) return Cancel();
    if (dice < 40) return Push(AnySubmitter());
    if (dice < 60) return RunNext();
    if (dice < 78) return Finish();
    if (dice < 84) return Steal(AnySubmitter());
    if (dice < 90) return Block();
    if (dice < 98) return ArgumentComes();
    if (dice == 98 && Below(5) == 0) Break(11);
    if (dice == 99 && Below(20) == 0) {
      queue_.Close();
      closed_ = true;
    }
  }

  void Push(uint8_t submitter) {
    if (submitter == broken_) return;
    const uint64_t tag = tasks_of_run_.size();
    const ObjectId argument = ExecutionRun::Push(submitter, tag, /*with_argument=*/Below(4) == 0);
    tasks_of_run_.push_back({submitter, argument});
  }
  void RunNext() {
    if (running_ != nullptr) return;  // on the one main thread
    running_ = queue_.Next();
    if (running_ == nullptr) return;
    Task& task = tasks_of_run_[running_->tag];
    EXPECT_FALSE(std::exchange(task.ran, true)) << "it runs twice";
    if (!task.argument.is_nil()) {
      EXPECT_EQ(std::count(missing_.begin(), missing_.end(), task.argument), 0);
    } else if (actor_) {
      uint64_t& last = last_[task.submitter];
      EXPECT_GE(running_->tag + 1, last) << "a younger call of this caller ran before";
      last = running_->tag + 1;
    }
  }
  void Finish() {
    if (running_ == nullptr || blocked_ > 0) return;
    Answer(std::move(running_), TaskStatus::Ok, 1);
  }
  void Cancel() {
    if (tasks_of_run_.empty()) return;
    const size_t tag = Below(tasks_of_run_.size());
    Task& task = tasks_of_run_[tag];
    if (task.submitter == broken_) return;
    Observe();
    const bool waits = !task.ran && task.answers == 0;
    const ExecTask* runs = queue_.OnCancel(LinkTo(task.submitter), tag, false);
    EXPECT_EQ(runs != nullptr, running_ != nullptr && running_->tag == tag);
    EXPECT_TRUE(runs == nullptr || runs->cancelled);
    task.cancelled |= waits;
    Observe();
    if (waits) {
      EXPECT_EQ(task.answers, 1);
    }
  }
  void Steal(uint8_t submitter) {
    if (submitter != broken_) ExecutionRun::Steal(submitter);
  }
  void Block() {
    if (running_ == nullptr) return;
    const bool blocks = blocked_ == 0;
    blocked_ += blocks ? 1 : -1;
    queue_.SetBlocked(blocks);
    if (blocks && !actor_) {
      EXPECT_EQ(queue_.queued(), 0u);
    }
  }
  void Break(uint8_t submitter) {
    if (broken_ != 0) return;
    Observe();
    broken_ = submitter;
    queue_.OnLinkBroken(LinkTo(submitter));
    links_.Break(LinkTo(submitter), "dead");
  }

  void Observe() override {
    links_.FlushDirty();
    for (auto& [number, end] : worker_ends_) {
      for (const GotFrame& frame : end->Take(FrameType::kTaskReply)) {
        const auto* reply = frame.As<wire::TaskReply>();
        Task& task = tasks_of_run_.at(reply->tag());
        EXPECT_EQ(task.submitter, number);
        EXPECT_EQ(++task.answers, 1) << "answered twice";
        const bool came_back = reply->status() != TaskStatus::Ok;
        EXPECT_EQ(task.ran, !came_back);
        if (came_back) {
          EXPECT_TRUE(closed_ || !actor_ || task.cancelled) << "an actor keeps its calls";
        }
      }
    }
    objects_.CheckInvariants();
    ExpectTallied();
  }
  void Settle() override {
    if (blocked_ > 0) Block();
    while (!missing_.empty()) ArgumentComes();
    for (size_t i = 0; i <= tasks_of_run_.size(); ++i) {
      Finish();
      RunNext();
    }
    Observe();
    EXPECT_EQ(queue_.queued(), 0u);
    EXPECT_EQ(queue_.running(), 0u);
    for (const Task& task : tasks_of_run_) {
      if (task.submitter != broken_) {
        EXPECT_EQ(task.answers, 1);
      }
    }
    EXPECT_EQ(objects_.size(), 0u);
  }

  std::vector<Task> tasks_of_run_;
  std::unique_ptr<ExecTask> running_;
  std::map<uint8_t, uint64_t> last_;  // that ran of each submitter
  int blocked_ = 0;
  uint8_t broken_ = 0;
  bool closed_ = false;
};

TEST(ExecutionQueueRandom, EveryTaskRunsOrComesBackOnce) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    QueueRun run(seed, /*actor=*/seed % 3 == 0);
    run.Go(300);
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace cyray::core
