#include "cyray/net/tcp_listener.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "cyray/util/log.h"

namespace cyray::net {
namespace {

constexpr int kBacklog = 512;
constexpr uint32_t kReadable = EPOLLIN;

Result<sockaddr_in> LocalAddress(int listening) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  if (::getsockname(listening, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return Fail(Status::FromErrno("getsockname"));
  }
  if (address.sin_family != AF_INET) {
    return Fail(StatusCode::kInvalidArgument, "not a socket of an IPv4 address");
  }
  return address;
}

}  // namespace

TcpListener::~TcpListener() { Close(); }

void TcpListener::Close() {
  if (!socket_.valid()) return;
  pause_.Stop();
  loop_->Remove(socket_.get());
  socket_.reset();
}

Result<UniqueFd> TcpListener::Open(const std::string& ip, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (inet_pton(AF_INET, ip.c_str(), &address.sin_addr) != 1) {
    return Fail(StatusCode::kInvalidArgument, "not an IPv4 address: " + ip);
  }
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return Fail(Status::FromErrno("socket"));
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(socket.get(), kBacklog) != 0) {
    return Fail(Status::FromErrno("cannot listen on " + ip + ":" + std::to_string(port)));
  }
  return socket;
}

Result<std::string> TcpListener::AddressOf(int listening) {
  const Result<sockaddr_in> address = LocalAddress(listening);
  if (!address) return Fail(address.error());
  char ip[INET_ADDRSTRLEN];
  inet_ntop(AF_INET, &address->sin_addr, ip, sizeof ip);
  return ip + (":" + std::to_string(ntohs(address->sin_port)));
}

Result<uint16_t> TcpListener::PortOf(int listening) {
  const Result<sockaddr_in> address = LocalAddress(listening);
  if (!address) return Fail(address.error());
  return ntohs(address->sin_port);
}

Status TcpListener::Serve(UniqueFd listening, std::function<void(UniqueFd)> on_accepted) {
  const Result<uint16_t> port = PortOf(listening.get());
  if (!port) return port.error();
  port_ = *port;
  socket_ = std::move(listening);
  on_accepted_ = std::move(on_accepted);
  loop_->Add(socket_.get(), EPOLLIN, [this](uint32_t) { Accept(); });
  return Status::Ok();
}

Status TcpListener::Listen(const std::string& ip, uint16_t port,
                           std::function<void(UniqueFd)> on_accepted) {
  Result<UniqueFd> listening = Open(ip, port);
  if (!listening) return listening.error();
  return Serve(std::move(*listening), std::move(on_accepted));
}

void TcpListener::SetAccepting(bool accepting) {
  if (std::exchange(accepting_, accepting) == accepting || !socket_.valid()) return;
  if (!pause_.running()) loop_->Modify(socket_.get(), accepting ? kReadable : 0);
}

void TcpListener::Accept() {
  while (accepting_) {
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
    pause_.Start(100, [this] { loop_->Modify(socket_.get(), accepting_ ? kReadable : 0); });
    return;
  }
}

}  // namespace cyray::net
