#include "cpp_tests/sim/network.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "cpp_tests/sim/raw.h"
#include "cyray/util/log.h"

namespace cyray::sim {
namespace {

constexpr size_t kWindowBytes = 1 << 20;
constexpr size_t kReadBytes = 64 << 10;
constexpr int64_t kFullRetryNs = 200'000;
constexpr int64_t kBlockedRetryNs = 50 * kMs;
constexpr int kSocketBytes = 208 << 10;

Network* network = nullptr;

bool MakePair(int type, int ends[2]) {
  return RawSyscall(SYS_socketpair, AF_UNIX, SOCK_STREAM | (type & (SOCK_NONBLOCK | SOCK_CLOEXEC)),
                    0, reinterpret_cast<long>(ends)) == 0;
}

void SetNonBlocking(int fd) { RawSyscall(SYS_fcntl, fd, F_SETFL, O_NONBLOCK); }

void RawClose(int fd) {
  if (fd >= 0) RawSyscall(SYS_close, fd);
}

long RawRead(int fd, void* to, size_t size) {
  return RawSyscall(SYS_read, fd, reinterpret_cast<long>(to), static_cast<long>(size));
}

long RawSend(int fd, const void* from, size_t size) {
  return RawSyscall(SYS_sendto, fd, reinterpret_cast<long>(from), static_cast<long>(size),
                    MSG_NOSIGNAL | MSG_DONTWAIT);
}

void SetSendBuffer(int fd, int bytes) {
  RawSyscall(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDBUF, reinterpret_cast<long>(&bytes),
             sizeof bytes);
}

int NodeOf(uint32_t ip) { return static_cast<int>(ip & 0xff) - 1; }

}  // namespace

Network::Network(Kernel* kernel) : kernel_(kernel) {
  network = this;
  kernel_->set_on_duplicate([this](int fd, int copy) { Duplicated(fd, copy); });
  kernel_->set_on_network([this] { Pump(); });
}

Network* Network::Get() { return network; }

bool Network::IsBlocked(int a, int b) const {
  if (a == b) return false;
  return dark_.contains(a) || dark_.contains(b) || blocked_.contains(std::minmax(a, b));
}

int64_t Network::Delay(int a, int b) {
  const auto far = far_.find(std::minmax(a, b));
  const int64_t more_ns = far != far_.end() ? far->second : 0;
  const auto spread = static_cast<uint64_t>(spread_ns_ + more_ns);
  return least_ns_ + static_cast<int64_t>(kernel_->time().Below(spread));
}

void Network::Watch(int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  RawSyscall(SYS_epoll_ctl, kernel_->network_epoll(), EPOLL_CTL_ADD, fd,
             reinterpret_cast<long>(&event));
}

// --- Sockets ----------------------------------------------------------------------------------

int Network::Socket(int type) {
  int ends[2];
  if (!MakePair(type, ends)) return -1;
  SetNonBlocking(ends[1]);
  sockets_[ends[0]] = std::make_shared<Socket_>(
      Socket_{.far = ends[1], .type = type, .node = Kernel::Current()->node});
  return kernel_->Own(ends[0]);
}

int Network::Bind(int fd, uint32_t ip, uint16_t port) {
  Socket_& socket = *sockets_.at(fd);
  if (port == 0) port = next_port_++;
  if (listeners_.contains({ip, port})) {
    errno = EADDRINUSE;
    return -1;
  }
  socket.ip = ip;
  socket.port = port;
  return 0;
}

int Network::Listen(int fd) {
  Socket_& socket = *sockets_.at(fd);
  if (!listeners_.emplace(std::pair(socket.ip, socket.port), sockets_.at(fd)).second) {
    errno = EADDRINUSE;
    return -1;
  }
  socket.listening = true;
  return 0;
}

int Network::Accept(int fd, int flags) {
  Socket_& listener = *sockets_.at(fd);
  if (listener.arrived.empty()) {
    errno = EAGAIN;
    return -1;
  }
  char byte;
  RawRead(fd, &byte, 1);
  const int end = listener.arrived.front();
  listener.arrived.pop_front();
  RawSyscall(SYS_fcntl, end, F_SETFL, (flags & SOCK_NONBLOCK) != 0 ? O_NONBLOCK : 0);
  return kernel_->Own(end);
}

std::pair<uint32_t, int> Network::AddressOf(int fd) const {
  const auto it = sockets_.find(fd);
  return it != sockets_.end() ? std::pair(it->second->ip, int{it->second->port})
                              : std::pair(0u, -1);
}

void Network::Duplicated(int fd, int copy) {
  const auto it = sockets_.find(fd);
  if (it != sockets_.end()) sockets_[copy] = it->second;
}

int Network::TakeError(int fd) {
  const auto it = sockets_.find(fd);
  return it != sockets_.end() ? std::exchange(it->second->error, 0) : 0;
}

void Network::Closed(int fd) {
  const auto node = sockets_.extract(fd);
  if (node.empty() || node.mapped().use_count() > 1) return;
  const Socket_& socket = *node.mapped();
  if (!socket.listening) return;
  listeners_.erase({socket.ip, socket.port});
  for (const int end : socket.arrived) RawClose(end);
  RawClose(socket.far);
}

// Until the connection stands, the socket is full: it becomes writable by that.
int Network::Connect(int fd, uint32_t ip, uint16_t port) {
  Socket_& socket = *sockets_.at(fd);
  SetSendBuffer(fd, 4096);
  const std::vector<uint8_t> filler(4096);
  while (RawSend(fd, filler.data(), filler.size()) > 0) {
  }
  const int far = socket.far;
  const int node = socket.node;
  kernel_->time().At(kernel_->now_ns() + 2 * Delay(node, NodeOf(ip)),
                     [this, far, node, fd, ip, port] { Establish(far, node, fd, ip, port, 0); });
  errno = EINPROGRESS;
  return -1;
}

void Network::Refuse(int far, int fd, int error) {
  const auto it = sockets_.find(fd);
  if (it != sockets_.end() && it->second->far == far) it->second->error = error;
  RawClose(far);
}

void Network::Establish(int far, int from_node, int fd, uint32_t ip, uint16_t port, int attempt) {
  const int to_node = NodeOf(ip);
  const auto dialer = sockets_.find(fd);
  if (dialer == sockets_.end() || dialer->second->far != far) return RawClose(far);  // given up
  if (IsBlocked(from_node, to_node)) {  // the packet is lost, another is sent after 1, 2, 4 s
    kernel_->time().At(kernel_->now_ns() + (1'000 * kMs << std::min(attempt, 4)),
                       [=, this] { Establish(far, from_node, fd, ip, port, attempt + 1); });
    return;
  }
  const auto listening = listeners_.find({ip, port});
  int ends[2];
  if (listening == listeners_.end() || !MakePair(SOCK_CLOEXEC, ends)) {
    return Refuse(far, fd, ECONNREFUSED);
  }
  SetNonBlocking(ends[1]);
  const std::shared_ptr<Socket_> found = listening->second.lock();
  Socket_& listener = *found;
  listener.arrived.push_back(ends[0]);
  RawSend(listener.far, "c", 1);
  std::vector<uint8_t> filler(kReadBytes);
  while (RawRead(far, filler.data(), filler.size()) > 0) {
  }
  SetSendBuffer(fd, kSocketBytes);
  auto connection = std::make_shared<Connection>();
  connection->a = from_node;
  connection->b = to_node;
  connection->ways[0].from = connection->ways[1].to = far;
  connection->ways[0].to = connection->ways[1].from = ends[1];
  by_far_[far] = {connection, 0};
  by_far_[ends[1]] = {connection, 1};
  connections_.push_back(connection);
  Watch(far);
  Watch(ends[1]);
}

// --- Bytes on their way -----------------------------------------------------------------------

void Network::Pump() {
  epoll_event events[16];
  const int count = static_cast<int>(
      RawSyscall(SYS_epoll_wait, kernel_->network_epoll(), reinterpret_cast<long>(events), 16, 0));
  for (int i = 0; i < count; ++i) {
    const auto it = by_far_.find(events[i].data.fd);
    if (it == by_far_.end()) continue;
    const auto [connection, way] = it->second;
    Read(connection, way);
  }
}

void Network::Read(const ConnectionPtr& connection, int way) {
  Direction& direction = connection->ways[static_cast<size_t>(way)];
  std::vector<uint8_t> bytes(kReadBytes);
  const long n = RawRead(direction.from, bytes.data(), bytes.size());
  if (n < 0 && errno == EAGAIN) return;
  bytes.resize(n > 0 ? static_cast<size_t>(n) : 0);
  direction.bytes += bytes.size();
  const bool last = bytes.empty();
  const int64_t before = direction.flight.empty() ? 0 : direction.flight.back().first;
  const int64_t due = std::max(before, kernel_->now_ns() + Delay(connection->a, connection->b));
  direction.flight.emplace_back(due, std::move(bytes));
  if (last || direction.bytes > kWindowBytes) {
    direction.reading = false;
    RawSyscall(SYS_epoll_ctl, kernel_->network_epoll(), EPOLL_CTL_DEL, direction.from);
  }
  if (last) by_far_.erase(direction.from);
  Arm(connection, way, due);
}

void Network::Arm(const ConnectionPtr& connection, int way, int64_t at_ns) {
  Direction& direction = connection->ways[static_cast<size_t>(way)];
  if (std::exchange(direction.scheduled, true)) return;
  kernel_->time().At(at_ns, [this, connection, way] { Deliver(connection, way); });
}

void Network::Deliver(const ConnectionPtr& connection, int way) {
  Direction& direction = connection->ways[static_cast<size_t>(way)];
  direction.scheduled = false;
  if (connection->cut || direction.flight.empty()) return;
  const int64_t now = kernel_->now_ns();
  if (IsBlocked(connection->a, connection->b)) return Arm(connection, way, now + kBlockedRetryNs);
  auto& [due, bytes] = direction.flight.front();
  if (bytes.empty()) return EndConnection(connection);
  const long n = RawSend(direction.to, bytes.data(), bytes.size());
  if (n < 0 && errno != EAGAIN) return EndConnection(connection);  // nobody reads it any more
  if (n > 0) {
    direction.bytes -= static_cast<size_t>(n);
    bytes.erase(bytes.begin(), bytes.begin() + n);
    if (bytes.empty()) direction.flight.pop_front();
  }
  if (!direction.reading && direction.bytes <= kWindowBytes && by_far_.contains(direction.from)) {
    direction.reading = true;
    Watch(direction.from);
  }
  if (direction.flight.empty()) return;
  Arm(connection, way, n < 0 ? now + kFullRetryNs : std::max(now, direction.flight.front().first));
}

void Network::EndConnection(const ConnectionPtr& connection) {
  if (std::exchange(connection->cut, true)) return;
  for (Direction& direction : connection->ways) {
    by_far_.erase(direction.from);
    RawClose(direction.from);
    direction.flight.clear();
  }
  std::erase(connections_, connection);
}

bool Network::CutOne(uint64_t draw) {
  std::vector<ConnectionPtr> between;
  for (const ConnectionPtr& connection : connections_) {
    if (connection->a != connection->b) between.push_back(connection);
  }
  if (between.empty()) return false;
  const ConnectionPtr connection = between[draw % between.size()];
  kernel_->Log("a connection between nodes " + std::to_string(connection->a) + " and " +
               std::to_string(connection->b) + " is cut");
  EndConnection(connection);
  return true;
}

}  // namespace cyray::sim
