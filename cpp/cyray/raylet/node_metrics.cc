#include "cyray/raylet/node_metrics.h"

#include <algorithm>
#include <string>

namespace cyray::raylet {
namespace {

using enum MetricType;

double Number(uint64_t value) { return static_cast<double>(value); }

class Writer {
 public:
  // One number under that name.
  void Add(const char* name, const char* help, uint64_t value, MetricType type = kGauge) {
    Begin(name, help, type).push_back({{}, Number(value)});
  }
  // To be filled.
  std::vector<Metric>& Begin(const char* name, const char* help, MetricType type = kGauge) {
    return families_.emplace_back(MetricFamily{name, help, type, {}}).metrics;
  }
  std::vector<MetricFamily> Take() { return std::move(families_); }

 private:
  std::vector<MetricFamily> families_;
};

void AddTasks(const wire::TaskCounts& tasks, Writer& out) {
  using enum wire::TaskCount;
  // The two words may be read on two sides of a push.
  const uint64_t waiting = tasks[kUnfinished] - std::min(tasks[kPushed], tasks[kUnfinished]);
  auto& metrics =
      out.Begin("cyray_tasks",
                "Tasks and calls of actors by state: those that wait here for arguments, a worker "
                "or their actor were submitted on this node, the others are on its workers. "
                "FINISHED and FAILED count attempts since the node started.");
  metrics.push_back({{{"State", "PENDING_NODE_ASSIGNMENT"}}, Number(waiting)});
  metrics.push_back({{{"State", "SUBMITTED_TO_WORKER"}}, Number(tasks[kQueued])});
  metrics.push_back({{{"State", "RUNNING"}}, Number(tasks[kRunning])});
  metrics.push_back({{{"State", "FINISHED"}}, Number(tasks[kFinished])});
  metrics.push_back({{{"State", "FAILED"}}, Number(tasks[kFailed])});
}

void AddActors(const NodeSnapshot& node, Writer& out) {
  auto& actors = out.Begin("cyray_actors", "Actors that were placed on this node, by state.");
  actors.push_back({{{"State", "PENDING_CREATION"}}, Number(node.actors_pending)});
  actors.push_back({{{"State", "ALIVE"}}, Number(node.actors_alive)});
}

void AddResources(const NodeSnapshot& node, Writer& out) {
  auto& metrics = out.Begin("cyray_resources", "Amounts of this node's resources by name and use.");
  for (const auto& [name, total] : node.total.amounts()) {
    const int64_t available = node.available.Get(name);
    const auto add = [&, &name = name](const char* state, int64_t amount) {
      metrics.push_back(
          {{{"Name", name}, {"State", state}}, static_cast<double>(amount) / kResourceUnit});
    };
    add("AVAILABLE", available);
    add("USED", total - available);
  }
}

void AddLeases(const NodeSnapshot& node, Writer& out) {
  auto& leases = out.Begin("cyray_leases",
                           "Leases of this node's workers: held, asked for and waiting, asked for "
                           "at other nodes and not answered.");
  leases.push_back({{{"State", "HELD"}}, Number(node.leases.held)});
  leases.push_back({{{"State", "PENDING"}}, Number(node.leases.pending)});
  leases.push_back({{{"State", "FORWARDED"}}, Number(node.leases.forwarded)});
  out.Add("cyray_leases_granted_total", "Leases that this node has granted, to actors too.",
          node.leases.granted_ever, kCounter);
  out.Add("cyray_leases_forwarded_total", "Requests that were sent on to other nodes.",
          node.leases.forwarded_ever, kCounter);
}

void AddWorkers(const NodeSnapshot& node, Writer& out) {
  static constexpr std::pair<WorkerState, const char*> kStates[] = {
      {WorkerState::kStarting, "STARTING"}, {WorkerState::kIdle, "IDLE"},
      {WorkerState::kLeased, "LEASED"},     {WorkerState::kActor, "ACTOR"},
      {WorkerState::kExiting, "EXITING"},
  };
  auto& workers = out.Begin("cyray_workers", "Worker processes of this node by state.");
  for (const auto& [state, name] : kStates) {
    const auto found = node.workers.find(state);
    workers.push_back({{{"State", name}}, found == node.workers.end() ? 0 : Number(found->second)});
  }
  out.Add("cyray_internal_num_processes_started_total", "Worker processes that were started.",
          node.worker_tally.started, kCounter);
  out.Add("cyray_node_manager_unexpected_worker_failure_total",
          "Workers that ended although nobody meant them to.", node.worker_tally.failed, kCounter);
  out.Add("cyray_worker_exits_total", "Workers that ended as they, or others, meant them to.",
          node.worker_tally.left, kCounter);
}

void AddStore(const NodeSnapshot& node, Writer& out) {
  const store::StoreStats& store = node.store;
  out.Add("cyray_object_store_used_memory", "Bytes of this node's object store that are in use.",
          store.used_bytes);
  out.Add("cyray_object_store_available_memory", "Bytes of this node's object store that are free.",
          store.capacity_bytes - std::min(store.used_bytes, store.capacity_bytes));
  out.Add("cyray_object_store_num_local_objects", "Objects in this node's store.", store.objects);
  out.Add("cyray_object_store_pinned_bytes", "Bytes of objects that some process reads or keeps.",
          store.pinned_bytes);
  out.Add("cyray_object_store_primary_bytes",
          "Bytes of objects whose first copy is here; the rest are copies of other nodes' objects.",
          store.primary_bytes);
  out.Add("cyray_pull_manager_requests", "Objects that are being fetched from other nodes.",
          node.pulls);
}

void AddConnections(const NodeSnapshot& node, Writer& out) {
  uint64_t workers = 0;
  for (const auto& [state, count] : node.workers) {
    if (state != WorkerState::kStarting) workers += count;
  }
  auto& metrics = out.Begin("cyray_connections", "What is connected to this node's raylet.");
  metrics.push_back({{{"Type", "driver"}}, Number(node.drivers)});
  metrics.push_back({{{"Type", "worker"}}, Number(workers)});
  metrics.push_back({{{"Type", "node"}}, Number(node.peers)});
  auto& bytes = out.Begin("cyray_node_traffic_bytes_total",
                          "Bytes between this node's raylet and those of other nodes.", kCounter);
  bytes.push_back({{{"Direction", "sent"}}, Number(node.traffic.sent_bytes)});
  bytes.push_back({{{"Direction", "received"}}, Number(node.traffic.received_bytes)});
}

void AddCluster(const NodeSnapshot::Cluster& cluster, Writer& out) {
  out.Add("cyray_cluster_active_nodes", "Nodes of the cluster that live.", cluster.active_nodes);
  out.Add("cyray_cluster_failed_nodes", "Nodes of the cluster that lived once.",
          cluster.failed_nodes);
  out.Add("cyray_running_jobs", "Jobs whose drivers have not ended.", cluster.running_jobs);
}

void AddComponents(const NodeFacts& facts, Writer& out) {
  using Field = double (*)(const ComponentUsage&);
  const auto add = [&](const char* name, const char* help, Field field, MetricType type = kGauge) {
    auto& metrics = out.Begin(name, help, type);
    for (const ComponentUsage& usage : facts.components) {
      metrics.push_back({{{"Component", usage.component}}, field(usage)});
    }
  };
  add("cyray_component_processes", "Processes of this node by what they are.",
      [](const ComponentUsage& usage) { return Number(usage.processes); });
  add("cyray_component_rss_bytes", "Memory of these processes that is in RAM.",
      [](const ComponentUsage& usage) { return Number(usage.rss_bytes); });
  add("cyray_component_shared_bytes",
      "Of that, files and shared memory, the object store among it, which each process counts.",
      [](const ComponentUsage& usage) { return Number(usage.shared_bytes); });
  add(
      "cyray_component_cpu_seconds_total", "CPU time of these processes, ended ones included.",
      [](const ComponentUsage& usage) { return Number(usage.cpu_ms) / 1000; }, kCounter);
  out.Begin("cyray_component_num_fds", "Open descriptors.")
      .push_back({{{"Component", "raylet"}}, Number(facts.raylet_descriptors)});
}

void AddMachine(const MachineUsage& machine, Writer& out) {
  const MachineMemory& memory = machine.memory;
  if (memory.total_bytes != MachineMemory::kUnknown &&
      memory.available_bytes != MachineMemory::kUnknown) {
    out.Add(
        "cyray_node_mem_total",
        "Bytes of memory that this node may have: the machine's, or the limit of its container.",
        memory.total_bytes);
    out.Add("cyray_node_mem_available", "Bytes of it that programs can still have.",
            memory.available_bytes);
    out.Add("cyray_node_mem_used", "Bytes of it that they cannot.",
            memory.total_bytes - std::min(memory.available_bytes, memory.total_bytes));
  }
  out.Add("cyray_node_cpu_count",
          "CPUs that this node may use: the machine's, or the quota of its container.",
          machine.cpu_count);
  auto& busy =
      out.Begin("cyray_node_cpu_seconds_total",
                "Busy time of all CPUs of the machine, together, whoever uses them.", kCounter);
  if (machine.cpu_busy_ms) busy.push_back({{}, Number(*machine.cpu_busy_ms) / 1000});
}

}  // namespace

std::vector<MetricFamily> NodeMetrics(const NodeFacts& facts) {
  Writer out;
  if (facts.node) {
    AddTasks(facts.node->tasks, out);
    AddActors(*facts.node, out);
    AddResources(*facts.node, out);
    AddLeases(*facts.node, out);
    AddWorkers(*facts.node, out);
    AddStore(*facts.node, out);
    AddConnections(*facts.node, out);
    if (facts.node->cluster) AddCluster(*facts.node->cluster, out);
  }
  AddComponents(facts, out);
  AddMachine(facts.machine, out);
  out.Add("cyray_scrape_timeouts_total",
          "Scrapes that the raylet's loop did not answer in time, and that lack its numbers.",
          facts.scrape_timeouts, kCounter);
  return out.Take();
}

}  // namespace cyray::raylet
