// Tests of the names that bundles have among the resources of a node.

#include "cyray/common/bundle_names.h"

#include <gtest/gtest.h>

namespace cyray {
namespace {

PlacementGroupId Group(uint8_t n) {
  PlacementGroupId id;
  id.bytes.fill(n);
  return id;
}

ResourceSet Set(std::initializer_list<std::pair<const char*, int64_t>> amounts) {
  ResourceSet set;
  for (const auto& [name, amount] : amounts) set.Set(name, amount * kResourceUnit);
  return set;
}

TEST(BundleNames, ABundleCoversWhatAsksForItOrForAny) {
  const ResourceSet node = OfBundle(Set({{"CPU", 2}, {"Disk", 1}}), Group(1), 0);
  EXPECT_TRUE(node.Covers(InBundle(Set({{"CPU", 2}}), Group(1), 0)));
  EXPECT_TRUE(node.Covers(InBundle(Set({{"CPU", 1}, {"Disk", 1}}), Group(1), kAnyBundle)));
  EXPECT_TRUE(node.Covers(InBundle({}, Group(1), 0)));
  EXPECT_FALSE(node.Covers(InBundle(Set({{"CPU", 3}}), Group(1), kAnyBundle)));
  EXPECT_FALSE(node.Covers(InBundle(Set({{"CPU", 1}}), Group(1), 1))) << "another bundle";
  EXPECT_FALSE(node.Covers(InBundle({}, Group(2), kAnyBundle))) << "another group";
}

TEST(BundleNames, TheGroupIsReadFromADemand) {
  EXPECT_EQ(GroupOf(InBundle(Set({{"CPU", 1}}), Group(7), 12)), Group(7));
  EXPECT_EQ(GroupOf(InBundle({}, Group(7), kAnyBundle)), Group(7));
  EXPECT_EQ(GroupOf(Set({{"CPU", 1}})), std::nullopt);
  EXPECT_EQ(GroupOf(Set({{"bundle_group_", 1}, {"bundle_group_7", 1}})), std::nullopt);
}

TEST(BundleNames, PeopleReadWhatTheyAskedFor) {
  const ResourceSet demand = Set({{"CPU", 2}, {"my_group_x", 1}});
  EXPECT_EQ(WithoutBundles(InBundle(demand, Group(1), 3)), demand);
  EXPECT_EQ(WithoutBundles(InBundle(demand, Group(1), kAnyBundle)), demand);
  EXPECT_EQ(WithoutBundles(demand), demand);
  ResourceSet both = demand;
  both.Add(OfBundle(demand, Group(1), 0));
  EXPECT_EQ(OutsideBundles(both), demand);
}

TEST(BundleNames, BaseNames) {
  EXPECT_EQ(BaseName("CPU"), "CPU");
  EXPECT_EQ(BaseName("CPU_group_" + Group(1).Hex()), "CPU");
  EXPECT_EQ(BaseName("a_group_b_group_3_" + Group(1).Hex()), "a_group_b");
  EXPECT_EQ(BaseName("CPU_group__" + Group(1).Hex()), "CPU_group__" + Group(1).Hex());
  EXPECT_FALSE(IsOfBundle(Group(1).Hex()));
  EXPECT_FALSE(IsOfBundle("3_" + Group(1).Hex()));
}

}  // namespace
}  // namespace cyray
