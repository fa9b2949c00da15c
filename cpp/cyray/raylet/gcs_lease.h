// GcsLease: how long this node may take itself for a member of the cluster, and when it must end
// because the GCS may have declared it dead and started its actors elsewhere.
//
// Each heartbeat carries the time it was sent and comes back. The GCS declares nobody dead within
// `silence` of hearing of it (gcs/membership.h), so a node is safe until `fence_ms` after it sent
// the last heartbeat that came back. A GCS that is down or stopped declares nobody dead either; but
// from here it looks like one that cannot be reached. So a node that hears nothing asks a witness,
// the head's raylet, which stands beside the GCS: while that one hears nothing of the GCS as well,
// the node goes on, however long. Without such a testimony it ends in time.
// The head's raylet is judged by nobody and beats seldom.
// The machine knows its own pauses: after one it has the time that was left when the pause began,
// a moment at most, to be told by the GCS what it is; and it testifies of no silence that was its
// own.
// Times, and why the two never disagree: docs/decisions/0014.
// Threading: confined to the raylet's loop. Pure: time is given to it (monotonic milliseconds).

#pragma once

#include <cstdint>
#include <deque>
#include <string>

namespace cyray::raylet {

class GcsLease {
 public:
  struct Timing {
    int64_t beat_ms = 250;        // between two heartbeats
    int64_t head_beat_ms = 1000;  // the same at the head
    int64_t quiet_ms = 2000;      // since the last answered one was sent: the witness is asked
    int64_t silence_ms = 1750;    // that a heartbeat of its own is unanswered: a witness testifies
    int64_t fence_ms = 6000;      // since the last answered heartbeat was sent
    int64_t testimony_ms = 1500;  // a testimony holds so long from its asking
    int64_t grace_ms = 3000;      // after a pause of this process, at most
    int64_t tick_ms = 250;
    int64_t late_ms = 500;  // a tick so much later than it was due tells of a pause
  };
  // The GCS dies with the head's raylet: that one is never fenced and asks nobody.
  explicit GcsLease(bool head) : head_(head) {}
  GcsLease(bool head, Timing timing) : head_(head), timing_(timing) {}

  // The GCS accepted a hello that this node sent at `hello_ms`. From the first on Tick() is due,
  // and then when it says.
  void Start(int64_t hello_ms, int64_t now_ms);
  bool started() const { return started_; }
  // A heartbeat that was sent then came back.
  void OnAck(int64_t sent_ms);
  // The witness's word, asked for then: whether it hears nothing of the GCS either.
  void OnTestimony(int64_t asked_ms, bool quiet);

  struct Turn {
    bool beat = false;    // send a heartbeat
    bool ask = false;     // ask the witness
    bool fence = false;   // end this node
    int64_t next_ms = 0;  // until the next one: it is not later than the node must end
  };
  Turn Tick(int64_t now_ms);
  // For how long it has been heard of without a gap of quiet_ms; 0: it is not now.
  int64_t HeardForMs(int64_t now_ms) const {
    return started_ && now_ms - heard_ms_ < timing_.quiet_ms ? now_ms - heard_since_ms_ : 0;
  }
  // What this one testifies as a witness: whether it hears nothing of the GCS either.
  bool IsQuiet(int64_t now_ms) const {
    return !unanswered_.empty() && now_ms - unanswered_.front().since_ms >= timing_.silence_ms;
  }

 private:
  bool ExcusedAt(int64_t ms) const {
    return testified_ && ms - testified_ms_ <= timing_.testimony_ms;
  }
  void AfterPause(int64_t begin_ms, int64_t now_ms);

  const bool head_;
  const Timing timing_;
  bool started_ = false;
  int64_t next_tick_ms_ = 0;
  int64_t next_beat_ms_ = 0;
  // The last answered heartbeat was sent then, or later by a pause's grace.
  int64_t safe_from_ms_ = 0;
  int64_t heard_since_ms_ = 0;
  int64_t heard_ms_ = 0;      // the same, later by all pauses
  int64_t testified_ms_ = 0;  // the latest testimony of silence was asked for then
  bool testified_ = false;
  struct Beat {
    int64_t sent_ms;
    int64_t since_ms;  // the same, later by all pauses
  };
  std::deque<Beat> unanswered_;  // of a witness, the oldest first
};

}  // namespace cyray::raylet
