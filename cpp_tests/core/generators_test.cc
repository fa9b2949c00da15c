// Generators: items between a producer, which the test plays, and consumers, against a model: every
// item is taken once and in order, whatever attempts, deaths, cancellations and drops come between.
// A failing run prints its seed.

#include "cyray/core/generators.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <set>

#include "cpp_tests/core/random_run.h"

namespace cyray::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using wire::FrameType;
using wire::TaskStatus;

class GeneratorsFake : public RandomRun {
 public:
  explicit GeneratorsFake(uint64_t seed = 0) : RandomRun(seed) {}

 protected:
  void Step() override {}
  void Observe() override {}
  void Settle() override {}

  // A generator with the test's count, which alone holds it.
  ObjectEntry* Generate(TaskTemplate* tmpl) {
    if (tmpl->yields == wire::Yields::None) tmpl->yields = wire::Yields::Items;
    PendingTask* task = slab_.New();
    task->id = ids_.Next();
    task->tmpl = tmpl;
    TemplateTable::Use(tmpl);
    task->retries_left = tmpl->max_retries;
    ObjectEntry* entry = objects_.NewOwned(ObjectId(task->id, 1));
    if (tmpl->yields == wire::Yields::Gathered) {
      objects_.AddRef(entry);
      task->Makes(entry);
    }
    completion_.generators().Begin(task, entry);
    tasks_.Submit(task);
    return entry;
  }
  // What Submitter does.
  void GeneratorDropped(const ObjectId& id, PendingTask* maker) override {
    completion_.generators().Drop(id, maker);
    if (maker != nullptr) unwanted_.push_back(maker->tag());
  }
  void CancelUnwanted() {
    for (const uint64_t tag : std::exchange(unwanted_, {})) {
      if (PendingTask* task = slab_.Find(tag)) tasks_.Cancel(task, {.recursive = true});
    }
  }

  struct Pushed {
    uint64_t tag, items_there, items_taken;
    uint32_t attempt;
    TaskId id;
  };
  std::vector<Pushed> Pushes(uint8_t worker) {
    links_.FlushDirty();
    std::vector<Pushed> pushes;
    for (const GotFrame& frame : worker_ends_[worker]->Take(FrameType::kPushTask)) {
      const auto* push = frame.As<wire::PushTask>();
      pushes.push_back({push->tag(), push->items_there(), push->items_taken(), push->attempt(),
                        wire::FromWire(*push->task_id())});
    }
    return pushes;
  }
  std::vector<uint64_t> ToldTaken(uint8_t worker) {
    links_.FlushDirty();
    std::vector<uint64_t> counts;
    for (const GotFrame& frame : worker_ends_[worker]->Take(FrameType::kItemsTaken)) {
      counts.push_back(frame.As<wire::ItemsTaken>()->count());
    }
    return counts;
  }
  void SendItem(uint8_t worker, const Pushed& push, uint64_t number, size_t bytes = 1,
                bool stored = false) {
    worker_ends_[worker]->Send(FrameType::kStreamItem, [&](auto& b) {
      const std::string text = std::to_string(number) + std::string(bytes, ' ');
      const NodeId node = self_.node;
      const auto value =
          stored
              ? wire::CreateReturnValue(b, 0, 200'000, wire::ToWire(node))
              : wire::CreateReturnValue(
                    b, b.CreateVector(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
      return wire::CreateStreamItem(b, push.tag, push.attempt, number, wire::ToWire(push.id),
                                    value);
    });
    for (int i = 0; i < 2; ++i)
      links_.OnReady(LinkTo(worker), EPOLLIN);  // a large one comes in two
  }
  void EndsWith(uint8_t worker, const Pushed& push, uint64_t items,
                TaskStatus status = TaskStatus::Ok, bool retry = false) {
    worker_ends_[worker]->Send(FrameType::kTaskReply, [&](auto& b) {
      flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::ReturnValue>>> returns;
      if (status == TaskStatus::Error) {
        const uint8_t bytes[] = {7, 7};
        const auto value = wire::CreateReturnValue(b, b.CreateVector(bytes, 2), 0, nullptr, true);
        returns = b.CreateVector(&value, 1);
      }
      return wire::CreateTaskReply(b, push.tag, status, returns, 0, 10, retry, nullptr, items);
    });
    links_.OnReady(LinkTo(worker), EPOLLIN);
  }
  ItemStream* StreamOf(const ObjectEntry* generator) {
    return completion_.generators().Find(generator->id);
  }
  // What Submitter does for a consumer.
  ObjectEntry* Take(ObjectEntry* generator) {
    ObjectEntry* item = StreamOf(generator)->Take();
    if (item != nullptr && generator->maker != nullptr) {
      const PendingTask& task = *generator->maker;
      if (task.place == Place::kInFlight) completion_.TellTaken(*task.lease->link, task);
    }
    return item;
  }
  static uint64_t NumberIn(const ObjectEntry* item) {
    return std::stoull(
        std::string(reinterpret_cast<const char*>(item->value->data()), item->value->size()));
  }
  uint64_t TakeNumber(ObjectEntry* generator) {
    ObjectEntry* item = Take(generator);
    if (item == nullptr) return UINT64_MAX;
    const uint64_t number = NumberIn(item);
    objects_.Release(item);
    return number;
  }

  std::vector<uint64_t> unwanted_;
};

class GeneratorsTest : public GeneratorsFake {
 protected:
  GeneratorsTest() { AddWorker(10); }
  // One that runs on worker 10.
  std::pair<ObjectEntry*, Pushed> Begin() {
    ObjectEntry* generator = Generate(MakeTemplate());
    GrantFirst(1, 10);
    return {generator, Pushes(10).at(0)};
  }
};

TEST_F(GeneratorsTest, ItemsAreTakenInOrderAndThenThereAreNoMore) {
  const auto [generator, push] = Begin();
  EXPECT_EQ(Take(generator), nullptr);
  ObjectEntry* awaited = StreamOf(generator)->Look();
  EXPECT_FALSE(awaited->ready());
  EXPECT_EQ(awaited->maker, generator->maker);
  SendItem(10, push, 0);
  SendItem(10, push, 1);
  EXPECT_TRUE(awaited->ready());
  ObjectEntry* first = Take(generator);
  EXPECT_EQ(first, awaited);
  EXPECT_EQ(first->maker, nullptr);
  Release({awaited, first});
  ObjectEntry* last = StreamOf(generator)->Look();
  EXPECT_EQ(TakeNumber(generator), 1u);
  ObjectEntry* none = StreamOf(generator)->Look();
  EndsWith(10, push, 2);
  EXPECT_TRUE(StreamOf(generator)->exhausted());
  EXPECT_EQ(KindOf(none), ErrorKind::kEndOfStream);
  EXPECT_TRUE(generator->ready() && !generator->is_error);
  EXPECT_EQ(NumberIn(last), 1u) << "who looked keeps it";
  Release({none, last, generator});
  EXPECT_EQ(completion_.generators().size(), 0u);
  ExpectAllAnswered();
  EXPECT_EQ(objects_.size(), 0u);
}

TEST_F(GeneratorsTest, AnErrorIsTheLastItemAndTheGenerators) {
  const auto [generator, push] = Begin();
  SendItem(10, push, 0);
  EndsWith(10, push, 1, TaskStatus::Error);
  EXPECT_EQ(TakeNumber(generator), 0u);
  ObjectEntry* error = Take(generator);
  EXPECT_TRUE(error->is_error && generator->is_error);
  EXPECT_TRUE(StreamOf(generator)->exhausted());
  Release({error, generator});
  EXPECT_EQ(objects_.size(), 0u);
}

TEST_F(GeneratorsTest, AnAnswerThatDoesNotFitTheItemsIsAnError) {
  const auto [generator, push] = Begin();
  SendItem(10, push, 0);
  SendItem(10, push, 2);  // nonsense
  EndsWith(10, push, 3);
  EXPECT_EQ(TakeNumber(generator), 0u);
  ObjectEntry* error = Take(generator);
  EXPECT_EQ(KindOf(error), ErrorKind::kInternal);
  Release({error, generator});
  EXPECT_EQ(objects_.size(), 0u);
}

TEST_F(GeneratorsTest, ANewAttemptIsToldWhatIsThereAndLateItemsOfTheOldOneCountForNothing) {
  AddWorker(11);
  ObjectEntry* generator = Generate(MakeTemplate(/*max_retries=*/1));
  GrantFirst(1, 10);
  const Pushed first = Pushes(10).at(0);
  for (uint64_t i = 0; i < 3; ++i) SendItem(10, first, i);
  EXPECT_EQ(TakeNumber(generator), 0u);
  Kill(10);
  BreakLease(10);
  GrantFirst(2, 11);
  const Pushed second = Pushes(11).at(0);
  EXPECT_EQ(second.items_there, 3u);
  EXPECT_EQ(second.items_taken, 1u);
  EXPECT_EQ(second.attempt, first.attempt + 1);
  Pushed late = second;
  late.attempt = first.attempt;
  SendItem(11, late, 3);
  SendItem(11, second, 3);
  EndsWith(11, second, 4);
  for (uint64_t i = 1; i < 4; ++i) EXPECT_EQ(TakeNumber(generator), i);
  EXPECT_TRUE(StreamOf(generator)->exhausted());
  // What the first attempt may have stored beyond what came.
  EXPECT_THAT(strays_, testing::Contains(std::pair(ItemStream::IdOf(first.id, 3), self_.node)));
  EXPECT_THAT(
      strays_,
      testing::Not(testing::Contains(std::pair(ItemStream::IdOf(first.id, 2), self_.node))));
  Release({generator});
  EXPECT_EQ(objects_.size(), 0u);
}

TEST_F(GeneratorsTest, TheProducerIsToldWhatWasTakenWhenItMatters) {
  TaskTemplate* tmpl = MakeTemplate();
  tmpl->max_ahead = 4;
  ObjectEntry* generator = Generate(tmpl);
  GrantFirst(1, 10);
  Pushed push = Pushes(10).at(0);
  for (uint64_t i = 0; i < 4; ++i) SendItem(10, push, i);
  EXPECT_EQ(TakeNumber(generator), 0u);
  EXPECT_THAT(ToldTaken(10), IsEmpty());
  EXPECT_EQ(TakeNumber(generator), 1u);
  EXPECT_THAT(ToldTaken(10), ElementsAre(2));
  EndsWith(10, push, 4);
  objects_.Release(generator);
  // By bytes, with any number of items.
  generator = Generate(MakeTemplate());
  push = Pushes(10).at(0);
  for (uint64_t i = 0; i < 16; ++i) SendItem(10, push, i, ItemStream::kTellBytes / 16);
  for (uint64_t i = 0; i < 15; ++i) EXPECT_EQ(TakeNumber(generator), i);
  EXPECT_THAT(ToldTaken(10), IsEmpty());
  EXPECT_EQ(TakeNumber(generator), 15u);
  EXPECT_THAT(ToldTaken(10), ElementsAre(16));
  EndsWith(10, push, 16);
  objects_.Release(generator);
  EXPECT_EQ(objects_.size(), 0u);
}

TEST_F(GeneratorsTest, WithTheLastHandleItsTaskIsCancelledAndItemsGo) {
  const auto [generator, push] = Begin();
  SendItem(10, push, 0);
  SendItem(10, push, 1);
  ObjectEntry* kept = Take(generator);
  EXPECT_EQ(TakeNumber(generator), 1u);
  ObjectEntry* awaited = StreamOf(generator)->Look();
  objects_.Release(generator);
  EXPECT_EQ(KindOf(awaited), ErrorKind::kTaskCancelled);
  EXPECT_EQ(awaited->maker, nullptr);
  CancelUnwanted();
  EXPECT_THAT(AskedToCancel(10), ElementsAre(push.tag));
  SendItem(10, push, 2, 1, /*stored=*/true);
  EXPECT_THAT(strays_, ElementsAre(std::pair(ItemStream::IdOf(push.id, 2), self_.node)));
  EndsWith(10, push, 3, TaskStatus::Cancelled);
  SendItem(10, push, 3, 1, /*stored=*/true);  // after its end
  EXPECT_THAT(strays_, SizeIs(2));
  Release({kept, awaited});
  ExpectAllAnswered();
  EXPECT_EQ(objects_.size(), 0u);
}

TEST_F(GeneratorsTest, GatheredOnesAreOneListAndGoOnWhenNobodyHoldsIt) {
  TaskTemplate* tmpl = MakeTemplate();
  tmpl->yields = wire::Yields::Gathered;
  ObjectEntry* all = Generate(tmpl);
  GrantFirst(1, 10);
  Pushed push = Pushes(10).at(0);
  SendItem(10, push, 0);
  SendItem(10, push, 1);
  EXPECT_FALSE(all->ready());
  EndsWith(10, push, 2);
  ASSERT_TRUE(all->ready() && !all->is_error);
  EXPECT_EQ(all->value->data()[0], static_cast<uint8_t>(ValueTag::kRefs));
  EXPECT_THAT(all->extra->contained, SizeIs(2));
  ObjectEntry* second = objects_.Find(ItemStream::IdOf(push.id, 1));
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(NumberIn(second), 1u);
  objects_.Release(all);
  EXPECT_EQ(objects_.size(), 0u);
  all = Generate(tmpl);
  push = Pushes(10).at(0);
  objects_.Release(all);
  CancelUnwanted();
  EXPECT_THAT(AskedToCancel(10), IsEmpty());
  SendItem(10, push, 0);
  EndsWith(10, push, 1);
  EXPECT_EQ(objects_.size(), 0u);
}

// --- Against a model
// --------------------------------------------------------------------------------

class GeneratorsRun : public GeneratorsFake {
 public:
  explicit GeneratorsRun(uint64_t seed) : GeneratorsFake(seed) { AddWorker(worker_); }

 private:
  struct Model {
    ObjectEntry* generator = nullptr;  // null: dropped
    uint64_t came = 0, taken = 0;
    bool ended = false, failed = false, cancelled = false;
    std::optional<Pushed> at;  // where it runs
    uint64_t sent = 0;         // there
  };

  void Step() override {
    const size_t dice = Below(100);
    if (dice < 10) return Begin();
    if (dice < 50) return Yield();
    if (dice < 75) return TakeOne();
    if (dice < 80) return LookAtOne();
    if (dice < 88) return EndOne();
    if (dice < 92) return DropOne();
    if (dice < 95) return CancelOne();
    if (dice < 97) return Die();
    CancelUnwanted();
  }
  Model* Any(const std::function<bool(const Model&)>& fits) {
    std::vector<Model*> some;
    for (auto& [tag, model] : models_) {
      if (fits(model)) some.push_back(&model);
    }
    return some.empty() ? nullptr : some[Below(some.size())];
  }
  static bool Runs(const Model& model) { return model.at.has_value() && !model.ended; }

  void Begin() {
    TaskTemplate* tmpl = MakeTemplate(static_cast<int>(Below(3)));
    tmpl->average_us = 10;  // several are pushed at once
    tmpl->max_ahead = static_cast<uint32_t>(Below(4));
    ObjectEntry* generator = Generate(tmpl);
    models_[generator->maker->tag()] = {.generator = generator};
  }
  void Yield() {
    Model* model = Any(Runs);
    if (model == nullptr) return;
    const bool counts = model->generator != nullptr && !model->failed;
    SendItem(worker_, *model->at, model->sent++, 1, /*stored=*/false);
    if (counts) ++model->came;
  }
  void TakeOne() {
    Model* model = Any([](const Model& one) { return one.generator != nullptr; });
    if (model == nullptr) return;
    ObjectEntry* item = Take(model->generator);
    if (model->taken < model->came) {
      ASSERT_NE(item, nullptr);
      EXPECT_EQ(NumberIn(item), model->taken++);
    } else if (item != nullptr) {
      EXPECT_TRUE(item->is_error && model->failed) << model->taken;
      model->failed = false;  // once
    }
    if (item != nullptr) objects_.Release(item);
  }
  void LookAtOne() {
    Model* model = Any([](const Model& one) { return one.generator != nullptr; });
    if (model == nullptr || StreamOf(model->generator)->exhausted()) return;
    ObjectEntry* item = StreamOf(model->generator)->Look();
    EXPECT_EQ(item->ready(), model->taken < model->came || model->failed);
    if (Chance(50)) return objects_.Release(item);
    looked_at_.push_back(item);
  }
  void EndOne() {
    Model* model = Any(Runs);
    if (model == nullptr) return;
    const bool fails = Chance(30);
    EndsWith(worker_, *model->at, model->sent,
             model->cancelled && Chance(50) ? TaskStatus::Cancelled
             : fails                        ? TaskStatus::Error
                                            : TaskStatus::Ok);
    model->ended = true;
    model->at.reset();
    if (model->generator != nullptr) model->failed = model->generator->is_error;
  }
  void DropOne() {
    Model* model = Any([](const Model& one) { return one.generator != nullptr; });
    if (model == nullptr) return;
    objects_.Release(std::exchange(model->generator, nullptr));
    model->cancelled = !model->ended;
  }
  void CancelOne() {
    Model* model = Any([](const Model& one) { return one.generator != nullptr && !one.ended; });
    if (model == nullptr) return;
    model->cancelled = true;
    tasks_.Cancel(model->generator->maker, {});
    Settled(*model);
  }
  void Settled(Model& model) {
    if (model.generator == nullptr || !model.generator->ready()) return;
    model.ended = true;
    model.at.reset();
    model.failed = model.generator->is_error;
  }
  void Die() {
    if (lease_ == 0) return;
    Kill(worker_);
    BreakLease(worker_);
    links_.Forget(WorkerAddress(worker_).worker);
    links_.FlushDirty();
    lease_ = 0;
    if (worker_ == UINT8_MAX) worker_ = 9;
    AddWorker(++worker_);
    for (auto& [tag, model] : models_) {
      model.at.reset();
      Settled(model);
      if (model.generator == nullptr && slab_.Find(tag) == nullptr) model.ended = true;
    }
  }

  void Observe() override {
    for (const GotFrame& frame : FromProcess(FrameType::kReturnLease)) {
      if (frame.As<wire::ReturnLease>()->lease_id() == lease_) lease_ = 0;
    }
    for (const GotFrame& frame : FromProcess(FrameType::kRequestLease)) requests_.push_back(frame);
    while (lease_ == 0 && !requests_.empty()) {
      lease_ = ++next_lease_;
      const GotFrame request = std::move(requests_.front());
      requests_.pop_front();
      Grant(request, lease_, worker_);
      for (const GotFrame& frame : FromProcess(FrameType::kReturnLease)) {
        if (frame.As<wire::ReturnLease>()->lease_id() == lease_) lease_ = 0;
      }
    }
    for (const Pushed& push : Pushes(worker_)) {
      Model& model = models_.at(push.tag);
      if (model.generator != nullptr) {
        EXPECT_EQ(push.items_there, model.came);
        EXPECT_EQ(push.items_taken, model.taken);
      }
      model.at = push;
      model.sent = push.items_there;
    }
    tasks_.CheckInvariants();
    objects_.CheckInvariants();
  }
  void Settle() override {
    for (ObjectEntry* item : looked_at_) objects_.Release(item);
    for (int round = 0; round < 10'000 && slab_.live() > 0; ++round) {
      CancelUnwanted();
      while (Any(Runs) != nullptr) EndOne();
      Observe();
      for (auto& [tag, model] : models_) {
        if (slab_.Find(tag) == nullptr) model.ended = true;
      }
    }
    EXPECT_EQ(slab_.live(), 0u);
    for (auto& [tag, model] : models_) {
      if (model.generator == nullptr) continue;
      while (!StreamOf(model.generator)->exhausted()) {
        ObjectEntry* item = Take(model.generator);
        ASSERT_NE(item, nullptr);
        if (model.taken < model.came) {
          EXPECT_EQ(NumberIn(item), model.taken++);
        } else {
          EXPECT_TRUE(item->is_error);
        }
        objects_.Release(item);
      }
      EXPECT_EQ(model.taken, model.came);
      objects_.Release(model.generator);
    }
    EXPECT_EQ(completion_.generators().size(), 0u);
    EXPECT_EQ(objects_.size(), 0u);
  }

  std::map<uint64_t, Model> models_;
  std::deque<GotFrame> requests_;
  std::vector<ObjectEntry*> looked_at_;
  uint64_t lease_ = 0, next_lease_ = 0;
  uint8_t worker_ = 10;
};

TEST(GeneratorsRandomTest, EveryItemIsTakenOnceAndInOrder) {
  for (uint64_t seed = 1; seed <= 300 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    GeneratorsRun(seed).Go(300);
  }
}

}  // namespace
}  // namespace cyray::core
