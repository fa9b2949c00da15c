// ActorHost under virtual time with a played GCS, leases and workers: random lives of actors.
//
// No actor has two workers that may run it; what has ended is not begun again; each end comes to
// the GCS with its reason, told again to one that was away; so is who waits for room; nobody asks a
// worker that did not become the actor to leave; in the end no actor, request or lease is left.

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>
#include <set>

#include "cyray/gcs/codec.h"
#include "cyray/raylet/actor_host.h"
#include "cyray/sim/virtual_runtime.h"
#include "cyray/sim/virtual_time.h"
#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace cyray::raylet {
namespace {

using flatbuffers::FlatBufferBuilder;
using wire::FromWire;
using wire::ToWire;

constexpr int64_t kMs = 1'000'000;
const JobId kJob = JobId::FromBytes("job1");

struct Incarnation {
  ActorId actor;
  uint32_t number;
  auto operator<=>(const Incarnation&) const = default;
};

// The GCS, the leases and the workers around one ActorHost.
class ActorWorld : public ActorOutbox, public ActorLeases, public ActorWorkers {
 public:
  struct Worker {
    bool served;
    std::optional<Incarnation> assigned;  // until it declined
    bool ready = false;
    bool killed = false;
    bool asked = false;     // to exit
    bool may_stay = false;  // if unused
    std::string reason;     // the first that was told
    bool intended = false;
  };
  struct Request {
    int64_t since_ns;
    bool lacks_room;
    bool told = false;  // the GCS
  };
  struct Known {  // by the GCS
    uint32_t incarnation = 0;
    bool alive = false;
    bool over = false;
  };

  explicit ActorWorld(uint64_t seed) : time(seed), runtime(&time) { options.node_id.bytes.fill(1); }
  uint64_t Draw(uint64_t bound) { return time.Below(bound); }
  template <class Id>
  Id NewId() {
    Id id;
    for (uint8_t& byte : id.bytes) byte = static_cast<uint8_t>(Draw(256));
    return id;
  }
  // One of them; end() when there is none.
  template <class Map, class Suits>
  typename Map::iterator Some(Map& map, Suits suits) {
    std::vector<typename Map::iterator> found;
    for (auto it = map.begin(); it != map.end(); ++it) {
      if (suits(*it)) found.push_back(it);
    }
    return found.empty() ? map.end() : found[Draw(found.size())];
  }

  // ActorOutbox
  void ToWorker(const WorkerId& worker, wire::FrameType type,
                const FlatBufferBuilder& builder) override;
  void Report(wire::Bytes report) override;
  // ActorLeases
  void RequestForActor(const RequestKey& key, const JobId&, ResourceSet) override {
    EXPECT_TRUE(requests.emplace(key, Request{time.now_ns(), Draw(2) == 0}).second)
        << "it has asked";
    EXPECT_FALSE(stopped.contains({key.actor, static_cast<uint32_t>(key.id)}));
  }
  void CancelActor(const RequestKey& key) override {
    EXPECT_EQ(requests.erase(key), 1u) << "it waits for nothing";
  }
  bool LacksRoom(const RequestKey& key) const override { return requests.at(key).lacks_room; }
  void EndActorLease(const WorkerId& worker) override {
    EXPECT_EQ(leased.erase(worker), 1u) << "it has no lease";
  }
  // ActorWorkers
  void Kill(const WorkerId& worker, const std::string& reason, bool intended) override {
    Told(worker, reason, intended).killed = true;
  }
  void AskToExit(const WorkerId& worker, const std::string& reason, int64_t,
                 bool if_unused) override {
    Worker& asked = Told(worker, reason, true);
    asked.asked = true;
    asked.may_stay = if_unused;
  }
  bool HasServed(const WorkerId& worker) const override { return workers.at(worker).served; }
  int PidOf(const WorkerId&) const override { return 1; }

  // What the GCS does.
  void StartActor(const ActorId& actor, uint32_t incarnation);
  void StopActor(const ActorId& actor, uint32_t incarnation, bool graceful);
  void RecallActor(const ActorId& actor, uint32_t incarnation);
  void GoAway() {
    up = false;
    commands.clear();
  }
  void ComeBack();
  void Deliver() {
    for (const auto& command : std::exchange(commands, {})) command();
  }
  // What leases and workers do.
  void Grant(const RequestKey& key);
  void SayReady(const WorkerId& worker, bool ok);
  void SayStays(const WorkerId& worker);
  void Die(const WorkerId& worker, const std::string& how);
  void Act(WorkerId worker);
  void Step();
  void Settle();
  void Check();

  sim::VirtualTime time;
  sim::VirtualRuntime runtime;
  NodeOptions options;
  std::map<RequestKey, Request> requests;
  std::map<WorkerId, RequestKey> leased;
  std::map<WorkerId, Worker> workers;
  std::map<ActorId, Known> known;
  std::map<Incarnation, std::string> ended;  // as the host said first, with the reason
  std::set<Incarnation> ran;                 // has said that it is ready
  std::set<Incarnation> stopped;             // was told so
  std::deque<std::function<void()>> commands;
  bool up = true;
  bool again = false;  // the host tells its ends anew
  int64_t up_ns = 0;   // since when it is up
  uint64_t restarts = 0, declined = 0, told_again = 0, given_back = 0, waited = 0, stayed = 0;
  ActorHost host{{&runtime, &options, this, this, this}};

 private:
  Worker& Told(const WorkerId& worker, const std::string& reason, bool intended);
  void OnStarted(const wire::ActorStarted& started);
  void OnEnded(const Incarnation& which, const std::string& reason, bool intended);
  void OnHere(const wire::ActorsHere& here);
};

ActorWorld::Worker& ActorWorld::Told(const WorkerId& worker, const std::string& reason,
                                     bool intended) {
  Worker& told = workers.at(worker);
  EXPECT_TRUE(leased.contains(worker)) << "it works for somebody else by now";
  if (told.reason.empty()) {
    told.reason = reason;
    told.intended = intended;
  }
  return told;
}

void ActorWorld::ToWorker(const WorkerId& worker, wire::FrameType type,
                          const FlatBufferBuilder& builder) {
  ASSERT_EQ(type, wire::FrameType::kAssignActor);
  const auto* assign = flatbuffers::GetRoot<wire::AssignActor>(builder.GetBufferPointer());
  const Incarnation which{FromWire(*assign->actor_id()), assign->incarnation()};
  EXPECT_EQ(wire::BytesOrEmpty(assign->spec()), (wire::Bytes{1, 2, 3}));
  EXPECT_FALSE(ended.contains(which)) << "it has ended";
  for (const auto& [id, other] : workers) {
    if (!other.assigned || other.assigned->actor != which.actor || id == worker) continue;
    EXPECT_TRUE(other.killed) << "it runs there";
  }
  workers.at(worker).assigned = which;
}

// --- The GCS ----------------------------------------------------------------------------------

void ActorWorld::StartActor(const ActorId& actor, uint32_t incarnation) {
  commands.push_back([this, actor, incarnation] {
    FlatBufferBuilder builder;
    const auto spec = builder.CreateVector(std::vector<uint8_t>{1, 2, 3});
    const auto name = builder.CreateString("Counter");
    wire::StartActorBuilder start(builder);
    start.add_actor_id(ToWire(actor));
    start.add_incarnation(incarnation);
    start.add_job_id(ToWire(kJob));
    start.add_class_name(name);
    start.add_spec(spec);
    builder.Finish(start.Finish());
    host.OnStartActor(*flatbuffers::GetRoot<wire::StartActor>(builder.GetBufferPointer()));
  });
}

void ActorWorld::StopActor(const ActorId& actor, uint32_t incarnation, bool graceful) {
  commands.push_back([this, actor, incarnation, graceful] {
    FlatBufferBuilder builder;
    const auto reason = builder.CreateString("it was stopped");
    if (host.actors().contains(actor)) stopped.insert({actor, incarnation});
    const bool waits = requests.contains({.id = incarnation, .actor = actor});
    builder.Finish(wire::CreateStopActor(builder, ToWire(actor), incarnation, graceful, reason));
    host.OnStopActor(*flatbuffers::GetRoot<wire::StopActor>(builder.GetBufferPointer()));
    EXPECT_TRUE(!waits || ended.contains({actor, incarnation})) << "no worker's death tells of it";
  });
}

void ActorWorld::RecallActor(const ActorId& actor, uint32_t incarnation) {
  commands.push_back([this, actor, incarnation] {
    FlatBufferBuilder builder;
    builder.Finish(wire::CreateRecallActor(builder, ToWire(actor), incarnation));
    host.OnRecallActor(*flatbuffers::GetRoot<wire::RecallActor>(builder.GetBufferPointer()));
  });
}

// A new stream: the hello, and what the GCS puts right after it.
void ActorWorld::ComeBack() {
  up = true;
  up_ns = time.now_ns();
  for (auto& [key, request] : requests) request.told = false;
  std::set<Incarnation> listed;
  FlatBufferBuilder builder;
  for (const auto& offset : host.WriteAlive(builder)) {
    const auto* alive = flatbuffers::GetTemporaryPointer(builder, offset);
    listed.insert({FromWire(*alive->actor_id()), alive->incarnation()});
  }
  for (const Incarnation& one : listed) {
    EXPECT_TRUE(ran.contains(one)) << "it was never ready";
    Known& actor = known.at(one.actor);
    if (actor.over || actor.incarnation != one.number) {
      StopActor(one.actor, one.number, /*graceful=*/false);
    } else {
      actor.alive = true;
    }
  }
  for (const auto& offset : host.WriteStarting(builder)) {
    const auto* life = flatbuffers::GetTemporaryPointer(builder, offset);
    const Known& actor = known.at(FromWire(*life->actor_id()));
    if (actor.over || actor.incarnation != life->incarnation()) {
      StopActor(FromWire(*life->actor_id()), life->incarnation(), /*graceful=*/false);
    }
  }
  for (const auto& [id, actor] : known) {
    if (actor.over) continue;
    if (actor.alive) {
      EXPECT_TRUE(listed.contains({id, actor.incarnation})) << "the GCS takes it for lost";
    } else {
      StartActor(id, actor.incarnation);
    }
  }
  again = true;
  host.TellAgain();
  again = false;
}

void ActorWorld::Report(wire::Bytes report) {
  const auto* root = wire::VerifiedRoot<wire::NodeReport>(report);
  ASSERT_NE(root, nullptr);
  if (const auto* started = root->body_as_ActorStarted()) {
    OnStarted(*started);
  } else if (const auto* over = root->body_as_ActorEnded()) {
    OnEnded({FromWire(*over->actor_id()), over->incarnation()}, over->reason()->str(),
            over->intended());
  } else if (const auto* back = root->body_as_ActorGivenBack()) {
    ASSERT_TRUE(up) << "it was recalled just now";
    ++given_back;
    Known& actor = known.at(FromWire(*back->actor_id()));
    if (actor.over || actor.incarnation != back->incarnation()) return;
    StartActor(FromWire(*back->actor_id()), ++actor.incarnation);
  } else if (const auto* here = root->body_as_ActorsHere()) {
    OnHere(*here);
  }
}

void ActorWorld::OnHere(const wire::ActorsHere& here) {
  if (here.waiting() != nullptr) {
    for (const wire::ActorLife* life : *here.waiting()) {
      Request& request =
          requests.at({.id = life->incarnation(), .actor = FromWire(*life->actor_id())});
      EXPECT_TRUE(request.lacks_room);
      EXPECT_FALSE(request.told) << "once on a stream";
      request.told = up;
      ++waited;
    }
  }
  if (here.begun() != nullptr) {
    for (const wire::ActorLife* life : *here.begun()) {
      const ActorId actor = FromWire(*life->actor_id());
      EXPECT_FALSE(requests.contains({.id = life->incarnation(), .actor = actor}));
      EXPECT_EQ(host.actors().at(actor).incarnation, life->incarnation());
      ++stayed;
    }
  }
}

void ActorWorld::OnStarted(const wire::ActorStarted& started) {
  const Incarnation which{FromWire(*started.actor_id()), started.incarnation()};
  if (!started.ok()) {
    EXPECT_EQ(wire::BytesOrEmpty(started.error()), (wire::Bytes{7}));
    return OnEnded(which, "its __init__ failed", true);
  }
  const WorkerId worker = FromWire(*started.address()).worker;
  EXPECT_EQ(workers.at(worker).assigned, which);
  if (!up) return;
  Known& actor = known.at(which.actor);
  if (actor.over || actor.incarnation != which.number) {
    StopActor(which.actor, which.number, /*graceful=*/false);
  } else {
    actor.alive = true;
  }
}

void ActorWorld::OnEnded(const Incarnation& which, const std::string& reason, bool intended) {
  const auto [it, added] = ended.emplace(which, reason);
  EXPECT_NE(added, again) << "an end is told as it comes, and to a GCS that was away";
  EXPECT_EQ(it->second, reason);
  if (!up) return;
  told_again += again ? 1 : 0;
  Known& actor = known.at(which.actor);
  if (actor.over || actor.incarnation != which.number) return;
  actor.alive = false;
  if (intended || Draw(3) == 0) {
    actor.over = true;
  } else {
    ++restarts;
    StartActor(which.actor, ++actor.incarnation);
  }
}

// --- Leases and workers -----------------------------------------------------------------------

void ActorWorld::Grant(const RequestKey& key) {
  const auto idle = Some(workers, [this](const auto& one) {
    return !leased.contains(one.first) && !one.second.killed;
  });
  WorkerId worker;
  if (idle != workers.end() && Draw(2) == 0) {
    worker = idle->first;
    idle->second.ready = false;
  } else {
    worker = NewId<WorkerId>();
    workers[worker].served = Draw(2) == 0;
  }
  requests.erase(key);
  leased[worker] = key;
  host.OnGrant({.key = key, .lease_id = 1, .worker = worker, .gpu_ids = {}, .for_actor = true});
}

void ActorWorld::SayReady(const WorkerId& worker, bool ok) {
  Worker& one = workers.at(worker);
  one.ready = true;
  const Incarnation which = *one.assigned;
  if (ok && host.actors().contains(which.actor)) ran.insert(which);
  FlatBufferBuilder builder;
  const auto error = builder.CreateVector(std::vector<uint8_t>{7});
  builder.Finish(wire::CreateActorReady(builder, ToWire(which.actor), which.number, ok, error));
  EXPECT_TRUE(host.OnActorReady(
      worker, 1, flatbuffers::GetRoot<wire::ActorReady>(builder.GetBufferPointer())));
}

void ActorWorld::SayStays(const WorkerId& worker) {
  ++declined;
  workers.at(worker).assigned.reset();
  host.OnWorkerStays(worker);
  // A kill that was on its way strikes all the same.
  Worker& one = workers.at(worker);
  if (one.killed) return;
  one.asked = one.may_stay = one.intended = false;
  one.reason.clear();
  EXPECT_FALSE(leased.contains(worker) && host.actors().contains(leased[worker].actor))
      << "its actor waits for it still";
}

void ActorWorld::Die(const WorkerId& worker, const std::string& how) {
  const Worker one = workers.at(worker);
  workers.erase(worker);
  leased.erase(worker);
  const std::string reason = one.reason.empty() ? how : one.reason;
  const bool was_its = one.assigned && host.actors().contains(one.assigned->actor) &&
                       host.actors().at(one.assigned->actor).worker == worker;
  host.OnWorkerDied({worker, kJob, 1, reason, one.intended});
  EXPECT_TRUE(!was_its || ended.at(*one.assigned) == reason);
}

void ActorWorld::Act(const WorkerId worker) {
  const Worker one = workers.at(worker);
  if (one.assigned && !one.ready && Draw(2) == 0) {
    if (one.served && Draw(3) == 0) {
      SayStays(worker);
    } else {
      SayReady(worker, /*ok=*/Draw(5) != 0);
    }
  } else if (one.killed) {
    Die(worker, "it was killed");
  } else if (one.asked) {
    Die(worker, "it left");
  } else if (Draw(10) == 0) {
    Die(worker, "it crashed");
  }
}

void ActorWorld::Step() {
  Deliver();
  const auto any = [](const auto&) { return true; };
  const auto actor = Some(known, [](const auto& one) { return !one.second.over; });
  const uint64_t what = Draw(16);
  if (what >= 8) {
    if (const auto it = Some(workers, any); it != workers.end()) Act(it->first);
  } else if (what >= 5) {
    // Room comes late.
    const auto may = [this](const auto& one) { return !one.second.lacks_room || Draw(100) == 0; };
    if (const auto it = Some(requests, may); it != requests.end()) Grant(RequestKey(it->first));
  } else if (what == 4) {
    const auto it = Some(requests, any);
    if (it == requests.end() || Draw(5) != 0) return;
    const RequestKey key = it->first;
    requests.erase(it);
    host.OnRefused(key, "no worker can be started");
    EXPECT_EQ((ended.at({key.actor, static_cast<uint32_t>(key.id)})), "no worker can be started");
  } else if (what == 3) {
    if (!up) {
      ComeBack();
    } else if (Draw(12) == 0) {
      GoAway();
    }
  } else if (up && (what == 2 || actor == known.end())) {
    if (known.size() > 200) return;
    const auto id = NewId<ActorId>();
    known[id];
    StartActor(id, 0);
  } else if (what == 1 && actor != known.end()) {
    actor->second.over = true;  // the order to stop may be lost
    if (up) StopActor(actor->first, actor->second.incarnation, Draw(2) == 0);
  } else if (up) {
    switch (Draw(3)) {
      case 0:
        return RecallActor(actor->first, actor->second.incarnation);
      case 1:  // it was told, and is told again
        return StartActor(actor->first, actor->second.incarnation);
      default:  // the GCS took it for lost
        actor->second.alive = false;
        return StartActor(actor->first, ++actor->second.incarnation);
    }
  }
}

void ActorWorld::Check() {
  std::set<WorkerId> theirs;
  for (const auto& [id, actor] : host.actors()) {
    EXPECT_FALSE(ended.contains({id, actor.incarnation}));
    const bool told = stopped.contains({id, actor.incarnation});
    EXPECT_TRUE(!up || !commands.empty() || !known.at(id).over || told) << "the GCS wants it not";
    const RequestKey key{.id = actor.incarnation, .actor = id};
    const bool waits = actor.state == ActorHost::State::kWaiting;
    EXPECT_EQ(requests.contains(key), waits);
    EXPECT_EQ(actor.worker.is_nil(), waits);
    if (waits) continue;
    EXPECT_TRUE(theirs.insert(actor.worker).second) << "it has another actor";
    EXPECT_EQ(workers.at(actor.worker).assigned, (Incarnation{id, actor.incarnation}));
    EXPECT_EQ(leased.at(actor.worker), key);
  }
  for (const auto& [key, request] : requests) {
    EXPECT_TRUE(host.actors().contains(key.actor));
    const int64_t tell_ns = (int64_t{200} << std::min<uint64_t>(key.id, 8)) * kMs;
    const bool is_late =
        time.now_ns() - std::max(request.since_ns, up_ns) > tell_ns + 2 * 200 * kMs;
    EXPECT_TRUE(!up || !request.lacks_room || !is_late || request.told) << "nobody knows it waits";
  }
  for (const auto& [id, worker] : workers) {
    EXPECT_TRUE(theirs.contains(id) || worker.killed || worker.asked || !leased.contains(id))
        << "nobody ends it";
  }
  EXPECT_EQ(host.HasActorOf(kJob), !host.actors().empty());
}

// All are stopped, and everybody does what is asked of him.
void ActorWorld::Settle() {
  if (!up) ComeBack();
  for (auto& [id, actor] : known) {
    if (!std::exchange(actor.over, true)) StopActor(id, actor.incarnation, /*graceful=*/false);
  }
  for (int i = 0; i < 10'000 && !(requests.empty() && leased.empty() && commands.empty()); ++i) {
    Deliver();
    if (!requests.empty()) Grant(RequestKey(requests.begin()->first));
    if (!leased.empty()) Act(Some(leased, [](const auto&) { return true; })->first);
  }
}

class ActorHostLives : public ::testing::TestWithParam<uint64_t> {
 protected:
  ActorHostLives() { SetMinLogLevel(LogLevel::kError); }  // it warns when one starts anew
  ~ActorHostLives() override { SetMinLogLevel(log_level_); }
  const LogLevel log_level_ = MinLogLevel();
};

TEST_P(ActorHostLives, EachEndIsToldAndNothingIsLeft) {
  ActorWorld world(GetParam());
  for (int i = 0; i < 3'000 && !HasFailure(); ++i) {
    world.Step();
    world.time.RunFor(static_cast<int64_t>(world.Draw(10)) * kMs);
    world.Check();
  }
  EXPECT_GT(world.restarts, 0u);
  EXPECT_GT(world.declined, 0u);
  EXPECT_GT(world.told_again, 0u);
  EXPECT_GT(world.given_back, 0u);
  EXPECT_GT(world.waited, 0u);
  EXPECT_GT(world.stayed, 0u);
  world.Settle();
  world.Check();
  EXPECT_TRUE(world.host.actors().empty());
  EXPECT_TRUE(world.requests.empty());
  EXPECT_TRUE(world.leased.empty());
}

TEST_P(ActorHostLives, EndsOfMoreThanAMinuteAgoAreForgottenWhenOthersCome) {
  ActorWorld world(GetParam());
  const auto await_ends = [&world](size_t count) {
    for (int i = 0; i < 10'000 && world.ended.size() < count; ++i) world.Step();
    ASSERT_GE(world.ended.size(), count);
  };
  const auto told_again = [&world] {
    const uint64_t before = world.told_again;
    world.GoAway();
    world.ComeBack();
    return world.told_again - before;
  };
  await_ends(5);
  const size_t old = world.ended.size();
  world.time.RunFor(59'000 * kMs);
  EXPECT_EQ(told_again(), old);
  world.time.RunFor(2'000 * kMs);
  await_ends(old + 1);
  EXPECT_EQ(told_again(), world.ended.size() - old);
}

INSTANTIATE_TEST_SUITE_P(Seeds, ActorHostLives, ::testing::Range<uint64_t>(1, 101));

}  // namespace
}  // namespace cyray::raylet
