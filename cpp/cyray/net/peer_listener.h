// PeerListener: the raylet's TCP port for other raylets. Confined to the raylet's loop.

#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "cyray/util/event_loop.h"
#include "cyray/util/status.h"
#include "cyray/util/unique_fd.h"

namespace cyray::net {

class PeerListener {
 public:
  explicit PeerListener(EventLoop* loop) : loop_(loop) {}
  ~PeerListener();

  // Port 0: any. `on_accepted` gets connected, non-blocking sockets.
  Status Listen(const std::string& ip, uint16_t port, std::function<void(UniqueFd)> on_accepted);
  uint16_t port() const { return port_; }

 private:
  void Accept();

  EventLoop* const loop_;
  UniqueFd socket_;
  uint16_t port_ = 0;
  EventLoop::TimerId pause_ = 0;
  std::function<void(UniqueFd)> on_accepted_;
};

}  // namespace cyray::net
