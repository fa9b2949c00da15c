// PeerTable over loopback: one session per pair, order, strangers and ends. Broken connections:
// peer_faults_test.cc.

#include "cyray/raylet/peer_table.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <set>

#include "cpp_tests/raylet/peer_nodes_fake.h"
#include "cyray/sim/virtual_runtime.h"

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

UniqueFd ListenAnywhere(uint16_t* port) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(listen(fd.get(), 16), 0);
  EXPECT_EQ(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  *port = ntohs(address.sin_port);
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

TEST_F(PeerTableTest, FramesToANodeThatIsNotKnownYetWaitForIt) {
  FakeNode a(&loop_, 1), b(&loop_, 2);
  b.Know(a);
  ASSERT_TRUE(a.SendNumber(b.id, 1));
  for (int i = 0; i < 5; ++i) loop_.RunOnce(5);
  EXPECT_FALSE(a.peers->Knows(b.id));
  a.Know(b);
  ASSERT_TRUE(RunUntil(loop_, [&] { return b.received.size() == 1; }));
  EXPECT_TRUE(a.lost.empty());
}

// Reaches nobody.
class NoTransport : public net::Transport {
 public:
  Result<std::unique_ptr<net::Stream>> Dial(const std::string&, uint16_t) override {
    return Fail(StatusCode::kUnavailable, "there is no network");
  }
  Status Listen(const std::string&, uint16_t, AcceptCallback) override { return Status::Ok(); }
  uint16_t port() const override { return 0; }
  void SetAccepting(bool) override {}
};

TEST(PeerTable, ANodeIsUnknownOnlyToAGcsThatWasThereAllTheTime) {
  sim::VirtualTime time(1);
  sim::VirtualRuntime runtime(&time);
  NoTransport transport;
  NodeId self, other;
  self.bytes[0] = 1;
  other.bytes[0] = 2;
  PeerTable peers(&runtime, &transport, self, 1, std::string(32, 't'));
  int lost = 0;
  peers.AddLostCallback([&](const NodeId&, const std::string&) { ++lost; });
  int64_t informed_ms = 0;  // the GCS is away
  peers.set_informed_for_ms([&] { return informed_ms; });
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(wire::CreateForwardCancel(builder, 1));
  ASSERT_TRUE(peers.Send(other, wire::FrameType::kForwardCancel, builder));
  time.RunFor(int64_t{3600} * 1'000'000'000);
  EXPECT_EQ(lost, 0);
  informed_ms = 10'000;  // it has just come back
  time.RunFor(int64_t{31} * 1'000'000'000);
  EXPECT_EQ(lost, 0);
  informed_ms = 40'000;
  time.RunFor(int64_t{31} * 1'000'000'000);
  EXPECT_EQ(lost, 1);
  EXPECT_FALSE(peers.Send(other, wire::FrameType::kForwardCancel, builder));
}

TEST_F(PeerTableTest, ANodeThatIsNotReachedIsDialedUntilTheGcsSaysThatItIsDead) {
  FakeNode a(&loop_, 1);
  auto b = std::make_unique<FakeNode>(&loop_, 2);
  const NodeId b_id = b->id;
  a.Meet(*b);
  ASSERT_TRUE(a.SendNumber(b_id, 1));
  ASSERT_TRUE(RunUntil(loop_, [&] { return b->received.size() == 1; }));
  b.reset();
  ASSERT_TRUE(RunUntil(loop_, [&] { return !a.peers->IsConnected(b_id); }));
  ASSERT_TRUE(a.SendNumber(b_id, 2));  // nobody listens there: refused again and again
  for (int i = 0; i < 10; ++i) loop_.RunOnce(20);
  EXPECT_TRUE(a.lost.empty());
  a.peers->RemoveNode(b_id, "the node died");
  ASSERT_EQ(a.lost.size(), 1u);
  EXPECT_EQ(a.lost[0].first, b_id);
  EXPECT_FALSE(a.SendNumber(b_id, 3));
}

TEST_F(PeerTableTest, ANodeWithAnotherTokenGetsNothing) {
  FakeNode a(&loop_, 1), b(&loop_, 2, std::string(32, 'x'));
  a.Meet(b);
  ASSERT_TRUE(a.SendNumber(b.id, 1));
  for (int i = 0; i < 30; ++i) loop_.RunOnce(10);
  EXPECT_TRUE(b.received.empty());
  EXPECT_FALSE(a.peers->IsConnected(b.id) || b.peers->IsConnected(a.id));
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
  Relay(EventLoop* loop, uint16_t to) : loop_(loop) {
    listener_ = ListenAnywhere(&port_);
    watched_.insert(listener_.get());
    loop_->Add(listener_.get(), EPOLLIN, [this, to](uint32_t) {
      ++dialed;
      ends_.emplace_back(::accept(listener_.get(), nullptr, nullptr));
      ends_.push_back(ConnectTo(to));
      const int in = ends_[ends_.size() - 2].get(), out = ends_.back().get();
      Pass(in, out);
      Pass(out, in);
    });
  }
  ~Relay() {
    for (const int fd : watched_) loop_->Remove(fd);
  }
  uint16_t port() const { return port_; }
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
  uint16_t port_ = 0;
  UniqueFd listener_;
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
  ASSERT_TRUE(RunUntil(loop_, [&] { return stranger.dialed == 3; }));  // it tries again
  EXPECT_TRUE(a.peers->Met().empty());
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
  ASSERT_TRUE(RunUntil(loop_, [&] { return stranger.dialed == 3; }));  // it tries again
  EXPECT_TRUE(a.peers->Met().empty() && b.peers->Met().empty());
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

TEST_F(PeerTableTest, AnotherIncarnationOfANodeIsNotTakenForIt) {
  FakeNode a(&loop_, 1), b(&loop_, 2);
  b.Meet(a);
  ASSERT_TRUE(b.SendNumber(a.id, 1));
  ASSERT_TRUE(RunUntil(loop_, [&] { return a.received.size() == 1; }));
  FakeNode again(&loop_, 2, std::string(32, 't'), 1 << 20, /*incarnation=*/2);
  again.Know(a);
  ASSERT_TRUE(again.SendNumber(a.id, 2));
  for (int i = 0; i < 20; ++i) loop_.RunOnce(5);
  EXPECT_EQ(a.received.size(), 1u);
  ASSERT_TRUE(b.SendNumber(a.id, 3));  // the session goes on
  ASSERT_TRUE(RunUntil(loop_, [&] { return a.received.size() == 2; }));
  EXPECT_EQ(a.received[1].second, 3u);
}

TEST_F(PeerTableTest, ARemovedNodeIsClosedAndForgotten) {
  FakeNode a(&loop_, 1), b(&loop_, 2);
  a.Meet(b);
  ASSERT_TRUE(a.SendNumber(b.id, 1));
  ASSERT_TRUE(RunUntil(loop_, [&] { return b.received.size() == 1; }));
  a.peers->RemoveNode(b.id, "the node died");
  EXPECT_EQ(a.lost.size(), 1u);
  EXPECT_FALSE(a.SendNumber(b.id, 2));
  ASSERT_TRUE(RunUntil(loop_, [&] { return !b.peers->IsConnected(a.id); }));
  EXPECT_TRUE(b.lost.empty());  // only the GCS can tell it
}

TEST_F(PeerTableTest, StrangersWithoutAWordDoNotKeepAMemberOut) {
  FakeNode a(&loop_, 1), b(&loop_, 2);
  a.Meet(b);
  std::vector<UniqueFd> strangers;
  for (size_t i = 0; i < PeerTable::kMaxStrangers; ++i)
    strangers.push_back(ConnectTo(a.peers->port()));
  for (int i = 0; i < 5; ++i) loop_.RunOnce(5);
  ASSERT_TRUE(b.SendNumber(a.id, 1));  // it waits in the backlog, connected as far as it knows
  for (int i = 0; i < 10; ++i) loop_.RunOnce(5);
  EXPECT_TRUE(a.received.empty());
  strangers.pop_back();
  ASSERT_TRUE(RunUntil(loop_, [&] { return a.received.size() == 1; }));
  EXPECT_TRUE(a.lost.empty() && b.lost.empty());
}

}  // namespace
}  // namespace cyray::raylet
