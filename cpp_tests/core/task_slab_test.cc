// TaskSlab, TemplateTable and TaskIds: tags name one task for ever; slots, and ids of templates,
// are used again.

#include "cyray/core/task_slab.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <unordered_map>
#include <vector>

#include "cyray/core/task_ids.h"

namespace cyray::core {
namespace {

TEST(TaskSlab, ATagFindsItsTaskUntilTheTaskIsFreed) {
  TaskSlab slab;
  PendingTask* task = slab.New();
  const uint64_t tag = task->tag();
  EXPECT_EQ(slab.Find(tag), task);
  EXPECT_EQ(slab.AtSlot(task->slot), task);
  slab.Free(task);
  EXPECT_EQ(slab.Find(tag), nullptr);
}

TEST(TaskSlab, ASlotUsedAgainHasAnotherTagAndNothingOfTheOldTask) {
  TaskSlab slab;
  PendingTask* task = slab.New();
  const uint64_t tag = task->tag();
  task->attempt = 3;
  task->unresolved = 2;
  task->args = ValuePtr(Value::Copy("x", 1));
  task->name = std::make_unique<std::string>("named");
  task->refs.resize(100);
  slab.Free(task);
  PendingTask* next = slab.New();
  EXPECT_EQ(next, task);
  EXPECT_NE(next->tag(), tag);
  EXPECT_EQ(next->attempt + next->unresolved, 0u);
  EXPECT_FALSE(next->args || next->name);
  EXPECT_TRUE(next->refs.empty());
  EXPECT_LE(next->refs.capacity(), 8u);
}

TEST(TemplateTable, AnIdIsUsedAgainWhenNobodyUsesItsTemplate) {
  TaskSlab slab;
  TemplateTable& templates = slab.templates();
  Shape shape;
  TaskTemplate* one = templates.Take();
  TaskTemplate* other = templates.Take();
  EXPECT_EQ(one->id, 0u);
  EXPECT_EQ(other->id, 1u);
  one->shape = &shape;
  one->average_us = 7;
  shape.templates = 1;
  PendingTask* task = slab.New();
  task->tmpl = one;
  TemplateTable::Use(one);
  templates.Drop(one);
  EXPECT_EQ(templates.in_use(), 2u) << "the task uses it";
  EXPECT_EQ(shape.templates, 1u);
  const uint32_t id = one->id, version = one->version;
  slab.Free(task);
  EXPECT_EQ(templates.in_use(), 1u);
  EXPECT_EQ(shape.templates, 0u);
  TaskTemplate* next = templates.Take();
  EXPECT_EQ(next->id, id);
  EXPECT_NE(next->version, version);
  EXPECT_LT(next->average_us, 0);
  EXPECT_EQ(next->shape, nullptr);
  for (int i = 0; i < 1000; ++i) templates.Drop(templates.Take());
  EXPECT_EQ(templates.most_in_use(), 3u);
}

TEST(TaskSlab, TagsThatWereNeverGivenFindNothing) {
  TaskSlab slab;
  EXPECT_EQ(slab.Find(0), nullptr);
  slab.New();
  EXPECT_EQ(slab.Find(uint64_t{1} << 32), nullptr);
  EXPECT_EQ(slab.Find(UINT64_MAX), nullptr);
}

TEST(TaskSlab, RandomUseAgreesWithAMap) {
  constexpr uint64_t kSeed = 20;
  std::mt19937_64 random(kSeed);
  TaskSlab slab;
  std::unordered_map<uint64_t, PendingTask*> live;
  std::vector<uint64_t> ever;
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 5 < 3 || live.empty()) {
      PendingTask* task = slab.New();
      ASSERT_TRUE(live.emplace(task->tag(), task).second) << "seed " << kSeed;
      ever.push_back(task->tag());
    } else {
      auto it = live.begin();
      slab.Free(it->second);
      live.erase(it);
    }
    const uint64_t tag = ever[random() % ever.size()];
    const auto it = live.find(tag);
    ASSERT_EQ(slab.Find(tag), it == live.end() ? nullptr : it->second) << "seed " << kSeed;
    ASSERT_EQ(slab.live(), live.size());
  }
}

TEST(TaskIds, IdsAreDistinctAndCarryTheJob) {
  TaskIds ids;
  JobId job;
  job.bytes = {1, 2, 3, 4};
  ids.Reset(job);
  std::set<TaskId> seen;
  for (int i = 0; i < 1'000; ++i) {
    const TaskId id = ids.Next();
    EXPECT_TRUE(seen.insert(id).second);
    EXPECT_EQ(JobId::FromBytes(id.data() + 12), job);
  }
}

TEST(TaskIds, ActorsFollowEachOtherInTheOrderOfBytes) {
  TaskIds ids, others;
  JobId job;
  job.bytes = {1, 2, 3, 4};
  ids.Reset(job);
  others.Reset(job);
  std::set<ActorId> of_others;
  for (int i = 0; i < 1'000; ++i) of_others.insert(others.NextActor());
  EXPECT_EQ(of_others.size(), 1'000u);
  const ActorId first = ids.NextActor();
  EXPECT_EQ(JobId::FromBytes(first.data() + 12), job);
  ActorId last = first;
  for (int i = 0; i < 1'000; ++i) {
    const ActorId next = ids.NextActor();
    EXPECT_LT(last.view(), next.view());
    last = next;
  }
  // Those of another process are not in between.
  const auto after = of_others.lower_bound(first);
  EXPECT_TRUE(after == of_others.end() || *after > last);
}

}  // namespace
}  // namespace cyray::core
