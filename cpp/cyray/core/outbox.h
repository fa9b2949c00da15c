// What the core's machines (submitters, completion, execution queue) ask of the rest of the
// process.
//
// A machine is given events and answers with calls of these interfaces; it has no socket, no thread
// and no clock of its own. In a process LinkTable, RayletClient and Poller stand behind them; a
// test or a simulator may put anything there, and so run any number of processes in one thread.
// Guarded by the core mutex, where there is one. Calls return at once, but may find that the other
// side is gone and say so to other machines before they return.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <cstdint>
#include <functional>

#include "cyray/common/ids.h"
#include "cyray/wire/frame.h"

namespace cyray::core {

struct Link;

inline constexpr int64_t kForever = INT64_MAX;
// Frames that follow one another faster than this are gathered into one write.
inline constexpr int64_t kGatherNs = 50'000;

// Frames to the core libraries of other processes, in order per link.
class LinkOutbox {
 public:
  virtual ~LinkOutbox() = default;

  // The time of the event that is being handled; monotonic.
  virtual int64_t NowNs() const = 0;
  // The link to `peer`, connecting it when there is none. Never null; may be broken.
  virtual Link& To(const Address& peer) = 0;
  virtual Link* Find(const WorkerId& worker) = 0;
  // Whether that process is known to be dead.
  virtual bool IsDead(const WorkerId& worker) const = 0;
  virtual void Send(Link& link, wire::FrameType type,
                    const flatbuffers::FlatBufferBuilder& builder) = 0;
  virtual void Flush(Link& link) = 0;
  // Whether some of what was sent has not left this process; not so when the link is broken.
  virtual bool HasUnsent(const Link& link) const = 0;
  // Writes when the last write is `gather_ns` ago, or nobody would do it soon; else gathers.
  virtual void FlushSoon(Link& link, int64_t gather_ns) = 0;
  void FlushSoon(Link& link) { FlushSoon(link, kGatherNs); }
  // Handles what a peer that is gone, by word of the raylet, had sent before: its last replies.
  virtual void Drain(Link& link) = 0;
  // When a link broke at `broken_ns` and nobody has said until then that its process is dead, the
  // process lives and the connection alone is gone.
  virtual int64_t NewsDueNs(const Address& peer, int64_t broken_ns) const = 0;
  // Whether that is certain at `now_ns`, which is no earlier: the raylet, which tells of deaths,
  // has answered since. Asks it otherwise; look again after kLookForNewsNs.
  virtual bool IsWithoutNews(const Address& peer, int64_t broken_ns, int64_t now_ns) = 0;
  static constexpr int64_t kLookForNewsNs = 100'000'000;
};

// Frames to the raylet of this node, in order.
class RayletOutbox {
 public:
  // `frame` is the reply, or null when the raylet is gone.
  using ReplyHandler = std::function<void(wire::Frame* frame)>;
  virtual ~RayletOutbox() = default;

  virtual bool connected() const = 0;
  virtual uint64_t NextRequestId() = 0;
  virtual void Send(wire::FrameType type, const flatbuffers::FlatBufferBuilder& builder) = 0;
  // `request_id` came from NextRequestId() and stands in the frame.
  virtual void Request(uint64_t request_id, wire::FrameType type,
                       const flatbuffers::FlatBufferBuilder& builder, ReplyHandler on_reply) = 0;
  // One frame to a process of another node.
  virtual void Relay(const Address& from, const Address& to, const uint8_t* frame, size_t size) = 0;
  virtual void Flush() = 0;
  virtual bool HasUnsent() const = 0;
};

// Which descriptors are looked at, and by whom.
class SocketWatcher {
 public:
  virtual ~SocketWatcher() = default;

  virtual void Watch(int fd, uint32_t events, void* cookie) = 0;
  virtual void Modify(int fd, uint32_t events, void* cookie) = 0;
  virtual void Unwatch(int fd) = 0;
  // Something was queued outside a wait: somebody must look soon.
  virtual void NoteActivity() = 0;
  // The same for what was gathered and is left to whoever looks next.
  virtual void NoteGathered() = 0;
  // A thread blocks: what was just gathered must be written now, for nobody else will look soon.
  virtual bool DriverBlocked() const = 0;
};

}  // namespace cyray::core
