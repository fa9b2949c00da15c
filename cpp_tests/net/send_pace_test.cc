// SendPace: fast wires get large writes, slow ones small, and a change of speed is followed.

#include "cyray/net/send_pace.h"

#include <gtest/gtest.h>

namespace cyray::net {
namespace {

constexpr int64_t kMs = 1'000'000;

// A socket that is filled again and again, over a wire of so many bytes in a millisecond.
void FillFor(SendPace& pace, size_t bytes_per_ms, int times, int64_t& now_ns) {
  for (int i = 0; i < times; ++i) {
    const size_t bytes = pace.write_bytes();
    pace.OnWritten(bytes);
    now_ns += static_cast<int64_t>(bytes) * kMs / static_cast<int64_t>(bytes_per_ms);
    pace.OnFull(now_ns);
  }
}

TEST(SendPace, ItFollowsTheSpeedOfTheWire) {
  SendPace pace;
  int64_t now = kMs;
  FillFor(pace, 100'000, 20, now);
  EXPECT_EQ(pace.write_bytes(), SendPace::kLeastBytes);
  FillFor(pace, 3'000'000, 20, now);
  EXPECT_EQ(pace.write_bytes(), SendPace::kMostBytes);
  FillFor(pace, 300'000, 40, now);
  EXPECT_EQ(pace.write_bytes(), size_t{512} << 10);
  FillFor(pace, 100'000, 40, now);
  EXPECT_EQ(pace.write_bytes(), SendPace::kLeastBytes);
}

TEST(SendPace, AWireThatIsNeverFullGetsLargeWrites) {
  SendPace pace;
  for (int i = 0; i < 20; ++i) pace.OnWritten(pace.write_bytes());
  EXPECT_EQ(pace.write_bytes(), SendPace::kMostBytes);
}

TEST(SendPace, SmallFramesSayNothingOfTheWire) {
  SendPace pace;
  int64_t now = kMs;
  for (int i = 0; i < 100'000; ++i) {
    pace.OnWritten(1'000);
    pace.OnDrained();
  }
  EXPECT_EQ(pace.write_bytes(), SendPace::kLeastBytes);
  // The time without anything to write does not count.
  pace.OnFull(now);
  pace.OnDrained();
  now += 10'000 * kMs;
  FillFor(pace, 3'000'000, 20, now);
  EXPECT_EQ(pace.write_bytes(), SendPace::kMostBytes);
}

}  // namespace
}  // namespace cyray::net
