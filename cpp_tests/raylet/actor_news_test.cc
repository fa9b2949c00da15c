// What becomes of an actor, told to clients by a GcsBridge with a played GCS: not before the last
// frames of the process that the actor had on another node.

#include "cyray/raylet/actor_news.h"

#include <gtest/gtest.h>

#include <map>
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

TEST_F(ActorNewsTest, WhoSubscribesAnewHearsItBehindTheLastFramesToo) {
  talks_ = {first_};
  Subscribe(false);
  Subscribe(true);
  gcs_->Tell(actor_, ActorState::Alive, 0, first_);
  EXPECT_EQ(Heard(), ActorState::Alive);
  gcs_->Tell(actor_, ActorState::Restarting, 1, {});
  Subscribe(true);
  EXPECT_EQ(Heard(), std::nullopt);
  EndTalk();
  EXPECT_EQ(Heard(), ActorState::Restarting);
}

// Clients, actors and processes at random.
class NewsWorld {
 public:
  void Step() {
    const WorkerId worker = Named<WorkerId>(time_.Below(4));
    const ActorId id = Named<ActorId>(time_.Below(5));
    Client& client = clients_[worker];
    switch (time_.Below(8)) {
      case 0:
        client.watches.insert(id);
        return news_.Subscribe(worker, id);
      case 1:
        return time_.Below(4) == 0 ? Unsubscribe(worker, client, id) : void();
      case 2:
        if (time_.Below(10) != 0) return;
        news_.OnClientGone(worker);
        clients_.erase(worker);
        return;
      case 3:
        return Tell(id, actors_[id].at.is_nil());
      case 4:
        if (client.lives_at.contains(id) && !client.lives_at[id].is_nil()) {
          client.talks.insert(client.lives_at[id]);
        }
        return;
      case 5:
        return EndTalk(worker, client);
      default:
        time_.RunFor(static_cast<int64_t>(time_.Below(400)) * 1'000'000);
    }
  }
  void ExpectAllKnown() {
    time_.RunFor((ActorNews::kHeldMs + 1) * 1'000'000);
    std::set<ActorId> wanted;
    for (const auto& [worker, client] : clients_) {
      for (const ActorId& id : client.watches) {
        wanted.insert(id);
        if (!client.heard.contains(id)) continue;
        EXPECT_EQ(client.heard.at(id), actors_.at(id).incarnation);
      }
    }
    EXPECT_EQ(watched_, wanted);
  }

 private:
  struct Client {
    std::set<ActorId> watches;
    std::map<ActorId, Address> lives_at;  // as it was told
    std::map<ActorId, uint32_t> heard;    // the incarnation
    std::set<Address> talks;
  };
  struct Actor {
    uint32_t incarnation = 0;
    Address at;
    std::map<Address, int64_t> left_ms;  // when the GCS told of it
  };
  template <class Id>
  static Id Named(uint64_t number) {
    Id id;
    id.bytes.fill(static_cast<uint8_t>(number + 1));
    return id;
  }
  void Unsubscribe(const WorkerId& worker, Client& client, const ActorId& id) {
    client.watches.erase(id);
    client.lives_at.erase(id);
    client.heard.erase(id);
    news_.Unsubscribe(worker, id);
  }
  void EndTalk(const WorkerId& worker, Client& client) {
    if (client.talks.empty()) return;
    const Address over = *client.talks.begin();
    client.talks.erase(over);
    news_.OnTalkOver(worker, over);
  }
  void Tell(const ActorId& id, bool alive) {
    Actor& actor = actors_[id];
    ++actor.incarnation;
    if (!alive) actor.left_ms[actor.at] = runtime_.NowMs();
    actor.at = alive ? Address{Named<NodeId>(7), WorkerId::Random()} : Address{};
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(wire::CreateActorUpdate(builder, ToWire(id),
                                           alive ? ActorState::Alive : ActorState::Restarting,
                                           alive ? ToWire(actor.at) : nullptr, actor.incarnation));
    news_.OnUpdate(*flatbuffers::GetRoot<wire::ActorUpdate>(builder.GetBufferPointer()));
  }
  void OnWatch(const ActorId& actor, bool watch) {
    EXPECT_EQ(watched_.erase(actor), watch ? 0u : 1u);
    if (watch) watched_.insert(actor);
  }
  void OnNews(const WorkerId& worker, const wire::Bytes& bytes) {
    const auto* update = flatbuffers::GetRoot<wire::ActorUpdate>(bytes.data());
    const ActorId id = wire::FromWire(*update->actor_id());
    Client& client = clients_.at(worker);
    EXPECT_TRUE(client.watches.contains(id));
    Address& known = client.lives_at[id];
    const Address now = wire::FromWireOrNil(update->address());
    if (!known.is_nil() && known != now && client.talks.contains(known)) {
      EXPECT_GE(runtime_.NowMs() - actors_.at(id).left_ms.at(known), ActorNews::kHeldMs);
    }
    known = now;
    client.heard[id] = update->incarnation();
  }

  sim::VirtualTime time_{11};
  sim::VirtualRuntime runtime_{&time_};
  std::map<WorkerId, Client> clients_;
  std::map<ActorId, Actor> actors_;
  std::set<ActorId> watched_;
  ActorNews news_{
      &runtime_,
      {[this](const ActorId& actor, bool watch) { OnWatch(actor, watch); },
       [this](const WorkerId& worker, const wire::Bytes& bytes) { OnNews(worker, bytes); },
       [this](const WorkerId& worker, const Address& process) {
         return clients_.at(worker).talks.contains(process);
       }}};
};

// Nobody hears that an actor left a process before that one's last frame, but for five seconds
// after the GCS told of it; in the end each knows the last news.
TEST(ActorNewsRandom, NewsOvertakeNoLastFrameAndNoneIsLost) {
  NewsWorld world;
  for (int step = 0; step < 20'000 && !::testing::Test::HasFailure(); ++step) world.Step();
  world.ExpectAllKnown();
}

}  // namespace
}  // namespace cyray::raylet
