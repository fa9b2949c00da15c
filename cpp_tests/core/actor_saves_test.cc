// ActorSaves and CallSet: when a state is taken, what it waits for, who is told; and random lives
// of an actor with callers that keep their calls.

#include "cyray/core/actor_saves.h"

#include <gmock/gmock.h>

#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "cyray/wire/convert.h"

namespace cyray::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using Step = ActorSaves::Step;

constexpr int64_t kSecondNs = 1'000'000'000;

WorkerId Caller(uint8_t number) {
  WorkerId id;
  id.bytes[0] = number;
  return id;
}

std::vector<std::pair<uint64_t, uint64_t>> RangesOf(const CallSet& set) {
  std::vector<std::pair<uint64_t, uint64_t>> out;
  for (const wire::CallRange& range : set.ranges()) out.emplace_back(range.begin(), range.end());
  return out;
}

TEST(CallSet, CallsThatEndInAnyOrderBecomeFewRanges) {
  CallSet set;
  for (const uint64_t call : {1, 2, 3, 7, 5, 6, 9}) set.Add(call);
  EXPECT_THAT(RangesOf(set), ElementsAre(Pair(1, 4), Pair(5, 8), Pair(9, 10)));
  EXPECT_EQ(set.FirstMissing(), 4u);
  set.Add(4);
  set.Add(8);
  EXPECT_THAT(RangesOf(set), ElementsAre(Pair(1, 10)));
  set.DropBelow(4);
  EXPECT_FALSE(set.Has(3));
  EXPECT_TRUE(set.Has(4));
  EXPECT_FALSE(set.Has(10));
  set.DropBelow(100);
  EXPECT_TRUE(set.empty());
}

TEST(CallSet, ARandomOneIsAsASetOfNumbers) {
  std::mt19937_64 random(7);
  for (int run = 0; run < 200; ++run) {
    CallSet set;
    std::set<uint64_t> model;
    for (int i = 0; i < 60; ++i) {
      const uint64_t begin = random() % 64;
      if (random() % 8 == 0) {
        set.DropBelow(begin / 2);
        model.erase(model.begin(), model.lower_bound(begin / 2));
      } else {
        const uint64_t end = begin + random() % 4;
        set.AddRange(begin, end);
        for (uint64_t call = begin; call < end; ++call) model.insert(call);
      }
      for (uint64_t call = 0; call < 70; ++call) ASSERT_EQ(set.Has(call), model.contains(call));
      uint64_t before = 0;
      for (const auto& [from, to] : RangesOf(set)) {
        ASSERT_LT(from, to);
        ASSERT_TRUE(before == 0 || before < from);
        before = to;
      }
    }
  }
}

class ActorSavesTest : public testing::Test, public SavesOutbox {
 protected:
  void Use(const SaveRules& rules) { saves_.emplace(rules, *this, now_ns_); }
  void End(uint64_t call, uint8_t caller = 1) {
    saves_->Ended({.caller = Caller(caller), .call = call});
  }
  Step Look(bool quiet = true) { return saves_->Look(now_ns_, quiet); }
  void Take(uint8_t state = 0) {
    ASSERT_EQ(Look(), Step::kTake);
    saves_->Taken({state}, 1000, now_ns_);
  }
  void TearDown() override { saves_->CheckInvariants(); }

  void AskRead(const WorkerId& caller, uint64_t number) override {
    asked_.emplace_back(caller.bytes[0], number);
  }
  void Store(ActorSave& save) override { stored_.push_back(save); }
  void TellSaved(const WorkerId& caller, const CallSet& calls) override {
    told_.emplace_back(caller.bytes[0], RangesOf(calls));
  }
  void TellNeverQuiet(int64_t for_ns, uint64_t calls) override {
    unquiet_.emplace_back(for_ns / kSecondNs, calls);
  }

  int64_t now_ns_ = 5 * kSecondNs;
  std::optional<ActorSaves> saves_;
  std::vector<std::pair<int, uint64_t>> asked_;
  std::vector<ActorSave> stored_;
  std::vector<std::pair<int, std::vector<std::pair<uint64_t, uint64_t>>>> told_;
  std::vector<std::pair<int64_t, uint64_t>> unquiet_;  // what was told of that, in s
};

TEST_F(ActorSavesTest, AfterSoManyCalls) {
  Use({.calls = 2});
  EXPECT_EQ(Look(), Step::kNothing);
  End(0);
  EXPECT_EQ(Look(), Step::kNothing);
  End(0);
  Take();
  EXPECT_THAT(asked_, IsEmpty()) << "nobody keeps these calls";
  ASSERT_EQ(stored_.size(), 1u);
  End(0);
  End(0);
  EXPECT_EQ(Look(), Step::kNothing) << "one is under way";
  saves_->OnStored(now_ns_);
  EXPECT_EQ(Look(), Step::kTake);
}

TEST_F(ActorSavesTest, AChangeIsNotUnsavedForLongerThanTheRulesSay) {
  Use({.every_ns = kSecondNs});
  End(0);
  EXPECT_TRUE(saves_->NeedsLook());
  EXPECT_EQ(Look(), Step::kNothing);
  EXPECT_EQ(saves_->NextTickNs(), now_ns_ + kSecondNs);
  End(0);
  EXPECT_FALSE(saves_->NeedsLook()) << "the time is told already";
  now_ns_ += kSecondNs;
  Take();
  saves_->OnStored(now_ns_);
  EXPECT_TRUE(saves_->IsSettled());
  EXPECT_EQ(saves_->NextTickNs(), kForever) << "nothing has changed";
  now_ns_ += 10 * kSecondNs;
  End(0);
  Take();  // the last one is older
}

TEST_F(ActorSavesTest, ASaveIsStoredWhenItsCallersHaveReadTheirAnswers) {
  Use({.calls = 3});
  End(1);
  End(2);
  End(1, /*caller=*/2);
  Take(7);
  EXPECT_THAT(asked_, ElementsAre(Pair(1, 1), Pair(2, 1)));
  saves_->OnRead(Caller(1), 1, 2);
  EXPECT_THAT(stored_, IsEmpty());
  saves_->OnRead(Caller(2), 1, 2);
  ASSERT_EQ(stored_.size(), 1u);
  EXPECT_THAT(stored_[0].state, ElementsAre(7));
  EXPECT_THAT(told_, IsEmpty());
  saves_->OnStored(now_ns_);
  ASSERT_EQ(told_.size(), 2u);
  EXPECT_THAT(told_[0], Pair(1, ElementsAre(Pair(1, 3))));
  EXPECT_THAT(told_[1], Pair(2, ElementsAre(Pair(1, 2))));
  EXPECT_TRUE(saves_->IsSettled());
}

TEST_F(ActorSavesTest, CallersThatHaveReadEverythingAreNotAskedAgain) {
  Use({.calls = 1});
  End(1);
  Take();
  saves_->OnRead(Caller(1), 1, 1);
  saves_->OnStored(now_ns_);
  End(1, /*caller=*/2);
  Take();
  EXPECT_THAT(asked_, ElementsAre(Pair(1, 1), Pair(2, 2)));
}

TEST_F(ActorSavesTest, ACallerThatDiesOrIsFrozenHoldsNothingUp) {
  Use({.calls = 1});
  End(1);
  Take();
  saves_->OnCallerDied(Caller(1));
  ASSERT_EQ(stored_.size(), 1u);
  saves_->OnStored(now_ns_);
  EXPECT_THAT(told_, IsEmpty());
  End(1, /*caller=*/2);
  Take();
  EXPECT_EQ(saves_->NextTickNs(), now_ns_ + ActorSaves::kReadNs);
  now_ns_ += ActorSaves::kReadNs;
  saves_->Tick(now_ns_);
  EXPECT_EQ(stored_.size(), 2u);
}

TEST_F(ActorSavesTest, OneThatWasSilentIsWaitedForBrieflyUntilItIsHeardFrom) {
  Use({.calls = 1});
  End(1);
  Take();
  now_ns_ += ActorSaves::kReadNs;
  saves_->Tick(now_ns_);
  ASSERT_EQ(stored_.size(), 1u);
  saves_->OnStored(now_ns_);
  End(2);
  Take();
  EXPECT_THAT(asked_, ElementsAre(Pair(1, 1), Pair(1, 2))) << "it may go on by now";
  EXPECT_EQ(saves_->NextTickNs(), now_ns_ + ActorSaves::kReadSilentNs);
  saves_->CheckInvariants();
  now_ns_ = saves_->NextTickNs();
  saves_->Tick(now_ns_);
  ASSERT_EQ(stored_.size(), 2u);
  saves_->OnStored(now_ns_);
  saves_->OnRead(Caller(1), 1, 1);  // late
  End(3);
  Take();
  EXPECT_EQ(saves_->NextTickNs(), now_ns_ + ActorSaves::kReadNs);
}

TEST_F(ActorSavesTest, OneThatIsSilentDelaysNoneThatIsNot) {
  Use({.calls = 1});
  End(1);
  Take();
  now_ns_ += ActorSaves::kReadNs;
  saves_->Tick(now_ns_);
  saves_->OnStored(now_ns_);
  End(2);
  End(1, /*caller=*/2);
  Take();
  EXPECT_EQ(saves_->NextTickNs(), now_ns_ + ActorSaves::kReadNs);
  saves_->OnRead(Caller(2), 2, 1);
  EXPECT_EQ(saves_->NextTickNs(), now_ns_ + ActorSaves::kReadSilentNs);
  saves_->OnRead(Caller(1), 1, 1);  // is heard from, but not about this
  EXPECT_EQ(saves_->NextTickNs(), now_ns_ + ActorSaves::kReadNs);
  saves_->OnCallerDied(Caller(1));
  EXPECT_EQ(stored_.size(), 2u);
}

TEST_F(ActorSavesTest, OnlyThoseOfWhichItHasMoreAreTold) {
  Use({.calls = 1});
  const auto save = [&](uint8_t caller) {
    Take();
    saves_->OnRead(Caller(caller), saves_->last_number(), 1);
    told_.clear();
    saves_->OnStored(now_ns_);
  };
  End(1);
  save(1);
  EXPECT_THAT(told_, ElementsAre(Pair(1, ElementsAre(Pair(1, 2)))));
  End(1, /*caller=*/2);
  save(2);
  EXPECT_THAT(told_, ElementsAre(Pair(2, ElementsAre(Pair(1, 2)))));
  saves_->OnCallerLost(Caller(1));
  End(2, /*caller=*/2);
  save(2);
  EXPECT_THAT(told_,
              ElementsAre(Pair(1, ElementsAre(Pair(1, 2))), Pair(2, ElementsAre(Pair(1, 3)))))
      << "what the first one was told may be lost";
}

TEST_F(ActorSavesTest, WhatACallerKeptThatHasEndedIsNoReasonForASave) {
  Use({.calls = 1'000'000});
  for (uint64_t call = 1; call < ActorSaves::kMostKept; ++call) End(call);
  saves_->Want(Caller(1));
  saves_->OnCallerDied(Caller(1));
  EXPECT_EQ(Look(), Step::kNothing);
  EXPECT_EQ(saves_->NextTickNs(), kForever);
  saves_->Ended({.caller = Caller(2), .call = 1, .bytes = ActorSaves::kMostKeptBytes - 1});
  saves_->OnCallerDied(Caller(2));
  saves_->Ended({.caller = Caller(3), .call = 1, .bytes = ActorSaves::kMostKeptBytes - 1});
  EXPECT_EQ(Look(), Step::kNothing);
}

TEST_F(ActorSavesTest, AnotherLifeKnowsTheCallsOfItsState) {
  Use({.calls = 1});
  End(4);
  End(5);
  const wire::Bytes calls = saves_->Included();
  Use({.calls = 1});
  EXPECT_FALSE(saves_->Includes(Caller(1), 4));
  EXPECT_TRUE(saves_->Restore({reinterpret_cast<const char*>(calls.data()), calls.size()}));
  EXPECT_TRUE(saves_->Includes(Caller(1), 4));
  EXPECT_FALSE(saves_->Includes(Caller(1), 6));
  EXPECT_FALSE(saves_->Includes(Caller(2), 4));
  EXPECT_FALSE(saves_->Includes(Caller(1), 0));
  EXPECT_FALSE(saves_->Restore("no table at all"));
}

TEST_F(ActorSavesTest, OfVeryManyCallersThoseThatWereHeardFromLastAreKnownInAnotherLife) {
  const auto id = [](size_t number) {
    WorkerId worker;
    worker.bytes[0] = static_cast<uint8_t>(number >> 8);
    worker.bytes[1] = static_cast<uint8_t>(number);
    return worker;
  };
  constexpr size_t kCallers = ActorSaves::kMostCallers + 2;
  Use({.calls = 1'000'000});
  for (size_t i = 1; i <= kCallers; ++i) saves_->Ended({.caller = id(i), .call = 1});
  saves_->OnRead(id(1), 0, 1);
  for (int lives = 0; lives < 2; ++lives) {
    const wire::Bytes calls = saves_->Included();
    Use({.calls = 1'000'000});
    EXPECT_TRUE(saves_->Restore({reinterpret_cast<const char*>(calls.data()), calls.size()}));
    EXPECT_TRUE(saves_->Includes(id(1), 1));
    for (const size_t gone : {2, 3}) EXPECT_FALSE(saves_->Includes(id(gone), 1)) << gone;
    for (size_t i = 4; i <= kCallers; ++i) EXPECT_TRUE(saves_->Includes(id(i), 1)) << i;
    saves_->Ended({.caller = id(4), .call = 2});
  }
}

TEST_F(ActorSavesTest, CallersThatMakeASavedCallAgainAreToldByANewSave) {
  Use({.every_ns = kSecondNs});
  End(1);
  const wire::Bytes calls = saves_->Included();
  Use({.every_ns = kSecondNs});
  EXPECT_TRUE(saves_->Restore({reinterpret_cast<const char*>(calls.data()), calls.size()}));
  EXPECT_EQ(saves_->NextTickNs(), kForever);
  EXPECT_TRUE(saves_->Includes(Caller(1), 1));
  saves_->MadeAgain(Caller(1));
  now_ns_ = saves_->NextTickNs();
  Take();
  EXPECT_THAT(asked_, IsEmpty()) << "it was not answered";
  saves_->OnStored(now_ns_);
  EXPECT_THAT(told_, ElementsAre(Pair(1, ElementsAre(Pair(1, 2)))));
}

TEST_F(ActorSavesTest, ACallThatIsTriedAgainIsNotIncluded) {
  Use({.calls = 5});
  saves_->Ended({.caller = Caller(1), .call = 1, .again = true});
  EXPECT_FALSE(saves_->Includes(Caller(1), 1));
  EXPECT_EQ(saves_->unsaved(), 1u) << "it may have changed something";
}

TEST_F(ActorSavesTest, WhereSeveralRunAtOnceNewOnesAreHeldBackButNotForLong) {
  Use({.calls = 1});
  End(0);
  EXPECT_EQ(Look(/*quiet=*/false), Step::kNothing);
  now_ns_ = saves_->NextTickNs();
  EXPECT_EQ(Look(/*quiet=*/false), Step::kHold);
  now_ns_ = saves_->NextTickNs();
  EXPECT_EQ(Look(/*quiet=*/false), Step::kRelease);
  End(0);
  EXPECT_EQ(Look(/*quiet=*/false), Step::kNothing) << "not again at once";
  now_ns_ = saves_->NextTickNs();
  EXPECT_EQ(Look(/*quiet=*/false), Step::kNothing);
  now_ns_ = saves_->NextTickNs();
  EXPECT_EQ(Look(/*quiet=*/false), Step::kHold);
  EXPECT_EQ(Look(/*quiet=*/true), Step::kTake);
  EXPECT_EQ(Look(/*quiet=*/true), Step::kNothing) << "it is being taken";
}

TEST_F(ActorSavesTest, OneThatIsNeverQuietIsHeldUpLessAndLessAndToldOf) {
  Use({.calls = 1});
  End(0);
  std::vector<int64_t> pauses_s;
  for (int attempt = 0; attempt < 7; ++attempt) {
    while (Look(/*quiet=*/false) != Step::kRelease) now_ns_ = saves_->NextTickNs();
    pauses_s.push_back((saves_->NextTickNs() - now_ns_) / kSecondNs);
    EXPECT_TRUE(saves_->NeedsLook());
  }
  EXPECT_THAT(pauses_s, ElementsAre(10, 20, 40, 80, 160, 160, 160));
  ASSERT_GE(unquiet_.size(), 2u);
  EXPECT_THAT(unquiet_[0], Pair(12, 1)) << "not after the first attempt";
  EXPECT_GE(unquiet_[1].first, unquiet_[0].first + 60) << "once a minute";
  Take();  // a quiet moment comes within the pause
  saves_->OnStored(now_ns_);
  unquiet_.clear();
  End(0);
  while (Look(/*quiet=*/false) != Step::kRelease) now_ns_ = saves_->NextTickNs();
  EXPECT_EQ(saves_->NextTickNs(), now_ns_ + ActorSaves::kPauseNs);
  EXPECT_THAT(unquiet_, IsEmpty());
}

TEST_F(ActorSavesTest, ACostlyStateIsTakenLessOften) {
  Use({.calls = 1, .every_ns = kSecondNs});
  End(0);
  ASSERT_EQ(Look(), Step::kTake);
  now_ns_ += 3 * kSecondNs;
  saves_->Taken({}, 1000, now_ns_);
  saves_->OnStored(now_ns_);
  End(0);
  EXPECT_EQ(Look(), Step::kNothing);
  EXPECT_EQ(saves_->NextTickNs(), now_ns_ + 9 * kSecondNs) << "a quarter of its time";
  now_ns_ += 9 * kSecondNs;
  ASSERT_EQ(Look(), Step::kTake);
  now_ns_ += ActorSaves::kCheapNs - 1;
  saves_->Taken({}, 1000, now_ns_);
  saves_->OnStored(now_ns_);
  End(0);
  Take();
}

TEST_F(ActorSavesTest, OneThatCannotBeTakenIsTriedAgainLater) {
  Use({.calls = 1});
  End(0);
  ASSERT_EQ(Look(), Step::kTake);
  saves_->NotTaken(ActorSaves::Why::kFailed, now_ns_);
  End(0);
  EXPECT_EQ(Look(), Step::kNothing);
  EXPECT_EQ(saves_->NextTickNs(), now_ns_ + ActorSaves::kAfterFailureNs);
  now_ns_ = saves_->NextTickNs();
  Take();
}

TEST_F(ActorSavesTest, AnActorThatDecidesItselfIsAskedAfterEachCall) {
  Use({.asks = true});
  End(1);
  ASSERT_EQ(Look(), Step::kTake);
  saves_->NotTaken(ActorSaves::Why::kDeclined, now_ns_);
  EXPECT_EQ(Look(), Step::kNothing);
  EXPECT_EQ(saves_->NextTickNs(), kForever);
  End(2);
  Take(1);
  End(3);
  Take(2);  // while the last one is under way
  End(4);
  Take(3);  // takes its place
  saves_->OnRead(Caller(1), 1, 1);
  ASSERT_EQ(stored_.size(), 1u);
  saves_->OnStored(now_ns_);
  saves_->OnRead(Caller(1), 3, 1);
  ASSERT_EQ(stored_.size(), 2u);
  EXPECT_EQ(stored_[1].number, 3u);
  EXPECT_THAT(stored_[1].state, ElementsAre(3));
}

TEST_F(ActorSavesTest, ItIsSavedEarlyWhenCallersKeepMuchOrWantToEnd) {
  Use({.calls = 1'000'000});
  saves_->Ended({.caller = Caller(1), .call = 1, .bytes = ActorSaves::kMostKeptBytes});
  Take();
  saves_->OnRead(Caller(1), 1, 1);
  saves_->OnStored(now_ns_);
  saves_->Want(Caller(1));  // told of that one already
  End(2);
  EXPECT_EQ(Look(), Step::kNothing);
  saves_->Want(Caller(2));  // keeps nothing
  EXPECT_EQ(Look(), Step::kNothing);
  saves_->Want(Caller(1));
  Take();
  saves_->OnRead(Caller(1), 2, 1);
  saves_->OnStored(now_ns_);
  for (uint64_t call = 3; call < 3 + ActorSaves::kMostKept; ++call) End(call);
  Take();
}

TEST_F(ActorSavesTest, OneThatTheGcsRefusesIsNotSaved) {
  Use({.calls = 1});
  End(0);
  Take();
  saves_->OnRefused(now_ns_);
  EXPECT_EQ(saves_->unsaved(), 1u);
  EXPECT_EQ(Look(), Step::kNothing);
}

TEST_F(ActorSavesTest, CallersOfOneThatTheGcsRefusesAreToldOfTheNext) {
  Use({.calls = 3});
  End(1);
  End(2);
  End(1, /*caller=*/2);
  Take();
  for (const uint8_t caller : {1, 2}) saves_->OnRead(Caller(caller), 1, 1);
  saves_->OnRefused(now_ns_);
  saves_->CheckInvariants();
  EXPECT_EQ(saves_->unsaved(), 3u);
  saves_->OnCallerDied(Caller(1));
  saves_->CheckInvariants();
  saves_->Want(Caller(2));
  now_ns_ += ActorSaves::kAfterFailureNs;
  Take();
  saves_->OnStored(now_ns_);
  EXPECT_THAT(told_, ElementsAre(Pair(2, ElementsAre(Pair(1, 2)))));
}

TEST_F(ActorSavesTest, TheLastStateTakesThePlaceOfOneThatWaitsForCallers) {
  Use({.calls = 1});
  End(1);
  Take(1);
  End(2);
  EXPECT_FALSE(saves_->is_last());
  EXPECT_TRUE(saves_->BeginLast());
  EXPECT_TRUE(saves_->is_last());
  EXPECT_FALSE(saves_->IsSettled());
  saves_->Taken({2}, 1000, now_ns_);
  EXPECT_THAT(asked_, ElementsAre(Pair(1, 1), Pair(1, 2)));
  EXPECT_EQ(saves_->NextTickNs(), now_ns_ + ActorSaves::kReadLastNs) << "the caller may be frozen";
  saves_->CheckInvariants();
  now_ns_ = saves_->NextTickNs();
  saves_->Tick(now_ns_);
  ASSERT_EQ(stored_.size(), 1u);
  EXPECT_THAT(stored_[0].state, ElementsAre(2));
  saves_->OnStored(now_ns_);
  EXPECT_TRUE(saves_->IsSettled());
}

TEST_F(ActorSavesTest, TheLastStateFollowsOneThatIsBeingStored) {
  Use({.calls = 1});
  End(0);
  Take(1);
  ASSERT_EQ(stored_.size(), 1u);
  EXPECT_FALSE(saves_->BeginLast());
  EXPECT_FALSE(saves_->IsSettled()) << "and is waited for";
  End(0);
  EXPECT_TRUE(saves_->BeginLast());
  saves_->Taken({2}, 1000, now_ns_);
  saves_->OnStored(now_ns_);
  EXPECT_FALSE(saves_->IsSettled());
  ASSERT_EQ(stored_.size(), 2u);
  saves_->OnStored(now_ns_);
  EXPECT_TRUE(saves_->IsSettled());
}

TEST_F(ActorSavesTest, ALastStateThatCannotBeTakenIsNotWaitedFor) {
  Use({.asks = true});
  End(1);
  EXPECT_TRUE(saves_->BeginLast());
  saves_->NotTaken(ActorSaves::Why::kDeclined, now_ns_);
  EXPECT_TRUE(saves_->IsSettled());
}

// --- Random lives -----------------------------------------------------------------------------

// An actor that dies at any moment, its callers, a GCS whose disk takes its time, and channels
// between them that keep their order. The state is the list of all calls that had an effect. Each
// call must have had it once: never twice, and at the end none may be missing.
class Life : public SavesOutbox {
 public:
  explicit Life(uint64_t seed) : random_(seed) {
    rules_.calls = 1 + Below(6);
    if (Below(2) == 0) rules_.every_ns = kSecondNs / 2;
    rules_.asks = Below(4) == 0;
    callers_.resize(1 + Below(3));
    Start();
  }

  void Run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      Step();
      saves_->CheckInvariants();
    }
    // Everything that is on its way arrives, after one more death.
    Die();
    while (!testing::Test::HasFailure() && GoOn()) {
    }
    for (size_t caller = 0; caller < callers_.size(); ++caller) {
      for (uint64_t call = 1; call < callers_[caller].next; ++call) {
        EXPECT_TRUE(state_.contains({caller, call})) << caller << " misses its call " << call;
        EXPECT_FALSE(callers_[caller].calls.contains(call) &&
                     !callers_[caller].calls.at(call).answered);
      }
    }
  }

 private:
  struct Kept {
    bool answered = false;
  };
  struct ToCaller {
    enum class Kind { kAnswer, kIncluded, kAsk, kSaved } kind;
    uint64_t number;
    std::vector<std::pair<uint64_t, uint64_t>> ranges = {};
  };
  struct ToActor {
    uint64_t call;        // 0: it has read
    uint64_t number = 0;  // what it was asked
    uint64_t floor = 0;
  };
  struct CallerState {
    uint64_t next = 1;
    std::map<uint64_t, Kept> calls;  // kept, or not answered
    std::vector<ToCaller> inbox;
    std::vector<ToActor> outbox;
  };
  using Effects = std::set<std::pair<size_t, uint64_t>>;
  struct Stored {
    Effects state;
    wire::Bytes calls;
  };

  uint64_t Below(uint64_t bound) { return random_() % bound; }

  void Start() {
    saves_.emplace(rules_, *this, now_ns_);
    state_ = {};
    if (disk_) {
      state_ = disk_->state;
      saves_->Restore({reinterpret_cast<const char*>(disk_->calls.data()), disk_->calls.size()});
    }
    // Each makes again what it keeps.
    for (CallerState& caller : callers_) {
      for (const auto& [call, kept] : caller.calls) caller.outbox.push_back({call});
    }
  }
  void Die() {
    if (at_gcs_) {
      if (Below(2) == 0) disk_ = std::move(at_gcs_);  // stored, and nobody was told
      at_gcs_.reset();
    }
    for (CallerState& caller : callers_) {
      // Its last answers arrive, or some of them do.
      const size_t arrive = Below(caller.inbox.size() + 1);
      for (size_t i = 0; i < arrive; ++i) Receive(caller);
      caller.inbox.clear();
      caller.outbox.clear();
    }
    Start();
  }

  void Step() {
    now_ns_ += static_cast<int64_t>(Below(50)) * 1'000'000;
    const uint64_t dice = Below(100);
    CallerState& caller = callers_[Below(callers_.size())];
    if (dice < 25) {
      caller.calls[caller.next];
      caller.outbox.push_back({caller.next++});
    } else if (dice < 60) {
      Execute(static_cast<size_t>(&caller - callers_.data()));
    } else if (dice < 85) {
      if (!caller.inbox.empty()) Receive(caller);
    } else if (dice < 96) {
      StoreOne();
    } else if (dice < 98) {
      Die();
    } else {
      saves_->Want(Caller(static_cast<uint8_t>(1 + Below(callers_.size()))));
    }
    Look();
  }
  // False: there is nothing left to do.
  bool GoOn() {
    bool any = false;
    for (size_t i = 0; i < callers_.size(); ++i) {
      while (!callers_[i].outbox.empty()) Execute(i), Look(), any = true;
      while (!callers_[i].inbox.empty()) Receive(callers_[i]), any = true;
    }
    if (at_gcs_) StoreOne(), any = true;
    return any;
  }

  void Execute(size_t number) {
    CallerState& caller = callers_[number];
    if (caller.outbox.empty()) return;
    const ToActor got = caller.outbox.front();
    caller.outbox.erase(caller.outbox.begin());
    const WorkerId id = Caller(static_cast<uint8_t>(1 + number));
    if (got.call == 0) return saves_->OnRead(id, got.number, got.floor);
    if (saves_->Includes(id, got.call)) {
      saves_->MadeAgain(id);
      caller.inbox.push_back({ToCaller::Kind::kIncluded, got.call});
      return;
    }
    EXPECT_TRUE(state_.insert({number, got.call}).second)
        << "call " << got.call << " of " << number << " has its effect twice";
    saves_->Ended({.caller = id, .call = got.call});
    caller.inbox.push_back({ToCaller::Kind::kAnswer, got.call});
  }
  void Receive(CallerState& caller) {
    const ToCaller got = caller.inbox.front();
    caller.inbox.erase(caller.inbox.begin());
    const auto it = caller.calls.find(got.number);
    switch (got.kind) {
      case ToCaller::Kind::kAnswer:
        if (it != caller.calls.end()) it->second.answered = true;
        break;
      case ToCaller::Kind::kIncluded:
        // Nobody gave up waiting for a caller in these lives.
        EXPECT_TRUE(it == caller.calls.end() || it->second.answered)
            << "the answer of " << got.number << " is lost";
        break;
      case ToCaller::Kind::kAsk: {
        const uint64_t floor = caller.calls.empty() ? caller.next : caller.calls.begin()->first;
        caller.outbox.push_back({0, got.number, floor});
        break;
      }
      case ToCaller::Kind::kSaved:
        for (const auto& [begin, end] : got.ranges) {
          caller.calls.erase(caller.calls.lower_bound(begin), caller.calls.lower_bound(end));
        }
        break;
    }
  }

  void Look() {
    saves_->Tick(now_ns_);
    if (saves_->Look(now_ns_, true) != ActorSaves::Step::kTake) return;
    if (rules_.asks && Below(2) == 0) {
      return saves_->NotTaken(ActorSaves::Why::kDeclined, now_ns_);
    }
    ++taken_;
    states_[taken_] = state_;
    saves_->Taken({static_cast<uint8_t>(taken_), static_cast<uint8_t>(taken_ >> 8)}, 0, now_ns_);
  }
  void AskRead(const WorkerId& caller, uint64_t number) override {
    callers_[caller.bytes[0] - 1u].inbox.push_back({ToCaller::Kind::kAsk, number});
  }
  void Store(ActorSave& save) override {
    const size_t which = save.state[0] | save.state[1] << 8;
    at_gcs_ = Stored{states_.at(which), save.calls};
  }
  void TellSaved(const WorkerId& caller, const CallSet& calls) override {
    callers_[caller.bytes[0] - 1u].inbox.push_back({ToCaller::Kind::kSaved, 0, RangesOf(calls)});
  }
  void TellNeverQuiet(int64_t, uint64_t) override {}
  void StoreOne() {
    if (!at_gcs_) return;
    disk_ = *std::exchange(at_gcs_, std::nullopt);
    saves_->OnStored(now_ns_);
  }

  std::mt19937_64 random_;
  SaveRules rules_;
  int64_t now_ns_ = 0;
  std::vector<CallerState> callers_;
  Effects state_;
  std::map<size_t, Effects> states_;  // that were taken
  size_t taken_ = 0;
  std::optional<Stored> at_gcs_, disk_;
  std::optional<ActorSaves> saves_;
};

TEST(ActorSavesRandom, EachCallHasItsEffectOnce) {
  for (uint64_t seed = 1; seed <= 2000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Life(seed).Run(400);
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace cyray::core
