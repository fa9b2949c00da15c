// Channel over a real socket pair: frames whole, in order, with their descriptors; peers that send
// slowly, stop reading, lie in headers or leave.

#include "cyray/wire/channel.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <random>
#include <string>

#include "core_generated.h"
#include "local_generated.h"

namespace cyray::wire {
namespace {

std::array<UniqueFd, 2> SocketPair() {
  int ends[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

struct Pair {
  explicit Pair(std::array<UniqueFd, 2> ends = SocketPair(), uint32_t most = kMaxFrameBytes)
      : a(std::move(ends[0])), b(std::move(ends[1]), most) {}
  Channel a, b;
};

flatbuffers::FlatBufferBuilder WarningOf(const std::string& text) {
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(CreateWarning(builder, builder.CreateString(text)));
  return builder;
}

std::string TextOf(const Frame& frame) {
  const auto* warning = frame.As<Warning>();
  return warning == nullptr ? "(not a Warning)" : warning->text()->str();
}

// Reads until a frame is there; the sender must have sent it whole.
Frame Receive(Channel& channel) {
  for (int i = 0; i < 100'000; ++i) {
    auto next = channel.Next();
    EXPECT_TRUE(next.has_value()) << next.error().ToString();
    if (next.has_value() && next->has_value()) return std::move(**next);
    auto filled = channel.Fill();
    EXPECT_TRUE(filled.has_value()) << filled.error().ToString();
    if (!filled.has_value()) break;
  }
  ADD_FAILURE() << "no frame came";
  return Frame{};
}

void SendHeader(int fd, FrameHeader header) {
  ASSERT_EQ(::write(fd, &header, sizeof header), static_cast<ssize_t>(sizeof header));
}

// What Next() says once `header` alone has arrived.
StatusCode CodeAfterHeader(FrameHeader header, uint32_t most = kMaxFrameBytes) {
  auto ends = SocketPair();
  Channel channel(std::move(ends[0]), most);
  SendHeader(ends[1].get(), header);
  EXPECT_TRUE(channel.Fill().has_value());
  auto next = channel.Next();
  return next.has_value() ? StatusCode::kOk : next.error().code();
}

ino_t InodeOf(int fd) {
  struct stat info{};
  EXPECT_EQ(fstat(fd, &info), 0);
  return info.st_ino;
}

TEST(Channel, DeliversFramesWholeAndInOrder) {
  Pair pair;
  for (int i = 0; i < 1'000; ++i) pair.a.Send(FrameType::kWarning, WarningOf(std::to_string(i)));
  ASSERT_TRUE(pair.a.Flush().ok());
  for (int i = 0; i < 1'000; ++i) {
    const Frame frame = Receive(pair.b);
    EXPECT_EQ(frame.type, FrameType::kWarning);
    ASSERT_EQ(TextOf(frame), std::to_string(i));
  }
}

TEST(Channel, BodiesStayAlignedToEightBytes) {
  Pair pair;
  for (size_t size = 0; size < 40; ++size) {
    pair.a.Send(FrameType::kWarning, WarningOf(std::string(size, 'x')));
  }
  ASSERT_TRUE(pair.a.Flush().ok());
  for (int i = 0; i < 40; ++i) {
    const Frame frame = Receive(pair.b);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(frame.body) % 8, 0u);
    EXPECT_EQ(frame.body_bytes % 8, 0u);
  }
}

TEST(Channel, AFrameMayArriveByteByByte) {
  auto ends = SocketPair();
  Channel reader(std::move(ends[0]));
  ByteBuffer bytes;
  const auto warning = WarningOf("slowly");
  AppendFrame(bytes, FrameType::kWarning, warning.GetBufferPointer(), warning.GetSize());
  for (size_t i = 0; i < bytes.size(); ++i) {
    auto early = reader.Next();
    ASSERT_TRUE(early.has_value());
    ASSERT_FALSE(early->has_value()) << "after " << i << " bytes";
    ASSERT_EQ(::write(ends[1].get(), bytes.data() + i, 1), 1);
    ASSERT_TRUE(reader.Fill().has_value());
  }
  EXPECT_EQ(TextOf(Receive(reader)), "slowly");
}

TEST(Channel, ALargeFrameCrossesASmallSocketBuffer) {
  Pair pair;
  const std::string text(8 << 20, 'L');
  pair.a.Send(FrameType::kWarning, WarningOf(text));
  ASSERT_TRUE(pair.a.Flush().ok());
  EXPECT_TRUE(pair.a.HasUnsent());  // the socket took only a part
  std::optional<Frame> got;
  while (!got) {
    ASSERT_TRUE(pair.a.Flush().ok());
    ASSERT_TRUE(pair.b.Fill().has_value());
    auto next = pair.b.Next();
    ASSERT_TRUE(next.has_value());
    if (next->has_value()) got = std::move(**next);
  }
  EXPECT_FALSE(pair.a.HasUnsent());
  EXPECT_EQ(TextOf(*got).size(), text.size());
}

TEST(Channel, ASlowReaderKeepsOnlyWhatItHasNotRead) {
  Pair pair;
  for (int i = 0; i < 64; ++i)
    pair.a.Send(FrameType::kWarning, WarningOf(std::string(100'000, 'x')));
  const size_t queued = pair.a.unsent_bytes();
  ASSERT_TRUE(pair.a.Flush().ok());
  EXPECT_LT(pair.a.unsent_bytes(), queued);
  EXPECT_TRUE(pair.a.HasUnsent());
  int got = 0;
  while (got < 64) {
    ASSERT_TRUE(pair.b.Fill().has_value());
    for (auto next = pair.b.Next(); next.has_value() && next->has_value(); next = pair.b.Next()) {
      EXPECT_EQ(TextOf(**next).size(), 100'000u);
      ++got;
    }
    ASSERT_TRUE(pair.a.Flush().ok());
  }
  EXPECT_EQ(pair.a.unsent_bytes(), 0u);
}

TEST(Channel, DescriptorsArriveWithTheFrameTheyWereSentWith) {
  Pair pair;
  std::vector<ino_t> inodes;
  for (int i = 0; i < 30; ++i) {
    const auto warning = WarningOf(std::to_string(i));
    std::vector<UniqueFd> fds;
    for (int k = 0; k < i % 3; ++k) {
      int ends[2];
      ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
      inodes.push_back(InodeOf(ends[0]));
      fds.emplace_back(ends[0]);
      close(ends[1]);
    }
    pair.a.SendWithFds(FrameType::kWarning, warning, std::move(fds));
  }
  // The writer moves on only as its descriptors leave; the reader drains meanwhile.
  size_t at = 0;
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(pair.a.Flush().ok());
    const Frame frame = Receive(pair.b);
    EXPECT_EQ(TextOf(frame), std::to_string(i));
    ASSERT_EQ(frame.fds.size(), static_cast<size_t>(i % 3));
    for (const UniqueFd& fd : frame.fds) {
      EXPECT_EQ(InodeOf(fd.get()), inodes[at++]);
      EXPECT_TRUE(fcntl(fd.get(), F_GETFD) & FD_CLOEXEC);
    }
  }
}

TEST(Channel, DescriptorsBehindALargeBacklogStayWithTheirFrame) {
  Pair pair;
  pair.a.Send(FrameType::kWarning, WarningOf(std::string(4 << 20, 'x')));
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  UniqueFd writer(ends[1]);
  std::vector<UniqueFd> fds;
  fds.emplace_back(ends[0]);
  pair.a.SendWithFds(FrameType::kWarning, WarningOf("with"), std::move(fds));
  pair.a.Send(FrameType::kWarning, WarningOf("after"));
  std::vector<size_t> counts;
  while (counts.size() < 3) {
    ASSERT_TRUE(pair.a.Flush().ok());
    ASSERT_TRUE(pair.b.Fill().has_value());
    for (auto next = pair.b.Next(); next.has_value() && next->has_value(); next = pair.b.Next()) {
      counts.push_back((*next)->fds.size());
    }
  }
  EXPECT_EQ(counts, (std::vector<size_t>{0, 1, 0}));
}

TEST(Channel, UnreceivedDescriptorsAreClosedWithTheChannel) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  UniqueFd reader(ends[0]);
  {
    Pair pair;
    std::vector<UniqueFd> fds;
    fds.emplace_back(ends[1]);
    pair.a.SendWithFds(FrameType::kWarning, WarningOf("x"), std::move(fds));
    ASSERT_TRUE(pair.a.Flush().ok());
    ASSERT_TRUE(pair.b.Fill().has_value());
  }
  char byte;
  EXPECT_EQ(::read(reader.get(), &byte, 1), 0);  // end of file: no writer is left
}

// The kernel drops what this process may not open; a later frame must not get another's.
TEST(Channel, ADescriptorThatWasLostOnTheWayEndsTheConnection) {
  Pair pair;
  std::vector<UniqueFd> fds;
  fds.emplace_back(dup(0));
  pair.a.SendWithFds(FrameType::kWarning, WarningOf("x"), std::move(fds));
  ASSERT_TRUE(pair.a.Flush().ok());
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{0, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto filled = pair.b.Fill();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_FALSE(filled.has_value());
  EXPECT_NE(filled.error().message().find("file descriptors"), std::string::npos);
}

TEST(Channel, AHeaderThatCannotBeOneIsAProtocolError) {
  const auto type = static_cast<uint16_t>(FrameType::kWarning);
  EXPECT_EQ(CodeAfterHeader({8, type, 0, 0}), StatusCode::kOk);
  EXPECT_EQ(CodeAfterHeader({7, type, 0, 0}), StatusCode::kProtocolError);
  EXPECT_EQ(CodeAfterHeader({8, type, 0, 1}), StatusCode::kProtocolError);
  EXPECT_EQ(CodeAfterHeader({8, type, 9, 0}), StatusCode::kProtocolError);
  EXPECT_EQ(CodeAfterHeader({kMaxFrameBytes + 8, type, 0, 0}), StatusCode::kProtocolError);
  EXPECT_EQ(CodeAfterHeader({1032, type, 0, 0}, 1024), StatusCode::kProtocolError);
  EXPECT_EQ(CodeAfterHeader({1024, type, 0, 0}, 1024), StatusCode::kOk);
}

TEST(Channel, AFrameThatClaimsDescriptorsItDidNotBringIsAProtocolError) {
  EXPECT_EQ(CodeAfterHeader({0, static_cast<uint16_t>(FrameType::kWarning), 1, 0}),
            StatusCode::kProtocolError);
}

TEST(Channel, AHeaderThatPromisesMuchCostsNoMemoryUntilItComes) {
  auto ends = SocketPair();
  Channel channel(std::move(ends[0]));
  SendHeader(ends[1].get(), {kMaxFrameBytes, static_cast<uint16_t>(FrameType::kWarning), 0, 0});
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(::write(ends[1].get(), "12345678", 8), 8);
    ASSERT_TRUE(channel.Fill().has_value());
    auto next = channel.Next();
    ASSERT_TRUE(next.has_value());
    EXPECT_FALSE(next->has_value());
  }
}

TEST(Channel, AnEmptyBodyDoesNotVerifyAsATable) {
  Pair pair;
  pair.a.Send(FrameType::kWarning, nullptr, 0);
  ASSERT_TRUE(pair.a.Flush().ok());
  const Frame frame = Receive(pair.b);
  EXPECT_EQ(frame.body_bytes, 0u);
  EXPECT_EQ(frame.As<Warning>(), nullptr);
}

TEST(Channel, GarbageDoesNotVerifyAsATable) {
  std::mt19937_64 rng(7);
  Pair pair;
  for (int i = 0; i < 200; ++i) {
    std::vector<uint8_t> body(8 * (rng() % 32));
    for (auto& byte : body) byte = static_cast<uint8_t>(rng() | 0x80);
    pair.a.Send(FrameType::kPushTask, body.data(), body.size());
    ASSERT_TRUE(pair.a.Flush().ok());
    EXPECT_EQ(Receive(pair.b).As<PushTask>(), nullptr);
  }
}

TEST(Channel, SaysThatThePeerIsGone) {
  auto ends = SocketPair();
  Channel channel(std::move(ends[0]));
  auto nothing = channel.Fill();
  ASSERT_TRUE(nothing.has_value());
  EXPECT_EQ(*nothing, 0u);
  ends[1].reset();
  auto gone = channel.Fill();
  ASSERT_FALSE(gone.has_value());
  EXPECT_EQ(gone.error().code(), StatusCode::kDisconnected);
  channel.Send(FrameType::kWarning, WarningOf("nobody"));
  EXPECT_EQ(channel.Flush().code(), StatusCode::kDisconnected);  // and no SIGPIPE
}

TEST(Channel, FramesSentBeforeThePeerLeftAreStillRead) {
  Pair pair;
  pair.a.Send(FrameType::kWarning, WarningOf("last words"));
  ASSERT_TRUE(pair.a.Flush().ok());
  pair.a.ReleaseFd().reset();
  EXPECT_EQ(TextOf(Receive(pair.b)), "last words");
  EXPECT_FALSE(pair.b.Fill().has_value());
}

TEST(Channel, RawFramesGoBetweenOthersInOrder) {
  Pair pair;
  ByteBuffer raw;
  for (const char* text : {"two", "three"}) {
    const auto warning = WarningOf(text);
    AppendFrame(raw, FrameType::kWarning, warning.GetBufferPointer(), warning.GetSize());
  }
  pair.a.Send(FrameType::kWarning, WarningOf("one"));
  pair.a.SendRaw(raw.data(), raw.size());
  pair.a.Send(FrameType::kWarning, WarningOf("four"));
  ASSERT_TRUE(pair.a.Flush().ok());
  for (const char* text : {"one", "two", "three", "four"}) EXPECT_EQ(TextOf(Receive(pair.b)), text);
}

TEST(Channel, RandomTrafficBothWaysArrivesUnchanged) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937_64 rng(seed);
  Pair pair;
  Channel* ends[2] = {&pair.a, &pair.b};
  std::deque<std::string> expected[2];  // by receiver
  for (int step = 0; step < 3'000; ++step) {
    const int side = static_cast<int>(rng() % 2);
    if (rng() % 3 != 0) {
      const size_t size = rng() % 16 == 0 ? rng() % 200'000 : rng() % 200;
      std::string text(size, static_cast<char>('a' + rng() % 26));
      ends[side]->Send(FrameType::kWarning, WarningOf(text));
      expected[1 - side].push_back(std::move(text));
    } else {
      ASSERT_TRUE(ends[side]->Flush().ok());
      ASSERT_TRUE(ends[1 - side]->Fill().has_value());
      for (auto next = ends[1 - side]->Next(); next.has_value() && next->has_value();
           next = ends[1 - side]->Next()) {
        ASSERT_FALSE(expected[1 - side].empty());
        ASSERT_EQ(TextOf(**next), expected[1 - side].front());
        expected[1 - side].pop_front();
      }
    }
  }
}

}  // namespace
}  // namespace cyray::wire
