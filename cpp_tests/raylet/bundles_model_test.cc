// The GCS's GroupDirector and the nodes' BundleHosts against each other: groups come and go, nodes
// die, streams break with what was on them, the GCS dies with what was not on disk. When it is
// quiet again every living group has its bundles once and where it believes, and nothing else is
// kept.

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <random>

#include "cpp_tests/gcs/memory_storage.h"
#include "cyray/gcs/codec.h"
#include "cyray/gcs/group_director.h"
#include "cyray/raylet/bundle_host.h"
#include "cyray/raylet/node_resources.h"
#include "cyray/sim/virtual_runtime.h"
#include "cyray/wire/convert.h"

namespace cyray::raylet {
namespace {

ResourceSet Cpus(int64_t n) {
  ResourceSet set;
  set.Set(kCpu, n * kResourceUnit);
  return set;
}

// A raylet's leases, as far as bundles know them: claims wait in line for room.
class Leases : public BundleLeases {
 public:
  explicit Leases(int64_t cpus) : resources(Cpus(cpus)) {}
  void Claim(std::shared_ptr<const BundleClaim> claim) override {
    claims.push_back(std::move(claim));
  }
  void OpenBundles(const PlacementGroupId& group, uint64_t attempt) override {
    resources.Open(group, attempt);
  }
  void GiveBackBundles(const PlacementGroupId& group, uint64_t attempt) override {
    std::erase_if(claims, [&](const auto& claim) { return claim->attempt == attempt; });
    resources.GiveBack(group, attempt);
  }
  void EndGroup(const PlacementGroupId& group) override {
    std::erase_if(claims, [&](const auto& claim) { return claim->group == group; });
    for (auto it = tasks.begin(); it != tasks.end();) {
      const bool ends = GroupOf(it->resources) == group;
      if (ends) ending.push_back(*it);
      it = ends ? tasks.erase(it) : std::next(it);
    }
    resources.Close(group);
  }
  std::vector<PlacementGroupId> GroupsWaitedFor() const override { return {}; }

  std::vector<std::shared_ptr<const BundleClaim>> Serve() {
    std::vector<std::shared_ptr<const BundleClaim>> served;
    std::erase_if(claims, [&](const auto& claim) {
      if (!resources.Reserve(claim->group, claim->attempt, claim->bundles)) return false;
      served.push_back(claim);
      return true;
    });
    return served;
  }

  NodeResources resources;
  std::deque<std::shared_ptr<const BundleClaim>> claims;
  std::vector<Allocation> tasks;   // that run in bundles, or beside them
  std::vector<Allocation> ending;  // were told to end
};

struct Node {
  Node(NodeId name, int64_t cpus)
      : id(name), leases(cpus), host(&leases, [this](wire::Bytes report) {
          if (stream != 0) to_gcs.push_back(std::move(report));
        }) {}
  NodeId id;
  Leases leases;
  BundleHost host;
  uint64_t stream = 0;  // 0: none
  std::deque<wire::Bytes> to_gcs, to_node;
};

class World {
 public:
  explicit World(uint64_t seed) : time_(seed), random_(seed) {
    for (int i = 0; i < 4; ++i) AddNode();
    StartGcs();
  }

  void AddNode() {
    const NodeId id = NodeId::Random();
    nodes_[id] = std::make_unique<Node>(id, 2 + static_cast<int64_t>(random_() % 3));
    if (gcs_ != nullptr) Join(*nodes_[id]);
  }

  void StartGcs() {
    gcs_ = std::make_unique<Gcs>(this);
    for (auto& [id, node] : nodes_) Join(*node);
    ASSERT_TRUE(gcs_->groups.Load(gcs_->storage).ok());
    gcs_->groups.EndOnDeadNodes();
    gcs_->commit.End();
  }

  // What was not written is lost; so is what was on the streams.
  void KillGcs() {
    gcs_.reset();
    for (auto& [id, node] : nodes_) Disconnect(*node);
    if (nodes_.size() > 1 && random_() % 3 == 0)
      nodes_.erase(std::next(nodes_.begin(), Below(nodes_.size())));
    StartGcs();
  }

  void KillNode() {
    if (nodes_.size() < 2) return;
    const auto it = std::next(nodes_.begin(), Below(nodes_.size()));
    const NodeId id = it->first;
    gcs_->nodes.Kill(id, "killed");
    gcs_->streams.Unbind(it->second->stream);
    nodes_.erase(it);
    gcs_->groups.Apply(gcs_->groups.table().NodeDied(id));
    gcs_->commit.End();
  }

  void Register() {
    gcs::GroupSpec spec;
    spec.id = PlacementGroupId::Random();
    spec.creator = {NodeId::Random(), WorkerId::Random()};
    spec.policy = static_cast<wire::GroupPolicy>(random_() % 4);
    for (uint64_t i = 0; i <= random_() % 3; ++i) {
      spec.bundles.push_back(Cpus(1 + static_cast<int64_t>(random_() % 2)));
    }
    const auto actions = gcs_->groups.table().Register(spec);
    ASSERT_TRUE(actions.has_value());
    gcs_->groups.Apply(*actions);
    gcs_->commit.End();
  }

  void Remove() {
    const auto& groups = gcs_->groups.table().groups();
    if (groups.empty()) return;
    const PlacementGroupId id = std::next(groups.begin(), Below(groups.size()))->first;
    gcs_->groups.Apply(gcs_->groups.table().Remove(id));
    gcs_->commit.End();
  }

  // Something runs in a bundle, or beside all of them, and ends some time.
  void RunTask() {
    Leases& leases = AnyNode().leases;
    ResourceSet demand = Cpus(1);
    const auto& groups = leases.resources.groups();
    if (!groups.empty() && random_() % 2 == 0) {
      demand = InBundle(demand, std::next(groups.begin(), Below(groups.size()))->first, kAnyBundle);
    }
    if (auto task = leases.resources.Allocate(demand)) leases.tasks.push_back(*task);
  }
  void EndTask() {
    Leases& leases = AnyNode().leases;
    auto& from = leases.ending.empty() ? leases.tasks : leases.ending;
    if (from.empty()) return;
    leases.resources.Release(from.back());
    from.pop_back();
  }

  void Reconnect() {
    Node& node = AnyNode();
    gcs_->streams.Unbind(node.stream);
    Disconnect(node);
    Join(node);
  }

  // One message, or what a node or the disk has to do.
  void Step() {
    Node& node = AnyNode();
    switch (random_() % 4) {
      case 0:
        if (!node.to_node.empty()) Deliver(node);
        break;
      case 1:
        if (!node.to_gcs.empty()) {
          const wire::Bytes report = std::move(node.to_gcs.front());
          node.to_gcs.pop_front();
          OnReport(node, report);
        }
        break;
      case 2:
        for (const auto& claim : node.leases.Serve()) node.host.OnReserved(*claim);
        ReportResources(node);
        break;
      default:
        gcs_->storage.Sync();
        time_.RunFor(static_cast<int64_t>(random_() % 400) * 1'000'000);
    }
    for (const auto& [id, each] : nodes_) each->leases.resources.CheckInvariants();
    gcs_->groups.table().CheckInvariants();
  }

  // Everything is delivered, all tasks end, and what can be placed is.
  void Settle() {
    for (int round = 0; round < 60; ++round) {
      gcs_->storage.Sync();
      time_.RunFor(300'000'000);
      for (const auto& [id, node] : nodes_) {
        while (!node->to_node.empty()) Deliver(*node);
        for (auto* tasks : {&node->leases.tasks, &node->leases.ending}) {
          for (const Allocation& task : std::exchange(*tasks, {}))
            node->leases.resources.Release(task);
        }
        for (const auto& claim : node->leases.Serve()) node->host.OnReserved(*claim);
        while (!node->to_gcs.empty()) {
          const wire::Bytes report = std::move(node->to_gcs.front());
          node->to_gcs.pop_front();
          OnReport(*node, report);
        }
        ReportResources(*node);
      }
    }
  }

  void Check() {
    std::map<NodeId, ResourceSet> expected;
    for (const auto& [id, record] : gcs_->groups.table().groups()) {
      for (size_t i = 0; i < record.seats.size(); ++i) {
        const gcs::Seat& seat = record.seats[i];
        if (seat.node.is_nil()) continue;
        expected[seat.node].Add(record.spec.bundles[i]);
        ASSERT_TRUE(nodes_.contains(seat.node));
        const auto& groups = nodes_.at(seat.node)->leases.resources.groups();
        ASSERT_TRUE(groups.contains(id));
        int found = 0;
        for (const auto& reservation : groups.at(id)) {
          if (reservation.attempt != seat.attempt) continue;
          EXPECT_TRUE(reservation.open);
          found += static_cast<int>(reservation.bundles.count(static_cast<uint32_t>(i)));
        }
        EXPECT_EQ(found, 1);
      }
      if (!record.placed()) {
        EXPECT_FALSE(record.attempt.has_value()) << "an attempt goes on for ever";
        EXPECT_FALSE(record.waits.empty());
      }
    }
    for (const auto& [id, node] : nodes_) {
      EXPECT_EQ(node->leases.resources.reserved(), expected[id]) << "a bundle leaks";
    }
  }

 private:
  struct Gcs {
    explicit Gcs(World* world)
        : runtime(&world->time_),
          storage(&world->disk_),
          commit(&storage),
          streams(&commit,
                  [world](uint64_t stream, const wire::Bytes& message) {
                    for (const auto& [id, node] : world->nodes_) {
                      if (node->stream == stream) node->to_node.push_back(message);
                    }
                  }),
          groups(&runtime, &nodes, &streams, &commit,
                 {[](const PlacementGroupId&) {}, [](const PlacementGroupId&) {},
                  [](const JobId&, const std::string&) {},
                  [this](const NodeId& id) { return !streams.StreamOf(id).has_value(); },
                  [](const JobId&) { return true; }}) {}
    sim::VirtualRuntime runtime;
    gcs::MemoryStorage storage;
    gcs::Commit commit;
    gcs::NodeTable nodes;
    gcs::NodeStreams streams;
    gcs::GroupDirector groups;
  };

  size_t Below(size_t bound) { return random_() % bound; }
  Node& AnyNode() { return *std::next(nodes_.begin(), Below(nodes_.size()))->second; }
  static void Disconnect(Node& node) {
    node.stream = 0;
    node.to_gcs.clear();
    node.to_node.clear();
  }

  void Join(Node& node) {
    gcs::NodeEntry entry;
    entry.id = node.id;
    entry.total = entry.available = node.leases.resources.total();
    gcs_->nodes.Register(entry);
    node.stream = ++last_stream_;
    gcs_->streams.Bind(node.id, node.stream);
    flatbuffers::FlatBufferBuilder builder;
    const auto here = builder.CreateVector(node.host.WriteHere(builder));
    const auto groups = node.host.WriteWaitedFor(builder);
    node.to_gcs.push_front(
        gcs::FinishReport(builder, wire::CreateNodeHello(builder, wire::ToWire(node.id), 0, 0, 0, 0,
                                                         nullptr, 0, here, groups)));
  }

  void ReportResources(Node& node) {
    gcs_->nodes.SetResources(node.id, node.leases.resources.available(),
                             node.leases.resources.total(), 0);
    gcs_->groups.OnReport(node.id);
    gcs_->groups.PlaceWaiting();
    gcs_->commit.End();
  }

  void OnReport(Node& node, const wire::Bytes& bytes) {
    const auto* report = wire::VerifiedRoot<wire::NodeReport>(bytes);
    ASSERT_NE(report, nullptr);
    if (const auto* hello = report->body_as_NodeHello()) {
      gcs_->groups.OnHello(node.id, *hello);
      gcs_->groups.PlaceWaiting();
    } else if (const auto* reserved = report->body_as_BundlesReserved()) {
      gcs_->groups.OnReserved(node.id, *reserved);
    }
    gcs_->commit.End();
  }

  void Deliver(Node& node) {
    const wire::Bytes bytes = std::move(node.to_node.front());
    node.to_node.pop_front();
    const auto* command = wire::VerifiedRoot<wire::NodeCommand>(bytes);
    ASSERT_NE(command, nullptr);
    if (const auto* prepare = command->body_as_PrepareBundles()) node.host.OnPrepare(*prepare);
    if (const auto* commit = command->body_as_CommitBundles()) node.host.OnCommit(*commit);
    if (const auto* back = command->body_as_GiveBackBundles()) node.host.OnGiveBack(*back);
    if (const auto* gone = command->body_as_GroupGone()) node.host.OnGone(*gone);
  }

  sim::VirtualTime time_;
  std::mt19937_64 random_;
  gcs::MemoryDisk disk_;
  std::map<NodeId, std::unique_ptr<Node>> nodes_;
  std::unique_ptr<Gcs> gcs_;
  uint64_t last_stream_ = 0;
};

TEST(BundlesModel, NoDeathLeaksOrDoublesABundle) {
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    SCOPED_TRACE(seed);
    World world(seed);
    std::mt19937_64 random(seed);
    for (int step = 0; step < 600; ++step) {
      const uint64_t what = random() % 100;
      if (what < 3) {
        world.Register();
      } else if (what < 5) {
        world.Remove();
      } else if (what < 9) {
        world.RunTask();
      } else if (what < 14) {
        world.EndTask();
      } else if (what == 14) {
        world.Reconnect();
      } else if (what == 15 && random() % 4 == 0) {
        world.KillGcs();
      } else if (what == 16 && random() % 4 == 0) {
        world.KillNode();
        if (random() % 2 == 0) world.AddNode();
      } else {
        world.Step();
      }
      if (testing::Test::HasFatalFailure()) return;
    }
    world.Settle();
    world.Check();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace cyray::raylet
