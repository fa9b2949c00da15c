// TaskSubmitter against a model: random tasks, leases, answers, deaths and broken connections, in
// random order. After every step the invariants hold and no task is at two workers; at the end
// every task has been answered once, with the error or value that the model expects. A failing run
// prints its seed.

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <vector>

#include "cpp_tests/core/random_run.h"
#include "cyray/util/clock.h"

namespace cyray::core {
namespace {

using wire::FrameType;
using wire::TaskStatus;

class TaskRun : public RandomRun {
 public:
  explicit TaskRun(uint64_t seed) : RandomRun(seed) {
    for (int retries : {0, 1, 2, -1}) {
      templates_of_run_.push_back(MakeTemplate(retries));
      templates_of_run_.push_back(MakeTemplate(retries));
      templates_of_run_.back()->average_us = 10;  // may be pushed ahead
      templates_of_run_.push_back(MakeTemplate(retries, {}));
      templates_of_run_.back()->average_us = 10;  // taken by a crew
    }
  }

 private:
  struct Task {
    ObjectEntry* result;
    std::vector<ObjectEntry*> args;
    int retries;
    uint8_t at = 0;  // the worker that has it
    bool failed = false;
    bool cancelled = false;  // it may fail, and does not begin again
  };
  struct Worker {
    uint64_t lease = 0;
    std::deque<uint64_t> has;  // pushed and not answered, in order
    std::set<uint64_t> waits;  // of these, for arguments
    bool reachable = true;     // its link works, as far as it knows
  };

  void Step() override {
    const size_t dice = Below(100);
    if (dice < 3) return CancelOne();
    if (dice < 35) return SubmitOne();
    if (dice < 50) return GrantOne();
    if (dice < 80) return AnswerOne();
    if (dice < 84) return StealBack();
    if (dice < 88) return Die();
    if (dice < 90) return BreakConnection();
    if (dice < 93) return Reclaim();
    if (dice < 95) return RepeatAnswer();
    if (dice < 97) return LackArguments();
    RayletAnswers();
    tasks_.Tick(MonotonicNs() + (Chance(20) ? LinkTable::kNewsHereNs : 0));
  }

  void SubmitOne() {
    TaskTemplate* tmpl = templates_of_run_[Below(templates_of_run_.size())];
    std::vector<ObjectEntry*> args;
    for (size_t n = Chance(30) ? Below(3) : 0; n > 0 && !results_.empty(); --n) {
      args.push_back(results_[Below(results_.size())]);
    }
    ObjectEntry* result = Submit(tmpl, args);
    results_.push_back(result);
    made_by_[result] = model_.size();
    model_.push_back({result, args, tmpl->max_retries});
  }

  void CancelOne() {
    if (model_.empty()) return;
    Task& task = model_[Below(model_.size())];
    PendingTask* pending = task.result->maker;
    if (pending == nullptr) return;
    const bool pushed = pending->lease != nullptr;
    task.cancelled = true;
    tasks_.Cancel(pending, {.force = Chance(30)});
    EXPECT_EQ(task.result->ready(), !pushed);
  }

  void GrantOne() {
    if (requests_.empty()) return;
    const auto at = requests_.begin() + static_cast<ptrdiff_t>(Below(requests_.size()));
    const uint64_t id = *at;
    requests_.erase(at);
    if (cancelled_.erase(id) > 0 && Chance(70)) {
      FromRaylet(FrameType::kLeaseReply,
                 [&](auto& b) { return wire::CreateLeaseReply(b, id, false); });
      return;
    }
    uint8_t number = next_worker_;
    if (!idle_.empty() && Chance(50)) {
      number = *idle_.begin();
      idle_.erase(idle_.begin());
    } else if (next_worker_ == UINT8_MAX) {
      requests_.push_back(id);
      return;
    } else {
      ++next_worker_;
      AddWorker(number);
    }
    workers_[number].lease = ++next_lease_;
    const Address address = WorkerAddress(number);
    FromRaylet(FrameType::kLeaseReply, [&](auto& b) {
      return wire::CreateLeaseReply(b, id, true, 0, next_lease_, wire::ToWire(address));
    });
  }

  uint8_t AnyWorker(bool with_work) {
    std::vector<uint8_t> some;
    for (auto& [number, worker] : workers_) {
      if (worker.reachable && (!with_work || !worker.has.empty())) some.push_back(number);
    }
    return some.empty() ? 0 : some[Below(some.size())];
  }
  Task& ModelOf(uint64_t tag) { return model_[by_tag_.at(tag)]; }

  // Whether the answer is read at once or lies in the socket is the dice's.
  void Answer(uint8_t number, uint64_t tag, TaskStatus status, bool retry = false) {
    Task& task = ModelOf(tag);
    std::erase(workers_[number].has, tag);
    workers_[number].waits.erase(tag);
    task.at = 0;
    if (status == TaskStatus::Error) {
      if (retry && task.retries != 0) {
        if (task.retries > 0) --task.retries;
      } else {
        task.failed = true;
      }
    }
    said_.push_back({number, tag});
    SendReply(number, tag, status, retry);
    if (Chance(80)) links_.OnReady(LinkTo(number), EPOLLIN);
  }
  void AnswerOne() {
    const uint8_t number = AnyWorker(true);
    if (number == 0) return;
    const uint64_t tag = Running(number);
    const size_t dice = Below(100);
    if (ModelOf(tag).cancelled && dice < 50) return Answer(number, tag, TaskStatus::Cancelled);
    if (dice < 70) return Answer(number, tag, TaskStatus::Ok);
    if (dice < 78) return Answer(number, tag, TaskStatus::Error);
    if (dice < 90) return Answer(number, tag, TaskStatus::Error, /*retry=*/true);
    const auto has = workers_[number].has;  // it leaves: nothing that has not begun runs there
    for (size_t i = has.size(); i > 0; --i) {
      if (has[i - 1] != tag) Answer(number, has[i - 1], TaskStatus::WorkerExiting);
    }
    Answer(number, tag, TaskStatus::Ok);
  }
  // The task that runs there, or begins now.
  uint64_t Running(uint8_t number) {
    Worker& worker = workers_[number];
    for (const uint64_t tag : worker.has) {
      if (!worker.waits.contains(tag)) return tag;
    }
    const uint64_t tag = worker.has.front();
    worker.waits.erase(tag);
    Progress(number, tag, /*begun=*/true);
    return tag;
  }
  // A task that came to a worker that runs another one turns out to lack arguments.
  void LackArguments() {
    const uint8_t number = AnyWorker(true);
    if (number == 0) return;
    Worker& worker = workers_[number];
    const uint64_t tag = worker.has[Below(worker.has.size())];
    if (!worker.waits.insert(tag).second) return;
    Progress(number, tag, /*begun=*/false);
  }
  void StealBack() {
    const uint8_t number = AnyWorker(true);
    if (number == 0) return;
    const auto has = workers_[number].has;
    const uint64_t running = Running(number);
    for (size_t i = has.size(); i > 0; --i) {
      if (has[i - 1] != running) Answer(number, has[i - 1], TaskStatus::HandedBack);
    }
  }
  void RepeatAnswer() {
    if (said_.empty()) return;
    const auto [number, tag] = said_[Below(said_.size())];
    const auto it = workers_.find(number);
    if (it == workers_.end() || !it->second.reachable) return;
    ReadAll(number);
    if (slab_.Find(tag) != nullptr && ModelOf(tag).at == number)
      return;  // that would be its answer
    SendReply(number, tag, TaskStatus::Ok);
    links_.OnReady(LinkTo(number), EPOLLIN);
  }

  // What had begun pays with an attempt; where that is not known, what the submitter takes for the
  // one that ran.
  void LoseTasksOf(Worker& worker, const TaskSubmitter::BegunTags& begun = std::nullopt) {
    bool first = true;
    for (const uint64_t tag : worker.has) {
      Task& task = ModelOf(tag);
      task.at = 0;
      const bool ran = begun ? std::ranges::find(*begun, tag) != begun->end()
                             : !worker.waits.contains(tag) && std::exchange(first, false);
      if (ran) {
        if (task.retries == 0) task.failed = true;
        if (task.retries > 0) --task.retries;
      }
    }
    worker.has.clear();
    worker.waits.clear();
  }
  // By the worker's task notes; none, one or some of those that it has, in whatever order.
  std::vector<uint64_t> AnyBegun(const Worker& worker) {
    std::vector<uint64_t> begun;
    for (const uint64_t tag : worker.has) {
      if (Chance(30)) begun.push_back(tag);
    }
    if (Chance(10)) begun.push_back(uint64_t{1} << 63);  // an answered one
    std::ranges::reverse(begun);
    return begun;
  }
  void Die() {
    const uint8_t number = AnyWorker(false);
    if (number == 0) return;
    const bool end_is_seen_first = Chance(50);
    if (end_is_seen_first) ReadAll(number);
    worker_ends_.erase(number);
    idle_.erase(number);
    if (end_is_seen_first) links_.OnReady(LinkTo(number), EPOLLIN | EPOLLHUP);
    Link* link = links_.Find(WorkerAddress(number).worker);
    tasks_.OnLinkBroken(*link, "killed");
    links_.Drain(*link);
    links_.Break(*link, "killed");
    TaskSubmitter::BegunTags begun;
    if (Chance(60)) begun = AnyBegun(workers_[number]);
    LoseTasksOf(workers_[number], begun);
    workers_.erase(number);
    tasks_.OnLeaseBroken(WorkerAddress(number), "killed", begun);
    links_.Forget(WorkerAddress(number).worker);
    links_.FlushDirty();
  }
  void BreakConnection() {
    const uint8_t number = AnyWorker(false);
    if (number == 0 || idle_.contains(number)) return;
    ReadAll(number);
    links_.Break(LinkTo(number), "nonsense");
    workers_[number].reachable = false;
  }
  void ReadAll(uint8_t number) {
    links_.OnReady(LinkTo(number), EPOLLIN);
    Observe();
  }
  // Also, after a time without news, that of a worker that cannot be reached.
  void Returned(const GotFrame& frame) {
    const auto* lease = frame.As<wire::ReturnLease>();
    for (auto it = workers_.begin(); it != workers_.end(); ++it) {
      if (it->second.lease != lease->lease_id()) continue;
      EXPECT_TRUE(it->second.reachable ? it->second.has.empty() : lease->worker_exiting());
      LoseTasksOf(it->second);
      it->second.lease = 0;
      if (lease->worker_exiting()) {
        workers_.erase(it);
      } else {
        idle_.insert(it->first);
      }
      return;
    }
  }
  void Reclaim() {
    const uint8_t number = AnyWorker(false);
    if (number != 0) tasks_.OnReclaim(workers_[number].lease, WorkerAddress(number));
  }

  // What the submitter has sent.
  void Observe() override {
    for (const GotFrame& frame : FromProcess(FrameType::kRequestLease)) {
      requests_.push_back(frame.As<wire::RequestLease>()->request_id());
    }
    for (const GotFrame& frame : FromProcess(FrameType::kCancelLease)) {
      cancelled_.insert(frame.As<wire::CancelLease>()->request_id());
    }
    for (const GotFrame& frame : FromProcess(FrameType::kReturnLease)) Returned(frame);
    for (auto& [number, worker] : workers_) {
      const auto tags = Pushed(number);
      if (!worker.reachable) continue;
      for (const uint64_t tag : tags) {
        const PendingTask* task = slab_.Find(tag);
        ASSERT_NE(task, nullptr);
        by_tag_[tag] = made_by_.at(task->returns[0]);
        Task& model = ModelOf(tag);
        EXPECT_EQ(model.at, 0) << "it is at two workers";
        EXPECT_FALSE(model.cancelled) << "it was cancelled, and begins again";
        model.at = number;
        worker.has.push_back(tag);
      }
    }
    tasks_.CheckInvariants();
    ExpectTallied();
    objects_.CheckInvariants();
  }

  void Settle() override {
    for (int round = 0; round < 10'000 && slab_.live() > 0 && !HasFailure(); ++round) {
      for (auto& [number, worker] : workers_) {
        if (worker.reachable) links_.OnReady(LinkTo(number), EPOLLIN);
      }
      RayletAnswers();
      tasks_.Tick(MonotonicNs() + LinkTable::kNewsHereNs);
      Observe();
      GrantOne();
      Observe();
      if (const uint8_t number = AnyWorker(true)) {
        Answer(number, Running(number), TaskStatus::Ok);
      }
      if (next_worker_ == UINT8_MAX && idle_.empty()) {
        // No more names for workers: what waits for a lease is refused.
        for (const uint64_t id : std::exchange(requests_, {})) {
          FromRaylet(FrameType::kLeaseReply,
                     [&](auto& b) { return wire::CreateLeaseReply(b, id, false); });
        }
        refused_ = true;
      }
      Observe();
    }
    EXPECT_EQ(slab_.live(), 0u);
    for (const Task& task : model_) {
      EXPECT_TRUE(task.result->ready());
      bool failed = task.failed;
      for (ObjectEntry* arg : task.args) failed = failed || arg->is_error;
      if (!refused_ && !task.cancelled) {
        EXPECT_EQ(task.result->is_error, failed);
      }
    }
    for (const Task& task : model_) objects_.Release(task.result);
    EXPECT_EQ(objects_.size(), 0u);
  }

  std::vector<TaskTemplate*> templates_of_run_;
  std::vector<Task> model_;
  std::vector<ObjectEntry*> results_;
  std::map<const ObjectEntry*, size_t> made_by_;
  std::map<uint64_t, size_t> by_tag_;
  std::map<uint8_t, Worker> workers_;
  std::set<uint8_t> idle_;
  std::vector<uint64_t> requests_;
  std::set<uint64_t> cancelled_;
  std::vector<std::pair<uint8_t, uint64_t>> said_;
  uint8_t next_worker_ = 10;
  uint64_t next_lease_ = 0;
  bool refused_ = false;
};

TEST(TaskSubmitterRandom, EveryTaskIsAnsweredOnceAsTheModelSays) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    TaskRun run(seed);
    run.Go(400);
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace cyray::core
