#include "cyray/core/fork_server.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "cyray/util/fd_message.h"
#include "cyray/util/log.h"
#include "cyray/util/status.h"

namespace cyray::core {
namespace {

using nlohmann::json;

constexpr size_t kMaxMessageBytes = 64 << 10;

// Whatever bytes of others it has.
std::string Text(const json& value) {
  return value.dump(-1, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace);
}

void Send(int socket, const json& said, std::span<const int> fds = {}) {
  const std::string text = Text(said);
  // When that fails the raylet is gone; the next receive says so.
  while (SendWithFds(socket, text, fds) < 0 && errno == EINTR) {
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
    const ssize_t size = ReceiveWithFds(socket_, {buffer_.get(), kMaxMessageBytes}, &fds);
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
            " descriptors: " + Text(std::string(text.substr(0, 500)));
  } else if (const pid_t pid = ::fork(); pid == 0) {
    return true;
  } else if (pid < 0) {
    error = Status::FromErrno("fork").message();
  } else if (const UniqueFd pidfd(OpenPidFd(pid)); pidfd.valid()) {  // before it can be reaped
    forked_.push_back(pid);
    Send(socket_, {{"op", "forked"}, {"token", token}, {"pid", pid}}, {{pidfd.get()}});
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
