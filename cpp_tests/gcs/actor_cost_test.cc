// What actors cost the GCS, counted: commits, rows, commands. Over a disk that the test holds.

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <vector>

#include "cpp_tests/gcs/memory_storage.h"
#include "cpp_tests/gcs/payloads.h"
#include "cyray/gcs/gcs_service.h"
#include "cyray/util/event_loop.h"

namespace cyray::gcs {
namespace {

using wire::GcsMethod;

class ActorCost : public testing::Test {
 protected:
  static constexpr StreamId kStream = 1;

  ActorCost() {
    EXPECT_TRUE(service_.Load().ok());
    Call(GcsMethod::RegisterNode, RegisterNodePayload(node_, Cpus(4)));
    storage_.Sync();
    flatbuffers::FlatBufferBuilder builder;
    const std::vector<wire::WireWorkerId> here{*wire::ToWire(driver_.worker)};
    const auto processes = builder.CreateVectorOfStructs(here);
    Report(
        FinishReport(builder, wire::CreateNodeHello(builder, wire::ToWire(node_), 0, processes)));
    storage_.Sync();
    sent_.clear();
  }

  void Report(const wire::Bytes& report) { service_.OnStreamMessage(kStream, report); }
  void Call(GcsMethod method, wire::Bytes payload) {
    service_.OnCall(static_cast<uint16_t>(method), CallId::Random(), std::move(payload),
                    [this](const Result<wire::Bytes>& reply) { answered_ += reply ? 1 : 0; });
  }
  void Start(const ActorId& actor, const Address& worker) {
    flatbuffers::FlatBufferBuilder builder;
    Report(FinishReport(builder, wire::CreateActorStarted(builder, wire::ToWire(actor), 0,
                                                          wire::ToWire(worker), 1, true)));
  }
  void End(const ActorId& actor) {
    flatbuffers::FlatBufferBuilder builder;
    const auto reason = builder.CreateString("killed");
    Report(FinishReport(builder,
                        wire::CreateActorEnded(builder, wire::ToWire(actor), 0, reason, true)));
  }
  // Whether something waits for the disk; it has it then.
  bool Commits() {
    const bool waits = storage_.has_changes();
    storage_.Sync();
    return waits;
  }

  const NodeId node_ = NodeId::Random();
  const Address driver_{node_, WorkerId::Random()};
  EventLoop loop_;
  MemoryDisk disk_;
  MemoryStorage storage_{&disk_};
  int answered_ = 0;
  std::vector<wire::Bytes> sent_;
  GcsService service_{
      &loop_, &storage_,
      StreamOutlets{
          .send = [this](StreamId, const wire::Bytes& message) { sent_.push_back(message); },
          .accept = [](StreamId) {},
          .close = [](StreamId, const Status&) {}},
      Membership::Timing{}};
};

TEST_F(ActorCost, ALifeIsThreeCommits) {
  const ActorId actor = NewActorId();
  const Address worker{node_, WorkerId::Random()};
  answered_ = 0;
  Call(GcsMethod::RegisterActor, RegisterActorPayload(actor, {.owner = driver_}));
  EXPECT_TRUE(Commits());
  Start(actor, worker);
  EXPECT_TRUE(Commits());
  Call(GcsMethod::KillActor, KillPayload(actor, /*no_restart=*/true, /*out_of_scope=*/false));
  EXPECT_EQ(storage_.changes(), 2u) << "its state, and its spec that goes";
  EXPECT_TRUE(Commits());
  EXPECT_EQ(answered_, 2);
  // Nothing that follows changes anything.
  Call(GcsMethod::KillActor, KillPayload(actor, true, /*out_of_scope=*/true));
  Call(GcsMethod::ReportWorkerDeath, WorkerDeathPayload(worker));
  End(actor);
  EXPECT_FALSE(storage_.has_changes());
  EXPECT_EQ(answered_, 4);
  EXPECT_TRUE(disk_.rows[static_cast<size_t>(Storage::Kind::kCall)].empty());
}

TEST_F(ActorCost, ManyThatAreDroppedTogetherAreOneCommitAndOneOrderEach) {
  constexpr size_t kActors = 1000;
  std::vector<ActorId> actors;
  for (size_t i = 0; i < kActors; ++i) {
    actors.push_back(NewActorId());
    Call(GcsMethod::RegisterActor, RegisterActorPayload(actors.back(), {.owner = driver_}));
  }
  storage_.Sync();
  sent_.clear();
  const size_t asked = storage_.asked();
  Call(GcsMethod::ChangeActors, DropPayload(actors));
  EXPECT_EQ(storage_.asked(), asked + 1);
  EXPECT_EQ(storage_.changes(), kActors);
  EXPECT_TRUE(sent_.empty());
  EXPECT_TRUE(Commits());
  EXPECT_EQ(sent_.size(), kActors);
  for (const wire::Bytes& command : sent_) {
    const auto* stop = wire::VerifiedRoot<wire::NodeCommand>(command)->body_as<wire::StopActor>();
    ASSERT_NE(stop, nullptr);
    EXPECT_TRUE(stop->graceful());
  }
  for (const ActorId& actor : actors) End(actor);
  storage_.Sync();
  service_.CheckInvariants();
  Call(GcsMethod::ChangeActors, DropPayload(actors));
  EXPECT_FALSE(storage_.has_changes());
}

TEST_F(ActorCost, ManyThatAreRegisteredTogetherAreOneCommitAndOneAnswer) {
  std::vector<wire::Bytes> registrations;
  std::vector<ActorId> actors;
  for (size_t i = 0; i < 1000; ++i) {
    actors.push_back(NewActorId());
    registrations.push_back(RegisterActorPayload(actors.back(), {.owner = driver_}));
  }
  answered_ = 0;
  const size_t asked = storage_.asked();
  // The last one is dropped at once: it never starts.
  Call(GcsMethod::ChangeActors, ChangeActorsPayload(registrations, {actors.back()}));
  EXPECT_EQ(storage_.asked(), asked + 1);
  EXPECT_TRUE(sent_.empty());
  EXPECT_TRUE(Commits());
  EXPECT_EQ(answered_, 1);
  size_t started = 0;
  for (const wire::Bytes& command : sent_) {
    const auto* start = wire::VerifiedRoot<wire::NodeCommand>(command)->body_as<wire::StartActor>();
    started += start != nullptr ? 1 : 0;
  }
  EXPECT_GE(started, actors.size() - 1);
  service_.CheckInvariants();
  // A raylet that saw no answer sends it again.
  Call(GcsMethod::ChangeActors, ChangeActorsPayload(registrations, {actors.back()}));
  EXPECT_FALSE(storage_.has_changes());
}

TEST_F(ActorCost, ANameThatIsTakenRefusesItsRegistrationAlone) {
  const ActorId first = NewActorId(), second = NewActorId(), third = NewActorId();
  std::vector<wire::Bytes> registrations{
      RegisterActorPayload(first, {.name = "one", .owner = driver_}),
      RegisterActorPayload(second, {.name = "one", .owner = driver_}),
      {1, 2, 3},
      RegisterActorPayload(third, {.owner = driver_})};
  std::optional<Result<wire::Bytes>> answer;
  service_.OnCall(static_cast<uint16_t>(GcsMethod::ChangeActors), CallId::Random(),
                  ChangeActorsPayload(registrations, {}),
                  [&](const Result<wire::Bytes>& reply) { answer = reply; });
  storage_.Sync();
  ASSERT_TRUE(answer && answer->has_value());
  const auto* reply = wire::VerifiedRoot<wire::ChangeActorsReply>(**answer);
  ASSERT_NE(reply, nullptr);
  ASSERT_EQ(reply->refused()->size(), 2u);
  EXPECT_EQ(reply->refused()->Get(0)->index(), 1u);
  EXPECT_EQ(reply->refused()->Get(0)->code(), static_cast<uint8_t>(StatusCode::kAlreadyExists));
  EXPECT_EQ(reply->refused()->Get(1)->index(), 2u);
  EXPECT_EQ(reply->refused()->Get(1)->code(), static_cast<uint8_t>(StatusCode::kInvalidArgument));
}

TEST_F(ActorCost, DropsThatOvertakeTheirRegistrationsHoldWhenThoseCome) {
  std::vector<ActorId> actors;
  for (size_t i = 0; i < 5000; ++i) actors.push_back(NewActorId());
  Call(GcsMethod::ChangeActors, DropPayload(actors));
  for (const ActorId& actor : actors) {
    Call(GcsMethod::RegisterActor, RegisterActorPayload(actor, {.owner = driver_}));
  }
  storage_.Sync();
  EXPECT_TRUE(sent_.empty()) << "none is started";
}

TEST_F(ActorCost, ARestartThatIsAskedForIsRememberedSoThatItHappensOnce) {
  const ActorId actor = NewActorId();
  Call(GcsMethod::RegisterActor,
       RegisterActorPayload(actor, {.max_restarts = -1, .owner = driver_}));
  Start(actor, {node_, WorkerId::Random()});
  storage_.Sync();
  Call(GcsMethod::KillActor, KillPayload(actor, /*no_restart=*/false, /*out_of_scope=*/false));
  storage_.Sync();
  EXPECT_EQ(disk_.rows[static_cast<size_t>(Storage::Kind::kCall)].size(), 1u);
}

}  // namespace
}  // namespace cyray::gcs
