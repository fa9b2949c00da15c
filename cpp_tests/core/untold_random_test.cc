// A worker's task notes against a model: its one submitter reads when it likes, answers are of all
// sizes, arguments come late, and at any moment the worker may be dead. Then each task that has
// begun is told of, on the socket or in the task notes, and no other one is. A failing run prints
// its seed.

#include <map>
#include <set>
#include <vector>

#include "cpp_tests/core/execution_run.h"
#include "cyray/wire/task_notes.h"

namespace cyray::core {
namespace {

using wire::FrameType;
using wire::TaskStatus;

constexpr uint8_t kSubmitter = 10;

class UntoldRun : public ExecutionRun {
 public:
  UntoldRun(uint64_t seed, bool actor) : ExecutionRun(seed, actor) {
    AddSubmitter(kSubmitter, /*max_concurrency=*/3);
  }
  size_t salvaged = 0;  // answers that the socket did not have

 private:
  void Step() override {
    const size_t dice = Below(100);
    if (dice < 35) return Push();
    if (dice < 60) return RunNext();
    if (dice < 85) return Finish();
    if (dice < 89) return ArgumentComes();
    if (dice < 92) return Steal(kSubmitter);
    if (dice < 95) return links_.Flush(LinkTo(kSubmitter));
    if (dice < 97) return LookIfDead();
    links_.OnReady(LinkTo(kSubmitter), EPOLLOUT);
  }
  void Observe() override {
    objects_.CheckInvariants();
    ExpectTallied();
  }

  void Push() { ExecutionRun::Push(kSubmitter, next_tag_++, /*with_argument=*/Below(5) == 0); }
  void RunNext() {
    const auto thread = running_.empty() ? TaskThread{}  // a free one
                                         : TaskThread{.is_main = false};
    auto task = queue_.Next(thread);
    if (task == nullptr) return;
    begun_.insert(task->tag);
    running_.push_back(std::move(task));
  }
  void Finish() {
    if (running_.empty()) return;
    const size_t at = Below(running_.size());
    auto task = std::move(running_[at]);
    running_.erase(running_.begin() + static_cast<ptrdiff_t>(at));
    finished_.insert(task->tag);
    const size_t dice = Below(100);
    const size_t bytes = dice < 60 ? 1 : dice < 85 ? 3'000 : dice < 95 ? 20'000 : 90'000;
    Answer(std::move(task), Chance(80) ? TaskStatus::Ok : TaskStatus::Error, bytes);
  }
  void NoteReply(const wire::TaskReply& reply) {
    const bool ran = reply.status() == TaskStatus::Ok || reply.status() == TaskStatus::Error;
    EXPECT_EQ(ran, begun_.contains(reply.tag()));
    EXPECT_EQ(ran, finished_.contains(reply.tag()));
    if (ran) {
      EXPECT_TRUE(told_.insert(reply.tag()).second) << "told twice";
    }
  }
  // As if the worker had ended just now: what the submitter would hear of its tasks.
  void LookIfDead() {
    for (const GotFrame& frame : worker_ends_[kSubmitter]->Take(FrameType::kTaskReply)) {
      ++replies_read_;
      NoteReply(*frame.As<wire::TaskReply>());
    }
    const auto before = told_;
    const wire::TaskNotes::Noted noted = raylet_view_.Read();
    for (const auto& answer : noted.answers) {
      EXPECT_EQ(answer.to, WorkerAddress(kSubmitter));
      if (answer.number <= replies_read_) continue;
      ++salvaged;
      NoteReply(*flatbuffers::GetRoot<wire::TaskReply>(answer.frame_body.data()));
    }
    std::set<uint64_t> begun;
    for (const auto& task : noted.begun) begun.insert(task.tag);
    EXPECT_TRUE(noted.begun_known);
    for (const uint64_t tag : begun_) {
      const bool told = told_.contains(tag);
      if (!actor_) {
        EXPECT_TRUE(told || begun.contains(tag)) << "nobody would know that it ran: " << tag;
      }
      if (finished_.contains(tag) && !links_.HasUnsent(LinkTo(kSubmitter))) {
        EXPECT_TRUE(told) << "its answer would be lost: " << tag;
      }
    }
    for (const uint64_t tag : begun) EXPECT_TRUE(begun_.contains(tag)) << "it never began: " << tag;
    told_ = before;  // it lives
  }
  void Settle() override {
    while (!missing_.empty()) ArgumentComes();
    for (uint64_t i = 0; i <= next_tag_; ++i) {
      Finish();
      RunNext();
      LookIfDead();
      links_.OnReady(LinkTo(kSubmitter), EPOLLOUT);
    }
    links_.Flush(LinkTo(kSubmitter));
    LookIfDead();
    EXPECT_EQ(told_.size(), finished_.size());
    EXPECT_TRUE(running_.empty());
  }

  uint64_t next_tag_ = 0;
  uint64_t replies_read_ = 0;
  std::vector<std::unique_ptr<ExecTask>> running_;
  std::set<uint64_t> begun_, finished_, told_;
};

TEST(UntoldRandom, WheneverAWorkerEndsItIsKnownWhatBeganThere) {
  size_t salvaged = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    UntoldRun run(seed, /*actor=*/seed % 4 == 0);
    run.Go(300);
    if (testing::Test::HasFailure()) return;
    salvaged += run.salvaged;
  }
  EXPECT_GT(salvaged, 1'000u);
}

}  // namespace
}  // namespace cyray::core
