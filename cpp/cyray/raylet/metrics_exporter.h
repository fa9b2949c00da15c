// MetricsExporter: the node's metrics at its port: asks the raylet's loop for a snapshot, adds what
// the kernel says, and writes the page.
//
// A scrape waits for the loop, which has other things to do, for kLoopLimitMs; then its page has
// what needs no loop. One question at a time is on its way to the loop, however many scrapes come.
// Threading: made and destroyed on the loop, where `collect` is called; the page is written on the
// server's thread. Invariant: `collect` is not called once this is destroyed.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "cyray/raylet/metric_family.h"
#include "cyray/raylet/metrics_server.h"
#include "cyray/raylet/node_snapshot.h"
#include "cyray/raylet/process_usage.h"
#include "cyray/util/runtime.h"
#include "cyray/util/status.h"
#include "cyray/util/unique_fd.h"

namespace cyray::raylet {

class MetricsExporter {
 public:
  static constexpr int64_t kLoopLimitMs = 1'000;
  using Collect = std::function<NodeSnapshot()>;

  // Takes a listening socket. `labels`: of every metric.
  static Result<std::unique_ptr<MetricsExporter>> Start(Runtime* runtime, UniqueFd listening,
                                                        MetricLabels labels, Collect collect,
                                                        int64_t loop_limit_ms = kLoopLimitMs);
  ~MetricsExporter();

 private:
  struct Question;
  MetricsExporter(Runtime* runtime, MetricLabels labels, Collect collect, int64_t loop_limit_ms);

  // On the server's thread.
  std::string Page();
  std::optional<NodeSnapshot> Ask();

  Runtime* const runtime_;
  const MetricLabels labels_;
  const int64_t loop_limit_ms_;
  const std::shared_ptr<Question> question_;  // also the posted function's
  // Confined to the server's thread.
  CpuMeter meter_;
  uint64_t timeouts_ = 0;

  std::unique_ptr<MetricsServer> server_;  // the last member: its thread uses the others
};

}  // namespace cyray::raylet
