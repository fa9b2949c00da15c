// What the core costs per small task and per object, without sockets.

#include <benchmark/benchmark.h>

#include <vector>

#include "core_generated.h"
#include "cpp_tests/core/silent_outbox.h"
#include "cyray/core/object_directory.h"
#include "cyray/core/poller.h"
#include "cyray/core/raylet_client.h"
#include "cyray/core/task_ids.h"
#include "cyray/core/task_submitter.h"

namespace cyray::core {
namespace {

class SilentHandler : public PollerHandler {
 public:
  void OnReady(void*, uint32_t) override {}
  void FlushAll() override {}
  int64_t NextTimerNs() override { return kForever; }
  void RunTimers(int64_t) override {}
};

// A link that keeps what is sent: nothing is connected.
struct Submitting {
  SilentHandler handler;
  SilentOutbox outbox;
  std::mutex mutex;
  Poller poller{mutex, handler};
  RayletClient raylet;
  ObjectDirectory objects{outbox, outbox};
  TaskSlab slab;
  TaskIds ids;
  LinkTable links{
      poller, raylet, {[](Link&, const wire::Frame&) {}, [](Link&, const std::string&) {}}};
  TaskCompletion completion{objects, links, slab};
  TaskTemplate& tmpl = *slab.templates().Take();
  Link link;

  PendingTask* NewTask() {
    PendingTask* task = slab.New();
    task->id = ids.Next();
    task->tmpl = &tmpl;
    TemplateTable::Use(&tmpl);
    task->args = ValuePtr(Value::Copy("0123456789", 10));
    ObjectEntry* entry = objects.NewOwned(ObjectId(task->id, 1));
    task->Makes(entry);
    return task;
  }
};

void BM_PutAndRelease(benchmark::State& state) {
  SilentOutbox outbox;
  ObjectDirectory objects(outbox, outbox);
  TaskIds ids;
  for (auto _ : state) {
    ObjectEntry* entry = objects.NewOwned(ObjectId(ids.Next(), 0));
    objects.Resolve(entry, ValuePtr(Value::Copy("12345678", 8)), false);
    objects.Release(entry);
  }
}
BENCHMARK(BM_PutAndRelease);

void BM_BorrowAndRelease(benchmark::State& state) {
  SilentOutbox outbox;
  ObjectDirectory objects(outbox, outbox);
  TaskIds ids;
  Address owner;
  owner.worker.bytes[0] = 9;
  for (auto _ : state) {
    objects.Release(objects.Borrow(ObjectId(ids.Next(), 1), owner, /*deferred=*/true));
  }
}
BENCHMARK(BM_BorrowAndRelease);

void BM_SubmitAndPush(benchmark::State& state) {
  Submitting s;
  for (auto _ : state) {
    PendingTask* task = s.NewTask();
    s.completion.Push(s.link, task, {});
    s.completion.Drop(task);
    if (s.link.waiting.size() > 1 << 20) s.link.waiting.clear();
  }
}
BENCHMARK(BM_SubmitAndPush);

void BM_DecodeReply(benchmark::State& state) {
  Submitting s;
  flatbuffers::FlatBufferBuilder b;
  const uint8_t bytes[9] = {};
  const auto value = wire::CreateReturnValue(b, b.CreateVector(bytes, sizeof bytes));
  b.Finish(wire::CreateTaskReply(b, 1, wire::TaskStatus::Ok, b.CreateVector(&value, 1)));
  const wire::Frame frame{wire::FrameType::kTaskReply, b.GetBufferPointer(), b.GetSize(), {}};
  for (auto _ : state) {
    PendingTask* task = s.NewTask();
    s.completion.Resolve(s.link, task, *frame.As<wire::TaskReply>());
  }
}
BENCHMARK(BM_DecodeReply);

}  // namespace
}  // namespace cyray::core
