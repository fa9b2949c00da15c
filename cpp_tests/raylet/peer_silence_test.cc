// Two nodes on a wire that carries nothing for a while, again and again, in virtual time: what was
// sent meanwhile arrives soon after the wire is back, long before a stream that lost packets sends
// them again.

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cyray/raylet/outage_watch.h"
#include "cyray/raylet/peer_table.h"
#include "cyray/sim/virtual_runtime.h"
#include "cyray/sim/virtual_time.h"
#include "cyray/util/timer.h"
#include "cyray/wire/convert.h"

namespace cyray::raylet {
namespace {

using wire::FrameType;

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kLatencyMs = 1;

// A wire between two nodes. A stream whose bytes were lost carries on only after a pause, which is
// with TCP up to as long as the wire has been away. A connection that is dialed while it is away
// never opens.
class Wire {
 public:
  Wire(sim::VirtualTime* time, sim::VirtualRuntime* runtime) : time_(time), runtime_(runtime) {}

  void Cut() { cut_at_ms_ = runtime_->NowMs(); }
  void Heal() {
    healed_at_ms_ = runtime_->NowMs();
    stalled_until_ms_ = healed_at_ms_ + pause_ms;
    cut_at_ms_ = -1;
  }
  bool is_cut() const { return cut_at_ms_ >= 0; }
  // When a stream that began at `born_ms` carries bytes on; in future while it is cut or backs off.
  bool Carries(int64_t born_ms) const {
    if (is_cut()) return false;
    return born_ms >= healed_at_ms_ || runtime_->NowMs() >= stalled_until_ms_;
  }
  sim::VirtualTime* const time_;
  sim::VirtualRuntime* const runtime_;
  std::vector<net::Transport::AcceptCallback> listeners_;  // by port
  int dialed = 0;
  int64_t pause_ms = 0;

 private:
  int64_t cut_at_ms_ = -1;
  int64_t healed_at_ms_ = 0;
  int64_t stalled_until_ms_ = 0;
};

// Both directions of a connection.
struct Shared {
  explicit Shared(Wire* wire) : wire(wire), born_ms(wire->runtime_->NowMs()) {}
  Wire* const wire;
  const int64_t born_ms;
  bool connected = false;
  bool closed = false;
  std::deque<uint8_t> waiting[2], arrived[2];  // by who sends
  net::Stream::ReadyCallback* ready[2] = {nullptr, nullptr};
  bool awaits_writable[2] = {true, true};
};

void Run(const std::shared_ptr<Shared>& shared);

class WireStream : public net::Stream {
 public:
  WireStream(std::shared_ptr<Shared> shared, int side) : shared_(std::move(shared)), side_(side) {}
  ~WireStream() override {
    shared_->ready[side_] = nullptr;
    shared_->closed = true;
  }
  void Watch(ReadyCallback on_ready) override {
    on_ready_ = std::move(on_ready);
    shared_->ready[side_] = &on_ready_;
  }
  void AwaitWritable(bool wanted) override { shared_->awaits_writable[side_] = wanted; }
  Result<size_t> Read(std::span<const iovec> into) override {
    std::deque<uint8_t>& from = shared_->arrived[1 - side_];
    size_t total = 0;
    for (const iovec& part : into) {
      for (size_t i = 0; i < part.iov_len && !from.empty(); ++i, ++total) {
        static_cast<uint8_t*>(part.iov_base)[i] = from.front();
        from.pop_front();
      }
    }
    if (total == 0 && shared_->closed) return Fail(StatusCode::kDisconnected, "closed");
    return total;
  }
  Result<size_t> Write(std::span<const iovec> parts) override {
    if (!shared_->connected) return size_t{0};
    size_t total = 0;
    for (const iovec& part : parts) {
      const auto* bytes = static_cast<const uint8_t*>(part.iov_base);
      shared_->waiting[side_].insert(shared_->waiting[side_].end(), bytes, bytes + part.iov_len);
      total += part.iov_len;
    }
    return total;
  }

 private:
  const std::shared_ptr<Shared> shared_;
  const int side_;
  ReadyCallback on_ready_;
};

// Moves what waits, each millisecond while anybody is there.
void Run(const std::shared_ptr<Shared>& shared) {
  Wire& wire = *shared->wire;
  for (int side : {0, 1}) {
    if (shared->awaits_writable[side] && shared->ready[side] != nullptr) {
      (*shared->ready[side])(false, true);
    }
  }
  if (wire.Carries(shared->born_ms) && shared->connected) {
    for (int side : {0, 1}) {
      auto& to = shared->arrived[side];
      to.insert(to.end(), shared->waiting[side].begin(), shared->waiting[side].end());
      shared->waiting[side].clear();
      const bool news = !to.empty() || shared->closed;
      if (news && shared->ready[1 - side] != nullptr) (*shared->ready[1 - side])(true, false);
    }
  }
  if (shared->ready[0] == nullptr && shared->ready[1] == nullptr) return;
  wire.runtime_->RunAfter(kLatencyMs, [shared] { Run(shared); });
}

class WireTransport : public net::Transport {
 public:
  explicit WireTransport(Wire* wire) : wire_(wire) {}
  Result<std::unique_ptr<net::Stream>> Dial(const std::string&, uint16_t port) override {
    ++wire_->dialed;
    const auto shared = std::make_shared<Shared>(wire_);
    if (!wire_->is_cut()) {
      wire_->runtime_->RunAfter(kLatencyMs, [this, shared, port] {
        if (shared->closed || wire_->is_cut()) return;
        shared->connected = true;
        wire_->listeners_.at(port)(std::make_unique<WireStream>(shared, 1));
        Run(shared);
      });
    }
    return std::make_unique<WireStream>(shared, 0);
  }
  Status Listen(const std::string&, uint16_t, AcceptCallback on_accepted) override {
    port_ = static_cast<uint16_t>(wire_->listeners_.size());
    wire_->listeners_.push_back(std::move(on_accepted));
    return Status::Ok();
  }
  uint16_t port() const override { return port_; }
  void SetAccepting(bool) override {}

 private:
  Wire* const wire_;
  uint16_t port_ = 0;
};

struct Node {
  Node(Wire* wire, uint8_t number) : transport(wire) {
    id.bytes[0] = number;
    peers = std::make_unique<PeerTable>(wire->runtime_, &transport, id, 1, std::string(32, 't'));
    peers->On<wire::ForwardCancel>(FrameType::kForwardCancel,
                                   [this](const NodeId&, const wire::ForwardCancel& frame) {
                                     EXPECT_EQ(frame.request_id(), received++);
                                   });
    EXPECT_TRUE(peers->Listen("", 0).ok());
  }
  void Send(const NodeId& to) {
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(wire::CreateForwardCancel(builder, sent++));
    EXPECT_TRUE(peers->Send(to, FrameType::kForwardCancel, builder));
  }
  NodeId id;
  WireTransport transport;
  std::unique_ptr<PeerTable> peers;
  uint64_t sent = 0;
  uint64_t received = 0;
};

class PeerSilenceTest : public testing::Test {
 protected:
  PeerSilenceTest() {
    a_.peers->SetNode(b_.id, {"", b_.peers->port()});
    b_.peers->SetNode(a_.id, {"", a_.peers->port()});
  }
  void RunFor(int64_t ms) { time_.RunFor(ms * kMs); }

  sim::VirtualTime time_{7};
  sim::VirtualRuntime runtime_{&time_};
  Wire wire_{&time_, &runtime_};
  Node a_{&wire_, 1};
  Node b_{&wire_, 2};
};

class Pauses : public PeerSilenceTest, public testing::WithParamInterface<int64_t> {};

// Also when the old connection comes back while the new one is being set up.
TEST_P(Pauses, AWireThatIsAwayAgainAndAgainDelaysNothingForLong) {
  wire_.pause_ms = GetParam();
  a_.Send(b_.id);
  RunFor(10'000);
  for (int cycle = 0; cycle < 8; ++cycle) {
    wire_.Cut();
    for (int i = 0; i < 50; ++i) {
      a_.Send(b_.id);
      if (cycle % 2 == 0) b_.Send(a_.id);
      RunFor(100);
    }
    wire_.Heal();
    RunFor(1'500);
    EXPECT_EQ(b_.received, a_.sent) << cycle;
    EXPECT_EQ(a_.received, b_.sent) << cycle;
    RunFor(8'500);
  }
  EXPECT_TRUE(a_.peers->IsConnected(b_.id) && b_.peers->IsConnected(a_.id));
}

INSTANTIATE_TEST_SUITE_P(Ms, Pauses,
                         testing::Values(0, 300, 600, 602, 604, 606, 608, 610, 900, 905, 5'000));

TEST_F(PeerSilenceTest, NothingIsDialedWhileAllIsAnswered) {
  for (int i = 0; i < 300; ++i) {
    a_.Send(b_.id);  // one way: only acknowledgements come back
    RunFor(i % 3 == 0 ? 4'000 : 10);
  }
  EXPECT_EQ(b_.received, 300u);
  EXPECT_EQ(wire_.dialed, 1);
}

class OutageTest : public PeerSilenceTest {
 protected:
  OutageTest() {
    a_.Send(b_.id);
    RunFor(3'000);
  }
  std::vector<std::string> warnings_;
  OutageWatch watch_{&runtime_, a_.peers.get(),
                     [this](const NodeId& node, const std::string& text) {
                       EXPECT_EQ(node, b_.id);
                       warnings_.push_back(text);
                     }};
};

TEST_F(OutageTest, WhatWaitsForANodeIsToldWhenItIsNotReachedAndWhenItIsAgain) {
  wire_.Cut();
  a_.Send(b_.id);
  RunFor(OutageWatch::kPatienceMs - 100);
  EXPECT_TRUE(warnings_.empty());
  EXPECT_TRUE(a_.peers->OutageOf(b_.id)->awaited);
  RunFor(60'000);
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_NE(warnings_[0].find("for 5 s: nothing comes back"), std::string::npos) << warnings_[0];
  wire_.Heal();
  RunFor(2'000);
  ASSERT_EQ(warnings_.size(), 2u);
  EXPECT_NE(warnings_[1].find("is back after 6"), std::string::npos) << warnings_[1];
  EXPECT_FALSE(a_.peers->OutageOf(b_.id));
  EXPECT_EQ(b_.received, a_.sent);
}

TEST_F(OutageTest, ShortOutagesPassWithoutAWord) {
  for (int i = 0; i < 10; ++i) {
    wire_.Cut();
    a_.Send(b_.id);
    RunFor(3'500);
    wire_.Heal();
    RunFor(3'500);
  }
  EXPECT_TRUE(warnings_.empty());
  EXPECT_EQ(b_.received, a_.sent);
}

TEST_F(OutageTest, OneThatPassedWhileThisRayletStoodStillPassesWithoutAWord) {
  wire_.Cut();
  a_.Send(b_.id);
  RunFor(3'500);
  ASSERT_TRUE(a_.peers->OutageOf(b_.id));
  runtime_.Pause();
  RunFor(20'000);
  wire_.Heal();
  runtime_.Continue();
  RunFor(3'000);
  EXPECT_TRUE(warnings_.empty()) << warnings_[0];
  EXPECT_EQ(b_.received, a_.sent);
}

TEST_F(OutageTest, OfANodeThatDiesNothingMoreIsTold) {
  wire_.Cut();
  a_.Send(b_.id);
  RunFor(3'000);
  a_.peers->RemoveNode(b_.id, "it died");
  RunFor(10'000);
  EXPECT_TRUE(warnings_.empty());
}

}  // namespace
}  // namespace cyray::raylet
