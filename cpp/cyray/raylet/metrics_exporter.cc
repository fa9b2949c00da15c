#include "cyray/raylet/metrics_exporter.h"

#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "cyray/raylet/node_metrics.h"

namespace cyray::raylet {

struct MetricsExporter::Question {
  Collect collect;  // confined to the loop; empty when nobody is to be asked any more
  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by mutex.
  bool on_its_way = false;
  bool over = false;
  std::optional<NodeSnapshot> answer;

  // On the loop.
  void Answer() {
    if (!collect) return;
    NodeSnapshot snapshot = collect();
    std::lock_guard lock(mutex);
    answer = std::move(snapshot);
    on_its_way = false;
    changed.notify_one();
  }
};

Result<std::unique_ptr<MetricsExporter>> MetricsExporter::Start(Runtime* runtime,
                                                                UniqueFd listening,
                                                                MetricLabels labels,
                                                                Collect collect,
                                                                int64_t loop_limit_ms) {
  std::unique_ptr<MetricsExporter> exporter(
      new MetricsExporter(runtime, std::move(labels), std::move(collect), loop_limit_ms));
  auto server = MetricsServer::Start(std::move(listening), kExpositionType,
                                     [self = exporter.get()] { return self->Page(); });
  if (!server) return Fail(server.error());
  exporter->server_ = std::move(*server);
  return exporter;
}

MetricsExporter::MetricsExporter(Runtime* runtime, MetricLabels labels, Collect collect,
                                 int64_t loop_limit_ms)
    : runtime_(runtime),
      labels_(std::move(labels)),
      loop_limit_ms_(loop_limit_ms),
      question_(std::make_shared<Question>()) {
  question_->collect = std::move(collect);
}

MetricsExporter::~MetricsExporter() {
  question_->collect = nullptr;
  {
    std::lock_guard lock(question_->mutex);
    question_->over = true;
  }
  question_->changed.notify_one();
}

std::optional<NodeSnapshot> MetricsExporter::Ask() {
  std::unique_lock lock(question_->mutex);
  question_->answer.reset();  // of a scrape that did not wait for it
  if (!std::exchange(question_->on_its_way, true)) {
    runtime_->Post([question = question_] { question->Answer(); });
  }
  question_->changed.wait_for(lock, std::chrono::milliseconds(loop_limit_ms_),
                              [this] { return question_->over || question_->answer; });
  return std::exchange(question_->answer, std::nullopt);
}

std::string MetricsExporter::Page() {
  NodeFacts facts;
  facts.node = Ask();
  if (facts.node) {
    std::vector<CpuMeter::Sample> samples;
    for (const NodeProcess& process : facts.node->processes) {
      if (const auto usage = UsageOf(process.pid)) samples.push_back({process, *usage});
    }
    facts.components = meter_.Add(samples);
  } else {
    ++timeouts_;
    // The other processes are not known; what this one has used is what the meter would say.
    if (const auto own = UsageOf(::getpid())) {
      facts.components = {{"raylet", 1, own->rss_bytes, own->shared_bytes, own->cpu_ms}};
    }
  }
  facts.machine = UsageOfMachine();
  facts.raylet_descriptors = OwnDescriptors();
  facts.scrape_timeouts = timeouts_;
  return WriteExposition(NodeMetrics(facts), labels_);
}

}  // namespace cyray::raylet
