// Value and ValuePtr: bytes, alignment, counts.

#include "cyray/core/value.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace cyray::core {
namespace {

TEST(Value, HoldsAnySizeOfBytesAndAlignsWhatMayHoldBuffers) {
  for (size_t size : {0, 1, 16, 127, 128, 129, 1'000, 102'400}) {
    const std::string bytes(size, 'b');
    ValuePtr value(Value::Copy(bytes.data(), bytes.size()));
    ASSERT_EQ(value->size(), size);
    EXPECT_EQ(std::memcmp(value->data(), bytes.data(), size), 0);
    if (size >= 128) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(value->data()) % 64, 0u) << size;
    }
  }
}

TEST(ValuePtr, CopiesShareAndTheLastOneFrees) {
  ValuePtr first(Value::Copy("abc", 3));
  ValuePtr second = first;
  ValuePtr third;
  third = second;
  EXPECT_EQ(first.get(), third.get());
  first = {};
  second = std::move(third);
  EXPECT_FALSE(third);
  EXPECT_EQ(std::memcmp(second->data(), "abc", 3), 0);
}

TEST(ValuePtr, ReleaseGivesTheReferenceAway) {
  ValuePtr pointer(Value::New(1));
  Value* value = pointer.release();
  EXPECT_FALSE(pointer);
  value->Unref();
}

TEST(ValuePtr, CountsFromManyThreadsEndAtZeroOnce) {
  ValuePtr shared(Value::Copy("abc", 3));
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([copy = shared] {
      for (int j = 0; j < 10'000; ++j) ValuePtr another = copy;
    });
  }
  shared = {};
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace cyray::core
