// StoreClient with the raylet played by the test: what is let go gathers into few frames.

#include "cyray/core/store_client.h"

#include <gmock/gmock.h>

#include "cpp_tests/core/submitter_fake.h"

namespace cyray::core {
namespace {

using wire::FrameType;

class StoreClientTest : public testing::Test, public PollerHandler, public SilentOutbox {
 protected:
  StoreClientTest() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    raylet_ = std::make_unique<FarEnd>(UniqueFd(ends[1]));
    raylet_->SendRegistration(1 << 20);
    std::shared_ptr<store::ArenaMapping> arena;
    std::optional<wire::TaskNotes> notes;
    EXPECT_TRUE(process_.Register(UniqueFd(ends[0]), {}, &arena, &notes).ok());
    store_.SetArena(std::move(arena));
  }
  // PollerHandler
  void OnReady(void*, uint32_t) override {}
  void FlushAll() override {
    store_.SendReleases();
    process_.raylet().Flush();
  }
  int64_t NextTimerNs() override { return kForever; }
  void RunTimers(int64_t) override {}

  static ObjectId IdOf(uint32_t number) { return ObjectId(TaskId{}, number); }
  static NodeId NodeOf(uint8_t number) {
    NodeId node;
    node.bytes[0] = number;
    return node;
  }

  std::unique_ptr<FarEnd> raylet_;
  ThisProcess process_{*this, {[](Link&, const wire::Frame&) {}, [](Link&, const std::string&) {}}};
  Requests requests_{process_, [](const char*) {}};
  StoreClient store_{process_, requests_, directory_};
  ObjectDirectory directory_{*this, store_};
};

TEST_F(StoreClientTest, WhatAnAttemptLeftOnANodeIsFreedThereWithOneFrame) {
  for (uint32_t i = 1; i <= 100; ++i) store_.FreeStray(IdOf(i), NodeOf(2));
  store_.FreeStray(IdOf(1), NodeOf(3));
  FlushAll();
  const auto frames = raylet_->Take(FrameType::kFreeObjects);
  ASSERT_EQ(frames.size(), 2u);
  const auto* first = frames[0].As<wire::FreeObjects>();
  EXPECT_EQ(first->object_ids()->size(), 100u);
  EXPECT_TRUE(first->there_alone());
  ASSERT_EQ(first->locations()->size(), 1u);
  EXPECT_EQ(wire::FromWire(*first->locations()->Get(0)), NodeOf(2));
  EXPECT_EQ(frames[1].As<wire::FreeObjects>()->object_ids()->size(), 1u);
}

TEST_F(StoreClientTest, AStrayCopyAndAnObjectOfTheSamePlaceAreNotMixedUp) {
  store_.FreeStored(IdOf(1), {NodeOf(2)});
  store_.FreeStored(IdOf(2), {NodeOf(2)});
  store_.FreeStray(IdOf(3), NodeOf(2));
  FlushAll();
  const auto frames = raylet_->Take(FrameType::kFreeObjects);
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_EQ(frames[0].As<wire::FreeObjects>()->object_ids()->size(), 2u);
  EXPECT_FALSE(frames[0].As<wire::FreeObjects>()->there_alone());
  EXPECT_TRUE(frames[1].As<wire::FreeObjects>()->there_alone());
}

}  // namespace
}  // namespace cyray::core
