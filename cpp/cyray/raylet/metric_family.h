// MetricFamily: numbers of one kind under one name, and the text in which Prometheus reads them
// (exposition format 0.0.4). Values, and functions without state.

#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace cyray::raylet {

enum class MetricType : uint8_t { kGauge, kCounter };

// Names and values, in the order in which they are written.
using MetricLabels = std::vector<std::pair<std::string, std::string>>;

struct Metric {
  MetricLabels labels;
  double value = 0;
};

struct MetricFamily {
  std::string name;
  std::string help;
  MetricType type = MetricType::kGauge;
  std::vector<Metric> metrics;
};

inline constexpr const char* kExpositionType = "text/plain; version=0.0.4; charset=utf-8";

// `common`: labels of each metric, after its own ones. A family without metrics is left out.
std::string WriteExposition(const std::vector<MetricFamily>& families, const MetricLabels& common);

}  // namespace cyray::raylet
