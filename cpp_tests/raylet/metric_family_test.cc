// Tests of the text in which Prometheus reads metrics.

#include "cyray/raylet/metric_family.h"

#include <gtest/gtest.h>

#include <limits>

namespace cyray::raylet {
namespace {

std::string Written(const MetricFamily& family, const MetricLabels& common = {}) {
  return WriteExposition({family}, common);
}

TEST(MetricFamily, HelpAndTypeStandBeforeTheNumbers) {
  EXPECT_EQ(Written({"cyray_a", "What it is.", MetricType::kGauge, {{{}, 3}, {{{"B", "c"}}, 4}}}),
            "# HELP cyray_a What it is.\n"
            "# TYPE cyray_a gauge\n"
            "cyray_a 3\n"
            "cyray_a{B=\"c\"} 4\n");
  EXPECT_EQ(Written({"cyray_a_total", "x", MetricType::kCounter, {{{}, 1}}}),
            "# HELP cyray_a_total x\n# TYPE cyray_a_total counter\ncyray_a_total 1\n");
}

TEST(MetricFamily, CommonLabelsFollowAMetricsOwn) {
  const std::string text = Written({"a", "x", MetricType::kGauge, {{{{"B", "c"}}, 1}, {{}, 2}}},
                                   {{"Session", "s"}, {"Node", "n"}});
  EXPECT_NE(text.find("a{B=\"c\",Session=\"s\",Node=\"n\"} 1\n"), std::string::npos) << text;
  EXPECT_NE(text.find("a{Session=\"s\",Node=\"n\"} 2\n"), std::string::npos) << text;
}

TEST(MetricFamily, WhatWouldEndALabelOrALineIsEscaped) {
  const std::string text =
      Written({"a", "one\\two\n\"three\"", MetricType::kGauge, {{{{"B", "\"\\\n"}}, 1}}});
  EXPECT_NE(text.find("# HELP a one\\\\two\\n\"three\"\n"), std::string::npos) << text;
  EXPECT_NE(text.find("a{B=\"\\\"\\\\\\n\"} 1\n"), std::string::npos) << text;
}

TEST(MetricFamily, NumbersAreWhole) {
  const auto number = [](double value) {
    const std::string text = Written({"a", "x", MetricType::kGauge, {{{}, value}}});
    const size_t at = text.rfind(' ');
    return text.substr(at + 1, text.size() - at - 2);
  };
  EXPECT_EQ(number(0.1), "0.1");
  EXPECT_EQ(number(-2), "-2");
  EXPECT_EQ(std::stod(number(9'007'199'254'740'991.0)), 9'007'199'254'740'991.0);
  EXPECT_EQ(std::stod(number(1e300)), 1e300);
  EXPECT_EQ(number(std::numeric_limits<double>::infinity()), "+Inf");
  EXPECT_EQ(number(std::numeric_limits<double>::quiet_NaN()), "NaN");
}

TEST(MetricFamily, OneWithoutMetricsIsLeftOut) {
  EXPECT_EQ(Written({"a", "x", MetricType::kGauge, {}}), "");
}

}  // namespace
}  // namespace cyray::raylet
