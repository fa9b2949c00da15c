// Tests of ClientRegistry over real sockets: who may connect, what a bad or silent client costs.

#include "cyray/raylet/client_registry.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>

#include "cpp_tests/raylet/node_fake.h"
#include "cpp_tests/util/process_limit.h"

namespace cyray::raylet {
namespace {

class ClientRegistryTest : public ::testing::Test {
 protected:
  ClientRegistryTest() {
    node_.on_frame = [this](ClientConnection& client, wire::Frame& frame) {
      const auto* blocked = frame.As<wire::Blocked>();
      if (frame.type != wire::FrameType::kBlocked || blocked == nullptr) return false;
      got_.push_back(client.id());
      return true;
    };
    node_.on_closed = [this](ClientConnection& client, const std::string& reason) {
      closed_.emplace_back(client.id(), reason);
    };
  }
  static void SayBlocked(FakeProcess& process) {
    process.Send(wire::FrameType::kBlocked,
                 [](auto& builder) { return wire::CreateBlocked(builder, true); });
  }
  // So many of these in one write.
  static std::string ManyBlocked(int count) {
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(wire::CreateBlocked(builder, true));
    std::vector<uint8_t> bytes;
    for (int i = 0; i < count; ++i) {
      wire::AppendFrame(bytes, wire::FrameType::kBlocked, builder.GetBufferPointer(),
                        builder.GetSize());
    }
    return {bytes.begin(), bytes.end()};
  }
  // A frame that nobody reads.
  void SendWarning(ClientConnection& client, size_t bytes) {
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(wire::CreateWarning(builder, builder.CreateString(std::string(bytes, 'x'))));
    node_.clients.Send(client, wire::FrameType::kWarning, builder);
  }
  std::unique_ptr<FakeProcess> Dial() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, node_.options.socket_path.c_str(), sizeof address.sun_path - 1);
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return std::make_unique<FakeProcess>(std::move(fd));
  }

  EventLoop loop_;
  NodeFake node_{&loop_};
  std::vector<uint64_t> got_;
  std::vector<std::pair<uint64_t, std::string>> closed_;
};

TEST_F(ClientRegistryTest, TheSocketIsForThisUserAlone) {
  ASSERT_TRUE(node_.clients.Listen(node_.options.socket_path).ok());
  struct stat info{};
  ASSERT_EQ(::stat(node_.options.socket_path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  const auto process = Dial();
  SayBlocked(*process);
  EXPECT_TRUE(node_.Until([&] { return got_.size() == 1; }));
}

TEST_F(ClientRegistryTest, ASocketPathThatIsTooLongIsAnError) {
  const Status status = node_.clients.Listen("/tmp/" + std::string(200, 'x'));
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
}

TEST_F(ClientRegistryTest, WhatAProcessThatHasEndedSaidIsReadOutAtOnce) {
  ClientConnection* client;
  auto process = node_.Connect(&client);
  const uint64_t id = client->id();
  node_.clients.SetReading(id, false);
  process->SendBytes(ManyBlocked(3'000));
  process.reset();
  node_.clients.ReadOut(*client);
  EXPECT_EQ(got_.size(), 3'000u);
  ASSERT_EQ(closed_.size(), 1u);
  EXPECT_EQ(closed_[0].first, id);
}

TEST_F(ClientRegistryTest, ABadFrameClosesThatConnectionAndNothingElse) {
  ClientConnection *good, *bad;
  const auto first = node_.Connect(&good);
  const auto second = node_.Connect(&bad);
  const uint64_t bad_id = bad->id();
  second->SendBytes(std::string("\x08\0\0\0\x09\0\0\0 garbage", 16));
  ASSERT_TRUE(node_.Until([&] { return !closed_.empty(); }));
  EXPECT_EQ(closed_[0].first, bad_id);
  EXPECT_TRUE(node_.Until([&] { return second->closed(); }));
  SayBlocked(*first);
  EXPECT_TRUE(node_.Until([&] { return got_.size() == 1; }));
  EXPECT_EQ(closed_.size(), 1u);
}

TEST_F(ClientRegistryTest, AHeaderThatIsNoneClosesTheConnection) {
  ClientConnection* client;
  const auto process = node_.Connect(&client);
  process->SendBytes(std::string(64, '\xff'));
  EXPECT_TRUE(node_.Until([&] { return !closed_.empty(); }));
}

TEST_F(ClientRegistryTest, WhatAClientSaidBeforeItEndedIsHeardThoughAWriteFindsItsEnd) {
  ClientConnection* client;
  auto process = node_.Connect(&client);
  SayBlocked(*process);
  process.reset();
  SendWarning(*client, 10);
  node_.clients.FlushAll();  // before anything is read
  EXPECT_EQ(got_.size(), 1u);
  EXPECT_EQ(closed_.size(), 1u);
}

TEST_F(ClientRegistryTest, AClosedConnectionIsToldOnceAndNotFoundAgain) {
  ClientConnection* client;
  const auto process = node_.Connect(&client);
  const uint64_t id = client->id();
  const WorkerId worker = WorkerId::Random();
  ASSERT_TRUE(node_.clients.Name(*client, worker));
  node_.clients.Close(*client, "told to");
  node_.clients.Close(*client, "told again");
  EXPECT_EQ(node_.clients.Find(worker), nullptr);
  EXPECT_EQ(node_.clients.FindById(id), nullptr);
  SendWarning(*client, 10);  // handlers on the stack may still hold it
  node_.Round();
  EXPECT_EQ(closed_.size(), 1u);
  EXPECT_TRUE(process->closed());
}

TEST_F(ClientRegistryTest, WhatIsAnnouncedInQuickSuccessionGoesTogetherAndInOrder) {
  ClientConnection *one, *unregistered;
  const auto process = node_.Connect(&one);
  const auto other = node_.Connect(&unregistered);
  one->registered = true;
  constexpr size_t kNews = 1'000;
  for (size_t i = 0; i < kNews; ++i) {
    flatbuffers::FlatBufferBuilder builder;
    const auto text = builder.CreateString(std::to_string(i));
    builder.Finish(wire::CreateProcessDied(builder, {}, text));
    node_.clients.Announce(wire::FrameType::kProcessDied, builder);
    node_.clients.FlushAll();
  }
  EXPECT_GT(process->CountOf(wire::FrameType::kProcessDied), 0u) << "the first waits for nothing";
  EXPECT_LT(process->CountOf(wire::FrameType::kProcessDied), kNews) << "each wakes everybody";
  EXPECT_TRUE(
      node_.Until([&] { return process->CountOf(wire::FrameType::kProcessDied) == kNews; }));
  for (size_t i = 0; i < kNews; ++i) {
    const auto died = process->Take(wire::FrameType::kProcessDied);
    ASSERT_EQ(died->As<wire::ProcessDied>()->reason()->str(), std::to_string(i));
  }
  EXPECT_EQ(other->CountOf(wire::FrameType::kProcessDied), 0u);
}

TEST_F(ClientRegistryTest, AnIdBelongsToOneConnection) {
  ClientConnection *one, *other;
  const auto first = node_.Connect(&one);
  const auto second = node_.Connect(&other);
  const WorkerId worker = WorkerId::Random();
  EXPECT_TRUE(node_.clients.Name(*one, worker));
  EXPECT_TRUE(node_.clients.Name(*one, worker));
  EXPECT_FALSE(node_.clients.Name(*other, worker));
  EXPECT_EQ(node_.clients.Find(worker), one);
}

TEST_F(ClientRegistryTest, AClientThatDoesNotReadIsKeptUpToABoundAndThenClosed) {
  ClientConnection *slow, *other;
  const auto silent = node_.Connect(&slow);
  const auto reader = node_.Connect(&other);
  for (int i = 0; i < 60; ++i) SendWarning(*slow, 1 << 20);
  node_.Round();
  EXPECT_TRUE(closed_.empty()) << "it may read in a moment";
  for (int i = 0; i < 10; ++i) SendWarning(*slow, 1 << 20);
  node_.Round();
  ASSERT_EQ(closed_.size(), 1u);
  EXPECT_EQ(closed_[0].second, "it does not read what it is sent");
  SendWarning(*other, 10);
  EXPECT_TRUE(node_.Await(*reader, wire::FrameType::kWarning));
}

TEST_F(ClientRegistryTest, AClientThatReadsSlowlyMayHaveMoreUnread) {
  ClientRegistry patient(&loop_, {nullptr, [](ClientConnection&, const std::string&) {}});
  int sockets[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sockets), 0);
  ClientConnection* slow = patient.Add(UniqueFd(sockets[0]), WorkerId::Nil());
  FakeProcess reader{UniqueFd(sockets[1])};
  const std::vector<uint8_t> body(70 << 20);
  for (const size_t size : {body.size(), size_t{8}}) {
    patient.Send(*slow, wire::FrameType::kWarning, body.data(), size);
    patient.FlushAll();
  }
  EXPECT_NE(patient.FindById(slow->id()), nullptr);
}

TEST_F(ClientRegistryTest, WhatASlowReaderMissedArrivesInOrderOnceItReads) {
  ClientConnection* slow;
  const auto reader = node_.Connect(&slow);
  for (size_t i = 1; i <= 50; ++i) SendWarning(*slow, i * 10'000);
  node_.Round();
  for (size_t i = 1; i <= 50; ++i) {
    const auto frame = node_.Await(*reader, wire::FrameType::kWarning);
    ASSERT_TRUE(frame);
    EXPECT_EQ(frame->As<wire::Warning>()->text()->size(), i * 10'000);
  }
  EXPECT_TRUE(closed_.empty());
}

TEST_F(ClientRegistryTest, WithoutDescriptorsConnectionsWaitAndTheLoopDoesNotSpin) {
  if (kIsSanitized) GTEST_SKIP();
  ASSERT_TRUE(node_.clients.Listen(node_.options.socket_path).ok());
  const auto first = Dial();
  testing::internal::CaptureStderr();
  {
    // All numbers above are taken or forbidden: accept fails.
    const ProcessLimit none(RLIMIT_NOFILE, 3);
    for (int i = 0; i < 1000; ++i) loop_.RunOnce(0);
  }
  const std::string log = testing::internal::GetCapturedStderr();
  const auto lines = std::count(log.begin(), log.end(), '\n');
  EXPECT_GE(lines, 1) << "it says what is wrong";
  EXPECT_LT(lines, 100) << "it tries again now and then, not all the time";
  SayBlocked(*first);
  EXPECT_TRUE(node_.Until([&] { return got_.size() == 1; }));
}

TEST_F(ClientRegistryTest, AClientThatSendsWithoutEndLetsOthersHaveTheirTurn) {
  ClientConnection *fast, *slow;
  const auto first = node_.Connect(&fast);
  const auto second = node_.Connect(&slow);
  first->SendBytes(ManyBlocked(1000));
  loop_.RunOnce(0);  // reads a turn's worth of it; the rest waits in the channel
  const size_t turn = got_.size();
  EXPECT_LT(turn, 1000u);
  SayBlocked(*second);
  bool timer = false;
  loop_.RunAfter(0, [&] { timer = true; });
  ASSERT_TRUE(node_.Until([&] { return got_.size() == 1001; }));
  EXPECT_TRUE(timer);
  const auto at = std::find(got_.begin(), got_.end(), slow->id());
  EXPECT_LT(at - got_.begin(), static_cast<ptrdiff_t>(3 * turn)) << "not behind all of the first's";
}

TEST_F(ClientRegistryTest, AllThatAClientSaidBeforeItEndedIsHeardAlsoWhenItIsMuch) {
  ClientConnection* client;
  auto process = node_.Connect(&client);
  process->SendBytes(ManyBlocked(1000));
  process.reset();
  SendWarning(*client, 10);
  ASSERT_TRUE(node_.Until([&] { return closed_.size() == 1; }));
  EXPECT_EQ(got_.size(), 1000u);
}

}  // namespace
}  // namespace cyray::raylet
