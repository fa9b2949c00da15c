// Channel: framed, non-blocking traffic over one connected stream socket.
//
// Writes gather in memory until Flush(); reads fill the buffer of a FrameReader, from which Next()
// cuts frames in place. The channel knows no event loop: its owner calls Flush() and Fill() when
// the socket is ready, or tries at any time. Unix sockets may pass descriptors with a frame; they
// arrive with that frame.
// Threading: confined to whoever owns it (in the core library: guarded by the core's mutex).
// Invariant: bytes leave in the order of Send calls; descriptors travel with their frame's header.

#pragma once

#include <flatbuffers/flatbuffers.h>
#include <sys/socket.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "cyray/util/status.h"
#include "cyray/util/unique_fd.h"
#include "cyray/wire/byte_buffer.h"
#include "cyray/wire/frame.h"
#include "cyray/wire/frame_reader.h"

namespace cyray::wire {

class Channel {
 public:
  // `socket` must be connected, non-blocking and a stream. Frames with a body over
  // `max_body_bytes` are a protocol error of the peer.
  explicit Channel(UniqueFd socket, uint32_t max_body_bytes = kMaxFrameBytes);

  int fd() const { return socket_.get(); }
  UniqueFd ReleaseFd() { return std::move(socket_); }

  // Queues a frame. `builder` must be finished; it is not changed.
  void Send(FrameType type, const flatbuffers::FlatBufferBuilder& builder);
  void Send(FrameType type, const uint8_t* body, size_t size);
  void SendWithFds(FrameType type, const flatbuffers::FlatBufferBuilder& builder,
                   std::vector<UniqueFd> fds);
  // Queues bytes that already are whole frames without descriptors.
  void SendRaw(const uint8_t* frames, size_t size);

  bool HasUnsent() const { return sent_ < out_.size(); }
  size_t unsent_bytes() const { return out_.size() - sent_; }
  // Writes what the socket takes. Not ok when the connection broke. HasUnsent() tells what is left.
  Status Flush();

  // Reads what is there without blocking, up to a bound. Returns the bytes read, 0 when nothing is
  // there, an error when the peer is gone or the socket broke. Invalidates earlier frames.
  Result<size_t> Fill();
  // The next whole frame that was read; nullopt when there is none; an error when the bytes cannot
  // be a frame. The frame's body is valid until the next Fill().
  Result<std::optional<Frame>> Next() { return reader_.Next(); }

 private:
  struct PendingFds {
    size_t offset;  // in out_, of the header they travel with
    std::vector<UniqueFd> fds;
  };
  ssize_t WriteSome();

  UniqueFd socket_;
  ByteBuffer out_;
  size_t sent_ = 0;
  std::deque<PendingFds> out_fds_;
  FrameReader reader_;
};

}  // namespace cyray::wire
