// A GCS that dies at random moments, over a disk of which only what was synced is left, while
// actors are made: nobody was ever told what the next GCS does not know.

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <random>

#include "cpp_tests/gcs/memory_storage.h"
#include "cpp_tests/gcs/payloads.h"
#include "cyray/gcs/gcs_service.h"
#include "cyray/util/event_loop.h"

namespace cyray::gcs {
namespace {

using wire::GcsMethod;

// One raylet that does as it is told, and its driver's calls, which are sent again until they are
// answered.
class DyingGcs {
 public:
  explicit DyingGcs(unsigned seed) : random_(seed) { Start(); }

  void Step() {
    switch (random_() % 8) {
      case 0:
        if (made_ < 40) Make();
        break;
      case 1:
      case 2:
        HearOne();
        break;
      case 3:
        ReportReady();
        break;
      case 4:
        if (!running_.empty() && random_() % 4 == 0) LoseOne();
        break;
      case 5:
        if (random_() % 4 == 0) Crash();
        break;
      default:
        storage_->Sync();
    }
    service_->CheckInvariants();
  }
  // After the last crash everything comes to rest.
  void Settle() {
    for (int i = 0; i < 200; ++i) {
      storage_->Sync();
      while (!inbox_.empty()) HearOne();
      while (!creating_.empty()) ReportReady();
    }
  }
  size_t unanswered() const { return calls_.size(); }
  size_t running() const { return running_.size(); }
  int expected() const { return made_; }
  const std::vector<std::string>& faults() const { return faults_; }

 private:
  void Start() {
    ++life_;
    storage_ = std::make_unique<MemoryStorage>(&disk_);
    service_ = std::make_unique<GcsService>(
        &loop_, storage_.get(),
        StreamOutlets{.send = [this](StreamId, const wire::Bytes& m) { inbox_.push_back(m); },
                      .accept = [](StreamId) {},
                      .close =
                          [this](StreamId, const Status& why) {
                            faults_.push_back("the stream was closed: " + why.message());
                          }},
        Membership::Timing{});
    ASSERT_TRUE(service_->Load().ok());
    Send(CallId::Random(), GcsMethod::RegisterNode, RegisterNodePayload(node_, Cpus(100)));
    storage_->Sync();
    Hello();
    for (const auto& [id, call] : calls_) Send(id, call.first, call.second);
  }
  void Crash() {
    service_.reset();
    storage_.reset();
    inbox_.clear();
    Start();
  }
  void Send(const CallId& id, GcsMethod method, wire::Bytes payload) {
    service_->OnCall(static_cast<uint16_t>(method), id, std::move(payload),
                     [this, id, life = life_](const Result<wire::Bytes>& reply) {
                       // A GCS that ends fails those who wait: they try again.
                       if (life == life_ && reply.has_value()) calls_.erase(id);
                     });
  }
  void Call(GcsMethod method, const wire::Bytes& payload) {
    const CallId id = CallId::Random();
    calls_[id] = {method, payload};
    Send(id, method, payload);
  }
  void Make() {
    ++made_;
    Call(GcsMethod::RegisterActor,
         RegisterActorPayload(NewActorId(), {.max_restarts = -1, .owner = driver_}));
  }
  void Hello() {
    flatbuffers::FlatBufferBuilder builder;
    std::vector<flatbuffers::Offset<wire::ActorStarted>> alive;
    // Those whose end is told again afterwards, too: as ActorHost has it.
    for (const auto& [key, address] : ended_) {
      alive.push_back(wire::CreateActorStarted(builder, wire::ToWire(key.first), key.second,
                                               wire::ToWire(address), 0, true));
    }
    for (const auto& [id, process] : running_) {
      alive.push_back(wire::CreateActorStarted(builder, wire::ToWire(id), process.incarnation,
                                               wire::ToWire(process.address), 1, true));
    }
    const auto actors = builder.CreateVector(alive);
    const std::vector<wire::WireWorkerId> here{*wire::ToWire(driver_.worker)};
    const auto processes = builder.CreateVectorOfStructs(here);
    std::vector<flatbuffers::Offset<wire::ActorLife>> lives;
    for (const auto& [id, incarnation] : creating_) {
      lives.push_back(wire::CreateActorLife(builder, wire::ToWire(id), incarnation));
    }
    const auto starting = builder.CreateVector(lives);
    service_->OnStreamMessage(
        life_, FinishReport(builder, wire::CreateNodeHello(builder, wire::ToWire(node_), actors,
                                                           processes, 0, 0, nullptr, starting)));
    for (const auto& [key, address] : ended_) ReportEnd(key.first, key.second);
  }
  void HearOne() {
    if (inbox_.empty()) return;
    const wire::Bytes message = std::move(inbox_.front());
    inbox_.pop_front();
    const auto* command = wire::VerifiedRoot<wire::NodeCommand>(message);
    if (const auto* start = command->body_as_StartActor()) {
      const ActorId id = wire::FromWire(*start->actor_id());
      if (ended_.contains({id, start->incarnation()})) return;
      if (running_.contains(id) && running_[id].incarnation >= start->incarnation()) return;
      if (running_.contains(id)) faults_.push_back("started while it runs: " + id.Hex());
      auto [it, added] = creating_.try_emplace(id, start->incarnation());
      it->second = std::max(it->second, start->incarnation());
    } else if (const auto* stop = command->body_as_StopActor()) {
      // Of one that has ended by itself there is nothing to stop.
      const ActorId id = wire::FromWire(*stop->actor_id());
      const auto running = running_.find(id);
      const auto creating = creating_.find(id);
      if ((running != running_.end() && running->second.incarnation == stop->incarnation()) ||
          (creating != creating_.end() && creating->second == stop->incarnation())) {
        faults_.push_back("stopped: " + flatbuffers::GetString(stop->reason()));
      }
    }
  }
  void ReportReady() {
    if (creating_.empty()) return;
    const auto [id, incarnation] = *creating_.begin();
    creating_.erase(creating_.begin());
    running_[id] = {incarnation, {node_, WorkerId::Random()}};
    flatbuffers::FlatBufferBuilder builder;
    service_->OnStreamMessage(
        life_, FinishReport(builder,
                            wire::CreateActorStarted(builder, wire::ToWire(id), incarnation,
                                                     wire::ToWire(running_[id].address), 1, true)));
  }
  void LoseOne() {
    const auto it = running_.begin();
    const auto [id, process] = *it;
    running_.erase(it);
    ended_[{id, process.incarnation}] = process.address;
    ReportEnd(id, process.incarnation);
  }
  void ReportEnd(const ActorId& id, uint32_t incarnation) {
    flatbuffers::FlatBufferBuilder builder;
    const auto reason = builder.CreateString("killed by signal 9");
    service_->OnStreamMessage(
        life_, FinishReport(builder, wire::CreateActorEnded(builder, wire::ToWire(id), incarnation,
                                                            reason)));
  }

  struct Process {
    uint32_t incarnation;
    Address address;
  };
  std::mt19937 random_;
  EventLoop loop_;
  MemoryDisk disk_;
  uint64_t life_ = 0;
  const NodeId node_ = NodeId::Random();
  const Address driver_{node_, WorkerId::Random()};
  std::map<CallId, std::pair<GcsMethod, wire::Bytes>> calls_;
  std::deque<wire::Bytes> inbox_;
  std::map<ActorId, uint32_t> creating_;
  std::map<ActorId, Process> running_;
  std::map<std::pair<ActorId, uint32_t>, Address> ended_;
  std::vector<std::string> faults_;
  int made_ = 0;
  std::unique_ptr<MemoryStorage> storage_;
  std::unique_ptr<GcsService> service_;
};

TEST(GcsCrash, NoActorIsStoppedOrStartedTwiceWhereverTheGcsDies) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int run = 0; run < 60; ++run) {
    DyingGcs gcs(static_cast<unsigned>(random()));
    for (int step = 0; step < 600; ++step) gcs.Step();
    gcs.Settle();
    ASSERT_EQ(gcs.faults(), std::vector<std::string>{});
    ASSERT_EQ(gcs.unanswered(), 0u);
    ASSERT_EQ(gcs.running(), static_cast<size_t>(gcs.expected()));
  }
}

}  // namespace
}  // namespace cyray::gcs
