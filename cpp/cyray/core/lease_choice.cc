#include "cyray/core/lease_choice.h"

#include <algorithm>

namespace cyray::core {
namespace {

// How much known work may sit on a busy worker: enough to hide a round trip and a slow wakeup while
// the worker gathers its results (kReplyGatherNs).
constexpr double kAheadUs = 2'000;
// Longer tasks than this run one at a time: the gap between two is then below a percent.
constexpr double kLongTaskUs = 10'000;
constexpr uint32_t kMaxAhead = 1'024;
// A worker that does not answer for so long waits for something.
constexpr int64_t kWaitsNs = 20'000'000;
// In a task for so much of the time.
constexpr double kBusyShare = 0.5;

bool IsStuck(const Lease& lease, int64_t now_ns) {
  const InFlight& tasks = lease.in_flight;
  return tasks.count > 1 && tasks.count > tasks.first->tmpl->max_concurrency &&
         lease.asked_back != AskedBack::kAll && !lease.broken && IsSlow(lease, now_ns);
}

bool Serves(const Lease& lease, int64_t now_ns) {
  const bool waits = lease.in_flight.count > 0 && now_ns - lease.last_reply_ns > kWaitsNs;
  return !lease.broken && !lease.exiting && !lease.reclaimed && !lease.hold && !waits;
}

}  // namespace

LeaseChoice ChooseLease(const Shape& shape, const TaskTemplate& tmpl) {
  LeaseChoice choice;
  Lease*& best = choice.emptiest;
  Lease*& busy = choice.busy;
  for (const auto& owned : shape.leases) {
    Lease* lease = owned.get();
    if (lease->broken || lease->exiting || lease->reclaimed) continue;
    const uint32_t count = lease->in_flight.count;
    if (count > 0) {
      if (lease->hold || lease->asked_back == AskedBack::kAll || count >= kMaxAhead) continue;
      const bool shares = count < tmpl.max_concurrency;
      if (!shares) {
        if (tmpl.average_us < 0 || tmpl.average_us > kLongTaskUs) continue;
        // One task ahead hides the round trip; more only while they are short.
        if (count > 1 && lease->queued_us + tmpl.average_us > kAheadUs * tmpl.max_concurrency) {
          continue;
        }
      }
      if (busy == nullptr || count < busy->in_flight.count) busy = lease;
    }
    // The emptiest; among idle ones the last used, whose caches are warm.
    if (best == nullptr || count < best->in_flight.count ||
        (count == 0 && best->in_flight.count == 0 && lease->last_reply_ns > best->last_reply_ns)) {
      best = lease;
    }
  }
  return choice;
}

bool IsSlow(const Lease& lease, int64_t now_ns) {
  return now_ns - lease.last_reply_ns > kStealAfterNs;
}

size_t CountStuck(const Shape& shape, int64_t now_ns) {
  return std::count_if(shape.leases.begin(), shape.leases.end(),
                       [now_ns](const auto& lease) { return IsStuck(*lease, now_ns); });
}

size_t CountServing(const Shape& shape, int64_t now_ns) {
  return std::count_if(shape.leases.begin(), shape.leases.end(),
                       [now_ns](const auto& lease) { return Serves(*lease, now_ns); });
}

size_t CountBusy(const Shape& shape, int64_t now_ns) {
  return std::count_if(shape.leases.begin(), shape.leases.end(), [now_ns](const auto& lease) {
    return lease->in_flight.count > 0 && Serves(*lease, now_ns);
  });
}

// A run that the machine interrupted says little of the next ones.
double NextAverageUs(double average_us, double us) {
  if (average_us < 0) return us;
  return average_us * 0.8 + std::min(us, average_us * 4 + 50) * 0.2;
}

bool TakesFew(const Shape& shape, const TaskTemplate& tmpl) {
  return !shape.takes_cpu && tmpl.average_us >= 0 && tmpl.average_us <= kAheadUs;
}

const TaskTemplate* Waiting(const Shape& shape) {
  if (!shape.ready.empty()) return shape.ready.front()->tmpl;
  for (const auto& lease : shape.leases) {
    if (lease->in_flight.count > 1) return lease->in_flight.last->tmpl;
  }
  return nullptr;
}

// When the few are in a task most of the time, the tasks wait for something themselves, and one
// more worker helps. The more there are, the longer is looked.
void LookWhetherFewSuffice(Shape& shape, int64_t now_ns, size_t serving) {
  const int64_t looked_ns = now_ns - shape.looked_ns;
  if (looked_ns < kLookNs * static_cast<int64_t>(shape.few / kFewWorkers)) return;
  const double could_run_us = static_cast<double>(looked_ns) / 1000 * static_cast<double>(serving);
  if (shape.ran_us > kBusyShare * could_run_us) {
    ++shape.few;
  } else if (shape.few > kFewWorkers) {
    --shape.few;
  }
  shape.looked_ns = now_ns;
  shape.ran_us = 0;
}

}  // namespace cyray::core
