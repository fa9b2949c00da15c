// Packets: what two raylets exchange after the handshake.
//
//   offset 0   u32  bytes of the payload, little endian, at most kMaxPayloadBytes
//   offset 4   u8   Lane
//   offset 5        3 zeros
//   offset 8   u64  bytes of the control lane that the sender of this packet has received
//   offset 16  u64  the same of the relay lane
//   offset 24       the payload
//
// A packet of the control or relay lane brings the next bytes of that lane's stream of frames
// (peer_session.h). One of the bulk lane is one ObjectChunk frame; its raw bytes follow the packet,
// outside of any. The first packet of each side, and no other, is of lane kHello.

#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>

namespace cyray::net {

enum class Lane : uint8_t { kControl = 0, kRelay = 1, kBulk = 2, kAck = 3, kHello = 4 };
inline constexpr size_t kSessionLanes = 2;  // kControl, kRelay

// So many bytes of each lane of a session.
using Position = std::array<uint64_t, kSessionLanes>;

// So that nothing waits long behind a packet whose writing has begun.
inline constexpr uint32_t kMaxPayloadBytes = 256 << 10;
// Raw bytes of an ObjectChunk. A peer that announces more breaks the protocol.
inline constexpr uint32_t kMaxChunkBytes = 1 << 20;

struct PacketHeader {
  uint32_t bytes = 0;
  Lane lane = Lane::kAck;
  std::array<uint8_t, 3> zeros{};
  Position received{};
};
inline constexpr size_t kPacketHeaderBytes = 24;
static_assert(sizeof(PacketHeader) == kPacketHeaderBytes);

// Whether it can be the header of a packet, after the hello.
inline bool IsValid(const PacketHeader& header) {
  if (header.zeros != std::array<uint8_t, 3>{} || header.bytes > kMaxPayloadBytes) return false;
  if (header.lane == Lane::kAck) return header.bytes == 0;
  return header.lane < Lane::kAck && header.bytes > 0;
}

// What the hello says beside what its sender has received.
struct Hello {
  uint64_t opened = 0;  // the connections of this session that its sender has seen open
};

}  // namespace cyray::net
