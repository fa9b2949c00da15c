#include "cyray/wire/frame_reader.h"

#include <algorithm>

namespace cyray::wire {
namespace {

constexpr size_t kKeepCapacityBytes = 1 << 20;
constexpr size_t kMaxUnclaimedFds = 64;

}  // namespace

std::span<uint8_t> FrameReader::Room() {
  if (consumed_ > 0) {
    in_.consume(consumed_);
    consumed_ = 0;
  }
  in_.shrink(kKeepCapacityBytes);
  const size_t have = in_.size();
  const size_t room = std::max(kReadChunkBytes, want_bytes_ > have ? want_bytes_ - have : 0);
  in_.reserve(have + room);
  return {in_.data() + have, room};
}

Status FrameReader::AddFd(UniqueFd fd) {
  if (fds_.size() >= kMaxUnclaimedFds) {
    return {StatusCode::kProtocolError, "the peer sends file descriptors without frames for them"};
  }
  fds_.push_back(std::move(fd));
  return Status::Ok();
}

Result<std::optional<Frame>> FrameReader::Next() {
  const size_t have = in_.size() - consumed_;
  want_bytes_ = 0;
  if (have < kFrameHeaderBytes) return std::nullopt;
  FrameHeader header;
  std::memcpy(&header, in_.data() + consumed_, sizeof header);
  if (header.body_bytes > max_body_bytes_ || header.body_bytes % 8 != 0 || header.reserved != 0 ||
      header.fd_count > kMaxFdsPerFrame) {
    return Fail(StatusCode::kProtocolError, "not a frame header");
  }
  const size_t total = kFrameHeaderBytes + header.body_bytes;
  if (have < total) {
    // Grow towards a large frame as its bytes come, so that a lying header costs no memory.
    want_bytes_ = std::min(total, std::max<size_t>(2 * have, kReadChunkBytes));
    return std::nullopt;
  }
  if (fds_.size() < header.fd_count) {
    return Fail(StatusCode::kProtocolError, "a frame came without its file descriptors");
  }
  Frame frame{static_cast<FrameType>(header.type),
              in_.data() + consumed_ + kFrameHeaderBytes,
              header.body_bytes,
              {}};
  for (int i = 0; i < header.fd_count; ++i) {
    frame.fds.push_back(std::move(fds_.front()));
    fds_.pop_front();
  }
  consumed_ += total;
  return std::optional<Frame>(std::move(frame));
}

}  // namespace cyray::wire
