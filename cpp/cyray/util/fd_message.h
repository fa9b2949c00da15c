// Descriptors that go with bytes over a Unix socket (SCM_RIGHTS).
//
// Threading: functions without state.

#pragma once

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "cyray/util/unique_fd.h"

namespace cyray {

// With one message; more are refused in sending and lost in receiving.
inline constexpr size_t kMaxMessageFds = 8;

// As sendmsg(2), without SIGPIPE: the bytes sent, or -1 with errno. `fds` stay the caller's.
ssize_t SendWithFds(int socket, std::string_view bytes, std::span<const int> fds, int flags = 0);

// As recvmsg(2): the bytes of a message, or what there is of a stream; 0 at the end, -1 with errno.
// `take` gets each descriptor that came with them, closed in programs that are started. `lost`:
// there were more, which this process could not have.
template <class Take>
ssize_t ReceiveFds(int socket, std::span<uint8_t> room, int flags, bool* lost, Take take) {
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxMessageFds * sizeof(int))];
  iovec part{room.data(), room.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t n = ::recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
  if (n < 0) return n;
  *lost = (message.msg_flags & MSG_CTRUNC) != 0;
  for (cmsghdr* h = CMSG_FIRSTHDR(&message); h != nullptr; h = CMSG_NXTHDR(&message, h)) {
    if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
      take(UniqueFd(fd));
    }
  }
  return n;
}

// The same; they are added to `fds`.
inline ssize_t ReceiveWithFds(int socket, std::span<char> room, std::vector<UniqueFd>* fds,
                              int flags = 0) {
  bool lost = false;
  const std::span<uint8_t> bytes(reinterpret_cast<uint8_t*>(room.data()), room.size());
  return ReceiveFds(socket, bytes, flags, &lost,
                    [fds](UniqueFd fd) { fds->push_back(std::move(fd)); });
}

}  // namespace cyray
