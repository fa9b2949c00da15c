#include "cyray/wire/channel.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>

#include "cyray/util/fd_message.h"
#include "cyray/util/log.h"

namespace cyray::wire {
namespace {

constexpr size_t kKeepCapacityBytes = 1 << 20;

}  // namespace

Channel::Channel(UniqueFd socket, uint32_t max_body_bytes)
    : socket_(std::move(socket)), reader_(max_body_bytes) {}

void Channel::Send(FrameType type, const flatbuffers::FlatBufferBuilder& builder) {
  AppendFrame(out_, type, builder.GetBufferPointer(), builder.GetSize());
}

void Channel::Send(FrameType type, const uint8_t* body, size_t size) {
  AppendFrame(out_, type, body, size);
}

void Channel::SendWithFds(FrameType type, const flatbuffers::FlatBufferBuilder& builder,
                          std::vector<UniqueFd> fds) {
  CYRAY_CHECK(fds.size() <= kMaxFdsPerFrame) << fds.size();
  const auto count = static_cast<uint8_t>(fds.size());
  if (count > 0) out_fds_.push_back({out_.size(), std::move(fds)});
  AppendFrame(out_, type, builder.GetBufferPointer(), builder.GetSize(), count);
}

void Channel::SendRaw(const uint8_t* frames, size_t size) { out_.append(frames, size); }

ssize_t Channel::WriteSome() {
  size_t end = out_.size();
  if (out_fds_.empty()) {
    return ::send(socket_.get(), out_.data() + sent_, end - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  if (out_fds_.front().offset > sent_) {  // descriptors may only go with their own header
    end = out_fds_.front().offset;
    return ::send(socket_.get(), out_.data() + sent_, end - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  if (out_fds_.size() > 1) end = out_fds_[1].offset;
  int fds[kMaxFdsPerFrame];
  size_t count = 0;
  for (const UniqueFd& fd : out_fds_.front().fds) fds[count++] = fd.get();
  const std::string_view bytes(reinterpret_cast<const char*>(out_.data() + sent_), end - sent_);
  const ssize_t n = cyray::SendWithFds(socket_.get(), bytes, {fds, count}, MSG_DONTWAIT);
  if (n > 0) out_fds_.pop_front();
  return n;
}

Status Channel::Flush() {
  while (HasUnsent()) {
    const ssize_t n = WriteSome();
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        // A slow reader must not keep what it has read; but moving the rest up costs its size, so
        // that is done when as much has been sent.
        if (sent_ > kKeepCapacityBytes && sent_ >= out_.size() - sent_) {
          out_.consume(sent_);
          for (auto& pending : out_fds_) pending.offset -= sent_;
          sent_ = 0;
        }
        return Status::Ok();
      }
      return Status(StatusCode::kDisconnected, Status::FromErrno("send").message());
    }
    sent_ += static_cast<size_t>(n);
  }
  out_.clear();
  out_.shrink(kKeepCapacityBytes);
  sent_ = 0;
  return Status::Ok();
}

Result<size_t> Channel::Fill() {
  const std::span<uint8_t> room = reader_.Room();
  Status taken = Status::Ok();
  bool lost = false;
  ssize_t n;
  do {
    n = ReceiveFds(socket_.get(), room, MSG_DONTWAIT, &lost, [&](UniqueFd fd) {
      if (Status added = reader_.AddFd(std::move(fd)); !added.ok()) taken = std::move(added);
    });
  } while (n < 0 && errno == EINTR);
  if (n < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) return size_t{0};
    return Fail(StatusCode::kDisconnected, Status::FromErrno("recv").message());
  }
  if (n == 0) return Fail(StatusCode::kDisconnected, "the peer closed the connection");
  reader_.Filled(static_cast<size_t>(n));
  // Later frames would get the descriptors of earlier ones.
  if (lost) {
    return Fail(StatusCode::kIoError,
                "file descriptors of a frame were lost: this process has as many open as it may, "
                "or the peer sent too many");
  }
  if (!taken.ok()) return Fail(std::move(taken));
  return static_cast<size_t>(n);
}

}  // namespace cyray::wire
