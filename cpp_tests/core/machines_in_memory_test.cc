// Two processes without a socket, a thread or a clock: the machines of the core behind outboxes
// that the test plays, under a time of its own. What holds here a simulator can do with any number.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cpp_tests/core/silent_outbox.h"
#include "cyray/core/dependent_tasks.h"
#include "cyray/core/execution_queue.h"
#include "cyray/core/link.h"
#include "cyray/core/outbox.h"
#include "cyray/core/task_ids.h"
#include "cyray/core/task_submitter.h"
#include "cyray/wire/convert.h"

namespace cyray::core {
namespace {

using wire::FrameType;

struct Letter {
  Address from, to;
  FrameType type;
  std::vector<uint64_t> bytes;
  size_t size;
};

// The world: a time, and frames on their way.
struct World {
  int64_t now_ns = 1;
  std::deque<Letter> letters;
};

class MemoryLinks : public LinkOutbox {
 public:
  MemoryLinks(World& world, Address self) : world_(world), self_(self) {}
  int64_t NowNs() const override { return world_.now_ns; }
  Link& To(const Address& peer) override {
    auto& link = links_[peer.worker];
    if (!link) {
      link = std::make_unique<Link>();
      link->peer = peer;
      link->state = Link::State::kRelay;
    }
    return *link;
  }
  Link* Find(const WorkerId& worker) override {
    const auto it = links_.find(worker);
    return it == links_.end() ? nullptr : it->second.get();
  }
  bool IsDead(const WorkerId&) const override { return false; }
  void Send(Link& link, FrameType type, const flatbuffers::FlatBufferBuilder& b) override {
    Letter letter{self_, link.peer, type, std::vector<uint64_t>((b.GetSize() + 7) / 8),
                  b.GetSize()};
    std::memcpy(letter.bytes.data(), b.GetBufferPointer(), b.GetSize());
    world_.letters.push_back(std::move(letter));
  }
  void Flush(Link&) override {}
  bool HasUnsent(const Link&) const override { return false; }
  void FlushSoon(Link&, int64_t) override {}
  void Drain(Link&) override {}
  int64_t NewsDueNs(const Address&, int64_t broken_ns) const override {
    return broken_ns + 1'000'000'000;
  }
  bool IsWithoutNews(const Address&, int64_t, int64_t) override { return true; }

 private:
  World& world_;
  const Address self_;
  std::map<WorkerId, std::unique_ptr<Link>> links_;
};

// A raylet that lends the worker that the test names.
class LendingRaylet : public RayletOutbox {
 public:
  bool connected() const override { return true; }
  uint64_t NextRequestId() override { return next_++; }
  void Send(FrameType type, const flatbuffers::FlatBufferBuilder&) override {
    if (type == FrameType::kReturnLease) ++returned;
    if (type == FrameType::kCancelLease) ++cancelled;
  }
  void Request(uint64_t id, FrameType type, const flatbuffers::FlatBufferBuilder&,
               ReplyHandler on_reply) override {
    if (type == FrameType::kRequestLease) asked.emplace_back(id, std::move(on_reply));
  }
  void Relay(const Address&, const Address&, const uint8_t*, size_t) override {}
  void Flush() override {}
  bool HasUnsent() const override { return false; }
  void Grant(const Address& worker) {
    auto [id, on_reply] = std::move(asked.front());
    asked.pop_front();
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateLeaseReply(b, id, true, 0, id, wire::ToWire(worker)));
    wire::Frame frame{FrameType::kLeaseReply, b.GetBufferPointer(), b.GetSize(), {}};
    on_reply(&frame);
  }

  std::deque<std::pair<uint64_t, ReplyHandler>> asked;
  int returned = 0;
  int cancelled = 0;

 private:
  uint64_t next_ = 1;
};

class Process : public SilentOutbox {
 public:
  Process(World& world, Address self) : links(world, self), self_(self) {
    objects.SetIdentity(self);
    execution.SetIdentity(self);
    completion.SetIdentity(self, JobId{});
    ids.Reset(JobId{});
  }
  void OnObjectReady(ObjectEntry*, std::vector<uint64_t> tags, std::vector<uint64_t>) override {
    dependents.Tell(tags);
  }
  void Receive(const Letter& letter) {
    Link& link = links.To(letter.from);
    const wire::Frame frame{letter.type,
                            reinterpret_cast<const uint8_t*>(letter.bytes.data()),
                            static_cast<uint32_t>(letter.size),
                            {}};
    switch (letter.type) {
      case FrameType::kTemplate:
        return execution.OnTemplate(link, *frame.As<wire::Template>());
      case FrameType::kPushTask:
        EXPECT_TRUE(execution.OnPushTask(link, *frame.As<wire::PushTask>()));
        return;
      case FrameType::kTaskReply: {
        const auto* reply = frame.As<wire::TaskReply>();
        return tasks.OnTaskReply(link, slab.Find(reply->tag()), *reply);
      }
      default:
        FAIL() << static_cast<int>(letter.type);
    }
  }
  ObjectEntry* Submit(TaskTemplate* tmpl, std::vector<ObjectEntry*> refs) {
    PendingTask* task = slab.New();
    task->id = ids.Next();
    task->tmpl = tmpl;
    TemplateTable::Use(tmpl);
    for (ObjectEntry* entry : refs) objects.AddRef(entry);
    task->refs = std::move(refs);
    ObjectEntry* entry = objects.NewOwned(ObjectId(task->id, 1));
    objects.AddRef(entry);
    task->Makes(entry);
    tasks.Submit(task);
    return entry;
  }

  MemoryLinks links;
  LendingRaylet raylet;
  ObjectDirectory objects{*this, *this};
  TaskSlab slab;
  TaskIds ids;
  TaskCompletion completion{objects, links, slab};
  TaskSubmitter tasks{objects, links, raylet, completion, slab};
  UnreadyActors unready{[](const ActorId&) {}};
  DependentTasks dependents{slab, unready,
                            [this](PendingTask* task) { tasks.OnArgumentReady(task); }};
  ExecutionQueue execution{links, objects};

 private:
  const Address self_;
};

Address AddressOf(uint8_t number) {
  Address address;
  address.node.bytes[0] = address.worker.bytes[0] = number;
  return address;
}

TEST(MachinesInMemory, AChainOfTasksRunsInTheTimeThatTheTestGivesIt) {
  World world;
  Process driver(world, AddressOf(1));
  Process worker(world, AddressOf(2));
  TaskTemplate& tmpl = *driver.slab.templates().Take();
  tmpl.shape = driver.tasks.FindShape({});
  ObjectEntry* first = driver.Submit(&tmpl, {});
  ObjectEntry* second = driver.Submit(&tmpl, {first});
  int ran = 0;
  for (int round = 0; round < 100 && !second->ready(); ++round) {
    world.now_ns += 1'000'000;
    if (!driver.raylet.asked.empty()) driver.raylet.Grant(AddressOf(2));
    while (!world.letters.empty()) {
      const Letter letter = std::move(world.letters.front());
      world.letters.pop_front();
      (letter.to == AddressOf(1) ? driver : worker).Receive(letter);
    }
    auto task = worker.execution.Next();
    if (!task) continue;
    ++ran;
    task->started_ns = world.now_ns;
    world.now_ns += 3'000'000;
    std::vector<Outcome> outcomes(1);
    outcomes[0].value = ValuePtr(Value::Copy("r", 1));
    worker.execution.Reply(std::move(task), wire::TaskStatus::Ok, std::move(outcomes), false);
  }
  EXPECT_EQ(ran, 2);
  ASSERT_TRUE(first->ready() && second->ready());
  EXPECT_EQ(tmpl.average_us, 3'000) << "as long as the world's time says";
  EXPECT_EQ(driver.raylet.returned, 0);
  world.now_ns = driver.tasks.NextTickNs();
  driver.tasks.Tick(world.now_ns);
  EXPECT_EQ(driver.raylet.returned, 1) << "a lease without work goes back";
  driver.objects.Release(first);
  driver.objects.Release(second);
  EXPECT_EQ(driver.objects.size() + worker.objects.size(), 0u);
}

// A driver whose tasks ask for nothing, and workers that answer when the test says so.
class TasksOfACrew : public testing::Test {
 protected:
  TasksOfACrew() { tmpl_->shape = driver_.tasks.FindShape({}); }
  ~TasksOfACrew() override {
    for (ObjectEntry* result : results_) driver_.objects.Release(result);
  }
  void Submit(int count) {
    for (int i = 0; i < count; ++i) results_.push_back(driver_.Submit(tmpl_, {}));
  }
  void GrantAll() {
    while (!driver_.raylet.asked.empty()) driver_.raylet.Grant(AddressOf(++last_worker_));
  }
  // A round: each worker that does not sleep answers so many, or all do together.
  void Answer(size_t limit, uint32_t run_us, bool together = false) {
    std::map<Address, size_t> answered;
    size_t all = 0;
    std::deque<Letter> kept;  // older than what comes meanwhile
    for (std::deque<Letter> letters = std::exchange(world_.letters, {});
         const Letter& letter : letters) {
      const bool sleeps = sleeping_.contains(letter.to);
      if (sleeps && letter.type == FrameType::kStealTasks) GiveBack(letter.to, letters);
      if (letter.type != FrameType::kPushTask) continue;
      if (sleeps || (together ? all++ : answered[letter.to]++) >= limit) {
        kept.push_back(letter);
        continue;
      }
      Reply(letter, wire::TaskStatus::Ok, run_us);
    }
    std::erase_if(kept, [this](const Letter& old) { return handed_back_.contains(TagOf(old)); });
    handed_back_.clear();
    std::move(world_.letters.begin(), world_.letters.end(), std::back_inserter(kept));
    world_.letters = std::move(kept);
  }
  static uint64_t TagOf(const Letter& letter) {
    return flatbuffers::GetRoot<wire::PushTask>(letter.bytes.data())->tag();
  }
  void Reply(const Letter& letter, wire::TaskStatus status, uint32_t run_us) {
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateTaskReply(b, TagOf(letter), status, 0, 0, run_us));
    driver_.tasks.OnTaskReply(driver_.links.To(letter.to), driver_.slab.Find(TagOf(letter)),
                              *flatbuffers::GetRoot<wire::TaskReply>(b.GetBufferPointer()));
  }
  // All but the first, which runs.
  void GiveBack(const Address& worker, const std::deque<Letter>& letters) {
    bool first = true;
    for (const Letter& letter : letters) {
      if (letter.type != FrameType::kPushTask || letter.to != worker) continue;
      if (std::exchange(first, false)) continue;
      handed_back_.insert(TagOf(letter));
      Reply(letter, wire::TaskStatus::HandedBack, 0);
    }
  }
  void Run(int ms, size_t tasks, uint32_t run_us) {
    for (int i = 0; i < ms; ++i) {
      Pass(1000);
      Answer(tasks, run_us);
      GrantAll();
    }
  }
  int Workers() const { return last_worker_ - 1; }
  std::set<Address> Used() const {
    std::set<Address> used;
    for (const Letter& letter : world_.letters) {
      if (letter.type == FrameType::kPushTask) used.insert(letter.to);
    }
    return used;
  }
  void Pass(int64_t us) {
    world_.now_ns += us * 1000;
    driver_.tasks.Tick(world_.now_ns);
  }

  World world_{.now_ns = 1'000'000'000'000};
  Process driver_{world_, AddressOf(1)};
  TaskTemplate* const tmpl_ = driver_.slab.templates().Take();
  std::vector<ObjectEntry*> results_;
  std::set<Address> sleeping_;
  std::set<uint64_t> handed_back_;
  uint8_t last_worker_ = 1;
};

TEST_F(TasksOfACrew, AFewWorkersTakeShortTasks) {
  tmpl_->average_us = 2;
  Submit(50'000);
  GrantAll();
  EXPECT_EQ(Workers(), 4);
  Run(100, 100, 2);  // so the processors have other things to do most of the time
  EXPECT_EQ(Workers(), 4);
}

TEST_F(TasksOfACrew, OneInterruptedRunMakesThemNotLong) {
  tmpl_->average_us = 2;
  Submit(50'000);
  GrantAll();
  Answer(1, 2, true);
  Answer(1, 500'000, true);
  EXPECT_LT(tmpl_->average_us, 50);
  Answer(1, 2, true);
  Answer(1, 500'000, true);
  EXPECT_LT(tmpl_->average_us, 100);
  Answer(1, 500'000, true);
  EXPECT_GT(tmpl_->average_us, 50'000) << "the second in a row is believed";
}

TEST_F(TasksOfACrew, ItGrowsWhileThatBringsMoreAnswers) {
  tmpl_->average_us = 900;
  Submit(20'000);
  GrantAll();
  EXPECT_EQ(Workers(), 4);
  Run(300, 1, 900);  // each worker sleeps in its task
  EXPECT_GE(Workers(), 8);
  EXPECT_LE(Workers(), 30);
}

TEST_F(TasksOfACrew, ItStaysAsItIsWhenMoreBringNoMoreAnswers) {
  tmpl_->average_us = 900;
  Submit(20'000);
  GrantAll();
  for (int ms = 0; ms < 500; ++ms) {  // a processor and tasks of 250 us, in turns
    Pass(1000);
    const size_t workers = tmpl_->shape->leases.size();
    ASSERT_LE(workers, 6u);
    Answer(4, static_cast<uint32_t>(250 * workers), /*together=*/true);
    GrantAll();
  }
  EXPECT_LE(Workers(), 4 + 500 / 100) << "each try brings one, which is let go of later";
}

TEST_F(TasksOfACrew, ItIsSmallAgainAfterAWhile) {
  tmpl_->average_us = 900;
  Submit(300);
  GrantAll();
  Run(300, 1, 900);
  ASSERT_GT(Workers(), 4);
  ASSERT_TRUE(results_.back()->ready());
  Pass(60'000'000);
  tmpl_->average_us = 2;
  const int before = Workers();
  Submit(50'000);
  GrantAll();
  EXPECT_EQ(Workers() - before, 4);
}

TEST_F(TasksOfACrew, OthersComeAtOnceWhenItWaits) {
  tmpl_->average_us = 10;
  Submit(10'000);
  GrantAll();
  ASSERT_EQ(Workers(), 4);
  Pass(30'000);  // in which none answers
  GrantAll();
  EXPECT_EQ(Workers(), 8);
}

TEST_F(TasksOfACrew, WhatIsBehindATaskThatWaitsGoesToTheOthers) {
  tmpl_->average_us = 100;
  Submit(200'000);
  GrantAll();
  const std::vector<ObjectEntry*> first(results_.begin(), results_.begin() + 200);
  sleeping_.insert(AddressOf(2));
  Run(60, 10, 20);
  int waiting = 0;
  for (const ObjectEntry* result : first) waiting += result->ready() ? 0 : 1;
  EXPECT_EQ(waiting, 1) << "the one that sleeps";
  EXPECT_EQ(Workers(), 5) << "another took its place";
}

TEST_F(TasksOfACrew, WorkersThatAreIdleStayIdleWhileItSuffices) {
  Submit(8);
  GrantAll();
  Answer(1, 10);
  ASSERT_EQ(Workers(), 8);
  Submit(100);
  EXPECT_EQ(Used().size(), 4u);
}

TEST_F(TasksOfACrew, WhatWasAskedForWhileTheyCouldBeLongIsCalledOff) {
  Submit(5000);
  EXPECT_EQ(driver_.raylet.asked.size(), 10u);
  for (int i = 0; i < 5; ++i) driver_.raylet.Grant(AddressOf(++last_worker_));
  EXPECT_EQ(driver_.raylet.cancelled, 0);
  Answer(1, 10);
  EXPECT_GE(driver_.raylet.cancelled, 5);
}

TEST_F(TasksOfACrew, LongOnesGetAsManyWorkersAsTheyAre) {
  tmpl_->average_us = 50'000;
  Submit(30);
  GrantAll();
  EXPECT_EQ(Workers(), 30);
}

TEST_F(TasksOfACrew, DemandsThatNodesBoundGetAsManyAsTheseHave) {
  ResourceSet slot;
  slot.Set("slot", kResourceUnit);
  for (TaskTemplate* tmpl : {driver_.slab.templates().Take(), driver_.slab.templates().Take()}) {
    tmpl->average_us = 1500;
    const bool first = tmpl->id % 2 == 0;
    tmpl->shape = first ? driver_.tasks.FindShape({.demand = slot})
                        : driver_.tasks.FindShape({.strategy = 1});  // spread
    const int before = Workers();
    for (int i = 0; i < 100; ++i) results_.push_back(driver_.Submit(tmpl, {}));
    GrantAll();
    EXPECT_GE(Workers() - before, 20);
  }
}

}  // namespace
}  // namespace cyray::core
