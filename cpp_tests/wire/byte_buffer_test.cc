// ByteBuffer: what it keeps through growth; no bytes need no address (UBSan says when they do).

#include "cyray/wire/byte_buffer.h"

#include <gtest/gtest.h>

#include <string>

namespace cyray::wire {
namespace {

std::string TextOf(const ByteBuffer& buffer) {
  return {reinterpret_cast<const char*>(buffer.data()), buffer.size()};
}

TEST(ByteBuffer, NoBytesFromNowhereMayBeAppendedAndTaken) {
  ByteBuffer buffer;
  buffer.append(nullptr, 0);
  buffer.consume(0);
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.capacity(), 0u);
}

TEST(ByteBuffer, WhatWasAppendedOutlivesGrowthAndTaking) {
  ByteBuffer buffer;
  const std::string many(10'000, 'b');
  buffer.append("a", 1);
  buffer.append(many.data(), many.size());
  buffer.append("c", 1);
  buffer.consume(1);
  EXPECT_EQ(TextOf(buffer), many + "c");
  buffer.consume(many.size());
  EXPECT_EQ(TextOf(buffer), "c");
}

}  // namespace
}  // namespace cyray::wire
