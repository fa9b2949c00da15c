// FrameReader: frames out of one stream, in whatever pieces they come.

#include "cyray/wire/frame_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace cyray::wire {
namespace {

std::vector<uint8_t> FrameOf(const std::string& body, uint8_t fds = 0) {
  std::vector<uint8_t> out;
  AppendFrame(out, FrameType::kWarning, reinterpret_cast<const uint8_t*>(body.data()), body.size(),
              fds);
  return out;
}

// As a read of a socket that has just these bytes.
void Feed(FrameReader& reader, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const std::span<uint8_t> room = reader.Room();
    const size_t n = std::min(room.size(), bytes.size());
    std::copy_n(bytes.begin(), n, room.begin());
    reader.Filled(n);
    bytes = bytes.subspan(n);
  }
}

TEST(FrameReader, RandomFramesInRandomPiecesComeOutWhole) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::vector<std::string> sent, got;
  std::vector<uint8_t> stream;
  for (int i = 0; i < 300; ++i) {
    sent.emplace_back(random() % 20 == 0 ? random() % 200'000 : random() % 100, 'a' + i % 26);
    sent.back().resize((sent.back().size() + 7) / 8 * 8, '\0');
    const auto frame = FrameOf(sent.back());
    stream.insert(stream.end(), frame.begin(), frame.end());
  }
  FrameReader reader;
  for (size_t at = 0; at < stream.size();) {
    const size_t piece = std::min<size_t>(stream.size() - at, random() % 70'000);
    Feed(reader, std::span(stream).subspan(at, piece));
    at += piece;
    for (auto next = reader.Next(); next->has_value(); next = reader.Next()) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>((*next)->body) % 8, 0u);
      got.emplace_back(reinterpret_cast<const char*>((*next)->body), (*next)->body_bytes);
    }
  }
  EXPECT_EQ(got, sent);
}

TEST(FrameReader, RoomGrowsWithWhatCameNotWithWhatIsPromised) {
  FrameReader reader;
  const FrameHeader header{kMaxFrameBytes, 1, 0, 0};
  Feed(reader, {reinterpret_cast<const uint8_t*>(&header), sizeof header});
  ASSERT_FALSE(reader.Next()->has_value());
  EXPECT_LE(reader.Room().size(), 2 * FrameReader::kReadChunkBytes);
  const std::vector<uint8_t> body(1 << 20);
  Feed(reader, body);
  ASSERT_FALSE(reader.Next()->has_value());
  EXPECT_GE(reader.Room().size(), body.size());
  EXPECT_LE(reader.Room().size(), 4 * body.size());
}

TEST(FrameReader, DescriptorsThatNoFrameClaimsAreNotKeptWithoutBound) {
  FrameReader reader;
  Status status = Status::Ok();
  int added = 0;
  for (; status.ok() && added < 1000; ++added) status = reader.AddFd(UniqueFd(dup(0)));
  EXPECT_EQ(status.code(), StatusCode::kProtocolError);
  EXPECT_LT(added, 100);
}

TEST(FrameReader, AFrameWithoutItsDescriptorsOrWithTooManyIsAProtocolError) {
  for (const uint8_t fds : {uint8_t{1}, uint8_t{200}}) {
    FrameReader reader;
    Feed(reader, FrameOf("body", fds));
    const auto next = reader.Next();
    ASSERT_FALSE(next.has_value());
    EXPECT_EQ(next.error().code(), StatusCode::kProtocolError);
  }
}

}  // namespace
}  // namespace cyray::wire
