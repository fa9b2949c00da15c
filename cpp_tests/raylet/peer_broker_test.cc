// Tests of PeerBroker: connections between the processes of a node, and frames to other nodes.

#include "cyray/raylet/peer_broker.h"

#include <sys/resource.h>
#include <sys/socket.h>

#include "cpp_tests/raylet/node_fake.h"

namespace cyray::raylet {
namespace {

using wire::FrameType;
using wire::ToWire;

struct BrokerNode : NodeFake {
  BrokerNode(EventLoop* loop, uint8_t number)
      : NodeFake(loop, number), broker(&options, &clients, &peers) {
    on_frame = [this](ClientConnection& client, wire::Frame& frame) {
      if (frame.type == FrameType::kRelay) return broker.OnRelay(client, frame);
      return broker.OnConnectPeer(client, frame.As<wire::ConnectPeer>());
    };
  }
  PeerBroker broker;
};

class PeerBrokerTest : public ::testing::Test {
 protected:
  struct Client {
    ClientConnection* connection = nullptr;
    std::unique_ptr<FakeProcess> process;
    Address address;
  };
  PeerBrokerTest() {
    here_.Meet(there_);
    there_.Meet(here_);
  }
  static Client AddClient(BrokerNode& node) {
    Client client;
    client.process = node.Connect(&client.connection);
    EXPECT_TRUE(node.clients.Name(*client.connection, WorkerId::Random()));
    client.connection->registered = true;
    client.address = node.options.AddressOf(client.connection->worker());
    return client;
  }
  static void Connect(Client& from, const Address& to) {
    from.process->Send(FrameType::kConnectPeer, [&](auto& builder) {
      return wire::CreateConnectPeer(builder, 1, ToWire(to));
    });
  }
  static void Relay(Client& from, const Address& source, const Address& to, uint8_t byte) {
    from.process->Send(FrameType::kRelay, [&](auto& builder) {
      const std::vector<uint8_t> bytes{byte};
      const auto frame = builder.CreateVector(bytes);
      return wire::CreateRelay(builder, ToWire(source), ToWire(to), frame);
    });
  }

  EventLoop loop_;
  BrokerNode here_{&loop_, 1};
  BrokerNode there_{&loop_, 2};
};

TEST_F(PeerBrokerTest, TwoProcessesGetTheTwoEndsOfOneSocket) {
  Client a = AddClient(here_), b = AddClient(here_);
  Connect(a, b.address);
  const auto reply = here_.Await(*a.process, FrameType::kConnectPeerReply);
  const auto told = here_.Await(*b.process, FrameType::kPeerConnected);
  ASSERT_TRUE(reply && told);
  ASSERT_EQ(reply->fds.size(), 1u);
  ASSERT_EQ(told->fds.size(), 1u);
  EXPECT_EQ(wire::FromWireOrNil(told->As<wire::PeerConnected>()->peer()), a.address);
  ASSERT_EQ(::send(reply->fds[0].get(), "hi", 2, 0), 2);
  char text[2];
  EXPECT_EQ(::recv(told->fds[0].get(), text, 2, 0), 2);
}

TEST_F(PeerBrokerTest, WhenBothAskThereIsOneSocket) {
  Client a = AddClient(here_), b = AddClient(here_);
  Connect(a, b.address);
  Connect(b, a.address);
  const auto first = here_.Await(*a.process, FrameType::kConnectPeerReply);
  const auto second = here_.Await(*b.process, FrameType::kConnectPeerReply);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->fds.size() + second->fds.size(), 1u);
  EXPECT_TRUE(second->As<wire::ConnectPeerReply>()->ok());
}

TEST_F(PeerBrokerTest, AProcessThatIsGoneIsAnError) {
  Client a = AddClient(here_);
  Connect(a, {here_.options.node_id, WorkerId::Random()});
  const auto reply = here_.Await(*a.process, FrameType::kConnectPeerReply);
  ASSERT_TRUE(reply);
  EXPECT_FALSE(reply->As<wire::ConnectPeerReply>()->ok());
  EXPECT_NE(reply->As<wire::ConnectPeerReply>()->error()->str().find("is gone"), std::string::npos);
}

TEST_F(PeerBrokerTest, WithoutDescriptorsItIsAnErrorAndTheNextTryWorks) {
  Client a = AddClient(here_), b = AddClient(here_);
  here_.Round();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 3;
  Connect(a, b.address);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  here_.Round();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  auto reply = here_.Await(*a.process, FrameType::kConnectPeerReply);
  ASSERT_TRUE(reply);
  EXPECT_FALSE(reply->As<wire::ConnectPeerReply>()->ok());
  Connect(a, b.address);
  reply = here_.Await(*a.process, FrameType::kConnectPeerReply);
  ASSERT_TRUE(reply);
  EXPECT_TRUE(reply->As<wire::ConnectPeerReply>()->ok());
  EXPECT_EQ(reply->fds.size(), 1u);
}

TEST_F(PeerBrokerTest, FramesReachAProcessOfAnotherNodeInOrder) {
  Client a = AddClient(here_), b = AddClient(there_);
  for (uint8_t i = 0; i < 100; ++i) Relay(a, a.address, b.address, i);
  for (uint8_t i = 0; i < 100; ++i) {
    const auto frame = here_.Await(*b.process, FrameType::kRelay);
    ASSERT_TRUE(frame);
    EXPECT_EQ(frame->As<wire::Relay>()->frame()->Get(0), i);
    EXPECT_EQ(wire::FromWireOrNil(frame->As<wire::Relay>()->source()), a.address);
  }
}

TEST_F(PeerBrokerTest, AFrameToAProcessThatIsGoneThereIsToldBack) {
  Client a = AddClient(here_);
  const Address gone{there_.options.node_id, WorkerId::Random()};
  Relay(a, a.address, gone, 1);
  const auto failed = here_.Await(*a.process, FrameType::kRelayFailed);
  ASSERT_TRUE(failed);
  EXPECT_EQ(wire::FromWireOrNil(failed->As<wire::RelayFailed>()->destination()), gone);
}

TEST_F(PeerBrokerTest, ABrokenConnectionIsToldForEveryDestination) {
  Client a = AddClient(here_), b = AddClient(there_), c = AddClient(there_);
  Relay(a, a.address, b.address, 1);
  Relay(a, a.address, c.address, 1);
  ASSERT_TRUE(here_.Until([&] { return here_.peers.IsConnected(there_.options.node_id); }));
  here_.peers.RemoveNode(there_.options.node_id, "its node died");
  ASSERT_TRUE(here_.Await(*a.process, FrameType::kRelayFailed));
  EXPECT_TRUE(here_.Await(*a.process, FrameType::kRelayFailed));
}

TEST_F(PeerBrokerTest, NobodySpeaksForAnother) {
  Client a = AddClient(here_), b = AddClient(here_);
  Relay(a, b.address, b.address, 1);
  EXPECT_TRUE(here_.Until([&] { return a.process->closed(); }));
}

}  // namespace
}  // namespace cyray::raylet
