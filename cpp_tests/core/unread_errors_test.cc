// Tests of UnreadErrors: who is told of an error, when, and how often.

#include "cyray/core/unread_errors.h"

#include <gtest/gtest.h>

#include <cstring>

namespace cyray::core {
namespace {

TaskId Task(uint8_t number) {
  TaskId task;
  task.bytes[0] = number;
  return task;
}

ValuePtr Error() { return ValuePtr(Value::New(1)); }

class UnreadErrorsTest : public ::testing::Test {
 protected:
  UnreadErrorsTest() { errors_.Enable(); }
  size_t Told(bool all = false, size_t most = 10) { return errors_.Take(all, most).errors.size(); }
  UnreadErrors errors_;
};

TEST_F(UnreadErrorsTest, AnErrorIsToldAtTheSecondLookAndNotAgain) {
  errors_.Add(Task(1), Error());
  EXPECT_EQ(Told(), 0u);
  EXPECT_EQ(Told(), 1u);
  EXPECT_EQ(Told(), 0u);
}

TEST_F(UnreadErrorsTest, AnErrorThatWasReadIsNotTold) {
  errors_.Add(Task(1), Error());
  Told();
  errors_.OnRead(Task(1));
  EXPECT_EQ(Told(), 0u);
}

TEST_F(UnreadErrorsTest, ATaskCountsOnce) {
  for (int i = 0; i < 3; ++i) errors_.Add(Task(1), Error());
  EXPECT_EQ(Told(/*all=*/true), 1u);
}

TEST_F(UnreadErrorsTest, AtTheEndAllAreTold) {
  errors_.Add(Task(1), Error());
  EXPECT_EQ(Told(/*all=*/true), 1u);
}

TEST_F(UnreadErrorsTest, TheFirstOnesAreTold) {
  const ValuePtr first = Error();
  errors_.Add(Task(9), first);
  for (uint8_t i = 0; i < 5; ++i) errors_.Add(Task(i), Error());
  const auto taken = errors_.Take(/*all=*/true, 2);
  ASSERT_EQ(taken.errors.size(), 2u);
  EXPECT_EQ(taken.errors[0].get(), first.get());
  EXPECT_EQ(taken.left_out, 4u);
}

TEST_F(UnreadErrorsTest, ItIsBoundedAndCountsTheRest) {
  for (uint32_t i = 0; i < UnreadErrors::kMost + 5; ++i) {
    TaskId task;
    std::memcpy(task.bytes.data(), &i, sizeof i);
    errors_.Add(task, Error());
  }
  EXPECT_EQ(errors_.size(), UnreadErrors::kMost);
  EXPECT_EQ(errors_.Take(/*all=*/true, 1).left_out, UnreadErrors::kMost + 4);
}

TEST(UnreadErrors, NothingIsKeptUnlessEnabled) {
  UnreadErrors errors;
  errors.Add(Task(1), Error());
  EXPECT_EQ(errors.size(), 0u);
}

TEST_F(UnreadErrorsTest, ThoseLeftOutAreForgottenWithAllThatWereRead) {
  std::vector<TaskId> tasks(UnreadErrors::kMost + 5);
  for (size_t i = 0; i < tasks.size(); ++i) {
    std::memcpy(tasks[i].bytes.data(), &i, sizeof i);
    errors_.Add(tasks[i], Error());
  }
  for (const TaskId& task : tasks) errors_.OnRead(task);
  EXPECT_EQ(errors_.size(), 0u);
  errors_.Add(Task(1), Error());
  EXPECT_EQ(errors_.Take(true, 10).left_out, 0u);
}

}  // namespace
}  // namespace cyray::core
