// FrameReader: cuts frames out of the bytes of one stream, in place.
//
// Its owner reads from the socket into Room(), says how much came, and takes whole frames with
// Next(). It knows no socket.
// Threading: confined to whoever owns it.
// Invariants: bodies are aligned to 8 bytes; memory grows with the bytes that came, not with what a
// header promises; descriptors go to the frames in the order in which both came.

#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>

#include "cyray/util/status.h"
#include "cyray/util/unique_fd.h"
#include "cyray/wire/byte_buffer.h"
#include "cyray/wire/frame.h"

namespace cyray::wire {

class FrameReader {
 public:
  static constexpr size_t kReadChunkBytes = 64 << 10;

  // Frames with a body over `max_body_bytes` are a protocol error of the peer.
  explicit FrameReader(uint32_t max_body_bytes = kMaxFrameBytes)
      : max_body_bytes_(max_body_bytes) {}

  // Room for the next read: a chunk, or what the next frame still needs if that is more.
  // Invalidates earlier frames.
  std::span<uint8_t> Room();
  // The first `bytes` of the room hold what came.
  void Filled(size_t bytes) { in_.resize(in_.size() + bytes); }
  // A descriptor that came with these bytes. An error when the peer sends ever more of them without
  // frames that they belong to.
  Status AddFd(UniqueFd fd);

  // The next whole frame; nullopt when there is none; an error when the bytes cannot be a frame.
  // The frame's body is valid until the next Room().
  Result<std::optional<Frame>> Next();

 private:
  const uint32_t max_body_bytes_;
  ByteBuffer in_;
  size_t consumed_ = 0;
  size_t want_bytes_ = 0;  // at least so much is needed for the next whole frame
  std::deque<UniqueFd> fds_;
};

}  // namespace cyray::wire
