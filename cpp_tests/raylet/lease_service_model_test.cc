// LeaseService under virtual time: two nodes whose raylets, clients and workers are played, random
// operations against what clients may expect.
//
// Every request of a client that lives is answered once; nobody holds a worker that another one
// holds; when all have returned what they hold, both nodes have everything back and nothing waits.

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <random>
#include <set>

#include "cyray/raylet/lease_service.h"
#include "cyray/raylet/raylet_outbox.h"
#include "cyray/sim/virtual_runtime.h"
#include "cyray/sim/virtual_time.h"
#include "cyray/wire/convert.h"

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
  void Kill(const WorkerId& worker, const std::string&, bool) override { dying.insert(worker); }
  void Ensure(const std::map<WorkerUse, int>& wanted) override {
    for (const auto& [use, count] : wanted) starting = std::min(starting + count, 4);
  }
  int PidOf(const WorkerId&) const override { return 1; }

  void Round();
  void Ask(const WorkerId& client, const ResourceSet& demand);

  World* const world;
  NodeOptions options;
  std::vector<WorkerId> idle;
  std::set<WorkerId> busy, dying;
  int starting = 0;
  std::set<WorkerId> clients;
  sim::VirtualRuntime runtime;
  LeaseService leases;
};

class World {
 public:
  explicit World(uint64_t seed) : time(seed) {
    nodes.emplace_back(this, &time, 1);
    nodes.emplace_back(this, &time, 2);
    for (PlayedNode& node : nodes) Tell(node);
  }
  PlayedNode* Other(const PlayedNode* node) { return &nodes[node == &nodes[0] ? 1 : 0]; }
  uint64_t Draw(uint64_t bound) { return time.Below(bound); }
  // In order, some milliseconds later.
  void Deliver(PlayedNode* to, FrameType type, std::vector<uint8_t> body) {
    int64_t& last = arrives[to];
    last = std::max(last, time.now_ns() + static_cast<int64_t>(Draw(5 * kMs)));
    time.At(last, [this, to, type, body = std::move(body)] { Receive(to, type, body); });
  }
  // What the node has, for the other one.
  void Tell(PlayedNode& node) {
    Other(&node)->leases.SetNodeView(node.options.node_id, node.options.resources,
                                     node.leases.scheduler().resources().available());
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
  std::map<PlayedNode*, int64_t> arrives;
  std::map<std::pair<WorkerId, uint64_t>, PlayedNode*> waiting;  // requests without an answer
  std::vector<Held> held;
  uint64_t granted = 0, cancelled = 0, broken = 0, forwarded = 0;
  uint64_t next_request = 1;
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
      leases({&runtime, &options, this, this},
             {[](const LeaseGrant&) { FAIL(); },
              [](const RequestKey&, const std::string&) { FAIL(); }, [] {}}) {
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
    const uint64_t lease = Read<wire::LeaseBroken>(body)->lease_id();
    world->broken += std::erase_if(world->held, [&](const World::Held& one) {
      return one.client == client && one.lease == lease;
    });
  }
  return true;
}

void PlayedNode::Round() {
  for (; starting > 0; --starting) {
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

void Step(World& world) {
  PlayedNode& node = world.nodes[world.Draw(2)];
  const auto client = std::next(node.clients.begin(), static_cast<long>(world.Draw(3)));
  switch (world.Draw(8)) {
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
        FlatBufferBuilder builder;
        builder.Finish(wire::CreateCancelLease(builder, id));
        EXPECT_TRUE(it->second->leases.OnCancelLease(
            of, flatbuffers::GetRoot<wire::CancelLease>(builder.GetBufferPointer())));
      }
      return;
    case 6:
      world.Tell(node);
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
    if (HasFailure()) return;
  }
  for (int64_t left = 60'000; left > 0 && (!world.waiting.empty() || !world.held.empty()); --left) {
    while (!world.held.empty()) Return(world, 0, false);
    world.RunFor(10);
    for (PlayedNode& node : world.nodes) world.Tell(node);
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
}

INSTANTIATE_TEST_SUITE_P(Seeds, LeaseServiceModel, ::testing::Range<uint64_t>(1, 21));

}  // namespace
}  // namespace cyray::raylet
