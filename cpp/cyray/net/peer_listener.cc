#include "cyray/net/peer_listener.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>

#include "cyray/util/log.h"

namespace cyray::net {

PeerListener::~PeerListener() {
  loop_->Cancel(pause_);
  if (socket_.valid()) loop_->Remove(socket_.get());
}

Status PeerListener::Listen(const std::string& ip, uint16_t port,
                            std::function<void(UniqueFd)> on_accepted) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (inet_pton(AF_INET, ip.c_str(), &address.sin_addr) != 1) {
    return Status(StatusCode::kInvalidArgument, "not an IPv4 address: " + ip);
  }
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return Status::FromErrno("socket");
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return Status::FromErrno("bind to " + ip + ":" + std::to_string(port));
  }
  if (::listen(socket.get(), 128) != 0) return Status::FromErrno("listen");
  socklen_t size = sizeof address;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return Status::FromErrno("getsockname");
  }
  port_ = ntohs(address.sin_port);
  socket_ = std::move(socket);
  on_accepted_ = std::move(on_accepted);
  loop_->Add(socket_.get(), EPOLLIN, [this](uint32_t) { Accept(); });
  return Status::Ok();
}

void PeerListener::Accept() {
  while (true) {
    UniqueFd socket(::accept4(socket_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket.valid()) {
      on_accepted_(std::move(socket));
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return;
    // Out of descriptors, most likely: pause, so that the loop does not spin on it.
    CYRAY_LOG(kWarning) << Status::FromErrno("accept").message();
    loop_->Modify(socket_.get(), 0);
    pause_ = loop_->RunAfter(100, [this] { loop_->Modify(socket_.get(), EPOLLIN); });
    return;
  }
}

}  // namespace cyray::net
