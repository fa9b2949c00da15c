// Tests of GcsLines: what goes when, what goes together, and that everybody is answered once; some
// by hand, and random runs against a GCS that is played.

#include "cyray/raylet/gcs_lines.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <random>
#include <set>

#include "cyray/common/ids.h"
#include "cyray/wire/convert.h"

namespace cyray::raylet {
namespace {

using wire::Bytes;
using wire::GcsMethod;

constexpr int64_t kGiveUpMs = 60'000;

Bytes Registration(const ActorId& actor, const std::string& name = "") {
  flatbuffers::FlatBufferBuilder builder;
  const auto text = builder.CreateString(name);
  wire::RegisterActorRequestBuilder request(builder);
  request.add_actor_id(wire::ToWire(actor));
  request.add_name(text);
  builder.Finish(request.Finish());
  return wire::FinishedBytes(builder);
}
Bytes Kill(const ActorId& actor, bool out_of_scope) {
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(wire::CreateKillActorRequest(builder, wire::ToWire(actor), true, out_of_scope));
  return wire::FinishedBytes(builder);
}
Bytes Done(const std::vector<uint32_t>& refused = {}) {
  flatbuffers::FlatBufferBuilder builder;
  std::vector<flatbuffers::Offset<wire::ActorRefusal>> list;
  for (const uint32_t index : refused) {
    const auto error = builder.CreateString("taken");
    list.push_back(wire::CreateActorRefusal(
        builder, index, static_cast<uint8_t>(StatusCode::kAlreadyExists), error));
  }
  const auto all = builder.CreateVector(list);
  builder.Finish(wire::CreateChangeActorsReply(builder, all));
  return wire::FinishedBytes(builder);
}

class GcsLinesTest : public testing::Test {
 protected:
  static constexpr uint64_t kClient = 1;
  uint64_t Add(GcsMethod method, Bytes payload, uint64_t client = kClient) {
    lines_.Add({client, ++request_, method, std::move(payload)}, now_ms_);
    return request_;
  }
  uint64_t Register(const ActorId& actor, const std::string& name = "") {
    return Add(GcsMethod::RegisterActor, Registration(actor, name));
  }
  uint64_t Drop(const ActorId& actor) { return Add(GcsMethod::KillActor, Kill(actor, true)); }
  void FillWindow() {
    while (true) {
      Add(GcsMethod::KvKeys, {});
      if (lines_.GoOn(kClient).empty()) return;
    }
  }

  GcsLines lines_;
  uint64_t request_ = 0;
  int64_t now_ms_ = 0;
};

TEST_F(GcsLinesTest, OfOneLineFewAreUnderWayAndOthersDoNotWaitForIt) {
  FillWindow();
  const size_t waiting = lines_.waiting();
  EXPECT_GT(waiting, 0u);
  Add(GcsMethod::ListNodes, {}, kClient + 1);
  const auto others = lines_.GoOn(kClient + 1);
  ASSERT_EQ(others.size(), 1u);
  EXPECT_EQ(others[0].method, GcsMethod::ListNodes);
  EXPECT_EQ(lines_.waiting(), waiting);
}

TEST_F(GcsLinesTest, WhatIsLargerThanTheWindowGoesAlone) {
  Add(GcsMethod::KvPut, Bytes(64u << 20));
  Add(GcsMethod::KvKeys, {});
  const auto first = lines_.GoOn(kClient);
  ASSERT_EQ(first.size(), 1u);
  EXPECT_TRUE(lines_.GoOn(kClient).empty());
  EXPECT_EQ(lines_.OnReply(first[0].id, Bytes{}, 0).size(), 1u);
  EXPECT_EQ(lines_.GoOn(kClient).size(), 1u);
}

TEST_F(GcsLinesTest, AnActorAloneGoesAsItCame) {
  const ActorId actor = ActorId::Random();
  Register(actor);
  auto calls = lines_.GoOn(kClient);
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(calls[0].method, GcsMethod::RegisterActor);
  EXPECT_EQ(calls[0].payload, Registration(actor));
  const auto answers = lines_.OnReply(calls[0].id, Bytes{1}, 0);
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(*answers[0].result, Bytes{1});
}

TEST_F(GcsLinesTest, ActorsThatAreMadeAndDroppedInTurnsGoTogether) {
  std::vector<ActorId> actors;
  for (int i = 0; i < 50; ++i) {
    actors.push_back(ActorId::Random());
    Register(actors.back());
    Drop(actors.back());
  }
  const auto calls = lines_.GoOn(kClient);
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(calls[0].method, GcsMethod::ChangeActors);
  const auto* request = wire::VerifiedRoot<wire::ChangeActorsRequest>(calls[0].payload);
  ASSERT_NE(request, nullptr);
  ASSERT_EQ(request->registrations()->size(), 50u);
  EXPECT_EQ(wire::BytesOrEmpty(request->registrations()->Get(7)->request()),
            Registration(actors[7]));
  EXPECT_EQ(wire::FromWire(*request->dropped()->Get(7)), actors[7]);
  const auto answers = lines_.OnReply(calls[0].id, Done({7}), 0);
  ASSERT_EQ(answers.size(), 100u);
  for (const auto& [client, asked, result, registered] : answers)
    EXPECT_EQ(result.has_value(), asked != 15);
}

TEST_F(GcsLinesTest, DropsThatAreNotStoredYetAreToldSoBesideRegistrationsThatAre) {
  for (const ActorId& actor : {ActorId::Random(), ActorId::Random()}) {
    Register(actor);
    Drop(actor);
  }
  const auto calls = lines_.GoOn(kClient);
  ASSERT_EQ(calls.size(), 1u);
  flatbuffers::FlatBufferBuilder builder;
  const auto why = builder.CreateString("the disk is full");
  const auto dropped =
      wire::CreateActorRefusal(builder, 0, static_cast<uint8_t>(StatusCode::kIoError), why);
  builder.Finish(wire::CreateChangeActorsReply(builder, 0, dropped));
  const auto answers = lines_.OnReply(calls[0].id, wire::FinishedBytes(builder), 0);
  ASSERT_EQ(answers.size(), 4u);
  size_t done = 0;
  for (const auto& answer : answers) {
    EXPECT_EQ(answer.result.has_value(), !answer.registered.is_nil());
    done += answer.result.has_value() ? 1 : 0;
  }
  EXPECT_EQ(done, 2u);
}

// Each costs a sync and a round of messages, which the next task of that program waits for.
TEST_F(GcsLinesTest, ThousandsOfDropsTakeADozenChanges) {
  constexpr size_t kActors = 12'000;
  for (size_t i = 0; i < kActors; ++i) Drop(ActorId::Random());
  size_t changes = 0, answered = 0;
  std::deque<GcsLines::Call> under_way;
  while (answered < kActors) {
    for (GcsLines::Call& call : lines_.GoOn(kClient)) under_way.push_back(std::move(call));
    ASSERT_FALSE(under_way.empty());
    answered += lines_.OnReply(under_way.front().id, Done(), 0).size();
    under_way.pop_front();
    ++changes;
  }
  EXPECT_LE(changes, 12u);
}

TEST_F(GcsLinesTest, ANameIsAskedForAfterTheDropsBeforeIt) {
  Register(ActorId::Random(), "name");
  Drop(ActorId::Random());
  Register(ActorId::Random(), "name");
  const auto calls = lines_.GoOn(kClient);
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[0].method, GcsMethod::ChangeActors);
  EXPECT_EQ(calls[1].method, GcsMethod::RegisterActor);
}

TEST_F(GcsLinesTest, AKillIsNoDropAndKeepsItsPlace) {
  Register(ActorId::Random());
  Add(GcsMethod::KillActor, Kill(ActorId::Random(), /*out_of_scope=*/false));
  Register(ActorId::Random());
  const auto calls = lines_.GoOn(kClient);
  ASSERT_EQ(calls.size(), 3u);
  EXPECT_EQ(calls[1].method, GcsMethod::KillActor);
}

TEST_F(GcsLinesTest, WhileTheGcsIsAwayNobodyWaitsForLongerThanACallIsTried) {
  FillWindow();
  for (int i = 0; i < 500; ++i) Add(GcsMethod::KvKeys, {});
  const size_t waiting = lines_.waiting();
  now_ms_ = kGiveUpMs - 1;
  Add(GcsMethod::KvKeys, {});
  const auto unavailable = Fail(StatusCode::kUnavailable, "away");
  EXPECT_EQ(lines_.OnReply(1, unavailable, kGiveUpMs).size(), waiting + 1);
  EXPECT_EQ(lines_.waiting(), 1u) << "the youngest";
}

TEST_F(GcsLinesTest, RandomRunsAnswerEveryAskOnceAndInOrderOfEachLine) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    std::mt19937_64 rng(seed);
    GcsLines lines;
    std::map<uint64_t, uint64_t> open;                // request -> client
    std::map<uint64_t, size_t> under_way;             // call -> registrations, 0 for plain ones
    std::map<uint64_t, std::vector<uint64_t>> plain;  // client -> requests, as they were asked
    std::map<uint64_t, uint64_t> client_of;           // call
    uint64_t request = 0;
    const auto go_on = [&](uint64_t client) {
      for (const auto& call : lines.GoOn(client)) {
        client_of[call.id] = client;
        const auto* change = call.method == GcsMethod::ChangeActors
                                 ? wire::VerifiedRoot<wire::ChangeActorsRequest>(call.payload)
                                 : nullptr;
        under_way[call.id] = change == nullptr ? 0 : change->registrations()->size();
        if (call.method != GcsMethod::KvKeys) continue;
        ASSERT_FALSE(plain[client].empty());
        ASSERT_EQ(call.payload[0], static_cast<uint8_t>(plain[client].front()));
        plain[client].erase(plain[client].begin());
      }
    };
    const auto reply = [&] {
      const auto it = std::next(under_way.begin(), static_cast<int>(rng() % under_way.size()));
      const uint64_t client = client_of[it->first];
      const Result<Bytes> result =
          it->second > 0 ? Done({static_cast<uint32_t>(rng() % it->second)}) : Done();
      for (const auto& answer : lines.OnReply(it->first, result, 0)) {
        ASSERT_EQ(answer.client, client);
        ASSERT_EQ(open.erase(answer.request), 1u);
      }
      under_way.erase(it);
      go_on(client);
    };
    for (int step = 0; step < 2000; ++step) {
      const uint64_t client = 1 + rng() % 3, dice = rng() % 10;
      if (dice < 3) {
        if (under_way.empty()) continue;
        ASSERT_NO_FATAL_FAILURE(reply());
        continue;
      }
      open[++request] = client;
      GcsLines::Ask ask{client, request, GcsMethod::KvKeys, {static_cast<uint8_t>(request)}};
      if (dice < 7) {
        ask.method = GcsMethod::RegisterActor;
        ask.payload = Registration({}, dice == 6 ? "name" : "");
      } else if (dice == 7) {
        ask.method = GcsMethod::KillActor;
        ask.payload = Kill({}, true);
      } else {
        plain[client].push_back(request);
      }
      if (!lines.Add(std::move(ask), 0) || rng() % 8 == 0) {
        ASSERT_NO_FATAL_FAILURE(go_on(client));
      }
    }
    for (const uint64_t client : {1, 2, 3}) go_on(client);
    while (!under_way.empty()) ASSERT_NO_FATAL_FAILURE(reply());
    EXPECT_TRUE(open.empty()) << "seed " << seed;
    EXPECT_EQ(lines.waiting(), 0u);
  }
}

}  // namespace
}  // namespace cyray::raylet
