// What a driver, a worker or a stranger may send about registration, leases, other processes and
// the GCS: frames of any content in any order, while workers come and go. Whatever comes, leases
// and pool keep their invariants, and when the clients are gone nothing waits or is held. An input
// is a stream: a byte that chooses the client or an event of a worker, two for the size, bytes.

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "cpp_tests/fuzz/seeds.h"
#include "cyray/net/tcp_transport.h"
#include "cyray/raylet/lease_service.h"
#include "cyray/raylet/object_transfer.h"
#include "cyray/raylet/peer_broker.h"
#include "cyray/raylet/raylet_outbox.h"
#include "cyray/raylet/registrar.h"
#include "cyray/raylet/worker_shell.h"
#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace {

using namespace cyray;
using raylet::ClientConnection;
using wire::FrameType;

raylet::NodeOptions Options() {
  raylet::NodeOptions options;
  options.session_dir = "/nonexistent";  // workers are never started for good: they print nothing
  options.resources.Set("CPU", 2 * kResourceUnit);
  options.prestart = 0;
  options.node_id.bytes.fill(1);
  options.token = std::string(32, 't');
  return options;
}

class World {
 public:
  World() {
    for (size_t i = 0; i < ends_.size(); ++i) {
      int pair[2];
      if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) != 0) std::abort();
      ends_[i] = UniqueFd(pair[1]);
      ClientConnection* client = clients_.Add(UniqueFd(pair[0]), WorkerId::Nil());
      if (i == kStranger) continue;
      WorkerId driver;
      driver.bytes.fill(static_cast<uint8_t>(1 + i));
      CYRAY_CHECK(clients_.Name(*client, driver)) << i;
      const auto number = static_cast<uint32_t>(1 + i);
      client->kind = wire::ClientKind::Driver;
      client->job = JobId::FromBytes(&number);
      client->registered = true;
      jobs_.Add({client->job, options_.AddressOf(driver), "", {}});
    }
  }

  void Receive(size_t client, std::span<const uint8_t> bytes) {
    const int fd = ends_[client].get();
    (void)::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    Round();
    std::array<uint8_t, 4096> answers;
    while (::recv(fd, answers.data(), answers.size(), MSG_DONTWAIT) > 0) {
    }
  }
  // Something happens to the worker that comes first.
  void Event(uint8_t what) {
    ClientConnection* worker = nullptr;
    const bool registers = what % 4 == 0;
    clients_.ForEach([&](ClientConnection& client) {
      if (!client.worker().is_nil() && !client.is_driver() && client.registered != registers) {
        worker = &client;
      }
    });
    if (worker == nullptr) return;
    if (registers) {
      worker->registered = true;
      workers_.OnRegistered(worker->worker(), worker->pid);
    } else if (what % 4 == 1) {
      clients_.Close(*worker, "it is gone");
    } else {
      flatbuffers::FlatBufferBuilder builder;
      builder.Finish(wire::CreateBlocked(builder, what % 4 == 2));
      leases_.OnBlocked(worker->worker(),
                        flatbuffers::GetRoot<wire::Blocked>(builder.GetBufferPointer()));
    }
    Round();
  }
  void LeaveAll() {
    for (UniqueFd& end : ends_) end.reset();
    for (int i = 0; i < 4; ++i) Round();
    const raylet::LeaseScheduler& scheduler = leases_.scheduler();
    CYRAY_CHECK(scheduler.pending_count() == 0) << scheduler.pending_count();
    CYRAY_CHECK(scheduler.lease_count() == 0) << scheduler.lease_count();
    CYRAY_CHECK(scheduler.resources().available() == options_.resources)
        << scheduler.resources().available().ToString();
  }

  static constexpr size_t kClients = 3;

 private:
  static constexpr size_t kStranger = 2;

  // As Raylet::OnFrame does.
  bool OnFrame(ClientConnection& client, wire::Frame& frame) {
    if (frame.type == FrameType::kRegister) {
      return registrar_.OnRegister(client, frame.As<wire::Register>());
    }
    if (!client.registered) return false;
    switch (frame.type) {
      case FrameType::kRequestLease:
        return leases_.OnRequestLease(client.worker(), client.job, frame.As<wire::RequestLease>());
      case FrameType::kCancelLease:
        return leases_.OnCancelLease(client.worker(), frame.As<wire::CancelLease>());
      case FrameType::kReturnLease:
        return leases_.OnReturnLease(client.worker(), frame.As<wire::ReturnLease>());
      case FrameType::kConnectPeer:
        return broker_.OnConnectPeer(client, frame.As<wire::ConnectPeer>());
      case FrameType::kRelay:
        return broker_.OnRelay(client, frame);
      case FrameType::kGcsCall:
        return gcs_.OnGcsCall(client, frame.As<wire::GcsCall>());
      case FrameType::kSubscribeActor:
        return gcs_.OnSubscribeActor(client, frame.As<wire::SubscribeActor>());
      case FrameType::kFlushOutput:
        return feed_.OnFlushOutput(client, frame.As<wire::FlushOutput>());
      default:
        return false;
    }
  }
  // As Raylet::OnClientClosed does; the exits of workers are not waited for.
  void OnClosed(ClientConnection& client, const std::string& reason) {
    const WorkerId id = client.worker();
    if (id.is_nil()) return;
    gcs_.OnClientGone(id);
    if (client.is_driver()) {
      registrar_.OnDriverGone(client);
    } else {
      workers_.OnConnectionClosed(id);
    }
    leases_.OnProcessDied(id, reason);
  }
  void Round() {
    loop_.RunOnce(0);
    do {
      leases_.ScheduleIfTouched();
      clients_.FlushAll();
    } while (leases_.touched());
    leases_.scheduler().CheckInvariants();
    workers_.pool().CheckInvariants();
    // What this raylet asks to be killed would say that it died.
    std::vector<WorkerId> orphans;
    for (const auto& [id, worker] : workers_.pool().workers()) {
      if (worker.state == raylet::WorkerState::kExiting) orphans.push_back(id);
    }
    for (const WorkerId& id : orphans) {
      if (ClientConnection* client = clients_.Find(id)) clients_.Close(*client, "it was killed");
    }
  }

  EventLoop loop_;
  raylet::NodeOptions options_ = Options();
  raylet::ProcessSupervisor supervisor_{&loop_};
  raylet::JobBook jobs_;
  std::unique_ptr<store::ObjectStore> store_ = *store::ObjectStore::Open(1 << 20);
  raylet::ClientRegistry clients_{
      &loop_,
      {[this](ClientConnection& client, wire::Frame& frame) { return OnFrame(client, frame); },
       [this](ClientConnection& client, const std::string& reason) { OnClosed(client, reason); }}};
  net::TcpTransport transport_{&loop_};
  raylet::PeerTable peers_{&loop_, &transport_, options_.node_id, 1, options_.token};
  raylet::DriverFeed feed_{{&loop_, &options_, &clients_, &peers_, &jobs_},
                           [this](const JobId& job) { workers_.DrainOutput(job); }};
  raylet::WorkerShell shell_{{&loop_, &options_, &supervisor_, &clients_}};
  raylet::WorkerHost workers_{{&loop_, &options_, &shell_, &jobs_},
                              {[this] {
                                 registrar_.OnWorkerIdle();
                                 leases_.Touch();
                               },
                               [](const raylet::DeadWorker&) {}, [](const std::string&) {},
                               [](const JobId&, const std::string&) {},
                               [](const JobId&, const raylet::WorkerLogs::Lines&) {}}};
  raylet::GcsBridge gcs_{&loop_,
                         &options_,
                         &clients_,
                         {[](const wire::NodeCommand&) {}, [] { return wire::Bytes{}; },
                          [](const Status&) {}, [] {}, [] { return wire::Bytes{}; }}};
  raylet::RayletLeaseOutbox outbox_{&clients_, &peers_, &feed_};
  raylet::LeaseService leases_{{&loop_, &options_, &outbox_, &workers_},
                               {[](const raylet::LeaseGrant&) {},
                                [](const raylet::RequestKey&, const std::string&) {}, [] {}}};
  raylet::PeerBroker broker_{&options_, &clients_, &peers_, [](const Address&) {}};
  raylet::Registrar registrar_{
      {&loop_, &options_, &clients_, &workers_, &gcs_, &jobs_, store_.get()}};
  std::array<UniqueFd, kClients> ends_;
};

struct Named {
  FrameType type;
  const char* table;
};
constexpr std::array kFrames{
    Named{FrameType::kRequestLease, "RequestLease"},
    Named{FrameType::kCancelLease, "CancelLease"},
    Named{FrameType::kReturnLease, "ReturnLease"},
    Named{FrameType::kRegister, "Register"},
    Named{FrameType::kConnectPeer, "ConnectPeer"},
    Named{FrameType::kRelay, "Relay"},
    Named{FrameType::kGcsCall, "GcsCall"},
    Named{FrameType::kFlushOutput, "FlushOutput"},
    Named{FrameType::kSubscribeActor, "SubscribeActor"},
};

// A request that a node of two CPUs may grant: random ones are too large, or negative.
std::vector<uint8_t> ModestRequest(std::mt19937_64& rng) {
  ResourceSet demand;
  demand.Set("CPU", static_cast<int64_t>(rng() % 3) * kResourceUnit / 2);
  flatbuffers::FlatBufferBuilder builder;
  const auto amounts = wire::ToWire(builder, demand);
  builder.Finish(wire::CreateRequestLease(builder, rng() % 8, amounts));
  wire::ByteBuffer frame;
  wire::AppendFrame(frame, FrameType::kRequestLease, builder.GetBufferPointer(), builder.GetSize());
  return {frame.data(), frame.data() + frame.size()};
}

}  // namespace

std::vector<uint8_t> cyray::fuzz::RandomSeed(std::mt19937_64& rng) {
  std::vector<uint8_t> input;
  for (uint64_t i = 0, count = 1 + rng() % 24; i < count; ++i) {
    const Named& named = kFrames[rng() % kFrames.size()];
    const auto frame = rng() % 3 == 0
                           ? ModestRequest(rng)
                           : RandomFrame(static_cast<uint16_t>(named.type), named.table, rng);
    AppendMessage(input, static_cast<uint8_t>(rng()), frame);
  }
  return input;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  SetMinLogLevel(LogLevel::kFatal);
  World world;
  fuzz::ForEachMessage({data, size}, [&](uint8_t who, std::span<const uint8_t> bytes) {
    const size_t client = who % (World::kClients + 1);
    if (client == World::kClients) {
      world.Event(who >> 4);
    } else {
      world.Receive(client, bytes);
    }
  });
  world.LeaveAll();
  return 0;
}
