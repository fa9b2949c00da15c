// PeerTable over loopback: one connection per pair, order, strangers and ends.

#include "cyray/raylet/peer_table.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <set>

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
  ASSERT_TRUE(a.SendNumber(b.id, 1));
  ASSERT_TRUE(RunUntil(loop_, [&] { return a.lost.size() == 1; }));
  EXPECT_TRUE(b.received.empty());
  EXPECT_FALSE(a.peers->IsConnected(b.id));
}

TEST_F(PeerTableTest, ANodeIsTakenWhenTheGcsHasToldOfIt) {
  FakeNode a(&loop_, 1), b(&loop_, 2);
  a.Know(b);
  ASSERT_TRUE(a.SendNumber(b.id, 1));
  // Some rounds, in which it is turned down and dials again.
  for (int i = 0; i < 10; ++i) loop_.RunOnce(20);
  EXPECT_TRUE(b.received.empty());
  EXPECT_FALSE(a.peers->IsConnected(b.id) || b.peers->IsConnected(a.id));
  EXPECT_TRUE(a.lost.empty());
  b.Know(a);
  ASSERT_TRUE(RunUntil(loop_, [&] { return b.received.size() == 1; }));
  EXPECT_TRUE(a.lost.empty());
}

// A stranger at the address of a node that is dead: what it is told it passes to `to`, and back.
class Relay {
 public:
  Relay(EventLoop* loop, uint16_t to) : loop_(loop), listener_(loop) {
    EXPECT_TRUE(listener_
                    .Listen("127.0.0.1", 0,
                            [this, to](UniqueFd dialer) {
                              ++dialed;
                              ends_.push_back(std::move(dialer));
                              ends_.push_back(ConnectTo(to));
                              const int in = ends_[ends_.size() - 2].get(),
                                        out = ends_.back().get();
                              Pass(in, out);
                              Pass(out, in);
                            })
                    .ok());
  }
  ~Relay() {
    for (const int fd : watched_) loop_->Remove(fd);
  }
  uint16_t port() const { return listener_.port(); }
  int dialed = 0;

 private:
  void Pass(int from, int to) {
    watched_.insert(from);
    loop_->Add(from, EPOLLIN, [this, from, to](uint32_t) {
      char bytes[4096];
      const ssize_t n = recv(from, bytes, sizeof bytes, MSG_DONTWAIT);
      if (n > 0) {
        send(to, bytes, static_cast<size_t>(n), MSG_NOSIGNAL);
        return;
      }
      loop_->Remove(from);
      watched_.erase(from);
      shutdown(to, SHUT_WR);
    });
  }
  EventLoop* const loop_;
  net::TcpListener listener_;
  std::vector<UniqueFd> ends_;
  std::set<int> watched_;
};

TEST_F(PeerTableTest, AStrangerAtADeadNodesAddressCannotReflectTheDialer) {
  FakeNode a(&loop_, 1);
  Relay stranger(&loop_, a.peers->port());
  NodeId dead;
  dead.bytes[0] = 3;
  a.peers->SetNode(dead, {"127.0.0.1", stranger.port()});
  ASSERT_TRUE(a.SendNumber(dead, 1));
  ASSERT_TRUE(RunUntil(loop_, [&] { return a.lost.size() == 1; }));
  EXPECT_EQ(stranger.dialed, 1);
  EXPECT_TRUE(a.peers->Connected().empty());
  EXPECT_TRUE(a.received.empty());
}

TEST_F(PeerTableTest, AStrangerAtADeadNodesAddressCannotRelayTheDialerToAnotherNode) {
  FakeNode a(&loop_, 1), b(&loop_, 2);
  a.Meet(b);
  Relay stranger(&loop_, b.peers->port());
  NodeId dead;
  dead.bytes[0] = 3;
  a.peers->SetNode(dead, {"127.0.0.1", stranger.port()});
  b.peers->SetNode(dead, {"127.0.0.1", stranger.port()});
  ASSERT_TRUE(a.SendNumber(dead, 1));
  ASSERT_TRUE(RunUntil(loop_, [&] { return a.lost.size() == 1; }));
  EXPECT_EQ(stranger.dialed, 1);
  EXPECT_TRUE(a.peers->Connected().empty() && b.peers->Connected().empty());
  EXPECT_TRUE(b.received.empty());
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
