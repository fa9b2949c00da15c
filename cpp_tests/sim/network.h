// Network: TCP between the nodes of a simulated cluster.
//
// An internet socket of a simulated process is one end of a Unix pair; the network holds the other
// end and moves bytes between the two sides of a connection, each direction in order, with delay.
// A path between two nodes can be blocked: nothing arrives until it is free again, and nobody is
// told, as with lost packets. A connection can be cut: what is on its way is lost, both sides see
// the end. A process that dies ends its connections after what it had sent has arrived, as TCP does
// it; a node that loses power says nothing at all.
//
// Node k is 10.0.0.k+1. Threading: confined to the simulation's thread.

#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cpp_tests/sim/kernel.h"

namespace cyray::sim {

class Network {
 public:
  explicit Network(Kernel* kernel);
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  static std::string IpOf(int node) { return "10.0.0." + std::to_string(node + 1); }
  static Network* Get();

  // --- Faults ---
  void Block(int a, int b) { blocked_.insert(std::minmax(a, b)); }
  void Unblock(int a, int b) { blocked_.erase(std::minmax(a, b)); }
  void BlockAll(int node) { dark_.insert(node); }
  void UnblockAll(int node) { dark_.erase(node); }
  bool IsBlocked(int a, int b) const;
  // Cuts one connection between nodes, drawn by `draw`. False: there is none.
  bool CutOne(uint64_t draw);
  // What goes between the two takes up to so much longer, on each connection by itself.
  void SetFar(int a, int b, int64_t ns) { far_[std::minmax(a, b)] = ns; }
  void set_delay(int64_t least_ns, int64_t spread_ns) {
    least_ns_ = least_ns, spread_ns_ = spread_ns;
  }

  // --- The calls of libc; each returns as it does, with errno ---
  int Socket(int type);
  int Bind(int fd, uint32_t ip, uint16_t port);
  int Listen(int fd);
  int Accept(int fd, int flags);
  int Connect(int fd, uint32_t ip, uint16_t port);
  // Where a socket was bound to; port -1: it is none of the network's.
  std::pair<uint32_t, int> AddressOf(int fd) const;
  bool Has(int fd) const { return sockets_.contains(fd); }
  int TakeError(int fd);
  void Closed(int fd);
  // `copy` names what `fd` does, in another process.
  void Duplicated(int fd, int copy);

 private:
  struct Socket_ {
    int far = -1;  // the network's end; of a listener: where it tells of arrivals
    int type = 0;
    int node = 0;
    uint32_t ip = 0;
    uint16_t port = 0;
    bool listening = false;
    int error = 0;
    std::deque<int> arrived;  // of a listener: the accepted ends
  };
  struct Direction {
    int from = -1, to = -1;
    std::deque<std::pair<int64_t, std::vector<uint8_t>>> flight;  // due, bytes; none: the end
    size_t bytes = 0;
    bool reading = true;
    bool scheduled = false;
  };
  struct Connection {
    int a = 0, b = 0;  // nodes
    std::array<Direction, 2> ways;
    bool cut = false;
  };
  using ConnectionPtr = std::shared_ptr<Connection>;

  void Pump();
  void Read(const ConnectionPtr& connection, int way);
  void Arm(const ConnectionPtr& connection, int way, int64_t at_ns);
  void Deliver(const ConnectionPtr& connection, int way);
  void Establish(int far, int from_node, int fd, uint32_t ip, uint16_t port, int attempt);
  void Refuse(int far, int fd, int error);
  void EndConnection(const ConnectionPtr& connection);
  void Watch(int fd);
  int64_t Delay(int a, int b);

  Kernel* const kernel_;
  int64_t least_ns_ = 50'000;
  int64_t spread_ns_ = 200'000;
  std::map<int, std::shared_ptr<Socket_>> sockets_;  // by the processes' descriptors
  std::map<std::pair<uint32_t, uint16_t>, std::weak_ptr<Socket_>> listeners_;
  std::map<int, std::pair<ConnectionPtr, int>> by_far_;  // and which way it is read for
  std::vector<ConnectionPtr> connections_;
  std::set<std::pair<int, int>> blocked_;
  std::map<std::pair<int, int>, int64_t> far_;
  std::set<int> dark_;
  uint16_t next_port_ = 20'000;
};

}  // namespace cyray::sim
