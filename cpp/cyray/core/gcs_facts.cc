#include "cyray/core/gcs_facts.h"

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
    if (pending_.empty()) again_ns_ = now_ns_() + kAgainNs;
    pending_.push_back(std::move(*shared));
  });
}

void GcsFacts::Tick(int64_t now_ns) {
  if (now_ns < NextTickNs()) return;
  for (Fact& fact : std::exchange(pending_, {})) SendOne(std::move(fact));
}

}  // namespace cyray::core
