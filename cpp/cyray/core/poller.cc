#include "cyray/core/poller.h"

#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "cyray/util/clock.h"
#include "cyray/util/log.h"

namespace cyray::core {
namespace {

// A wakeup across cores costs about 40 us, a reply to a spinning reader 6 us: spinning for up to
// one wakeup's cost can at most double the cost of a wait, and usually saves most of it.
constexpr int64_t kMaxSpinNs = 50'000;
constexpr auto kStewardNap = std::chrono::milliseconds(1);
constexpr auto kExternalNap = std::chrono::milliseconds(100);
// Where threads wait this often in a nap, calls go back and forth one at a time: what is gathered
// leaves with the next wait, and each look of the steward takes a core from a thread that spins
// (50 us of one call in fifty). It naps longer then.
constexpr uint64_t kManyWaits = 16;
constexpr auto kLongNap = std::chrono::milliseconds(4);

// CYRAY_SPIN_US lowers the bound on spinning (microseconds). No constant serves the benchmarks:
// they compare with 0, where everyone blocks at once, and so show whether spinning pays on a
// machine.
int64_t MaxSpinNs() {
  const char* text = std::getenv("CYRAY_SPIN_US");
  if (text == nullptr || *text == '\0') return kMaxSpinNs;
  return std::clamp<int64_t>(std::atoll(text), 0, kMaxSpinNs / 1000) * 1000;
}

}  // namespace

Poller::Poller(std::mutex& mutex, PollerHandler& handler)
    : mutex_(mutex),
      handler_(handler),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      max_spin_ns_(MaxSpinNs()) {
  CYRAY_CHECK(epoll_.valid() && wake_.valid()) << "errno " << errno;
  Watch(wake_.get(), EPOLLIN, this);
}

Poller::~Poller() { StopSteward(); }

void Poller::Watch(int fd, uint32_t events, void* cookie) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = cookie;
  CYRAY_CHECK(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) << "errno " << errno;
}

void Poller::Modify(int fd, uint32_t events, void* cookie) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = cookie;
  CYRAY_CHECK(epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0) << "errno " << errno;
}

void Poller::Unwatch(int fd) { epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

void Poller::AbandonAfterFork() {
  (void)steward_.release();
  // The kernel knows what is watched, whatever another thread of the parent was about at the fork.
  const std::string path = "/proc/self/fdinfo/" + std::to_string(epoll_.get());
  std::ifstream info(path);
  std::string line;
  std::vector<int> watched;
  while (std::getline(info, line)) {
    int fd = -1;
    if (std::sscanf(line.c_str(), "tfd: %d", &fd) == 1) watched.push_back(fd);
  }
  info.close();
  for (const int fd : watched) ::close(fd);
  ::close(epoll_.get());
}

void Poller::StartSteward() {
  // Signals belong to Python's main thread.
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  stopping_ = false;
  steward_ = std::make_unique<std::thread>([this] { StewardLoop(); });
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

void Poller::StopSteward() {
  if (!steward_) return;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    steward_wake_.notify_all();
    if (steward_blocked_) WakeSteward();
  }
  steward_->join();
  steward_.reset();
}

void Poller::Signal() {
  const uint64_t one = 1;
  [[maybe_unused]] ssize_t n = ::write(wake_.get(), &one, sizeof one);
}

void Poller::WakeSteward() {
  if (steward_signalled_) return;
  steward_signalled_ = true;
  Signal();
}

void Poller::WakeDriver() {
  if (driver_signalled_) return;
  driver_signalled_ = true;
  Signal();
}

void Poller::OnSignal() {
  // A driver and a steward that lost its seat may wait in epoll at once. Were the one to read what
  // is for the other, the other would sleep on.
  if (steward_signalled_ || driver_signalled_) return;
  uint64_t ignored;
  [[maybe_unused]] ssize_t n = ::read(wake_.get(), &ignored, sizeof ignored);
}

bool Poller::WaitSlow(std::unique_lock<std::mutex>& lock, int64_t deadline_ns,
                      std::function<bool()> ready) {
  const uint64_t ticket = next_ticket_++;
  ++activity_;
  bool done = false, drove = false;
  while (!(done = ready())) {
    const bool seat_is_free = seat_ == 0 || seat_ == ticket || steward_seated_;
    // Also who must not wait looks once: polling in a loop with no time to wait has to get on.
    if (deadline_ns != kForever && (drove || !seat_is_free) && MonotonicNs() >= deadline_ns) break;
    if (seat_is_free) {
      if (seat_ != ticket) seat_blocked_ = false;
      seat_ = ticket;
      steward_seated_ = false;
      Drive(lock, ticket, deadline_ns, /*spin=*/true);
      drove = true;
      continue;
    }
    // What this thread has just asked for: whoever drives may block without looking again.
    handler_.FlushAll();
    if ((done = ready())) break;  // writing found that the other side is gone
    ++waiters_;
    if (deadline_ns == kForever) {
      changed_.wait(lock);
    } else {
      changed_.wait_for(
          lock, std::chrono::nanoseconds(std::max<int64_t>(deadline_ns - MonotonicNs(), 1000)));
    }
    --waiters_;
  }
  if (seat_ == ticket) {
    seat_ = 0;
    seat_blocked_ = false;
  }
  // Also when this thread was woken to drive on and need not.
  if (seat_ == 0) SeatIsEmpty();
  ++activity_;
  return done;
}

void Poller::SeatIsEmpty() {
  if (waiters_ > 0) {
    changed_.notify_all();  // one of them drives on
  } else if (steward_parked_) {
    steward_parked_ = false;
    steward_wake_.notify_one();
  } else if (steward_blocked_ && handler_.NextTimerNs() != kForever) {
    WakeSteward();  // it went to wait before these timers were known, and lost its seat then
  }
}

void Poller::Drive(std::unique_lock<std::mutex>& lock, uint64_t ticket, int64_t deadline_ns,
                   bool spin) {
  const uint64_t changes = changes_;
  handler_.FlushAll();
  RunDueTimers();
  spin = spin && max_spin_ns_ > 0 && spin_payoff_.Worth();
  if (spin && Spin(lock, ticket, deadline_ns)) return;
  const int64_t wake_at = std::min(deadline_ns, handler_.NextTimerNs());
  int timeout_ms = -1;
  if (wake_at != kForever) {
    const int64_t left = wake_at - MonotonicNs();
    timeout_ms = left <= 0 ? 0 : static_cast<int>(std::min<int64_t>(left / 1'000'000 + 1, 60'000));
  }
  // Other threads and timers gathered frames while this one span, and from here on nobody looks.
  handler_.FlushAll();
  if (changes_ != changes) return;  // another thread handled something: maybe what is waited for
  seat_blocked_ = true;
  blocked_until_ns_ = wake_at;
  steward_blocked_ = ticket == steward_ticket_ || steward_blocked_;
  PollAndHandle(lock, ticket, timeout_ms);
}

bool Poller::Spin(std::unique_lock<std::mutex>& lock, uint64_t ticket, int64_t deadline_ns) {
  int64_t now = MonotonicNs();
  const int64_t until = std::min(now + max_spin_ns_, deadline_ns);
  while (now < until) {
    const bool handled = PollAndHandle(lock, ticket, 0) != 0;
    const int64_t before = std::exchange(now, MonotonicNs());
    if (now - before > SpinPayoff::kPreemptedNs) {
      spin_payoff_.Preempted();
      return handled || seat_ != ticket;
    }
    if (handled) spin_payoff_.Paid();
    if (handled || seat_ != ticket) return true;
  }
  if (until < deadline_ns) spin_payoff_.Missed();
  return false;
}

int Poller::PollAndHandle(std::unique_lock<std::mutex>& lock, uint64_t ticket, int timeout_ms) {
  std::array<epoll_event, 32> events;
  lock.unlock();
  const int count = epoll_wait(epoll_.get(), events.data(), events.size(), timeout_ms);
  lock.lock();
  const bool is_steward = ticket != 0 && ticket == steward_ticket_;
  if (is_steward) steward_blocked_ = steward_signalled_ = false;
  const bool drives = ticket != 0 && seat_ == ticket;
  if (drives) seat_blocked_ = driver_signalled_ = false;
  const uint64_t activity = activity_;
  int handled = 0;
  for (int i = 0; i < count; ++i) {
    if (events[i].data.ptr == this) {
      OnSignal();
      handler_.OnWoken();
    } else if (drives || ticket == 0) {  // else somebody else drives: they will see it too
      handler_.OnReady(events[i].data.ptr, events[i].events);
      ++handled;
    }
  }
  if (!drives && ticket != 0) return count;
  RunDueTimers();
  if (is_steward) activity_ = activity;  // what it did itself is no reason to leave
  if (handled > 0) WakeWaiters();
  return count;
}

void Poller::RunDueTimers() {
  const int64_t next = handler_.NextTimerNs();
  if (next == kForever) return;
  const int64_t now = MonotonicNs();
  if (next <= now) handler_.RunTimers(now);
}

void Poller::PollNow(std::unique_lock<std::mutex>& lock) {
  ++activity_;
  handler_.FlushAll();
  PollAndHandle(lock, 0, 0);
}

void Poller::StewardLoop() {
  pthread_setname_np(pthread_self(), "cyray-steward");
  std::unique_lock lock(mutex_);
  while (!stopping_) StewardTurn(lock);
}

void Poller::StewardTurn(std::unique_lock<std::mutex>& lock) {
  if (seat_ != 0 && seat_blocked_) {
    // Somebody waits in epoll: nothing to do until they leave.
    steward_parked_ = true;
    steward_wake_.wait(lock);
    steward_parked_ = false;
    return;
  }
  const uint64_t before = activity_, tickets = next_ticket_;
  steward_wake_.wait_for(lock, external_loop_       ? kExternalNap
                               : many_waits_lately_ ? kLongNap
                                                    : kStewardNap);
  if (stopping_) return;
  many_waits_lately_ = next_ticket_ - tickets >= kManyWaits;
  handler_.FlushStale();
  if (seat_ != 0 || activity_ != before) return;
  // Nobody polled for a nap's length: drive until somebody does.
  const uint64_t ticket = next_ticket_++;
  seat_ = steward_ticket_ = ticket;
  steward_seated_ = true;
  if (external_loop_) {
    PollAndHandle(lock, ticket, 0);
  } else {
    while (!stopping_ && seat_ == ticket && activity_ == before) {
      Drive(lock, ticket, kForever, /*spin=*/false);
    }
  }
  if (seat_ == ticket) {
    seat_ = 0;
    seat_blocked_ = false;
    steward_seated_ = false;
    if (waiters_ > 0) changed_.notify_all();
  }
}

}  // namespace cyray::core
