// What the GCS's component tests share: a server in this process on a folder of its own, and
// raylets played by GcsClients whose loop the test drives. Threading: the test's thread runs the
// clients' loop; the server has its own threads.

#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cpp_tests/gcs/payloads.h"
#include "cyray/gcs/client.h"
#include "cyray/gcs/codec.h"
#include "cyray/gcs/gcs_server.h"
#include "cyray/net/tcp_listener.h"
#include "cyray/util/clock.h"
#include "cyray/wire/convert.h"

namespace cyray::gcs {

inline const std::string kTestToken(32, 't');

// A fast clock for tests: nodes end after tens of milliseconds.
inline Membership::Timing TestTiming() {
  return {.silence_ms = 6000,
          .reconnect_ms = 100,
          .first_stream_ms = 2000,
          .restored_ms = 300,
          .tick_ms = 20};
}

class ClusterTest : public testing::Test {
 protected:
  ClusterTest() {
    char folder[] = "/tmp/cyray_gcs_test_XXXXXX";
    folder_ = ::mkdtemp(folder);
  }
  ~ClusterTest() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  // Again on the same port after Stop: a restart with data.
  void StartServer(Membership::Timing timing = TestTiming()) {
    server_ = std::make_unique<GcsServer>();
    const Status status = server_->Start({.database = folder_ + "/gcs.sqlite",
                                          .listening = Listening(),
                                          .token = kTestToken,
                                          .timing = timing});
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  void StopServer() { server_.reset(); }
  const std::string& address() const { return address_; }
  // The socket that a server is given; the first time it is made, and kept as a raylet does.
  UniqueFd Listening() {
    if (!listening_.valid()) {
      listening_ = *net::TcpListener::Open("127.0.0.1", 0);
      address_ = *net::TcpListener::AddressOf(listening_.get());
    }
    return UniqueFd(::fcntl(listening_.get(), F_DUPFD_CLOEXEC, 0));
  }

  bool RunUntil(const std::function<bool()>& done, int64_t limit_ms = 30'000) {
    const int64_t end = MonotonicMs() + limit_ms;
    while (!done()) {
      if (MonotonicMs() >= end) return false;
      loop_.RunOnce(10);
    }
    return true;
  }

  Result<wire::Bytes> CallAndWait(GcsClient& client, wire::GcsMethod method, wire::Bytes payload) {
    std::optional<Result<wire::Bytes>> result;
    client.Call(method, std::move(payload), [&](Result<wire::Bytes> r) { result = std::move(r); });
    if (!RunUntil([&] { return result.has_value(); })) {
      return Fail(StatusCode::kTimedOut, "no reply");
    }
    return std::move(*result);
  }

  std::string folder_;
  UniqueFd listening_;
  std::string address_;
  std::unique_ptr<GcsServer> server_;
  EventLoop loop_;
};

// A raylet as the GCS sees it: it records what it is told.
class FakeRaylet {
 public:
  FakeRaylet(EventLoop* loop, const std::string& address, ResourceSet resources)
      : total(std::move(resources)), client(loop, address, kTestToken) {}

  wire::Bytes RegisterNodePayload() const { return gcs::RegisterNodePayload(id, total); }

  void OpenStream() {
    client.OpenStream({.hello = [this] { return Hello(); },
                       .on_command = [this](const wire::NodeCommand* c) { OnCommand(*c); },
                       .on_up = [this] { ++ups; },
                       .on_down =
                           [this](const Status& status) {
                             ++downs;
                             last_down = status;
                           }});
  }

  void ReportStarted(const ActorId& actor, uint32_t actor_incarnation, const Address& address) {
    alive[actor] = {actor_incarnation, address};
    flatbuffers::FlatBufferBuilder builder;
    client.Report(FinishReport(
        builder, wire::CreateActorStarted(builder, wire::ToWire(actor), actor_incarnation,
                                          wire::ToWire(address), 1234, true)));
  }
  void ReportEnded(const ActorId& actor, uint32_t actor_incarnation, const std::string& reason) {
    alive.erase(actor);
    flatbuffers::FlatBufferBuilder builder;
    auto text = builder.CreateString(reason);
    client.Report(FinishReport(
        builder, wire::CreateActorEnded(builder, wire::ToWire(actor), actor_incarnation, text)));
  }
  void ReportResources(const ResourceSet& available) {
    flatbuffers::FlatBufferBuilder builder;
    auto a = wire::ToWire(builder, available);
    auto t = wire::ToWire(builder, total);
    client.Report(FinishReport(builder, wire::CreateResourceReport(builder, a, t)));
  }
  void Watch(const ActorId& actor) {
    flatbuffers::FlatBufferBuilder builder;
    client.Report(
        FinishReport(builder, wire::CreateWatchActor(builder, wire::ToWire(actor), true)));
  }

  struct Start {
    ActorId actor;
    uint32_t incarnation;
    wire::Bytes spec;
  };
  struct Update {
    ActorId actor;
    wire::ActorState state;
    uint32_t incarnation;
    std::string death_cause;
  };
  struct Alive {
    uint32_t incarnation;
    Address address;
  };

  NodeId id = NodeId::Random();
  ResourceSet total;
  std::map<ActorId, Alive> alive;
  int ups = 0, downs = 0;
  Status last_down;
  std::vector<Start> starts;
  std::vector<ActorId> stops;
  std::vector<Update> updates;
  std::vector<NodeId> dead_nodes;
  std::vector<std::pair<JobId, bool>> jobs;
  std::vector<std::pair<NodeId, ResourceSet>> views;
  GcsClient client;

 private:
  wire::Bytes Hello() const {
    flatbuffers::FlatBufferBuilder builder;
    std::vector<flatbuffers::Offset<wire::ActorStarted>> actors;
    for (const auto& [actor, state] : alive) {
      actors.push_back(wire::CreateActorStarted(builder, wire::ToWire(actor), state.incarnation,
                                                wire::ToWire(state.address), 1234, true));
    }
    auto list = builder.CreateVector(actors);
    return FinishReport(builder, wire::CreateNodeHello(builder, wire::ToWire(id), list));
  }

  void OnCommand(const wire::NodeCommand& command) {
    if (const auto* start = command.body_as_StartActor()) {
      starts.push_back({wire::FromWire(*start->actor_id()), start->incarnation(),
                        wire::BytesOrEmpty(start->spec())});
    } else if (const auto* stop = command.body_as_StopActor()) {
      stops.push_back(wire::FromWire(*stop->actor_id()));
    } else if (const auto* update = command.body_as_ActorUpdate()) {
      updates.push_back({wire::FromWire(*update->actor_id()), update->state(),
                         update->incarnation(), flatbuffers::GetString(update->death_cause())});
    } else if (const auto* node = command.body_as_NodeChanged()) {
      if (!node->node()->alive()) dead_nodes.push_back(wire::FromWire(*node->node()->node_id()));
    } else if (const auto* job = command.body_as_JobChanged()) {
      jobs.emplace_back(wire::FromWire(*job->job()->job_id()), job->job()->running());
    } else if (const auto* changed = command.body_as_ResourceViews()) {
      for (const auto* view : *changed->nodes()) {
        views.emplace_back(wire::FromWire(*view->node_id()), wire::FromWire(view->available()));
      }
    }
  }
};

}  // namespace cyray::gcs
