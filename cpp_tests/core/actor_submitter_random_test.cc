// ActorSubmitter against a model: random calls, arguments, answers, restarts, deaths and broken
// connections of one actor, in random order. After every step the invariants hold, and where order
// matters calls are pushed in order; at the end every call has been answered once, with the error
// or value that the model expects. Of an actor that is saved answered calls are kept until a save
// includes them, and pushed again after a restart. A failing run prints its seed.

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <vector>

#include "cpp_tests/core/random_run.h"
#include "cyray/util/clock.h"

namespace cyray::core {
namespace {

using wire::ActorState;
using wire::FrameType;
using wire::TaskStatus;

class ActorRun : public RandomRun {
 public:
  ActorRun(uint64_t seed, bool in_order, bool saved) : RandomRun(seed), saved_(saved) {
    id_.bytes[0] = 5;
    client_ = actors_.Acquire(id_);
    client_->lanes[0].group.in_order = in_order;
    client_->saved = saved;
    for (int retries : {0, 1, -1}) templates_of_run_.push_back(MakeTemplate(retries));
  }

 private:
  struct Call {
    ObjectEntry* result;
    ObjectEntry* arg;
    int retries;
    bool pushed = false;  // and not answered
    bool sent_back = false;
    bool may_fail = false;
    bool cancelled = false;  // and is not pushed again
    bool answered = false;   // of an actor that is saved
    uint64_t number = 0;     // there
  };

  void Step() override {
    const size_t dice = Below(100);
    if (dice < 37) return CallOne();
    if (dice < 40) return CancelOne();
    if (dice < 50) return ResolveOne();
    if (dice < 80) return AnswerOne();
    if (dice < 85) return RepeatAnswer();
    if (dice < 90) return Lose();
    if (dice < 95) return Tell();
    if (dice < 97) return SaveBelow(1 + Below(calls_.size() + 1));
    if (dice == 97) return Tick(MonotonicNs());
    if (dice == 98 && Chance(10)) return DieForGood();
    // Another handle comes and goes.
    actors_.Release(actors_.Acquire(id_));
  }

  void CallOne() {
    ObjectEntry* arg = nullptr;
    if (Chance(30)) {
      if (args_.empty() || Chance(50)) {
        args_.push_back(objects_.NewOwned(ObjectId(ids_.Next(), 1)));
      }
      arg = args_[Below(args_.size())];
    }
    TaskTemplate* tmpl = templates_of_run_[Below(templates_of_run_.size())];
    ObjectEntry* result =
        Submit(tmpl, arg != nullptr ? std::vector<ObjectEntry*>{arg} : std::vector<ObjectEntry*>{},
               client_);
    number_of_[result] = calls_.size();
    calls_.push_back({result, arg, tmpl->max_retries});
    const bool restarts = client_->state == ActorState::Restarting && tmpl->max_retries == 0;
    if (restarts && !dead_ && !given_up_) {
      EXPECT_TRUE(result->ready());
    }
    if (dead_ || given_up_ || restarts) calls_.back().may_fail = true;
  }
  void CancelOne() {
    if (calls_.empty()) return;
    const size_t number = Below(calls_.size());
    Call& call = calls_[number];
    PendingTask* pending = call.result->maker;
    if (pending == nullptr) return;
    const bool in_flight = pending->place == Place::kInFlight;
    call.cancelled = call.may_fail = true;
    actors_.Cancel(pending, Chance(50));
    EXPECT_EQ(call.result->ready(), !in_flight);
    limbo_.erase(number);
  }
  void ResolveOne() {
    std::vector<ObjectEntry*> pending;
    for (ObjectEntry* arg : args_) {
      if (!arg->ready()) pending.push_back(arg);
    }
    if (pending.empty()) return;
    const bool error = Chance(10);
    objects_.Resolve(pending[Below(pending.size())], SystemError(ErrorKind::kInternal, ""), error);
  }

  void Answer(uint64_t tag, TaskStatus status, bool retry = false) {
    Call& call = calls_[by_tag_.at(tag)];
    std::erase(has_, tag);
    said_.push_back(tag);
    call.pushed = false;
    const bool again = status == TaskStatus::Error && retry && call.retries != 0;
    const bool ended = (status == TaskStatus::Ok || status == TaskStatus::Error) && !again;
    if (status == TaskStatus::Included && !call.answered) call.may_fail = true;
    if (ended || status == TaskStatus::Included) again_.erase(by_tag_.at(tag));
    if (saved_ && (ended || (status == TaskStatus::Included && call.answered))) {
      call.answered = true;
      if (call.retries != 0 && !call.cancelled) kept_.insert(by_tag_.at(tag));
    }
    if (status == TaskStatus::Error) {
      if (retry && call.retries != 0) {
        if (call.retries > 0) --call.retries;
        call.sent_back = true;  // it goes to the end of the line
      } else {
        call.may_fail = true;
      }
    } else if (status == TaskStatus::WorkerExiting && !call.cancelled) {
      limbo_.insert(by_tag_.at(tag));
    }
    SendReply(worker_, tag, status, retry);
    links_.OnReady(LinkTo(worker_), EPOLLIN);
  }
  void AnswerOne() {
    if (!up_ || has_.empty()) return;
    const uint64_t tag = has_[client_->lanes[0].group.in_order ? 0 : Below(has_.size())];
    const size_t dice = Below(100);
    if (calls_[by_tag_.at(tag)].cancelled && dice < 50) return Answer(tag, TaskStatus::Cancelled);
    if (saved_ && dice >= 70 && dice < 75) return Answer(tag, TaskStatus::Included);
    if (dice < 75) return Answer(tag, TaskStatus::Ok);
    if (dice < 85) return Answer(tag, TaskStatus::Error);
    if (dice < 95) return Answer(tag, TaskStatus::Error, /*retry=*/true);
    Answer(tag, TaskStatus::WorkerExiting);
  }
  // A save includes the calls with smaller numbers.
  void SaveBelow(uint64_t end) {
    if (!up_ || !saved_) return;
    flatbuffers::FlatBufferBuilder b;
    const wire::CallRange range(1, end);
    b.Finish(wire::CreateCallsSaved(b, b.CreateVectorOfStructs(&range, 1)));
    actors_.OnCallsSaved(LinkTo(worker_),
                         *flatbuffers::GetRoot<wire::CallsSaved>(b.GetBufferPointer()));
    std::erase_if(kept_, [&](size_t number) { return calls_[number].number < end; });
  }
  void RepeatAnswer() {
    if (!up_ || said_.empty()) return;
    const uint64_t tag = said_[Below(said_.size())];
    if (std::find(has_.begin(), has_.end(), tag) != has_.end()) return;  // that would be its answer
    if (limbo_.erase(by_tag_.at(tag)) > 0) {  // as this is, of one that was handed back
      Call& call = calls_[by_tag_.at(tag)];
      again_.erase(by_tag_.at(tag));
      if (saved_ && call.retries != 0 && !call.cancelled) {
        call.answered = true;
        kept_.insert(by_tag_.at(tag));
      }
    }
    SendReply(worker_, tag, TaskStatus::Ok);
    links_.OnReady(LinkTo(worker_), EPOLLIN);
  }

  // The worker dies, or only the connection to it breaks.
  void Lose() {
    if (!up_) return;
    up_ = false;
    for (const uint64_t tag : std::exchange(has_, {})) limbo_.insert(by_tag_.at(tag));
    process_is_dead_ = Chance(70);
    if (!process_is_dead_) return links_.Break(LinkTo(worker_), "nonsense");
    Kill(worker_);
    if (Chance(80)) {
      actors_.OnProcessDied(WorkerAddress(worker_).worker);
      told_of_death_ = true;
    }
  }
  void Tick(int64_t now_ns) {
    const bool waits = actors_.NextTickNs() != kForever;
    EXPECT_EQ(waits, alive_told_ && !up_ && !told_of_death_ && !given_up_ && !dead_);
    if (waits && actors_.NextTickNs() <= now_ns) {
      given_up_ = true;
      limbo_.clear();
      for (Call& call : calls_) call.may_fail = call.may_fail || !call.result->ready();
      // Those that were to run again are kept on.
      for (const size_t number : std::exchange(again_, {})) {
        calls_[number].pushed = false;
        if (calls_[number].retries != 0) kept_.insert(number);
      }
    }
    actors_.Tick(now_ns);
    RayletAnswers();
    actors_.Tick(now_ns);
    EXPECT_EQ(actors_.NextTickNs() != kForever, waits && !given_up_);
  }
  void Tell() {
    if (up_) return Update(ActorState::Alive, worker_);  // again
    if (!process_is_dead_ && alive_told_ && !Chance(30)) {
      if (Chance(50)) return Update(ActorState::Alive, worker_);  // again: nobody knows better
      return Tick(MonotonicNs() + LinkTable::kNewsElsewhereNs);
    }
    if (alive_told_ && Chance(70)) {
      ++incarnation_;
      Settled();
      alive_told_ = false;
      return Update(ActorState::Restarting, 0);
    }
    if (next_worker_ == UINT8_MAX) return;
    if (alive_told_) ++incarnation_, Settled();
    worker_ = next_worker_++;
    AddWorker(worker_);
    up_ = alive_told_ = true;
    told_of_death_ = given_up_ = false;
    last_pushed_ = 0;
    Update(ActorState::Alive, worker_);
  }
  // The actor restarts: calls in limbo are tried again or fail.
  void Settled() {
    for (const size_t number : std::exchange(kept_, {})) {
      if (calls_[number].retries > 0) --calls_[number].retries;
      again_.insert(number);
    }
    for (const size_t number : std::exchange(limbo_, {})) {
      Call& call = calls_[number];
      call.pushed = false;
      if (call.retries == 0) call.may_fail = true, again_.erase(number);
      if (call.retries > 0) --call.retries;
    }
    given_up_ = told_of_death_ = false;
  }
  void DieForGood() {
    Lose();
    dead_ = true;
    Update(ActorState::Dead, 0);
    for (Call& call : calls_) call.may_fail = true;
    limbo_.clear();
    kept_.clear();
    again_.clear();
  }
  void Update(ActorState state, uint8_t worker) {
    flatbuffers::FlatBufferBuilder b;
    const Address address = WorkerAddress(worker);
    b.Finish(
        wire::CreateActorUpdate(b, wire::ToWire(id_), state, wire::ToWire(address), incarnation_));
    actors_.OnActorUpdate(*flatbuffers::GetRoot<wire::ActorUpdate>(b.GetBufferPointer()));
  }

  // What the submitter has pushed.
  void Observe() override {
    if (up_) {
      for (const uint64_t tag : Pushed(worker_)) {
        const PendingTask* task = slab_.Find(tag);
        ASSERT_NE(task, nullptr);
        const size_t number = task->answered ? by_tag_.at(tag) : number_of_.at(task->returns.at(0));
        by_tag_[tag] = number;
        Call& call = calls_[number];
        EXPECT_EQ(call.answered, task->answered);
        EXPECT_EQ(task->call != 0, saved_ && task->tmpl->max_retries != 0);
        call.number = task->call;
        EXPECT_FALSE(std::exchange(call.pushed, true)) << "pushed twice";
        EXPECT_FALSE(call.cancelled) << "it was cancelled, and is pushed again";
        EXPECT_TRUE(call.arg == nullptr || call.arg->ready());
        if (client_->lanes[0].group.in_order && !call.sent_back) {
          EXPECT_GE(number + 1, last_pushed_) << "a younger call was pushed before";
          last_pushed_ = number + 1;
        }
        has_.push_back(tag);
      }
    }
    EXPECT_EQ(client_->kept.count, kept_.size());
    actors_.CheckInvariants();
    ExpectTallied();
    objects_.CheckInvariants();
  }

  void Settle() override {
    for (ObjectEntry* arg : args_) {
      if (!arg->ready()) objects_.Resolve(arg, SystemError(ErrorKind::kInternal, ""), false);
    }
    Observe();
    for (int round = 0; round < 10'000 && slab_.live() > 0 && !HasFailure(); ++round) {
      if (!up_) process_is_dead_ = true;
      if (next_worker_ == UINT8_MAX && !up_) {
        DieForGood();
      } else if (!up_) {
        Tell();
      }
      Observe();
      if (up_ && !has_.empty()) Answer(has_.front(), TaskStatus::Ok);
      Observe();
      // What a leaving worker handed back waits for its end.
      if (up_ && has_.empty() && !limbo_.empty()) Lose();
      if (up_ && has_.empty() && limbo_.empty()) SaveBelow(UINT64_MAX);
    }
    EXPECT_EQ(slab_.live(), 0u);
    for (const Call& call : calls_) {
      EXPECT_TRUE(call.result->ready());
      const bool bad_arg = call.arg != nullptr && call.arg->is_error;
      if (!call.may_fail) {
        EXPECT_EQ(call.result->is_error, bad_arg);
      }
    }
    for (const Call& call : calls_) objects_.Release(call.result);
    for (ObjectEntry* arg : args_) objects_.Release(arg);
    EXPECT_EQ(objects_.size(), 0u);
  }

  ActorId id_;
  ActorClient* client_;
  std::vector<TaskTemplate*> templates_of_run_;
  std::vector<Call> calls_;
  std::vector<ObjectEntry*> args_;
  std::map<const ObjectEntry*, size_t> number_of_;
  std::map<uint64_t, size_t> by_tag_;
  std::deque<uint64_t> has_;  // at the worker, in order
  std::vector<uint64_t> said_;
  std::set<size_t> limbo_;
  const bool saved_;
  std::set<size_t> kept_;   // answered, and in no save
  std::set<size_t> again_;  // of these, since the last restart
  uint8_t worker_ = 0, next_worker_ = 10;
  uint32_t incarnation_ = 0;
  size_t last_pushed_ = 0;
  bool up_ = false;          // a worker serves, and can be reached
  bool alive_told_ = false;  // as the submitter knows
  bool process_is_dead_ = false, told_of_death_ = false;
  bool given_up_ = false, dead_ = false;
};

TEST(ActorSubmitterRandom, EveryCallIsAnsweredOnceAndInOrderWhereItMatters) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    ActorRun run(seed, /*in_order=*/seed % 3 != 0, /*saved=*/seed % 2 == 0);
    run.Go(300);
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace cyray::core
