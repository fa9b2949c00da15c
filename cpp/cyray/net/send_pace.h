// SendPace: how many bytes of bulk may be beyond recall at once: handed to the socket, or waiting
// in the kernel for the wire.
//
// What is beyond recall cannot be overtaken by an urgent frame, so it is what the wire carries in
// kAheadNs; many bytes on a fast wire, where large writes cost less, few on a slow one. The wire's
// speed is what a full socket takes from one time that it is full to the next.
// A pure state machine. Threading: confined to its connection's loop.

#pragma once

#include <cstddef>
#include <cstdint>

namespace cyray::net {

class SendPace {
 public:
  static constexpr size_t kLeastBytes = 256 << 10;
  static constexpr size_t kMostBytes = 2 << 20;
  static constexpr int64_t kAheadNs = 2'000'000;

  // To be handed to the socket at once; a power of two.
  size_t write_bytes() const { return write_bytes_; }
  // To wait in the kernel: enough that the wire is busy until the next write.
  size_t unsent_bytes() const { return 2 * write_bytes_; }

  // The socket took so much.
  void OnWritten(size_t bytes);
  // It takes no more for now.
  void OnFull(int64_t now_ns);
  // It took all that there is.
  void OnDrained();

 private:
  void Adapt(double bytes_ahead);

  size_t write_bytes_ = kLeastBytes;
  int64_t full_since_ns_ = 0;  // 0: it was not full since all was taken
  size_t written_ = 0;         // since then
  double bytes_per_ns_ = 0;    // 0: not known
};

}  // namespace cyray::net
