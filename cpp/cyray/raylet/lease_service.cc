#include "cyray/raylet/lease_service.h"

#include <algorithm>
#include <set>
#include <utility>

#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace cyray::raylet {
namespace {

using flatbuffers::FlatBufferBuilder;
using wire::FrameType;
using wire::FromWire;
using wire::FromWireOrNil;
using wire::ToWire;

constexpr int32_t kMostPriority = 1'000'000;
constexpr int64_t kAvoidMs = 1000;    // a node that turned out to be dead
constexpr int64_t kPendingMs = 1000;  // what waits so long is told to who asks for the node's state
// So long a forwarded request waits at the least where it was sent: news of a node take up to 60
// ms.
constexpr int64_t kRecallAfterMs = 100;

LeaseRequest ReadRequest(const wire::RequestLease& wire, const RequestKey& key, const JobId& job) {
  LeaseRequest request;
  request.key = key;
  request.job = job;
  request.demand = FromWire(wire.demand());
  request.held = request.demand;
  request.strategy = static_cast<Strategy>(wire.strategy());
  request.affinity_node = FromWireOrNil(wire.affinity_node());
  request.affinity_soft = wire.affinity_soft();
  request.labels = FromWire(wire.labels());
  request.priority = wire.priority();
  if (wire.locality() != nullptr) {
    for (const auto* entry : *wire.locality()) {
      request.locality.emplace_back(FromWire(entry->node()), entry->bytes());
    }
  }
  return request;
}

bool IsValid(const LeaseRequest& request) {
  if (request.strategy > Strategy::kNodeAffinity) return false;
  if (request.priority < -kMostPriority || request.priority > kMostPriority) return false;
  return std::none_of(request.demand.amounts().begin(), request.demand.amounts().end(),
                      [](const auto& amount) { return amount.second < 0; });
}

auto WriteRequest(FlatBufferBuilder& builder, const LeaseRequest& request) {
  const auto demand = ToWire(builder, request.demand);
  const auto labels = ToWire(builder, request.labels);
  return wire::CreateRequestLease(
      builder, request.key.id, demand, static_cast<wire::SchedulingStrategy>(request.strategy),
      ToWire(request.affinity_node), request.affinity_soft, 0, labels, request.priority);
}

flatbuffers::Offset<wire::LeaseReply> WriteRefusal(FlatBufferBuilder& builder, uint64_t request_id,
                                                   const std::string& error,
                                                   wire::LeaseRefusal why) {
  const auto text = builder.CreateString(error);
  wire::LeaseReplyBuilder reply(builder);
  reply.add_request_id(request_id);
  reply.add_error(text);
  reply.add_refusal(why);
  return reply.Finish();
}

}  // namespace

LeaseService::LeaseService(Parts parts, Callbacks callbacks)
    : parts_(parts),
      callbacks_(std::move(callbacks)),
      scheduler_(parts.options->node_id, parts.options->resources, parts.options->labels),
      last_available_(parts.options->resources),
      again_(parts.runtime),
      pending_watch_(parts.runtime),
      forwards_watch_(parts.runtime),
      avoided_(parts.runtime) {}

// --- Frames of clients ------------------------------------------------------------------------

bool LeaseService::OnRequestLease(const WorkerId& client, const JobId& job,
                                  const wire::RequestLease* wire) {
  if (wire == nullptr) return false;
  LeaseRequest request =
      ReadRequest(*wire, {parts_.options->AddressOf(client), wire->request_id()}, job);
  if (!IsValid(request)) return false;
  if (RefuseGone(request)) return true;
  scheduler_.AddRequest(std::move(request), parts_.runtime->NowMs());
  Touch();
  return true;
}

bool LeaseService::OnCancelLease(const WorkerId& client, const wire::CancelLease* cancel) {
  if (cancel == nullptr) return false;
  const RequestKey key{parts_.options->AddressOf(client), cancel->request_id()};
  if (scheduler_.CancelRequest(key)) {
    SendRefusal(key, "cancelled");
    Touch();
    return true;
  }
  for (const uint64_t id : forwards_.OfRequest(key)) {
    ForwardedLease& forward = *forwards_.Find(id);
    if (forward.state == ForwardedLease::State::kCancelled) continue;
    TakeBack(id, forward, ForwardedLease::State::kCancelled);
    SendRefusal(key, "cancelled");
    break;
  }
  return true;
}

bool LeaseService::OnReturnLease(const WorkerId& client, const wire::ReturnLease* lease) {
  if (lease == nullptr) return false;
  const Address holder = parts_.options->AddressOf(client);
  const Address worker = FromWireOrNil(lease->worker());
  if (IsHere(worker)) {
    EndLease(lease->lease_id(), holder, lease->worker_exiting());
  } else {
    ReturnElsewhere(holder, lease->lease_id(), worker, lease->worker_exiting());
  }
  return true;
}

bool LeaseService::OnBlocked(const WorkerId& client, const wire::Blocked* blocked) {
  if (blocked == nullptr) return false;
  scheduler_.SetBlocked(client, blocked->blocked());
  Touch();
  return true;
}

void LeaseService::EndLease(uint64_t lease_id, const Address& holder, bool worker_exiting) {
  const auto worker = scheduler_.ReturnLease(lease_id, holder);
  if (!worker) return;  // it broke at the same time
  Touch();
  if (worker_exiting && parts_.workers->Retires(*worker)) return;
  if (worker_exiting) {
    parts_.workers->OnExiting(*worker, true, "it left by itself");
  } else {
    parts_.workers->PutBack(*worker);
  }
}

void LeaseService::ReturnElsewhere(const Address& client, uint64_t lease_id, const Address& worker,
                                   bool exiting) {
  FlatBufferBuilder builder;
  const auto lease = wire::CreateReturnLease(builder, lease_id, ToWire(worker), exiting);
  builder.Finish(wire::CreateForwardReturnLease(builder, lease, ToWire(client)));
  (void)parts_.outbox->ToNode(worker.node, FrameType::kForwardReturnLease, builder);  // or dead
}

// --- Other raylets ----------------------------------------------------------------------------

void LeaseService::OnForwardLease(const NodeId& from, const wire::ForwardLease& forward) {
  const Address client = FromWireOrNil(forward.client());
  if (forward.request() == nullptr || client.node != from) return;
  LeaseRequest request = ReadRequest(*forward.request(), {client, forward.request_id()},
                                     FromWireOrNil(forward.job_id()));
  request.forwarded = true;
  if (!IsValid(request)) return SendRefusal(request.key, "the request is not valid");
  if (RefuseGone(request)) return;
  scheduler_.AddRequest(std::move(request), parts_.runtime->NowMs());
  Touch();
}

void LeaseService::OnForwardLeaseReply(const NodeId& from, const wire::ForwardLeaseReply& answer) {
  const ForwardedLease* const asked = forwards_.Find(answer.request_id());
  if (asked == nullptr || asked->node != from || answer.reply() == nullptr) return;
  ForwardedLease forward = *forwards_.Take(answer.request_id());
  const wire::LeaseReply& reply = *answer.reply();
  Touch();
  if (forward.state == ForwardedLease::State::kWaits && reply.ok()) {
    scheduler_.ForwardGranted(forward.node, forward.request.demand, answer.report());
  } else if (forward.state == ForwardedLease::State::kWaits) {
    scheduler_.ForwardOver(forward.node, forward.request.demand);
  } else if (forward.state == ForwardedLease::State::kRecalled && !reply.ok()) {
    return scheduler_.AddRequest(std::move(forward.request), parts_.runtime->NowMs());
  }
  const Address holder = forward.request.key.client;
  const Address worker = FromWireOrNil(reply.worker());
  const auto give_back = [&] {
    if (reply.ok()) ReturnElsewhere(holder, reply.lease_id(), worker, false);
  };
  if (forward.state == ForwardedLease::State::kCancelled) return give_back();
  FlatBufferBuilder builder;
  const auto error = builder.CreateString(flatbuffers::GetString(reply.error()));
  std::vector<int32_t> gpus;
  if (reply.gpu_ids() != nullptr) gpus.assign(reply.gpu_ids()->begin(), reply.gpu_ids()->end());
  const auto gpu_ids = builder.CreateVector(gpus);
  builder.Finish(wire::CreateLeaseReply(builder, forward.request.key.id, reply.ok(), error,
                                        reply.lease_id(), ToWire(worker), reply.worker_pid(),
                                        gpu_ids, reply.refusal()));
  if (!parts_.outbox->ToClient(holder.worker, FrameType::kLeaseReply, builder)) give_back();
}

void LeaseService::OnForwardReturnLease(const NodeId& from,
                                        const wire::ForwardReturnLease& forward) {
  const Address client = FromWireOrNil(forward.client());
  if (forward.lease() == nullptr || client.node != from) return;
  EndLease(forward.lease()->lease_id(), client, forward.lease()->worker_exiting());
}

void LeaseService::OnForwardCancel(const NodeId& from, const wire::ForwardCancel& cancel) {
  const RequestKey key{FromWireOrNil(cancel.client()), cancel.request_id()};
  if (key.client.node != from || !scheduler_.CancelRequest(key)) return;
  SendRefusal(key, "cancelled");
}

void LeaseService::OnForwardReclaim(const NodeId& from, const wire::ForwardReclaim& forward) {
  if (forward.reclaim() == nullptr) return;
  const Address worker = FromWireOrNil(forward.reclaim()->worker());
  const Address client = FromWireOrNil(forward.client());
  if (worker.node == from && IsHere(client)) {
    SendReclaim(forward.reclaim()->lease_id(), client, worker);
  }
}

void LeaseService::OnForwardBroken(const NodeId& from, const wire::ForwardBroken& forward) {
  if (forward.broken() == nullptr) return;
  const Address worker = FromWireOrNil(forward.broken()->worker());
  if (worker.node != from) return;
  FlatBufferBuilder builder;
  const wire::LeaseBroken& broken = *forward.broken();
  const auto text = builder.CreateString(flatbuffers::GetString(broken.reason()));
  flatbuffers::Offset<flatbuffers::Vector<uint64_t>> begun;
  if (broken.begun() != nullptr) {
    begun =
        builder.CreateVector(std::vector<uint64_t>(broken.begun()->begin(), broken.begun()->end()));
  }
  builder.Finish(wire::CreateLeaseBroken(builder, broken.lease_id(), ToWire(worker), text,
                                         broken.begun_known(), begun));
  const Address client = FromWireOrNil(forward.client());
  (void)parts_.outbox->ToClient(client.worker, FrameType::kLeaseBroken, builder);
}

void LeaseService::OnPeerLost(const NodeId& node) {
  // It is dead: ask anew, and let go of what its processes held here.
  for (const uint64_t id : forwards_.OfNode(node)) {
    ForwardedLease forward = *forwards_.Take(id);
    if (forward.state == ForwardedLease::State::kWaits) {
      scheduler_.ForwardOver(node, forward.request.demand);
    }
    if (forward.state != ForwardedLease::State::kCancelled) {
      scheduler_.AddRequest(std::move(forward.request), parts_.runtime->NowMs());
    }
  }
  for (const WorkerId& worker : scheduler_.ClientsOfNodeDied(node)) {
    parts_.workers->Kill(worker, "the node of its submitter died", true);
  }
  NodeDied(node);
}

void LeaseService::NodeDied(const NodeId& node) {
  scheduler_.RemoveNodeView(node);
  Touch();
}

// The GCS has said that it is dead, and that is on its way to the scheduler.
void LeaseService::AvoidForAWhile(const NodeId& node) {
  scheduler_.SetAvoided(node, true);
  avoided_.Start(node, kAvoidMs, [this, node] {
    scheduler_.SetAvoided(node, false);
    Touch();
  });
}

void LeaseService::SetNodeView(const NodeId& node, ResourceSet total, ResourceSet available,
                               uint64_t report) {
  scheduler_.SetNodeView(node, std::move(total), std::move(available), report);
  if (scheduler_.pending_count() > 0) Touch();
}

// --- Actors, ends -----------------------------------------------------------------------------

void LeaseService::RequestForActor(const RequestKey& key, const JobId& job, ResourceSet held) {
  LeaseRequest request;
  request.key = key;
  request.job = job;
  request.demand = held;
  request.held = std::move(held);
  request.for_actor = true;
  scheduler_.AddRequest(std::move(request), parts_.runtime->NowMs());
  Touch();
}

void LeaseService::CancelActor(const RequestKey& key) {
  if (scheduler_.CancelRequest(key)) Touch();
}

bool LeaseService::LacksRoom(const RequestKey& key) const { return scheduler_.LacksResources(key); }

void LeaseService::EndActorLease(const WorkerId& worker) {
  if (scheduler_.WorkerDied(worker)) Touch();
}

void LeaseService::TakeBack(uint64_t id, ForwardedLease& forward, ForwardedLease::State state) {
  if (std::exchange(forward.state, state) != ForwardedLease::State::kWaits) return;
  scheduler_.ForwardOver(forward.node, forward.request.demand);
  Touch();
  FlatBufferBuilder builder;
  builder.Finish(wire::CreateForwardCancel(builder, id, ToWire(forward.request.key.client)));
  (void)parts_.outbox->ToNode(forward.node, FrameType::kForwardCancel, builder);  // or it is dead
}

void LeaseService::CancelForwardsOf(const Address& client) {
  for (const uint64_t id : forwards_.OfClient(client)) {
    TakeBack(id, *forwards_.Find(id), ForwardedLease::State::kCancelled);
  }
}

// While something is forwarded: several raylets may have sent to the one node that had room, or on
// old news; who waits there would not see that another node has room by now.
void LeaseService::WatchForwards() {
  forwards_watch_.StartOnce(kRecallAfterMs, [this] {
    RecallMisplaced();
    if (!forwards_.empty()) WatchForwards();
  });
}

void LeaseService::RecallMisplaced() {
  const int64_t sent_before = parts_.runtime->NowMs() - kRecallAfterMs;
  // Looked at once for all that are alike.
  std::set<std::tuple<NodeId, ResourceSet, LabelChoice>> well_placed;
  for (const auto& [id, forward] : forwards_.all()) {
    if (forward.sent_ms > sent_before) break;  // as are those behind it
    const bool bound = forward.request.strategy == Strategy::kNodeAffinity;
    if (forward.state != ForwardedLease::State::kWaits || bound) continue;
    const std::tuple kind(forward.node, forward.request.demand, forward.request.labels);
    if (well_placed.contains(kind)) continue;
    if (scheduler_.IsMisplaced(forward.request, forward.node)) {
      TakeBack(id, *forwards_.Find(id), ForwardedLease::State::kRecalled);
    } else {
      well_placed.insert(kind);
    }
  }
}

Status LeaseService::SetTotal(const std::string& name, int64_t amount) {
  if (name.empty() || KindOfAccelerator(BaseName(name)) || IsOfBundle(name) || amount < 0) {
    return {StatusCode::kInvalidArgument, "'" + name + "' cannot be set to that amount"};
  }
  scheduler_.SetTotal(name, amount);
  Touch();
  return Status::Ok();
}

void LeaseService::OnProcessDied(const WorkerId& worker, const std::string& reason,
                                 const wire::TaskNotes::Noted* notes) {
  const auto end = scheduler_.WorkerDied(worker);
  if (end && !end->for_actor) SendBroken(*end, reason, notes);
  const Address client = parts_.options->AddressOf(worker);
  for (const WorkerId& held : scheduler_.ClientDied(client)) {
    parts_.workers->Kill(held, "the process that it worked for died", true);
  }
  CancelForwardsOf(client);
  Touch();
}

void LeaseService::OnRemoteDied(const Address& address) {
  for (const WorkerId& worker : scheduler_.ClientDied(address)) {
    parts_.workers->Kill(worker, "the process that it worked for died", true);
  }
  Touch();
}

void LeaseService::RefuseStarved(const std::string& why, const JobId& job) {
  for (const LeaseRequest& request : scheduler_.TakeStarved(job)) {
    if (request.for_actor) {
      callbacks_.on_actor_refused(request.key, why);
    } else {
      SendRefusal(request.key, why);
    }
  }
  Touch();
}

// --- The scheduler's actions ------------------------------------------------------------------

void LeaseService::ScheduleIfTouched() {
  if (!dirty_) return;                                 // most rounds
  for (int round = 0; dirty_ && round < 4; ++round) {  // granting may touch again
    dirty_ = false;
    Apply(scheduler_.Schedule(parts_.runtime->NowMs(),
                              [this](const LeaseRequest& request, const WorkerUse& use) {
                                return parts_.workers->Take(use, request.for_actor);
                              }));
  }
  if (scheduler_.resources().available() != last_available_) {
    last_available_ = scheduler_.resources().available();
    callbacks_.on_resources_changed();
  }
}

void LeaseService::Apply(ScheduleActions actions) {
  for (const LeaseGrant& grant : actions.grants) SendGrant(grant);
  for (LeaseForward& forward : actions.forwards) SendForward(std::move(forward));
  for (const LeaseRefusal& refusal : actions.refusals) {
    SendRefusal(refusal.request.key, refusal.error);
  }
  for (const LeaseReclaim& reclaim : actions.reclaims) {
    SendReclaim(reclaim.lease_id, reclaim.holder, parts_.options->AddressOf(reclaim.worker));
  }
  for (const auto& claim : actions.reserved) callbacks_.on_reserved(*claim);
  for (const PlacementGroupId& group : actions.missing_groups) callbacks_.on_missing_group(group);
  for (const JobWarning& warning : actions.warnings) parts_.outbox->Warn(warning.job, warning.text);
  parts_.workers->Ensure(actions.workers_wanted);
  again_.Stop();
  if (actions.call_again_ms >= 0) again_.Start(actions.call_again_ms, [this] { Touch(); });
  if (scheduler_.pending_count() > 0) WatchPending();
}

// Once a second while something waits, and once more when nothing does any longer.
void LeaseService::WatchPending() {
  pending_watch_.StartOnce(kPendingMs, [this] {
    auto demands = scheduler_.PendingDemands(parts_.runtime->NowMs(), kPendingMs);
    if (demands != pending_demands_) {
      pending_demands_ = std::move(demands);
      ++pending_version_;
      callbacks_.on_resources_changed();
    }
    if (scheduler_.pending_count() > 0 || !pending_demands_.empty()) WatchPending();
  });
}

void LeaseService::SendGrant(const LeaseGrant& grant) {
  if (grant.for_actor) {
    callbacks_.on_actor_grant(grant);
    return;
  }
  FlatBufferBuilder builder;
  const auto gpu_ids = builder.CreateVector(grant.gpu_ids);
  const Address worker = parts_.options->AddressOf(grant.worker);
  const auto reply =
      wire::CreateLeaseReply(builder, grant.key.id, true, 0, grant.lease_id, ToWire(worker),
                             parts_.workers->PidOf(grant.worker), gpu_ids);
  bool sent = false;
  if (IsHere(grant.key.client)) {
    builder.Finish(reply);
    sent = parts_.outbox->ToClient(grant.key.client.worker, FrameType::kLeaseReply, builder);
  } else {
    builder.Finish(
        wire::CreateForwardLeaseReply(builder, grant.key.id, reply, callbacks_.next_report()));
    sent = parts_.outbox->ToNode(grant.key.client.node, FrameType::kForwardLeaseReply, builder);
  }
  if (!sent) EndLease(grant.lease_id, grant.key.client, false);
}

void LeaseService::SendForward(LeaseForward forward) {
  const uint64_t id = next_forward_++;
  FlatBufferBuilder builder;
  const auto request = WriteRequest(builder, forward.request);
  builder.Finish(wire::CreateForwardLease(builder, id, ToWire(forward.request.key.client), request,
                                          ToWire(forward.request.job)));
  const NodeId node = forward.node;
  if (!parts_.outbox->ToNode(node, FrameType::kForwardLease, builder)) {
    AvoidForAWhile(node);
    scheduler_.ForwardOver(node, forward.request.demand);
    scheduler_.AddRequest(std::move(forward.request), parts_.runtime->NowMs());
    Touch();
    return;
  }
  forwards_.Add(id, {std::move(forward.request), node, parts_.runtime->NowMs()});
  WatchForwards();
}

void LeaseService::SendRefusal(const RequestKey& key, const std::string& error,
                               wire::LeaseRefusal why) {
  FlatBufferBuilder builder;
  const auto reply = WriteRefusal(builder, key.id, error, why);
  if (IsHere(key.client)) {
    builder.Finish(reply);
    (void)parts_.outbox->ToClient(key.client.worker, FrameType::kLeaseReply, builder);
  } else {
    builder.Finish(wire::CreateForwardLeaseReply(builder, key.id, reply));
    (void)parts_.outbox->ToNode(key.client.node, FrameType::kForwardLeaseReply, builder);
  }
}

void LeaseService::SendReclaim(uint64_t lease_id, const Address& holder, const Address& worker) {
  FlatBufferBuilder builder;
  const auto table = wire::CreateReclaimLease(builder, lease_id, ToWire(worker));
  if (IsHere(holder)) {
    builder.Finish(table);
    (void)parts_.outbox->ToClient(holder.worker, FrameType::kReclaimLease, builder);
  } else {
    builder.Finish(wire::CreateForwardReclaim(builder, table, ToWire(holder)));
    (void)parts_.outbox->ToNode(holder.node, FrameType::kForwardReclaim, builder);
  }
}

void LeaseService::SendBroken(const LeaseEnd& end, const std::string& reason,
                              const wire::TaskNotes::Noted* notes) {
  FlatBufferBuilder builder;
  const Address worker = parts_.options->AddressOf(end.worker);
  const Address& holder = end.key.client;
  const auto text = builder.CreateString(reason);
  std::vector<uint64_t> begun;
  if (notes != nullptr) {
    for (const auto& task : notes->begun) {
      if (task.submitter == holder.worker) begun.push_back(task.tag);
    }
  }
  const bool begun_known = notes != nullptr && notes->begun_known;
  const auto table = wire::CreateLeaseBroken(builder, end.lease_id, ToWire(worker), text,
                                             begun_known, builder.CreateVector(begun),
                                             end.group && gone_groups_.Find(*end.group) != nullptr);
  if (IsHere(holder)) {
    builder.Finish(table);
    (void)parts_.outbox->ToClient(holder.worker, FrameType::kLeaseBroken, builder);
  } else {
    builder.Finish(wire::CreateForwardBroken(builder, table, ToWire(holder)));
    // Behind the last frames of the worker to its holder.
    (void)parts_.outbox->ToNodeBehindRelays(holder, FrameType::kForwardBroken, builder);
  }
}

}  // namespace cyray::raylet
