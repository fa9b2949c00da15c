// Tests of GroupPromises: what a node may still have, of what it said last.

#include "cyray/gcs/group_promises.h"

#include <gtest/gtest.h>

#include "cpp_tests/gcs/payloads.h"

namespace cyray::gcs {
namespace {

class GroupPromisesTest : public ::testing::Test {
 protected:
  int64_t Left(const NodeId& node) const {
    ResourceSet available = Cpus(10);
    promises_.SubtractFrom(available, node);
    return available.Get("CPU") / kResourceUnit;
  }
  const NodeId here_ = NodeId::Random(), there_ = NodeId::Random();
  const PlacementGroupId group_ = PlacementGroupId::Random(), other_ = PlacementGroupId::Random();
  GroupPromises promises_;
};

TEST_F(GroupPromisesTest, APromiseEndsWithTheReportAfterItsReservation) {
  promises_.Add(here_, group_, 1, Cpus(2));
  promises_.Add(here_, group_, 1, Cpus(1));
  promises_.OnReport(here_);
  EXPECT_EQ(Left(here_), 7) << "that report was of before";
  promises_.Reserved(here_, group_, 1);
  EXPECT_EQ(Left(here_), 7);
  promises_.OnReport(there_);
  EXPECT_EQ(Left(here_), 7);
  promises_.OnReport(here_);
  EXPECT_EQ(Left(here_), 10);
}

TEST_F(GroupPromisesTest, AttemptsOfOneGroupAreToldApart) {
  promises_.Add(here_, group_, 1, Cpus(2));
  promises_.Add(here_, group_, 2, Cpus(3));
  promises_.GivenBack(here_, group_, 1);
  EXPECT_EQ(Left(here_), 7);
  promises_.Reserved(here_, group_, 1);
  promises_.OnReport(here_);
  EXPECT_EQ(Left(here_), 7);
}

TEST_F(GroupPromisesTest, WhoeverIsGoneHasNone) {
  promises_.Add(here_, group_, 1, Cpus(2));
  promises_.Add(there_, group_, 1, Cpus(2));
  promises_.Add(there_, other_, 5, Cpus(1));
  promises_.Gone(group_);
  EXPECT_EQ(Left(here_), 10);
  EXPECT_EQ(Left(there_), 9);
  promises_.Clear(there_);
  EXPECT_EQ(Left(there_), 10);
}

}  // namespace
}  // namespace cyray::gcs
