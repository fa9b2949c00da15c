// Transport: how a raylet reaches others, as far as PeerTable and PeerConnection know: streams of
// bytes that are dialed or accepted, and that may end at any moment.
//
// TcpTransport is the real one; tests have one in memory, which cuts and delays as it likes.
// Threading: confined to the raylet's loop. No callback runs inside a call of a method here.

#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "cyray/util/status.h"

namespace cyray::net {

// One connection, connected or connecting. Destroying it closes it; no callback follows.
class Stream {
 public:
  using ReadyCallback = std::function<void(bool readable, bool writable)>;
  virtual ~Stream() = default;

  // To be called once. A dialed stream is ready for writing when it is connected, or has failed to.
  virtual void Watch(ReadyCallback on_ready) = 0;
  // Whether `on_ready` is called when there is room to write; at first it is.
  virtual void AwaitWritable(bool wanted) = 0;
  // The bytes that were read; 0 when none are there. An error when the stream has ended.
  virtual Result<size_t> Read(std::span<const iovec> into) = 0;
  // The bytes that were taken; 0 when there is no room.
  virtual Result<size_t> Write(std::span<const iovec> parts) = 0;
  // How many bytes may wait here for the wire before there is no room.
  virtual void LimitUnsent(size_t) {}
};

class Transport {
 public:
  using AcceptCallback = std::function<void(std::unique_ptr<Stream>)>;
  virtual ~Transport() = default;

  // Starts connecting; fails at once only when that cannot even begin.
  virtual Result<std::unique_ptr<Stream>> Dial(const std::string& ip, uint16_t port) = 0;
  // Port 0: any.
  virtual Status Listen(const std::string& ip, uint16_t port, AcceptCallback on_accepted) = 0;
  virtual uint16_t port() const = 0;
  // While it is off, those that connect wait in the backlog.
  virtual void SetAccepting(bool accepting) = 0;
};

}  // namespace cyray::net
