// TcpListener: a TCP port, and the connections that come to it. Threading: confined to its loop.

#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "cyray/util/event_loop.h"
#include "cyray/util/status.h"
#include "cyray/util/timer.h"
#include "cyray/util/unique_fd.h"

namespace cyray::net {

class TcpListener {
 public:
  explicit TcpListener(EventLoop* loop) : loop_(loop), pause_(loop) {}
  ~TcpListener();

  // A listening socket at `ip` (IPv4), that nobody accepts from yet. Port 0: any.
  static Result<UniqueFd> Open(const std::string& ip, uint16_t port);
  // Where a socket listens: "127.0.0.1:6379".
  static Result<std::string> AddressOf(int listening);
  static Result<uint16_t> PortOf(int listening);

  // Takes a listening socket. `on_accepted` gets connected, non-blocking sockets.
  Status Serve(UniqueFd listening, std::function<void(UniqueFd)> on_accepted);
  // Open() and Serve().
  Status Listen(const std::string& ip, uint16_t port, std::function<void(UniqueFd)> on_accepted);
  // Whether connections are accepted; while they are not, they wait in the backlog.
  void SetAccepting(bool accepting);
  // Accepts no more.
  void Close();
  uint16_t port() const { return port_; }

 private:
  void Accept();

  EventLoop* const loop_;
  UniqueFd socket_;
  uint16_t port_ = 0;
  bool accepting_ = true;
  std::function<void(UniqueFd)> on_accepted_;

  Timer pause_;
};

}  // namespace cyray::net
