// Tests of Commit: nothing leaves before what it rests on is durable.

#include "cyray/gcs/commit.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "cpp_tests/gcs/memory_storage.h"

namespace cyray::gcs {
namespace {

using Kind = Storage::Kind;

class CommitTest : public testing::Test {
 protected:
  void Change() { commit_.Put(Kind::kKv, "key", {1}); }
  void Say(const std::string& text) {
    commit_.Leave([this, text] { said_.push_back(text); });
  }
  using Texts = std::vector<std::string>;

  MemoryDisk disk_;
  MemoryStorage storage_{&disk_};
  Commit commit_{&storage_};
  Texts said_;
};

TEST_F(CommitTest, AnEffectOfAnEventWithoutChangesLeavesAtItsEnd) {
  Say("a");
  EXPECT_EQ(said_, Texts{});
  commit_.End();
  EXPECT_EQ(said_, Texts{"a"});
}

TEST_F(CommitTest, AnEffectThatWasQueuedBeforeTheChangesOfItsEventWaitsForThem) {
  Say("a");
  Change();
  commit_.End();
  EXPECT_EQ(said_, Texts{});
  storage_.Sync();
  EXPECT_EQ(said_, Texts{"a"});
}

TEST_F(CommitTest, EffectsLeaveInOrderBehindThoseOfEarlierEvents) {
  Change();
  Say("a");
  commit_.End();
  Say("b");  // of an event that changed nothing
  commit_.End();
  EXPECT_EQ(commit_.held(), 2u);
  storage_.Sync();
  EXPECT_EQ(said_, (Texts{"a", "b"}));
}

TEST_F(CommitTest, WhileTheDiskRefusesEffectsWaitAndReadsAreAnswered) {
  Change();
  Say("a");
  commit_.End();
  commit_.Answer({Kind::kKv}, [this] { said_.push_back("read"); });
  commit_.End();
  Status outcome;
  commit_.End([&](const Status& status) { outcome = status; });
  storage_.Refuse();
  EXPECT_FALSE(outcome.ok());
  EXPECT_EQ(said_, Texts{"read"});
  storage_.Refuse();
  commit_.Answer({Kind::kKv}, [this] { said_.push_back("another"); });
  commit_.End();
  EXPECT_EQ(said_, (Texts{"read", "another"}));
  Say("b");
  commit_.End();
  storage_.Sync();
  EXPECT_EQ(said_, (Texts{"read", "another", "a", "b"}));
  EXPECT_EQ(commit_.held(), 0u);
}

TEST_F(CommitTest, AReadWaitsForChangesOfTheKindsThatItReads) {
  Change();
  Say("a");
  commit_.End();
  commit_.Answer({Kind::kNode, Kind::kJob}, [this] { said_.push_back("nodes"); });
  commit_.Answer({Kind::kNode, Kind::kKv}, [this] { said_.push_back("keys"); });
  commit_.End();
  EXPECT_EQ(said_, Texts{"nodes"});
  EXPECT_EQ(commit_.held(), 2u);
  storage_.Sync();
  EXPECT_EQ(said_, (Texts{"nodes", "a", "keys"}));
}

// Whatever is changed, read and synced in whatever order: an answer leaves when all that it rests
// on is durable, and not later than that.
TEST_F(CommitTest, AnAnswerLeavesExactlyWhenWhatItReadIsDurable) {
  std::mt19937 random(7);
  const auto kinds = {Kind::kKv, Kind::kJob, Kind::kNode};
  std::map<Kind, int> newest;  // changes, numbered
  std::map<int, int> waiting;  // answers, and the change that each rests on
  int changes = 0, durable = 0;
  for (int step = 0; step < 10'000; ++step) {
    const Kind kind = *(kinds.begin() + random() % kinds.size());
    switch (random() % 5) {
      case 0:
      case 1:
        commit_.Put(kind, "key", {1});
        newest[kind] = ++changes;
        break;
      case 2:
        waiting[step] = newest[kind];
        commit_.Answer({kind}, [&, step] {
          EXPECT_LE(waiting.at(step), durable) << "left too early";
          waiting.erase(step);
        });
        break;
      case 3:
        commit_.End();
        for (const auto& [answer, change] : waiting) EXPECT_GT(change, durable) << "could leave";
        break;
      default:
        commit_.End();
        durable = changes;
        storage_.Sync();
        EXPECT_TRUE(waiting.empty());
    }
  }
}

TEST_F(CommitTest, WhatIsQueuedWhileTheDiskRefusesLeavesWhenItWorksAgain) {
  Change();
  Say("a");
  commit_.End();
  storage_.Refuse();
  Change();
  Say("b");
  commit_.End();
  storage_.Refuse();
  EXPECT_EQ(said_, Texts{});
  storage_.Sync();
  EXPECT_EQ(said_, (Texts{"a", "b"}));
  EXPECT_EQ(commit_.held(), 0u);
}

TEST_F(CommitTest, AnEventThatAnEffectEndsComesAfterIt) {
  Change();
  commit_.Leave([this] {
    said_.push_back("a");
    Say("c");
    commit_.End();
    said_.push_back("b");
  });
  commit_.End();
  storage_.Sync();
  EXPECT_EQ(said_, (Texts{"a", "b", "c"}));
}

TEST_F(CommitTest, AnEventThatAnAnswerEndsLeavesToo) {
  commit_.Answer({Kind::kKv}, [this] {
    said_.push_back("read");
    Say("a");
    commit_.End();
  });
  commit_.End();
  EXPECT_EQ(said_, (Texts{"read", "a"}));
}

TEST_F(CommitTest, AnEventWithAnOutcomeWaitsForTheDiskOnce) {
  Change();
  Say("a");
  commit_.End([this](const Status&) { said_.push_back("outcome"); });
  EXPECT_EQ(storage_.asked(), 1u);
  storage_.Sync();
  EXPECT_EQ(said_, (Texts{"a", "outcome"}));
}

TEST_F(CommitTest, ARefusedChangeIsUndoneBeforeThoseWhoReadItAreAnswered) {
  Change();
  commit_.Answer({Kind::kKv}, [this] { said_.push_back("read"); });
  commit_.End([this](const Status& status) { said_.push_back(status.ok() ? "ok" : "undo"); });
  storage_.Refuse();
  EXPECT_EQ(said_, (Texts{"undo", "read"}));
}

TEST_F(CommitTest, AnOutcomeIsToldAtOnceWhenNothingWaits) {
  int told = 0;
  commit_.End([&](const Status& status) { told += status.ok() ? 1 : 100; });
  EXPECT_EQ(told, 1);
  Change();
  commit_.End([&](const Status& status) { told += status.ok() ? 1 : 100; });
  EXPECT_EQ(told, 1);
  storage_.Sync();
  EXPECT_EQ(told, 2);
}

}  // namespace
}  // namespace cyray::gcs
