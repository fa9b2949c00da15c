// Tests of what a node tells Prometheus of a snapshot: a function of values.

#include "cyray/raylet/node_metrics.h"

#include <gmock/gmock.h>

#include <map>
#include <regex>
#include <set>

namespace cyray::raylet {
namespace {

using wire::TaskCount;

NodeFacts Busy() {
  NodeFacts facts;
  NodeSnapshot node;
  node.tasks[TaskCount::kUnfinished] = 100;
  node.tasks[TaskCount::kPushed] = 30;
  node.tasks[TaskCount::kQueued] = 20;
  node.tasks[TaskCount::kRunning] = 4;
  node.tasks[TaskCount::kFinished] = 1'000;
  node.tasks[TaskCount::kFailed] = 3;
  node.actors_pending = 1;
  node.actors_alive = 2;
  node.total.Set("CPU", 4 * kResourceUnit);
  node.available.Set("CPU", kResourceUnit / 2);
  node.leases = {.held = 5, .pending = 6, .forwarded = 7, .granted_ever = 8, .forwarded_ever = 9};
  node.workers = {{WorkerState::kStarting, 1}, {WorkerState::kIdle, 2}, {WorkerState::kActor, 3}};
  node.worker_tally = {.started = 10, .left = 3, .failed = 1};
  node.store.capacity_bytes = 1'000;
  node.store.used_bytes = 300;
  node.store.pinned_bytes = 200;
  node.store.primary_bytes = 250;
  node.store.objects = 5;
  node.pulls = 11;
  node.drivers = 2;
  node.peers = 3;
  node.traffic = {.sent_bytes = 1'234, .received_bytes = 5'678};
  node.cluster = NodeSnapshot::Cluster{.active_nodes = 4, .failed_nodes = 1, .running_jobs = 2};
  facts.node = node;
  facts.components = {{.component = "raylet",
                       .processes = 1,
                       .rss_bytes = 100,
                       .shared_bytes = 40,
                       .cpu_ms = 1'500}};
  facts.machine = {.memory = {1'000, 400}, .cpu_count = 2, .cpu_busy_ms = 7'000};
  facts.raylet_descriptors = 50;
  facts.scrape_timeouts = 12;
  return facts;
}

// By name and own labels: "cyray_tasks RUNNING".
std::map<std::string, double> Values(const NodeFacts& facts) {
  std::map<std::string, double> values;
  for (const MetricFamily& family : NodeMetrics(facts)) {
    for (const Metric& metric : family.metrics) {
      std::string key = family.name;
      for (const auto& [name, value] : metric.labels) key += " " + value;
      EXPECT_TRUE(values.emplace(key, metric.value).second) << key << " is there twice";
    }
  }
  return values;
}

TEST(NodeMetrics, TasksHaveOneStateEach) {
  auto values = Values(Busy());
  EXPECT_EQ(values["cyray_tasks PENDING_NODE_ASSIGNMENT"], 70);  // of 100, 30 are elsewhere
  EXPECT_EQ(values["cyray_tasks SUBMITTED_TO_WORKER"], 20);
  EXPECT_EQ(values["cyray_tasks RUNNING"], 4);
  EXPECT_EQ(values["cyray_tasks FINISHED"], 1'000);
  EXPECT_EQ(values["cyray_tasks FAILED"], 3);
}

TEST(NodeMetrics, ATaskReadOnBothSidesOfAPushMakesNoNegativeNumber) {
  NodeFacts facts = Busy();
  facts.node->tasks[TaskCount::kPushed] = facts.node->tasks[TaskCount::kUnfinished] + 1;
  EXPECT_EQ(Values(facts)["cyray_tasks PENDING_NODE_ASSIGNMENT"], 0);
}

TEST(NodeMetrics, ResourcesAreInUseOrNot) {
  NodeFacts facts = Busy();
  auto values = Values(facts);
  EXPECT_EQ(values["cyray_resources CPU AVAILABLE"], 0.5);
  EXPECT_EQ(values["cyray_resources CPU USED"], 3.5);
  facts.node->available = {};
  EXPECT_EQ(Values(facts)["cyray_resources CPU USED"], 4);
}

TEST(NodeMetrics, NumbersOfPartsAreWhereTheyBelong) {
  auto values = Values(Busy());
  EXPECT_EQ(values["cyray_actors PENDING_CREATION"], 1);
  EXPECT_EQ(values["cyray_actors ALIVE"], 2);
  EXPECT_EQ(values["cyray_leases HELD"], 5);
  EXPECT_EQ(values["cyray_leases PENDING"], 6);
  EXPECT_EQ(values["cyray_leases FORWARDED"], 7);
  EXPECT_EQ(values["cyray_leases_granted_total"], 8);
  EXPECT_EQ(values["cyray_leases_forwarded_total"], 9);
  EXPECT_EQ(values["cyray_workers STARTING"], 1);
  EXPECT_EQ(values["cyray_workers IDLE"], 2);
  EXPECT_EQ(values["cyray_workers LEASED"], 0);
  EXPECT_EQ(values["cyray_workers ACTOR"], 3);
  EXPECT_EQ(values["cyray_internal_num_processes_started_total"], 10);
  EXPECT_EQ(values["cyray_node_manager_unexpected_worker_failure_total"], 1);
  EXPECT_EQ(values["cyray_worker_exits_total"], 3);
  EXPECT_EQ(values["cyray_object_store_used_memory"], 300);
  EXPECT_EQ(values["cyray_object_store_available_memory"], 700);
  EXPECT_EQ(values["cyray_object_store_num_local_objects"], 5);
  EXPECT_EQ(values["cyray_pull_manager_requests"], 11);
  EXPECT_EQ(values["cyray_connections driver"], 2);
  EXPECT_EQ(values["cyray_connections worker"], 5);
  EXPECT_EQ(values["cyray_connections node"], 3);
  EXPECT_EQ(values["cyray_node_traffic_bytes_total sent"], 1'234);
  EXPECT_EQ(values["cyray_node_traffic_bytes_total received"], 5'678);
  EXPECT_EQ(values["cyray_component_rss_bytes raylet"], 100);
  EXPECT_EQ(values["cyray_component_cpu_seconds_total raylet"], 1.5);
  EXPECT_EQ(values["cyray_component_num_fds raylet"], 50);
  EXPECT_EQ(values["cyray_node_mem_used"], 600);
  EXPECT_EQ(values["cyray_node_cpu_seconds_total"], 7);
  EXPECT_EQ(values["cyray_scrape_timeouts_total"], 12);
}

TEST(NodeMetrics, TheHeadAloneTellsOfTheCluster) {
  NodeFacts facts = Busy();
  auto values = Values(facts);
  EXPECT_EQ(values["cyray_cluster_active_nodes"], 4);
  EXPECT_EQ(values["cyray_cluster_failed_nodes"], 1);
  EXPECT_EQ(values["cyray_running_jobs"], 2);
  facts.node->cluster.reset();
  values = Values(facts);
  EXPECT_FALSE(values.contains("cyray_cluster_active_nodes"));
  EXPECT_FALSE(values.contains("cyray_running_jobs"));
}

TEST(NodeMetrics, WithoutTheLoopThereIsWhatNeedsNone) {
  NodeFacts facts = Busy();
  facts.node.reset();
  auto values = Values(facts);
  EXPECT_FALSE(values.contains("cyray_tasks RUNNING"));
  EXPECT_EQ(values["cyray_component_rss_bytes raylet"], 100);
  EXPECT_EQ(values["cyray_node_mem_total"], 1'000);
  EXPECT_EQ(values["cyray_scrape_timeouts_total"], 12);
}

TEST(NodeMetrics, WhatTheKernelDoesNotSayIsLeftOut) {
  NodeFacts facts = Busy();
  facts.machine = {.cpu_count = 2};
  auto values = Values(facts);
  for (const char* name : {"cyray_node_mem_total", "cyray_node_mem_available",
                           "cyray_node_mem_used", "cyray_node_cpu_seconds_total"}) {
    EXPECT_FALSE(values.contains(name)) << name;
  }
  EXPECT_EQ(values["cyray_node_cpu_count"], 2);
}

TEST(NodeMetrics, NamesFollowTheConventions) {
  std::set<std::string> names;
  for (const MetricFamily& family : NodeMetrics(Busy())) {
    EXPECT_TRUE(names.insert(family.name).second) << family.name << " is there twice";
    EXPECT_TRUE(std::regex_match(family.name, std::regex("cyray_[a-z]+(_[a-z]+)*"))) << family.name;
    EXPECT_EQ(family.type == MetricType::kCounter,
              family.name.ends_with("_total") && family.name != "cyray_node_mem_total")
        << family.name;
    EXPECT_FALSE(family.help.empty()) << family.name;
    for (const Metric& metric : family.metrics) {
      for (const auto& [name, value] : metric.labels) {
        EXPECT_TRUE(std::regex_match(name, std::regex("[A-Z][A-Za-z]+"))) << name;
      }
    }
  }
}

}  // namespace
}  // namespace cyray::raylet
