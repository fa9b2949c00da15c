// LeaseService under virtual time: two nodes whose raylets, clients and workers are played, random
// operations against what clients may expect.
//
// Every request of a client that lives is answered once; nobody holds a worker that another one
// holds; what a node knows of the other one is true when all has arrived; when all have returned
// what they hold, both nodes have everything back and nothing waits.

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <random>
#include <set>

#include "cyray/raylet/lease_service.h"
#include "cyray/raylet/raylet_outbox.h"
#include "cyray/raylet/resource_reporter.h"
#include "cyray/sim/virtual_runtime.h"
#include "cyray/sim/virtual_time.h"
#include "cyray/wire/bytes.h"
#include "cyray/wire/convert.h"
#include "gcs_generated.h"

namespace cyray::raylet {
namespace {

using flatbuffers::FlatBufferBuilder;
using wire::FrameType;
using wire::ToWire;

const JobId kJob = JobId::FromBytes("job1");
constexpr int64_t kMs = 1'000'000;

ResourceSet Cpus(int64_t tenths) {
  ResourceSet set;
  set.Set("CPU", tenths * kResourceUnit / 10);
  return set;
}

template <class Table>
const Table* Read(const std::vector<uint8_t>& body) {
  return wire::Frame{FrameType::kRequestLease, body.data(), static_cast<uint32_t>(body.size()), {}}
      .As<Table>();
}

class World;

// A node: its lease service, and all that the service speaks to.
class PlayedNode : public LeaseOutbox, public LeaseWorkers {
 public:
  PlayedNode(World* world, sim::VirtualTime* time, uint8_t number);

  bool ToClient(const WorkerId& client, FrameType type, const FlatBufferBuilder& builder) override;
  bool ToNode(const NodeId& node, FrameType type, const FlatBufferBuilder& builder) override;
  bool ToNodeBehindRelays(const Address& process, FrameType type,
                          const FlatBufferBuilder& builder) override {
    return ToNode(process.node, type, builder);
  }
  void Warn(const JobId&, const std::string&) override {}

  std::optional<WorkerId> Take(const WorkerUse&, bool) override {
    if (idle.empty()) return std::nullopt;
    const WorkerId worker = idle.back();
    idle.pop_back();
    EXPECT_TRUE(busy.insert(worker).second) << "somebody has it";
    return worker;
  }
  void PutBack(const WorkerId& worker) override {
    EXPECT_EQ(busy.erase(worker), 1u);
    idle.push_back(worker);
    leases.Touch();
  }
  void OnExiting(const WorkerId& worker, bool, const std::string&) override { Kill(worker, "", 1); }
  bool Retires(const WorkerId&) const override { return false; }
  void Kill(const WorkerId& worker, const std::string&, bool) override { dying.insert(worker); }
  void Ensure(const std::map<WorkerUse, int>& wanted) override {
    for (const auto& [use, count] : wanted) starting = std::min(starting + count, 4);
  }
  int PidOf(const WorkerId&) const override { return 1; }

  void Round();
  void Ask(const WorkerId& client, const ResourceSet& demand);

  World* const world;
  NodeOptions options;
  bool starts_workers = true;
  std::vector<WorkerId> idle;
  std::set<WorkerId> busy, dying;
  int starting = 0;
  std::set<WorkerId> clients;
  uint64_t reported = 0;  // the number of the resources that the other one was told of last
  sim::VirtualRuntime runtime;
  LeaseService leases;
  ResourceReporter reporter;
};

class World {
 public:
  explicit World(uint64_t seed) : time(seed) {
    nodes.emplace_back(this, &time, 1);
    nodes.emplace_back(this, &time, 2);
    for (PlayedNode& node : nodes) node.reporter.OnUp();
    RunFor(100);
  }
  PlayedNode* Other(const PlayedNode* node) { return &nodes[node == &nodes[0] ? 1 : 0]; }
  uint64_t Draw(uint64_t bound) { return time.Below(bound); }
  // In order, some milliseconds later, now and then more than the news of resources take.
  void Deliver(PlayedNode* to, FrameType type, std::vector<uint8_t> body) {
    Arrive(frames[to], Draw(20) == 0 ? 100 : 5,
           [this, to, type, body = std::move(body)] { Receive(to, type, body); });
  }
  // By way of the GCS, which tells of other resources only.
  void Report(PlayedNode& node, const wire::Bytes& bytes) {
    const auto* report = wire::VerifiedRoot<wire::NodeReport>(bytes)->body_as_ResourceReport();
    if (std::exchange(node.reported, report->number()) == report->number()) return;
    Arrive(
        reports[&node], 60,
        [to = Other(&node), id = node.options.node_id, number = report->number(),
         total = wire::FromWire(report->total()), available = wire::FromWire(report->available())] {
          to->leases.SetNodeView(id, total, available, number);
        });
  }
  // What both have, when nothing changes any more and all has arrived.
  void CheckViews() {
    RunFor(200);
    const auto sum = [this] {
      ResourceSet available = nodes[0].leases.scheduler().resources().available();
      available.Add(nodes[1].leases.scheduler().resources().available());
      return available;
    };
    const ResourceSet available = sum();
    const uint64_t grants = granted;
    RunFor(20);
    if (under_way > 0 || grants != granted || available != sum()) return;
    for (const PlayedNode& node : nodes) {
      if (!node.leases.forwards().empty()) continue;
      EXPECT_EQ(node.leases.scheduler().ClusterAvailable().ToString(), available.ToString());
      ++checked;
    }
  }
  void Receive(PlayedNode* to, FrameType type, const std::vector<uint8_t>& body) {
    const NodeId from = Other(to)->options.node_id;
    switch (type) {
      case FrameType::kForwardLease:
        return to->leases.OnForwardLease(from, *Read<wire::ForwardLease>(body));
      case FrameType::kForwardLeaseReply:
        return to->leases.OnForwardLeaseReply(from, *Read<wire::ForwardLeaseReply>(body));
      case FrameType::kForwardReturnLease:
        return to->leases.OnForwardReturnLease(from, *Read<wire::ForwardReturnLease>(body));
      case FrameType::kForwardCancel:
        return to->leases.OnForwardCancel(from, *Read<wire::ForwardCancel>(body));
      case FrameType::kForwardReclaim:
        return to->leases.OnForwardReclaim(from, *Read<wire::ForwardReclaim>(body));
      case FrameType::kForwardBroken:
        return to->leases.OnForwardBroken(from, *Read<wire::ForwardBroken>(body));
      default:
        FAIL() << static_cast<int>(type);
    }
  }
  void RunFor(int64_t ms) {
    for (int64_t i = 0; i < ms; ++i) {
      time.RunFor(kMs);
      for (PlayedNode& node : nodes) node.Round();
    }
  }

  struct Held {
    PlayedNode* node;  // of the client
    WorkerId client;
    uint64_t lease;
    Address worker;
  };
  sim::VirtualTime time;
  std::deque<PlayedNode> nodes;
  std::map<PlayedNode*, int64_t> frames, reports;  // when the last of them arrives
  int under_way = 0;
  std::map<std::pair<WorkerId, uint64_t>, PlayedNode*> waiting;  // requests without an answer
  std::vector<Held> held;
  uint64_t granted = 0, cancelled = 0, broken = 0, forwarded = 0, checked = 0;
  uint64_t next_request = 1;

 private:
  // In order, at most so much later.
  void Arrive(int64_t& last, uint64_t limit_ms, std::function<void()> event) {
    last = std::max(last, time.now_ns() + static_cast<int64_t>(Draw(limit_ms * kMs)));
    ++under_way;
    time.At(last, [this, event = std::move(event)] {
      --under_way;
      event();
    });
  }
};

PlayedNode::PlayedNode(World* w, sim::VirtualTime* time, uint8_t number)
    : world(w),
      options([&] {
        NodeOptions made;
        made.node_id.bytes.fill(number);
        made.resources = Cpus(40);
        return made;
      }()),
      runtime(time),
      leases(
          {&runtime, &options, this, this},
          {[](const LeaseGrant&) { FAIL(); }, [](const RequestKey&, const std::string&) { FAIL(); },
           [this] { reporter.OnChanged(); }, [this] { return reporter.Next(); }}),
      reporter(&runtime, &leases,
               [this](const wire::Bytes& report) { world->Report(*this, report); }) {
  for (uint8_t i = 0; i < 3; ++i) {
    WorkerId client;
    client.bytes.fill(static_cast<uint8_t>(10 * number + i));
    clients.insert(client);
  }
}

bool PlayedNode::ToNode(const NodeId& node, FrameType type, const FlatBufferBuilder& builder) {
  PlayedNode* const other = world->Other(this);
  EXPECT_EQ(node, other->options.node_id);
  world->forwarded += type == FrameType::kForwardLease ? 1 : 0;
  world->Deliver(other, type,
                 {builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize()});
  return true;
}

bool PlayedNode::ToClient(const WorkerId& client, FrameType type,
                          const FlatBufferBuilder& builder) {
  if (!clients.contains(client)) return false;
  const std::vector<uint8_t> body{builder.GetBufferPointer(),
                                  builder.GetBufferPointer() + builder.GetSize()};
  if (type == FrameType::kLeaseReply) {
    const auto* reply = Read<wire::LeaseReply>(body);
    EXPECT_EQ(world->waiting.erase({client, reply->request_id()}), 1u) << "answered twice";
    ++(reply->ok() ? world->granted : world->cancelled);
    if (reply->ok()) {
      world->held.push_back(
          {this, client, reply->lease_id(), wire::FromWireOrNil(reply->worker())});
    }
  } else if (type == FrameType::kLeaseBroken) {
    const auto* lease = Read<wire::LeaseBroken>(body);
    world->broken += std::erase_if(world->held, [&](const World::Held& one) {
      return one.client == client && one.lease == lease->lease_id() &&
             one.worker == wire::FromWireOrNil(lease->worker());
    });
  }
  return true;
}

void PlayedNode::Round() {
  for (; starts_workers && starting > 0; --starting) {
    WorkerId worker;
    for (uint8_t& byte : worker.bytes) byte = static_cast<uint8_t>(world->Draw(256));
    idle.push_back(worker);
    leases.Touch();
  }
  for (const WorkerId& worker : std::exchange(dying, {})) {
    busy.erase(worker);
    leases.OnProcessDied(worker, "it died");
  }
  leases.ScheduleIfTouched();
  leases.scheduler().CheckInvariants();
}

void PlayedNode::Ask(const WorkerId& client, const ResourceSet& demand) {
  const uint64_t id = world->next_request++;
  world->waiting[{client, id}] = this;
  FlatBufferBuilder builder;
  const auto amounts = ToWire(builder, demand);
  builder.Finish(wire::CreateRequestLease(builder, id, amounts));
  EXPECT_TRUE(leases.OnRequestLease(
      client, kJob, flatbuffers::GetRoot<wire::RequestLease>(builder.GetBufferPointer())));
}

void Return(World& world, size_t which, bool exiting) {
  const World::Held one = world.held[which];
  world.held.erase(world.held.begin() + static_cast<long>(which));
  FlatBufferBuilder builder;
  builder.Finish(wire::CreateReturnLease(builder, one.lease, ToWire(one.worker), exiting));
  EXPECT_TRUE(one.node->leases.OnReturnLease(
      one.client, flatbuffers::GetRoot<wire::ReturnLease>(builder.GetBufferPointer())));
}

void CancelRequest(PlayedNode& node, const WorkerId& client, uint64_t id) {
  FlatBufferBuilder builder;
  builder.Finish(wire::CreateCancelLease(builder, id));
  EXPECT_TRUE(node.leases.OnCancelLease(
      client, flatbuffers::GetRoot<wire::CancelLease>(builder.GetBufferPointer())));
}

void Step(World& world) {
  PlayedNode& node = world.nodes[world.Draw(2)];
  const auto client = std::next(node.clients.begin(), static_cast<long>(world.Draw(3)));
  switch (world.Draw(7)) {
    case 0:
    case 1:
    case 2:
      if (world.waiting.size() < 40)
        node.Ask(*client, Cpus(1 + static_cast<int64_t>(world.Draw(20))));
      return;
    case 3:
    case 4:
      if (!world.held.empty()) Return(world, world.Draw(world.held.size()), world.Draw(8) == 0);
      return;
    case 5:
      if (!world.waiting.empty() && world.Draw(3) == 0) {
        auto it =
            std::next(world.waiting.begin(), static_cast<long>(world.Draw(world.waiting.size())));
        const auto [of, id] = it->first;
        CancelRequest(*it->second, of, id);
      }
      return;
    default:
      if (!node.busy.empty() && world.Draw(6) == 0) node.dying.insert(*node.busy.begin());
  }
}

class LeaseServiceModel : public ::testing::TestWithParam<uint64_t> {};

TEST_P(LeaseServiceModel, EachRequestIsAnsweredOnceAndEverythingComesBack) {
  World world(GetParam());
  for (int i = 0; i < 4000; ++i) {
    Step(world);
    world.RunFor(static_cast<int64_t>(world.Draw(3)));
    if (i % 100 == 0) world.CheckViews();
    if (HasFailure()) return;
  }
  for (int64_t left = 60'000; left > 0 && (!world.waiting.empty() || !world.held.empty()); --left) {
    while (!world.held.empty()) Return(world, 0, false);
    world.RunFor(10);
  }
  EXPECT_TRUE(world.waiting.empty()) << world.waiting.size();
  world.RunFor(2000);
  for (PlayedNode& node : world.nodes) {
    EXPECT_EQ(node.leases.scheduler().resources().available(), node.options.resources);
    EXPECT_EQ(node.leases.scheduler().lease_count(), 0u);
    EXPECT_TRUE(node.leases.forwards().empty());
    EXPECT_TRUE(node.busy.empty());
    EXPECT_TRUE(node.leases.pending_demands().empty());
  }
  EXPECT_GT(world.granted, 500u);
  EXPECT_GT(world.cancelled, 10u);
  EXPECT_GT(world.broken, 10u);
  EXPECT_GT(world.forwarded, 50u);
  EXPECT_GT(world.checked, 5u);
}

TEST(LeaseServiceOfTwo, WhoWaitsForWhatWasPromisedToACancelledForwardGoesThere) {
  World world(1);
  PlayedNode& here = world.nodes[0];
  world.nodes[1].starts_workers = false;
  const auto client = here.clients.begin();
  const uint64_t first = world.next_request;
  for (int i = 0; i < 3; ++i) {  // served, waits for a worker there, waits here
    here.Ask(*std::next(client, i), Cpus(40));
    world.RunFor(20);
  }
  EXPECT_EQ(world.granted, 1u);
  world.RunFor(10'000);  // time alone changes nothing any more
  EXPECT_EQ(world.forwarded, 1u);
  CancelRequest(here, *std::next(client, 1), first + 1);
  world.RunFor(20);
  EXPECT_EQ(world.forwarded, 2u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, LeaseServiceModel, ::testing::Range<uint64_t>(1, 21));

}  // namespace
}  // namespace cyray::raylet
