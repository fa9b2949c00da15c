#include "cyray/util/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

#include "cyray/util/clock.h"
#include "cyray/util/log.h"

namespace cyray {
namespace {

// Of a round, for posted functions; looked at after every so many of them.
constexpr int64_t kPostedNs = 10'000'000;
constexpr size_t kPostsAtOnce = 16;

}  // namespace

EventLoop::EventLoop()
    : epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      random_(std::random_device()()) {
  CYRAY_CHECK(epoll_.valid() && wake_.valid()) << "errno " << errno;
  Add(wake_.get(), EPOLLIN, [this](uint32_t) {
    uint64_t count;
    [[maybe_unused]] ssize_t n = ::read(wake_.get(), &count, sizeof count);
  });
}

EventLoop::~EventLoop() = default;

int64_t EventLoop::NowNs() const { return MonotonicNs(); }

int64_t EventLoop::WallMs() const { return WallClockMs(); }

void EventLoop::Add(int fd, uint32_t events, FdCallback callback) {
  auto watch = std::make_shared<Watch>(Watch{std::move(callback), next_generation_++});
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  CYRAY_CHECK(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0)
      << "fd " << fd << " errno " << errno;
  watches_[fd] = std::move(watch);
}

void EventLoop::Modify(int fd, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  CYRAY_CHECK(epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0)
      << "fd " << fd << " errno " << errno;
}

void EventLoop::Remove(int fd) {
  if (watches_.erase(fd) > 0) epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

EventLoop::TimerId EventLoop::RunAfter(int64_t delay_ms, std::function<void()> callback) {
  const TimerId id = next_timer_++;
  const int64_t due = MonotonicMs() + std::max<int64_t>(delay_ms, 0);
  timers_.emplace(std::make_pair(due, id), std::move(callback));
  timer_due_[id] = due;
  return id;
}

void EventLoop::Cancel(TimerId id) {
  auto it = timer_due_.find(id);
  if (it == timer_due_.end()) return;
  timers_.erase({it->second, id});
  timer_due_.erase(it);
}

void EventLoop::Post(std::function<void()> callback) {
  bool first;
  {
    std::lock_guard lock(mutex_);
    first = posted_.empty();
    posted_.push_back(std::move(callback));
  }
  // The loop's own thread looks at what was posted before it waits.
  if (first && thread_.load(std::memory_order_relaxed) != std::this_thread::get_id()) {
    const uint64_t one = 1;
    [[maybe_unused]] ssize_t n = ::write(wake_.get(), &one, sizeof one);
  }
}

void EventLoop::Stop() {
  Post([this] { stopped_ = true; });
}

void EventLoop::Run() {
  stopped_ = false;
  while (!stopped_) RunOnce(-1);
}

int EventLoop::NextTimeoutMs(int64_t limit_ms) {
  if (!backlog_.empty()) return 0;
  {
    std::lock_guard lock(mutex_);
    if (!posted_.empty()) return 0;
  }
  if (timers_.empty()) return static_cast<int>(limit_ms);
  const int64_t wait =
      std::clamp<int64_t>(timers_.begin()->first.first - MonotonicMs(), 0, INT_MAX);
  return static_cast<int>(limit_ms < 0 ? wait : std::min(wait, limit_ms));
}

void EventLoop::RunOnce(int64_t timeout_ms) {
  thread_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  std::array<epoll_event, 64> events;
  const uint64_t newest = next_generation_;
  const int count =
      epoll_wait(epoll_.get(), events.data(), events.size(), NextTimeoutMs(timeout_ms));
  for (int i = 0; i < count; ++i) {
    auto it = watches_.find(events[i].data.fd);
    // A descriptor closed and reused within this round has a younger watch: its event is stale.
    if (it == watches_.end() || it->second->generation >= newest) continue;
    const std::shared_ptr<Watch> watch = it->second;  // the callback may remove itself
    watch->callback(events[i].events);
  }
  RunPosted();
  RunTimers();
}

// What was posted before a timer was due comes before it, also when it has to wait for a round.
void EventLoop::RunTimers() {
  int64_t now = MonotonicMs();
  if (!backlog_.empty()) now = std::min(now, backlog_.front().after_ms);
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    auto node = timers_.extract(timers_.begin());
    timer_due_.erase(node.key().second);
    node.mapped()();
  }
}

void EventLoop::RunPosted() {
  const int64_t begin_ns = MonotonicNs();
  {
    std::lock_guard lock(mutex_);
    for (auto& callback : posted_) backlog_.push_back({looked_ms_, std::move(callback)});
    posted_.clear();
  }
  looked_ms_ = begin_ns / 1'000'000;
  // Those that they post are for the next round, too.
  for (size_t left = backlog_.size(); left > 0; --left) {
    const std::function<void()> callback = std::move(backlog_.front().callback);
    backlog_.pop_front();
    callback();
    if (left % kPostsAtOnce == 1 && MonotonicNs() - begin_ns >= kPostedNs) return;
  }
}

}  // namespace cyray
