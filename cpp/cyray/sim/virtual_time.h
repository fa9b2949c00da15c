// VirtualTime: one queue of everything that will happen in a simulated world, and its one source of
// randomness.
//
// Time moves only from event to event. Events of one instant run in the order in which they were
// made, so one seed gives one history; `digest()` sums up every random draw and every event's time,
// and two runs of a seed are compared by it.
// Threading: confined to one thread.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <utility>

namespace cyray::sim {

class VirtualTime {
 public:
  using EventId = uint64_t;

  explicit VirtualTime(uint64_t seed) : random_(seed) {}

  int64_t now_ns() const { return now_ns_; }
  uint64_t Random();
  // Uniform in [0, bound).
  uint64_t Below(uint64_t bound) { return bound == 0 ? 0 : Random() % bound; }

  EventId At(int64_t due_ns, std::function<void()> event);
  void Cancel(EventId id);

  // Runs the next event. False: there is none.
  bool Step();
  // Runs every event that is due within `ns` from now, then moves there.
  void RunFor(int64_t ns);
  size_t pending() const { return events_.size(); }
  uint64_t digest() const { return digest_; }

 private:
  void Mix(uint64_t value);

  std::mt19937_64 random_;
  int64_t now_ns_ = 0;
  uint64_t next_id_ = 1;
  uint64_t digest_ = 0;
  std::map<std::pair<int64_t, EventId>, std::function<void()>> events_;
  std::map<EventId, int64_t> due_;
};

}  // namespace cyray::sim
