#include "cyray/raylet/raylet.h"

#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "cyray/gcs/codec.h"
#include "cyray/gcs/farewell.h"
#include "cyray/raylet/own_log.h"
#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace cyray::raylet {
namespace {

using flatbuffers::FlatBufferBuilder;
using wire::FrameType;
using wire::FromWire;
using wire::FromWireOrNil;
using wire::ToWire;

constexpr int64_t kSpinNs = 30'000;
constexpr int64_t kEndWaitMs = 400;
constexpr int64_t kTrackersWaitMs = 15'000;  // some milliseconds, but on a busy machine
constexpr int64_t kEndLimitMs = 30'000;      // a busy kernel takes its time to end a large process
constexpr int64_t kFarewellMs = 500;

// The socket and the link beside it that other tools know it by.
void UnlinkSocket(const std::string& path) {
  const std::string link = path.substr(0, path.rfind('/') + 1) + "plasma_store";
  char target[4096];
  const ssize_t n = ::readlink(link.c_str(), target, sizeof target);
  const std::string name = path.substr(path.rfind('/') + 1);
  if (n > 0 && std::string(target, static_cast<size_t>(n)).ends_with(name)) {
    ::unlink(link.c_str());
  }
  ::unlink(path.c_str());
}

std::string HostName() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

}  // namespace

Raylet::Raylet(NodeOptions options)
    : options_(std::move(options)),
      supervisor_(&loop_),
      clients_(&loop_, {[this](ClientConnection& client, wire::Frame& frame) {
                          return OnFrame(client, frame);
                        },
                        [this](ClientConnection& client, const std::string& reason) {
                          OnClientClosed(client, reason);
                        }}),
      transport_(&loop_),
      peers_(&loop_, &transport_, options_.node_id, options_.incarnation, options_.token),
      feed_({&loop_, &options_, &clients_, &peers_, &jobs_},
            [this](const JobId& job) { workers_.DrainOutput(job); }),
      inquiries_({&loop_, &clients_, &peers_}, [this] { return Dump(); }),
      outages_(&loop_, &peers_,
               [this](const NodeId& node, const std::string& text) { feed_.WarnHere(node, text); }),
      shell_({&loop_, &options_, &supervisor_, &clients_}),
      workers_({&loop_, &options_, &shell_, &jobs_},
               {[this] {
                  registrar_->OnWorkerIdle();
                  leases_.Touch();
                },
                [this](const DeadWorker& dead) { OnWorkerDied(dead); },
                [this](const std::string& why) { OnCannotStart(why); },
                [this](const JobId& job, const std::string& why) {
                  CYRAY_LOG(kError) << why;
                  leases_.RefuseStarved(why, job);
                },
                [this](const JobId& job, const WorkerLogs::Lines& lines) {
                  feed_.SendLines(job, lines);
                }}),
      gcs_(&loop_, &options_, &clients_,
           {[this](const wire::NodeCommand& command) { OnCommand(command); },
            [this] {
              gcs_watch_.OnHello();
              return MakeHello();
            },
            [this](const Status& status) {
              member_ = false;
              BeginEnd(1, status.message());
            },
            [this] {
              gcs_watch_.OnUp();
              actors_.TellAgain();
              reporter_.OnUp();
            },
            [this] { return ClusterResources(); },
            [this](const WorkerId& client, const Address& process) {
              return broker_.Talks(client, process);
            }}),
      lease_outbox_(&clients_, &peers_, &feed_),
      leases_({&loop_, &options_, &lease_outbox_, &workers_},
              {[this](const LeaseGrant& grant) { actors_.OnGrant(grant); },
               [this](const RequestKey& key, const std::string& error) {
                 actors_.OnRefused(key, error);
               },
               [this] { reporter_.OnChanged(); }, [this] { return reporter_.Next(); },
               [this](const BundleClaim& claim) {
                 bundles_.OnReserved(claim);
                 reporter_.Next();  // which counts it, also when as much was returned meanwhile
               },
               [this](const PlacementGroupId& group) { bundles_.OnMissing(group); }}),
      reporter_(&loop_, &leases_, [this](wire::Bytes report) { gcs_.Report(std::move(report)); }),
      bundles_(&leases_, [this](wire::Bytes report) { gcs_.Report(std::move(report)); }),
      actor_outbox_(&clients_, &gcs_),
      actors_({&loop_, &options_, &actor_outbox_, &leases_, &workers_}),
      broker_(&options_, &clients_, &peers_,
              [this](const Address& address) { OnRemoteDied(address); }),
      gcs_process_(&loop_, &options_, &supervisor_,
                   {[this](const std::string& address) { OnGcsReady(address); },
                    [this](const std::string& why) {
                      ReportStartError(why);
                      BeginEnd(1, why);
                    }}),
      gcs_watch_(&loop_, options_.head, &gcs_, &peers_, [this](const std::string& why) {
        member_ = false;
        BeginEnd(1, why);
      }) {
  RouteLeaseFrames(peers_, leases_, [this](const Address& client) { (void)broker_.Watch(client); });
  broker_.set_is_ending([this](const WorkerId& worker) { return workers_.IsEnding(worker); });
  broker_.set_on_talk_over(
      [this](const WorkerId& client, const Address& process) { gcs_.OnTalkOver(client, process); });
  peers_.set_informed_for_ms([this] { return gcs_watch_.HeardForMs(); });
}

// --- Start and end ----------------------------------------------------------------------------

Status Raylet::Start() {
  supervisor_.set_on_terminate([this] { BeginEnd(0, "SIGTERM"); });
  supervisor_.set_on_orphan_exit(
      [this](pid_t pid, int status) { shell_.OnOrphanExited(pid, status); });
  WatchLifeline();
  BoundOwnLog();
  CYRAY_RETURN_IF_ERROR(OpenStore());
  CYRAY_RETURN_IF_ERROR(peers_.Listen(options_.node_ip, options_.port));
  CYRAY_RETURN_IF_ERROR(ServeMetrics());
  CYRAY_RETURN_IF_ERROR(clients_.Listen(options_.socket_path));
  if (options_.head) {
    gcs_process_.Start();
  } else {
    OnGcsReady(options_.gcs_address);
  }
  workers_.Start();
  return Status::Ok();
}

Status Raylet::OpenStore() {
  auto store = store::ObjectStore::Open(options_.store_bytes);
  if (!store) return store.error();
  store_ = std::move(*store);
  auto transfer = ObjectTransfer::Create(options_.node_id, store_.get(), &peers_);
  if (!transfer) return transfer.error();
  transfer_ = std::move(*transfer);
  objects_ = std::make_unique<ObjectService>(
      ObjectService::Parts{options_.node_id, &loop_, &clients_, store_.get(), transfer_.get(),
                           [this](const Address& owner) { return broker_.Watch(owner); }});
  registrar_ = std::make_unique<Registrar>(
      Registrar::Parts{&loop_, &options_, &clients_, &workers_, &gcs_, &jobs_, store_.get()});
  return Status::Ok();
}

void Raylet::WatchLifeline() {
  if (options_.lifeline_fd < 0) return;
  loop_.Add(options_.lifeline_fd, EPOLLIN, [this](uint32_t) {
    char byte;
    if (::read(options_.lifeline_fd, &byte, 1) > 0) return;
    lifeline_cut_ = true;
    BeginEnd(0, "the driver is gone");
  });
}

void Raylet::BoundOwnLog() {
  RotateOwnLog();
  own_log_check_.Start(kOwnLogCheckMs, [this] { BoundOwnLog(); });
}

void Raylet::BeginEnd(int exit_code, const std::string& why) {
  if (ended_) return;
  CYRAY_LOG(kInfo) << "the node ends: " << why;
  ended_ = true;
  exit_code_ = exit_code;
  end_reason_ = why;
}

void Raylet::EndEverything() {
  clients_.StopListening();
  metrics_.reset();
  UnlinkSocket(options_.socket_path);
  workers_.KillAll();
  gcs_process_.Stop();
  shell_.AwaitGone(kEndWaitMs);
  // What tasks started goes too, the zygote last: it goes on with this when the raylet is killed.
  supervisor_.EndDescendants({.last = shell_.zygote_pid(),
                              .gentle = gcs_process_.pid(),
                              // Without the driver nobody is left who would want its data.
                              .gentle_ms = lifeline_cut_ ? 0 : kEndWaitMs,
                              .trackers_ms = kTrackersWaitMs,
                              .limit_ms = kEndLimitMs});
  SayFarewell();
}

// Now that nothing runs here any more, what ran here may be started elsewhere. The GCS of a head
// ends with it.
void Raylet::SayFarewell() const {
  if (options_.head || !member_) return;
  const Status said = gcs::SayFarewell(
      {options_.node_id, gcs_.address(), options_.token, "Its raylet has ended: " + end_reason_},
      kFarewellMs);
  if (!said.ok()) {
    CYRAY_LOG(kWarning) << "the GCS was not told of the end: " << said.message();
  }
}

int Raylet::Run() {
  bool spin = false;
  while (!ended_) {
    const uint64_t before = clients_.frames_handled();
    loop_.RunOnce(spin ? 0 : -1);
    FinishRound();
    spin = KeepSpinning(clients_.frames_handled() != before);
  }
  EndEverything();
  return exit_code_;
}

void Raylet::FinishRound() {
  do {
    leases_.ScheduleIfTouched();
    clients_.FlushAll();  // a client that is closed here touches the leases again
  } while (leases_.touched() && !ended_);
}

// A wakeup costs more than a short spin, when the next frame comes soon.
bool Raylet::KeepSpinning(bool handled_frames) {
  if (handled_frames) {
    if (spin_until_ns_ != 0) spin_payoff_.Paid();
    spin_until_ns_ = spin_payoff_.Worth() ? loop_.NowNs() + kSpinNs : 0;
  } else if (spin_until_ns_ != 0 && loop_.NowNs() >= spin_until_ns_) {
    spin_payoff_.Missed();
    spin_until_ns_ = 0;
  }
  return spin_until_ns_ != 0;
}

void Raylet::ReportStartError(const std::string& why) {
  CYRAY_LOG(kError) << why;
  if (options_.ready_fd < 0) return;
  const std::string line = nlohmann::json{{"error", why}}.dump(
                               -1, ' ', false, nlohmann::json::error_handler_t::replace) +
                           "\n";
  [[maybe_unused]] const ssize_t n = ::write(options_.ready_fd, line.data(), line.size());
  ::close(std::exchange(options_.ready_fd, -1));
}

void Raylet::WriteReady() {
  if (options_.ready_fd < 0) return;
  const nlohmann::json ready = {
      {"node_id", options_.node_id.Hex()},     {"port", peers_.port()},
      {"metrics_port", options_.metrics_port}, {"gcs_address", gcs_.address()},
      {"socket", options_.socket_path},        {"pid", ::getpid()}};
  const std::string line = ready.dump() + "\n";
  [[maybe_unused]] const ssize_t n = ::write(options_.ready_fd, line.data(), line.size());
  ::close(std::exchange(options_.ready_fd, -1));
}

// --- Frames of clients ------------------------------------------------------------------------

bool Raylet::OnFrame(ClientConnection& client, wire::Frame& frame) {
  if (frame.type == FrameType::kRegister) {
    return registrar_->OnRegister(client, frame.As<wire::Register>());
  }
  if (!client.registered) return false;
  if (ObjectService::Handles(frame.type)) return objects_->OnFrame(client, frame);
  switch (frame.type) {
    case FrameType::kRequestLease:
      return leases_.OnRequestLease(client.worker(), client.job, frame.As<wire::RequestLease>());
    case FrameType::kCancelLease:
      return leases_.OnCancelLease(client.worker(), frame.As<wire::CancelLease>());
    case FrameType::kReturnLease:
      return leases_.OnReturnLease(client.worker(), frame.As<wire::ReturnLease>());
    case FrameType::kConnectPeer:
      return broker_.OnConnectPeer(client, frame.As<wire::ConnectPeer>());
    case FrameType::kRelay:
      return broker_.OnRelay(client, frame);
    case FrameType::kGcsCall:
      return gcs_.OnGcsCall(client, frame.As<wire::GcsCall>());
    case FrameType::kSubscribeActor:
      return gcs_.OnSubscribeActor(client, frame.As<wire::SubscribeActor>());
    case FrameType::kFlushOutput:
      return feed_.OnFlushOutput(client, frame.As<wire::FlushOutput>());
    case FrameType::kPing: {
      const auto* ping = frame.As<wire::Ping>();
      if (ping == nullptr) return false;
      FlatBufferBuilder builder(64);
      builder.Finish(wire::CreatePong(builder, ping->request_id()));
      clients_.Send(client, FrameType::kPong, builder);
      return true;
    }
    case FrameType::kSetResource:
      return OnSetResource(client, frame.As<wire::SetResource>());
    case FrameType::kNodeInfo:
      return inquiries_.OnNodeInfo(client, frame.As<wire::NodeInfo>());
    case FrameType::kProcessReport:
      return inquiries_.OnProcessReport(client, frame.As<wire::ProcessReport>());
    default:
      return !client.is_driver() && OnWorkerFrame(client, frame);
  }
}

bool Raylet::OnWorkerFrame(ClientConnection& client, const wire::Frame& frame) {
  switch (frame.type) {
    case FrameType::kBlocked: {
      const auto* blocked = frame.As<wire::Blocked>();
      client.blocked = blocked != nullptr && blocked->blocked();
      return leases_.OnBlocked(client.worker(), blocked);
    }
    case FrameType::kActorReady:
      return actors_.OnActorReady(client.worker(), client.pid, frame.As<wire::ActorReady>());
    case FrameType::kWorkerStays:
      actors_.OnWorkerStays(client.worker());
      workers_.OnStays(client.worker());
      return frame.As<wire::WorkerStays>() != nullptr;
    case FrameType::kWorkerExiting: {
      const auto* exiting = frame.As<wire::WorkerExiting>();
      if (exiting == nullptr) return false;
      const std::string reason = flatbuffers::GetString(exiting->reason());
      if (exiting->when_unused()) {
        workers_.OnRetires(client.worker(), reason);
      } else {
        workers_.OnExiting(client.worker(), exiting->intended(), reason);
      }
      return true;
    }
    default:
      return false;
  }
}

bool Raylet::OnSetResource(ClientConnection& client, const wire::SetResource* request) {
  if (request == nullptr) return false;
  const Status set = leases_.SetTotal(request->name()->str(), request->amount());
  FlatBufferBuilder builder;
  const auto error = builder.CreateString(set.message());
  builder.Finish(wire::CreateSetResourceReply(builder, request->request_id(), set.ok(), error));
  clients_.Send(client, FrameType::kSetResourceReply, builder);
  return true;
}

DumpSources Raylet::Sources() const {
  return {loop_.NowMs(), &options_,       &clients_,      &workers_, &leases_, &actors_,
          store_.get(),  transfer_.get(), objects_.get(), &gcs_,     &peers_};
}

void Raylet::OnClientClosed(ClientConnection& client, const std::string& reason) {
  if (ended_) return;
  const Address address = options_.AddressOf(client.worker());
  const bool named = !client.worker().is_nil();
  inquiries_.OnClientGone(client.id());
  objects_->OnClientGone(client.id(), named ? address : Address{});
  if (named) gcs_.OnClientGone(client.worker());
  broker_.OnClientClosed(client);
  if (!client.is_driver()) {
    if (named) workers_.OnConnectionClosed(client.worker());
    return;
  }
  CYRAY_LOG(kInfo) << "driver " << client.pid << " is gone: " << reason;
  registrar_->OnDriverGone(client);
  leases_.OnProcessDied(client.worker(), "the driver is gone");
  EndJob(client.job);
  TellOfDeath(address, "the driver has exited", /*intended=*/true);
}

// --- Deaths -----------------------------------------------------------------------------------

void Raylet::OnWorkerDied(const DeadWorker& dead) {
  if (ended_) return;
  CYRAY_LOG(kInfo) << "worker " << dead.id.Hex() << " (pid " << dead.pid
                   << ") ended: " << dead.reason;
  const auto notes = registrar_->TakeNotes(dead.id);
  broker_.PassOn(options_.AddressOf(dead.id), notes.answers);
  leases_.OnProcessDied(dead.id, dead.reason, &notes);
  actors_.OnWorkerDied(dead);
  if (!dead.job.is_nil()) TellOfDeath(options_.AddressOf(dead.id), dead.reason, dead.intended);
}

void Raylet::TellOfDeath(const Address& address, const std::string& reason, bool intended) {
  broker_.OnLocalDied(address, reason);
  FlatBufferBuilder builder;
  builder.Finish(wire::CreateProcessDied(builder, ToWire(address), builder.CreateString(reason)));
  clients_.Announce(FrameType::kProcessDied, builder);
  gcs_.ReportDeath(address, reason, intended);
}

void Raylet::OnCannotStart(const std::string& why) {
  CYRAY_LOG(kError) << why;
  registrar_->OnCannotStart(why);
  leases_.RefuseStarved(why);
}

// The driver's leases and those of its workers end with their holders; its plain actors the GCS
// stops. What detached actors hold and wait for stays.
void Raylet::EndJob(const JobId& job) {
  if (!jobs_.End(job, [this](const JobId& other) { return IsJobInUse(other); })) return;
  leases_.OnJobEnded(job);
  workers_.EndIdleOf(job);
}

bool Raylet::IsJobInUse(const JobId& job) const {
  return actors_.HasActorOf(job) || !workers_.pool().WorkersOfJob(job, /*actors_too=*/true).empty();
}

// --- The GCS ----------------------------------------------------------------------------------

void Raylet::OnGcsReady(const std::string& address) {
  gcs_.Connect(address);
  FlatBufferBuilder builder;
  const auto ip = builder.CreateString(options_.node_ip);
  const auto host = builder.CreateString(HostName());
  const auto socket = builder.CreateString(options_.socket_path);
  const auto total = ToWire(builder, options_.resources);
  const auto available = ToWire(builder, options_.resources);
  const uint16_t port = options_.advertise_port != 0 ? options_.advertise_port : peers_.port();
  const auto node = wire::CreateNodeRecord(builder, ToWire(options_.node_id), true, ip, host, port,
                                           socket, options_.head, total, available, 0, 0, 0,
                                           ToWire(builder, options_.labels), options_.metrics_port);
  builder.Finish(wire::CreateRegisterNodeRequest(builder, node));
  gcs_.Register(builder, [this](Result<wire::Bytes> reply) { OnNodeRegistered(std::move(reply)); });
}

void Raylet::OnNodeRegistered(Result<wire::Bytes> reply) {
  const auto* answer = reply ? wire::VerifiedRoot<wire::RegisterNodeReply>(*reply) : nullptr;
  if (answer == nullptr) {
    const std::string why = "The node cannot join the cluster at " + gcs_.address() + ": " +
                            (reply ? std::string("bad reply") : reply.error().message());
    ReportStartError(why);
    BeginEnd(1, why);
    return;
  }
  if (answer->nodes() != nullptr) {
    for (const auto* node : *answer->nodes()) OnNodeChanged(*node);
  }
  if (answer->jobs() != nullptr) {
    for (const auto* job : *answer->jobs()) OnJobChanged(*job);
  }
  known_change_ = answer->change();
  if (answer->views() != nullptr) known_views_ = *answer->views();
  member_ = true;
  gcs_.OpenStream();
  WriteReady();
}

void Raylet::OnCommand(const wire::NodeCommand& command) {
  if (command.body() == nullptr) return;  // a union may verify with a type and without its table
  switch (command.body_type()) {
    case wire::NodeCommandBody::StartActor:
      return actors_.OnStartActor(*command.body_as_StartActor());
    case wire::NodeCommandBody::StopActor:
      return actors_.OnStopActor(*command.body_as_StopActor());
    case wire::NodeCommandBody::RecallActor:
      return actors_.OnRecallActor(*command.body_as_RecallActor());
    case wire::NodeCommandBody::PrepareBundles:
      return bundles_.OnPrepare(*command.body_as_PrepareBundles());
    case wire::NodeCommandBody::CommitBundles:
      return bundles_.OnCommit(*command.body_as_CommitBundles());
    case wire::NodeCommandBody::GiveBackBundles:
      return bundles_.OnGiveBack(*command.body_as_GiveBackBundles());
    case wire::NodeCommandBody::GroupGone:
      return bundles_.OnGone(*command.body_as_GroupGone());
    case wire::NodeCommandBody::NodeChanged:
      if (const auto* node = command.body_as_NodeChanged()->node()) {
        OnNodeChanged(*node);
        known_change_ = std::max<uint64_t>(known_change_, node->change());
      }
      return;
    case wire::NodeCommandBody::JobChanged:
      OnJobChanged(*command.body_as_JobChanged());
      if (const auto* job = command.body_as_JobChanged()->job()) {
        known_change_ = std::max<uint64_t>(known_change_, job->change());
      }
      return;
    case wire::NodeCommandBody::Census:
      return OnCensus(*command.body_as_Census());
    case wire::NodeCommandBody::JobWarning: {
      const auto* warning = command.body_as_JobWarning();
      return feed_.Warn(FromWireOrNil(warning->job_id()), flatbuffers::GetString(warning->text()));
    }
    case wire::NodeCommandBody::HeartbeatAck:
      return gcs_watch_.OnAck(*command.body_as_HeartbeatAck());
    case wire::NodeCommandBody::ResourceViews:
      return OnResourceViews(*command.body_as_ResourceViews());
    default:
      return;
  }
}

void Raylet::OnResourceViews(const wire::ResourceViews& views) {
  if (views.nodes() == nullptr || views.stamp() == nullptr) return;
  for (const wire::ResourceView* view : *views.nodes()) {
    const NodeId node = FromWireOrNil(view->node_id());
    if (node == options_.node_id) reporter_.OnRelayed(view->number(), *views.stamp());
    if (!peers_.Knows(node)) continue;  // this node is none of its peers
    leases_.SetNodeView(node, FromWire(view->total()), FromWire(view->available()), view->number());
  }
  known_views_ = *views.stamp();
}

void Raylet::OnNodeChanged(const wire::NodeRecord& record) {
  const NodeId node = FromWireOrNil(record.node_id());
  if (node.is_nil() || node == options_.node_id) return;
  if (record.alive()) {
    if (record.is_head()) gcs_watch_.set_witness(node);
    peers_.SetNode(node, {flatbuffers::GetString(record.ip()), record.port()});
    leases_.SetNodeView(node, FromWire(record.total()), FromWire(record.available()));
    leases_.SetNodeLabels(node, FromWire(record.labels()));
    return;
  }
  std::string reason = flatbuffers::GetString(record.death_reason());
  if (reason.empty()) reason = "node " + node.Hex() + " died";
  OnNodeDied(node, reason);
}

void Raylet::OnNodeDied(const NodeId& node, const std::string& reason) {
  peers_.RemoveNode(node, reason);  // tells all others, once
  leases_.NodeDied(node);           // of one that was dead before, too
  broker_.OnRemoteDied({node, WorkerId::Nil()}, reason);
}

void Raylet::OnCensus(const wire::Census& census) {
  std::unordered_set<NodeId> nodes;
  std::unordered_set<JobId> jobs;
  if (census.nodes() != nullptr) {
    for (const wire::WireNodeId* node : *census.nodes()) nodes.insert(FromWire(*node));
  }
  if (census.jobs() != nullptr) {
    for (const wire::WireJobId* job : *census.jobs()) jobs.insert(FromWire(*job));
  }
  for (const NodeId& node : peers_.Known()) {
    if (nodes.contains(node)) continue;
    OnNodeDied(node, "node " + node.Hex() + " died while this one had no connection to the GCS");
  }
  for (const JobId& job : jobs_.RunningAt(census.change())) {
    if (!jobs.contains(job)) EndJob(job);
  }
  leases_.Touch();  // leases of those jobs may wait
}

void Raylet::OnJobChanged(const wire::JobChanged& change) {
  const wire::JobRecord* record = change.job();
  if (record == nullptr || record->job_id() == nullptr) return;
  const JobId job = FromWire(*record->job_id());
  const std::vector<uint8_t> config = wire::BytesOrEmpty(change.config());
  jobs_.Add({job, FromWireOrNil(record->driver()), flatbuffers::GetString(record->namespace_()),
             config, OwnPythonOf(config, options_.python), record->change()});
  if (!record->running()) EndJob(job);
  leases_.Touch();  // leases of that job may wait for it
}

void Raylet::OnRemoteDied(const Address& address) {
  leases_.OnRemoteDied(address);
  objects_->OnRemoteDied(address);
}

wire::Bytes Raylet::MakeHello() {
  FlatBufferBuilder builder;
  const auto alive = builder.CreateVector(actors_.WriteAlive(builder));
  const auto processes = gcs_.WriteProcesses(builder, workers_.Ending());
  const auto deaths = builder.CreateVector(gcs_.WriteDeaths(builder));
  const auto starting = builder.CreateVector(actors_.WriteStarting(builder));
  const auto bundles = builder.CreateVector(bundles_.WriteHere(builder));
  const auto groups = bundles_.WriteWaitedFor(builder);
  return gcs::FinishReport(
      builder, wire::CreateNodeHello(builder, ToWire(options_.node_id), alive, processes, deaths,
                                     known_change_, &known_views_, starting, bundles, groups));
}

wire::Bytes Raylet::ClusterResources() const {
  FlatBufferBuilder builder;
  const auto total = ToWire(builder, OutsideBundles(leases_.scheduler().ClusterTotal()));
  const auto available = ToWire(builder, OutsideBundles(leases_.scheduler().ClusterAvailable()));
  builder.Finish(wire::CreateClusterResourcesReply(builder, total, available));
  return wire::FinishedBytes(builder);
}

}  // namespace cyray::raylet
