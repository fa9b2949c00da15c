// What becomes of an actor, told to clients by a GcsBridge with a played GCS: not before the last
// frames of the process that the actor had on another node.

#include <gtest/gtest.h>

#include <set>

#include "cpp_tests/raylet/node_fake.h"
#include "cyray/gcs/codec.h"
#include "cyray/raylet/gcs_bridge.h"
#include "cyray/sim/virtual_runtime.h"
#include "cyray/sim/virtual_time.h"

namespace cyray::raylet {
namespace {

using wire::ActorState;
using wire::FrameType;
using wire::ToWire;

class PlayedGcs : public gcs::GcsConnection {
 public:
  void Call(wire::GcsMethod, wire::Bytes, ReplyCallback) override {}
  void OpenStream(StreamCallbacks callbacks) override { callbacks_ = std::move(callbacks); }
  void Report(wire::Bytes) override {}
  void Tell(const ActorId& actor, ActorState state, uint32_t incarnation, const Address& address) {
    flatbuffers::FlatBufferBuilder builder;
    const auto update = wire::CreateActorUpdate(
        builder, ToWire(actor), state, address.is_nil() ? nullptr : ToWire(address), incarnation);
    builder.Finish(
        wire::CreateNodeCommand(builder, wire::NodeCommandBody::ActorUpdate, update.Union()));
    callbacks_.on_command(flatbuffers::GetRoot<wire::NodeCommand>(builder.GetBufferPointer()));
  }

 private:
  StreamCallbacks callbacks_;
};

class ActorNewsTest : public ::testing::Test {
 protected:
  ActorNewsTest() {
    auto gcs = std::make_unique<PlayedGcs>();
    gcs_ = gcs.get();
    bridge_.Connect("nowhere", std::move(gcs));
    bridge_.OpenStream();
    node_.on_frame = [this](ClientConnection& client, wire::Frame& frame) {
      return bridge_.OnSubscribeActor(client, frame.As<wire::SubscribeActor>());
    };
    client_ = node_.Connect(&connection_);
    EXPECT_TRUE(node_.clients.Name(*connection_, WorkerId::Random()));
    connection_->registered = true;
    Subscribe(true);
    gcs_->Tell(actor_, ActorState::Alive, 0, first_);
    EXPECT_EQ(Heard(), ActorState::Alive);
  }
  void Subscribe(bool subscribe) {
    client_->Send(FrameType::kSubscribeActor, [&](auto& builder) {
      return wire::CreateSubscribeActor(builder, ToWire(actor_), subscribe);
    });
    node_.Round();
  }
  // What the client is told next; nothing when there is nothing.
  std::optional<ActorState> Heard() {
    node_.Round(0);
    const auto update = client_->Take(FrameType::kActorUpdate);
    if (!update) return std::nullopt;
    incarnation_ = update->As<wire::ActorUpdate>()->incarnation();
    return update->As<wire::ActorUpdate>()->state();
  }
  // The other raylet has told of the process's end, behind its last frame.
  void EndTalk() {
    talks_.erase(first_);
    bridge_.OnTalkOver(connection_->worker(), first_);
  }
  Address At(uint8_t node) {
    Address address;
    address.node.bytes.fill(node);
    address.worker = WorkerId::Random();
    return address;
  }

  EventLoop loop_;
  NodeFake node_{&loop_};
  sim::VirtualTime time_{1};
  sim::VirtualRuntime runtime_{&time_};
  std::set<Address> talks_;  // of the client
  GcsBridge bridge_{&runtime_,
                    &node_.options,
                    &node_.clients,
                    {[](const wire::NodeCommand&) {}, [] { return wire::Bytes{}; },
                     [](const Status&) {}, [] {}, [] { return wire::Bytes{}; },
                     [this](const WorkerId& client, const Address& process) {
                       return client == connection_->worker() && talks_.contains(process);
                     }}};
  PlayedGcs* gcs_ = nullptr;
  const ActorId actor_ = ActorId::Random();
  const Address first_ = At(7), second_ = At(8);
  ClientConnection* connection_ = nullptr;
  std::unique_ptr<FakeProcess> client_;
  uint32_t incarnation_ = 0;
};

TEST_F(ActorNewsTest, ARestartIsToldBehindTheLastFramesOfTheOldProcess) {
  talks_ = {first_};
  gcs_->Tell(actor_, ActorState::Restarting, 1, {});
  EXPECT_EQ(Heard(), std::nullopt) << "its last answers may be on their way";
  EndTalk();
  EXPECT_EQ(Heard(), ActorState::Restarting);
  gcs_->Tell(actor_, ActorState::Alive, 1, second_);
  EXPECT_EQ(Heard(), ActorState::Alive);
}

TEST_F(ActorNewsTest, OfSeveralNewsTheLastIsTold) {
  talks_ = {first_};
  gcs_->Tell(actor_, ActorState::Restarting, 1, {});
  gcs_->Tell(actor_, ActorState::Alive, 1, second_);
  EXPECT_EQ(Heard(), std::nullopt);
  EndTalk();
  EXPECT_EQ(Heard(), ActorState::Alive);
  EXPECT_EQ(incarnation_, 1u);
  EXPECT_EQ(Heard(), std::nullopt);
}

TEST_F(ActorNewsTest, WhoDoesNotTalkWithItHearsAtOnce) {
  gcs_->Tell(actor_, ActorState::Dead, 0, {});
  EXPECT_EQ(Heard(), ActorState::Dead);
}

TEST_F(ActorNewsTest, WhatIsToldAgainOfTheSameProcessWaitsForNothing) {
  talks_ = {first_};
  gcs_->Tell(actor_, ActorState::Alive, 0, first_);
  EXPECT_EQ(Heard(), ActorState::Alive);
}

TEST_F(ActorNewsTest, WhenThePathThereStaysCutItIsToldWithoutThem) {
  talks_ = {first_};
  gcs_->Tell(actor_, ActorState::Restarting, 1, {});
  time_.RunFor(4'900'000'000);
  EXPECT_EQ(Heard(), std::nullopt);
  time_.RunFor(200'000'000);
  EXPECT_EQ(Heard(), ActorState::Restarting);
  gcs_->Tell(actor_, ActorState::Alive, 1, second_);
  EXPECT_EQ(Heard(), ActorState::Alive) << "it knows that the actor has left";
  EndTalk();
  EXPECT_EQ(Heard(), std::nullopt) << "it has heard of it";
}

TEST_F(ActorNewsTest, WhoUnsubscribesMeanwhileHearsNothing) {
  talks_ = {first_};
  gcs_->Tell(actor_, ActorState::Restarting, 1, {});
  Subscribe(false);
  EndTalk();
  time_.RunFor(10'000'000'000);
  EXPECT_EQ(Heard(), std::nullopt);
}

}  // namespace
}  // namespace cyray::raylet
