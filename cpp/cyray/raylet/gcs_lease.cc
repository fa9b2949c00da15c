#include "cyray/raylet/gcs_lease.h"

#include <algorithm>

namespace cyray::raylet {
namespace {

constexpr size_t kMaxUnanswered = 64;  // the oldest alone count

}  // namespace

void GcsLease::Start(int64_t hello_ms, int64_t now_ms) {
  if (!started_) {
    next_tick_ms_ = now_ms + timing_.tick_ms;
    next_beat_ms_ = now_ms;
  }
  started_ = true;
  // When the GCS took it is not known here; it was not before that.
  OnAck(hello_ms);
}

void GcsLease::OnAck(int64_t sent_ms) {
  if (sent_ms - heard_ms_ >= timing_.quiet_ms) heard_since_ms_ = sent_ms;
  safe_from_ms_ = std::max(safe_from_ms_, sent_ms);
  heard_ms_ = std::max(heard_ms_, sent_ms);
  std::erase_if(unanswered_, [&](const Beat& beat) { return beat.sent_ms <= sent_ms; });
}

void GcsLease::OnTestimony(int64_t asked_ms, bool quiet) {
  // A witness that hears of the GCS again takes nothing back: the time that the node may still need
  // to be heard itself is its own.
  if (!quiet) return;
  testified_ms_ = testified_ ? std::max(testified_ms_, asked_ms) : asked_ms;
  testified_ = true;
}

// The last tick was due at `begin_ms`.
void GcsLease::AfterPause(int64_t begin_ms, int64_t now_ms) {
  const int64_t late = now_ms - begin_ms;
  // Whoever had been silent for long before the pause was cut off without it.
  const int64_t left =
      ExcusedAt(begin_ms) ? timing_.grace_ms : safe_from_ms_ + timing_.fence_ms - begin_ms;
  safe_from_ms_ =
      std::max(safe_from_ms_, now_ms - timing_.fence_ms + std::min(timing_.grace_ms, left));
  heard_ms_ = std::min(heard_ms_ + late, now_ms);
  heard_since_ms_ = now_ms;
  for (Beat& beat : unanswered_) beat.since_ms = std::min(beat.since_ms + late, now_ms);
}

GcsLease::Turn GcsLease::Tick(int64_t now_ms) {
  if (now_ms - next_tick_ms_ > timing_.late_ms) AfterPause(next_tick_ms_, now_ms);
  Turn turn;
  if (now_ms >= next_beat_ms_) {
    turn.beat = true;
    next_beat_ms_ = now_ms + (head_ ? timing_.head_beat_ms : timing_.beat_ms);
    if (head_ && unanswered_.size() < kMaxUnanswered) unanswered_.push_back({now_ms, now_ms});
  }
  turn.next_ms = timing_.tick_ms;
  if (!head_) {
    turn.ask = now_ms - heard_ms_ >= timing_.quiet_ms;
    const int64_t left = safe_from_ms_ + timing_.fence_ms - now_ms;
    turn.fence = left <= 0 && !ExcusedAt(now_ms);
    if (left > 0) turn.next_ms = std::min(turn.next_ms, left);
  }
  next_tick_ms_ = now_ms + turn.next_ms;
  return turn;
}

}  // namespace cyray::raylet
