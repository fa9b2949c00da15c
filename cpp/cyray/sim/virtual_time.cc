#include "cyray/sim/virtual_time.h"

#include <algorithm>

namespace cyray::sim {

void VirtualTime::Mix(uint64_t value) {
  digest_ = (digest_ ^ value) * 0x9E3779B97F4A7C15;
  digest_ ^= digest_ >> 29;
}

uint64_t VirtualTime::Random() {
  const uint64_t value = random_();
  Mix(value);
  return value;
}

VirtualTime::EventId VirtualTime::At(int64_t due_ns, std::function<void()> event) {
  const EventId id = next_id_++;
  const int64_t due = std::max(due_ns, now_ns_);
  events_.emplace(std::pair(due, id), std::move(event));
  due_.emplace(id, due);
  return id;
}

void VirtualTime::Cancel(EventId id) {
  const auto it = due_.find(id);
  if (it == due_.end()) return;
  events_.erase({it->second, id});
  due_.erase(it);
}

bool VirtualTime::Step() {
  if (events_.empty()) return false;
  auto next = events_.extract(events_.begin());
  now_ns_ = next.key().first;
  due_.erase(next.key().second);
  Mix(static_cast<uint64_t>(now_ns_));
  next.mapped()();
  return true;
}

void VirtualTime::RunFor(int64_t ns) {
  const int64_t end = now_ns_ + ns;
  while (!events_.empty() && events_.begin()->first.first <= end) Step();
  now_ns_ = end;
}

}  // namespace cyray::sim
