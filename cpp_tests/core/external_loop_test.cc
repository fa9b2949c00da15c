// ExternalLoop: an event loop is woken when something came that no turn of its own will find.

#include "cyray/core/external_loop.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>

namespace cyray::core {
namespace {

class ExternalLoopTest : public testing::Test, public PollerHandler {
 protected:
  ExternalLoopTest() { loop_.Use(wake_.get()); }
  // PollerHandler
  void OnReady(void*, uint32_t) override {}
  void FlushAll() override { ++flushed_; }
  int64_t NextTimerNs() override { return kForever; }
  void RunTimers(int64_t) override {}

  // What a steward does when it has read a task.
  void Wake() {
    std::lock_guard lock(process_.mutex());
    loop_.Wake();
  }
  void CallEnds() {
    std::lock_guard lock(process_.mutex());
    loop_.TurnFollows();
  }
  void FindNothing() {
    std::lock_guard lock(process_.mutex());
    loop_.FoundNothing();
  }
  bool Woken() {
    uint64_t count = 0;
    return ::read(wake_.get(), &count, sizeof count) > 0;
  }

  UniqueFd wake_{eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
  int flushed_ = 0;
  ThisProcess process_{*this, {[](Link&, const wire::Frame&) {}, [](Link&, const std::string&) {}}};
  ExternalLoop loop_{process_};
};

TEST_F(ExternalLoopTest, BetweenTurnsItIsWokenOnce) {
  Wake();
  EXPECT_TRUE(Woken());
  Wake();
  EXPECT_FALSE(Woken());  // the turn that was asked for has not begun
  loop_.PollNow();
  FindNothing();
  loop_.EndTurn();
  Wake();
  EXPECT_TRUE(Woken());
}

TEST_F(ExternalLoopTest, WhileItTakesWhatIsThereItIsNotWoken) {
  loop_.PollNow();
  Wake();
  EXPECT_FALSE(Woken());
  FindNothing();
  Wake();
  EXPECT_TRUE(Woken());
}

TEST_F(ExternalLoopTest, BeforeATurnThatFollowsAnEndItIsNotWoken) {
  loop_.PollNow();
  FindNothing();
  loop_.EndTurn();
  CallEnds();
  Wake();
  EXPECT_FALSE(Woken());
}

// A plain method runs and ends within a turn: no further one follows from that.
TEST_F(ExternalLoopTest, ACallThatEndsWithinATurnPromisesNoOther) {
  loop_.PollNow();
  CallEnds();
  FindNothing();
  Wake();  // before the turn writes its replies
  EXPECT_TRUE(Woken());
  const int flushed = flushed_;
  loop_.EndTurn();
  EXPECT_GT(flushed_, flushed);
  loop_.PollNow();
  CallEnds();
  FindNothing();
  loop_.EndTurn();
  Wake();
  EXPECT_TRUE(Woken());
}

}  // namespace
}  // namespace cyray::core
