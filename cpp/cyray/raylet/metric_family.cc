#include "cyray/raylet/metric_family.h"

#include <charconv>
#include <cmath>
#include <string_view>

namespace cyray::raylet {
namespace {

void AppendEscaped(std::string& out, std::string_view text, bool quotes) {
  for (const char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && quotes) {
      out += "\\\"";
    } else {
      out += c;
    }
  }
}

void AppendNumber(std::string& out, double value) {
  if (!std::isfinite(value)) {
    out += std::isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
    return;
  }
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;  // the shortest
  out.append(digits, end);
}

void AppendLabels(std::string& out, const MetricLabels& own, const MetricLabels& common) {
  char before = '{';
  for (const MetricLabels* labels : {&own, &common}) {
    for (const auto& [name, value] : *labels) {
      out += std::exchange(before, ',');
      out += name;
      out += "=\"";
      AppendEscaped(out, value, /*quotes=*/true);
      out += '"';
    }
  }
  if (before == ',') out += '}';
}

}  // namespace

std::string WriteExposition(const std::vector<MetricFamily>& families, const MetricLabels& common) {
  std::string out;
  for (const MetricFamily& family : families) {
    if (family.metrics.empty()) continue;
    out += "# HELP " + family.name + " ";
    AppendEscaped(out, family.help, /*quotes=*/false);
    out += "\n# TYPE " + family.name + " ";
    out += family.type == MetricType::kCounter ? "counter\n" : "gauge\n";
    for (const Metric& metric : family.metrics) {
      out += family.name;
      AppendLabels(out, metric.labels, common);
      out += ' ';
      AppendNumber(out, metric.value);
      out += '\n';
    }
  }
  return out;
}

}  // namespace cyray::raylet
