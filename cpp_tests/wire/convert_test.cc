// Wire structs and value types: the same bytes both ways; resources through a buffer.

#include "cyray/wire/convert.h"

#include <gtest/gtest.h>

#include "local_generated.h"

namespace cyray::wire {
namespace {

TEST(Convert, IdsKeepTheirBytes) {
  const NodeId node = NodeId::Random();
  const ObjectId object(TaskId::Random(), 3);
  const Address address{node, WorkerId::Random()};
  EXPECT_EQ(FromWire(*ToWire(node)), node);
  EXPECT_EQ(FromWire(*ToWire(object)), object);
  EXPECT_EQ(FromWire(*ToWire(address)), address);
}

TEST(Convert, AnAbsentIdIsNil) {
  EXPECT_TRUE(FromWireOrNil(static_cast<const WireNodeId*>(nullptr)).is_nil());
  const NodeId node = NodeId::Random();
  EXPECT_EQ(FromWireOrNil(ToWire(node)), node);
}

TEST(Convert, ResourcesComeBackAsTheyWere) {
  ResourceSet set;
  set.Set("CPU", 20'000);
  set.Set("node:127.0.0.1", 10'000);
  set.Set("debt", -5'000);
  flatbuffers::FlatBufferBuilder builder;
  const auto demand = ToWire(builder, set);
  RequestLeaseBuilder request(builder);
  request.add_demand(demand);
  builder.Finish(request.Finish());
  EXPECT_EQ(FromWire(flatbuffers::GetRoot<RequestLease>(builder.GetBufferPointer())->demand()),
            set);
}

TEST(Convert, AbsentResourcesAreNone) {
  EXPECT_TRUE(
      FromWire(static_cast<decltype(std::declval<RequestLease>().demand())>(nullptr)).empty());
}

}  // namespace
}  // namespace cyray::wire
