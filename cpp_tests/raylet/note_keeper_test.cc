// Tests of NoteKeeper: what became of tasks is counted beyond the lives of their processes.

#include "cyray/raylet/note_keeper.h"

#include <gtest/gtest.h>

namespace cyray::raylet {
namespace {

using enum wire::TaskCount;

WorkerId Worker(uint8_t number) {
  WorkerId id;
  id.bytes[0] = number;
  return id;
}

class NoteKeeperTest : public testing::Test {
 protected:
  wire::TaskNotes Share(uint8_t worker) {
    return *wire::TaskNotes::Map(*keeper_.Share(Worker(worker)));
  }
  NoteKeeper keeper_;
};

TEST_F(NoteKeeperTest, LivingProcessesAreSummedUp) {
  const wire::TaskNotes one = Share(1), two = Share(2);
  one.tally().Add(kRunning, 2);
  two.tally().Add(kRunning);
  two.tally().Add(kUnfinished, 5);
  two.tally().Add(kUnfinished, -1);
  EXPECT_EQ(keeper_.Counts()[kRunning], 3u);
  EXPECT_EQ(keeper_.Counts()[kUnfinished], 4u);
}

TEST_F(NoteKeeperTest, WhatADeadProcessRanHasFailedAndWhatItFinishedStays) {
  const wire::TaskNotes one = Share(1), two = Share(2);
  one.tally().Add(kFinished, 10);
  one.tally().Add(kFailed, 3);
  one.tally().Add(kRunning, 2);
  one.tally().Add(kQueued, 7);
  one.tally().Add(kUnfinished, 7);
  two.tally().Add(kFinished);
  (void)keeper_.Take(Worker(1));
  (void)keeper_.Take(Worker(1));  // once
  const wire::TaskCounts counts = keeper_.Counts();
  EXPECT_EQ(counts[kFinished], 11u);
  EXPECT_EQ(counts[kFailed], 5u);
  EXPECT_EQ(counts[kRunning], 0u);
  EXPECT_EQ(counts[kQueued], 0u);
  EXPECT_EQ(counts[kUnfinished], 0u);
}

TEST_F(NoteKeeperTest, WhatADeadWorkerHasBegunIsTold) {
  wire::TaskNotes one = Share(1);
  (void)one.Begin(Worker(9), 4);
  const auto noted = keeper_.Take(Worker(1));
  ASSERT_EQ(noted.begun.size(), 1u);
  EXPECT_EQ(noted.begun[0].tag, 4u);
  EXPECT_FALSE(keeper_.Take(Worker(1)).begun_known);
}

}  // namespace
}  // namespace cyray::raylet
