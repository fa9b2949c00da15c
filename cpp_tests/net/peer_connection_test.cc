// PeerConnection over a wire in memory, in virtual time: how much of what was queued before an
// urgent frame is in front of it, on wires of any speed; and that bulk goes on whatever the wire
// takes at once.

#include "cyray/net/peer_connection.h"

#include <gtest/gtest.h>

#include <deque>
#include <limits>
#include <utility>

#include "cyray/sim/virtual_runtime.h"
#include "cyray/sim/virtual_time.h"
#include "cyray/wire/convert.h"

namespace cyray::net {
namespace {

using wire::FrameType;

constexpr int64_t kMs = 1'000'000;
constexpr size_t kNoLimit = std::numeric_limits<size_t>::max() / 2;

// One direction of the wire, with what waits for it in the sender's kernel.
struct Pipe {
  size_t bytes_per_ms = kNoLimit;
  size_t unsent_limit = kNoLimit;
  std::deque<uint8_t> unsent;
  std::deque<uint8_t> arrived;
  uint64_t carried = 0;
  Stream::ReadyCallback* reader = nullptr;
  Stream::ReadyCallback* writer = nullptr;
  bool awaits_writable = true;

  void Carry(size_t bytes) {
    bytes = std::min(bytes, unsent.size());
    arrived.insert(arrived.end(), unsent.begin(), unsent.begin() + static_cast<long>(bytes));
    unsent.erase(unsent.begin(), unsent.begin() + static_cast<long>(bytes));
    carried += bytes;
  }
};

class MemoryStream : public Stream {
 public:
  MemoryStream(Pipe* in, Pipe* out) : in_(in), out_(out) {}
  ~MemoryStream() override { in_->reader = out_->writer = nullptr; }
  void Watch(ReadyCallback on_ready) override {
    on_ready_ = std::move(on_ready);
    in_->reader = out_->writer = &on_ready_;
  }
  void AwaitWritable(bool wanted) override { out_->awaits_writable = wanted; }
  Result<size_t> Read(std::span<const iovec> into) override {
    size_t total = 0;
    for (const iovec& part : into) {
      const size_t n = std::min(part.iov_len, in_->arrived.size());
      std::copy_n(in_->arrived.begin(), n, static_cast<uint8_t*>(part.iov_base));
      in_->arrived.erase(in_->arrived.begin(), in_->arrived.begin() + static_cast<long>(n));
      total += n;
    }
    return total;
  }
  Result<size_t> Write(std::span<const iovec> parts) override {
    size_t total = 0;
    for (const iovec& part : parts) {
      const size_t room = out_->unsent_limit - std::min(out_->unsent_limit, out_->unsent.size());
      const size_t n = std::min(part.iov_len, room);
      const auto* bytes = static_cast<const uint8_t*>(part.iov_base);
      out_->unsent.insert(out_->unsent.end(), bytes, bytes + n);
      total += n;
    }
    return total;
  }
  void LimitUnsent(size_t bytes) override {
    if (out_->bytes_per_ms != kNoLimit) out_->unsent_limit = bytes;
  }

 private:
  Pipe* const in_;
  Pipe* const out_;
  ReadyCallback on_ready_;
};

struct End : PeerConnection::Delegate, BulkReceiver {
  std::shared_ptr<PeerSession> session = std::make_shared<PeerSession>();
  std::shared_ptr<PeerConnection> connection;
  std::vector<uint8_t> room = std::vector<uint8_t>(kMaxChunkBytes);
  uint64_t bulk_received = 0;
  uint64_t frames = 0;
  uint64_t bulk_before_frame = 0;
  uint64_t bulk_to_send = 0;

  PeerConnection::Greeting Greet(const NodeId&) override { return {}; }
  void OnHello(PeerConnection& from, const Handshake::Party&,
               const PeerConnection::Greeting&) override {
    ASSERT_TRUE(from.Open(session, {}).ok());
    OnRoom(from);
  }
  bool OnFrame(PeerConnection&, const wire::Frame&) override {
    ++frames;
    bulk_before_frame = bulk_received;
    return true;
  }
  void OnRoom(PeerConnection& to) override {
    while (bulk_to_send > 0 && to.unsent_bulk_bytes() < size_t{4} << 20) {
      const size_t bytes = std::min<uint64_t>(to.chunk_bytes(), bulk_to_send);
      flatbuffers::FlatBufferBuilder builder;
      const ObjectId id;
      wire::ObjectChunkBuilder chunk(builder);
      chunk.add_object_id(wire::ToWire(id));
      chunk.add_raw_bytes(static_cast<uint32_t>(bytes));
      builder.Finish(chunk.Finish());
      bulk_to_send -= bytes;
      to.SendBulk(builder, {std::span(room).first(bytes), nullptr});
    }
  }
  void OnClosed(PeerConnection&, const Status& why) override { ADD_FAILURE() << why.ToString(); }
  BulkReceiver* bulk_receiver() override { return this; }
  bool OnChunk(const NodeId&, const wire::ObjectChunk&) override { return true; }
  std::span<uint8_t> ChunkSink(const NodeId&, uint64_t, uint32_t, uint32_t left) override {
    return std::span(room).first(left);
  }
  void OnChunkEnd(const NodeId&, uint64_t, uint32_t bytes) override { bulk_received += bytes; }
};

class PeerConnectionTest : public testing::Test {
 protected:
  static PeerConnection::Identity Identity(uint8_t number) {
    PeerConnection::Identity identity{{}, 1, std::string(32, 't')};
    identity.node.bytes[0] = number;
    return identity;
  }
  void Connect() {
    near_.connection = PeerConnection::Dialed(&runtime_, Identity(1), &near_, Identity(2).node,
                                              std::make_unique<MemoryStream>(&back_, &there_));
    far_.connection = PeerConnection::Accepted(&runtime_, Identity(2), &far_,
                                               std::make_unique<MemoryStream>(&there_, &back_));
    RunFor(10);
    ASSERT_TRUE(near_.connection->is_open() && far_.connection->is_open());
  }
  void RunFor(int64_t ms) {
    for (int64_t i = 0; i < ms; ++i) {
      for (Pipe* pipe : {&there_, &back_}) {
        pipe->Carry(pipe->bytes_per_ms);
        if (!pipe->arrived.empty() && pipe->reader != nullptr) (*pipe->reader)(true, false);
        const bool room = pipe->unsent.size() < pipe->unsent_limit;
        if (room && pipe->awaits_writable && pipe->writer != nullptr) (*pipe->writer)(false, true);
      }
      time_.RunFor(kMs);
    }
  }

  sim::VirtualTime time_{1};
  sim::VirtualRuntime runtime_{&time_};
  Pipe there_, back_;
  End near_, far_;
};

TEST_F(PeerConnectionTest, BulkGoesOnWhenTheWireTakesAllAtOnce) {
  constexpr uint64_t kBytes = 50'000'000;
  near_.bulk_to_send = kBytes;
  ASSERT_NO_FATAL_FAILURE(Connect());
  RunFor(100);
  EXPECT_EQ(far_.bulk_received, kBytes);
}

class WireSpeeds : public PeerConnectionTest, public testing::WithParamInterface<size_t> {};

// What is in front of a control frame is what the wire takes soon, however much bulk is queued.
TEST_P(WireSpeeds, AControlFrameIsNotBehindBulk) {
  there_.bytes_per_ms = GetParam();
  near_.bulk_to_send = 500 * GetParam() + (size_t{64} << 20);
  ASSERT_NO_FATAL_FAILURE(Connect());
  RunFor(60);
  const uint64_t carried = there_.carried;
  ASSERT_GT(carried, 30 * GetParam()) << "the wire is busy";
  const std::vector<uint8_t> body(64);
  near_.session->Send(Lane::kControl, FrameType::kForwardCancel, body.data(), body.size());
  near_.connection->ScheduleFlush();
  int waited_ms = 0;
  while (far_.frames == 0 && waited_ms < 1'000) {
    RunFor(1);
    ++waited_ms;
  }
  ASSERT_EQ(far_.frames, 1u);
  EXPECT_GT(near_.bulk_to_send, 0u);
  // A packet's beginning, a write and what the kernel keeps: three writes, and the chunk begun.
  const size_t ahead =
      std::max<size_t>(4 * SendPace::kLeastBytes, static_cast<size_t>(8 * GetParam()));
  EXPECT_LE(there_.carried - carried, ahead + 2 * GetParam());
}

INSTANTIATE_TEST_SUITE_P(BytesPerMs, WireSpeeds,
                         testing::Values(size_t{10'000}, size_t{100'000}, size_t{1'000'000},
                                         size_t{4'000'000}));

}  // namespace
}  // namespace cyray::net
