#include "cyray/core/gcs_facts.h"

#include <algorithm>
#include <memory>

namespace cyray::core {
namespace {

// The GCS is away, or its disk is full.
bool MayWorkLater(StatusCode code) {
  return code == StatusCode::kUnavailable || code == StatusCode::kIoError;
}

}  // namespace

void GcsFacts::Tell(wire::GcsMethod method, wire::Bytes payload, Told on_told) {
  SendOne({method, std::move(payload), std::move(on_told)});
}

void GcsFacts::SendOne(Fact fact) {
  const auto shared = std::make_shared<Fact>(std::move(fact));
  send_(shared->method, shared->payload, [this, shared](const Result<std::string>& answer) {
    if (answer || !MayWorkLater(answer.error().code())) {
      if (shared->on_told) shared->on_told(answer ? Status::Ok() : answer.error());
      return;
    }
    const auto more_s = static_cast<int64_t>(shared->payload.size() / kBytesPerSecond);
    shared->again_ns = now_ns_() + kAgainNs + more_s * 1'000'000'000;
    pending_.push_back(std::move(*shared));
  });
}

void GcsFacts::Tick(int64_t now_ns) {
  if (now_ns < NextTickNs()) return;
  std::vector<Fact> due;
  for (Fact& fact : std::exchange(pending_, {})) {
    (now_ns < fact.again_ns ? pending_ : due).push_back(std::move(fact));
  }
  for (Fact& fact : due) SendOne(std::move(fact));
}

int64_t GcsFacts::NextTickNs() const {
  int64_t next = kForever;
  for (const Fact& fact : pending_) next = std::min(next, fact.again_ns);
  return next;
}

}  // namespace cyray::core
