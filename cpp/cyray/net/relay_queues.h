// RelayQueues: frames to processes of other nodes, and how many of them may be under way.
//
// Each destination has credit: kCreditBytes may be on the way to it or unread in its raylet, which
// gives credit back as the process reads. What exceeds that waits here, in order, and holds up
// nobody but who sends to that destination. A client whose frames wait with more than kPauseBytes
// is paused: its raylet does not read its socket until less than kResumeBytes wait. So a slow
// receiver slows its senders, costs bounded memory on the way, and is never taken for dead.
// That cannot deadlock: a client is paused until others read, and whether a process reads does not
// depend on what it has sent (docs/decisions/0016).
//
// A pure state machine. Threading: confined to the raylet's loop.
// Invariants (CheckInvariants): a source's waiting bytes are those in the queues; nothing waits for
// a destination that has credit, but for the room of its node's session.

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/wire/frame.h"

namespace cyray::net {

class RelayQueues {
 public:
  static constexpr uint64_t kCreditBytes = 4 << 20;
  static constexpr uint64_t kPauseBytes = 64 << 20;
  static constexpr uint64_t kResumeBytes = 32 << 20;

  struct Relay {
    Address destination;
    uint64_t source = 0;  // the client that sent it; 0: this raylet, which needs no credit
    wire::FrameType type;
    std::vector<uint8_t> body;
  };
  // Clients to be paused (true) or read again.
  using Pauses = std::vector<std::pair<uint64_t, bool>>;

  // Whether a frame may go now: nothing waits for its destination, which has credit. Then it counts
  // as sent.
  bool TryPass(const Address& destination, uint64_t source, size_t bytes);
  void Push(Relay relay);
  // The next frame to a process of that node that may go; it counts as sent.
  std::optional<Relay> Next(const NodeId& node);

  // That process has read so much. False: more than was sent.
  bool OnCredit(const Address& destination, uint64_t bytes);
  // That process is gone: what waits for it goes without credit, and is answered by its raylet.
  void Release(const Address& destination);
  // That node is gone, and all that waits for it.
  void ForgetNode(const NodeId& node);
  void ForgetSource(uint64_t source) { sources_.erase(source); }

  Pauses TakePauses() { return std::exchange(pauses_, {}); }
  uint64_t waiting_bytes(uint64_t source) const;
  size_t destinations() const { return destinations_.size(); }
  std::string CheckInvariants() const;

 private:
  struct Destination {
    NodeId node;
    uint64_t under_way = 0;
    bool released = false;
    std::deque<Relay> waiting;
    bool listed = false;  // in ready_
    bool may_send() const { return released || under_way < kCreditBytes; }
  };
  struct Source {
    uint64_t waiting_bytes = 0;
    bool paused = false;
  };
  static uint64_t Charge(uint64_t source, size_t bytes) { return source == 0 ? 0 : bytes; }
  void List(const WorkerId& worker, Destination& destination);
  void EraseIfIdle(const WorkerId& worker);
  void Waits(uint64_t source, size_t bytes);
  void WaitsNoMore(uint64_t source, size_t bytes);

  std::unordered_map<WorkerId, Destination> destinations_;
  // By node: destinations that have something waiting and credit, each once, in turn.
  std::unordered_map<NodeId, std::deque<WorkerId>> ready_;
  std::unordered_map<uint64_t, Source> sources_;
  Pauses pauses_;
};

}  // namespace cyray::net
