// GcsFacts: what the GCS has to learn from this process, however long it is away or its disk takes
// nothing: what a function is, that an actor's arguments are ready, that its last handle is gone.
//
// A fact is kept until it is answered, and one whose answer is that it may work later is told again
// after a pause. Repetitions are harmless, as the GCS's methods for facts are idempotent. Guarded
// by the core mutex. Pure.

#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "cyray/core/outbox.h"
#include "cyray/util/status.h"
#include "cyray/wire/bytes.h"
#include "gcs_generated.h"

namespace cyray::core {

class GcsFacts {
 public:
  static constexpr int64_t kAgainNs = 1'000'000'000;
  // What is large waits longer: its repetitions take so much a second at most.
  static constexpr size_t kBytesPerSecond = 8 << 20;
  // Asks the GCS; the answer comes once, maybe at once.
  using Send = std::function<void(wire::GcsMethod, const wire::Bytes& payload,
                                  std::function<void(const Result<std::string>&)>)>;
  // Ok: the GCS knows it. Else it has no use for it, or this node is at its end.
  using Told = std::function<void(const Status& status)>;
  GcsFacts(Send send, std::function<int64_t()> now_ns)
      : send_(std::move(send)), now_ns_(std::move(now_ns)) {}

  // `on_told` may be empty.
  void Tell(wire::GcsMethod method, wire::Bytes payload, Told on_told = {});

  // When something is told again; kForever: nothing is.
  int64_t NextTickNs() const;
  void Tick(int64_t now_ns);
  size_t pending() const { return pending_.size(); }

 private:
  struct Fact {
    wire::GcsMethod method;
    wire::Bytes payload;
    Told on_told;
    int64_t again_ns = 0;
  };
  void SendOne(Fact fact);

  const Send send_;
  const std::function<int64_t()> now_ns_;
  std::vector<Fact> pending_;
};

}  // namespace cyray::core
