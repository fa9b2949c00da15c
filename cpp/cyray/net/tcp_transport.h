// TcpTransport: the real Transport: TCP over IPv4, one listening socket. Confined to the raylet's
// loop.

#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "cyray/net/tcp_listener.h"
#include "cyray/net/transport.h"
#include "cyray/util/event_loop.h"
#include "cyray/util/unique_fd.h"

namespace cyray::net {

// Bytes that its streams have carried.
struct Traffic {
  uint64_t sent_bytes = 0;
  uint64_t received_bytes = 0;
};

// Outlives its streams.
class TcpTransport : public Transport {
 public:
  explicit TcpTransport(EventLoop* loop) : loop_(loop), listener_(loop) {}

  // A connected stream socket as one of its streams.
  std::unique_ptr<Stream> Wrap(UniqueFd socket);

  Result<std::unique_ptr<Stream>> Dial(const std::string& ip, uint16_t port) override;
  Status Listen(const std::string& ip, uint16_t port, AcceptCallback on_accepted) override;
  uint16_t port() const override { return listener_.port(); }
  void SetAccepting(bool accepting) override { listener_.SetAccepting(accepting); }
  const Traffic& traffic() const { return traffic_; }

 private:
  EventLoop* const loop_;
  TcpListener listener_;
  Traffic traffic_;
};

}  // namespace cyray::net
