#include "cyray/gcs/cluster.h"

#include <set>
#include <utility>
#include <vector>

#include "cyray/gcs/codec.h"
#include "cyray/util/log.h"
#include "cyray/util/sentence.h"
#include "cyray/wire/convert.h"

namespace cyray::gcs {
namespace {

using wire::FromWire;
using wire::FromWireOrNil;
using wire::ToWire;

constexpr int64_t kRelayEveryMs = 50;
// A node that joins is told of jobs that ended so lately: it may hear of them still.
constexpr int64_t kEndToldMs = 60'000;
// For longer than raylets repeat them in their hellos: they are news once.
constexpr int64_t kDeathKeptMs = 660'000;
constexpr size_t kDeathsKept = 20'000;
// Whether an actor that is watched and not registered is still to come is looked at each so often,
// for as long as its registration may be on its way while its job runs.
constexpr int64_t kUnknownActorMs = 5'000;
constexpr int64_t kRegistrationMs = 120'000;

ActorTable::StartedEvent ReadStarted(const wire::ActorStarted& started,
                                     const std::string& node_ip) {
  return {FromWireOrNil(started.actor_id()), started.incarnation(),
          FromWireOrNil(started.address()), started.pid(), node_ip};
}

wire::Bytes NodeValue(const NodeEntry& node) {
  flatbuffers::FlatBufferBuilder builder(512);
  builder.Finish(WriteNode(builder, node));
  return wire::FinishedBytes(builder);
}

wire::Bytes JobValue(const JobEntry& job) {
  flatbuffers::FlatBufferBuilder builder(job.config.size() + 512);
  builder.Finish(WriteJobChanged(builder, job));
  return wire::FinishedBytes(builder);
}

wire::Bytes JobCommand(const JobEntry& job) {
  flatbuffers::FlatBufferBuilder builder(job.config.size() + 512);
  return FinishCommand(builder, WriteJobChanged(builder, job));
}

wire::Bytes NodeCommandOf(const NodeEntry& node) {
  flatbuffers::FlatBufferBuilder builder(512);
  return FinishCommand(builder, wire::CreateNodeChanged(builder, WriteNode(builder, node)));
}

ResourceViews::Stamp ReadStamp(const wire::ViewStamp* stamp) {
  if (stamp == nullptr) return {};
  return {stamp->epoch(), stamp->version()};
}

wire::ViewStamp WriteStamp(const ResourceViews::Stamp& stamp) {
  return {stamp.epoch, stamp.version};
}

}  // namespace

Cluster::Cluster(Runtime* runtime, Commit* commit, Membership::Timing timing, StreamOutlets outlets,
                 Hooks hooks, ClusterMemory memory)
    : runtime_(runtime),
      commit_(commit),
      outlets_(std::move(outlets)),
      hooks_(std::move(hooks)),
      memory_(memory),
      membership_(timing),
      jobs_(memory.finished_jobs),
      streams_(commit, outlets_.send),
      actors_(&nodes_, &streams_, commit,
              {[this](const ActorId& actor) { OnActorDeath(actor); },
               [this](const NodeId& node, const JobId& job) { TellEndedJob(node, job); },
               [this] { waiting_.Nudge(); },
               [this](const NodeId& node) { return !streams_.StreamOf(node).has_value(); },
               [this] { return runtime_->Random(); }},
              memory.saved_bytes),
      waiting_(runtime, &actors_.table(), &nodes_,
               [this](const JobId& job, const std::string& text) { WarnDriver(job, text); }),
      groups_(runtime, &nodes_, &streams_, commit,
              {hooks_.group_changed,
               [this](const PlacementGroupId& group) {
                 actors_.Apply(actors_.table().GroupRemoved(group));
               },
               [this](const JobId& job, const std::string& text) { WarnDriver(job, text); },
               [this](const NodeId& node) { return !streams_.StreamOf(node).has_value(); },
               [this](const JobId& id) {
                 const JobEntry* job = jobs_.Find(id);
                 return job != nullptr && job->running;
               }}),
      views_(runtime->Random() | 1),
      deaths_(kDeathsKept, kDeathKeptMs),
      tick_(runtime),
      relay_(runtime),
      unknown_due_(runtime) {}

Status Cluster::Load(Storage& storage) {
  const int64_t now = runtime_->NowMs();
  using Kind = Storage::Kind;
  CYRAY_RETURN_IF_ERROR(storage.Load(Kind::kNode, [&](std::string_view key, wire::Bytes value) {
    const auto* record = wire::VerifiedRoot<wire::NodeRecord>(value);
    if (record == nullptr) return LogUnreadable("node", key);
    NodeEntry node = ReadNode(*record);
    if (node.alive && !node.is_head) membership_.Restore(node.id, now);
    changes_.Restore({node.id, JobId::Nil()}, node.change);
    nodes_.Restore(std::move(node));
  }));
  CYRAY_RETURN_IF_ERROR(storage.Load(Kind::kJob, [&](std::string_view key, wire::Bytes value) {
    const auto* changed = wire::VerifiedRoot<wire::JobChanged>(value);
    if (changed == nullptr || changed->job() == nullptr) return LogUnreadable("job", key);
    JobEntry job = ReadJob(*changed->job());
    job.config = wire::BytesOrEmpty(changed->config());
    changes_.Restore({NodeId::Nil(), job.id}, job.change);
    jobs_.Restore(std::move(job));
  }));
  changes_.BeginAnew();
  CYRAY_RETURN_IF_ERROR(actors_.Load(storage));
  CYRAY_RETURN_IF_ERROR(groups_.Load(storage));
  actors_.EndOnDeadNodes();
  groups_.EndOnDeadNodes();
  std::set<PlacementGroupId> awaited;
  for (const auto& [id, record] : actors_.table().actors()) {
    const auto group = record.dead() ? std::nullopt : GroupOf(record.spec.placement);
    if (group) awaited.insert(*group);
  }
  for (const PlacementGroupId& group : awaited) AwaitGroup(group);
  commit_->End();
  ArmTick();
  return Status::Ok();
}

// --- Nodes ---

Status Cluster::RegisterNode(NodeEntry node) {
  const NodeId id = node.id;
  const bool is_head = node.is_head;
  if (node.available.empty()) node.available = node.total;
  switch (nodes_.Register(std::move(node))) {
    case NodeTable::RegisterOutcome::kDead:
      return Status(StatusCode::kNotFound, "node " + id.Hex() + " has been declared dead");
    case NodeTable::RegisterOutcome::kRepeated:
      break;
    case NodeTable::RegisterOutcome::kAdded:
      // The head's raylet is this process's parent: nobody need judge whether it lives.
      if (!is_head) membership_.Join(id, runtime_->NowMs());
      AnnounceNode(id);
      actors_.PlaceWaiting();
      groups_.PlaceWaiting();
      ArmTick();
      break;
  }
  return Status::Ok();
}

void Cluster::AnnounceNode(const NodeId& id) {
  nodes_.SetChange(id, changes_.Next({id, JobId::Nil()}));
  const NodeEntry& node = *nodes_.Find(id);
  commit_->Put(Storage::Kind::kNode, id.view(), NodeValue(node));
  streams_.Broadcast(NodeCommandOf(node), id);
}

void Cluster::EndNode(const NodeId& id, const std::string& reason) {
  if (!nodes_.Kill(id, reason)) return;
  CYRAY_LOG(kWarning) << "node " << id.Hex() << " is dead: " << reason;
  membership_.End(id);
  if (std::optional<uint64_t> stream = streams_.StreamOf(id)) {
    streams_.Unbind(*stream);
    views_.Close(*stream);
    commit_->Leave([this, stream = *stream, reason] {
      outlets_.close(stream,
                     Status(StatusCode::kNotFound, "this node has been declared dead: " + reason));
    });
  }
  views_.Remove(id);
  AnnounceNode(id);
  for (const JobId& job : jobs_.RunningWithDriver({id, WorkerId::Nil()})) FinishJob(job);
  groups_.NodeDied(id);
  actors_.Apply(actors_.table().NodeDied(id, reason));
  actors_.PlaceWaiting();
  for (const NodeId& old : nodes_.Trim(memory_.dead_nodes)) {
    changes_.Forget({old, JobId::Nil()});
    commit_->Erase(Storage::Kind::kNode, old.view());
  }
}

void Cluster::Tick() {
  for (const Membership::Verdict& dead : membership_.Tick(runtime_->NowMs())) {
    EndNode(dead.node, dead.reason);
  }
  commit_->End();
  ArmTick();
}

void Cluster::ArmTick() {
  if (const std::optional<int64_t> next = membership_.NextTick()) {
    tick_.StartOnce(*next - runtime_->NowMs(), [this] { Tick(); });
  }
}

void Cluster::WorkerDied(const Address& worker, const std::string& reason, bool intended) {
  deaths_.Add(worker, FirstLine(reason), runtime_->NowMs());
  for (const JobId& job : jobs_.RunningWithDriver(worker)) FinishJob(job);
  actors_.Apply(actors_.table().WorkerDied(worker, reason, intended));
}

// --- Jobs ---

Result<JobId> Cluster::RegisterJob(JobEntry job) {
  // Nobody would tell of its end.
  if (const std::optional<std::string> death = DeathOf(job.driver)) {
    return Fail(StatusCode::kNotFound, "the driver is dead: " + *death);
  }
  const JobId id = jobs_.Register(std::move(job), runtime_->WallMs()).id;
  AnnounceJob(id);
  return id;
}

void Cluster::AnnounceJob(const JobId& id) {
  jobs_.SetChange(id, changes_.Next({NodeId::Nil(), id}));
  const JobEntry& job = *jobs_.Find(id);
  commit_->Put(Storage::Kind::kJob, id.view(), JobValue(job));
  streams_.Broadcast(JobCommand(job));
}

void Cluster::FinishJob(const JobId& id) {
  if (!jobs_.Finish(id, runtime_->WallMs())) return;
  AnnounceJob(id);
  actors_.Apply(actors_.table().JobFinished(id, jobs_.Find(id)->driver));
  groups_.Apply(groups_.table().JobFinished(id));
  if (!actors_.table().HasLivingActor(id)) hooks_.job_over(id);
  const auto needed = [this](const JobId& job) { return actors_.table().HasLivingActor(job); };
  for (const JobId& old : jobs_.Trim(needed)) {
    changes_.Forget({NodeId::Nil(), old});
    commit_->Erase(Storage::Kind::kJob, old.view());
  }
}

void Cluster::TellEndedJob(const NodeId& node, const JobId& id) {
  const JobEntry* job = jobs_.Find(id);
  if (job != nullptr && !job->running) streams_.Send(node, JobCommand(*job));
}

void Cluster::WarnDriver(const JobId& id, const std::string& text) {
  const JobEntry* job = jobs_.Find(id);
  if (job == nullptr || !job->running) return;
  flatbuffers::FlatBufferBuilder builder(512);
  const auto string = builder.CreateString(text);
  streams_.Send(job->driver.node,
                FinishCommand(builder, wire::CreateJobWarning(builder, ToWire(id), string)));
}

void Cluster::OnActorDeath(const ActorId& actor) {
  groups_.Apply(groups_.table().ActorDied(actor));
  const JobId id = JobOf(actor);
  const JobEntry* job = jobs_.Find(id);
  if ((job == nullptr || !job->running) && !actors_.table().HasLivingActor(id)) hooks_.job_over(id);
}

bool Cluster::IsOver(const JobId& id) {
  const JobEntry* job = jobs_.Find(id);
  return job != nullptr && !job->running && !actors_.table().HasLivingActor(id);
}

// --- Actors ---

Result<ActorId> Cluster::RegisterActor(const wire::Bytes& request) {
  Result<ActorId> id = actors_.Register(request);
  if (!id.has_value()) return id;
  const JobEntry* job = jobs_.Find(JobOf(*id));
  const Address owner = actors_.table().Find(*id)->spec.owner;
  // Calls may overtake each other: who told of the end before will not do so again.
  if (job != nullptr && !job->running && owner == job->driver) {
    actors_.Apply(actors_.table().JobFinished(job->id, job->driver));
  } else if (std::optional<std::string> death = DeathOf(owner)) {
    actors_.Apply(actors_.table().WorkerDied(owner, *death, /*intended=*/false));
  }
  const auto group = GroupOf(actors_.table().Find(*id)->spec.placement);
  if (group) AwaitGroup(*group);
  return id;
}

// Of an actor that is to run in it.
void Cluster::AwaitGroup(const PlacementGroupId& group) {
  if (groups_.table().Find(group) != nullptr) return;
  if (groups_.MayCome(group)) {
    groups_.Await(group);
  } else {
    actors_.Apply(actors_.table().GroupRemoved(group));
  }
}

Result<PlacementGroupId> Cluster::RegisterGroup(const wire::Bytes& request) {
  Result<PlacementGroupId> id = groups_.Register(request);
  if (!id.has_value()) return id;
  const GroupRecord* record = groups_.table().Find(*id);
  if (record == nullptr || record->spec.detached) return id;
  const ActorId actor = record->spec.creator_actor;
  const JobEntry* job = jobs_.Find(JobOf(*id));
  const ActorRecord* creator = actors_.table().Find(actor);
  if (actor.is_nil() && (job == nullptr || !job->running)) {
    groups_.Apply(groups_.table().Remove(*id));
  } else if (!actor.is_nil() && (creator == nullptr || creator->dead())) {
    groups_.Apply(groups_.table().Remove(*id));
  }
  return id;
}

std::optional<std::string> Cluster::DeathOf(const Address& worker) const {
  const NodeEntry* node = nodes_.Find(worker.node);
  if (node == nullptr) return "Its node is unknown, or died long ago.";
  if (!node->alive) return "Its node died: " + node->death_reason;
  const std::string* reason = deaths_.Find(worker);
  return reason == nullptr ? std::nullopt : std::optional(*reason);
}

// --- Streams ---

void Cluster::OnStreamMessage(uint64_t stream, const wire::Bytes& message) {
  const std::optional<NodeId> node = streams_.NodeOf(stream);
  if (node) membership_.Heard(*node, runtime_->NowMs());
  const auto* report = wire::VerifiedRoot<wire::NodeReport>(message);
  // A union may verify with a type and without its table.
  const bool whole = report != nullptr && report->body() != nullptr;
  const bool hello = whole && report->body_type() == wire::NodeReportBody::NodeHello;
  if (!whole || hello == node.has_value()) {
    OnStreamClosed(stream);
    outlets_.close(stream, Status(StatusCode::kProtocolError, "not the report that was expected"));
    return;
  }
  switch (report->body_type()) {
    case wire::NodeReportBody::NodeHello:
      OnHello(stream, *report->body_as_NodeHello());
      break;
    case wire::NodeReportBody::ResourceReport:
      OnResources(*node, *report->body_as_ResourceReport());
      break;
    case wire::NodeReportBody::ActorStarted:
      OnActorStarted(*node, *report->body_as_ActorStarted());
      break;
    case wire::NodeReportBody::ActorEnded:
      OnActorEnded(*node, *report->body_as_ActorEnded());
      break;
    case wire::NodeReportBody::ActorGivenBack: {
      const auto* back = report->body_as_ActorGivenBack();
      actors_.Apply(
          actors_.table().GivenBack(*node, FromWireOrNil(back->actor_id()), back->incarnation()));
      break;
    }
    case wire::NodeReportBody::ActorsHere:
      actors_.OnActorsHere(*node, *report->body_as_ActorsHere());
      break;
    case wire::NodeReportBody::BundlesReserved:
      groups_.OnReserved(*node, *report->body_as_BundlesReserved());
      break;
    case wire::NodeReportBody::AskGroup:
      groups_.OnAsk(*node, FromWireOrNil(report->body_as_AskGroup()->group_id()));
      break;
    case wire::NodeReportBody::WatchActor:
      OnWatch(stream, *report->body_as_WatchActor());
      break;
    case wire::NodeReportBody::Heartbeat: {
      flatbuffers::FlatBufferBuilder builder(64);
      outlets_.send(stream,
                    FinishCommand(builder, wire::CreateHeartbeatAck(
                                               builder, report->body_as_Heartbeat()->sent_ms())));
      break;
    }
    default:
      break;
  }
  commit_->End();
}

void Cluster::OnStreamClosed(uint64_t stream) {
  views_.Close(stream);
  if (const std::optional<NodeId> node = streams_.Unbind(stream)) {
    membership_.Down(*node, runtime_->NowMs());
  }
}

void Cluster::OnHello(uint64_t stream, const wire::NodeHello& hello) {
  const NodeId id = FromWireOrNil(hello.node_id());
  if (!nodes_.IsAlive(id)) {
    commit_->Leave([this, stream, id] {
      outlets_.close(stream, Status(StatusCode::kNotFound, "node " + id.Hex() +
                                                               " is unknown or has been declared "
                                                               "dead"));
    });
    return;
  }
  if (std::optional<uint64_t> replaced = streams_.Bind(id, stream)) {
    views_.Close(*replaced);
    outlets_.close(*replaced, Status(StatusCode::kDisconnected, "the node opened another stream"));
  }
  membership_.Up(id, runtime_->NowMs());
  outlets_.accept(stream);
  EndWhoIsGone(id, hello);
  TellChanges(id, hello.change());
  std::vector<ActorTable::StartedEvent> alive;
  if (hello.alive_actors() != nullptr) {
    for (const wire::ActorStarted* started : *hello.alive_actors()) {
      ActorTable::StartedEvent event = ReadStarted(*started, nodes_.Find(id)->ip);
      if (!event.address.is_nil()) alive.push_back(std::move(event));
    }
  }
  std::vector<ActorTable::Life> starting;
  if (hello.starting_actors() != nullptr) {
    for (const wire::ActorLife* life : *hello.starting_actors()) {
      starting.push_back({FromWireOrNil(life->actor_id()), life->incarnation()});
    }
  }
  actors_.Apply(actors_.table().Reconcile(id, alive, starting));
  groups_.OnHello(id, hello);
  TellViews(stream, ReadStamp(hello.views()));
  groups_.PlaceWaiting();
  actors_.PlaceWaiting();
  actors_.OnRoom(id);
}

void Cluster::EndWhoIsGone(const NodeId& id, const wire::NodeHello& hello) {
  if (hello.deaths() != nullptr) {
    for (const wire::ReportWorkerDeathRequest* death : *hello.deaths()) {
      const Address worker = FromWireOrNil(death->worker());
      if (worker.node != id || worker.worker.is_nil()) continue;
      WorkerDied(worker, flatbuffers::GetString(death->reason()), death->intended());
    }
  }
  if (hello.processes() == nullptr) return;
  std::set<WorkerId> here;
  for (const wire::WireWorkerId* process : *hello.processes()) here.insert(FromWire(*process));
  const std::string gone = "It ended while its raylet had no connection to the GCS.";
  for (const Address& owner : actors_.table().OwnersOn(id)) {
    if (!here.contains(owner.worker)) WorkerDied(owner, gone, /*intended=*/false);
  }
  for (const JobId& job : jobs_.RunningWithDriver({id, WorkerId::Nil()})) {
    const Address driver = jobs_.Find(job)->driver;
    if (!here.contains(driver.worker)) WorkerDied(driver, gone, /*intended=*/true);
  }
}

void Cluster::TellChanges(const NodeId& id, uint64_t known) {
  changes_.ForEachAfter(known, [&](const std::pair<NodeId, JobId>& changed) {
    const auto& [node, job] = changed;
    if (!job.is_nil()) {
      streams_.Send(id, JobCommand(*jobs_.Find(job)));
    } else if (node != id) {
      streams_.Send(id, NodeCommandOf(*nodes_.Find(node)));
    }
  });
  streams_.Send(id, CensusCommand());
}

wire::Bytes Cluster::CensusCommand() const {
  std::vector<wire::WireNodeId> nodes;
  for (const auto& [id, node] : nodes_.nodes()) {
    if (node.alive) nodes.push_back(*ToWire(id));
  }
  std::vector<wire::WireJobId> jobs;
  for (const JobId& job : jobs_.Running()) jobs.push_back(*ToWire(job));
  flatbuffers::FlatBufferBuilder builder(1024);
  const auto all_nodes = builder.CreateVectorOfStructs(nodes);
  const auto all_jobs = builder.CreateVectorOfStructs(jobs);
  return FinishCommand(builder, wire::CreateCensus(builder, all_nodes, all_jobs, changes_.last()));
}

// Views that leave at once would overtake the news of their nodes, which wait for the disk.
void Cluster::TellViews(uint64_t stream, const ResourceViews::Stamp& known) {
  commit_->Leave([this, stream, known] {
    if (!streams_.NodeOf(stream)) return;
    views_.Open(stream, known);
    RelaySoon();
  });
}

flatbuffers::Offset<wire::RegisterNodeReply> Cluster::WriteState(
    flatbuffers::FlatBufferBuilder& builder) const {
  std::vector<flatbuffers::Offset<wire::NodeRecord>> nodes;
  for (const auto& [id, node] : nodes_.nodes()) nodes.push_back(WriteNode(builder, node));
  const int64_t finished_after = runtime_->WallMs() - kEndToldMs;
  std::vector<flatbuffers::Offset<wire::JobChanged>> jobs;
  for (const JobEntry* job : jobs_.All()) {
    if (job->running || job->end_ms >= finished_after) {
      jobs.push_back(WriteJobChanged(builder, *job));
    }
  }
  const auto all_nodes = builder.CreateVector(nodes);
  const auto all_jobs = builder.CreateVector(jobs);
  const wire::ViewStamp views = WriteStamp(views_.now());
  return wire::CreateRegisterNodeReply(builder, all_nodes, all_jobs, changes_.last(), &views);
}

void Cluster::OnResources(const NodeId& id, const wire::ResourceReport& report) {
  const NodeTable::Reported reported = nodes_.SetResources(
      id, FromWire(report.available()), FromWire(report.total()), report.number());
  if (!report.same_pending()) nodes_.SetPending(id, ReadPending(report.pending()));
  groups_.OnReport(id);
  if (reported.grew) groups_.OnRoom();
  if (reported.total_grew) actors_.PlaceWaiting();  // they wait for a node that could have them
  if (reported.grew) actors_.OnRoom(id);
  if (!reported.changed && views_.Knows(id)) return;
  views_.Changed(id, ReadStamp(report.told()));
  RelaySoon();
}

void Cluster::RelaySoon() {
  if (streams_.size() < 2) return;
  const int64_t wait = relayed_ms_ + kRelayEveryMs - runtime_->NowMs();
  if (wait <= 0) {
    RelayResources();
  } else {
    relay_.StartOnce(wait, [this] { RelayResources(); });
  }
}

// At once: it rests on nothing that is kept.
void Cluster::RelayResources() {
  relay_.Stop();
  relayed_ms_ = runtime_->NowMs();
  for (const ResourceViews::Batch& batch : views_.Take()) {
    flatbuffers::FlatBufferBuilder builder(512);
    std::vector<flatbuffers::Offset<wire::ResourceView>> views;
    for (const NodeId& id : batch.nodes) {
      const NodeEntry& node = *nodes_.Find(id);
      const auto available = ToWire(builder, node.available);
      const auto total = ToWire(builder, node.total);
      views.push_back(
          wire::CreateResourceView(builder, ToWire(id), available, total, node.report_number));
    }
    const auto list = builder.CreateVector(views);
    const wire::ViewStamp stamp = WriteStamp(views_.now());
    const wire::Bytes command =
        FinishCommand(builder, wire::CreateResourceViews(builder, list, &stamp));
    for (const uint64_t stream : batch.readers) outlets_.send(stream, command);
  }
}

void Cluster::OnActorStarted(const NodeId& id, const wire::ActorStarted& started) {
  const ActorTable::StartedEvent event = ReadStarted(started, nodes_.Find(id)->ip);
  if (started.ok() && !event.address.is_nil()) {
    actors_.Apply(actors_.table().Started(id, event));
  } else {
    actors_.Apply(actors_.table().InitFailed(id, event.actor, event.incarnation,
                                             wire::BytesOrEmpty(started.error())));
  }
}

void Cluster::OnActorEnded(const NodeId& id, const wire::ActorEnded& ended) {
  actors_.Apply(actors_.table().Ended(id, FromWireOrNil(ended.actor_id()), ended.incarnation(),
                                      {flatbuffers::GetString(ended.reason()), ended.intended(),
                                       ended.pid(), nodes_.Find(id)->ip}));
}

void Cluster::OnWatch(uint64_t stream, const wire::WatchActor& watch) {
  const ActorId actor = FromWireOrNil(watch.actor_id());
  if (!watch.watch()) {
    streams_.Unwatch(stream, actor);
    return;
  }
  streams_.Watch(stream, actor);
  if (actors_.table().Find(actor) != nullptr) {
    streams_.SendTo(stream, actors_.UpdateCommand(actor));
    return;
  }
  if (actors_.table().IsGone(actor)) {
    streams_.SendTo(stream, actors_.UpdateCommand(actor));
    return;
  }
  // Its registration comes another way and may be overtaken by the watch; that will publish it.
  const int64_t now = runtime_->NowMs();
  unknown_.push_back({now + kUnknownActorMs, now, stream, actor});
  unknown_due_.StartOnce(kUnknownActorMs, [this] { TellUnknown(); });
}

void Cluster::TellUnknown() {
  const int64_t now = runtime_->NowMs();
  for (; !unknown_.empty() && unknown_.front().due_ms <= now; unknown_.pop_front()) {
    UnknownWatch watch = unknown_.front();
    if (actors_.table().Find(watch.actor) != nullptr || !streams_.NodeOf(watch.stream)) continue;
    const JobEntry* job = jobs_.Find(JobOf(watch.actor));
    if (job != nullptr && job->running && now - watch.since_ms < kRegistrationMs) {
      watch.due_ms = now + kUnknownActorMs;
      unknown_.push_back(watch);
    } else {
      streams_.SendTo(watch.stream, actors_.UpdateCommand(watch.actor));
    }
  }
  commit_->End();
  if (unknown_.empty()) return;
  unknown_due_.Start(unknown_.front().due_ms - now, [this] { TellUnknown(); });
}

}  // namespace cyray::gcs
