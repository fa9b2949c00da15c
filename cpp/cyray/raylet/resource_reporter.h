// ResourceReporter: tells the GCS what is free on this node and what waits here.
//
// At most once in 10 ms. What waits may be thousands of demands: it goes along only when it changed
// since the last report of this stream. Resources that changed have another number, also when they
// are by now what they were: a node that passed a request on here counts what it was given until it
// is told of the number that came with that. When the GCS has told all nodes of that number, this
// one too, a later GCS learns so and does not tell them again. Threading: confined to its runtime's
// loop. Pure.

#pragma once

#include <cstdint>
#include <functional>

#include "cyray/raylet/lease_service.h"
#include "cyray/util/timer.h"
#include "cyray/wire/bytes.h"
#include "gcs_generated.h"

namespace cyray::raylet {

class ResourceReporter {
 public:
  // `report` takes a finished NodeReport.
  ResourceReporter(Runtime* runtime, const LeaseService* leases,
                   std::function<void(wire::Bytes)> report)
      : runtime_(runtime), leases_(leases), report_(std::move(report)), timer_(runtime) {}

  // Something of it changed.
  void OnChanged();
  // The number of the next report, which is made in any case: somebody waits for it.
  uint64_t Next();
  // A stream begins: the GCS has had no report on it.
  void OnUp();
  // The GCS tells the nodes, with that stamp, of the resources that had this number.
  void OnRelayed(uint64_t number, const wire::ViewStamp& stamp);

 private:
  static constexpr int64_t kIntervalMs = 10;
  void Send();
  bool Differs() const;  // from what was last sent

  Runtime* const runtime_;
  const LeaseService* const leases_;
  const std::function<void(wire::Bytes)> report_;
  int64_t sent_ms_ = -kIntervalMs;
  uint64_t told_pending_ = 0;      // its version; 0: none on this stream
  ResourceSet available_, total_;  // as last sent
  bool changed_ = false;           // since then, and maybe back
  uint64_t number_ = 0;
  wire::ViewStamp told_;  // with which the others were told of number_; epoch 0: they were not
  Timer timer_;
};

}  // namespace cyray::raylet
