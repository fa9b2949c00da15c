// Tests of JobBook: how long a node remembers a job.

#include "cyray/raylet/job_book.h"

#include <gtest/gtest.h>

#include <set>

namespace cyray::raylet {
namespace {

JobId Number(uint32_t number) { return JobId::FromBytes(&number); }
const auto kNobody = [](const JobId&) { return false; };

TEST(JobBook, AnEndedJobIsStillKnownForItsDetachedActors) {
  JobBook jobs;
  jobs.Add({Number(1), {}, "space", {}});
  EXPECT_TRUE(jobs.End(Number(1), kNobody));
  EXPECT_FALSE(jobs.End(Number(1), kNobody)) << "it ends once";
  ASSERT_NE(jobs.Find(Number(1)), nullptr);
  EXPECT_TRUE(jobs.Find(Number(1))->ended);
  jobs.Add({Number(1), {}, "space", {}});
  EXPECT_TRUE(jobs.Find(Number(1))->ended) << "a late word of its start";
}

TEST(JobBook, WhichJobsRanAtAChangeIsKnown) {
  JobBook jobs;
  for (const uint32_t number : {1, 2, 3, 4}) {
    jobs.Add({.id = Number(number), .change = number + 10});
  }
  jobs.End(Number(2), kNobody);
  const std::vector<JobId> running = jobs.RunningAt(13);
  EXPECT_EQ(std::set<JobId>(running.begin(), running.end()), (std::set{Number(1), Number(3)}));
}

TEST(JobBook, AnUnknownJobDoesNotEnd) {
  JobBook jobs;
  EXPECT_FALSE(jobs.End(Number(1), kNobody));
  EXPECT_FALSE(jobs.End(JobId::Nil(), kNobody));
}

TEST(JobBook, TheOldestEndedJobsAreForgottenButThoseInUse) {
  JobBook jobs(/*ended_kept=*/10);
  const auto in_use = [](const JobId& job) { return job == Number(3); };
  for (uint32_t i = 1; i <= 1000; ++i) {
    jobs.Add({Number(i), {}, "", {}});
    jobs.End(Number(i), in_use);
  }
  EXPECT_EQ(jobs.size(), 10u);
  EXPECT_NE(jobs.Find(Number(3)), nullptr);
  EXPECT_NE(jobs.Find(Number(1000)), nullptr);
  EXPECT_EQ(jobs.Find(Number(500)), nullptr);
}

TEST(JobBook, JobsThatRunAreNeverForgotten) {
  JobBook jobs(/*ended_kept=*/1);
  jobs.Add({Number(1), {}, "", {}});
  for (uint32_t i = 2; i <= 50; ++i) {
    jobs.Add({Number(i), {}, "", {}});
    jobs.End(Number(i), kNobody);
  }
  EXPECT_NE(jobs.Find(Number(1)), nullptr);
}

}  // namespace
}  // namespace cyray::raylet
