// CoreWorker with the raylet played by the test: waits that are interrupted, turned away or asked
// about, and what comes after them. The steward runs; each loop ends by a condition.

#include "cyray/core/core_worker.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "cpp_tests/core/submitter_fake.h"
#include "cyray/util/clock.h"
#include "gcs_generated.h"

namespace cyray::core {
namespace {

using testing::HasSubstr;
using wire::FrameType;

constexpr uint64_t kArenaBytes = 1 << 20;
constexpr int64_t kLimitNs = 20'000'000'000;

class CoreWorkerTest : public testing::Test {
 protected:
  CoreWorkerTest() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    raylet_ = std::make_unique<FarEnd>(UniqueFd(ends[1]));
    raylet_->SendRegistration(kArenaBytes);
    interrupt = false;
    RegisterOptions options;
    options.interrupted = [] { return interrupt.load(); };
    const Status connected = core_.Connect(UniqueFd(ends[0]), options);
    EXPECT_TRUE(connected.ok()) << connected.message();
  }
  ~CoreWorkerTest() override { core_.Disconnect(); }

  // The next frame of that type from the process.
  GotFrame Next(FrameType type) {
    const int64_t deadline = MonotonicNs() + kLimitNs;
    while (MonotonicNs() < deadline) {
      auto frames = raylet_->Take(type);
      if (!frames.empty()) return std::move(frames[0]);
      std::this_thread::yield();
    }
    ADD_FAILURE() << "no frame of type " << static_cast<int>(type);
    return {};
  }
  std::string DescribeUntil(const std::string& text) {
    const int64_t deadline = MonotonicNs() + kLimitNs;
    std::string found;
    do {
      found = core_.Describe();
    } while (found.find(text) == std::string::npos && MonotonicNs() < deadline);
    return found;
  }

  static std::atomic<bool> interrupt;
  std::unique_ptr<FarEnd> raylet_;
  CoreWorker core_;
};
std::atomic<bool> CoreWorkerTest::interrupt = false;

TEST_F(CoreWorkerTest, ACallOfTheGcsCanBeInterruptedAndItsLateAnswerIsNoBodys) {
  interrupt = true;
  const auto answer = core_.CallGcs(static_cast<uint16_t>(wire::GcsMethod::ListNodes), "");
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().code(), StatusCode::kCancelled);
  const uint64_t id = Next(FrameType::kGcsCall).As<wire::GcsCall>()->request_id();
  raylet_->Send(FrameType::kGcsReply, [&](auto& b) { return wire::CreateGcsReply(b, id, true); });
  interrupt = false;
  std::thread answers([&] {
    const uint64_t next = Next(FrameType::kGcsCall).template As<wire::GcsCall>()->request_id();
    raylet_->Send(FrameType::kGcsReply,
                  [&](auto& b) { return wire::CreateGcsReply(b, next, true); });
  });
  EXPECT_TRUE(core_.CallGcs(static_cast<uint16_t>(wire::GcsMethod::ListNodes), "").has_value());
  answers.join();
}

TEST_F(CoreWorkerTest, AWorkerLeavesWhenItIsAskedToIfUnusedOnlyWhenItOwnsNothing) {
  const auto ask = [&](bool if_unused) {
    raylet_->Send(FrameType::kExitWorker, [&](auto& b) {
      return wire::CreateExitWorker(b, true, b.CreateString("it was idle"), if_unused);
    });
  };
  ObjectEntry* mine = core_.Put(ValuePtr(Value::New(4)), false, {});
  ask(true);
  (void)Next(FrameType::kWorkerStays);
  core_.Release(mine);
  ask(true);
  Event event;
  const int64_t deadline = MonotonicNs() + kLimitNs;
  while (event.kind != Event::Kind::kExit && MonotonicNs() < deadline) {
    EXPECT_EQ(core_.NextTask(MonotonicNs() + 50'000'000, /*main_thread=*/true, &event), nullptr);
  }
  EXPECT_EQ(event.kind, Event::Kind::kExit);
  EXPECT_TRUE(raylet_->Take(FrameType::kWorkerStays).empty());
}

TEST_F(CoreWorkerTest, ABlockThatComesAfterItsWaitWasInterruptedIsGivenBack) {
  interrupt = true;
  const ObjectId id = core_.NextPutId();
  const auto block = core_.CreateInStore(id, core_.address(), 200 << 10);
  ASSERT_FALSE(block.has_value());
  EXPECT_EQ(block.error().code(), StatusCode::kCancelled);
  const uint64_t request = Next(FrameType::kCreateObject).As<wire::CreateObject>()->request_id();
  raylet_->Send(FrameType::kCreateObjectReply,
                [&](auto& b) { return wire::CreateCreateObjectReply(b, request, true); });
  const GotFrame abort = Next(FrameType::kAbortObject);
  EXPECT_EQ(wire::FromWire(*abort.As<wire::AbortObject>()->object_id()), id);
}

TEST_F(CoreWorkerTest, WhatAThreadWaitsForIsDescribed) {
  std::thread waits([&] {
    EXPECT_FALSE(core_.CallGcs(static_cast<uint16_t>(wire::GcsMethod::ListJobs), "").has_value());
  });
  EXPECT_THAT(DescribeUntil("a thread waits"), HasSubstr("the GCS's answer to ListJobs, for "));
  interrupt = true;
  waits.join();
  EXPECT_THAT(core_.Describe(), Not(HasSubstr("a thread waits")));
}

TEST_F(CoreWorkerTest, AMissingObjectIsDescribedByWhoOwnsIt) {
  Address owner = core_.address();
  owner.worker.bytes[0] ^= 1;
  ObjectEntry* entry = core_.Borrow(core_.NextPutId(), owner, /*deferred=*/false);
  std::thread waits([&] { EXPECT_FALSE(core_.Wait(&entry, 1, 1, true, kForever)); });
  EXPECT_THAT(DescribeUntil("a thread waits"),
              HasSubstr(entry->id.Hex() + ": its owner " + owner.ToString() + " was asked"));
  interrupt = true;
  waits.join();
  core_.Release(entry);
}

TEST_F(CoreWorkerTest, LeavingTurnsAwayWhoeverWaits) {
  Address owner = core_.address();
  owner.worker.bytes[0] ^= 1;
  ObjectEntry* entry = core_.Borrow(core_.NextPutId(), owner, /*deferred=*/false);
  std::atomic<int> ended = 0;
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    EXPECT_FALSE(core_.Wait(&entry, 1, 1, true, kForever));
    ++ended;
  });
  threads.emplace_back([&] {
    EXPECT_FALSE(core_.CallGcs(static_cast<uint16_t>(wire::GcsMethod::ListJobs), "").has_value());
    ++ended;
  });
  DescribeUntil("a thread waits for 1 of 1 objects");
  DescribeUntil("the GCS's answer to ListJobs");
  EXPECT_EQ(ended, 0);
  core_.Disconnect();
  for (std::thread& thread : threads) thread.join();
}

TEST_F(CoreWorkerTest, CallsAfterLeavingAreAnswered) {
  core_.Disconnect();
  EXPECT_EQ(core_.CallGcs(static_cast<uint16_t>(wire::GcsMethod::ListJobs), "").error().code(),
            StatusCode::kDisconnected);
  EXPECT_EQ(core_.CreateInStore(core_.NextPutId(), core_.address(), 64).error().code(),
            StatusCode::kDisconnected);
  EXPECT_EQ(core_.CreateActor({}, /*wait=*/false).code(), StatusCode::kDisconnected);
  CoreWorker::TemplateSpec spec;
  Submission submission;
  submission.tmpl = core_.AddTemplate(spec);
  ObjectEntry* result = nullptr;
  EXPECT_FALSE(core_.Submit(std::move(submission), nullptr, &result));
  ReadView view;
  ASSERT_TRUE(core_.Read(result, &view));
  EXPECT_TRUE(view.is_error);
  view.value->Unref();
  core_.Release(result);
  Event event;
  EXPECT_EQ(core_.NextTask(kForever, /*main_thread=*/true, &event), nullptr);
}

TEST_F(CoreWorkerTest, AnOwnerWhoseConnectionIsRefusedIsDeadAndItsObjectAnError) {
  Address owner = core_.address();
  owner.worker.bytes[0] ^= 1;
  ObjectEntry* entry = core_.Borrow(core_.NextPutId(), owner, /*deferred=*/false);
  const uint64_t request = Next(FrameType::kConnectPeer).As<wire::ConnectPeer>()->request_id();
  raylet_->Send(FrameType::kConnectPeerReply, [&](auto& b) {
    return wire::CreateConnectPeerReply(b, request, false, b.CreateString("it is gone"));
  });
  ASSERT_TRUE(core_.Wait(&entry, 1, 1, true, MonotonicNs() + kLimitNs));
  ReadView view;
  ASSERT_TRUE(core_.Read(entry, &view));
  const std::string text(reinterpret_cast<const char*>(view.data), view.size);
  EXPECT_TRUE(view.is_error);
  EXPECT_THAT(text, HasSubstr("the owner of the object " + entry->id.Hex() + " is gone"));
  EXPECT_THAT(text, HasSubstr("it is gone"));
  view.value->Unref();
  core_.Release(entry);
}

}  // namespace
}  // namespace cyray::core
