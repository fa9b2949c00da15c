// Tests of a LeaseScheduler whose requests have priorities, and come from several jobs.

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "cyray/raylet/lease_scheduler.h"

namespace cyray::raylet {
namespace {

const NodeId kSelf = NodeId::FromBytes("self----------------");

ResourceSet Cpu(int64_t count) {
  ResourceSet set;
  set.Set("CPU", count * kResourceUnit);
  return set;
}

class LeaseSchedulerPriorityTest : public ::testing::Test {
 protected:
  struct Asked {
    char job = 'a';
    int32_t priority = 0;
    int64_t cpus = 1;
    char client = '1';
  };
  uint64_t Ask(const Asked& asked) {
    LeaseRequest request;
    const uint64_t id = ++asked_;
    request.key = {ClientOf(asked), id};
    request.job = JobId::FromBytes((std::string("job") + asked.job).data());
    request.demand = request.held = Cpu(asked.cpus);
    request.priority = asked.priority;
    scheduler_.AddRequest(std::move(request), now_);
    return id;
  }
  static Address ClientOf(const Asked& asked) {
    const std::string name = std::string(1, asked.job) + asked.client + std::string(14, '-');
    return {kSelf, WorkerId::FromBytes(name.data())};
  }
  ScheduleActions Run() {
    ScheduleActions actions = scheduler_.Schedule(
        now_, [](const LeaseRequest&, const WorkerUse&) { return WorkerId::Random(); });
    scheduler_.CheckInvariants();
    return actions;
  }
  static std::vector<uint64_t> IdsOf(const ScheduleActions& actions) {
    std::vector<uint64_t> ids;
    for (const LeaseGrant& grant : actions.grants) ids.push_back(grant.key.id);
    return ids;
  }
  void Return(const LeaseGrant& grant) {
    ASSERT_TRUE(scheduler_.ReturnLease(grant.lease_id, grant.key.client));
  }

  LeaseScheduler scheduler_{kSelf, Cpu(2)};
  int64_t now_ = 0;
  uint64_t asked_ = 0;
};

using Ids = std::vector<uint64_t>;

TEST_F(LeaseSchedulerPriorityTest, AHigherOneGoesFirstWhenBothWait) {
  const auto low = Ask({.priority = -1});
  const auto normal = Ask({});
  const auto high = Ask({.priority = 5});
  EXPECT_EQ(IdsOf(Run()), (std::vector{high, normal}));
  EXPECT_EQ(scheduler_.pending_count(), 1u);
  (void)low;
}

TEST_F(LeaseSchedulerPriorityTest, AHigherOneHasLeasesOfALowerOneAskedBackHoweverFewTheseAre) {
  const auto first = Ask({.cpus = 1});
  Ask({.priority = 3, .cpus = 1});
  const auto granted = Run();
  ASSERT_EQ(granted.grants.size(), 2u);
  now_ = 10;
  Ask({.priority = 3, .cpus = 1});
  const auto actions = Run();
  ASSERT_EQ(actions.reclaims.size(), 1u) << "that of the lower one, though the higher one has one";
  for (const LeaseGrant& grant : granted.grants) {
    if (grant.key.id == first) {
      EXPECT_EQ(actions.reclaims[0].lease_id, grant.lease_id);
    }
  }
}

TEST_F(LeaseSchedulerPriorityTest, ALowerOneHasNoneOfAHigherOneAskedBack) {
  Ask({.priority = 3});
  Ask({.priority = 3});
  ASSERT_EQ(Run().grants.size(), 2u);
  now_ = 10;
  Ask({.client = '2'});
  EXPECT_TRUE(Run().reclaims.empty());
  now_ = 4000;
  EXPECT_TRUE(Run().reclaims.empty());
}

TEST_F(LeaseSchedulerPriorityTest, ALowerOneIsServedOnceInAWhile) {
  std::vector<LeaseGrant> leases;
  const auto low = Ask({.priority = -7, .client = '2'});
  int64_t served = -1;
  for (; now_ < 20'000 && served < 0; now_ += 50) {
    Ask({.priority = 9});
    Ask({.priority = 9});
    for (const LeaseGrant& grant : Run().grants) {
      if (grant.key.id == low) served = now_;
      leases.push_back(grant);
    }
    for (const LeaseGrant& lease : leases) Return(lease);
    leases.clear();
  }
  EXPECT_GT(served, 1000);
  EXPECT_LT(served, 6000);
}

TEST_F(LeaseSchedulerPriorityTest, ALowerOnesTurnComesThoughTheHigherOneKeepsItsLeases) {
  Ask({.priority = 1});
  Ask({.priority = 1});
  ASSERT_EQ(Run().grants.size(), 2u);
  Ask({.priority = 1});
  Ask({.client = '2'});
  now_ = 100;
  const auto waiting = Run();
  EXPECT_TRUE(waiting.reclaims.empty());
  EXPECT_GE(waiting.call_again_ms, 0);
  now_ = 5100;
  EXPECT_EQ(Run().reclaims.size(), 1u);
}

TEST_F(LeaseSchedulerPriorityTest, PrioritiesOfOneJobAreNothingToAnother) {
  for (int i = 0; i < 10; ++i) Ask({.job = 'a', .priority = 1000});
  const auto other = Ask({.job = 'b'});
  const Ids granted = IdsOf(Run());
  EXPECT_TRUE(std::find(granted.begin(), granted.end(), other) != granted.end());
}

TEST_F(LeaseSchedulerPriorityTest, JobsGetFairSharesHoweverManyClientsTheyHave) {
  scheduler_ = LeaseScheduler(kSelf, Cpu(4));
  for (char client = '1'; client <= '8'; ++client) Ask({.job = 'a', .client = client});
  for (int i = 0; i < 8; ++i) Ask({.job = 'b'});
  const auto actions = Run();
  ASSERT_EQ(actions.grants.size(), 4u);
  int of_a = 0;
  for (const LeaseGrant& grant : actions.grants) of_a += grant.key.id <= 8 ? 1 : 0;
  EXPECT_EQ(of_a, 2);
}

TEST_F(LeaseSchedulerPriorityTest, AJobThatCameLaterHasLeasesAskedBackUntilBothHaveAsMany) {
  scheduler_ = LeaseScheduler(kSelf, Cpu(4));
  for (char client = '1'; client <= '4'; ++client) Ask({.job = 'a', .client = client});
  ASSERT_EQ(Run().grants.size(), 4u);
  now_ = 10;
  for (char client = '1'; client <= '4'; ++client) Ask({.job = 'b', .client = client});
  EXPECT_EQ(Run().reclaims.size(), 2u);
}

TEST_F(LeaseSchedulerPriorityTest, WhoWaitsForWhatItSubmittedCountsForNothing) {
  Ask({.job = 'a'});
  Ask({.job = 'a'});
  const auto parents = Run().grants;
  ASSERT_EQ(parents.size(), 2u);
  for (const LeaseGrant& parent : parents) scheduler_.SetBlocked(parent.worker, true);
  Ask({.job = 'b'});
  Ask({.job = 'b'});
  ASSERT_EQ(Run().grants.size(), 2u);
  now_ = 10;
  Ask({.job = 'b'});
  const auto child = Ask({.job = 'a', .client = '2'});
  const auto actions = Run();
  ASSERT_EQ(actions.reclaims.size(), 1u) << "of the job that has the CPUs";
  ASSERT_TRUE(scheduler_.ReturnLease(actions.reclaims[0].lease_id, actions.reclaims[0].holder));
  EXPECT_EQ(IdsOf(Run()), std::vector{child});
}

TEST_F(LeaseSchedulerPriorityTest, ManyPrioritiesThatWaitAreNotLookedAtForEachLeaseThatEnds) {
  Ask({.priority = 1'000'000, .cpus = 2});
  const auto first = Run().grants;
  ASSERT_EQ(first.size(), 1u);
  for (int32_t priority = 0; priority < 5000; ++priority) {
    Ask({.priority = priority, .cpus = 2, .client = '2'});
  }
  now_ = 10;
  Run();
  const uint64_t before = scheduler_.looked_at();
  Return(first[0]);
  const auto next = Run();
  ASSERT_EQ(next.grants.size(), 1u);
  EXPECT_EQ(next.grants[0].key.id, asked_) << "the highest";
  EXPECT_LT(scheduler_.looked_at() - before, 500u);
}

TEST_F(LeaseSchedulerPriorityTest, AsManyAreServedAsThereIsRoomForWhateverTheirPriorities) {
  scheduler_ = LeaseScheduler(kSelf, Cpu(200));
  for (int32_t priority = 0; priority < 1000; ++priority) Ask({.priority = priority});
  EXPECT_EQ(Run().grants.size(), 200u);
}

TEST_F(LeaseSchedulerPriorityTest, LowerOnesUseWhatHigherOnesCannot) {
  for (int32_t priority = 1; priority <= 100; ++priority) Ask({.priority = priority, .cpus = 2});
  ASSERT_EQ(Run().grants.size(), 1u);
  scheduler_.SetTotal("CPU", 3 * kResourceUnit);
  const auto low = Ask({.priority = -5});
  EXPECT_EQ(IdsOf(Run()), std::vector{low}) << "nobody above can have the third CPU";
}

TEST_F(LeaseSchedulerPriorityTest, PrioritiesThatWaitHaveTheirTurnsOneAfterTheOther) {
  constexpr int kLower = 50;
  for (int32_t priority = 1; priority <= kLower; ++priority) Ask({.priority = -priority});
  std::vector<uint64_t> turns;
  for (; now_ < 60'000 && turns.size() < kLower; now_ += 50) {
    Ask({.priority = 9});
    Ask({.priority = 9});
    for (const LeaseGrant& grant : Run().grants) {
      if (grant.key.id <= kLower) turns.push_back(grant.key.id);
      Return(grant);
    }
  }
  EXPECT_EQ(turns.size(), static_cast<size_t>(kLower)) << "nobody starves";
  EXPECT_GT(now_, 5'000 + kLower * 50) << "and the urgent ones go on meanwhile";
}

}  // namespace
}  // namespace cyray::raylet
