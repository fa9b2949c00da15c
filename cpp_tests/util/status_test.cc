// Status, Result, UniqueFd and the checks.

#include "cyray/util/status.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "cyray/util/log.h"
#include "cyray/util/unique_fd.h"

namespace cyray {
namespace {

Result<int> Half(int value) {
  if (value % 2 != 0) return Fail(StatusCode::kInvalidArgument, "odd");
  return value / 2;
}

Status Chain(bool fail) {
  CYRAY_RETURN_IF_ERROR(fail ? Status(StatusCode::kTimedOut, "late") : Status::Ok());
  return Status(StatusCode::kCancelled, "reached the end");
}

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) != -1; }

TEST(Status, IsOkUnlessToldOtherwise) {
  EXPECT_TRUE(Status().ok());
  EXPECT_TRUE(Status::Ok().ok());
  EXPECT_FALSE(Status(StatusCode::kNotFound, "no").ok());
}

TEST(Status, SaysWhatWasAttemptedAndWhyItFailed) {
  const Status status = Status::FromErrno("open /nowhere", ENOENT);
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_NE(status.message().find("open /nowhere"), std::string::npos);
  EXPECT_NE(status.message().find("No such file"), std::string::npos);
}

TEST(Status, EveryCodeHasAName) {
  for (int code = 0; code <= static_cast<int>(StatusCode::kInternal); ++code) {
    EXPECT_STRNE(StatusCodeName(static_cast<StatusCode>(code)), "") << code;
  }
}

TEST(Status, ReturnIfErrorLeavesWithTheError) {
  EXPECT_EQ(Chain(true).code(), StatusCode::kTimedOut);
  EXPECT_EQ(Chain(false).code(), StatusCode::kCancelled);
}

TEST(Result, HoldsAValueOrAStatus) {
  EXPECT_EQ(Half(8).value(), 4);
  EXPECT_EQ(Half(3).error().message(), "odd");
}

TEST(UniqueFd, ClosesWhatItOwnsExactlyOnce) {
  const int raw = open("/dev/null", O_RDONLY);
  {
    UniqueFd fd(raw);
    UniqueFd moved(std::move(fd));
    EXPECT_FALSE(fd.valid());
    EXPECT_TRUE(IsOpen(moved.get()));
    moved = UniqueFd();
    EXPECT_FALSE(IsOpen(raw));
  }
  UniqueFd kept(open("/dev/null", O_RDONLY));
  const int released = kept.release();
  kept.reset();
  EXPECT_TRUE(IsOpen(released));
  close(released);
}

TEST(CheckDeathTest, AbortsAndPrintsTheValues) {
  EXPECT_DEATH({ CYRAY_CHECK(1 == 2) << "seventeen"; }, "Check failed: 1 == 2 seventeen");
}

TEST(Check, EvaluatesNothingWhenItHolds) {
  int evaluated = 0;
  CYRAY_CHECK(true) << ++evaluated;
  EXPECT_EQ(evaluated, 0);
}

TEST(Log, LinesBelowTheLevelAreNotEvenFormatted) {
  const LogLevel before = MinLogLevel();
  SetMinLogLevel(LogLevel::kError);
  int evaluated = 0;
  CYRAY_LOG(kInfo) << ++evaluated;
  SetMinLogLevel(before);
  EXPECT_EQ(evaluated, 0);
}

}  // namespace
}  // namespace cyray
