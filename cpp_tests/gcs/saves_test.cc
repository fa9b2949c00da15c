// Saves of actors at the GCS: the newest of the present life stays, over a restart of the GCS too,
// and goes with the actor.

#include <gmock/gmock.h>

#include "cpp_tests/gcs/service_fixture.h"

namespace cyray::gcs {
namespace {

using wire::GcsMethod;

class SavesTest : public testing::Test {
 protected:
  SavesTest() {
    node_ = NodeId::Random();
    worker_ = {node_, WorkerId::Random()};
    driver_ = {node_, WorkerId::Random()};
    actor_ = NewActorId();
    EXPECT_TRUE(gcs_.Call(GcsMethod::RegisterNode, RegisterNodePayload(node_, Cpus(4))));
    const auto job = gcs_.Call(GcsMethod::RegisterJob, RegisterJobPayload(driver_));
    EXPECT_TRUE(job);
    EXPECT_TRUE(gcs_.Call(
        GcsMethod::RegisterActor,
        RegisterActorPayload(actor_, {.detached = true, .max_restarts = -1, .owner = driver_})));
    Started(0);
  }
  void Started(uint32_t incarnation) {
    flatbuffers::FlatBufferBuilder b;
    const std::vector<flatbuffers::Offset<wire::ActorStarted>> alive{wire::CreateActorStarted(
        b, wire::ToWire(actor_), incarnation, wire::ToWire(worker_), 1, true)};
    const auto list = b.CreateVector(alive);
    const std::vector<wire::WireWorkerId> ids{*wire::ToWire(worker_.worker),
                                              *wire::ToWire(driver_.worker)};
    const auto processes = b.CreateVectorOfStructs(ids);
    gcs_.StreamMessage(next_stream_++, FinishReport(b, wire::CreateNodeHello(b, wire::ToWire(node_),
                                                                             list, processes)));
  }
  StatusCode Save(uint32_t incarnation, uint64_t number, const std::string& state) {
    const auto done =
        gcs_.Call(GcsMethod::SaveActor, SaveActorPayload(actor_, incarnation, number, state));
    return done ? StatusCode::kOk : done.error().code();
  }
  // "": there is none.
  std::string Saved() {
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateGetActorSaveRequest(b, wire::ToWire(actor_)));
    const auto reply = gcs_.Call(GcsMethod::GetActorSave, wire::FinishedBytes(b));
    const auto* save = wire::VerifiedRoot<wire::GetActorSaveReply>(*reply);
    if (!save->found()) return "";
    return {save->state()->begin(), save->state()->end()};
  }

  TemporaryFolder folder_;
  ServiceFixture gcs_{folder_.path() + "/gcs.sqlite",
                      {.silence_ms = 3'600'000, .reconnect_ms = 3'600'000},
                      {.saved_bytes = 4096}};
  NodeId node_;
  Address worker_, driver_;
  ActorId actor_;
  uint64_t next_stream_ = 1;
};

TEST_F(SavesTest, TheNewestOfThePresentLifeStaysOverARestart) {
  EXPECT_EQ(Saved(), "");
  EXPECT_EQ(Save(0, 1, "one"), StatusCode::kOk);
  EXPECT_EQ(Save(0, 2, "two"), StatusCode::kOk);
  EXPECT_EQ(Save(0, 1, "late"), StatusCode::kOk) << "sent again, as its answer was lost";
  EXPECT_EQ(Saved(), "two");
  gcs_.Restart();
  EXPECT_EQ(Saved(), "two");
}

TEST_F(SavesTest, ASaveOfALifeThatIsOverIsRefused) {
  EXPECT_EQ(Save(0, 5, "of the first life"), StatusCode::kOk);
  EXPECT_EQ(Save(1, 1, "too early"), StatusCode::kNotFound);
  EXPECT_TRUE(gcs_.Call(GcsMethod::ReportWorkerDeath, WorkerDeathPayload(worker_)));
  EXPECT_EQ(Save(0, 6, "too late"), StatusCode::kNotFound);
  EXPECT_EQ(Saved(), "of the first life");
  worker_.worker = WorkerId::Random();
  Started(1);
  EXPECT_EQ(Save(1, 1, "of the second life"), StatusCode::kOk);
  EXPECT_EQ(Saved(), "of the second life");
}

TEST_F(SavesTest, ItGoesWithTheActor) {
  EXPECT_EQ(Save(0, 1, "state"), StatusCode::kOk);
  EXPECT_TRUE(gcs_.Call(GcsMethod::KillActor, KillPayload(actor_, /*no_restart=*/true, false)));
  EXPECT_EQ(Save(0, 2, "after its death"), StatusCode::kNotFound);
  EXPECT_EQ(Saved(), "");
  gcs_.Restart();
  EXPECT_EQ(Saved(), "");
}

TEST_F(SavesTest, WhoListsActorsIsToldWhenAndHowLarge) {
  EXPECT_EQ(Save(0, 1, "state"), StatusCode::kOk);
  const auto reply = gcs_.Call(GcsMethod::ListActors, {});
  const auto* actors = wire::VerifiedRoot<wire::ListActorsReply>(*reply)->actors();
  ASSERT_EQ(actors->size(), 1u);
  EXPECT_EQ(actors->Get(0)->saved_ms(), 1000);
  EXPECT_EQ(actors->Get(0)->saved_bytes(), 5u);
}

TEST_F(SavesTest, ASaveThatTheDiskRefusesIsAnsweredWhenItTakesIt) {
  {
    const FullDisk full;
    EXPECT_EQ(Save(0, 1, "state"), StatusCode::kIoError);
  }
  EXPECT_EQ(Save(0, 1, "state"), StatusCode::kOk) << "told again by its actor";
  gcs_.Restart();
  EXPECT_EQ(Saved(), "state");
}

TEST_F(SavesTest, WhatAllOfThemTakeIsBounded) {
  const ActorId other = NewActorId();
  EXPECT_TRUE(gcs_.Call(
      GcsMethod::RegisterActor,
      RegisterActorPayload(other, {.detached = true, .max_restarts = -1, .owner = driver_})));
  const auto save_other = [&](uint64_t number, size_t bytes) {
    return gcs_.Call(GcsMethod::SaveActor,
                     SaveActorPayload(other, 0, number, std::string(bytes, 'x')));
  };
  EXPECT_EQ(Save(0, 1, std::string(3000, 'x')), StatusCode::kOk);
  EXPECT_TRUE(save_other(1, 100));
  const auto refused = save_other(2, 2000);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), StatusCode::kOutOfMemory);
  EXPECT_THAT(refused.error().message(), testing::HasSubstr("4096"));
  EXPECT_TRUE(save_other(1, 100)) << "told again";
  EXPECT_EQ(Save(0, 2, std::string(3500, 'x')), StatusCode::kOk) << "in place of its last one";
  EXPECT_EQ(Save(0, 3, "less"), StatusCode::kOk);
  EXPECT_TRUE(save_other(2, 2000));
  EXPECT_EQ(Save(0, 4, std::string(2000, 'x')), StatusCode::kOutOfMemory);
  EXPECT_EQ(Saved(), "less");
  EXPECT_TRUE(gcs_.Call(GcsMethod::KillActor, KillPayload(other, /*no_restart=*/true, false)));
  EXPECT_EQ(Save(0, 4, std::string(2000, 'x')), StatusCode::kOk);
}

TEST_F(SavesTest, ARequestThatIsNoneIsRefused) {
  const auto done = gcs_.Call(GcsMethod::SaveActor, {1, 2, 3});
  EXPECT_EQ(done.error().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(gcs_.Call(GcsMethod::GetActorSave, {1, 2, 3}).error().code(),
            StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace cyray::gcs
