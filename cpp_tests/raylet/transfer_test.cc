// ObjectTransfer between stores of one process, over loopback.

#include <gtest/gtest.h>

#include <cstring>
#include <optional>

#include "cpp_tests/raylet/peer_nodes_fake.h"
#include "cyray/raylet/object_transfer.h"

namespace cyray::raylet {
namespace {

using store::ObjectView;

constexpr store::ClientId kClient = 7;
ObjectId MakeId(uint32_t index) { return ObjectId(TaskId{}, index); }

std::unique_ptr<store::ArenaMapping> MapOf(const FakeNode& node) {
  const store::Arena& arena = node.store->arena();
  return *store::ArenaMapping::Map(*arena.DuplicateReadOnly(), *arena.DuplicateReadWrite(),
                                   arena.capacity_bytes());
}

void Put(FakeNode& node, const ObjectId& id, uint64_t bytes, const Address& owner = {}) {
  const auto offset = node.store->Create(kClient, id, bytes, owner);
  ASSERT_TRUE(offset);
  const auto mapping = MapOf(node);
  ASSERT_TRUE(mapping->PrepareWrite(*offset, bytes).ok());
  for (uint64_t i = 0; i < bytes; ++i)
    mapping->write(*offset)[i] = static_cast<uint8_t>(i * 7 + i / 251);
  ASSERT_TRUE(node.store->Seal(kClient, id).ok());
  ASSERT_TRUE(node.store->Release(kClient, id).ok());
}

class TransferTest : public testing::Test {
 protected:
  TransferTest() { a_.Meet(b_); }
  ~TransferTest() override {
    EXPECT_EQ(a_.store->CheckInvariants(), "");
    EXPECT_EQ(b_.store->CheckInvariants(), "");
  }
  Result<ObjectView> GetAt(FakeNode& node, const ObjectId& id,
                           const std::vector<NodeId>& locations) {
    std::optional<Result<ObjectView>> answer;
    node.transfer->Get(kClient, id, locations,
                       [&](Result<ObjectView> view) { answer = std::move(view); });
    EXPECT_TRUE(RunUntil(loop_, [&] { return answer.has_value(); }));
    return answer ? *answer : Fail(StatusCode::kTimedOut, "no answer");
  }
  EventLoop loop_;
  FakeNode a_{&loop_, 1};
  FakeNode b_{&loop_, 2};
};

TEST_F(TransferTest, AnObjectArrivesByteForByte) {
  for (const uint64_t bytes : {uint64_t{0}, uint64_t{1}, uint64_t{70'001}, uint64_t{10'000'003}}) {
    const ObjectId id = MakeId(static_cast<uint32_t>(bytes));
    Put(a_, id, bytes);
    const auto view = GetAt(b_, id, {a_.id});
    ASSERT_TRUE(view) << view.error().ToString();
    ASSERT_EQ(view->bytes, bytes);
    const auto mapping = MapOf(b_);
    for (uint64_t i = 0; i < bytes; ++i) {
      ASSERT_EQ(mapping->read(view->offset)[i], static_cast<uint8_t>(i * 7 + i / 251)) << i;
    }
  }
  EXPECT_EQ(b_.transfer->pulls(), 0u);
  ASSERT_TRUE(RunUntil(loop_, [&] { return a_.store->stats().pinned_bytes == 0; }));
}

TEST_F(TransferTest, ManyWaitersShareOnePull) {
  Put(a_, MakeId(1), 5'000'000);
  int answers = 0;
  for (store::ClientId client = 10; client < 20; ++client) {
    b_.transfer->Get(client, MakeId(1), {a_.id}, [&](Result<ObjectView> view) {
      EXPECT_TRUE(view);
      ++answers;
    });
  }
  EXPECT_EQ(b_.transfer->pulls(), 1u);
  ASSERT_TRUE(RunUntil(loop_, [&] { return answers == 10; }));
  EXPECT_EQ(b_.store->stats().objects, 1u);
}

TEST_F(TransferTest, ManyObjectsAtOnceAllArrive) {
  int answers = 0;
  for (uint32_t i = 1; i <= 40; ++i) Put(a_, MakeId(i), 300'000 + i);
  for (uint32_t i = 1; i <= 40; ++i) {
    b_.transfer->Get(kClient, MakeId(i), {a_.id}, [&, i](Result<ObjectView> view) {
      EXPECT_TRUE(view && view->bytes == 300'000 + i);
      ++answers;
    });
  }
  ASSERT_TRUE(RunUntil(loop_, [&] { return answers == 40; }));
}

TEST_F(TransferTest, AHolderWithoutItIsSkipped) {
  FakeNode c(&loop_, 3);
  b_.Meet(c);
  Put(a_, MakeId(1), 100);
  EXPECT_TRUE(GetAt(b_, MakeId(1), {c.id, a_.id}));
}

TEST_F(TransferTest, WhenNobodyHasItTheErrorNamesObjectAndNode) {
  const auto view = GetAt(b_, MakeId(1), {a_.id});
  ASSERT_FALSE(view);
  EXPECT_EQ(view.error().code(), StatusCode::kNotFound);
  EXPECT_NE(view.error().message().find(MakeId(1).Hex()), std::string::npos);
  EXPECT_NE(view.error().message().find(a_.id.Hex().substr(0, 8)), std::string::npos);
}

TEST_F(TransferTest, AnAbsentObjectWithoutOtherHoldersIsNotWaitedFor) {
  EXPECT_FALSE(GetAt(b_, MakeId(1), {b_.id}));
  EXPECT_FALSE(GetAt(b_, MakeId(1), {}));
}

TEST_F(TransferTest, ADeadHolderFailsThePull) {
  NodeId unknown;
  unknown.bytes[0] = 99;
  b_.peers->RemoveNode(unknown, "it died");
  EXPECT_FALSE(GetAt(b_, MakeId(1), {unknown}));
  Put(a_, MakeId(2), 10);
  EXPECT_TRUE(GetAt(b_, MakeId(2), {unknown, a_.id}));
}

TEST_F(TransferTest, AHolderStillWritingIsWaitedFor) {
  ASSERT_TRUE(a_.store->Create(kClient, MakeId(1), 1000, {}));
  std::optional<Result<ObjectView>> answer;
  b_.transfer->Get(kClient, MakeId(1), {a_.id}, [&](Result<ObjectView> view) { answer = view; });
  ASSERT_TRUE(RunUntil(loop_, [&] { return a_.store->HasWaiters(MakeId(1)); }));
  ASSERT_TRUE(a_.store->Seal(kClient, MakeId(1)).ok());
  ASSERT_TRUE(RunUntil(loop_, [&] { return answer.has_value(); }));
  EXPECT_TRUE(*answer);
}

TEST_F(TransferTest, AHolderThatDiesMidwayGivesAnErrorAndNoLeftover) {
  auto c = std::make_unique<FakeNode>(&loop_, 3);
  b_.Meet(*c);
  Put(*c, MakeId(1), 30 << 20);
  std::optional<Result<ObjectView>> answer;
  b_.transfer->Get(kClient, MakeId(1), {c->id}, [&](Result<ObjectView> view) { answer = view; });
  ASSERT_TRUE(RunUntil(loop_, [&] { return b_.store->IsBeingWritten(MakeId(1)); }));
  const NodeId c_id = c->id;
  c.reset();
  ASSERT_TRUE(RunUntil(loop_, [&] { return !b_.peers->IsConnected(c_id); }));
  EXPECT_FALSE(answer.has_value());  // it may only be the connection
  b_.peers->RemoveNode(c_id, "the node died");
  ASSERT_TRUE(RunUntil(loop_, [&] { return answer.has_value(); }));
  EXPECT_FALSE(*answer);
  EXPECT_EQ(b_.store->stats().objects, 0u);
}

TEST_F(TransferTest, AHolderThatDiesMidwayIsReplacedByAnother) {
  auto c = std::make_unique<FakeNode>(&loop_, 3);
  b_.Meet(*c);
  Put(*c, MakeId(1), 30 << 20);
  Put(a_, MakeId(1), 30 << 20);
  std::optional<Result<ObjectView>> answer;
  b_.transfer->Get(kClient, MakeId(1), {c->id, a_.id},
                   [&](Result<ObjectView> view) { answer = view; });
  ASSERT_TRUE(RunUntil(loop_, [&] { return b_.store->IsBeingWritten(MakeId(1)); }));
  const NodeId c_id = c->id;
  c.reset();
  b_.peers->RemoveNode(c_id, "the node died");
  ASSERT_TRUE(RunUntil(loop_, [&] { return answer.has_value(); }));
  ASSERT_TRUE(*answer);
  EXPECT_EQ((*answer)->bytes, uint64_t{30} << 20);
}

TEST_F(TransferTest, AGetterThatDiesEndsItsPull) {
  Put(a_, MakeId(1), 30 << 20);
  b_.transfer->Get(kClient, MakeId(1), {a_.id}, [](Result<ObjectView>) { FAIL(); });
  ASSERT_TRUE(RunUntil(loop_, [&] { return b_.store->IsBeingWritten(MakeId(1)); }));
  b_.store->ClientDied(kClient);
  b_.transfer->OnClientDied();
  EXPECT_EQ(b_.store->stats().objects, 0u);
  EXPECT_EQ(b_.transfer->pulls(), 0u);
  ASSERT_TRUE(RunUntil(loop_, [&] { return a_.store->stats().pinned_bytes == 0; }));
  EXPECT_TRUE(GetAt(b_, MakeId(1), {a_.id}));  // the connection is as good as before
}

TEST_F(TransferTest, AnObjectThatDoesNotFitIsRefusedWithTheReason) {
  FakeNode small(&loop_, 4, std::string(32, 't'), 1 << 20);
  small.Meet(a_);
  Put(a_, MakeId(1), 2 << 20);
  const auto view = GetAt(small, MakeId(1), {a_.id});
  ASSERT_FALSE(view);
  EXPECT_EQ(view.error().code(), StatusCode::kObjectStoreFull);
}

TEST_F(TransferTest, WhatProcessesOfADeadNodeOwnedIsFreed) {
  const Address owner{b_.id, WorkerId::Random()};
  Put(a_, MakeId(1), 1000, owner);
  Put(a_, MakeId(2), 1000, {a_.id, WorkerId::Random()});
  a_.peers->RemoveNode(b_.id, "says the GCS");
  EXPECT_FALSE(a_.store->Contains(MakeId(1)));
  EXPECT_TRUE(a_.store->Contains(MakeId(2)));
}

TEST_F(TransferTest, FreeReachesTheOtherNodes) {
  Address owner;
  owner.worker.bytes[0] = 1;
  Put(a_, MakeId(1), 1000, owner);
  ASSERT_TRUE(GetAt(b_, MakeId(1), {a_.id}));
  EXPECT_EQ(b_.store->OwnerOf(MakeId(1)), owner);
  ASSERT_TRUE(b_.store->Release(kClient, MakeId(1)).ok());
  b_.transfer->Free({MakeId(1)}, {a_.id, b_.id});
  EXPECT_FALSE(b_.store->Contains(MakeId(1)));
  EXPECT_TRUE(RunUntil(loop_, [&] { return !a_.store->Contains(MakeId(1)); }));
}

}  // namespace
}  // namespace cyray::raylet
