// Membership: which nodes live, which are suspect, and when one of them must be declared dead.
//
//   Join/Restore -> suspect (no stream yet) -> Up -> alive -> Down -> suspect -> Up -> alive ...
//   and from each of them -> dead: by Tick(), after a silence, or by End(), when somebody knows.
// A broken stream is not a death: its node has as long to come back as a silent one to be heard.
// The machine knows its own pauses. It is ticked each `tick_ms`; a tick that comes late shows that
// this process stood still and heard nobody, so every deadline moves by the lateness (to no more
// than its whole allowance from now: what was heard just before the tick set it anew). A node is
// declared dead at the second tick in a row that finds it overdue: between the two, what has
// arrived is read.
// With raylet/gcs_lease.h it keeps two lives of one actor apart; decisions/0014 has the proof.
// Threading: confined to the GCS's state loop. Pure: time is given to it (monotonic milliseconds).
// Invariant: a dead node stays dead.

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cyray/common/ids.h"

namespace cyray::gcs {

class Membership {
 public:
  struct Timing {
    int64_t silence_ms = 6500;         // of an open stream
    int64_t reconnect_ms = 6500;       // after a stream broke
    int64_t first_stream_ms = 15'000;  // after Join
    int64_t restored_ms = 10'000;      // after the GCS itself was started again
    int64_t tick_ms = 250;
    int64_t late_ms = 500;  // a tick so much later than it was due tells of a pause
  };
  enum class State : uint8_t { kUnknown, kSuspect, kAlive };

  Membership() = default;
  explicit Membership(Timing timing) : timing_(timing) {}

  void Join(const NodeId& node, int64_t now_ms);
  // It was known to the GCS before this one; dead nodes are not restored.
  void Restore(const NodeId& node, int64_t now_ms);
  // Its stream is up, broke, brought something. Nothing happens to a node that is not known.
  void Up(const NodeId& node, int64_t now_ms);
  void Down(const NodeId& node, int64_t now_ms);
  void Heard(const NodeId& node, int64_t now_ms);
  // It is dead, or is to be forgotten.
  void End(const NodeId& node) { members_.erase(node); }

  struct Verdict {
    NodeId node;
    std::string reason;
  };
  // Who is dead by now; they are forgotten.
  std::vector<Verdict> Tick(int64_t now_ms);
  // When Tick() is due; nullopt while there is no node.
  std::optional<int64_t> NextTick() const;

  // kUnknown also for the dead.
  State StateOf(const NodeId& node) const;
  size_t size() const { return members_.size(); }

 private:
  struct Member {
    bool up = false;
    int64_t allowed_ms = 0;  // from the event that set the deadline to the deadline
    int64_t deadline_ms = 0;
    bool overdue = false;  // at the last tick
  };
  void Add(const NodeId& node, int64_t allowed_ms, int64_t now_ms);
  std::string ReasonOf(const Member& member) const;

  Timing timing_;
  std::map<NodeId, Member> members_;
  int64_t next_tick_ms_ = 0;
};

}  // namespace cyray::gcs
