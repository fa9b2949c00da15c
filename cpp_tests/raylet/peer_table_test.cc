// PeerTable over loopback: one connection per pair, order, strangers and ends.

#include "cyray/raylet/peer_table.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "cpp_tests/raylet/peer_nodes_fake.h"

namespace cyray::raylet {
namespace {

class PeerTableTest : public testing::Test {
 protected:
  EventLoop loop_;
};

UniqueFd ConnectTo(uint16_t port) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  return fd;
}

TEST_F(PeerTableTest, FramesArriveInOrderBothWays) {
  FakeNode a(&loop_, 1), b(&loop_, 2);
  a.Meet(b);
  b.Meet(a);
  for (uint64_t i = 0; i < 1000; ++i) ASSERT_TRUE(a.SendNumber(b.id, i));
  ASSERT_TRUE(RunUntil(loop_, [&] { return b.received.size() == 1000; }));
  for (uint64_t i = 0; i < 1000; ++i) EXPECT_EQ(b.received[i].second, i);
  ASSERT_TRUE(b.SendNumber(a.id, 5));
  ASSERT_TRUE(RunUntil(loop_, [&] { return a.received.size() == 1; }));
  EXPECT_EQ(a.received[0].first, b.id);
}

TEST_F(PeerTableTest, BothDiallingAtOnceLosesNothing) {
  for (int round = 0; round < 50; ++round) {
    FakeNode a(&loop_, 1), b(&loop_, 2);
    a.Meet(b);
    b.Meet(a);
    ASSERT_TRUE(a.SendNumber(b.id, 1));
    for (int i = 0; i < round % 7; ++i) loop_.RunOnce(0);
    ASSERT_TRUE(b.SendNumber(a.id, 2));
    ASSERT_TRUE(RunUntil(loop_, [&] { return a.received.size() == 1 && b.received.size() == 1; }));
    for (int i = 0; i < 20; ++i) loop_.RunOnce(0);
    ASSERT_TRUE(a.SendNumber(b.id, 3));
    ASSERT_TRUE(b.SendNumber(a.id, 4));
    ASSERT_TRUE(RunUntil(loop_, [&] { return a.received.size() == 2 && b.received.size() == 2; }));
    EXPECT_TRUE(a.lost.empty() && b.lost.empty());
  }
}

TEST_F(PeerTableTest, AnUnknownNodeIsRefusedAtOnce) {
  FakeNode a(&loop_, 1);
  NodeId stranger;
  stranger.bytes[0] = 9;
  EXPECT_FALSE(a.SendNumber(stranger, 1));
}

TEST_F(PeerTableTest, ADeadNodeIsToldAtOnce) {
  FakeNode a(&loop_, 1);
  auto b = std::make_unique<FakeNode>(&loop_, 2);
  const NodeId b_id = b->id;
  a.Meet(*b);
  a.SendNumber(b_id, 1);
  ASSERT_TRUE(RunUntil(loop_, [&] { return b->received.size() == 1; }));
  const int64_t start = MonotonicMs();
  b.reset();
  ASSERT_TRUE(RunUntil(loop_, [&] { return a.lost.size() == 1; }));
  a.SendNumber(b_id, 2);  // and nobody listens there any more
  ASSERT_TRUE(RunUntil(loop_, [&] { return a.lost.size() == 2; }));
  EXPECT_LT(MonotonicMs() - start, 1000);
  EXPECT_EQ(a.lost[0].first, b_id);
}

TEST_F(PeerTableTest, ANodeWithAnotherTokenGetsNothing) {
  FakeNode a(&loop_, 1), b(&loop_, 2, std::string(32, 'x'));
  a.Meet(b);
  b.Meet(a);
  ASSERT_TRUE(a.SendNumber(b.id, 1));
  ASSERT_TRUE(RunUntil(loop_, [&] { return a.lost.size() == 1; }));
  EXPECT_TRUE(b.received.empty());
  EXPECT_FALSE(a.peers->IsConnected(b.id));
}

TEST_F(PeerTableTest, FramesWithoutAHandshakeCloseTheConnection) {
  FakeNode a(&loop_, 1);
  const UniqueFd stranger = ConnectTo(a.peers->port());
  const std::string junk(4096, 'j');
  ASSERT_EQ(send(stranger.get(), junk.data(), junk.size(), MSG_NOSIGNAL), 4096);
  char byte;
  ASSERT_TRUE(RunUntil(loop_, [&] {
    const ssize_t n = recv(stranger.get(), &byte, 1, MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno == ECONNRESET);
  }));
  EXPECT_TRUE(a.received.empty());
}

TEST_F(PeerTableTest, ARestartedNodeReplacesItsOldConnection) {
  FakeNode a(&loop_, 1), b(&loop_, 2);
  b.Meet(a);
  b.SendNumber(a.id, 1);
  ASSERT_TRUE(RunUntil(loop_, [&] { return a.received.size() == 1; }));
  FakeNode again(&loop_, 2, std::string(32, 't'), 1 << 20, /*incarnation=*/2);
  again.Meet(a);
  again.SendNumber(a.id, 2);
  ASSERT_TRUE(RunUntil(loop_, [&] { return a.received.size() == 2; }));
  EXPECT_EQ(a.lost.size(), 1u);
}

TEST_F(PeerTableTest, ARemovedNodeIsClosedAndForgotten) {
  FakeNode a(&loop_, 1), b(&loop_, 2);
  a.Meet(b);
  a.SendNumber(b.id, 1);
  ASSERT_TRUE(RunUntil(loop_, [&] { return b.received.size() == 1; }));
  a.peers->RemoveNode(b.id, "the node died");
  EXPECT_EQ(a.lost.size(), 1u);
  EXPECT_FALSE(a.SendNumber(b.id, 2));
  ASSERT_TRUE(RunUntil(loop_, [&] { return b.lost.size() == 1; }));
}

}  // namespace
}  // namespace cyray::raylet
