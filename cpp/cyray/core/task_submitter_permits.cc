// How a TaskSubmitter keeps to max_running: a limited shape has no more leases, and requests for
// them, than it holds permits, which the job's driver counts (PermitOffice).

#include <algorithm>
#include <utility>

#include "cyray/core/task_submitter.h"
#include "cyray/util/log.h"

namespace cyray::core {
namespace {

// So long a permit is used before it goes to another process that waits for it, so that none goes
// to and fro unused.
constexpr int64_t kHoldPermitNs = 5'000'000;

}  // namespace

int64_t TaskSubmitter::LatestNs() const { return std::max(links_.NowNs(), ticked_ns_); }

size_t TaskSubmitter::FreePermits(const Shape& shape) {
  const size_t used = shape.leases.size() + shape.unanswered;
  return shape.permits.held() > used ? shape.permits.held() - used : 0;
}

void TaskSubmitter::SettlePermits(Shape& shape) {
  Permits& permits = shape.permits;
  const size_t free = FreePermits(shape);
  const bool used = LatestNs() >= permits.since_ns + kHoldPermitNs;
  const uint64_t owed = used ? std::min<uint64_t>(free, permits.owed()) : 0;
  const uint64_t back = shape.ready.empty() ? free : owed;
  permits.returned += back;
  size_t tasks = shape.ready.count;
  for (const auto& lease : shape.leases) tasks += lease->in_flight.count;
  const size_t use = shape.leases.size() + shape.unanswered + kMaxLeaseRequests;
  const size_t wanted = std::min({size_t{shape.key.max_running}, tasks, use});
  const uint64_t lacking = wanted > permits.held() ? wanted - permits.held() : 0;
  if (back == 0 && lacking == permits.told_lacking) return;
  permits.told_lacking = lacking;
  TellPermits(shape, static_cast<uint32_t>(wanted));
}

void TaskSubmitter::TellPermits(Shape& shape, uint32_t wanted) {
  Permits& permits = shape.permits;
  permits.telling = true;
  permits_.Tell(permits.number, shape.key.limited,
                {shape.key.max_running, wanted, permits.returned}, permits.granted);
  permits.telling = false;
}

void TaskSubmitter::TellAllPermits() {
  for (const auto& [number, shape] : limited_) {
    const uint64_t wanted = shape->permits.held() + shape->permits.told_lacking;
    if (wanted == 0) continue;
    TellPermits(*shape, static_cast<uint32_t>(wanted));
    Pump(*shape);
  }
}

void TaskSubmitter::OnPermits(const PermitTable::Answer& answer) {
  const auto it = limited_.find(answer.holder.number);
  if (it == limited_.end()) {  // nobody has wanted any for long, and these come late
    if (answer.granted == answer.returned) return;
    const PermitTable::Wish none{.limit = 1, .wanted = 0, .returned = answer.granted};
    return permits_.Tell(answer.holder.number, answer.function, none, answer.granted);
  }
  Shape& shape = *it->second;
  Permits& permits = shape.permits;
  if (answer.granted > permits.granted) {
    const uint64_t more = answer.granted - permits.granted;
    permits.told_lacking -= std::min(permits.told_lacking, more);
    permits.granted = answer.granted;
    permits.since_ns = LatestNs();
  }
  permits.recalled = answer.recalled;
  if (permits.telling) return;  // whoever told goes on
  SettlePermits(shape);
  ReturnOwed(shape);
  Pump(shape);
}

// Those that are asked for become free as tasks end.
void TaskSubmitter::ReturnOwed(Shape& shape) {
  size_t owed = shape.permits.owed();
  if (owed == 0) return;
  const int64_t due = shape.permits.since_ns + kHoldPermitNs;
  if (due > LatestNs()) return TickAt(due);
  SettlePermits(shape);
  owed = shape.permits.owed();
  const size_t requests = std::min(owed, shape.requests.size());
  CancelRequests(shape, shape.requests.size() - requests);
  owed -= requests;
  std::vector<Lease*> idle;
  for (const auto& lease : shape.leases) {
    if (owed == 0) break;
    if (lease->broken) continue;
    --owed;
    if (lease->in_flight.count == 0) {
      idle.push_back(lease.get());
    } else if (!std::exchange(lease->reclaimed, true) && lease->in_flight.count > 1 &&
               lease->asked_back != AskedBack::kAll) {
      AskBack(*lease, 0);
    }
  }
  for (Lease* lease : idle) ReturnLease(*lease);
}

void TaskSubmitter::CheckPermits(const Shape& shape) const {
  if (!shape.limited()) return;
  CYRAY_CHECK(shape.leases.size() + shape.unanswered <= shape.permits.held())
      << shape.leases.size() << " + " << shape.unanswered << " of " << shape.permits.held();
  const bool free = FreePermits(shape) > 0 && shape.requests.size() < kMaxLeaseRequests;
  CYRAY_CHECK(!raylet_.connected() || shape.ready.empty() || !free)
      << "a task waits, and its permit is free";
}

}  // namespace cyray::core
