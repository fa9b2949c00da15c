// Client and server of the GCS together, over real gRPC, with restarts of the server.

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <future>
#include <map>
#include <set>

#include "cluster_fixture.h"
#include "cpp_tests/gcs/payloads.h"
#include "cyray/crypto/auth.h"
#include "cyray/gcs/rpc.h"

namespace cyray::gcs {
namespace {

using wire::GcsMethod;
using State = wire::ActorState;

std::string TextOf(const flatbuffers::Vector<uint8_t>* bytes) {
  return bytes == nullptr ? "" : std::string(bytes->begin(), bytes->end());
}

class ServerTest : public ClusterTest {
 protected:
  std::unique_ptr<FakeRaylet> JoinedRaylet(ResourceSet resources) {
    auto raylet = std::make_unique<FakeRaylet>(&loop_, address(), std::move(resources));
    Result<wire::Bytes> reply =
        CallAndWait(raylet->client, GcsMethod::RegisterNode, raylet->RegisterNodePayload());
    EXPECT_TRUE(reply.has_value()) << reply.error().ToString();
    raylet->OpenStream();
    EXPECT_TRUE(RunUntil([&] { return raylet->ups == 1; }));
    return raylet;
  }

  // Registers an actor that the only raylet starts.
  ActorId LivingActor(FakeRaylet& raylet, ActorOptions options) {
    if (options.owner.is_nil()) options.owner = {raylet.id, WorkerId::Random()};
    const ActorId id = NewActorId();
    raylet.Watch(id);
    EXPECT_TRUE(
        CallAndWait(raylet.client, GcsMethod::RegisterActor, RegisterActorPayload(id, options))
            .has_value());
    EXPECT_TRUE(
        RunUntil([&] { return !raylet.starts.empty() && raylet.starts.back().actor == id; }));
    raylet.ReportStarted(id, raylet.starts.back().incarnation, {raylet.id, WorkerId::Random()});
    EXPECT_TRUE(WaitForState(raylet, id, State::Alive));
    return id;
  }

  bool WaitForState(FakeRaylet& raylet, const ActorId& id, State state) {
    return RunUntil([&] {
      return !raylet.updates.empty() && raylet.updates.back().actor == id &&
             raylet.updates.back().state == state;
    });
  }
};

TEST_F(ServerTest, WhatWasAcknowledgedIsThereAfterARestart) {
  StartServer();
  GcsClient client(&loop_, address(), kTestToken);
  ASSERT_TRUE(CallAndWait(client, GcsMethod::KvPut, KvPutPayload("a", "1")).has_value());
  StopServer();
  StartServer();
  Result<wire::Bytes> reply = CallAndWait(client, GcsMethod::KvGet, KvGetPayload("a"));
  ASSERT_TRUE(reply.has_value()) << reply.error().ToString();
  const auto* got = wire::VerifiedRoot<wire::KvGetReply>(*reply);
  ASSERT_NE(got, nullptr);
  EXPECT_TRUE(got->found());
  EXPECT_EQ(TextOf(got->value()), "1");
}

TEST_F(ServerTest, ACallMadeWhileTheServerIsAwayIsAnsweredWhenItIsBack) {
  StartServer();
  GcsClient client(&loop_, address(), kTestToken);
  ASSERT_TRUE(CallAndWait(client, GcsMethod::KvPut, KvPutPayload("a", "1")).has_value());
  StopServer();
  std::optional<Result<wire::Bytes>> result;
  client.Call(GcsMethod::KvGet, KvGetPayload("a"),
              [&](Result<wire::Bytes> r) { result = std::move(r); });
  EXPECT_FALSE(RunUntil([&] { return result.has_value(); }, 200));
  StartServer();
  ASSERT_TRUE(RunUntil([&] { return result.has_value(); }));
  EXPECT_TRUE(result->has_value()) << result->error().ToString();
}

TEST_F(ServerTest, AClientWithAnotherTokenIsToldSo) {
  StartServer();
  GcsClient client(&loop_, address(), std::string(32, 'x'));
  Result<wire::Bytes> reply = CallAndWait(client, GcsMethod::KvGet, KvGetPayload("a"));
  ASSERT_FALSE(reply.has_value());
  EXPECT_EQ(reply.error().code(), StatusCode::kUnauthenticated);
}

// A client that says what the test wants, over one connection.
class RawClient {
 public:
  explicit RawClient(const std::string& address, const grpc::ChannelArguments& arguments = {})
      : stub_(grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments)) {}

  grpc::StatusCode Call(const char* method, const char* key, const std::string& value,
                        grpc::ByteBuffer request, grpc::ByteBuffer* reply) {
    grpc::ClientContext context;
    context.AddMetadata(key, value);
    std::promise<grpc::Status> done;
    stub_.UnaryCall(&context, method, grpc::StubOptions(), &request, reply,
                    [&](grpc::Status status) { done.set_value(std::move(status)); });
    const grpc::Status status = done.get_future().get();
    dialed = context.peer().substr(5);  // "ipv4:"
    return status.error_code();
  }
  grpc::StatusCode Call(const char* method, const std::string& opening, grpc::ByteBuffer request) {
    grpc::ByteBuffer reply;
    return Call(method, kOpeningKey, opening, std::move(request), &reply);
  }
  RpcSession Begin() {
    const std::string nonce = crypto::RandomNonce();
    grpc::ByteBuffer reply;
    EXPECT_EQ(Call(kChallengeMethod, kClientNonceKey, nonce, ToMessage(""), &reply),
              grpc::StatusCode::OK);
    const wire::Bytes answer = FromMessage(reply);
    return *ProvedSession(kTestToken, nonce, std::string(answer.begin(), answer.end()), dialed);
  }
  std::string dialed;

 private:
  grpc::GenericStub stub_;
};

// Channels to one address share a connection otherwise.
grpc::ChannelArguments OwnConnection() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return arguments;
}

grpc::ByteBuffer RequestMessage(const RpcSession& session, uint64_t call, const CallHeader& header,
                                const wire::Bytes& payload) {
  return Seal({session, RpcSession::What::kRequest, {call, 0}},
              {reinterpret_cast<const char*>(&header), sizeof header},
              {reinterpret_cast<const char*>(payload.data()), payload.size()});
}

grpc::ByteBuffer KvGetMessage(const RpcSession& session, uint64_t call) {
  CallHeader header{};
  header.method = static_cast<uint16_t>(GcsMethod::KvGet);
  return RequestMessage(session, call, header, KvGetPayload("a"));
}

TEST_F(ServerTest, TheServerAnswersNothingWithoutAProof) {
  StartServer();
  RawClient stranger(address());
  for (const char* method : {kCallMethod, kStreamMethod, "/no.such/Method"}) {
    for (const size_t size : {0, 32, 104, 136, 4000}) {
      EXPECT_EQ(stranger.Call(method, std::string(size, 'x'), ToMessage("anything")),
                grpc::StatusCode::UNAUTHENTICATED);
    }
  }
  // A proof over a nonce that the server did not issue is none, even with the right token.
  const RpcSession own(kTestToken, std::string(32, 'c'), std::string(32, 's'), address());
  EXPECT_EQ(stranger.Call(kCallMethod, own.Opening(1, kCallMethod), KvGetMessage(own, 1)),
            grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(ServerTest, ACallIsTakenOnceAndAsItWasMeant) {
  StartServer();
  RawClient client(address());
  const RpcSession session = client.Begin();
  const auto opening = [&](uint64_t call) { return session.Opening(call, kCallMethod); };
  EXPECT_EQ(client.Call(kCallMethod, opening(1), KvGetMessage(session, 1)), grpc::StatusCode::OK);
  constexpr auto kRefused = grpc::StatusCode::UNAUTHENTICATED;
  EXPECT_EQ(client.Call(kCallMethod, opening(1), KvGetMessage(session, 1)), kRefused);
  EXPECT_EQ(client.Call(kCallMethod, opening(2), KvGetMessage(session, 1)), kRefused);
  EXPECT_EQ(client.Call(kStreamMethod, opening(3), KvGetMessage(session, 3)), kRefused);
  EXPECT_EQ(client.Call(kCallMethod, opening(4), ToMessage("")), kRefused);
  EXPECT_EQ(client.Call(kCallMethod, opening(3), KvGetMessage(session, 3)), grpc::StatusCode::OK);
  // Not on another connection.
  RawClient elsewhere(address(), OwnConnection());
  EXPECT_EQ(elsewhere.Call(kCallMethod, opening(5), KvGetMessage(session, 5)), kRefused);
  EXPECT_EQ(client.Call(kCallMethod, opening(5), KvGetMessage(session, 5)), grpc::StatusCode::OK);
}

// A stranger at another address passes all that it is told to the GCS, and back.
TEST_F(ServerTest, AStrangerCannotPassTheServersProofOn) {
  StartServer();
  net::TcpListener stranger(&loop_);
  std::vector<UniqueFd> ends;
  std::set<int> watched;
  const auto pass = [&](int from, int to) {
    watched.insert(from);
    loop_.Add(from, EPOLLIN, [this, &watched, from, to](uint32_t) {
      char bytes[4096];
      const ssize_t n = ::recv(from, bytes, sizeof bytes, MSG_DONTWAIT);
      if (n > 0) {
        (void)::send(to, bytes, static_cast<size_t>(n), MSG_NOSIGNAL);
        return;
      }
      loop_.Remove(from);
      watched.erase(from);
    });
  };
  ASSERT_TRUE(
      stranger
          .Listen("127.0.0.1", 0,
                  [&](UniqueFd client) {
                    sockaddr_in gcs{};
                    socklen_t size = sizeof gcs;
                    ::getsockname(listening_.get(), reinterpret_cast<sockaddr*>(&gcs), &size);
                    UniqueFd server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
                    ASSERT_EQ(
                        ::connect(server.get(), reinterpret_cast<sockaddr*>(&gcs), sizeof gcs), 0);
                    pass(client.get(), server.get());
                    pass(server.get(), client.get());
                    ends.push_back(std::move(client));
                    ends.push_back(std::move(server));
                  })
          .ok());
  {
    GcsClient client(&loop_, "127.0.0.1:" + std::to_string(stranger.port()), kTestToken);
    const Result<wire::Bytes> reply = CallAndWait(client, GcsMethod::KvGet, KvGetPayload("a"));
    ASSERT_FALSE(reply.has_value());
    EXPECT_EQ(reply.error().code(), StatusCode::kUnauthenticated);
  }
  EXPECT_FALSE(ends.empty());
  for (const int fd : watched) loop_.Remove(fd);
}

TEST_F(ServerTest, BytesThatAreNotARequestAreRefusedAndNothingElseHappens) {
  StartServer();
  GcsClient client(&loop_, address(), kTestToken);
  for (int method = 0; method < 30; ++method) {
    Result<wire::Bytes> reply =
        CallAndWait(client, static_cast<GcsMethod>(method), wire::Bytes(37, 0xEE));
    if (!reply.has_value()) {
      EXPECT_EQ(reply.error().code(), StatusCode::kInvalidArgument);
    }
  }
  EXPECT_TRUE(CallAndWait(client, GcsMethod::KvPut, KvPutPayload("a", "1")).has_value());
}

TEST_F(ServerTest, AFunctionCanBeAskedForBeforeItIsThere) {
  StartServer();
  GcsClient client(&loop_, address(), kTestToken);
  const JobId job = JobId::Random();
  const FunctionId id = FunctionId::Random();
  std::optional<Result<wire::Bytes>> result;
  client.Call(GcsMethod::GetFunction, GetFunctionPayload(job, id, 5000),
              [&](Result<wire::Bytes> r) { result = std::move(r); });
  EXPECT_FALSE(RunUntil([&] { return result.has_value(); }, 50));
  ASSERT_TRUE(
      CallAndWait(client, GcsMethod::PutFunction, PutFunctionPayload(job, id, "code")).has_value());
  ASSERT_TRUE(RunUntil([&] { return result.has_value(); }));
  ASSERT_TRUE(result->has_value());
  const auto* reply = wire::VerifiedRoot<wire::GetFunctionReply>(**result);
  EXPECT_TRUE(reply->found());
  EXPECT_EQ(TextOf(reply->pickled()), "code");
}

TEST_F(ServerTest, WaitingForAFunctionEndsAfterItsTime) {
  StartServer();
  GcsClient client(&loop_, address(), kTestToken);
  Result<wire::Bytes> reply =
      CallAndWait(client, GcsMethod::GetFunction,
                  GetFunctionPayload(JobId::Random(), FunctionId::Random(), 30));
  ASSERT_TRUE(reply.has_value());
  EXPECT_FALSE(wire::VerifiedRoot<wire::GetFunctionReply>(*reply)->found());
}

TEST_F(ServerTest, AnActorIsPlacedStartedAndFoundByName) {
  StartServer();
  auto raylet = JoinedRaylet(Cpus(2));
  const ActorId id = LivingActor(*raylet, {.name = "counter"});
  EXPECT_EQ(raylet->starts.back().spec, (wire::Bytes{9, 8, 7}));
  const Address owner{raylet->id, WorkerId::Random()};
  flatbuffers::FlatBufferBuilder builder;
  auto name = builder.CreateString("counter");
  builder.Finish(wire::CreateGetActorByNameRequest(builder, name));
  Result<wire::Bytes> reply =
      CallAndWait(raylet->client, GcsMethod::GetActorByName, wire::FinishedBytes(builder));
  ASSERT_TRUE(reply.has_value());
  const auto* found = wire::VerifiedRoot<wire::GetActorByNameReply>(*reply);
  ASSERT_TRUE(found->found());
  EXPECT_EQ(wire::FromWire(*found->actor_id()), id);
  Result<wire::Bytes> again =
      CallAndWait(raylet->client, GcsMethod::RegisterActor,
                  RegisterActorPayload(NewActorId(), {.name = "counter", .owner = owner}));
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().code(), StatusCode::kAlreadyExists);
}

TEST_F(ServerTest, AKilledActorStopsAndItsWatchersLearnWhy) {
  StartServer();
  auto raylet = JoinedRaylet(Cpus(2));
  const ActorId id = LivingActor(*raylet, {});
  ASSERT_TRUE(
      CallAndWait(raylet->client, GcsMethod::KillActor, KillPayload(id, true, false)).has_value());
  ASSERT_TRUE(WaitForState(*raylet, id, State::Dead));
  EXPECT_EQ(raylet->updates.back().death_cause,
            "The actor is dead because it was killed by `cyray.kill`.");
  EXPECT_EQ(raylet->stops, std::vector{id});
}

TEST_F(ServerTest, ActorsLiveOnThroughARestartOfTheServer) {
  StartServer();
  auto raylet = JoinedRaylet(Cpus(2));
  const ActorId id = LivingActor(*raylet, {.name = "counter", .max_restarts = 1});
  StopServer();
  StartServer();
  ASSERT_TRUE(RunUntil([&] { return raylet->ups == 2; }));
  raylet->updates.clear();
  raylet->Watch(id);
  ASSERT_TRUE(WaitForState(*raylet, id, State::Alive));
  EXPECT_EQ(raylet->updates.back().incarnation, 0u);
  EXPECT_EQ(raylet->starts.size(), 1u);
  EXPECT_TRUE(raylet->stops.empty());
  // Its end is handled as if nothing had been.
  raylet->ReportEnded(id, 0, "killed by signal 9");
  ASSERT_TRUE(RunUntil([&] { return raylet->starts.size() == 2; }));
  EXPECT_EQ(raylet->starts.back().incarnation, 1u);
}

TEST_F(ServerTest, AnActorThatEndedWhileTheServerWasAwayIsStartedAgain) {
  StartServer();
  auto raylet = JoinedRaylet(Cpus(2));
  const ActorId id = LivingActor(*raylet, {.max_restarts = -1});
  StopServer();
  raylet->alive.clear();
  StartServer();
  ASSERT_TRUE(RunUntil([&] { return raylet->starts.size() == 2; }));
  EXPECT_EQ(raylet->starts.back().actor, id);
  EXPECT_EQ(raylet->starts.back().incarnation, 1u);
}

TEST_F(ServerTest, ANodeThatDoesNotComeBackAfterARestartIsDead) {
  StartServer();
  auto gone = JoinedRaylet(Cpus(2));
  LivingActor(*gone, {.name = "counter", .detached = true, .max_restarts = -1});
  StopServer();
  gone.reset();
  StartServer();
  auto other = JoinedRaylet(Cpus(2));
  // The detached actor moves to the node that is there.
  ASSERT_TRUE(RunUntil([&] { return other->starts.size() == 1; }));
  EXPECT_EQ(other->dead_nodes.size(), 1u);
}

TEST_F(ServerTest, ABrokenStreamEndsItsNodeAfterAGraceTime) {
  StartServer();
  auto first = JoinedRaylet(Cpus(2));
  auto second = JoinedRaylet(Cpus(2));
  const NodeId dead = second->id;
  ASSERT_TRUE(CallAndWait(second->client, GcsMethod::RegisterJob,
                          RegisterJobPayload({dead, WorkerId::Random()}))
                  .has_value());
  ASSERT_TRUE(RunUntil([&] { return first->jobs.size() == 1; }));
  EXPECT_TRUE(first->jobs[0].second);
  second.reset();
  ASSERT_TRUE(RunUntil([&] { return !first->dead_nodes.empty() && first->jobs.size() == 2; }));
  EXPECT_EQ(first->dead_nodes, std::vector{dead});
  EXPECT_FALSE(first->jobs[1].second);
}

TEST_F(ServerTest, ResourcesOfANodeReachTheOthersAndTheSums) {
  StartServer();
  auto first = JoinedRaylet(Cpus(2));
  auto second = JoinedRaylet(Cpus(3));
  for (int i = 0; i < 50; ++i) second->ReportResources(Cpus(i % 3));
  second->ReportResources(Cpus(1));
  ASSERT_TRUE(
      RunUntil([&] { return !first->views.empty() && first->views.back().second == Cpus(1); }));
  EXPECT_LT(first->views.size(), 10u);
  Result<wire::Bytes> reply = CallAndWait(first->client, GcsMethod::ClusterResources, {});
  ASSERT_TRUE(reply.has_value());
  const auto* sums = wire::VerifiedRoot<wire::ClusterResourcesReply>(*reply);
  EXPECT_EQ(wire::FromWire(sums->total()), Cpus(5));
  EXPECT_EQ(wire::FromWire(sums->available()), Cpus(3));
}

TEST_F(ServerTest, JobsAreNumberedOnOverARestart) {
  StartServer();
  GcsClient client(&loop_, address(), kTestToken);
  const NodeId node = NodeId::Random();
  ASSERT_TRUE(CallAndWait(client, GcsMethod::RegisterNode, RegisterNodePayload(node, {})));
  auto register_job = [&] {
    Result<wire::Bytes> reply =
        CallAndWait(client, GcsMethod::RegisterJob, RegisterJobPayload({node, WorkerId::Random()}));
    return reply.has_value()
               ? wire::FromWire(*wire::VerifiedRoot<wire::RegisterJobReply>(*reply)->job_id()).Hex()
               : reply.error().ToString();
  };
  EXPECT_EQ(register_job(), "01000000");
  EXPECT_EQ(register_job(), "02000000");
  StopServer();
  StartServer();
  EXPECT_EQ(register_job(), "03000000");
}

TEST_F(ServerTest, ARepeatedCallIsDoneOnceAlsoOverARestart) {
  StartServer();
  const CallId id = CallId::Random();
  const NodeId node = NodeId::Random();
  {
    GcsClient raylet(&loop_, address(), kTestToken);
    ASSERT_TRUE(CallAndWait(raylet, GcsMethod::RegisterNode, RegisterNodePayload(node, {})));
  }
  const wire::Bytes payload = RegisterJobPayload({node, WorkerId::Random()});
  // Straight to the service's side of the port: a client never uses an id twice.
  auto call = [&] {
    RawClient client(address(), OwnConnection());
    const RpcSession session = client.Begin();
    CallHeader header{};
    header.method = static_cast<uint16_t>(GcsMethod::RegisterJob);
    std::memcpy(header.call_id, id.data(), sizeof header.call_id);
    grpc::ByteBuffer reply;
    EXPECT_EQ(client.Call(kCallMethod, kOpeningKey, session.Opening(1, kCallMethod),
                          RequestMessage(session, 1, header, payload), &reply),
              grpc::StatusCode::OK);
    wire::Bytes body;
    ReplyHeader head;
    EXPECT_TRUE(
        Unseal({session, RpcSession::What::kReply, {1, 0}}, reply, &head, sizeof head, body));
    return body;
  };
  const wire::Bytes first = call();
  EXPECT_EQ(call(), first);
  StopServer();
  StartServer();
  EXPECT_EQ(call(), first);
  GcsClient client(&loop_, address(), kTestToken);
  Result<wire::Bytes> jobs = CallAndWait(client, GcsMethod::ListJobs, {});
  ASSERT_TRUE(jobs.has_value());
  EXPECT_EQ(wire::VerifiedRoot<wire::ListJobsReply>(*jobs)->jobs()->size(), 1u);
}

TEST_F(ServerTest, AClientCanBeClosedAtAnyMoment) {
  StartServer();
  for (int i = 0; i < 20; ++i) {
    FakeRaylet raylet(&loop_, address(), Cpus(1));
    raylet.client.Call(GcsMethod::RegisterNode, raylet.RegisterNodePayload(),
                       [](Result<wire::Bytes>) {});
    raylet.client.Call(GcsMethod::GetFunction,
                       GetFunctionPayload(JobId::Random(), FunctionId::Random(), 5000),
                       [](Result<wire::Bytes>) {});
    raylet.OpenStream();
    const int64_t end = MonotonicMs() + i;
    RunUntil([&] { return MonotonicMs() >= end; });
  }
  loop_.RunOnce(0);
}

TEST_F(ServerTest, ADeadOwnersActorIsStoppedAndItsWatchersLearnWhy) {
  StartServer();
  auto raylet = JoinedRaylet(Cpus(2));
  const Address owner{raylet->id, WorkerId::Random()};
  const ActorId id = LivingActor(*raylet, {.owner = owner});
  flatbuffers::FlatBufferBuilder builder;
  auto reason = builder.CreateString("killed by signal 9");
  builder.Finish(wire::CreateReportWorkerDeathRequest(builder, wire::ToWire(owner), reason));
  ASSERT_TRUE(
      CallAndWait(raylet->client, GcsMethod::ReportWorkerDeath, wire::FinishedBytes(builder))
          .has_value());
  ASSERT_TRUE(WaitForState(*raylet, id, State::Dead));
  EXPECT_TRUE(raylet->updates.back().death_cause.starts_with(
      "The actor is dead because its owner has died."));
  EXPECT_EQ(raylet->stops, std::vector{id});
}

TEST_F(ServerTest, ADeadNodeIsRefusedAStream) {
  StartServer();
  auto raylet = JoinedRaylet(Cpus(1));
  auto second = JoinedRaylet(Cpus(1));
  ASSERT_TRUE(CallAndWait(raylet->client, GcsMethod::NodeLeaves, NodeLeavesPayload(second->id)));
  ASSERT_TRUE(RunUntil([&] { return second->downs > 0; }));
  EXPECT_EQ(second->last_down.code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace cyray::gcs
