#include "cyray/core/fork_server.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "cyray/util/log.h"
#include "cyray/util/status.h"

namespace cyray::core {
namespace {

using nlohmann::json;

constexpr size_t kMaxMessageBytes = 64 << 10;
constexpr size_t kMaxFds = 8;

// Bytes of one message, 0 at the end, negative for an error.
ssize_t Receive(int socket, char* buffer, std::vector<UniqueFd>* fds) {
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))];
  iovec part{buffer, kMaxMessageBytes};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  if (n < 0) return n;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
      fds->emplace_back(fd);
    }
  }
  return n;
}

void Send(int socket, const json& said, int fd = -1) {
  // What the request had as its token comes back as it was, whatever bytes that were.
  std::string text = said.dump(-1, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace);
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
  iovec part{text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  // When that fails the raylet is gone; the next receive says so.
  while (::sendmsg(socket, &message, MSG_NOSIGNAL) < 0 && errno == EINTR) {
  }
}

int OpenPidFd(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

// Null when `request` is no such request.
const json* Member(const json& request, const char* name, json::value_t type) {
  const auto it = request.find(name);
  return it != request.end() && it->type() == type ? &*it : nullptr;
}

bool ReadOrder(const json& request, std::vector<UniqueFd>& fds, ForkServer::Order* order) {
  if (!request.is_object() || fds.size() != order->fds.size()) return false;
  const json* op = Member(request, "op", json::value_t::string);
  const json* worker = Member(request, "worker_id", json::value_t::string);
  if (op == nullptr || *op != "fork" || worker == nullptr) return false;
  order->worker_id = worker->get<std::string>();
  std::move(fds.begin(), fds.end(), order->fds.begin());
  return true;
}

}  // namespace

ForkServer::ForkServer(int socket, int wakeup)
    : socket_(socket),
      wakeup_(wakeup),
      buffer_(std::make_unique_for_overwrite<char[]>(kMaxMessageBytes)) {}

ForkServer::Event ForkServer::Serve(int timeout_ms) noexcept {
  while (true) {
    pollfd polled[] = {{wakeup_, POLLIN, 0}, {socket_, POLLIN, 0}};
    const int n = ::poll(polled, 2, timeout_ms);
    if (n == 0) return Event::kIdle;
    if (n < 0) {
      CYRAY_CHECK(errno == EINTR) << Status::FromErrno("poll").message();
      continue;  // a signal, of which `wakeup` tells
    }
    if (polled[0].revents != 0) return Event::kWoken;
    std::vector<UniqueFd> fds;
    const ssize_t size = Receive(socket_, buffer_.get(), &fds);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return Event::kClosed;
    if (Handle({buffer_.get(), static_cast<size_t>(size)}, std::move(fds))) return Event::kChild;
  }
}

bool ForkServer::Handle(std::string_view text, std::vector<UniqueFd> fds) {
  const json request = json::parse(text, nullptr, /*allow_exceptions=*/false);
  const json token = request.is_object() ? request.value("token", json()) : json();
  order_ = {};
  std::string error;
  if (!ReadOrder(request, fds, &order_)) {
    error = "not a fork request with " + std::to_string(order_.fds.size()) +
            " descriptors: " + std::string(text.substr(0, 500));
  } else if (const pid_t pid = ::fork(); pid == 0) {
    return true;
  } else if (pid < 0) {
    error = Status::FromErrno("fork").message();
  } else if (const UniqueFd pidfd(OpenPidFd(pid)); pidfd.valid()) {  // before it can be reaped
    forked_.push_back(pid);
    Send(socket_, {{"op", "forked"}, {"token", token}, {"pid", pid}}, pidfd.get());
  } else {
    error = Status::FromErrno("pidfd_open").message();
    ::kill(pid, SIGKILL);
  }
  order_ = {};
  if (error.empty()) return false;
  CYRAY_LOG(kError) << "cannot fork a worker: " << error;
  Send(socket_, {{"op", "failed"}, {"token", token}, {"error", error}});
  return false;
}

}  // namespace cyray::core
