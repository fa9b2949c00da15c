// What the GCS answers and keeps when its disk takes no writes for a while.

#include <gtest/gtest.h>

#include "cpp_tests/gcs/service_fixture.h"

namespace cyray::gcs {
namespace {

using wire::GcsMethod;

class FullDiskTest : public testing::Test {
 protected:
  Result<wire::Bytes> Call(GcsMethod method, wire::Bytes payload) {
    return gcs_.Call(method, std::move(payload));
  }
  std::string Value(const std::string& key) {
    const Result<wire::Bytes> reply = Call(GcsMethod::KvGet, KvGetPayload(key));
    const auto* found = wire::VerifiedRoot<wire::KvGetReply>(*reply);
    if (!found->found()) return "none";
    return found->value() == nullptr ? ""
                                     : std::string(found->value()->begin(), found->value()->end());
  }
  size_t Jobs(bool running) {
    const Result<wire::Bytes> reply = Call(GcsMethod::ListJobs, {});
    size_t count = 0;
    for (const auto* job : *wire::VerifiedRoot<wire::ListJobsReply>(*reply)->jobs()) {
      count += job->running() == running ? 1 : 0;
    }
    return count;
  }
  wire::ActorState StateOf(const ActorId& id) {
    const Result<wire::Bytes> reply = Call(GcsMethod::ListActors, {});
    for (const auto* actor : *wire::VerifiedRoot<wire::ListActorsReply>(*reply)->actors()) {
      if (wire::FromWire(*actor->update()->actor_id()) == id) return actor->update()->state();
    }
    return wire::ActorState::DependenciesUnready;
  }
  void ExpectRefused(GcsMethod method, const wire::Bytes& payload) {
    const Result<wire::Bytes> reply = Call(method, payload);
    ASSERT_FALSE(reply.has_value()) << wire::EnumNameGcsMethod(method);
    EXPECT_EQ(reply.error().code(), StatusCode::kIoError);
    EXPECT_NE(reply.error().message().find("cannot store"), std::string::npos)
        << reply.error().message();
  }
  // Of ChangeActors: all registrations, and the drops, if there are some.
  void ExpectAllRefused(const wire::Bytes& payload) {
    const Result<wire::Bytes> reply = Call(GcsMethod::ChangeActors, payload);
    ASSERT_TRUE(reply.has_value());
    const auto* request = wire::VerifiedRoot<wire::ChangeActorsRequest>(payload);
    const auto* changed = wire::VerifiedRoot<wire::ChangeActorsReply>(*reply);
    ASSERT_EQ(changed->refused()->size(), request->registrations()->size());
    for (const auto* refused : *changed->refused()) {
      EXPECT_EQ(refused->code(), static_cast<uint8_t>(StatusCode::kIoError));
    }
    ASSERT_NE(changed->dropped(), nullptr);
    EXPECT_NE(changed->dropped()->error()->str().find("it was done"), std::string::npos);
  }
  // A process of a node that the GCS knows.
  Address Join() {
    const NodeId node = NodeId::Random();
    EXPECT_TRUE(Call(GcsMethod::RegisterNode, RegisterNodePayload(node, {})));
    return {node, WorkerId::Random()};
  }
  void AwaitWorkingDisk() {
    ASSERT_TRUE(gcs_.RunUntil([&] { return gcs_.storage().Failure().ok(); }));
  }

  TemporaryFolder folder_;
  ServiceFixture gcs_{folder_.path() + "/gcs.sqlite"};
};

TEST_F(FullDiskTest, ARefusedChangeIsUndoneAndTheNextOnesChangeNothing) {
  ASSERT_TRUE(Call(GcsMethod::KvPut, KvPutPayload("old", "1")));
  ASSERT_TRUE(Call(GcsMethod::KvPut, KvPutPayload("gone", "1")));
  {
    FullDisk full;
    ExpectRefused(GcsMethod::KvPut, KvPutPayload("new", "2"));
    ExpectRefused(GcsMethod::KvPut, KvPutPayload("old", "2"));
    ExpectRefused(GcsMethod::KvDelete, KvDeletePayload("gone"));
    EXPECT_EQ(Value("new"), "none");
    EXPECT_EQ(Value("old"), "1");
    EXPECT_EQ(Value("gone"), "1");
  }
  AwaitWorkingDisk();
  ASSERT_TRUE(Call(GcsMethod::KvPut, KvPutPayload("later", "3")));
  gcs_.Restart();
  EXPECT_EQ(Value("new"), "none");
  EXPECT_EQ(Value("old"), "1");
  EXPECT_EQ(Value("gone"), "1");
  EXPECT_EQ(Value("later"), "3");
}

// Those that were under way when the disk filled up, not refused beforehand.
TEST_F(FullDiskTest, ManyChangesOfOneKeyAreUndoneYoungestFirst) {
  ASSERT_TRUE(Call(GcsMethod::KvPut, KvPutPayload("key", "0")));
  int refused = 0;
  {
    FullDisk full;
    for (int i = 1; i <= 20; ++i) {
      wire::Bytes payload =
          i % 5 == 0 ? KvDeletePayload("key") : KvPutPayload("key", std::to_string(i));
      gcs_.service().OnCall(
          static_cast<uint16_t>(i % 5 == 0 ? GcsMethod::KvDelete : GcsMethod::KvPut),
          CallId::Random(), std::move(payload),
          [&](const Result<wire::Bytes>& result) { refused += result.has_value() ? 0 : 1; });
    }
    ASSERT_TRUE(gcs_.RunUntil([&] { return refused == 20; }));
    EXPECT_EQ(Value("key"), "0");
  }
  AwaitWorkingDisk();
  EXPECT_EQ(Value("key"), "0");
  gcs_.Restart();
  EXPECT_EQ(Value("key"), "0");
}

TEST_F(FullDiskTest, ARefusedCallThatIsSentAgainIsDoneThen) {
  const CallId id = CallId::Random();
  {
    FullDisk full;
    EXPECT_FALSE(gcs_.Call(GcsMethod::KvPut, KvPutPayload("key", "1", false), id));
  }
  AwaitWorkingDisk();
  const Result<wire::Bytes> again =
      gcs_.Call(GcsMethod::KvPut, KvPutPayload("key", "1", false), id);
  ASSERT_TRUE(again);
  EXPECT_TRUE(wire::VerifiedRoot<wire::KvPutReply>(*again)->added());
}

TEST_F(FullDiskTest, OfActorsThatAreChangedTogetherNoneIsRegisteredAndThoseDroppedEnd) {
  const auto made = [this](const ActorId& id) {
    const Result<wire::Bytes> reply = Call(GcsMethod::ListActors, {});
    for (const auto* actor : *wire::VerifiedRoot<wire::ListActorsReply>(*reply)->actors()) {
      if (wire::FromWire(*actor->update()->actor_id()) == id) {
        return actor->update()->state() != wire::ActorState::Dead;
      }
    }
    return false;
  };
  const ActorOptions options{.owner = Join()};
  const ActorId there = NewActorId(), first = NewActorId(), second = NewActorId();
  ASSERT_TRUE(Call(GcsMethod::RegisterActor, RegisterActorPayload(there, options)));
  {
    FullDisk full;
    ExpectAllRefused(ChangeActorsPayload({RegisterActorPayload(first, options)}, {there}));
    EXPECT_FALSE(made(first));
    // The disk is known to fail by now.
    ExpectAllRefused(ChangeActorsPayload({RegisterActorPayload(second, options)}, {there}));
    EXPECT_FALSE(made(second));
  }
  AwaitWorkingDisk();
  for (const ActorId& id : {there, first, second}) EXPECT_FALSE(made(id));
}

// The answer to it was lost, with the GCS that gave it or on the way.
TEST_F(FullDiskTest, WhatWasRegisteredBeforeIsNotRefusedWhenItIsAskedForAgain) {
  const Address owner = Join();
  const NodeId node = NodeId::Random();
  const ActorId actor = NewActorId();
  const wire::Bytes registration = RegisterActorPayload(actor, {.owner = owner});
  ASSERT_TRUE(Call(GcsMethod::RegisterActor, registration));
  ASSERT_TRUE(Call(GcsMethod::RegisterNode, RegisterNodePayload(node, Cpus(1))));
  for (const bool restart : {false, true}) {
    if (restart) gcs_.Restart();
    std::optional<Result<wire::Bytes>> joined;
    {
      FullDisk full;
      ExpectRefused(GcsMethod::KvPut, KvPutPayload("key", "1"));
      Call(GcsMethod::KillActor, KillPayload(NewActorId(), true, false));
      EXPECT_TRUE(Call(GcsMethod::RegisterActor, registration));
      const wire::Bytes another = RegisterActorPayload(NewActorId(), {.owner = owner});
      const Result<wire::Bytes> reply =
          Call(GcsMethod::ChangeActors, ChangeActorsPayload({another, registration}, {}));
      ASSERT_TRUE(reply);
      const auto* changed = wire::VerifiedRoot<wire::ChangeActorsReply>(*reply);
      ASSERT_EQ(changed->refused()->size(), 1u);
      EXPECT_EQ(changed->refused()->Get(0)->index(), 0u);
      gcs_.service().OnCall(static_cast<uint16_t>(GcsMethod::RegisterNode), CallId::Random(),
                            RegisterNodePayload(node, Cpus(1)),
                            [&](const Result<wire::Bytes>& result) { joined = result; });
    }
    AwaitWorkingDisk();
    ASSERT_TRUE(gcs_.RunUntil([&] { return joined.has_value(); }));
    EXPECT_TRUE(joined->has_value()) << "it waits for the disk, as it says what others changed";
    EXPECT_NE(StateOf(actor), wire::ActorState::Dead);
  }
}

TEST_F(FullDiskTest, ACallDoneBeforeIsAnsweredAlsoWithoutTheDisk) {
  const CallId id = CallId::Random();
  ASSERT_TRUE(gcs_.Call(GcsMethod::KvPut, KvPutPayload("key", "1", false), id));
  FullDisk full;
  ExpectRefused(GcsMethod::KvPut, KvPutPayload("other", "1"));
  const Result<wire::Bytes> again =
      gcs_.Call(GcsMethod::KvPut, KvPutPayload("key", "1", false), id);
  ASSERT_TRUE(again);
  EXPECT_TRUE(wire::VerifiedRoot<wire::KvPutReply>(*again)->added());
}

TEST_F(FullDiskTest, JobsActorsAndNodesThatCannotBeStoredAreNot) {
  const Address driver = Join();
  const ActorId actor = NewActorId(), second = NewActorId();
  {
    FullDisk full;
    ExpectRefused(GcsMethod::RegisterActor,
                  RegisterActorPayload(actor, {.name = "name", .owner = driver}));
    EXPECT_EQ(StateOf(actor), wire::ActorState::Dead);
    ExpectRefused(GcsMethod::RegisterActor, RegisterActorPayload(second, {.owner = driver}));
    EXPECT_EQ(StateOf(second), wire::ActorState::DependenciesUnready);
  }
  AwaitWorkingDisk();
  {
    FullDisk full;
    ExpectRefused(GcsMethod::RegisterJob, RegisterJobPayload(driver));
  }
  AwaitWorkingDisk();
  const NodeId node = NodeId::Random();
  {
    FullDisk full;
    ExpectRefused(GcsMethod::RegisterNode, RegisterNodePayload(node, Cpus(1)));
  }
  AwaitWorkingDisk();
  EXPECT_EQ(Jobs(/*running=*/true), 0u);
  // The name is free.
  EXPECT_TRUE(Call(GcsMethod::RegisterActor,
                   RegisterActorPayload(NewActorId(), {.name = "name", .owner = driver})));
  gcs_.Restart();
  EXPECT_EQ(Jobs(/*running=*/true), 0u);
  EXPECT_EQ(StateOf(actor), wire::ActorState::Dead);
}

// Its answer was lost, so its raylet asks again, while another change meets a full disk.
TEST_F(FullDiskTest, ARepeatedRegistrationIsNotUndone) {
  const ActorId actor = NewActorId();
  const wire::Bytes payload = RegisterActorPayload(actor, {.owner = Join()});
  ASSERT_TRUE(Call(GcsMethod::RegisterActor, payload));
  {
    FullDisk full;
    int refused = 0, done = 0;
    const auto call = [&](GcsMethod method, wire::Bytes bytes) {
      gcs_.service().OnCall(
          static_cast<uint16_t>(method), CallId::Random(), std::move(bytes),
          [&](const Result<wire::Bytes>& result) { ++(result.has_value() ? done : refused); });
    };
    call(GcsMethod::KvPut, KvPutPayload("key", "1"));
    call(GcsMethod::RegisterActor, payload);
    ASSERT_TRUE(gcs_.RunUntil([&] { return refused == 1 && done == 1; }));
  }
  AwaitWorkingDisk();
  EXPECT_EQ(StateOf(actor), wire::ActorState::PendingCreation);
}

// Asked again before the disk has said anything to the first.
TEST_F(FullDiskTest, ARepeatedRegistrationIsRefusedWithTheFirst) {
  const ActorId actor = NewActorId();
  const wire::Bytes one = RegisterActorPayload(actor, {.owner = Join()});
  {
    FullDisk full;
    int refused = 0;
    size_t listed = 0;
    const auto call = [&](GcsMethod method, wire::Bytes bytes) {
      gcs_.service().OnCall(
          static_cast<uint16_t>(method), CallId::Random(), std::move(bytes),
          [&](const Result<wire::Bytes>& result) {
            ++refused;
            if (!result) return;
            listed += wire::VerifiedRoot<wire::ChangeActorsReply>(*result)->refused()->size();
          });
    };
    call(GcsMethod::RegisterActor, one);
    call(GcsMethod::RegisterActor, one);
    call(GcsMethod::ChangeActors, ChangeActorsPayload({one}, {}));
    ASSERT_TRUE(gcs_.RunUntil([&] { return refused == 3; }));
    EXPECT_EQ(listed, 1u);
  }
  AwaitWorkingDisk();
  EXPECT_EQ(StateOf(actor), wire::ActorState::Dead);
}

TEST_F(FullDiskTest, DeathsAndEndsStayAndAreWrittenLater) {
  const Address driver = Join();
  const Result<wire::Bytes> job = Call(GcsMethod::RegisterJob, RegisterJobPayload(driver));
  ASSERT_TRUE(job);
  const ActorId killed = NewActorId(), owned = NewActorId();
  for (const ActorId& id : {killed, owned}) {
    ASSERT_TRUE(Call(GcsMethod::RegisterActor, RegisterActorPayload(id, {.owner = driver})));
  }
  const FunctionId function = FunctionId::Random();
  const JobId other_job = JobId::Random();
  {
    FullDisk full;
    ExpectRefused(GcsMethod::KillActor, KillPayload(killed, true, false));
    EXPECT_EQ(StateOf(killed), wire::ActorState::Dead);
    ExpectRefused(GcsMethod::PutFunction, PutFunctionPayload(other_job, function, "code"));
    ExpectRefused(GcsMethod::ReportWorkerDeath, WorkerDeathPayload(driver));
    EXPECT_EQ(StateOf(owned), wire::ActorState::Dead);
    EXPECT_EQ(Jobs(/*running=*/true), 0u);
  }
  AwaitWorkingDisk();
  gcs_.Restart();
  EXPECT_EQ(StateOf(killed), wire::ActorState::Dead);
  EXPECT_EQ(StateOf(owned), wire::ActorState::Dead);
  EXPECT_EQ(Jobs(/*running=*/false), 1u);
  const Result<wire::Bytes> code =
      Call(GcsMethod::GetFunction, GetFunctionPayload(other_job, function, 0));
  EXPECT_TRUE(wire::VerifiedRoot<wire::GetFunctionReply>(*code)->found());
}

TEST_F(FullDiskTest, ItStartsWithItsDataAndEndsInTimeWithoutTheDisk) {
  ASSERT_TRUE(Call(GcsMethod::KvPut, KvPutPayload("key", "1")));
  FullDisk full;
  ExpectRefused(GcsMethod::KvPut, KvPutPayload("key", "2"));
  gcs_.Restart();
  EXPECT_EQ(Value("key"), "1");
  ExpectRefused(GcsMethod::KvPut, KvPutPayload("key", "3"));
}

}  // namespace
}  // namespace cyray::gcs
