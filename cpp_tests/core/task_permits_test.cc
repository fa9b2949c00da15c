// TaskSubmitter with max_running: no more of a function's tasks run at once than there are permits,
// whoever counts these, and none is kept that is of no use.

#include <gmock/gmock.h>

#include "cpp_tests/core/submitter_fake.h"
#include "cyray/core/task_submitter.h"
#include "cyray/util/clock.h"

namespace cyray::core {
namespace {

using testing::IsEmpty;
using testing::SizeIs;
using wire::FrameType;

constexpr uint8_t kDriver = 99;
const FunctionId kFunction = FunctionId::FromBytes("function--------");

class TaskPermitsTest : public SubmitterFake {
 protected:
  TaskPermitsTest() { tasks_.permits().SetIdentity(self_, {}); }

  TaskTemplate* Limited(uint32_t max_running, int32_t priority = 0) {
    TaskTemplate* tmpl = slab_.templates().Take();
    tmpl->shape = tasks_.FindShape({.demand = OneCpu(),
                                    .priority = priority,
                                    .max_running = max_running,
                                    .limited = kFunction});
    return tmpl;
  }
  void Submit(TaskTemplate* tmpl, int count) {
    for (int i = 0; i < count; ++i) objects_.Release(SubmitterFake::Submit(tmpl));
  }
  void Count(uint8_t driver) {
    AddWorker(driver);
    tasks_.permits().SetIdentity(self_, WorkerAddress(driver));
  }
  // Of a run that is too long to push another task behind it.
  void ReplyLate(uint8_t worker, uint64_t tag) {
    Reply(worker, tag, wire::TaskStatus::Ok, /*retry=*/false, /*run_us=*/50'000);
  }
  // What the driver was told last.
  const wire::HoldPermits* Told() {
    links_.FlushDirty();
    for (GotFrame& frame : worker_ends_[kDriver]->Take(FrameType::kHoldPermits)) {
      told_ = std::move(frame);
      ++times_told_;
    }
    return told_.bytes.empty() ? nullptr : told_.As<wire::HoldPermits>();
  }
  void FromDriver(uint64_t granted, uint64_t recalled) {
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateGrantPermits(b, wire::ToWire(kFunction), Told()->number(), granted,
                                      Told()->returned(), recalled));
    tasks_.permits().OnGrantPermits(
        LinkTo(kDriver), *flatbuffers::GetRoot<wire::GrantPermits>(b.GetBufferPointer()));
  }
  void GiveLeasesBack() { tasks_.Tick(MonotonicNs() + 1'000'000'000); }

  GotFrame told_;
  int times_told_ = 0;
};

TEST_F(TaskPermitsTest, AsManyWorkersAreAskedForAsMayRun) {
  AddWorker(10);
  AddWorker(11);
  TaskTemplate* tmpl = Limited(2);
  Submit(tmpl, 5);
  const auto requests = FromProcess(FrameType::kRequestLease);
  ASSERT_THAT(requests, SizeIs(2));
  Grant(requests[0], 1, 10);
  Grant(requests[1], 2, 11);
  EXPECT_THAT(FromProcess(FrameType::kRequestLease), IsEmpty());
  auto first = Pushed(10), second = Pushed(11);
  ASSERT_THAT(first, SizeIs(1));
  ReplyLate(10, first[0]);
  for (int left = 3; left > 0; --left) {
    const auto next = Pushed(10);
    ASSERT_THAT(next, SizeIs(1));
    ReplyLate(10, next[0]);
  }
  Reply(11, second[0]);
  EXPECT_THAT(FromProcess(FrameType::kRequestLease), IsEmpty());
  ExpectAllAnswered();
}

TEST_F(TaskPermitsTest, TheLimitIsOfTheFunctionWhateverElseItsTasksAskFor) {
  AddWorker(10);
  TaskTemplate* plain = Limited(2);
  TaskTemplate* urgent = Limited(2, 7);
  Submit(plain, 2);
  const auto requests = FromProcess(FrameType::kRequestLease);
  ASSERT_THAT(requests, SizeIs(2));
  Submit(urgent, 2);
  EXPECT_THAT(FromProcess(FrameType::kRequestLease), IsEmpty());
  Grant(requests[0], 1, 10);
  for (int i = 0; i < 2; ++i) ReplyLate(10, Pushed(10)[0]);
  // The second request is of no use any more; its permit is free when it is answered.
  EXPECT_THAT(FromProcess(FrameType::kCancelLease), SizeIs(1));
  EXPECT_THAT(FromProcess(FrameType::kRequestLease), IsEmpty());
  const uint64_t id = requests[1].As<wire::RequestLease>()->request_id();
  FromRaylet(FrameType::kLeaseReply, [&](auto& b) { return wire::CreateLeaseReply(b, id, false); });
  EXPECT_THAT(FromProcess(FrameType::kRequestLease), SizeIs(1));
  GiveLeasesBack();
  EXPECT_THAT(FromProcess(FrameType::kReturnLease), SizeIs(1));
  EXPECT_THAT(FromProcess(FrameType::kRequestLease), SizeIs(1));
}

TEST_F(TaskPermitsTest, AnotherProcessIsAskedForPermitsOnceAndGetsThemBack) {
  Count(kDriver);
  AddWorker(10);
  Submit(Limited(3), 2);
  EXPECT_THAT(FromProcess(FrameType::kRequestLease), IsEmpty());
  ASSERT_NE(Told(), nullptr);
  EXPECT_EQ(Told()->limit(), 3u);
  EXPECT_EQ(Told()->wanted(), 2u);
  FromDriver(2, 0);
  const auto requests = FromProcess(FrameType::kRequestLease);
  ASSERT_THAT(requests, SizeIs(2));
  Told();
  EXPECT_EQ(times_told_, 2) << "of one, then of two";
  Grant(requests[0], 1, 10);
  const uint64_t id = requests[1].As<wire::RequestLease>()->request_id();
  for (int i = 0; i < 2; ++i) ReplyLate(10, Pushed(10)[0]);
  FromRaylet(FrameType::kLeaseReply, [&](auto& b) { return wire::CreateLeaseReply(b, id, false); });
  EXPECT_EQ(Told()->returned(), 1u);
  GiveLeasesBack();
  EXPECT_EQ(Told()->returned(), 2u);
  EXPECT_EQ(Told()->wanted(), 0u);
}

TEST_F(TaskPermitsTest, WhatIsAskedForIsGivenBackWhenTheTaskEnds) {
  Count(kDriver);
  AddWorker(10);
  Submit(Limited(1), 3);
  Told();
  FromDriver(1, 0);
  GrantFirst(1, 10);
  const auto first = Pushed(10);
  ASSERT_THAT(first, SizeIs(1));
  FromDriver(1, 1);
  EXPECT_EQ(Told()->returned(), 0u) << "it runs";
  tasks_.Tick(MonotonicNs() + 10'000'000);  // it has been used for a while
  ReplyLate(10, first[0]);
  EXPECT_EQ(Told()->returned(), 1u);
  EXPECT_EQ(Told()->wanted(), 1u);
  EXPECT_THAT(Pushed(10), IsEmpty());
  EXPECT_THAT(FromProcess(FrameType::kReturnLease), SizeIs(1));
  FromDriver(2, 1);
  EXPECT_THAT(FromProcess(FrameType::kRequestLease), SizeIs(1));
}

TEST_F(TaskPermitsTest, WithoutItsDriverAProcessCountsForItself) {
  Count(kDriver);
  AddWorker(10);
  Submit(Limited(1), 3);
  EXPECT_THAT(FromProcess(FrameType::kRequestLease), IsEmpty());
  tasks_.permits().OnProcessDied(WorkerAddress(kDriver));
  tasks_.Tick(MonotonicNs());
  EXPECT_THAT(FromProcess(FrameType::kRequestLease), SizeIs(1));
}

TEST_F(TaskPermitsTest, ADriverGivesToOthersAndTakesBackWhatTheDeadHeld) {
  AddWorker(20);
  AddWorker(21);
  const auto ask = [this](uint8_t worker) {
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateHoldPermits(b, wire::ToWire(kFunction), 1, 1, 1, 0, 0));
    tasks_.permits().OnHoldPermits(LinkTo(worker),
                                   *flatbuffers::GetRoot<wire::HoldPermits>(b.GetBufferPointer()));
    links_.FlushDirty();
  };
  const auto granted = [this](uint8_t worker) {
    uint64_t most = 0;
    for (const GotFrame& frame : worker_ends_[worker]->Take(FrameType::kGrantPermits)) {
      most = std::max(most, frame.As<wire::GrantPermits>()->granted());
    }
    return most;
  };
  ask(20);
  ask(21);
  EXPECT_EQ(granted(20), 1u);
  EXPECT_EQ(granted(21), 0u);
  tasks_.permits().OnProcessDied(WorkerAddress(20));
  links_.FlushDirty();
  EXPECT_EQ(granted(21), 1u);
}

TEST_F(TaskPermitsTest, APermitThatACancelledRequestHadIsUsed) {
  TaskTemplate* tmpl = Limited(1);
  ObjectEntry* first = SubmitterFake::Submit(tmpl);
  const auto requests = FromProcess(FrameType::kRequestLease);
  ASSERT_THAT(requests, SizeIs(1));
  tasks_.Cancel(first->maker, {});
  objects_.Release(first);
  Submit(tmpl, 1);
  EXPECT_THAT(FromProcess(FrameType::kRequestLease), IsEmpty());
  const uint64_t id = requests[0].As<wire::RequestLease>()->request_id();
  FromRaylet(FrameType::kLeaseReply, [&](auto& b) { return wire::CreateLeaseReply(b, id, false); });
  EXPECT_THAT(FromProcess(FrameType::kRequestLease), SizeIs(1));
  tasks_.CheckInvariants();
}

TEST_F(TaskPermitsTest, PermitsThatComeWhenNobodyWantsThemAnyMoreGoBack) {
  Count(kDriver);
  Submit(Limited(1), 1);
  const uint32_t number = Told()->number();
  flatbuffers::FlatBufferBuilder b;
  b.Finish(wire::CreateGrantPermits(b, wire::ToWire(kFunction), number + 7, 1, 0, 0));
  tasks_.permits().OnGrantPermits(LinkTo(kDriver),
                                  *flatbuffers::GetRoot<wire::GrantPermits>(b.GetBufferPointer()));
  EXPECT_EQ(Told()->number(), number + 7);
  EXPECT_EQ(Told()->returned(), 1u);
  EXPECT_EQ(Told()->wanted(), 0u);
}

}  // namespace
}  // namespace cyray::core
