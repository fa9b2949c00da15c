// Random requests and ends, restarts in between: after each the GCS says what it said before.

#include <gtest/gtest.h>

#include <random>

#include "cpp_tests/gcs/service_fixture.h"

namespace cyray::gcs {
namespace {

using wire::GcsMethod;

class RandomCluster {
 public:
  RandomCluster(ServiceFixture& gcs, unsigned seed) : gcs_(gcs), random_(seed) {
    for (int i = 0; i < 3; ++i) AddNode();
  }

  void Step() {
    switch (Pick(13)) {
      case 0:
      case 1:
        Do(GcsMethod::KvPut, KvPutPayload(Key(), std::to_string(Pick(1000)), Pick(2) == 0));
        break;
      case 2:
        Do(GcsMethod::KvDelete, KvDeletePayload(Key(), Pick(4) == 0));
        break;
      case 3:
        functions_.emplace_back(SomeJob(), FunctionId::Random());
        Do(GcsMethod::PutFunction,
           PutFunctionPayload(functions_.back().first, functions_.back().second, Key()));
        break;
      case 4:
        AddJob();
        break;
      case 5:
        if (Pick(4) == 0) Do(GcsMethod::FinishJob, FinishJobPayload(SomeJob()));
        if (Pick(8) == 0) {
          Do(GcsMethod::RegisterNode, RegisterNodePayload(Any(nodes_), Cpus(100)));
        }
        break;
      case 6:
      case 7:
        AddActor();
        break;
      case 8:
        if (!actors_.empty()) {
          Do(GcsMethod::KillActor, KillPayload(Any(actors_), Pick(2) == 0, Pick(2) == 0));
        }
        break;
      case 9:
        if (!drivers_.empty() && Pick(4) == 0) {
          Do(GcsMethod::ReportWorkerDeath, WorkerDeathPayload(Any(drivers_)));
        }
        break;
      case 10:
        if (!actors_.empty()) {
          Do(GcsMethod::SaveActor,
             SaveActorPayload(Any(actors_), static_cast<uint32_t>(Pick(2)), saves_++, Key()));
        }
        break;
      default:
        StartAll();
        break;
    }
  }

  // Everything that can be asked for.
  std::vector<wire::Bytes> Answers() {
    std::vector<wire::Bytes> all;
    for (GcsMethod method : {GcsMethod::ListNodes, GcsMethod::ListJobs, GcsMethod::ListActors}) {
      all.push_back(*gcs_.Call(method, {}));
    }
    for (int i = 0; i < 20; ++i) {
      all.push_back(*gcs_.Call(GcsMethod::KvGet, KvGetPayload("key" + std::to_string(i))));
    }
    for (int i = 0; i < 8; ++i) {
      flatbuffers::FlatBufferBuilder builder;
      auto name = builder.CreateString(std::string(1, static_cast<char>('a' + i)));
      builder.Finish(wire::CreateGetActorByNameRequest(builder, name));
      all.push_back(*gcs_.Call(GcsMethod::GetActorByName, wire::FinishedBytes(builder)));
    }
    for (const ActorId& id : actors_) {
      flatbuffers::FlatBufferBuilder builder;
      builder.Finish(wire::CreateGetActorSaveRequest(builder, wire::ToWire(id)));
      all.push_back(*gcs_.Call(GcsMethod::GetActorSave, wire::FinishedBytes(builder)));
    }
    for (const auto& [job, id] : functions_) {
      all.push_back(*gcs_.Call(GcsMethod::GetFunction, GetFunctionPayload(job, id, 0)));
    }
    return all;
  }

 private:
  size_t Pick(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); }
  template <class T>
  const T& Any(const std::vector<T>& from) {
    return from[Pick(from.size())];
  }
  std::string Key() { return "key" + std::to_string(Pick(20)); }
  void Do(GcsMethod method, wire::Bytes payload) { (void)gcs_.Call(method, std::move(payload)); }

  void AddNode() {
    nodes_.push_back(NodeId::Random());
    ASSERT_TRUE(gcs_.Call(GcsMethod::RegisterNode, RegisterNodePayload(nodes_.back(), Cpus(100))));
  }
  void AddJob() {
    drivers_.push_back({Any(nodes_), WorkerId::Random()});
    const auto reply = gcs_.Call(GcsMethod::RegisterJob, RegisterJobPayload(drivers_.back()));
    ASSERT_TRUE(reply);
    jobs_.push_back(wire::FromWire(*wire::VerifiedRoot<wire::RegisterJobReply>(*reply)->job_id()));
  }
  JobId SomeJob() {
    if (jobs_.empty()) AddJob();
    return Any(jobs_);
  }
  wire::Bytes Registration(const ActorId& id) {
    const std::string name = Pick(2) == 0 ? std::string(1, static_cast<char>('a' + Pick(8))) : "";
    return RegisterActorPayload(id, {.name = name,
                                     .detached = Pick(3) == 0,
                                     .max_restarts = static_cast<int>(Pick(4)) - 1,
                                     .owner = Any(drivers_)});
  }
  void AddActor() {
    const JobId job = SomeJob();
    uint32_t number;
    std::memcpy(&number, job.data(), sizeof number);
    if (Pick(3) == 0) return ChangeActors(number);
    const ActorId id = NewActorId(number);
    if (gcs_.Call(GcsMethod::RegisterActor, Registration(id))) actors_.push_back(id);
  }
  void ChangeActors(uint32_t job) {
    std::vector<ActorId> made;
    std::vector<wire::Bytes> registrations;
    for (size_t i = Pick(4); i > 0; --i) {
      made.push_back(NewActorId(job));
      registrations.push_back(Registration(made.back()));
    }
    std::vector<ActorId> dropped;
    for (size_t i = Pick(3); i > 0 && !actors_.empty(); --i) dropped.push_back(Any(actors_));
    ASSERT_TRUE(gcs_.Call(GcsMethod::ChangeActors, ChangeActorsPayload(registrations, dropped)));
    actors_.insert(actors_.end(), made.begin(), made.end());
  }
  // The raylets' streams come up with some of the actors alive, and break.
  void StartAll() {
    const uint64_t stream = next_stream_++;
    const NodeId node = Any(nodes_);
    flatbuffers::FlatBufferBuilder builder;
    std::vector<flatbuffers::Offset<wire::ActorStarted>> alive;
    for (const ActorId& id : actors_) {
      if (Pick(2) == 0) continue;
      const Address address{node, WorkerId::Random()};
      alive.push_back(wire::CreateActorStarted(builder, wire::ToWire(id),
                                               static_cast<uint32_t>(Pick(3)),
                                               wire::ToWire(address), 1, true));
    }
    auto list = builder.CreateVector(alive);
    gcs_.StreamMessage(
        stream, FinishReport(builder, wire::CreateNodeHello(builder, wire::ToWire(node), list)));
    gcs_.service().OnStreamClosed(stream);
  }

  ServiceFixture& gcs_;
  std::mt19937 random_;
  std::vector<NodeId> nodes_;
  std::vector<Address> drivers_;
  std::vector<JobId> jobs_;
  std::vector<ActorId> actors_;
  std::vector<std::pair<JobId, FunctionId>> functions_;
  uint64_t next_stream_ = 1;
  uint64_t saves_ = 1;
};

TEST(GcsRestart, EverythingIsAsItWasAfterRestartsAtRandomMoments) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  TemporaryFolder folder;
  ServiceFixture gcs(folder.path() + "/gcs.sqlite");
  RandomCluster cluster(gcs, seed);
  for (int round = 0; round < 8; ++round) {
    for (int step = 0; step < 40; ++step) cluster.Step();
    const std::vector<wire::Bytes> before = cluster.Answers();
    gcs.Restart();
    const std::vector<wire::Bytes> after = cluster.Answers();
    ASSERT_EQ(before.size(), after.size());
    for (size_t i = 0; i < before.size(); ++i) EXPECT_EQ(before[i], after[i]) << "answer " << i;
  }
}

}  // namespace
}  // namespace cyray::gcs
