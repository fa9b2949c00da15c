// PeerSession against a model: two sides, a wire that is cut after any byte, stalls, and is made
// anew by either; each frame arrives once, in the order of its lane, and memory stays bounded.

#include "cyray/net/peer_session.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>
#include <set>
#include <vector>

namespace cyray::net {
namespace {

using wire::FrameType;

// One side: a session, and the packets that it writes and reads as PeerConnection does.
struct Side {
  PeerSession session;
  std::vector<uint8_t> out;  // on its way to the other side
  size_t out_at = 0;
  std::vector<uint8_t> in;
  std::array<uint64_t, kSessionLanes> queued{};
  std::array<uint64_t, kSessionLanes> handled{};
  uint64_t control_queued_at_relay = 0;

  void Queue(Lane lane, size_t size) {
    std::vector<uint8_t> body(8 + size, static_cast<uint8_t>(queued[0] + queued[1]));
    const uint64_t number = queued[static_cast<size_t>(lane)]++;
    std::memcpy(body.data(), &number, sizeof number);
    session.Send(lane, FrameType::kRelay, body.data(), body.size());
  }
  // Writes one packet, control first. False: there is nothing to write.
  bool Write() {
    auto piece = session.Next(Lane::kControl);
    if (!piece) piece = session.Next(Lane::kRelay);
    if (!piece && !session.ack_due()) return false;
    PacketHeader header;
    header.lane = piece ? piece->lane : Lane::kAck;
    header.bytes = piece ? static_cast<uint32_t>(piece->bytes.size()) : 0;
    header.received = session.received();
    session.AckTold();
    const auto* bytes = reinterpret_cast<const uint8_t*>(&header);
    out.insert(out.end(), bytes, bytes + sizeof header);
    if (piece) out.insert(out.end(), piece->bytes.begin(), piece->bytes.end());
    return true;
  }
  Status Read() {
    size_t at = 0;
    Status status = Status::Ok();
    while (status.ok() && in.size() - at >= kPacketHeaderBytes) {
      PacketHeader header;
      std::memcpy(&header, in.data() + at, sizeof header);
      EXPECT_TRUE(IsValid(header));
      if (!read_header_) status = session.OnAck(header.received);
      read_header_ = true;
      const size_t have = std::min<size_t>(in.size() - at - sizeof header, header.bytes - done_);
      if (have > 0) {
        const std::span payload(in.data() + at + sizeof header, have);
        status = session.OnBytes(header.lane, payload, [&](const wire::Frame& frame) {
          uint64_t number;
          std::memcpy(&number, frame.body, sizeof number);
          EXPECT_EQ(number, handled[static_cast<size_t>(header.lane)]);
          ++handled[static_cast<size_t>(header.lane)];
          return true;
        });
      }
      done_ += static_cast<uint32_t>(have);
      if (done_ < header.bytes) {
        in.erase(in.begin() + static_cast<long>(at + sizeof header),
                 in.begin() + static_cast<long>(at + sizeof header + have));
        break;
      }
      at += sizeof header + have;
      done_ = 0;
      read_header_ = false;
    }
    in.erase(in.begin(), in.begin() + static_cast<long>(at));
    return status;
  }
  void Cut() {
    out.clear();
    out_at = 0;
    in.clear();
    done_ = 0;
    read_header_ = false;
  }

 private:
  uint32_t done_ = 0;  // of the first packet of `in`
  bool read_header_ = false;
};

void Move(Side& from, Side& to, size_t bytes) {
  bytes = std::min(bytes, from.out.size() - from.out_at);
  to.in.insert(to.in.end(), from.out.begin() + static_cast<long>(from.out_at),
               from.out.begin() + static_cast<long>(from.out_at + bytes));
  from.out_at += bytes;
  if (from.out_at == from.out.size()) {
    from.out.clear();
    from.out_at = 0;
  }
}

class RandomSessions : public testing::TestWithParam<uint64_t> {
 protected:
  uint64_t Below(uint64_t bound) { return rng_() % bound; }
  Side& Any() { return Below(2) == 0 ? a_ : b_; }
  Side& Other(const Side& side) { return &side == &a_ ? b_ : a_; }
  void Reconnect() {
    a_.Cut();
    b_.Cut();
    // The dialer greets, then the listener: each with what it has, half of the time only one of
    // them has noticed that the connection before this one had begun.
    Side& dialer = Any();
    Side& listener = Other(dialer);
    const Position dialers = dialer.session.received();
    ASSERT_TRUE(listener.session.Resume(dialers).ok());
    if (Below(4) == 0) {  // the answer is lost: they begin again
      while (listener.Write() && Below(3) != 0) {
      }
      return Reconnect();
    }
    ASSERT_TRUE(dialer.session.Resume(listener.session.received()).ok());
  }
  void Step() {
    Side& side = Any();
    switch (Below(12)) {
      case 0:
      case 1:
        return side.Queue(Lane::kControl, Below(100));
      case 2:
      case 3:
        if (!side.session.has_room()) return;
        return side.Queue(Lane::kRelay, Below(20) == 0 ? Below(1 << 20) : Below(3000));
      case 4:
      case 5:
      case 6:
        side.Write();
        return;
      case 7:
      case 8:
      case 9:
        Move(side, Other(side), Below(30) == 0 ? 1 << 20 : Below(5000));
        ASSERT_TRUE(Other(side).Read().ok());
        return;
      case 10:
        if (Below(20) == 0) Reconnect();
        return;
      default:
        while (side.Write()) {
        }
    }
  }
  void Check(const Side& side) {
    ASSERT_EQ(side.session.CheckInvariants(), "");
    ASSERT_LE(side.session.unacked_bytes(Lane::kRelay),
              PeerSession::kRelayWindowBytes + (1 << 20) + 64);
  }
  void Settle() {
    for (int quiet = 0; quiet < 2;) {
      const bool wrote = a_.Write() | b_.Write();
      Move(a_, b_, 1 << 20);
      Move(b_, a_, 1 << 20);
      ASSERT_TRUE(a_.Read().ok() && b_.Read().ok());
      quiet = wrote ? 0 : quiet + 1;
    }
  }

  std::mt19937_64 rng_{GetParam()};
  Side a_, b_;
};

TEST_P(RandomSessions, EveryFrameArrivesOnceAndInOrder) {
  for (int i = 0; i < 5000; ++i) {
    ASSERT_NO_FATAL_FAILURE(Step());
    if (i % 64 == 0) {
      Check(a_);
      Check(b_);
    }
  }
  ASSERT_NO_FATAL_FAILURE(Reconnect());
  ASSERT_NO_FATAL_FAILURE(Settle());
  EXPECT_EQ(a_.handled, b_.queued);
  EXPECT_EQ(b_.handled, a_.queued);
  EXPECT_LT(a_.session.unacked_bytes(Lane::kRelay), 2 * PeerSession::kAckEveryBytes + (1 << 20));
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomSessions, testing::Range<uint64_t>(1, 31));

void Send(PeerSession& session, Lane lane, size_t size) {
  const std::vector<uint8_t> body(size, 1);
  session.Send(lane, FrameType::kRelay, body.data(), body.size());
}

TEST(PeerSession, WhatIsAcknowledgedIsForgotten) {
  PeerSession session;
  for (int i = 0; i < 100; ++i) Send(session, Lane::kRelay, 10'000);
  uint64_t sent = 0;
  while (const auto piece = session.Next(Lane::kRelay)) sent += piece->bytes.size();
  EXPECT_EQ(session.unacked_bytes(Lane::kRelay), sent);
  ASSERT_TRUE(session.OnAck({0, sent}).ok());
  EXPECT_FALSE(session.has_unacked());
  EXPECT_EQ(session.CheckInvariants(), "");
}

TEST(PeerSession, ALargeFrameIsCutSoThatControlNeedNotWaitForIt) {
  PeerSession session;
  Send(session, Lane::kRelay, 10 << 20);
  const auto first = session.Next(Lane::kRelay);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->bytes.size(), kMaxPayloadBytes);
  Send(session, Lane::kControl, 8);
  const auto urgent = session.Next(Lane::kControl);
  ASSERT_TRUE(urgent);
  EXPECT_EQ(urgent->bytes.size(), 16u);
}

TEST(PeerSession, WhatThePeerCannotHaveIsAnError) {
  PeerSession session;
  Send(session, Lane::kControl, 8);
  EXPECT_FALSE(session.OnAck({16, 0}).ok());  // not sent yet
  EXPECT_FALSE(session.Resume({1, 0}).ok());
  ASSERT_TRUE(session.Next(Lane::kControl));
  ASSERT_TRUE(session.OnAck({16, 0}).ok());
  EXPECT_FALSE(session.OnAck({8, 0}).ok());  // takes back what it had said
  EXPECT_FALSE(session.Resume({0, 0}).ok());
  EXPECT_FALSE(session.Resume({16, 1}).ok());
  EXPECT_TRUE(session.Resume({16, 0}).ok());
  EXPECT_EQ(session.CheckInvariants(), "");
}

TEST(PeerSession, WithoutRoomRelaysWaitAndControlDoesNot) {
  PeerSession session;
  while (session.has_room()) Send(session, Lane::kRelay, 1 << 20);
  EXPECT_LE(session.unacked_bytes(Lane::kRelay), PeerSession::kRelayWindowBytes + (2 << 20));
  Send(session, Lane::kControl, 8);
  EXPECT_TRUE(session.Next(Lane::kControl));
}

TEST(PeerSession, AFrameThatIsNotValidDoesNotTakeTheNextWithIt) {
  PeerSession from, to;
  for (int i = 0; i < 3; ++i) Send(from, Lane::kControl, 8);
  const auto piece = from.Next(Lane::kControl);
  ASSERT_TRUE(piece);
  int frames = 0;
  const Status status =
      to.OnBytes(Lane::kControl, piece->bytes, [&](const wire::Frame&) { return ++frames != 2; });
  EXPECT_EQ(status.code(), StatusCode::kProtocolError);
  EXPECT_EQ(frames, 3);
}

TEST(PeerSession, AfterItsEndNothingIsHandled) {
  PeerSession from, to;
  for (int i = 0; i < 3; ++i) Send(from, Lane::kControl, 8);
  const auto piece = from.Next(Lane::kControl);
  ASSERT_TRUE(piece);
  int frames = 0;
  EXPECT_TRUE(to.OnBytes(Lane::kControl, piece->bytes, [&](const wire::Frame&) {
                  ++frames;
                  to.End();
                  return true;
                }).ok());
  EXPECT_EQ(frames, 1);
}

TEST(PeerSession, SmallFramesSentOneByOneShareBlocks) {
  PeerSession session;
  std::set<std::shared_ptr<const void>> blocks;
  std::vector<PeerSession::Piece> pieces;
  for (int i = 0; i < 500; ++i) {
    Send(session, Lane::kControl, 100);
    const auto piece = session.Next(Lane::kControl);
    ASSERT_TRUE(piece);
    blocks.insert(piece->keep);
    pieces.push_back(*piece);
  }
  EXPECT_LE(blocks.size(), 3u);
  // What was handed out has stayed where it was.
  PeerSession other;
  int frames = 0;
  for (const PeerSession::Piece& piece : pieces) {
    ASSERT_TRUE(
        other.OnBytes(Lane::kControl, piece.bytes, [&](const wire::Frame&) { return ++frames > 0; })
            .ok());
  }
  EXPECT_EQ(frames, 500);
  EXPECT_EQ(session.CheckInvariants(), "");
}

}  // namespace
}  // namespace cyray::net
