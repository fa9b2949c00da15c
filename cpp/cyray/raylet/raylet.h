// Raylet: one node. Owns its parts, routes frames and commands between them, starts and ends it.
//
// The parts know each other only as far as their constructors say; what one of them notices reaches
// the others through the routing here.
// Threading: confined to the thread that calls Run(), which must be the process's first.

#pragma once

#include <memory>
#include <string>

#include "cyray/net/tcp_transport.h"
#include "cyray/raylet/actor_host.h"
#include "cyray/raylet/bundle_host.h"
#include "cyray/raylet/client_registry.h"
#include "cyray/raylet/driver_feed.h"
#include "cyray/raylet/gcs_bridge.h"
#include "cyray/raylet/gcs_process.h"
#include "cyray/raylet/gcs_watch.h"
#include "cyray/raylet/inquiries.h"
#include "cyray/raylet/job_book.h"
#include "cyray/raylet/lease_service.h"
#include "cyray/raylet/metrics_exporter.h"
#include "cyray/raylet/node_dump.h"
#include "cyray/raylet/node_options.h"
#include "cyray/raylet/node_snapshot.h"
#include "cyray/raylet/object_service.h"
#include "cyray/raylet/object_transfer.h"
#include "cyray/raylet/outage_watch.h"
#include "cyray/raylet/peer_broker.h"
#include "cyray/raylet/peer_table.h"
#include "cyray/raylet/process_supervisor.h"
#include "cyray/raylet/raylet_outbox.h"
#include "cyray/raylet/registrar.h"
#include "cyray/raylet/resource_reporter.h"
#include "cyray/raylet/worker_host.h"
#include "cyray/raylet/worker_shell.h"
#include "cyray/store/object_store.h"
#include "cyray/util/event_loop.h"
#include "cyray/util/spin_payoff.h"
#include "cyray/util/timer.h"

namespace cyray::raylet {

class Raylet {
 public:
  explicit Raylet(NodeOptions options);

  // Starts the node's processes and listens; readiness comes while Run() runs.
  Status Start();
  // Runs until the node ends; returns the exit code. Nothing of the node is left then.
  int Run();
  // Writes {"error": why} to the ready descriptor, if it still waits for a line.
  void ReportStartError(const std::string& why);

 private:
  Status OpenStore();
  void WatchLifeline();
  void BoundOwnLog();
  void BeginEnd(int exit_code, const std::string& why);
  void EndEverything();
  void SayFarewell() const;
  void FinishRound();
  bool KeepSpinning(bool handled_frames);

  // Frames of clients.
  bool OnFrame(ClientConnection& client, wire::Frame& frame);
  bool OnWorkerFrame(ClientConnection& client, const wire::Frame& frame);
  bool OnSetResource(ClientConnection& client, const wire::SetResource* request);
  DumpSources Sources() const;
  nlohmann::json Dump() const { return DumpNode(Sources()); }
  void OnClientClosed(ClientConnection& client, const std::string& reason);

  // Metrics.
  Status ServeMetrics();
  NodeSnapshot Snapshot() const;

  // Deaths.
  void OnWorkerDied(const DeadWorker& dead);
  void OnCannotStart(const std::string& why);
  void EndJob(const JobId& job);
  bool IsJobInUse(const JobId& job) const;
  void TellOfDeath(const Address& address, const std::string& reason, bool intended);

  // The GCS.
  void OnGcsReady(const std::string& address);
  void OnNodeRegistered(Result<wire::Bytes> reply);
  void OnCommand(const wire::NodeCommand& command);
  void OnResourceViews(const wire::ResourceViews& views);
  void OnNodeChanged(const wire::NodeRecord& node);
  void OnJobChanged(const wire::JobChanged& change);
  void OnCensus(const wire::Census& census);
  void OnNodeDied(const NodeId& node, const std::string& reason);
  void OnRemoteDied(const Address& address);
  wire::Bytes MakeHello();
  wire::Bytes ClusterResources() const;
  void WriteReady();

  NodeOptions options_;
  EventLoop loop_;
  ProcessSupervisor supervisor_;
  JobBook jobs_;
  ClientRegistry clients_;
  net::TcpTransport transport_;
  PeerTable peers_;
  DriverFeed feed_;
  Inquiries inquiries_;
  OutageWatch outages_;
  std::unique_ptr<store::ObjectStore> store_;
  std::unique_ptr<ObjectTransfer> transfer_;
  WorkerShell shell_;
  WorkerHost workers_;
  GcsBridge gcs_;
  RayletLeaseOutbox lease_outbox_;
  LeaseService leases_;
  ResourceReporter reporter_;
  BundleHost bundles_;
  RayletActorOutbox actor_outbox_;
  ActorHost actors_;
  PeerBroker broker_;
  GcsProcess gcs_process_;
  GcsWatch gcs_watch_;
  std::unique_ptr<ObjectService> objects_;
  std::unique_ptr<Registrar> registrar_;
  std::unique_ptr<MetricsExporter> metrics_;

  bool ended_ = false;
  bool lifeline_cut_ = false;
  bool member_ = false;  // the GCS takes this node for alive, as far as is known
  // What the GCS has told: all changes up to one, all views up to one.
  uint64_t known_change_ = 0;
  wire::ViewStamp known_views_;
  std::string end_reason_;
  int exit_code_ = 0;
  SpinPayoff spin_payoff_;
  int64_t spin_until_ns_ = 0;  // 0: not spinning

  Timer own_log_check_{&loop_};
};

}  // namespace cyray::raylet
