// Tests of PeerBroker: connections between the processes of a node, and frames to other nodes.

#include "cyray/raylet/peer_broker.h"

#include <sys/socket.h>

#include "core_generated.h"
#include "cpp_tests/raylet/node_fake.h"
#include "cpp_tests/util/process_limit.h"

namespace cyray::raylet {
namespace {

using wire::FrameType;
using wire::ToWire;

struct BrokerNode : NodeFake {
  BrokerNode(EventLoop* loop, uint8_t number)
      : NodeFake(loop, number), broker(&options, &clients, &peers, [this](const Address& address) {
          watched_died.push_back(address);
        }) {
    on_frame = [this](ClientConnection& client, wire::Frame& frame) {
      if (frame.type == FrameType::kRelay) return broker.OnRelay(client, frame);
      return broker.OnConnectPeer(client, frame.As<wire::ConnectPeer>());
    };
  }
  std::vector<Address> watched_died;
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
  static void Relay(Client& from, const Address& source, const Address& to, uint8_t byte,
                    size_t size = 1) {
    from.process->Send(FrameType::kRelay, [&](auto& builder) {
      const std::vector<uint8_t> bytes(size, byte);
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

TEST_F(PeerBrokerTest, WhoAsksForAProcessAfterItsEndWasToldHearsOfTheEnd) {
  Client a = AddClient(here_);
  const Address dead{here_.options.node_id, WorkerId::Random()};
  here_.broker.OnLocalDied(dead, "killed");
  Connect(a, dead);
  EXPECT_TRUE(here_.Await(*a.process, FrameType::kConnectPeerReply));
  const auto died = here_.Await(*a.process, FrameType::kProcessDied);
  ASSERT_TRUE(died);
  EXPECT_EQ(wire::FromWireOrNil(died->As<wire::ProcessDied>()->address()), dead);
  EXPECT_EQ(died->As<wire::ProcessDied>()->reason()->str(), "killed");
}

TEST_F(PeerBrokerTest, WithoutDescriptorsItIsAnErrorAndTheNextTryWorks) {
  if (kIsSanitized) GTEST_SKIP();
  Client a = AddClient(here_), b = AddClient(here_);
  here_.Round();
  Connect(a, b.address);
  {
    const ProcessLimit none(RLIMIT_NOFILE, 3);
    here_.Round();
  }
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

TEST_F(PeerBrokerTest, ADeadNodeIsOwedNothing) {
  Client a = AddClient(here_), b = AddClient(there_);
  Relay(a, a.address, b.address, 1);
  ASSERT_TRUE(here_.Await(*b.process, FrameType::kRelay));
  ASSERT_TRUE(here_.Until([&] { return there_.broker.debts() == 1; }));
  there_.peers.RemoveNode(here_.options.node_id, "says the GCS");
  EXPECT_EQ(there_.broker.debts(), 0u);
}

TEST_F(PeerBrokerTest, OfAProcessThatEndsAfterAllWhoTalkedWithItNothingIsLeft) {
  Client a = AddClient(here_), b = AddClient(there_);
  Relay(a, a.address, b.address, 1);
  ASSERT_TRUE(here_.Await(*b.process, FrameType::kRelay));
  EXPECT_EQ(here_.peers.relays().destinations(), 1u) << "not read, as far as is known here";
  here_.broker.OnLocalDied(a.address, "killed");
  ASSERT_TRUE(here_.Await(*b.process, FrameType::kProcessDied));
  there_.broker.OnLocalDied(b.address, "killed");
  EXPECT_TRUE(here_.Until([&] { return here_.peers.relays().destinations() == 0; }));
  EXPECT_EQ(there_.broker.debts(), 0u);
}

TEST_F(PeerBrokerTest, NorOfOneThatHadTakenNothing) {
  Client a = AddClient(here_);
  const Address dying = there_.options.AddressOf(WorkerId::Random());
  there_.broker.set_is_ending([&](const WorkerId& worker) { return worker == dying.worker; });
  Relay(a, a.address, dying, 1);
  ASSERT_TRUE(here_.Until([&] { return there_.broker.Talks(dying.worker, a.address); }));
  here_.broker.OnLocalDied(a.address, "killed");
  ASSERT_TRUE(here_.Until([&] { return !there_.broker.Talks(dying.worker, a.address); }));
  there_.broker.OnLocalDied(dying, "killed");
  EXPECT_TRUE(here_.Until([&] { return here_.peers.relays().destinations() == 0; }));
}

TEST_F(PeerBrokerTest, AFrameToAProcessThatIsGoneThereIsToldBack) {
  Client a = AddClient(here_);
  const Address gone{there_.options.node_id, WorkerId::Random()};
  Relay(a, a.address, gone, 1);
  const auto died = here_.Await(*a.process, FrameType::kProcessDied);
  ASSERT_TRUE(died);
  EXPECT_EQ(wire::FromWireOrNil(died->As<wire::ProcessDied>()->address()), gone);
}

TEST_F(PeerBrokerTest, AFrameToAProcessThatIsEndingIsAnsweredByItsEnd) {
  Client a = AddClient(here_);
  const Address dying = there_.options.AddressOf(WorkerId::Random());
  bool asked = false;
  there_.broker.set_is_ending([&](const WorkerId& worker) {
    asked = true;
    return worker == dying.worker;
  });
  Relay(a, a.address, dying, 1);
  ASSERT_TRUE(here_.Until([&] { return asked; }));
  there_.broker.OnLocalDied(dying, "killed by signal 9");
  const auto died = here_.Await(*a.process, FrameType::kProcessDied);
  ASSERT_TRUE(died);
  EXPECT_EQ(died->As<wire::ProcessDied>()->reason()->str(), "killed by signal 9");
  // Later ones hear why, too.
  Relay(a, a.address, dying, 2);
  there_.broker.set_is_ending([](const WorkerId&) { return false; });
  const auto again = here_.Await(*a.process, FrameType::kProcessDied);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->As<wire::ProcessDied>()->reason()->str(), "killed by signal 9");
}

TEST_F(PeerBrokerTest, WhoWatchesAProcessThatIsEndingHearsWhyItEnded) {
  const Address dying = there_.options.AddressOf(WorkerId::Random());
  bool asked = false;
  there_.broker.set_is_ending([&](const WorkerId&) { return asked = true; });
  ASSERT_TRUE(here_.broker.Watch(dying));
  ASSERT_TRUE(here_.Until([&] { return asked; }));
  EXPECT_TRUE(here_.watched_died.empty());
  there_.broker.OnLocalDied(dying, "killed");
  EXPECT_TRUE(here_.Until([&] { return here_.watched_died == std::vector<Address>{dying}; }));
}

TEST_F(PeerBrokerTest, TheEndOfAProcessIsToldBehindItsLastFramesWhateverElseIsSaid) {
  Client a = AddClient(here_), bystander = AddClient(here_), b = AddClient(there_);
  Relay(a, a.address, b.address, 0);
  ASSERT_TRUE(here_.Await(*b.process, FrameType::kRelay));
  for (uint8_t i = 0; i < 100; ++i) Relay(b, b.address, a.address, i, 100'000);
  here_.broker.OnRemoteDied(b.address, "says its raylet");  // overtakes what b has sent
  EXPECT_TRUE(here_.Await(*bystander.process, FrameType::kProcessDied));
  EXPECT_EQ(a.process->CountOf(FrameType::kProcessDied), 0u);
  size_t got = 0;
  ASSERT_TRUE(here_.Until([&] {
    b.process->Flush();
    while (a.process->Take(FrameType::kRelay)) ++got;
    return got == 100;
  }));
  Relay(b, b.address, a.address, 100);
  ASSERT_TRUE(here_.Until([&] {
    there_.clients.FlushAll();
    return a.process->CountOf(FrameType::kRelay) == 1;
  }));
  there_.broker.OnLocalDied(b.address, "it crashed");
  const auto died = here_.Await(*a.process, FrameType::kProcessDied);
  ASSERT_TRUE(died);
  EXPECT_EQ(wire::FromWireOrNil(died->As<wire::ProcessDied>()->address()), b.address);
  EXPECT_EQ(died->As<wire::ProcessDied>()->reason()->str(), "it crashed");
  EXPECT_EQ(bystander.process->CountOf(FrameType::kProcessDied), 0u);
}

TEST_F(PeerBrokerTest, WhatADeadProcessHadAnsweredReachesItsCallersBeforeTheNewsOfItsEnd) {
  Client dead = AddClient(here_), near = AddClient(here_), far = AddClient(there_);
  Relay(dead, dead.address, far.address, 1);
  ASSERT_TRUE(here_.Await(*far.process, FrameType::kRelay));
  std::vector<wire::TaskNotes::Answer> answers;
  for (uint8_t number = 1; number <= 3; ++number) {
    answers.push_back({near.address, number, {number, 0}});
    answers.push_back({far.address, number + uint64_t{10}, {number, 1}});
  }
  here_.broker.PassOn(dead.address, answers);
  here_.broker.OnLocalDied(dead.address, "it crashed");
  ASSERT_TRUE(here_.Await(*far.process, FrameType::kProcessDied));
  for (Client* client : {&near, &far}) {
    const auto relay = here_.Await(*client->process, FrameType::kRelay);
    ASSERT_TRUE(relay);
    const auto* outer = relay->As<wire::Relay>();
    EXPECT_EQ(wire::FromWireOrNil(outer->source()), dead.address);
    wire::FrameHeader header;
    std::memcpy(&header, outer->frame()->data(), sizeof header);
    EXPECT_EQ(static_cast<FrameType>(header.type), FrameType::kLastAnswers);
    ASSERT_EQ(header.body_bytes + sizeof header, outer->frame()->size());
    const auto* last =
        flatbuffers::GetRoot<wire::LastAnswers>(outer->frame()->data() + sizeof header);
    ASSERT_EQ(last->answers()->size(), 3u);
    for (uint8_t i = 0; i < 3; ++i) {
      const auto* answer = last->answers()->Get(i);
      EXPECT_EQ(answer->number(), client == &near ? i + 1u : i + 11u);
      EXPECT_EQ(answer->task_reply()->Get(0), i + 1);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(answer->task_reply()->data()) % 8,
                reinterpret_cast<uintptr_t>(outer->frame()->data()) % 8);
    }
  }
}

TEST_F(PeerBrokerTest, WhoWatchesAProcessIsToldOfItsEndOnce) {
  Client a = AddClient(here_), b = AddClient(there_), other = AddClient(there_);
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(here_.broker.Watch(b.address));
  EXPECT_TRUE(here_.broker.Watch(other.address));
  EXPECT_TRUE(here_.broker.Watch(a.address));
  EXPECT_TRUE(here_.broker.Watch({}));
  // What is sent after the watch arrives after it.
  Relay(a, a.address, other.address, 1);
  ASSERT_TRUE(here_.Await(*other.process, FrameType::kRelay));
  there_.broker.OnLocalDied(b.address, "it crashed");
  const auto died = here_.Await(*a.process, FrameType::kProcessDied);
  ASSERT_TRUE(died);
  EXPECT_EQ(died->As<wire::ProcessDied>()->reason()->str(), "it crashed");
  EXPECT_EQ(here_.watched_died, std::vector{b.address});
}

TEST_F(PeerBrokerTest, WhoWatchesAProcessAfterItsEndIsToldAtOnce) {
  Client a = AddClient(here_);
  const Address gone{there_.options.node_id, WorkerId::Random()};
  for (size_t times : {1, 2}) {  // whoever deals with it again asks again
    EXPECT_TRUE(here_.broker.Watch(gone)) << "its own raylet has to be asked";
    ASSERT_TRUE(here_.Until([&] { return here_.watched_died.size() == times; }));
  }
  EXPECT_TRUE(here_.Await(*a.process, FrameType::kProcessDied));
}

TEST_F(PeerBrokerTest, WhoWatchesAProcessWhoseEndIsKnownHereLearnsItByThat) {
  Client gone = AddClient(here_), far = AddClient(there_);
  gone.process->Close();
  ASSERT_TRUE(here_.Until([&] { return here_.clients.Find(gone.address.worker) == nullptr; }));
  EXPECT_FALSE(here_.broker.Watch(gone.address));
  here_.peers.RemoveNode(there_.options.node_id, "its machine burnt");
  EXPECT_FALSE(here_.broker.Watch(far.address));
}

TEST_F(PeerBrokerTest, ADeathThatNobodyAskedForIsToldToNobody) {
  Client a = AddClient(here_);
  const Address unknown{there_.options.node_id, WorkerId::Random()};
  flatbuffers::FlatBufferBuilder builder;
  const auto died = wire::CreateProcessDied(builder, ToWire(unknown), builder.CreateString("no"));
  builder.Finish(wire::CreateForwardProcessDied(builder, died));
  ASSERT_TRUE(there_.peers.Send(here_.options.node_id, FrameType::kForwardProcessDied, builder));
  Client far = AddClient(there_);
  Relay(far, far.address, a.address, 1);
  ASSERT_TRUE(here_.Await(*a.process, FrameType::kRelay));
  EXPECT_EQ(a.process->CountOf(FrameType::kProcessDied), 0u);
  EXPECT_TRUE(here_.watched_died.empty());
}

TEST_F(PeerBrokerTest, NobodyTellsTheEndOfAnothersProcess) {
  Client a = AddClient(here_), b = AddClient(here_);
  flatbuffers::FlatBufferBuilder builder;
  const auto died = wire::CreateProcessDied(builder, ToWire(b.address), builder.CreateString("no"));
  builder.Finish(wire::CreateForwardProcessDied(builder, died, ToWire(a.address)));
  ASSERT_TRUE(there_.peers.Send(here_.options.node_id, FrameType::kForwardProcessDied, builder));
  Client far = AddClient(there_);
  Relay(far, far.address, a.address, 1);
  ASSERT_TRUE(here_.Await(*a.process, FrameType::kRelay));
  EXPECT_EQ(a.process->CountOf(FrameType::kProcessDied), 0u);
}

TEST_F(PeerBrokerTest, AProcessThatDoesNotReadCostsBoundedMemoryAndHoldsUpNobodyElse) {
  Client a = AddClient(here_), slow = AddClient(there_), quick = AddClient(there_);
  constexpr uint8_t kFrames = 100;
  constexpr size_t kBytes = 1 << 20;
  // Then here_ stops reading a, whose socket fills up.
  for (uint8_t i = 0; i < kFrames; ++i) {
    Relay(a, a.address, slow.address, i, kBytes);
    for (int round = 0; round < 3; ++round) here_.Round(0);
  }
  for (int round = 0; round < 50; ++round) here_.Round(1);
  EXPECT_LE(slow.connection->channel().unsent_bytes(), net::RelayQueues::kCreditBytes + 2 * kBytes);
  Client other = AddClient(here_);
  Relay(other, other.address, quick.address, 7);
  ASSERT_TRUE(here_.Await(*quick.process, FrameType::kRelay));
  uint8_t got = 0;
  ASSERT_TRUE(here_.Until([&] {
    if (got + 1 < kFrames) a.process->Flush();
    while (const auto frame = slow.process->Take(FrameType::kRelay)) {
      EXPECT_EQ(frame->As<wire::Relay>()->frame()->Get(0), got);
      ++got;
    }
    return got == kFrames;
  })) << int{got};
  EXPECT_FALSE(a.process->closed() || slow.process->closed());
}

TEST_F(PeerBrokerTest, ADeadNodeIsToldForEveryDestination) {
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
