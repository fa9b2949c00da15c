// A worker's task notes against a model: its one submitter reads when it likes, answers are of all
// sizes, arguments come late, and at any moment the worker may be dead. Then each task that has
// begun is told of, on the socket or in the task notes, and no other one is. A failing run prints
// its seed.

#include <map>
#include <set>
#include <vector>

#include "cpp_tests/core/random_run.h"
#include "cyray/core/execution_queue.h"
#include "cyray/wire/task_notes.h"

namespace cyray::core {
namespace {

using wire::FrameType;
using wire::TaskStatus;

constexpr uint32_t kTemplate = 3;
constexpr uint8_t kSubmitter = 10;

class UntoldRun : public RandomRun {
 public:
  UntoldRun(uint64_t seed, bool actor) : RandomRun(seed), actor_(actor) {
    queue_.SetIdentity(self_);
    queue_.SetTaskNotes(*wire::TaskNotes::Map(memory_));
    if (actor) queue_.BecomeActor(/*in_order=*/true, /*threads=*/1);
    AddWorker(kSubmitter);
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateTemplate(b, kTemplate, nullptr, nullptr, b.CreateString("f"), 0, 1, 3));
    queue_.OnTemplate(LinkTo(kSubmitter),
                      *flatbuffers::GetRoot<wire::Template>(b.GetBufferPointer()));
  }
  void OnObjectReady(ObjectEntry*, std::vector<uint64_t>,
                     std::vector<uint64_t> callbacks) override {
    for (const uint64_t token : callbacks) queue_.OnArgumentHere(token & ~kExecToken);
  }
  size_t salvaged = 0;  // answers that the socket did not have

 private:
  void Step() override {
    const size_t dice = Below(100);
    if (dice < 35) return Push();
    if (dice < 60) return RunNext();
    if (dice < 85) return Finish();
    if (dice < 89) return ArgumentComes();
    if (dice < 92) return Steal();
    if (dice < 95) return links_.Flush(LinkTo(kSubmitter));
    if (dice < 97) return LookIfDead();
    links_.OnReady(LinkTo(kSubmitter), EPOLLOUT);
  }
  void Observe() override { objects_.CheckInvariants(); }

  void Push() {
    flatbuffers::FlatBufferBuilder b;
    flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::TaskArg>>> refs;
    if (Below(5) == 0) {
      const ObjectId argument(ids_.Next(), 1);
      const Address owner = WorkerAddress(kSubmitter);
      const wire::WireNodeId node = *wire::ToWire(self_.node);
      const auto arg = wire::CreateTaskArg(b, 0, wire::ToWire(argument), wire::ToWire(owner),
                                           b.CreateVectorOfStructs(&node, 1));
      refs = b.CreateVector(&arg, 1);
      missing_.push_back(argument);
    }
    const TaskId id = ids_.Next();
    b.Finish(wire::CreatePushTask(b, next_tag_++, kTemplate, 0, wire::ToWire(id), 0, refs));
    EXPECT_TRUE(queue_.OnPushTask(LinkTo(kSubmitter),
                                  *flatbuffers::GetRoot<wire::PushTask>(b.GetBufferPointer())));
  }
  void RunNext() {
    const auto thread = running_.empty() ? ExecutionQueue::Thread::kMain  // a free one
                                         : ExecutionQueue::Thread::kExtra;
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
    Outcome outcome;
    outcome.value = ValuePtr(Value::Copy(std::string(bytes, 'r').data(), bytes));
    std::vector<Outcome> outcomes;
    outcomes.push_back(std::move(outcome));
    queue_.Reply(std::move(task), Chance(80) ? TaskStatus::Ok : TaskStatus::Error,
                 std::move(outcomes), false);
  }
  void ArgumentComes() {
    if (missing_.empty()) return;
    const size_t at = Below(missing_.size());
    const ObjectId id = missing_[at];
    missing_.erase(missing_.begin() + static_cast<ptrdiff_t>(at));
    objects_.OnPinned(id, 64, 10);
  }
  void Steal() {
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateStealTasks(b, static_cast<uint32_t>(Below(3))));
    queue_.OnSteal(LinkTo(kSubmitter),
                   *flatbuffers::GetRoot<wire::StealTasks>(b.GetBufferPointer()));
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

  const bool actor_;
  UniqueFd memory_ = *wire::TaskNotes::CreateMemory();
  wire::TaskNotes raylet_view_ = *wire::TaskNotes::Map(memory_);
  ExecutionQueue queue_{links_, objects_};
  uint64_t next_tag_ = 0;
  uint64_t replies_read_ = 0;
  std::vector<ObjectId> missing_;
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
