// Arena and ArenaMapping on real shared memory: what getters cannot do, and what writers may rely
// on.

#include "cyray/store/arena.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstring>

#include "cpp_tests/util/process_limit.h"
#include "cyray/store/arena_mapping.h"

namespace cyray::store {
namespace {

constexpr uint64_t kMiB = 1 << 20;

std::unique_ptr<ArenaMapping> MapOf(const Arena& arena) {
  return *ArenaMapping::Map(*arena.DuplicateReadOnly(), *arena.DuplicateReadWrite(),
                            arena.capacity_bytes());
}

TEST(Arena, AReadOnlyMappingCannotBecomeWritable) {
  const Arena arena = *Arena::Create(kMiB);
  const UniqueFd fd = *arena.DuplicateReadOnly();
  void* base = mmap(nullptr, kMiB, PROT_READ, MAP_SHARED, fd.get(), 0);
  ASSERT_NE(base, MAP_FAILED);
  EXPECT_NE(mprotect(base, kMiB, PROT_READ | PROT_WRITE), 0);
  EXPECT_EQ(mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0), MAP_FAILED);
  EXPECT_LT(pwrite(fd.get(), "x", 1, 0), 0);
  munmap(base, kMiB);
}

TEST(Arena, ItCanNeitherShrinkNorGrow) {
  const Arena arena = *Arena::Create(kMiB);
  const UniqueFd fd = *arena.DuplicateReadWrite();
  EXPECT_NE(ftruncate(fd.get(), 4096), 0);
  EXPECT_NE(ftruncate(fd.get(), 2 * kMiB), 0);
}

TEST(Arena, ALargeCapacityCostsNoMemoryUntilUsed) {
  const Arena arena = *Arena::Create(uint64_t{64} << 30);
  const UniqueFd fd = *arena.DuplicateReadOnly();
  struct stat info;
  ASSERT_EQ(fstat(fd.get(), &info), 0);
  EXPECT_EQ(info.st_blocks, 0);
}

TEST(Arena, WarmingAheadStopsAtItsGoal) {
  Arena arena = *Arena::Create(200 * kMiB);
  int rounds = 0;
  while (arena.WarmSome(0) && rounds < 1000) ++rounds;
  EXPECT_LT(rounds, 100);
  EXPECT_LE(arena.backed_end(), 70 * kMiB);
}

TEST(Arena, AMappingThatALimitOfTheProcessForbidsNamesIt) {
  if (kIsSanitized) GTEST_SKIP();
  const Arena arena = *Arena::Create(uint64_t{64} << 30);
  UniqueFd read_only = *arena.DuplicateReadOnly(), read_write = *arena.DuplicateReadWrite();
  const auto mapping = [&] {
    const ProcessLimit low(RLIMIT_AS, uint64_t{32} << 30);
    return ArenaMapping::Map(std::move(read_only), std::move(read_write), arena.capacity_bytes());
  }();
  ASSERT_FALSE(mapping.has_value());
  EXPECT_NE(mapping.error().message().find("may have 34359738368 bytes (RLIMIT_AS, `ulimit -v`)"),
            std::string::npos)
      << mapping.error().message();
}

TEST(Arena, WhatCannotFitIntoTheMachineIsRefused) {
  Arena arena = *Arena::Create(uint64_t{1} << 44);
  EXPECT_EQ(arena.Back(0, uint64_t{1} << 43).code(), StatusCode::kObjectStoreFull);
}

TEST(ArenaMapping, WhatIsWrittenIsRead) {
  Arena arena = *Arena::Create(8 * kMiB);
  const auto mapping = MapOf(arena);
  ASSERT_TRUE(mapping->PrepareWrite(100'032, 3 * kMiB).ok());
  std::memset(mapping->write(100'032), 7, 3 * kMiB);
  mapping->PrepareRead(100'032, 3 * kMiB);
  EXPECT_EQ(*mapping->read(100'032 + 3 * kMiB - 1), 7);
  EXPECT_TRUE(mapping->PrepareWrite(100'032, 3 * kMiB).ok());
}

TEST(ArenaMapping, RangesOutsideAreRefused) {
  const Arena arena = *Arena::Create(kMiB);
  const auto mapping = MapOf(arena);
  EXPECT_FALSE(mapping->PrepareWrite(kMiB, 1).ok());
  EXPECT_FALSE(mapping->PrepareWrite(64, ~uint64_t{0}).ok());
  EXPECT_FALSE(mapping->MapPrivate(kMiB - 1, 2));
  EXPECT_TRUE(mapping->Contains(kMiB, 0));
}

TEST(ArenaMapping, APrivateViewIsWritableAndChangesNothingElse) {
  const Arena arena = *Arena::Create(kMiB);
  const auto mapping = MapOf(arena);
  ASSERT_TRUE(mapping->PrepareWrite(64, 10'000).ok());
  std::memset(mapping->write(64), 1, 10'000);
  WritableView view = *mapping->MapPrivate(64, 10'000);
  ASSERT_EQ(view.bytes(), 10'000u);
  EXPECT_EQ(view.data()[9'999], 1);
  std::memset(view.data(), 2, 10'000);
  EXPECT_EQ(*mapping->read(64), 1);
  WritableView moved = std::move(view);
  EXPECT_EQ(moved.data()[0], 2);
}

TEST(ArenaMapping, WhatIsKeptAtTheEndStaysThereAsItIs) {
  const Arena arena = *Arena::Create(8 * kMiB);
  const auto writer = MapOf(arena);
  const auto leaving = MapOf(arena);
  ASSERT_TRUE(writer->PrepareWrite(0, 8 * kMiB).ok());
  std::memset(writer->write(0), 1, 8 * kMiB);
  const uint8_t* first = leaving->read(100'032);
  const uint8_t* second = leaving->read(5 * kMiB + 64);
  WritableView mine = *leaving->MapPrivate(2 * kMiB, kMiB);
  mine.data()[0] = 9;
  mine.Detach();
  // Ranges in any order, overlapping, and up to the end of the arena.
  leaving->Detach({{5 * kMiB + 64, 3 * kMiB - 64}, {100'032, 10'000}, {101'000, 64}});
  std::memset(writer->write(0), 2, 8 * kMiB);
  EXPECT_EQ(first[0], 1);
  EXPECT_EQ(first[9'999], 1);
  EXPECT_EQ(second[0], 1);
  EXPECT_EQ(leaving->read(0)[8 * kMiB - 1], 1);
  EXPECT_EQ(mine.data()[0], 9);
  EXPECT_EQ(mine.data()[kMiB - 1], 1);
}

TEST(ArenaMapping, WhatIsNotKeptCannotBeTouched) {
  const Arena arena = *Arena::Create(8 * kMiB);
  const auto mapping = MapOf(arena);
  ASSERT_TRUE(mapping->PrepareWrite(0, 8 * kMiB).ok());
  mapping->Detach({{kMiB, 10}});
  EXPECT_EQ(mapping->read(kMiB)[0], 0);
  EXPECT_DEATH({ [[maybe_unused]] volatile uint8_t seen = mapping->read(2 * kMiB)[0]; }, "");
  EXPECT_DEATH({ *static_cast<volatile uint8_t*>(mapping->write(kMiB)) = 1; }, "");
}

}  // namespace
}  // namespace cyray::store
