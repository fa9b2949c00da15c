// RelayQueues: frames to processes of other nodes, and how many of them may be under way.
//
// Each destination has credit: kCreditBytes may be on the way to it or unread in its raylet, which
// gives credit back as the process reads. What exceeds that waits here, in order, and holds up
// nobody but who sends to that destination. A client whose frames wait with more than kPauseBytes
// is paused: its raylet does not read its socket until less than kResumeBytes wait. So are, while
// more than kPauseBytes wait for one destination, those to whom more than their share of it belongs
// (kPauseBytes / 2 by the number of clients whose frames wait there): however many send to one that
// does not read, little waits for it, and who has said little to it goes on. So a slow receiver
// slows its senders, costs bounded memory on the way, and is never taken for dead.
// That cannot deadlock: a client is paused until others read, and whether a process reads does not
// depend on what it has sent (docs/decisions/0016).
//
// A pure state machine. Threading: confined to the raylet's loop.
// Invariants (CheckInvariants): waiting bytes of sources and destinations are those in the queues,
// also when the source is gone; a source is paused while it has too much, or a destination holds
// it; nothing waits for a destination that has credit, but for the room of its node's session.

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
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

  // That process has read so much. It may be more than is known to be under way: of frames from
  // before the process was taken for gone. False: it is no process of that node.
  bool OnCredit(const Address& destination, uint64_t bytes);
  // That process is gone: what waits for it goes without credit, and is answered by its raylet.
  void Release(const Address& destination);
  // That node is gone, and all that waits for it.
  void ForgetNode(const NodeId& node);
  // That client is gone: it is not paused or read any more. What waits of it still goes.
  void ForgetSource(uint64_t source);

  Pauses TakePauses() { return std::exchange(pauses_, {}); }
  uint64_t waiting_bytes(uint64_t source) const;
  uint64_t waiting_for(const Address& destination) const;
  size_t destinations() const { return destinations_.size(); }
  std::string CheckInvariants() const;

 private:
  struct Destination {
    NodeId node;
    uint64_t under_way = 0;
    bool released = false;
    std::deque<Relay> waiting;
    uint64_t waiting_bytes = 0;
    std::unordered_map<uint64_t, uint64_t> by_source;  // of those bytes
    std::unordered_set<uint64_t> held;  // sources that are paused until less waits here
    bool listed = false;                // in ready_
    bool may_send() const { return released || under_way < kCreditBytes; }
  };
  struct Source {
    uint64_t waiting_bytes = 0;
    bool full = false;   // too much of it waits
    size_t held_by = 0;  // destinations
    bool gone = false;
    bool paused() const { return full || held_by > 0; }
  };
  static uint64_t Charge(uint64_t source, size_t bytes) { return source == 0 ? 0 : bytes; }
  void List(const WorkerId& worker, Destination& destination);
  void EraseIfIdle(const WorkerId& worker);
  void Waits(Destination& destination, uint64_t source, size_t bytes);
  void WaitsNoMore(Destination& destination, uint64_t source, size_t bytes);
  void HoldIfGreedy(Destination& destination, uint64_t source, Source& known);
  void LetGo(Destination& destination);
  // Changes a source, and notes whether it is to be paused or read again.
  template <class Change>
  void Update(std::unordered_map<uint64_t, Source>::iterator source, Change change);

  std::unordered_map<WorkerId, Destination> destinations_;
  // By node: destinations that have something waiting and credit, each once, in turn.
  std::unordered_map<NodeId, std::deque<WorkerId>> ready_;
  std::unordered_map<uint64_t, Source> sources_;
  Pauses pauses_;
};

}  // namespace cyray::net
