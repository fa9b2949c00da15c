// Descriptors that go with bytes over a Unix socket (SCM_RIGHTS).
//
// Threading: functions without state.

#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "cyray/util/unique_fd.h"

namespace cyray {

// With one message; more are refused in sending and lost in receiving.
inline constexpr size_t kMaxMessageFds = 8;

// As sendmsg(2), without SIGPIPE: the bytes sent, or -1 with errno. `fds` stay the caller's.
ssize_t SendWithFds(int socket, std::string_view bytes, std::span<const int> fds, int flags = 0);

// As recvmsg(2): the bytes of a message, or what there is of a stream; 0 at the end, -1 with errno.
// What came with them, closed in programs that are started, is added to `fds`.
ssize_t ReceiveWithFds(int socket, std::span<char> room, std::vector<UniqueFd>* fds, int flags = 0);

// Calls `take` with each descriptor of a message that was received; they are its now.
template <class Take>
void TakeFds(msghdr& message, Take take) {
  for (cmsghdr* h = CMSG_FIRSTHDR(&message); h != nullptr; h = CMSG_NXTHDR(&message, h)) {
    if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
      take(UniqueFd(fd));
    }
  }
}

}  // namespace cyray
