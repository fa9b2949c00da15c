// One random run of an ExecutionQueue: what submitters and the store do to it.

#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cpp_tests/core/random_run.h"
#include "cyray/core/execution_queue.h"
#include "cyray/wire/task_notes.h"

namespace cyray::core {

class ExecutionRun : public RandomRun {
 public:
  void OnObjectReady(ObjectEntry*, std::vector<uint64_t>,
                     std::vector<uint64_t> callbacks) override {
    for (const uint64_t token : callbacks) queue_.OnArgumentHere(token & ~kExecToken);
  }

 protected:
  ExecutionRun(uint64_t seed, bool actor) : RandomRun(seed), actor_(actor) {
    queue_.SetIdentity(self_);
    queue_.SetTaskNotes(*wire::TaskNotes::Map(memory_));
    if (actor) queue_.BecomeActor({CallGroup{}});
  }
  // So many of its tasks may run at once.
  void AddSubmitter(uint8_t submitter, uint32_t max_concurrency) {
    AddWorker(submitter);
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateTemplate(b, kTemplate, nullptr, nullptr, b.CreateString("f"), 0, 1,
                                  max_concurrency));
    queue_.OnTemplate(LinkTo(submitter),
                      *flatbuffers::GetRoot<wire::Template>(b.GetBufferPointer()));
  }
  // The argument that is not here yet; nil: it has none.
  ObjectId Push(uint8_t submitter, uint64_t tag, bool with_argument) {
    flatbuffers::FlatBufferBuilder b;
    flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::TaskArg>>> refs;
    ObjectId argument;
    if (with_argument) {
      argument = ObjectId(ids_.Next(), 1);
      const Address owner = WorkerAddress(submitter);
      const wire::WireNodeId node = *wire::ToWire(self_.node);
      const auto arg = wire::CreateTaskArg(b, 0, wire::ToWire(argument), wire::ToWire(owner),
                                           b.CreateVectorOfStructs(&node, 1));
      refs = b.CreateVector(&arg, 1);
      missing_.push_back(argument);
    }
    const TaskId id = ids_.Next();
    b.Finish(wire::CreatePushTask(b, tag, kTemplate, 0, wire::ToWire(id), 0, refs));
    EXPECT_TRUE(queue_.OnPushTask(LinkTo(submitter),
                                  *flatbuffers::GetRoot<wire::PushTask>(b.GetBufferPointer())));
    return argument;
  }
  void ArgumentComes() {
    if (missing_.empty()) return;
    const size_t at = Below(missing_.size());
    const ObjectId id = missing_[at];
    missing_.erase(missing_.begin() + static_cast<ptrdiff_t>(at));
    objects_.OnPinned(id, 64, 10);
  }
  void Steal(uint8_t submitter) {
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateStealTasks(b, static_cast<uint32_t>(Below(3))));
    queue_.OnSteal(LinkTo(submitter),
                   *flatbuffers::GetRoot<wire::StealTasks>(b.GetBufferPointer()));
  }
  void Answer(std::unique_ptr<ExecTask> task, wire::TaskStatus status, size_t bytes) {
    Outcome outcome;
    outcome.value = ValuePtr(Value::Copy(std::string(bytes, 'r').data(), bytes));
    std::vector<Outcome> outcomes;
    outcomes.push_back(std::move(outcome));
    ++(status == wire::TaskStatus::Ok ? finished_ok_ : finished_badly_);
    queue_.Reply(std::move(task), status, std::move(outcomes), false);
  }

  // What the raylet reads is what there is.
  void ExpectTallied() const {
    const wire::TaskCounts counts = raylet_view_.tally().Read();
    EXPECT_EQ(counts[wire::TaskCount::kQueued], queue_.queued());
    EXPECT_EQ(counts[wire::TaskCount::kRunning], queue_.running());
    EXPECT_EQ(counts[wire::TaskCount::kFinished], finished_ok_);
    EXPECT_EQ(counts[wire::TaskCount::kFailed], finished_badly_);
  }

  const bool actor_;
  UniqueFd memory_ = *wire::TaskNotes::CreateMemory();
  wire::TaskNotes raylet_view_ = *wire::TaskNotes::Map(memory_);
  ExecutionQueue queue_{links_, objects_};
  std::vector<ObjectId> missing_;
  uint64_t finished_ok_ = 0;
  uint64_t finished_badly_ = 0;

 private:
  static constexpr uint32_t kTemplate = 3;
};

}  // namespace cyray::core
