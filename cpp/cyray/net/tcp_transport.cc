#include "cyray/net/tcp_transport.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace cyray::net {
namespace {

constexpr int kSilenceMs = 6000;

void SetOption(int fd, int level, int name, int value) {
  ::setsockopt(fd, level, name, &value, sizeof value);
}

// A peer that vanished without closing is noticed within kSilenceMs.
void ConfigureSocket(int fd) {
  SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  SetOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, 2);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
  SetOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, kSilenceMs);
}

bool WouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK; }

std::unexpected<Status> Gone(const char* what) {
  return Fail(StatusCode::kDisconnected, Status::FromErrno(what).message());
}

class TcpStream : public Stream {
 public:
  TcpStream(EventLoop* loop, UniqueFd socket, Traffic* traffic)
      : loop_(loop), socket_(std::move(socket)), traffic_(traffic) {
    ConfigureSocket(socket_.get());
  }
  ~TcpStream() override {
    if (watched_) loop_->Remove(socket_.get());
  }

  void Watch(ReadyCallback on_ready) override {
    watched_ = true;
    loop_->Add(socket_.get(), EPOLLIN | EPOLLOUT,
               [on_ready = std::move(on_ready)](uint32_t events) {
                 const bool ended = (events & (EPOLLERR | EPOLLHUP)) != 0;
                 on_ready(ended || (events & EPOLLIN) != 0, ended || (events & EPOLLOUT) != 0);
               });
  }
  void AwaitWritable(bool wanted) override {
    if (std::exchange(awaits_writable_, wanted) == wanted) return;
    loop_->Modify(socket_.get(), wanted ? EPOLLIN | EPOLLOUT : EPOLLIN);
  }
  Result<size_t> Read(std::span<const iovec> into) override {
    ssize_t n;
    do {
      msghdr message{};
      message.msg_iov = const_cast<iovec*>(into.data());
      message.msg_iovlen = into.size();
      n = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n == 0) return Fail(StatusCode::kDisconnected, "the peer closed the connection");
    if (n > 0) {
      traffic_->received_bytes += static_cast<size_t>(n);
      return static_cast<size_t>(n);
    }
    if (WouldBlock()) return size_t{0};
    return Gone("recv");
  }
  Result<size_t> Write(std::span<const iovec> parts) override {
    ssize_t n;
    do {
      msghdr message{};
      message.msg_iov = const_cast<iovec*>(parts.data());
      message.msg_iovlen = parts.size();
      n = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
      traffic_->sent_bytes += static_cast<size_t>(n);
      return static_cast<size_t>(n);
    }
    if (WouldBlock()) return size_t{0};
    return Gone("send");
  }
  void LimitUnsent(size_t bytes) override {
    SetOption(socket_.get(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, static_cast<int>(bytes));
  }

 private:
  EventLoop* const loop_;
  const UniqueFd socket_;
  Traffic* const traffic_;
  bool watched_ = false;
  bool awaits_writable_ = true;
};

Result<sockaddr_in> AddressOf(const std::string& ip, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (inet_pton(AF_INET, ip.c_str(), &address.sin_addr) != 1) {
    return Fail(StatusCode::kInvalidArgument, "not an IPv4 address: " + ip);
  }
  return address;
}

}  // namespace

std::unique_ptr<Stream> TcpTransport::Wrap(UniqueFd socket) {
  return std::make_unique<TcpStream>(loop_, std::move(socket), &traffic_);
}

Result<std::unique_ptr<Stream>> TcpTransport::Dial(const std::string& ip, uint16_t port) {
  const Result<sockaddr_in> address = AddressOf(ip, port);
  if (!address) return Fail(address.error());
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return Fail(Status::FromErrno("socket"));
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0 &&
      errno != EINPROGRESS) {
    return Gone("connect");
  }
  return Wrap(std::move(socket));
}

Status TcpTransport::Listen(const std::string& ip, uint16_t port, AcceptCallback on_accepted) {
  return listener_.Listen(ip, port, [this, on_accepted = std::move(on_accepted)](UniqueFd socket) {
    on_accepted(Wrap(std::move(socket)));
  });
}

}  // namespace cyray::net
