#include "cyray/core/lease_choice.h"

#include <algorithm>
#include <utility>

namespace cyray::core {
namespace {

// How much known work may sit on a busy worker: enough to hide a round trip and a slow wakeup while
// the worker gathers its results (kReplyGatherNs).
constexpr double kAheadUs = 2'000;
// Longer tasks than this run one at a time: the gap between two is then below a percent.
constexpr double kLongTaskUs = 10'000;
constexpr uint32_t kMaxAhead = 1'024;
constexpr int64_t kWaitsNs = 20'000'000;
// In tasks for so much of the time, workers are a reason for more of them.
constexpr double kBusyShare = 0.5;
constexpr size_t kMaxCrew = 256;                  // whose looks come before it is forgotten
constexpr int64_t kForgetCrewNs = 1'000'000'000;  // when nothing waited for so long
constexpr int kLooksToPass = 16;                  // after a larger one was of no use

bool Serves(const Lease& lease, int64_t now_ns) {
  return !lease.broken && !lease.exiting && !lease.reclaimed && !lease.hold &&
         !Waits(lease, now_ns);
}

}  // namespace

LeaseChoice ChooseLease(const Shape& shape, const TaskTemplate& tmpl, int64_t now_ns) {
  LeaseChoice choice;
  Lease*& best = choice.emptiest;
  Lease*& busy = choice.busy;
  bool best_shares = false;
  for (const auto& owned : shape.leases) {
    Lease* lease = owned.get();
    if (lease->broken || lease->exiting || lease->reclaimed) continue;
    const uint32_t count = lease->in_flight.count;
    // With its like; another function's task would have the main thread, which starts the others.
    const bool shares =
        count > 0 && count < tmpl.max_concurrency && lease->in_flight.first->tmpl == &tmpl;
    if (count > 0) {
      if (lease->hold || lease->asked_back == AskedBack::kAll || count >= kMaxAhead) continue;
      if (now_ns > 0 && Waits(*lease, now_ns)) continue;
      if (!shares) {
        if (tmpl.average_us < 0 || tmpl.average_us > kLongTaskUs) continue;
        // One task ahead hides the round trip; more only while they are short.
        if (count > 1 && lease->queued_us + tmpl.average_us > kAheadUs * tmpl.max_concurrency) {
          continue;
        }
      }
      if (busy == nullptr || count < busy->in_flight.count) busy = lease;
    }
    // The emptiest; among idle ones the last used, whose caches are warm. Where it begins at once
    // comes before where it would have to wait.
    const uint32_t least = best != nullptr ? best->in_flight.count : UINT32_MAX;
    const bool waits_less = shares && !best_shares && least > 0;
    const bool waits_more = !shares && best_shares && count > 0;
    if (waits_less || (!waits_more && count < least) ||
        (count == 0 && least == 0 && lease->last_reply_ns > best->last_reply_ns)) {
      best = lease;
      best_shares = shares;
    }
  }
  return choice;
}

bool IsSlow(const Lease& lease, int64_t now_ns) {
  return now_ns - lease.last_reply_ns > kStealAfterNs;
}

bool IsStuck(const Lease& lease, int64_t now_ns) {
  const TaskList& tasks = lease.in_flight;
  return tasks.count > 1 && tasks.count > tasks.first->tmpl->max_concurrency &&
         lease.asked_back != AskedBack::kAll && !lease.broken && IsSlow(lease, now_ns);
}

bool Waits(const Lease& lease, int64_t now_ns) {
  return lease.in_flight.count > 0 && now_ns - lease.last_reply_ns > kWaitsNs;
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

// A run that takes far longer than those before it was interrupted by the machine, most often. A
// second one after it is believed.
void NoteRun(TaskTemplate& tmpl, double us) {
  if (tmpl.average_us < 0) {
    tmpl.average_us = us;
    return;
  }
  const double likely_us = tmpl.average_us * 4 + 50;
  const bool is_long = us > likely_us;
  const double counts_us = is_long && !tmpl.was_long ? likely_us : us;
  tmpl.average_us = tmpl.average_us * 0.8 + counts_us * 0.2;
  tmpl.was_long = is_long;
}

const TaskTemplate* NextTemplate(const Shape& shape) {
  if (!shape.ready.empty()) return shape.ready.first->tmpl;
  for (const auto& lease : shape.leases) {
    if (lease->in_flight.count > 1) return lease->in_flight.last->tmpl;
  }
  return nullptr;
}

bool UsesCrew(const Shape& shape, const TaskTemplate& tmpl) {
  return !shape.bounded && tmpl.average_us >= 0 && tmpl.average_us <= kAheadUs;
}

// Workers that are in a task most of the time run tasks that wait, or have too few processors: one
// more shows which, by how many answers come. The larger a crew is, the longer it is looked.
void AdjustCrew(Shape& shape, int64_t now_ns) {
  Crew& crew = shape.crew;
  const int64_t looked_ns = now_ns - crew.looked_ns;
  if (looked_ns > kForgetCrewNs) {
    crew = {.looked_ns = now_ns};
    return;
  }
  if (looked_ns < kLookAgainNs * static_cast<int64_t>(crew.size / Crew().size)) return;
  const size_t serving = CountServing(shape, now_ns);
  if (serving >= crew.size) {  // else the one that was asked for is not there yet
    const auto us = static_cast<double>(looked_ns) / 1000;
    const double rate = crew.answers / us;
    const double worth_it = crew.rate_before * (1 + 0.5 / static_cast<double>(crew.size));
    const bool busy = crew.ran_us > kBusyShare * us * static_cast<double>(serving);
    if (std::exchange(crew.grew, false) && rate < worth_it) {
      --crew.size;
      crew.looks_to_pass = kLooksToPass;
    } else if (!busy) {
      crew.size -= (crew.size - Crew().size + 3) / 4;
    } else if (crew.looks_to_pass > 0) {
      --crew.looks_to_pass;
    } else if (crew.size < kMaxCrew) {
      ++crew.size;
      crew.grew = true;
      crew.rate_before = rate;
    }
  }
  crew.looked_ns = now_ns;
  crew.ran_us = 0;
  crew.answers = 0;
}

}  // namespace cyray::core
