// ActorSubmitter with an actor that is saved: which calls are kept, when they run again, and when
// they are let go of.

#include <gmock/gmock.h>
#include <sys/epoll.h>

#include "cpp_tests/core/submitter_fake.h"

namespace cyray::core {
namespace {

using testing::ElementsAre;
using wire::ActorState;
using wire::FrameType;
using wire::TaskStatus;

class ActorSubmitterSavesTest : public SubmitterFake {
 protected:
  ActorSubmitterSavesTest() {
    actor_id_.bytes[0] = 5;
    client_ = actors_.Acquire(actor_id_);
    client_->saved = true;
    actors_.set_on_let_go([this](const std::string& text) { told_.push_back(text); });
    AddWorker(10);
    AddWorker(11);
    Update(ActorState::Alive, 0, 10);
  }
  ObjectEntry* Call(TaskTemplate* tmpl, std::vector<ObjectEntry*> refs = {}) {
    mine_.push_back(Submit(tmpl, std::move(refs), client_, "arguments"));
    return mine_.back();
  }
  void Update(ActorState state, uint32_t incarnation, uint8_t worker) {
    flatbuffers::FlatBufferBuilder b;
    const Address address = WorkerAddress(worker);
    wire::ActorUpdateBuilder update(b);
    update.add_actor_id(wire::ToWire(actor_id_));
    update.add_state(state);
    update.add_address(wire::ToWire(address));
    update.add_incarnation(incarnation);
    b.Finish(update.Finish());
    actors_.OnActorUpdate(*flatbuffers::GetRoot<wire::ActorUpdate>(b.GetBufferPointer()));
  }
  void Restart() {
    Kill(10);
    Update(ActorState::Restarting, 1, 0);
    Update(ActorState::Alive, 1, 11);
  }
  void OnObjectReady(ObjectEntry* entry, std::vector<uint64_t> dependents,
                     std::vector<uint64_t> callbacks) override {
    SubmitterFake::OnObjectReady(entry, std::move(dependents), std::move(callbacks));
    if (on_ready_) std::exchange(on_ready_, {})();
  }
  // What was pushed there: the numbers of the calls.
  std::vector<uint64_t> Numbers(uint8_t worker) {
    links_.FlushDirty();
    std::vector<uint64_t> numbers;
    tags_.clear();
    for (const GotFrame& frame : worker_ends_[worker]->Take(FrameType::kPushTask)) {
      numbers.push_back(frame.As<wire::PushTask>()->call());
      tags_.push_back(frame.As<wire::PushTask>()->tag());
    }
    return numbers;
  }
  void Saved(uint8_t worker, uint64_t begin, uint64_t end) {
    flatbuffers::FlatBufferBuilder b;
    const wire::CallRange range(begin, end);
    b.Finish(wire::CreateCallsSaved(b, b.CreateVectorOfStructs(&range, 1)));
    actors_.OnCallsSaved(LinkTo(worker),
                         *flatbuffers::GetRoot<wire::CallsSaved>(b.GetBufferPointer()));
  }
  uint64_t FloorSaid(uint8_t worker) {
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateAskRead(b, 9));
    actors_.OnAskRead(LinkTo(worker), *flatbuffers::GetRoot<wire::AskRead>(b.GetBufferPointer()));
    links_.FlushDirty();
    const auto frames = worker_ends_[worker]->Take(FrameType::kAnswersRead);
    EXPECT_EQ(frames.at(0).As<wire::AnswersRead>()->number(), 9u);
    return frames.at(0).As<wire::AnswersRead>()->floor();
  }
  void TearDown() override {
    actors_.CheckInvariants();
    Update(ActorState::Dead, 9, 0);
    actors_.CheckInvariants();
    for (ObjectEntry* entry : mine_) {
      EXPECT_TRUE(entry->ready());
      objects_.Release(entry);
    }
    ExpectAllAnswered();
    EXPECT_EQ(objects_.size(), 0u);
  }

  ActorId actor_id_;
  ActorClient* client_;
  std::vector<ObjectEntry*> mine_;
  std::vector<uint64_t> tags_;
  std::function<void()> on_ready_;  // the next object is
  std::vector<std::string> told_;   // of calls that were let go of
};

TEST_F(ActorSubmitterSavesTest, AnsweredCallsRunAgainInOrderAndBeforeAllOthers) {
  TaskTemplate* tmpl = MakeTemplate(/*max_retries=*/-1);
  for (int i = 0; i < 3; ++i) Call(tmpl);
  EXPECT_THAT(Numbers(10), ElementsAre(1, 2, 3));
  Reply(10, tags_[0]);
  Reply(10, tags_[1]);
  EXPECT_TRUE(mine_[0]->ready());
  EXPECT_EQ(client_->kept.count, 2u);
  EXPECT_EQ(client_->pending(), 1u);
  Restart();
  Call(tmpl);
  EXPECT_THAT(Numbers(11), ElementsAre(1, 2, 3, 4));
  for (const uint64_t tag : std::vector(tags_)) Reply(11, tag);
  EXPECT_EQ(client_->kept.count, 4u);
}

TEST_F(ActorSubmitterSavesTest, KeptCallsAndThoseThatRunAgainFillNoLimit) {
  TaskTemplate* tmpl = MakeTemplate(-1);
  for (int i = 0; i < 3; ++i) Call(tmpl);
  Numbers(10);
  EXPECT_EQ(client_->bytes, 3 * std::string("arguments").size());
  Reply(10, tags_[0]);
  Reply(10, tags_[1]);
  const auto expect_one_pending = [this] {
    EXPECT_EQ(client_->pending(), 1u);
    EXPECT_EQ(client_->bytes, std::string("arguments").size());
    EXPECT_EQ(slab_.pending(), 1u);
    EXPECT_EQ(slab_.live(), 3u) << "what its process stays for";
    ExpectTallied();
    EXPECT_EQ(tally_.Read()[wire::TaskCount::kUnfinished], 1u);
    actors_.CheckInvariants();
  };
  expect_one_pending();
  EXPECT_EQ(client_->repeated(), 0u);
  Kill(10);
  Update(ActorState::Restarting, 1, 0);
  expect_one_pending();  // queued
  EXPECT_EQ(client_->repeated(), 2u);
  Update(ActorState::Alive, 1, 11);
  Numbers(11);
  expect_one_pending();  // in flight
  std::string text;
  actors_.Describe(text);
  EXPECT_NE(text.find("0 queued, 1 in flight, 0 in limbo, 0 kept, 2 again"), std::string::npos)
      << text;
  for (const uint64_t tag : std::vector(tags_)) Reply(11, tag);
  EXPECT_EQ(slab_.pending(), 0u);
  EXPECT_EQ(client_->bytes, 0u);
}

TEST_F(ActorSubmitterSavesTest, AClientIsNotForgottenWhileItsCallIsAnswered) {
  Call(MakeTemplate(-1));
  Numbers(10);
  objects_.AddCallback(mine_[0], 1);
  actors_.Release(client_);
  // What becomes ready with the answer lets go of many other clients.
  on_ready_ = [this] {
    for (size_t n = 0; n <= 2 * ActorSubmitter::kMaxIdle; ++n) {
      ActorId other;
      other.bytes[0] = 6;
      std::memcpy(other.bytes.data() + 1, &n, sizeof n);
      actors_.Release(actors_.Acquire(other));
    }
  };
  Reply(10, tags_[0]);
  EXPECT_FALSE(on_ready_);
  ASSERT_EQ(actors_.Acquire(actor_id_), client_);
  EXPECT_EQ(client_->kept.count, 1u);
}

TEST_F(ActorSubmitterSavesTest, WhatASaveIncludesIsLetGoOf) {
  TaskTemplate* tmpl = MakeTemplate(-1);
  for (int i = 0; i < 3; ++i) Call(tmpl);
  Numbers(10);
  for (const uint64_t tag : std::vector(tags_)) Reply(10, tag);
  EXPECT_EQ(FloorSaid(10), 1u);
  Saved(10, 1, 3);
  EXPECT_EQ(client_->kept.count, 1u);
  EXPECT_EQ(FloorSaid(10), 3u);
  Restart();
  EXPECT_THAT(Numbers(11), ElementsAre(3));
  Reply(11, tags_[0]);
}

TEST_F(ActorSubmitterSavesTest, CallsWithoutRetriesAreNotKept) {
  Call(MakeTemplate(0));
  EXPECT_THAT(Numbers(10), ElementsAre(0));
  Reply(10, tags_[0]);
  EXPECT_TRUE(client_->kept.empty());
  EXPECT_EQ(FloorSaid(10), 1u);
}

TEST_F(ActorSubmitterSavesTest, ACallIsKeptForAsManyRestartsAsItHasRetries) {
  Call(MakeTemplate(1));
  EXPECT_THAT(Numbers(10), ElementsAre(1));
  Reply(10, tags_[0]);
  Restart();
  EXPECT_THAT(Numbers(11), ElementsAre(1));
  Reply(11, tags_[0]);
  EXPECT_TRUE(client_->kept.empty()) << "it would not run again";
  EXPECT_EQ(FloorSaid(11), 2u);
}

TEST_F(ActorSubmitterSavesTest, WhatTheStateIncludesAlreadyStaysKeptUntilASaveDoes) {
  TaskTemplate* tmpl = MakeTemplate(-1);
  Call(tmpl);
  Numbers(10);
  Reply(10, tags_[0]);
  Restart();
  EXPECT_THAT(Numbers(11), ElementsAre(1));
  Reply(11, tags_[0], TaskStatus::Included);
  EXPECT_EQ(client_->kept.count, 1u);
  Saved(11, 1, 2);
  EXPECT_TRUE(client_->kept.empty());
}

TEST_F(ActorSubmitterSavesTest, AnAnswerThatWasLostIsAnError) {
  Call(MakeTemplate(-1));
  Numbers(10);
  Restart();
  Numbers(11);
  Reply(11, tags_[0], TaskStatus::Included);
  EXPECT_EQ(KindOf(mine_[0]), ErrorKind::kActorUnavailable);
}

TEST_F(ActorSubmitterSavesTest, ArgumentsByReferenceStayAsLongAsTheCall) {
  ObjectEntry* argument = objects_.NewOwned(ObjectId(ids_.Next(), 1));
  objects_.Resolve(argument, ValuePtr(Value::Copy("v", 1)), false);
  Call(MakeTemplate(-1), {argument});
  objects_.Release(argument);
  Numbers(10);
  Reply(10, tags_[0]);
  EXPECT_EQ(objects_.size(), 2u);
  Saved(10, 1, 2);
  EXPECT_EQ(objects_.size(), 1u);
}

TEST_F(ActorSubmitterSavesTest, NumbersAreNotGivenTwice) {
  TaskTemplate* tmpl = MakeTemplate(-1);
  Call(tmpl);
  Numbers(10);
  Reply(10, tags_[0]);
  Saved(10, 1, 2);
  actors_.Release(client_);
  for (uint8_t i = 0; i < 2; ++i) {  // enough others for the client to be forgotten
    for (size_t n = 0; n <= ActorSubmitter::kMaxIdle; ++n) {
      ActorId other;
      other.bytes[0] = 6;
      std::memcpy(other.bytes.data() + 1, &n, sizeof n);
      actors_.Release(actors_.Acquire(other));
    }
  }
  client_ = actors_.Acquire(actor_id_);
  client_->saved = true;
  EXPECT_EQ(client_->next_call, 2u);
  Update(ActorState::Alive, 0, 10);
}

TEST_F(ActorSubmitterSavesTest, WhoWantsToEndSaysSo) {
  Call(MakeTemplate(-1));
  Numbers(10);
  const auto wanted = [this] {
    links_.FlushDirty();
    return worker_ends_[10]->Take(FrameType::kSaveWanted).size();
  };
  actors_.WantSaves(/*to_end=*/false);
  EXPECT_EQ(wanted(), 0u) << "nothing is kept";
  Reply(10, tags_[0]);
  EXPECT_EQ(wanted(), 0u);
  actors_.WantSaves(/*to_end=*/true);
  EXPECT_EQ(wanted(), 1u);
  Call(MakeTemplate(-1));
  Numbers(10);
  Reply(10, tags_[0]);
  EXPECT_EQ(wanted(), 1u);
}

TEST_F(ActorSubmitterSavesTest, OfAnActorThatIsNotSavedAsItShouldBeNotEverythingIsKept) {
  TaskTemplate* tmpl = MakeTemplate(-1);
  const std::string large(32 << 20, 'x');
  for (int i = 0; i < 12; ++i) {
    mine_.push_back(Submit(tmpl, {}, client_, large));
    for (const uint64_t tag : Pushed(10)) Reply(10, tag);
  }
  EXPECT_LE(client_->kept_bytes, ActorClient::kMostKeptBytes);
  EXPECT_EQ(client_->kept.first->call, 5u) << "the oldest go";
  ASSERT_EQ(told_.size(), 1u) << "once a minute";
  EXPECT_THAT(told_[0], testing::HasSubstr(actor_id_.Hex()));
  EXPECT_THAT(told_[0], testing::HasSubstr("and 1 answered calls"));
  EXPECT_THAT(told_[0], testing::HasSubstr("256 MiB of arguments"));
}

TEST_F(ActorSubmitterSavesTest, ObjectsThatKeptCallsNameAreBoundedToo) {
  actors_.set_most_kept_object_bytes(100);
  TaskTemplate* tmpl = MakeTemplate(-1);
  const auto call = [&](const std::vector<size_t>& sizes) {
    std::vector<ObjectEntry*> refs;
    for (const size_t bytes : sizes) {
      refs.push_back(objects_.NewOwned(ObjectId(ids_.Next(), 1)));
      objects_.Resolve(refs.back(), ValuePtr(Value::Copy(std::string(bytes, 'x').data(), bytes)),
                       false);
    }
    Call(tmpl, refs);
    for (ObjectEntry* entry : refs) objects_.Release(entry);
    for (const uint64_t tag : Pushed(10)) Reply(10, tag);
    return refs;
  };
  const auto asked = [this] {
    links_.FlushDirty();
    return worker_ends_[10]->Take(FrameType::kSaveWanted).size();
  };
  call({20, 20});
  EXPECT_EQ(asked(), 0u);
  call({20});
  EXPECT_EQ(asked(), 1u) << "half of it";
  call({20});
  EXPECT_EQ(asked(), 0u);
  EXPECT_EQ(client_->kept_object_bytes, 80u);
  const std::vector<ObjectEntry*> large = call({1000});
  EXPECT_EQ(client_->kept.count, 4u) << "the newest may name anything";
  Call(tmpl, large);
  for (const uint64_t tag : Pushed(10)) Reply(10, tag);
  EXPECT_EQ(client_->kept.count, 5u) << "and the same again";
  EXPECT_TRUE(told_.empty());
  call({1});
  EXPECT_EQ(client_->kept.count, 1u);
  EXPECT_EQ(client_->kept_object_bytes, 1u);
  ASSERT_EQ(told_.size(), 1u);
  EXPECT_THAT(told_[0], testing::HasSubstr("and 5 answered calls"));
  Saved(10, 1, 10);
  EXPECT_EQ(client_->kept_object_bytes, 0u);
}

TEST_F(ActorSubmitterSavesTest, AProcessThatIsToEndLetsGoAfterAWhile) {
  TaskTemplate* tmpl = MakeTemplate(-1);
  for (int i = 0; i < 2; ++i) Call(tmpl);
  Numbers(10);
  Reply(10, tags_[0]);
  actors_.WantSaves(/*to_end=*/false);
  EXPECT_EQ(actors_.NextTickNs(), kForever) << "one that is idle may serve others";
  actors_.WantSaves(/*to_end=*/true);
  Kill(10);
  Update(ActorState::Restarting, 1, 0);
  const int64_t due_ns = actors_.NextTickNs();
  EXPECT_LE(due_ns, links_.NowNs() + ActorSubmitter::kLetGoNs);
  actors_.Tick(due_ns - 1);
  EXPECT_EQ(client_->repeated(), 1u);
  actors_.Tick(due_ns);
  EXPECT_EQ(client_->repeated(), 0u);
  EXPECT_EQ(client_->pending(), 1u) << "that somebody waits for";
  Update(ActorState::Alive, 1, 11);
  EXPECT_THAT(Numbers(11), ElementsAre(2));
  Reply(11, tags_[0]);
  EXPECT_EQ(client_->kept.count, 1u);
  actors_.Tick(actors_.NextTickNs());
  EXPECT_TRUE(client_->kept.empty());
  EXPECT_EQ(slab_.live(), 0u);
  EXPECT_EQ(told_.size(), 1u) << "once a minute";
}

}  // namespace
}  // namespace cyray::core
