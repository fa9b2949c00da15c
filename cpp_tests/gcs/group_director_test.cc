// Tests of GroupDirector in virtual time: where groups are tried, when an attempt is given up, and
// what becomes of who waits for a group that does not come.

#include "cyray/gcs/group_director.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "cpp_tests/gcs/memory_storage.h"
#include "cpp_tests/gcs/payloads.h"
#include "cyray/sim/virtual_runtime.h"

namespace cyray::gcs {
namespace {

constexpr int64_t kMs = 1'000'000;

PlacementGroupId NewGroupId(uint32_t job = 1) {
  PlacementGroupId id = PlacementGroupId::Random();
  std::memcpy(id.bytes.data() + PlacementGroupId::kSize - sizeof job, &job, sizeof job);
  return id;
}

class GroupDirectorTest : public ::testing::Test {
 protected:
  struct Sent {
    NodeId node;
    wire::NodeCommandBody type;
    uint64_t attempt;
  };

  GroupDirectorTest()
      : streams_(&commit_,
                 [this](uint64_t stream, const wire::Bytes& message) { OnSent(stream, message); }),
        director_(&runtime_, &nodes_, &streams_, &commit_,
                  {[](const PlacementGroupId&) {},
                   [this](const PlacementGroupId& group) { gone_.push_back(group); },
                   [](const JobId&, const std::string&) {}, [](const NodeId&) { return false; },
                   [this](const JobId&) { return running_; }}) {}

  void OnSent(uint64_t stream, const wire::Bytes& message) {
    const auto* command = wire::VerifiedRoot<wire::NodeCommand>(message);
    uint64_t attempt = 0;
    if (const auto* prepare = command->body_as_PrepareBundles()) attempt = prepare->attempt();
    if (const auto* back = command->body_as_GiveBackBundles()) attempt = back->attempt();
    sent_.push_back({*streams_.NodeOf(stream), command->body_type(), attempt});
  }
  // Ids rise, so that tests know which node is taken of two that are alike.
  NodeId Join(int64_t cpus) {
    NodeId id;
    id.bytes.fill(static_cast<uint8_t>(++joined_));
    nodes_.Register({.id = id, .total = Cpus(cpus), .available = Cpus(cpus)});
    streams_.Bind(id, joined_);
    return id;
  }
  void Report(const NodeId& node, int64_t available) {
    nodes_.SetResources(node, Cpus(available), nodes_.Find(node)->total, ++reports_);
    director_.OnReport(node);
    director_.OnRoom();
    End();
  }
  PlacementGroupId Register(std::vector<int64_t> bundles,
                            wire::GroupPolicy policy = wire::GroupPolicy::StrictSpread) {
    GroupSpec spec;
    spec.id = NewGroupId();
    spec.policy = policy;
    for (const int64_t cpus : bundles) spec.bundles.push_back(Cpus(cpus));
    const PlacementGroupId id = spec.id;
    director_.Apply(*director_.table().Register(std::move(spec)));
    End();
    return id;
  }
  void Reserve(const NodeId& node, const PlacementGroupId& group) {
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(wire::CreateBundlesReserved(builder, wire::ToWire(group),
                                               director_.table().Find(group)->attempt->id));
    director_.OnReserved(node,
                         *flatbuffers::GetRoot<wire::BundlesReserved>(builder.GetBufferPointer()));
    End();
  }
  void End() {
    commit_.End();
    storage_.Sync();
  }
  void Pass(int64_t ms) {
    for (int64_t i = 0; i < ms; i += 10) {
      time_.RunFor(10 * kMs);
      storage_.Sync();
    }
  }
  // Takes out what was sent of that type.
  std::vector<NodeId> Take(wire::NodeCommandBody type) {
    std::vector<NodeId> nodes;
    for (const Sent& sent : sent_) {
      if (sent.type == type) nodes.push_back(sent.node);
    }
    std::erase_if(sent_, [&](const Sent& sent) { return sent.type == type; });
    std::sort(nodes.begin(), nodes.end());
    return nodes;
  }
  std::vector<NodeId> Prepared() { return Take(wire::NodeCommandBody::PrepareBundles); }
  std::vector<NodeId> GivenBack() { return Take(wire::NodeCommandBody::GiveBackBundles); }
  void Shrink(const NodeId& node, int64_t cpus) {
    nodes_.SetResources(node, Cpus(0), Cpus(cpus), ++reports_);
    director_.OnReport(node);
    End();
  }

  sim::VirtualTime time_{1};
  sim::VirtualRuntime runtime_{&time_};
  MemoryDisk disk_;
  MemoryStorage storage_{&disk_};
  Commit commit_{&storage_};
  NodeTable nodes_;
  NodeStreams streams_;
  std::vector<Sent> sent_;
  std::vector<PlacementGroupId> gone_;
  bool running_ = true;
  uint64_t joined_ = 0;
  uint64_t reports_ = 0;
  GroupDirector director_;
};

using Nodes = std::vector<NodeId>;

TEST_F(GroupDirectorTest, WhatWasReservedCountsOnceInWhatTheNodeReports) {
  const NodeId first = Join(4);
  const NodeId second = Join(4);
  const auto both = Register({1, 1});
  EXPECT_EQ(Prepared().size(), 2u);
  // The first node reserves and reports long before the second does.
  Reserve(first, both);
  Report(first, 3);
  Reserve(second, both);
  Report(second, 0);  // tasks run there
  Register({3}, wire::GroupPolicy::Pack);
  EXPECT_EQ(Prepared(), Nodes{first});
}

TEST_F(GroupDirectorTest, AnAttemptThatWaitsInLineKeepsItsPlace) {
  const NodeId only = Join(4);
  Report(only, 0);
  Register({4}, wire::GroupPolicy::Pack);
  EXPECT_EQ(Prepared(), Nodes{only});
  Pass(30'000);
  EXPECT_TRUE(GivenBack().empty());
  EXPECT_TRUE(Prepared().empty());
}

TEST_F(GroupDirectorTest, AnAttemptGoesWhereThereIsRoomNow) {
  const NodeId full = Join(4);
  Report(full, 0);
  Register({4}, wire::GroupPolicy::Pack);
  EXPECT_EQ(Prepared(), Nodes{full});
  const NodeId empty = Join(4);
  director_.PlaceWaiting();
  Pass(3'000);
  EXPECT_EQ(GivenBack(), Nodes{full});
  EXPECT_EQ(Prepared(), Nodes{empty});
}

TEST_F(GroupDirectorTest, WhatIsReservedInVainIsGivenBackAndSlowNodesAreLeftOut) {
  const NodeId first = Join(4);
  const NodeId second = Join(4);
  const NodeId third = Join(4);
  Report(third, 1);
  const auto group = Register({2, 2});
  EXPECT_EQ(Prepared(), (Nodes{first, second}));
  Reserve(first, group);
  Report(first, 2);
  Report(third, 4);
  Pass(2'500);
  EXPECT_EQ(GivenBack(), (Nodes{first, second}));
  EXPECT_EQ(Prepared(), (Nodes{first, third})) << "the second was slow";
  Reserve(first, group);
  Reserve(third, group);
  EXPECT_TRUE(director_.table().Find(group)->placed());
  EXPECT_TRUE(director_.table().Find(group)->slow.empty());
}

TEST_F(GroupDirectorTest, ManyReportsHaveThoseThatWaitLookedAtOnce) {
  const NodeId node = Join(1);
  const auto first = Register({1}, wire::GroupPolicy::Pack);
  Prepared();
  Reserve(node, first);
  Report(node, 0);
  const auto second = Register({1}, wire::GroupPolicy::Pack);
  EXPECT_TRUE(Prepared().empty()) << "the first has it";
  Pass(300);
  director_.OnRoom();
  const auto removed = director_.table().Remove(first);
  director_.Apply(removed);
  for (int i = 0; i < 10; ++i) Report(node, 1);
  EXPECT_TRUE(Prepared().empty()) << "it was looked at just now";
  Pass(10);
  EXPECT_EQ(Prepared(), Nodes{node});
  EXPECT_TRUE(director_.table().Find(second)->attempt);
}

TEST_F(GroupDirectorTest, AGroupThatDoesNotComeIsGone) {
  const auto late = NewGroupId();
  director_.Await(late);
  Pass(1'000);
  EXPECT_TRUE(gone_.empty());
  running_ = false;  // nobody will register it any more
  Pass(1'000);
  EXPECT_EQ(gone_, (std::vector{late}));
}

TEST_F(GroupDirectorTest, AHelloPutsPromisesRight) {
  const NodeId node = Join(4);
  const auto group = Register({3}, wire::GroupPolicy::Pack);
  Prepared();
  // Its stream broke after it had reserved; what it said of that was lost.
  flatbuffers::FlatBufferBuilder builder;
  const auto here = builder.CreateVector({wire::CreateBundlesHere(
      builder, wire::ToWire(group), director_.table().Find(group)->attempt->id,
      wire::BundlesState::Reserved)});
  wire::NodeHelloBuilder hello(builder);
  hello.add_bundles(here);
  builder.Finish(hello.Finish());
  director_.OnHello(node, *flatbuffers::GetRoot<wire::NodeHello>(builder.GetBufferPointer()));
  End();
  EXPECT_TRUE(director_.table().Find(group)->placed());
  Report(node, 1);
  Register({1}, wire::GroupPolicy::Pack);
  EXPECT_EQ(Prepared(), Nodes{node});
}

TEST_F(GroupDirectorTest, AnAttemptMayKeepItsNodeAndPutTheRestWhereThereIsRoom) {
  const NodeId small = Join(4);
  Report(small, 1);
  Register({1, 1, 1}, wire::GroupPolicy::Pack);
  EXPECT_EQ(Prepared(), Nodes{small});
  const NodeId other = Join(2);
  director_.PlaceWaiting();
  Pass(3'000);
  EXPECT_EQ(GivenBack(), Nodes{small});
  EXPECT_EQ(Prepared().size(), 2u);
  (void)other;
}

TEST_F(GroupDirectorTest, AnAttemptThatCanNeverHaveItsRoomIsGivenUp) {
  const NodeId only = Join(4);
  Report(only, 0);
  const auto group = Register({4}, wire::GroupPolicy::Pack);
  EXPECT_EQ(Prepared(), Nodes{only});
  Shrink(only, 3);
  Pass(3'000);
  EXPECT_EQ(GivenBack(), Nodes{only});
  EXPECT_NE(director_.table().Find(group)->waits, "");
}

}  // namespace
}  // namespace cyray::gcs
