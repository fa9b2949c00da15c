// NodeSnapshot: the numbers of a node at one moment, for its metrics; and what takes it.
//
// The snapshot is a value. TakeSnapshot is a function without state, confined to the raylet's loop;
// it only reads what the parts of the raylet count anyway.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "cyray/common/resources.h"
#include "cyray/net/tcp_transport.h"
#include "cyray/raylet/job_book.h"
#include "cyray/raylet/node_dump.h"
#include "cyray/raylet/process_usage.h"
#include "cyray/raylet/registrar.h"
#include "cyray/raylet/worker_host.h"
#include "cyray/store/object_store.h"
#include "cyray/wire/task_tally.h"

namespace cyray::raylet {

struct NodeSnapshot {
  wire::TaskCounts tasks;
  uint64_t actors_pending = 0;
  uint64_t actors_alive = 0;
  ResourceSet total;  // by the names that people use
  ResourceSet available;
  struct {
    uint64_t held = 0;
    uint64_t pending = 0;
    uint64_t forwarded = 0;  // to other nodes, and not answered
    uint64_t granted_ever = 0;
    uint64_t forwarded_ever = 0;
  } leases;
  std::map<WorkerState, uint64_t> workers;
  WorkerTally worker_tally;
  store::StoreStats store;
  uint64_t pulls = 0;
  uint64_t drivers = 0;
  uint64_t peers = 0;  // that there is a connection with
  net::Traffic traffic;
  // What the head knows of the cluster.
  struct Cluster {
    uint64_t active_nodes = 0;
    uint64_t failed_nodes = 0;
    uint64_t running_jobs = 0;
  };
  std::optional<Cluster> cluster;
  std::vector<NodeProcess> processes;
};

struct SnapshotSources {
  DumpSources node;
  const Registrar* registrar;
  const JobBook* jobs;
  const net::TcpTransport* transport;
  pid_t raylet_pid;
  pid_t zygote_pid;  // 0: there is none
  pid_t gcs_pid;     // the same
};
NodeSnapshot TakeSnapshot(const SnapshotSources& sources);

}  // namespace cyray::raylet
