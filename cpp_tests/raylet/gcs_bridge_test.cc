// Tests of GcsBridge against a real GCS: what processes may ask, what the raylet answers itself,
// and who hears of actors.

#include "cyray/raylet/gcs_bridge.h"

#include <set>

#include "cpp_tests/raylet/gcs_fake.h"

namespace cyray::raylet {
namespace {

using wire::Bytes;
using wire::FrameType;
using wire::GcsMethod;
using wire::ToWire;

Bytes Text(const std::string& text) { return {text.begin(), text.end()}; }

TEST(FunctionCache, KeepsTheMostRecentlyUsedWithinItsBytes) {
  FunctionCache cache(100);
  const auto key = [](uint8_t i) {
    FunctionId id;
    id.bytes[0] = i;
    return FunctionCache::Key{JobId::Nil(), id};
  };
  cache.Put(key(1), Bytes(40));
  cache.Put(key(2), Bytes(40));
  ASSERT_NE(cache.Find(key(1)), nullptr);
  cache.Put(key(3), Bytes(40));
  EXPECT_EQ(cache.Find(key(2)), nullptr);
  EXPECT_NE(cache.Find(key(1)), nullptr);
  cache.Put(key(4), Bytes(101));
  EXPECT_EQ(cache.Find(key(4)), nullptr) << "it would take everybody's place";
  EXPECT_NE(cache.Find(key(3)), nullptr);
}

class GcsBridgeTest : public ::testing::Test {
 protected:
  struct Client {
    ClientConnection* connection = nullptr;
    std::unique_ptr<FakeProcess> process;
  };
  GcsBridgeTest() {
    node_.on_frame = [this](ClientConnection& client, wire::Frame& frame) {
      if (frame.type == FrameType::kGcsCall) {
        return bridge_.OnGcsCall(client, frame.As<wire::GcsCall>());
      }
      return bridge_.OnSubscribeActor(client, frame.As<wire::SubscribeActor>());
    };
    node_.on_closed = [this](ClientConnection& client, const std::string&) {
      bridge_.OnClientGone(client.worker());
    };
  }
  Client AddClient() {
    Client client;
    client.process = node_.Connect(&client.connection);
    EXPECT_TRUE(node_.clients.Name(*client.connection, WorkerId::Random()));
    client.connection->registered = true;
    return client;
  }
  void Join() { JoinCluster(node_, bridge_, gcs_.address(), up_); }
  template <class Write>
  static void Ask(Client& client, GcsMethod method, Write write) {
    flatbuffers::FlatBufferBuilder request;
    request.Finish(write(request));
    client.process->Send(FrameType::kGcsCall, [&](auto& builder) {
      const auto payload =
          builder.CreateVector(request.GetBufferPointer(), size_t{request.GetSize()});
      return wire::CreateGcsCall(builder, 9, static_cast<uint16_t>(method), payload);
    });
  }
  std::optional<GotFrame> Reply(Client& client) {
    return node_.Await(*client.process, FrameType::kGcsReply);
  }
  void Register(Client& client, const ActorId& actor) {
    AskToRegister(client, actor);
    const auto reply = Reply(client);
    ASSERT_TRUE(reply);
    EXPECT_TRUE(reply->As<wire::GcsReply>()->ok());
  }
  void AskToRegister(Client& client, const ActorId& actor) {
    const Address owner = node_.options.AddressOf(client.connection->worker());
    Ask(client, GcsMethod::RegisterActor, [&](auto& builder) {
      const auto name = builder.CreateString("A");
      ResourceSet needs;
      needs.Set("nobody has it", kResourceUnit);
      const auto placement = wire::ToWire(builder, needs);
      wire::RegisterActorRequestBuilder request(builder);
      request.add_actor_id(ToWire(actor));
      request.add_owner(ToWire(owner));
      request.add_class_name(name);
      request.add_placement(placement);
      return request.Finish();
    });
  }
  static void Subscribe(Client& client, const ActorId& actor, bool subscribe = true) {
    client.process->Send(FrameType::kSubscribeActor, [&](auto& builder) {
      return wire::CreateSubscribeActor(builder, ToWire(actor), subscribe);
    });
  }
  void Kill(Client& client, const ActorId& actor) {
    Ask(client, GcsMethod::KillActor,
        [&](auto& builder) { return wire::CreateKillActorRequest(builder, ToWire(actor), true); });
    ASSERT_TRUE(Reply(client));
  }

  LocalGcs gcs_;
  EventLoop loop_;
  NodeFake node_{&loop_};
  bool up_ = false;
  GcsBridge bridge_{
      &loop_,
      &node_.options,
      &node_.clients,
      {[](const wire::NodeCommand&) {},
       [this] {
         flatbuffers::FlatBufferBuilder builder;
         return gcs::FinishReport(builder,
                                  wire::CreateNodeHello(builder, ToWire(node_.options.node_id)));
       },
       [](const Status&) {}, [this] { up_ = true; }, [] { return Text("what the raylet knows"); }}};
};

// A driver may be there before its node is one of the cluster's.
TEST_F(GcsBridgeTest, WhatIsAskedBeforeTheNodeIsRegisteredComesAfterThat) {
  flatbuffers::FlatBufferBuilder builder;
  const Address driver = node_.options.AddressOf(WorkerId::Random());
  builder.Finish(wire::CreateRegisterJobRequest(builder, ToWire(driver), 1));
  std::optional<Result<Bytes>> job;
  bridge_.Connect(gcs_.address());
  bridge_.Call(GcsMethod::RegisterJob, builder, [&](Result<Bytes> reply) { job = reply; });
  gcs::NodeEntry entry;
  entry.id = node_.options.node_id;
  flatbuffers::FlatBufferBuilder node;
  node.Finish(wire::CreateRegisterNodeRequest(node, gcs::WriteNode(node, entry)));
  bool registered = false;
  bridge_.Register(node, [&](Result<Bytes> reply) {
    EXPECT_TRUE(reply.has_value());
    EXPECT_FALSE(job.has_value());
    registered = true;
  });
  ASSERT_TRUE(node_.Until([&] { return registered; }));
  bridge_.OpenStream();
  ASSERT_TRUE(node_.Until([&] { return job.has_value(); }));
  EXPECT_TRUE(job->has_value());
}

TEST_F(GcsBridgeTest, CallsMadeBeforeTheGcsIsKnownAreAnsweredOnceItIs) {
  Client client = AddClient();
  Ask(client, GcsMethod::KvPut, [](auto& builder) {
    const auto space = builder.CreateString("s"), key = builder.CreateString("k");
    const auto value = builder.CreateVector(Text("v"));
    return wire::CreateKvPutRequest(builder, space, key, value, true);
  });
  node_.Round();
  EXPECT_EQ(client.process->CountOf(FrameType::kGcsReply), 0u);
  Join();
  const auto reply = Reply(client);
  ASSERT_TRUE(reply);
  EXPECT_TRUE(reply->As<wire::GcsReply>()->ok());
  EXPECT_EQ(reply->As<wire::GcsReply>()->request_id(), 9u);
}

// Keeps what it is asked.
class AskedGcs : public gcs::GcsConnection {
 public:
  struct Asked {
    GcsMethod method;
    Bytes payload;
    ReplyCallback callback;
  };
  explicit AskedGcs(std::vector<Asked>* asked, std::vector<Bytes>* reported = nullptr)
      : asked_(asked), reported_(reported) {}
  void Call(GcsMethod method, Bytes payload, ReplyCallback callback) override {
    asked_->push_back({method, std::move(payload), std::move(callback)});
  }
  void OpenStream(StreamCallbacks) override {}
  void Report(Bytes report) override {
    if (reported_ != nullptr) reported_->push_back(std::move(report));
  }

 private:
  std::vector<Asked>* const asked_;
  std::vector<Bytes>* const reported_;
};

TEST_F(GcsBridgeTest, ActorsDroppedTogetherGoInOneCallAndBeforeWhatIsAskedAfterThem) {
  std::vector<AskedGcs::Asked> asked;
  bridge_.Connect("nowhere", std::make_unique<AskedGcs>(&asked));
  bridge_.OpenStream();
  Client client = AddClient();
  std::vector<ActorId> actors;
  const auto drop = [&] {
    actors.push_back(ActorId::Random());
    Ask(client, GcsMethod::KillActor, [&](auto& builder) {
      return wire::CreateKillActorRequest(builder, ToWire(actors.back()), true, true);
    });
  };
  for (int i = 0; i < 3; ++i) drop();
  Ask(client, GcsMethod::ListNodes, [](auto& builder) { return wire::CreateEmpty(builder); });
  drop();
  ASSERT_TRUE(node_.Until([&] { return asked.size() >= 3; }));
  ASSERT_EQ(asked.size(), 3u);
  EXPECT_EQ(asked[0].method, GcsMethod::ChangeActors);
  EXPECT_EQ(asked[1].method, GcsMethod::ListNodes);
  EXPECT_EQ(asked[2].method, GcsMethod::KillActor) << "alone it goes as it came";
  const auto* request = wire::VerifiedRoot<wire::ChangeActorsRequest>(asked[0].payload);
  ASSERT_NE(request, nullptr);
  std::vector<ActorId> told;
  for (const wire::WireActorId* id : *request->dropped()) told.push_back(wire::FromWire(*id));
  EXPECT_EQ(told, std::vector<ActorId>(actors.begin(), actors.begin() + 3));
  flatbuffers::FlatBufferBuilder done;
  done.Finish(wire::CreateChangeActorsReply(done));
  asked[0].callback(wire::FinishedBytes(done));
  for (int i = 0; i < 3; ++i) {
    const auto reply = Reply(client);
    ASSERT_TRUE(reply);
    EXPECT_TRUE(reply->As<wire::GcsReply>()->ok());
  }
  asked[2].callback(Fail(StatusCode::kIoError, "the disk is full"));
  const auto reply = Reply(client);
  ASSERT_TRUE(reply);
  EXPECT_FALSE(reply->As<wire::GcsReply>()->ok());
}

TEST_F(GcsBridgeTest, AWatchDoesNotOvertakeTheRegistrationThatStandsInALine) {
  std::vector<AskedGcs::Asked> asked;
  std::vector<Bytes> reports;
  bridge_.Connect("nowhere", std::make_unique<AskedGcs>(&asked, &reports));
  bridge_.OpenStream();
  Client owner = AddClient(), other = AddClient();
  Ask(owner, GcsMethod::PutFunction, [&](auto& builder) {
    const auto pickled = builder.CreateVector(Bytes(9u << 20));  // all that may be on its way
    return wire::CreatePutFunctionRequest(builder, 0, 0, pickled);
  });
  const ActorId actor = ActorId::Random(), second = ActorId::Random();
  AskToRegister(owner, actor);
  AskToRegister(owner, second);
  ASSERT_TRUE(node_.Until([&] {
    owner.process->Flush();
    return bridge_.waiting_calls() == 2 && asked.size() == 1;
  }));
  Subscribe(owner, actor);
  Subscribe(other, actor);
  Subscribe(other, second);
  for (int i = 0; i < 5; ++i) node_.Round();
  EXPECT_EQ(reports.size(), 0u);
  const auto answer = [&asked](size_t call, Result<Bytes> result) {
    const auto callback = std::move(asked[call].callback);  // it asks for more
    callback(std::move(result));
  };
  flatbuffers::FlatBufferBuilder done;
  done.Finish(wire::CreateChangeActorsReply(done));
  answer(0, Text(""));
  ASSERT_TRUE(node_.Until([&] { return asked.size() == 2; }));
  EXPECT_EQ(reports.size(), 0u) << "it may overtake that on the way";
  answer(1, wire::FinishedBytes(done));
  ASSERT_EQ(reports.size(), 2u);
  std::set<ActorId> watched;
  for (const Bytes& report : reports) {
    const auto* watch = wire::VerifiedRoot<wire::NodeReport>(report)->body_as_WatchActor();
    ASSERT_NE(watch, nullptr);
    watched.insert(wire::FromWire(*watch->actor_id()));
  }
  EXPECT_EQ(watched, (std::set{actor, second}));
}

TEST_F(GcsBridgeTest, WhoAsksForMuchKeepsNobodyElseWaiting) {
  std::vector<AskedGcs::Asked> asked;
  bridge_.Connect("nowhere", std::make_unique<AskedGcs>(&asked));
  bridge_.OpenStream();
  Client greedy = AddClient(), modest = AddClient();
  constexpr size_t kMany = 5000;
  for (size_t i = 0; i < kMany; ++i) {
    Ask(greedy, GcsMethod::KvKeys,
        [](auto& builder) { return wire::CreateKvKeysRequest(builder); });
  }
  Ask(modest, GcsMethod::ListNodes, [](auto& builder) { return wire::CreateEmpty(builder); });
  const auto is_modest = [](const auto& one) { return one.method == GcsMethod::ListNodes; };
  ASSERT_TRUE(node_.Until([&] { return std::ranges::any_of(asked, is_modest); }));
  EXPECT_LE(asked.size(), 100u);
  EXPECT_GT(bridge_.waiting_calls(), 0u) << "a dump shows it";
  size_t answered = 0;
  ASSERT_TRUE(node_.Until([&] {
    greedy.process->Flush();
    for (; answered < asked.size(); ++answered) {
      const auto callback = std::move(asked[answered].callback);  // it asks for more
      callback(Text("answer"));
    }
    return answered == kMany + 1;
  }));
  EXPECT_TRUE(node_.Until([&] { return greedy.process->CountOf(FrameType::kGcsReply) == kMany; }));
  EXPECT_EQ(bridge_.waiting_calls(), 0u);
}

TEST_F(GcsBridgeTest, AProcessMayNotCallWhatIsTheRaylets) {
  Join();
  Client client = AddClient();
  Ask(client, GcsMethod::FinishJob,
      [](auto& builder) { return wire::CreateFinishJobRequest(builder); });
  const auto reply = Reply(client);
  ASSERT_TRUE(reply);
  EXPECT_FALSE(reply->As<wire::GcsReply>()->ok());
  EXPECT_NE(reply->As<wire::GcsReply>()->error()->str().find("may not call"), std::string::npos);
}

TEST_F(GcsBridgeTest, AFunctionIsAnsweredHereOnceItWasSeen) {
  Join();
  Client writer = AddClient(), reader = AddClient();
  FunctionId function;
  function.bytes[0] = 7;
  const JobId job = JobId::FromBytes("job1");
  Ask(writer, GcsMethod::PutFunction, [&](auto& builder) {
    const auto pickled = builder.CreateVector(Text("code"));
    return wire::CreatePutFunctionRequest(builder, ToWire(job), ToWire(function), pickled);
  });
  ASSERT_TRUE(Reply(writer));
  gcs_.Stop();  // who asks now is not kept waiting
  Ask(reader, GcsMethod::GetFunction, [&](auto& builder) {
    return wire::CreateGetFunctionRequest(builder, ToWire(job), ToWire(function), 1000);
  });
  const auto reply = Reply(reader);
  ASSERT_TRUE(reply);
  const Bytes payload = wire::BytesOrEmpty(reply->As<wire::GcsReply>()->payload());
  const auto* found = wire::VerifiedRoot<wire::GetFunctionReply>(payload);
  ASSERT_NE(found, nullptr);
  EXPECT_TRUE(found->found());
  EXPECT_EQ(wire::BytesOrEmpty(found->pickled()), Text("code"));
}

TEST_F(GcsBridgeTest, ResourcesOfTheClusterAreWhatTheRayletKnows) {
  Client client = AddClient();  // no GCS is needed
  Ask(client, GcsMethod::ClusterResources,
      [](auto& builder) { return wire::CreateEmpty(builder); });
  const auto reply = Reply(client);
  ASSERT_TRUE(reply);
  EXPECT_EQ(wire::BytesOrEmpty(reply->As<wire::GcsReply>()->payload()),
            Text("what the raylet knows"));
}

TEST_F(GcsBridgeTest, EverySubscriberHearsOfAnActorAndALateOneAtOnce) {
  Join();
  Client owner = AddClient(), other = AddClient(), late = AddClient();
  const ActorId actor = ActorId::Random();
  Subscribe(owner, actor);
  Subscribe(other, actor);
  Register(owner, actor);
  Kill(owner, actor);
  for (Client* client : {&owner, &other}) {
    ASSERT_TRUE(node_.Until([&] {
      const auto update = client->process->Take(FrameType::kActorUpdate);
      return update && update->As<wire::ActorUpdate>()->state() == wire::ActorState::Dead;
    }));
  }
  Subscribe(late, actor);
  const auto update = node_.Await(*late.process, FrameType::kActorUpdate);
  ASSERT_TRUE(update);
  EXPECT_EQ(update->As<wire::ActorUpdate>()->state(), wire::ActorState::Dead);
}

TEST_F(GcsBridgeTest, WhoUnsubscribedOrDiedHearsNothingMore) {
  Join();
  Client owner = AddClient(), other = AddClient();
  const ActorId actor = ActorId::Random();
  Register(owner, actor);
  Subscribe(owner, actor);
  Subscribe(other, actor);
  ASSERT_TRUE(node_.Await(*owner.process, FrameType::kActorUpdate));
  ASSERT_TRUE(node_.Await(*other.process, FrameType::kActorUpdate));
  Subscribe(other, actor, /*subscribe=*/false);
  Kill(owner, actor);
  ASSERT_TRUE(node_.Await(*owner.process, FrameType::kActorUpdate));
  EXPECT_EQ(other.process->CountOf(FrameType::kActorUpdate), 0u);
  owner.process->Close();
  node_.Round();
  Subscribe(other, actor);  // nobody watched it any more: it is asked for anew
  EXPECT_TRUE(node_.Await(*other.process, FrameType::kActorUpdate));
}

TEST_F(GcsBridgeTest, WatchedActorsAreWatchedAgainAfterTheGcsCameBack) {
  Join();
  Client owner = AddClient();
  const ActorId actor = ActorId::Random();
  Register(owner, actor);
  Subscribe(owner, actor);
  ASSERT_TRUE(node_.Await(*owner.process, FrameType::kActorUpdate));
  gcs_.Stop();
  up_ = false;
  gcs_.Start();
  ASSERT_TRUE(node_.Until([&] { return up_; }));
  Kill(owner, actor);
  EXPECT_TRUE(node_.Until([&] {
    const auto update = owner.process->Take(FrameType::kActorUpdate);
    return update && update->As<wire::ActorUpdate>()->state() == wire::ActorState::Dead;
  }));
}

TEST_F(GcsBridgeTest, AHelloNamesWhoIsConnectedAndWhoseEndIsYetToBeReported) {
  const Client client = AddClient();
  const WorkerId ending = WorkerId::Random();
  flatbuffers::FlatBufferBuilder builder;
  const auto processes = bridge_.WriteProcesses(builder, {ending});
  builder.Finish(wire::CreateNodeHello(builder, ToWire(node_.options.node_id), 0, processes));
  std::set<WorkerId> named;
  const auto* hello = flatbuffers::GetRoot<wire::NodeHello>(builder.GetBufferPointer());
  for (const auto* worker : *hello->processes()) named.insert(wire::FromWire(*worker));
  EXPECT_EQ(named, (std::set<WorkerId>{ending, client.connection->worker()}));
}

TEST_F(GcsBridgeTest, CallsThatAreNoneAreBad) {
  Client client = AddClient();
  client.process->Send(FrameType::kGcsCall,
                       [](auto& builder) { return wire::CreateGcsCall(builder, 1, 1); });
  EXPECT_TRUE(node_.Until([&] { return client.process->closed(); }));
}

}  // namespace
}  // namespace cyray::raylet
