// ExecutionQueue against a model: two submitters push, steal and break; the worker runs, blocks,
// gets arguments late and leaves. Every task is answered once: it ran, or came back, and what ran
// did so in order of arrival. A failing run prints its seed.

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <vector>

#include "cpp_tests/core/random_run.h"
#include "cyray/core/execution_queue.h"

namespace cyray::core {
namespace {

using wire::FrameType;
using wire::TaskStatus;

constexpr uint32_t kTemplate = 3;

class QueueRun : public RandomRun {
 public:
  QueueRun(uint64_t seed, bool actor) : RandomRun(seed), actor_(actor) {
    queue_.SetIdentity(self_);
    if (actor) queue_.BecomeActor(/*in_order=*/true, /*threads=*/1);
    for (uint8_t submitter : {10, 11}) {
      AddWorker(submitter);
      flatbuffers::FlatBufferBuilder b;
      b.Finish(wire::CreateTemplate(b, kTemplate, nullptr, nullptr, b.CreateString("f"), 0, 1, 1));
      queue_.OnTemplate(LinkTo(submitter),
                        *flatbuffers::GetRoot<wire::Template>(b.GetBufferPointer()));
    }
  }
  void OnObjectReady(ObjectEntry*, std::vector<uint64_t>,
                     std::vector<uint64_t> callbacks) override {
    for (const uint64_t token : callbacks) queue_.OnArgumentHere(token & ~kExecToken);
  }

 private:
  struct Task {
    uint8_t submitter;
    ObjectId argument;
    bool ran = false;
    int answers = 0;
  };
  uint8_t AnySubmitter() { return static_cast<uint8_t>(10 + Below(2)); }

  void Step() override {
    const size_t dice = Below(100);
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
    Task task{submitter, {}};
    flatbuffers::FlatBufferBuilder b;
    flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::TaskArg>>> refs;
    if (Below(4) == 0) {
      task.argument = ObjectId(ids_.Next(), 1);
      const Address owner = WorkerAddress(submitter);
      const wire::WireNodeId node = *wire::ToWire(self_.node);
      const auto arg = wire::CreateTaskArg(b, 0, wire::ToWire(task.argument), wire::ToWire(owner),
                                           b.CreateVectorOfStructs(&node, 1));
      refs = b.CreateVector(&arg, 1);
      missing_.push_back(task.argument);
    }
    const uint64_t tag = tasks_of_run_.size();
    tasks_of_run_.push_back(task);
    const TaskId id = ids_.Next();
    b.Finish(wire::CreatePushTask(b, tag, kTemplate, 0, wire::ToWire(id), 0, refs));
    EXPECT_TRUE(queue_.OnPushTask(LinkTo(submitter),
                                  *flatbuffers::GetRoot<wire::PushTask>(b.GetBufferPointer())));
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
      EXPECT_GE(running_->tag + 1, last_) << "a younger call ran before";
      last_ = running_->tag + 1;
    }
  }
  void Finish() {
    if (running_ == nullptr || blocked_ > 0) return;
    Outcome outcome;
    outcome.value = ValuePtr(Value::Copy("r", 1));
    std::vector<Outcome> outcomes;
    outcomes.push_back(std::move(outcome));
    queue_.Reply(std::move(running_), TaskStatus::Ok, std::move(outcomes), false);
  }
  void Steal(uint8_t submitter) {
    if (submitter == broken_) return;
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateStealTasks(b, static_cast<uint32_t>(Below(3))));
    queue_.OnSteal(LinkTo(submitter),
                   *flatbuffers::GetRoot<wire::StealTasks>(b.GetBufferPointer()));
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
  void ArgumentComes() {
    if (missing_.empty()) return;
    const size_t at = Below(missing_.size());
    const ObjectId id = missing_[at];
    missing_.erase(missing_.begin() + static_cast<ptrdiff_t>(at));
    objects_.OnPinned(id, 64, 10);
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
          EXPECT_TRUE(closed_ || !actor_) << "an actor keeps its calls";
        }
      }
    }
    objects_.CheckInvariants();
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

  const bool actor_;
  ExecutionQueue queue_{links_, objects_};
  std::vector<Task> tasks_of_run_;
  std::vector<ObjectId> missing_;
  std::unique_ptr<ExecTask> running_;
  uint64_t last_ = 0;
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
