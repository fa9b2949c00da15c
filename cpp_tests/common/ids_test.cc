// Ids: hex both ways, layout, order, hashing.

#include "cyray/common/ids.h"

#include <gtest/gtest.h>

#include <set>
#include <unordered_set>

namespace cyray {
namespace {

TEST(Ids, HexAndBackGivesTheSameId) {
  const NodeId id = NodeId::Random();
  EXPECT_EQ(id.Hex().size(), 40u);
  EXPECT_EQ(NodeId::FromHex(id.Hex()), id);
}

TEST(Ids, UpperCaseHexIsRead) { EXPECT_EQ(JobId::FromHex("0A0B0C0D"), JobId::FromHex("0a0b0c0d")); }

TEST(Ids, WhatIsNotExactlyHexIsRefused) {
  EXPECT_EQ(JobId::FromHex(""), std::nullopt);
  EXPECT_EQ(JobId::FromHex("0a0b0c0"), std::nullopt);
  EXPECT_EQ(JobId::FromHex("0a0b0c0d0e"), std::nullopt);
  EXPECT_EQ(JobId::FromHex("0a0b0c0g"), std::nullopt);
  EXPECT_EQ(JobId::FromHex(std::string_view("0a0b\0c0d", 8)), std::nullopt);
}

TEST(Ids, OnlyTheZeroIdIsNil) {
  EXPECT_TRUE(WorkerId::Nil().is_nil());
  EXPECT_TRUE(WorkerId().is_nil());
  EXPECT_FALSE(WorkerId::Random().is_nil());
}

TEST(Ids, RandomOnesDiffer) {
  std::set<WorkerId> seen;
  for (int i = 0; i < 10'000; ++i) seen.insert(WorkerId::Random());
  EXPECT_EQ(seen.size(), 10'000u);
}

TEST(ObjectId, IsItsTaskAndIndex) {
  const TaskId task = TaskId::Random();
  const ObjectId object(task, 0x01020304);
  EXPECT_EQ(object.task(), task);
  EXPECT_EQ(object.index(), 0x01020304u);
  EXPECT_EQ(object.Hex().size(), 40u);
  EXPECT_EQ(object.Hex().substr(32), "04030201");  // little endian
  EXPECT_NE(object, ObjectId(task, 0x01020305));
}

TEST(ObjectId, CountingIdsSpreadOverBuckets) {
  // Ids of one process differ in a counter alone; a table indexed by the low bits must not pile up.
  TaskId task = TaskId::Random();
  std::unordered_set<size_t> low_bits;
  for (uint32_t i = 0; i < 4096; ++i) {
    std::memcpy(task.bytes.data() + 6, &i, sizeof i);
    low_bits.insert(std::hash<ObjectId>()(ObjectId(task, 1)) % 4096);
  }
  EXPECT_GT(low_bits.size(), 2000u);  // random placement fills about 2,590
}

TEST(ObjectId, ReturnsOfOneTaskSpreadOverBuckets) {
  const TaskId task = TaskId::Random();
  std::unordered_set<size_t> low_bits;
  for (uint32_t i = 1; i <= 4096; ++i) {
    low_bits.insert(std::hash<ObjectId>()(ObjectId(task, i)) % 4096);
  }
  EXPECT_GT(low_bits.size(), 2000u);
}

TEST(Address, IsNilWithoutAWorker) {
  EXPECT_TRUE(Address().is_nil());
  EXPECT_TRUE((Address{NodeId::Random(), WorkerId::Nil()}).is_nil());
  EXPECT_FALSE((Address{NodeId::Nil(), WorkerId::Random()}).is_nil());
}

}  // namespace
}  // namespace cyray
