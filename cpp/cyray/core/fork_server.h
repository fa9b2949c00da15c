// ForkServer: how the zygote waits for its raylet's requests and forks, without its interpreter.
//
// What an interpreter runs writes all over its memory, if only counts of references. Whatever page
// the zygote writes between two forks stays behind as the child's own: 600 kB for each worker, and
// the time to copy it. Messages and descriptors are those of docs/architecture.md.
// Without memory the process ends, and the raylet starts another: nobody waits for an answer.
//
// Threading: one thread. A child of Serve has a copy of it, which knows what it was forked for.

#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cyray/util/unique_fd.h"

namespace cyray::core {

class ForkServer {
 public:
  enum class Event : uint8_t {
    kChild,   // this process is one; order()
    kWoken,   // there is something to read at `wakeup`
    kIdle,    // nothing was asked for as long as the time given
    kClosed,  // the raylet is gone
  };
  // What a child is to be.
  struct Order {
    std::string worker_id;
    std::array<UniqueFd, 3> fds;  // the raylet's socket, stdout, stderr

    std::vector<int> Release() { return {fds[0].release(), fds[1].release(), fds[2].release()}; }
  };

  // Both are the caller's, `socket` blocks.
  ForkServer(int socket, int wakeup);

  // Forks whatever is asked for, until one of the events comes; -1 ms: without limit.
  Event Serve(int timeout_ms) noexcept;
  Order& order() { return order_; }
  // The children since the last call.
  std::vector<pid_t> TakeForked() { return std::exchange(forked_, {}); }

 private:
  // Whether this process is the child.
  bool Handle(std::string_view text, std::vector<UniqueFd> fds);

  const int socket_;
  const int wakeup_;
  const std::unique_ptr<char[]> buffer_;  // of one message; only what comes is written
  Order order_;
  std::vector<pid_t> forked_;
};

}  // namespace cyray::core
