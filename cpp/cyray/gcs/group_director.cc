#include "cyray/gcs/group_director.h"

#include <tuple>
#include <utility>

#include "cyray/common/infeasible.h"
#include "cyray/gcs/codec.h"
#include "cyray/gcs/group_codec.h"
#include "cyray/sched/place_bundles.h"
#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace cyray::gcs {
namespace {

using flatbuffers::FlatBufferBuilder;
using wire::FromWireOrNil;
using wire::ToWire;

constexpr int64_t kTickMs = 250;
// So long an attempt may take: reserved bundles on some nodes keep others from using them.
constexpr int64_t kAttemptMs = 2'000;
// For so long the registration of a group may be on its way.
constexpr int64_t kRegistrationMs = 120'000;
// Groups that wait are looked at so often at most, however many nodes report.
constexpr int64_t kLookMs = 5;

// By what decides whether there is room.
struct SameKindLess {
  bool operator()(const GroupSpec* a, const GroupSpec* b) const {
    return std::tie(a->policy, a->bundles, a->selectors) <
           std::tie(b->policy, b->bundles, b->selectors);
  }
};

}  // namespace

GroupDirector::GroupDirector(Runtime* runtime, const NodeTable* nodes, NodeStreams* streams,
                             Commit* commit, Hooks hooks)
    : runtime_(runtime),
      nodes_(nodes),
      streams_(streams),
      commit_(commit),
      hooks_(std::move(hooks)),
      tick_(runtime),
      look_(runtime) {}

Status GroupDirector::Load(Storage& storage) {
  const auto read = [this](std::string_view key, wire::Bytes value) {
    GroupRecord record;
    if (!ReadStoredGroup(value, record)) return LogUnreadable("placement group", key);
    table_.Restore(std::move(record));
  };
  const Status status = storage.Load(Storage::Kind::kGroup, read);
  ArmTick();
  return status;
}

void GroupDirector::EndOnDeadNodes() {
  std::set<NodeId> gone;
  for (const auto& [id, record] : table_.groups()) {
    for (const Seat& seat : record.seats) {
      if (!seat.node.is_nil() && !nodes_->IsAlive(seat.node)) gone.insert(seat.node);
    }
  }
  for (const NodeId& node : gone) NodeDied(node);
}

Result<PlacementGroupId> GroupDirector::Register(const wire::Bytes& payload) {
  const auto* request = wire::VerifiedRoot<wire::RegisterGroupRequest>(payload);
  if (request == nullptr) return Fail(StatusCode::kInvalidArgument, "not a RegisterGroupRequest");
  Result<GroupSpec> spec = ReadGroupSpec(*request);
  if (!spec.has_value()) return Fail(spec.error());
  const PlacementGroupId id = spec->id;
  const Result<GroupActions> actions = table_.Register(std::move(*spec));
  if (!actions.has_value()) return Fail(actions.error());
  Apply(*actions);
  return id;
}

void GroupDirector::Apply(const GroupActions& actions) {
  for (const GroupAction& action : actions) {
    switch (action.kind) {
      case GroupAction::Kind::kStore:
        if (const GroupRecord* record = table_.Find(action.group)) {
          commit_->Put(Storage::Kind::kGroup, action.group.view(), StoredGroupOf(*record));
        }
        break;
      case GroupAction::Kind::kForget:
        commit_->Erase(Storage::Kind::kGroup, action.group.view());
        break;
      case GroupAction::Kind::kPlace:
        Place(action.group);
        break;
      case GroupAction::Kind::kPrepare:
        Prepare(action);
        break;
      case GroupAction::Kind::kCommit: {
        FlatBufferBuilder builder(128);
        streams_->Send(action.node,
                       FinishCommand(builder, wire::CreateCommitBundles(
                                                  builder, ToWire(action.group), action.attempt)));
        break;
      }
      case GroupAction::Kind::kGiveBack: {
        promises_.GivenBack(action.node, action.group, action.attempt);
        FlatBufferBuilder builder(128);
        streams_->Send(action.node,
                       FinishCommand(builder, wire::CreateGiveBackBundles(
                                                  builder, ToWire(action.group), action.attempt)));
        break;
      }
      case GroupAction::Kind::kChanged:
        commit_->Leave([this, group = action.group] { hooks_.on_changed(group); });
        break;
      case GroupAction::Kind::kGone: {
        promises_.Gone(action.group);
        warned_.erase(action.group);
        hooks_.on_gone(action.group);
        FlatBufferBuilder builder(64);
        streams_->Broadcast(
            FinishCommand(builder, wire::CreateGroupGone(builder, ToWire(action.group))));
        commit_->Leave([this, group = action.group] { hooks_.on_changed(group); });
        break;
      }
      case GroupAction::Kind::kForgetAt:
        SendGone(action.group, action.node);
        break;
    }
  }
}

void GroupDirector::Prepare(const GroupAction& action) {
  const GroupRecord* record = table_.Find(action.group);
  if (record == nullptr || !record->attempt) return;
  FlatBufferBuilder builder(512);
  std::vector<flatbuffers::Offset<wire::BundleAt>> bundles;
  for (const auto& [index, node] : record->attempt->seats) {
    if (node != action.node) continue;
    bundles.push_back(
        wire::CreateBundleAt(builder, index, ToWire(builder, record->spec.bundles[index])));
  }
  const auto list = builder.CreateVector(bundles);
  streams_->Send(action.node,
                 FinishCommand(builder, wire::CreatePrepareBundles(builder, ToWire(action.group),
                                                                   action.attempt, list)));
}

void GroupDirector::SendGone(const PlacementGroupId& group, const NodeId& node) {
  FlatBufferBuilder builder(64);
  streams_->Send(node, FinishCommand(builder, wire::CreateGroupGone(builder, ToWire(group))));
}

// --- Choosing nodes ---

bool GroupDirector::Place(const PlacementGroupId& id) {
  ArmTick();
  const GroupRecord* record = table_.Find(id);
  if (record == nullptr || record->attempt || record->placed()) return true;
  const Placement placement = ChooseBest(*record);
  if (placement.empty()) {
    SetWaits(*record);
    return false;
  }
  Start(*record, placement);
  return true;
}

GroupDirector::Placement GroupDirector::ChooseBest(const GroupRecord& record) const {
  for (const bool later : {false, true}) {
    for (const std::set<NodeId>& without : {record.slow, std::set<NodeId>()}) {
      Placement placement = Choose(record, later, without);
      if (!placement.empty()) return placement;
    }
  }
  return {};
}

bool GroupDirector::IsBetterGivenUp(const GroupRecord& record) const {
  std::set<NodeId> nodes;
  for (const auto& [index, node] : record.attempt->seats) nodes.insert(node);
  // What some have reserved for it nobody can use.
  if (record.attempt->awaited.size() < nodes.size()) return true;
  // Other groups have what it waits for, or a node has less than it had.
  if (Choose(record, /*later=*/true, {}).empty()) return true;
  const Placement now = Choose(record, /*later=*/false, {});
  return !now.empty() && now != record.attempt->seats;
}

void GroupDirector::Start(const GroupRecord& record, const Placement& placement) {
  const PlacementGroupId id = record.spec.id;
  const uint64_t attempt = runtime_->Random() | 1;
  for (const auto& [index, node] : placement) {
    promises_.Add(node, id, attempt, record.spec.bundles[index]);
  }
  Apply(table_.Try(id, attempt, placement, runtime_->NowMs()));
}

// What groups hold, or nodes were asked to reserve; without what is asked for that one.
GroupDirector::Sum GroupDirector::Seated(const GroupRecord& without) const {
  Sum sum;
  for (const auto& [id, record] : table_.groups()) {
    for (size_t i = 0; i < record.seats.size(); ++i) {
      if (!record.seats[i].node.is_nil()) sum[record.seats[i].node].Add(record.spec.bundles[i]);
    }
    if (!record.attempt || &record == &without) continue;
    for (const auto& [index, node] : record.attempt->seats) {
      sum[node].Add(record.spec.bundles[index]);
    }
  }
  return sum;
}

GroupDirector::Placement GroupDirector::Choose(const GroupRecord& record, bool later,
                                               const std::set<NodeId>& without) const {
  std::map<NodeId, uint32_t> here;
  std::vector<uint32_t> indices;
  std::vector<ResourceSet> bundles;
  for (uint32_t i = 0; i < record.seats.size(); ++i) {
    if (!record.seats[i].node.is_nil()) {
      ++here[record.seats[i].node];
      continue;
    }
    indices.push_back(i);
    bundles.push_back(record.spec.bundles[i]);
  }
  const Sum seated = later ? Seated(record) : Sum{};
  const uint64_t attempt = record.attempt ? record.attempt->id : 0;
  std::vector<sched::Site> sites;
  std::vector<NodeId> nodes;
  for (const auto& [id, node] : nodes_->nodes()) {
    if (!node.alive || hooks_.is_suspect(id) || without.contains(id)) continue;
    if (!later && node.awaits_report) continue;
    sched::Site site{&node.total, later ? node.total : node.available};
    // An attempt that goes on would be given up for this choice.
    if (!later) promises_.SubtractFrom(site.available, id, record.spec.id, attempt);
    if (const auto it = seated.find(id); it != seated.end()) site.available.Subtract(it->second);
    if (const auto it = here.find(id); it != here.end()) site.bundles = it->second;
    site.preferred = id == record.spec.soft_target;
    sites.push_back(std::move(site));
    nodes.push_back(id);
  }
  const auto may = [&](size_t bundle, size_t site) {
    return MayBeAt(record.spec, indices[bundle], nodes[site]);
  };
  const auto seats = sched::PlaceBundles(std::move(sites), bundles,
                                         static_cast<sched::GroupPolicy>(record.spec.policy), may);
  Placement placement;
  if (!seats) return placement;
  for (size_t i = 0; i < indices.size(); ++i) placement[indices[i]] = nodes[(*seats)[i]];
  return placement;
}

bool GroupDirector::MayBeAt(const GroupSpec& spec, size_t bundle, const NodeId& node) const {
  return spec.selectors.empty() || Matches(spec.selectors[bundle], nodes_->Find(node)->labels);
}

// Whether the nodes that are there could hold it, were they empty.
bool GroupDirector::IsFeasible(const GroupRecord& record) const {
  std::vector<sched::Site> sites;
  std::vector<NodeId> nodes;
  for (const auto& [id, node] : nodes_->nodes()) {
    if (!node.alive) continue;
    sites.push_back({&node.total, node.total});
    nodes.push_back(id);
  }
  const auto may = [&](size_t bundle, size_t site) {
    return MayBeAt(record.spec, bundle, nodes[site]);
  };
  return sched::PlaceBundles(std::move(sites), record.spec.bundles,
                             static_cast<sched::GroupPolicy>(record.spec.policy), may)
      .has_value();
}

std::string GroupDirector::Meant(const GroupSpec& spec) const {
  std::vector<ResourceSet> totals;
  for (const auto& [id, node] : nodes_->nodes()) {
    if (node.alive) totals.push_back(node.total);
  }
  ResourceSet all;
  for (const ResourceSet& bundle : spec.bundles) all.Add(bundle);
  return MeantNames(all, totals);
}

void GroupDirector::SetWaits(const GroupRecord& record) {
  const GroupSpec& spec = record.spec;
  std::string what = std::string(PolicyText(spec.policy)) + " of " + BundlesText(spec);
  if (!spec.selectors.empty()) what += ", on nodes with the labels that are asked for";
  if (IsFeasible(record)) {
    table_.SetWaits(spec.id, "The nodes could hold " + what +
                                 ", but other placement groups have what it needs.");
    return;
  }
  table_.SetWaits(spec.id, "The nodes of the cluster cannot hold " + what +
                               ", not even while nothing else runs: it waits for more nodes." +
                               Meant(spec));
  if (!warned_.insert(spec.id).second) return;
  hooks_.warn(JobOf(spec.id), "The placement group " +
                                  (spec.name.empty() ? spec.id.Hex() : "'" + spec.name + "'") +
                                  " cannot be placed. " + table_.Find(spec.id)->waits);
}

void GroupDirector::PlaceWaiting() {
  look_.Stop();
  looked_ms_ = runtime_->NowMs();
  std::set<const GroupSpec*, SameKindLess> in_vain;
  for (const PlacementGroupId& id : table_.Waiting()) {
    const GroupRecord& record = *table_.Find(id);
    // One that has lost some of its bundles needs less room.
    const bool whole = !record.was_placed;
    if (!whole || !in_vain.contains(&record.spec)) {
      if (!Place(id) && whole) in_vain.insert(&record.spec);
    } else if (record.waits.empty()) {
      SetWaits(record);
    }
  }
}

void GroupDirector::OnRoom() {
  if (!table_.has_unplaced()) return;
  const int64_t wait = looked_ms_ + kLookMs - runtime_->NowMs();
  if (wait <= 0) return PlaceWaiting();
  look_.StartOnce(wait, [this] {
    PlaceWaiting();
    commit_->End();
  });
}

void GroupDirector::Tick() {
  for (const PlacementGroupId& id : table_.TriedSince(runtime_->NowMs() - kAttemptMs)) {
    if (IsBetterGivenUp(*table_.Find(id))) Apply(table_.GiveUp(id));
  }
  PlaceWaiting();
  AnswerAsked();
  commit_->End();
  ArmTick();
}

void GroupDirector::AnswerAsked() {
  std::erase_if(asked_, [this](const auto& item) {
    const auto& [group, asked] = item;
    if (table_.Find(group) != nullptr) return true;
    if (MayCome(group) && runtime_->NowMs() - asked.since_ms < kRegistrationMs) return false;
    hooks_.on_gone(group);
    for (const NodeId& node : asked.nodes) SendGone(group, node);
    return true;
  });
}

void GroupDirector::ArmTick() {
  if (table_.has_unplaced() || !asked_.empty()) tick_.StartOnce(kTickMs, [this] { Tick(); });
}

// --- What nodes say ---

void GroupDirector::OnHello(const NodeId& node, const wire::NodeHello& hello) {
  std::vector<GroupTable::Here> here;
  if (hello.bundles() != nullptr) {
    for (const wire::BundlesHere* bundles : *hello.bundles()) {
      here.push_back({FromWireOrNil(bundles->group_id()), bundles->attempt(), bundles->state()});
    }
  }
  KeepPromises(node, here);
  Apply(table_.Reconcile(node, here));
  if (hello.waits_for_groups() == nullptr) return;
  for (const wire::WirePlacementGroupId* group : *hello.waits_for_groups()) {
    OnAsk(node, wire::FromWire(*group));
  }
}

// What it was asked for before and knows nothing of will be asked for again; what else it has is in
// the report that follows.
void GroupDirector::KeepPromises(const NodeId& node, const std::vector<GroupTable::Here>& here) {
  promises_.Clear(node);
  for (const auto& [id, record] : table_.groups()) {
    if (!record.attempt) continue;
    for (const auto& [index, seat] : record.attempt->seats) {
      if (seat == node) promises_.Add(node, id, record.attempt->id, record.spec.bundles[index]);
    }
  }
  for (const GroupTable::Here& bundles : here) {
    if (bundles.state == wire::BundlesState::Claimed) continue;
    promises_.Reserved(node, bundles.group, bundles.attempt);
  }
}

void GroupDirector::OnReserved(const NodeId& node, const wire::BundlesReserved& reserved) {
  const PlacementGroupId group = FromWireOrNil(reserved.group_id());
  promises_.Reserved(node, group, reserved.attempt());
  Apply(table_.Reserved(node, group, reserved.attempt()));
}

void GroupDirector::OnAsk(const NodeId& node, const PlacementGroupId& group) {
  if (table_.Find(group) != nullptr) return;
  if (!MayCome(group)) return SendGone(group, node);
  Await(group);
  asked_.at(group).nodes.insert(node);
}

void GroupDirector::Await(const PlacementGroupId& group) {
  asked_.try_emplace(group, Asked{runtime_->NowMs(), {}});
  ArmTick();
}

bool GroupDirector::MayCome(const PlacementGroupId& group) const {
  return table_.Find(group) == nullptr && table_.FindRemoved(group) == nullptr &&
         hooks_.is_running(JobOf(group));
}

void GroupDirector::OnReport(const NodeId& node) { promises_.OnReport(node); }

void GroupDirector::NodeDied(const NodeId& node) {
  promises_.Clear(node);
  Apply(table_.NodeDied(node));
}

}  // namespace cyray::gcs
