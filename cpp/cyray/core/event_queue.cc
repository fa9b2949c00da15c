#include "cyray/core/event_queue.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "cyray/common/dropped_lines.h"
#include "cyray/common/encoding.h"
#include "cyray/util/clock.h"

namespace cyray::core {

bool EventQueue::Next(int64_t deadline_ns, Event* event) {
  ThisProcess::Lock lock(process_.mutex());
  auto& queue = process_.is_driver() ? events_ : callbacks_;
  const auto ready = [&] { return stopped_ || !queue.empty(); };
  if (deadline_ns == kForever) {
    ready_.wait(lock, ready);
  } else {
    ready_.wait_for(
        lock, std::chrono::nanoseconds(std::max<int64_t>(0, deadline_ns - MonotonicNs())), ready);
  }
  if (queue.empty()) return false;
  *event = TakeFrom(queue);
  return true;
}

void EventQueue::Stop() {
  std::lock_guard lock(process_.mutex());
  StopLocked();
}

void EventQueue::StopLocked() {
  stopped_ = true;
  ready_.notify_all();
}

void EventQueue::Push(Event event) {
  events_.push_back(std::move(event));
  ready_.notify_one();
  process_.poller().WakeWaiters();
  loop_.Wake();
}

void EventQueue::PushOfGroup(Event event) {
  if (!serves_groups_) return Push(std::move(event));
  callbacks_.push_back(std::move(event));
  ready_.notify_one();
}

void EventQueue::PushCallback(uint64_t token) {
  Event event;
  event.kind = Event::Kind::kCallback;
  event.token = token;
  if (process_.is_driver() || (token & kThreadToken) == 0) return Push(std::move(event));
  callbacks_.push_back(std::move(event));
  ready_.notify_one();
}

void EventQueue::PushLogLines(const wire::LogLines& log) {
  if (log.lines() == nullptr) return;
  Event event;
  for (const auto* line : *log.lines()) event.line_bytes += line->size();
  if (line_bytes_ > 0 && line_bytes_ + event.line_bytes > kMaxLineBacklogBytes) {
    dropped_lines_ += log.lines()->size();
    return;
  }
  line_bytes_ += event.line_bytes;
  if (dropped_lines_ > 0) event.lines.push_back(DroppedLines(std::exchange(dropped_lines_, 0)));
  event.kind = Event::Kind::kLogLines;
  event.number = log.pid();
  event.flag = log.is_stderr();
  event.label = flatbuffers::GetString(log.label());
  event.text = flatbuffers::GetString(log.node_ip());
  for (const auto* line : *log.lines()) event.lines.push_back(line->str());
  Push(std::move(event));
}

void EventQueue::PushWarning(std::string text) {
  Event event;
  event.kind = Event::Kind::kWarning;
  event.text = std::move(text);
  Push(std::move(event));
}

void EventQueue::PushSilence(const char* question) {
  Event event;
  event.kind = Event::Kind::kSilence;
  event.text = question;
  Push(std::move(event));
}

Event EventQueue::Take() { return TakeFrom(events_); }

Event EventQueue::TakeFrom(std::deque<Event>& queue) {
  Event event = std::move(queue.front());
  queue.pop_front();
  line_bytes_ -= event.line_bytes;
  return event;
}

}  // namespace cyray::core
