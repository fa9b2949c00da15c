// ExecLane: callers take turns, and each one's tasks keep their order.

#include "cyray/core/exec_lane.h"

#include <gmock/gmock.h>

#include <deque>
#include <map>
#include <memory>
#include <random>
#include <vector>

namespace cyray::core {
namespace {

using testing::ElementsAre;

WorkerId Caller(uint8_t number) {
  WorkerId id;
  id.bytes[0] = number;
  return id;
}
std::unique_ptr<ExecTask> Task(uint8_t caller, uint64_t tag, uint32_t missing = 0) {
  auto task = std::make_unique<ExecTask>();
  task->submitter = Caller(caller);
  task->tag = tag;
  task->missing = missing;
  return task;
}
bool IsThere(const ExecTask& task) { return task.missing == 0; }
uint64_t TakeOne(ExecLane& lane, bool in_order = true) {
  bool was_first = false;
  auto task = lane.Take(in_order, &was_first, IsThere);
  return task ? task->tag : 0;
}

TEST(ExecLane, CallersTakeTurnsHoweverManyTasksOneOfThemHas) {
  ExecLane lane;
  for (uint64_t tag = 1; tag <= 4; ++tag) lane.Add(Task(1, tag));
  EXPECT_EQ(TakeOne(lane), 1u);
  lane.Add(Task(2, 10));
  lane.Add(Task(3, 20));
  lane.Add(Task(2, 11));
  std::vector<uint64_t> order;
  while (const uint64_t tag = TakeOne(lane)) order.push_back(tag);
  EXPECT_THAT(order, ElementsAre(2, 10, 20, 3, 11, 4));
}

TEST(ExecLane, ACallerWhoseFirstTaskWaitsIsPassedOverAndKeepsItsOrder) {
  ExecLane lane;
  lane.Add(Task(1, 1, /*missing=*/1));
  lane.Add(Task(1, 2));
  lane.Add(Task(2, 10));
  EXPECT_EQ(TakeOne(lane), 10u);
  EXPECT_EQ(TakeOne(lane), 0u);
  EXPECT_FALSE(lane.Has(/*in_order=*/true, IsThere));
  EXPECT_TRUE(lane.Has(/*in_order=*/false, IsThere));
  bool was_first = true;
  EXPECT_EQ(lane.Take(/*in_order=*/false, &was_first, IsThere)->tag, 2u);
  EXPECT_FALSE(was_first);
  EXPECT_EQ(lane.size(), 1u);
}

// Against a model: whatever is added, taken and removed, each caller's tasks come in order, nothing
// is lost, and nobody waits for more turns than there are callers.
TEST(ExecLane, NobodyWaitsForMoreTurnsThanThereAreCallers) {
  std::mt19937 random(7);
  ExecLane lane;
  std::map<uint8_t, std::deque<uint64_t>> model;
  std::map<uint8_t, int> passed_over;
  uint64_t next = 1;
  constexpr int kCallers = 5;
  for (int step = 0; step < 20'000; ++step) {
    const auto caller = static_cast<uint8_t>(1 + random() % kCallers);
    const size_t dice = random() % 100;
    if (dice < 50) {
      model[caller].push_back(next);
      lane.Add(Task(caller, next++));
    } else if (dice < 95) {
      bool was_first = false;
      auto task = lane.Take(/*in_order=*/true, &was_first, IsThere);
      if (!task) continue;
      const uint8_t whose = task->submitter.bytes[0];
      ASSERT_EQ(model[whose].front(), task->tag);
      model[whose].pop_front();
      for (const auto& [other, tasks] : model) {
        passed_over[other] = other == whose || tasks.empty() ? 0 : passed_over[other] + 1;
        ASSERT_LT(passed_over[other], kCallers);
      }
    } else if (dice < 98 && !model[caller].empty()) {
      const size_t at = random() % model[caller].size();
      const uint64_t tag = model[caller][at];
      ASSERT_NE(lane.Find(Caller(caller), tag), nullptr);
      ASSERT_EQ(lane.Remove(Caller(caller), tag)->tag, tag);
      ASSERT_EQ(lane.Find(Caller(caller), tag), nullptr);
      model[caller].erase(model[caller].begin() + static_cast<ptrdiff_t>(at));
    } else {
      const size_t all_but = random() % 3;
      for (const auto& task : lane.TakeFrom(Caller(caller), all_but)) {
        ASSERT_EQ(task->tag, model[caller][all_but]);
        model[caller].erase(model[caller].begin() + static_cast<ptrdiff_t>(all_but));
      }
      lane.Forget(Caller(caller));  // if it has none left
    }
    size_t size = 0;
    for (const auto& [whose, tasks] : model) {
      size += tasks.size();
      if (tasks.empty()) passed_over[whose] = 0;  // it comes back as the last
    }
    ASSERT_EQ(lane.size(), size);
  }
  const size_t left = lane.size();
  EXPECT_EQ(lane.TakeAll().size(), left);
  EXPECT_TRUE(lane.empty());
}

}  // namespace
}  // namespace cyray::core
