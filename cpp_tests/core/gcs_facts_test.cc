// GcsFacts: a fact is told until the GCS knows it, and not once more.

#include "cyray/core/gcs_facts.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>
#include <set>
#include <utility>

namespace cyray::core {
namespace {

using wire::GcsMethod;

class GcsFactsTest : public testing::Test {
 protected:
  using Answer = std::function<void(const Result<std::string>&)>;
  void AnswerOne(const Result<std::string>& answer) {
    const auto [payload, on_answer] = asked_.front();
    asked_.pop_front();
    on_answer(answer);
  }
  static Result<std::string> Failed(StatusCode code) { return Fail(code, "why"); }

  int64_t now_ns_ = 1;
  std::deque<std::pair<wire::Bytes, Answer>> asked_;
  GcsFacts facts_{[this](GcsMethod, const wire::Bytes& payload, Answer on_answer) {
                    asked_.emplace_back(payload, std::move(on_answer));
                  },
                  [this] { return now_ns_; }};
};

TEST_F(GcsFactsTest, WhatIsKnownIsNotToldAgain) {
  facts_.Tell(GcsMethod::KillActor, {1});
  AnswerOne(std::string());
  EXPECT_EQ(facts_.NextTickNs(), kForever);
}

TEST_F(GcsFactsTest, WhileTheGcsIsAwayOrItsDiskIsFullAFactIsToldAgain) {
  std::vector<StatusCode> told;
  facts_.Tell(GcsMethod::KillActor, {7},
              [&](const Status& status) { told.push_back(status.code()); });
  for (const auto code : {StatusCode::kUnavailable, StatusCode::kIoError}) {
    AnswerOne(Failed(code));
    EXPECT_EQ(facts_.NextTickNs(), now_ns_ + GcsFacts::kAgainNs);
    facts_.Tick(now_ns_ + GcsFacts::kAgainNs - 1);
    EXPECT_TRUE(asked_.empty());
    now_ns_ += GcsFacts::kAgainNs;
    facts_.Tick(now_ns_);
    ASSERT_EQ(asked_.size(), 1u);
    EXPECT_EQ(asked_.front().first, wire::Bytes{7});
  }
  EXPECT_TRUE(told.empty());
  AnswerOne(std::string());
  EXPECT_EQ(facts_.NextTickNs(), kForever);
  EXPECT_EQ(told, std::vector{StatusCode::kOk}) << "it knows it";
}

TEST_F(GcsFactsTest, WhatIsLargeIsToldAgainLater) {
  facts_.Tell(GcsMethod::SaveActor, wire::Bytes(4 * GcsFacts::kBytesPerSecond));
  facts_.Tell(GcsMethod::KillActor, {1});
  for (int i = 0; i < 2; ++i) AnswerOne(Failed(StatusCode::kUnavailable));
  now_ns_ += GcsFacts::kAgainNs;
  facts_.Tick(now_ns_);
  ASSERT_EQ(asked_.size(), 1u);
  EXPECT_EQ(asked_.front().first, wire::Bytes{1});
  AnswerOne(std::string());
  EXPECT_EQ(facts_.NextTickNs(), now_ns_ + 4 * GcsFacts::kAgainNs);
  facts_.Tick(facts_.NextTickNs());
  EXPECT_EQ(asked_.size(), 1u);
}

TEST_F(GcsFactsTest, ARefusalIsToldOnce) {
  Status why;
  facts_.Tell(GcsMethod::ActorArgumentsReady, {1}, [&](const Status& status) { why = status; });
  AnswerOne(Failed(StatusCode::kDisconnected));
  EXPECT_EQ(why.code(), StatusCode::kDisconnected);
  EXPECT_EQ(facts_.NextTickNs(), kForever);
}

TEST_F(GcsFactsTest, EachFactIsKnownInTheEndWhateverFails) {
  std::mt19937 random(3);
  std::set<uint8_t> known, told;
  for (int step = 0; step < 5000 || facts_.pending() + asked_.size() > 0; ++step) {
    now_ns_ += GcsFacts::kAgainNs / 8;
    facts_.Tick(now_ns_);
    if (step < 200 && random() % 4 == 0) {
      told.insert(static_cast<uint8_t>(step));
      facts_.Tell(GcsMethod::KillActor, {static_cast<uint8_t>(step)});
    }
    if (asked_.empty()) continue;
    const uint8_t fact = asked_.front().first[0];
    if (random() % 3 != 0) {
      AnswerOne(Failed(StatusCode::kUnavailable));
    } else {
      EXPECT_TRUE(known.insert(fact).second) << "it was known";
      AnswerOne(std::string());
    }
  }
  EXPECT_EQ(known, told);
}

}  // namespace
}  // namespace cyray::core
