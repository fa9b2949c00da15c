// Tests of WorkerPool.

#include "cyray/raylet/worker_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace cyray::raylet {
namespace {

const JobId kJob = JobId::FromBytes("AAAA");
const JobId kOther = JobId::FromBytes("BBBB");

WorkerId AddIdle(WorkerPool& pool, int64_t now = 0) {
  const WorkerId id = WorkerId::Random();
  pool.Started(id);
  pool.Registered(id, now);
  return id;
}

TEST(WorkerPool, PrestartsAsManyAsToldAndNoMore) {
  WorkerPool pool(2, 2);
  EXPECT_EQ(pool.WorkersToPrestart(), 2);
  pool.Started(WorkerId::Random());
  AddIdle(pool);
  EXPECT_EQ(pool.WorkersToPrestart(), 0);
}

TEST(WorkerPool, StartsOnlyWhatIsMissing) {
  WorkerPool pool(0, 2);
  EXPECT_EQ(pool.WorkersToStart({{{kJob, {}}, 2}}, 10'000), 2);
  pool.Started(WorkerId::Random());
  EXPECT_EQ(pool.WorkersToStart({{{kJob, {}}, 2}}, 10'000), 1);
  AddIdle(pool);
  EXPECT_EQ(pool.WorkersToStart({{{kJob, {}}, 2}}, 10'000), 0);
  EXPECT_EQ(pool.WorkersToStart({}, 10'000), 0);
}

TEST(WorkerPool, AWorkerBelongsToItsFirstJobForGood) {
  WorkerPool pool(0, 2);
  const WorkerId id = AddIdle(pool);
  const auto taken = pool.Take({kJob, {}}, false, 0);
  ASSERT_TRUE(taken);
  EXPECT_TRUE(taken->newly_bound);
  ASSERT_TRUE(pool.PutBack(id, 1));
  EXPECT_FALSE(pool.Take({kOther, {}}, false, 2));
  const auto again = pool.Take({kJob, {}}, false, 2);
  ASSERT_TRUE(again);
  EXPECT_FALSE(again->newly_bound);
  EXPECT_EQ(pool.WorkersToStart({{{kOther, {}}, 1}}, 10'000), 1);
}

TEST(WorkerPool, OneThatDeclinedAnActorIsNotCountedForOne) {
  WorkerPool pool(0, 2);
  const WorkerId id = AddIdle(pool);
  ASSERT_TRUE(pool.Take({kJob, {}}, /*for_actor=*/true, 0));
  pool.Decline(id, 0);
  pool.CheckInvariants();
  EXPECT_FALSE(pool.Take({kJob, {}}, /*for_actor=*/true, 0));
  EXPECT_GE(pool.WorkersToStart({{{kJob, {}}, 1}}, 10'000), 1) << "the actor waits for a fresh one";
  ASSERT_TRUE(pool.Take({kJob, {}}, /*for_actor=*/false, 0));
  ASSERT_TRUE(pool.PutBack(id, 1));
  EXPECT_TRUE(pool.Take({kJob, {}}, /*for_actor=*/true, 1));
  pool.Decline(WorkerId::Random(), 1);
  pool.CheckInvariants();
}

TEST(WorkerPool, TheJobsOwnWarmWorkerComesBeforeAnUnboundOne) {
  WorkerPool pool(0, 2);
  const WorkerId first = AddIdle(pool);
  pool.Take({kJob, {}}, false, 0);
  pool.PutBack(first, 1);
  AddIdle(pool, 2);
  EXPECT_EQ(pool.Take({kJob, {}}, false, 3)->worker, first);
}

TEST(WorkerPool, SparesAreStartedWhileActorsAreCreated) {
  WorkerPool pool(0, 2);
  AddIdle(pool);
  EXPECT_EQ(pool.WorkersToStart({}, 10'000), 0);
  ASSERT_TRUE(pool.Take({kJob, {}}, /*for_actor=*/true, 10'000));
  EXPECT_EQ(pool.WorkersToStart({}, 10'500), 2);
  EXPECT_EQ(pool.WorkersToStart({}, 11'500), 0);
}

TEST(WorkerPool, WorkersIdleBeyondTheLimitLeaveAfterASecond) {
  WorkerPool pool(0, 1);
  const WorkerId oldest = AddIdle(pool, 100);
  AddIdle(pool, 200);
  EXPECT_EQ(pool.NextExpiryMs(300), 800);
  EXPECT_TRUE(pool.TakeExpired(1000).empty());
  EXPECT_EQ(pool.TakeExpired(1100), (std::vector<WorkerId>{oldest}));
  EXPECT_EQ(pool.NextExpiryMs(5000), -1);
  EXPECT_FALSE(pool.PutBack(oldest, 1200));
  pool.CheckInvariants();
}

TEST(WorkerPool, AWorkerThatCannotLeaveIsIdleAgainBehindTheOthers) {
  WorkerPool pool(0, 1);
  const WorkerId owner = AddIdle(pool, 100);
  const WorkerId other = AddIdle(pool, 200);
  ASSERT_EQ(pool.TakeExpired(1200), (std::vector<WorkerId>{owner}));
  EXPECT_FALSE(pool.Take({kJob, {}}, false, 1200).value().worker == owner);
  ASSERT_TRUE(pool.PutBack(other, 1250));
  pool.Stay(owner, 1300);
  pool.CheckInvariants();
  EXPECT_EQ(pool.TakeExpired(2250), (std::vector<WorkerId>{other}));
  AddIdle(pool, 2250);
  EXPECT_TRUE(pool.TakeExpired(11'299).empty());
  EXPECT_EQ(pool.TakeExpired(11'300), (std::vector<WorkerId>{owner}));
  pool.Stay(owner, 11'300);
  pool.Stay(WorkerId::Random(), 2300);
  ASSERT_TRUE(pool.Take({kJob, {}}, false, 2300).has_value());
  EXPECT_TRUE(pool.Take({kJob, {}}, false, 2300).has_value());
  pool.Stay(owner, 2400);  // it has work: nobody asked it
  EXPECT_EQ(pool.Find(owner)->state, WorkerState::kLeased);
  pool.CheckInvariants();
}

TEST(WorkerPool, AnExitingWorkerIsNotUsedAgain) {
  WorkerPool pool(0, 2);
  const WorkerId id = AddIdle(pool);
  pool.Take({kJob, {}}, false, 0);
  pool.MarkExiting(id);
  EXPECT_FALSE(pool.PutBack(id, 1));
  EXPECT_FALSE(pool.Take({kJob, {}}, false, 2));
}

TEST(WorkerPool, AJobWithAPythonOfItsOwnGetsOnlyWorkersThatWereStartedForIt) {
  WorkerPool pool(0, 2);
  AddIdle(pool);
  EXPECT_FALSE(pool.Take({kJob, {}}, false, 0, /*own_python=*/true));
  EXPECT_EQ(pool.WorkersToStartFor({kJob, {}}, 2), 2);
  const WorkerId own = WorkerId::Random();
  pool.Started(own, kJob);
  EXPECT_EQ(pool.WorkersToStartFor({kJob, {}}, 2), 1);
  EXPECT_EQ(pool.WorkersToStart({{{kOther, {}}, 2}}, 10'000), 1) << "it is nobody else's";
  pool.Registered(own, 1);
  EXPECT_EQ(pool.WorkersToStartFor({kJob, {}}, 2), 1);
  EXPECT_NE(pool.Take({kOther, {}}, false, 2)->worker, own);
  const auto taken = pool.Take({kJob, {}}, false, 2, true);
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->worker, own);
  EXPECT_FALSE(taken->newly_bound);
  EXPECT_EQ(pool.WorkersOfJob(kJob, false), std::vector<WorkerId>{own});
  EXPECT_EQ(pool.WorkersToStartFor({kJob, {}}, 100), 4) << "not all at once";
  pool.CheckInvariants();
}

TEST(WorkerPool, RandomLifeKeepsTheBooks) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  WorkerPool pool(2, 2);
  std::vector<WorkerId> all;
  for (int64_t now = 0; now < 30'000; ++now) {
    const WorkerId some = all.empty() ? WorkerId::Nil() : all[random() % all.size()];
    switch (random() % 8) {
      case 0:
        if (all.size() < 20) {
          all.push_back(WorkerId::Random());
          pool.Started(all.back(), random() % 4 == 0 ? kOther : JobId::Nil());
        }
        break;
      case 1:
        pool.Registered(some, now);
        break;
      case 2:
        if (auto taken = random() % 2 ? pool.Take({kJob, {}}, random() % 5 == 0, now)
                                      : pool.Take({kOther, {}}, random() % 5 == 0, now, true)) {
          EXPECT_TRUE(pool.Find(taken->worker)->state == WorkerState::kLeased ||
                      pool.Find(taken->worker)->state == WorkerState::kActor);
        }
        break;
      case 3:
        pool.PutBack(some, now);
        break;
      case 4:
        if (random() % 4 == 0) pool.MarkExiting(some);
        break;
      case 5:
        if (random() % 3 == 0) {
          pool.Remove(some);
          std::erase(all, some);
        }
        break;
      case 6:
        for (const WorkerId& gone : pool.TakeExpired(now)) {
          EXPECT_EQ(pool.Find(gone)->state, WorkerState::kExiting);
        }
        break;
      default:
        EXPECT_GE(pool.WorkersToStart({{{kJob, {}}, static_cast<int>(random() % 3)}}, now), 0);
    }
    pool.CheckInvariants();
  }
}

}  // namespace
}  // namespace cyray::raylet
