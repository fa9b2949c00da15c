#include "cyray/raylet/node_snapshot.h"

#include "cyray/common/bundle_names.h"
#include "cyray/raylet/actor_host.h"
#include "cyray/raylet/lease_service.h"

namespace cyray::raylet {
namespace {

void CountActors(const ActorHost& actors, NodeSnapshot& out) {
  for (const auto& [id, actor] : actors.actors()) {
    ++(actor.state == ActorHost::State::kAlive ? out.actors_alive : out.actors_pending);
  }
}

void CountLeases(const LeaseService& leases, NodeSnapshot& out) {
  const LeaseScheduler& scheduler = leases.scheduler();
  out.total = OutsideBundles(scheduler.resources().total());
  out.available = OutsideBundles(scheduler.resources().available());
  out.leases.held = scheduler.lease_count();
  out.leases.pending = scheduler.pending_count();
  out.leases.forwarded = leases.forwards().all().size();
  out.leases.granted_ever = scheduler.granted_ever();
  out.leases.forwarded_ever = leases.forwarded_ever();
}

void CountProcesses(const SnapshotSources& sources, NodeSnapshot& out) {
  out.processes.push_back({"raylet", sources.raylet_pid});
  if (sources.zygote_pid > 0) out.processes.push_back({"zygote", sources.zygote_pid});
  if (sources.gcs_pid > 0) out.processes.push_back({"gcs_server", sources.gcs_pid});
  for (const auto& [id, worker] : sources.node.workers->pool().workers()) {
    ++out.workers[worker.state];
    const int pid = sources.node.workers->PidOf(id);
    if (pid > 0) out.processes.push_back({"worker", pid});
  }
  sources.node.clients->ForEach([&](const ClientConnection& client) {
    if (!client.is_driver() || !client.registered) return;
    ++out.drivers;
    out.processes.push_back({"driver", client.pid});
  });
  out.worker_tally = sources.node.workers->tally();
}

void CountPeers(const SnapshotSources& sources, NodeSnapshot& out) {
  const PeerTable& peers = *sources.node.peers;
  for (const NodeId& node : peers.Met()) out.peers += peers.IsConnected(node) ? 1 : 0;
  out.traffic = sources.transport->traffic();
  if (!sources.node.options->head) return;
  out.cluster = NodeSnapshot::Cluster{.active_nodes = peers.Known().size() + 1,
                                      .failed_nodes = peers.dead(),
                                      .running_jobs = sources.jobs->running()};
}

}  // namespace

NodeSnapshot TakeSnapshot(const SnapshotSources& sources) {
  NodeSnapshot out;
  out.tasks = sources.registrar->task_counts();
  CountActors(*sources.node.actors, out);
  CountLeases(*sources.node.leases, out);
  CountProcesses(sources, out);
  CountPeers(sources, out);
  out.store = sources.node.store->stats();
  out.pulls = sources.node.transfer->pulls();
  return out;
}

}  // namespace cyray::raylet
