#include "cyray/raylet/lease_service.h"

#include <algorithm>

#include "cyray/util/clock.h"
#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace cyray::raylet {
namespace {

using flatbuffers::FlatBufferBuilder;
using wire::FrameType;
using wire::FromWire;
using wire::FromWireOrNil;
using wire::ToWire;

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
  if (wire.locality() != nullptr) {
    for (const auto* entry : *wire.locality()) {
      request.locality.emplace_back(FromWire(entry->node()), entry->bytes());
    }
  }
  return request;
}

bool IsValid(const LeaseRequest& request) {
  if (request.strategy > Strategy::kNodeAffinity) return false;
  return std::none_of(request.demand.amounts().begin(), request.demand.amounts().end(),
                      [](const auto& amount) { return amount.second < 0; });
}

auto WriteRequest(FlatBufferBuilder& builder, const LeaseRequest& request) {
  const auto demand = ToWire(builder, request.demand);
  return wire::CreateRequestLease(builder, request.key.id, demand,
                                  static_cast<wire::SchedulingStrategy>(request.strategy),
                                  ToWire(request.affinity_node), request.affinity_soft);
}

flatbuffers::Offset<wire::LeaseReply> WriteRefusal(FlatBufferBuilder& builder, uint64_t request_id,
                                                   const std::string& error) {
  const auto text = builder.CreateString(error);
  wire::LeaseReplyBuilder reply(builder);
  reply.add_request_id(request_id);
  reply.add_error(text);
  return reply.Finish();
}

}  // namespace

LeaseService::LeaseService(Parts parts, Callbacks callbacks)
    : parts_(parts),
      callbacks_(std::move(callbacks)),
      scheduler_(parts.options->node_id, parts.options->resources),
      last_available_(parts.options->resources) {
  RegisterPeerHandlers();
}

void LeaseService::RegisterPeerHandlers() {
  PeerTable& peers = *parts_.peers;
  peers.On<wire::ForwardLease>(FrameType::kForwardLease,
                               [this](const NodeId& from, const wire::ForwardLease& forward) {
                                 OnForwardLease(from, forward);
                               });
  peers.On<wire::ForwardLeaseReply>(
      FrameType::kForwardLeaseReply,
      [this](const NodeId& from, const wire::ForwardLeaseReply& forward) {
        OnForwardLeaseReply(from, forward);
      });
  peers.On<wire::ForwardReturnLease>(
      FrameType::kForwardReturnLease,
      [this](const NodeId& from, const wire::ForwardReturnLease& forward) {
        const Address client = FromWireOrNil(forward.client());
        if (forward.lease() == nullptr || client.node != from) return;
        EndLease(forward.lease()->lease_id(), client, forward.lease()->worker_exiting());
      });
  peers.On<wire::ForwardCancel>(
      FrameType::kForwardCancel, [this](const NodeId& from, const wire::ForwardCancel& cancel) {
        const RequestKey key{FromWireOrNil(cancel.client()), cancel.request_id()};
        if (key.client.node != from || !scheduler_.CancelRequest(key)) return;
        SendRefusal(key, "cancelled");
      });
  peers.On<wire::ForwardReclaim>(
      FrameType::kForwardReclaim, [this](const NodeId& from, const wire::ForwardReclaim& forward) {
        if (forward.reclaim() == nullptr) return;
        const Address worker = FromWireOrNil(forward.reclaim()->worker());
        const Address client = FromWireOrNil(forward.client());
        if (worker.node == from) {
          SendReclaim(forward.reclaim()->lease_id(), client, worker);
        }
      });
  peers.On<wire::ForwardBroken>(
      FrameType::kForwardBroken, [this](const NodeId& from, const wire::ForwardBroken& forward) {
        ClientConnection* client = parts_.clients->Find(FromWireOrNil(forward.client()).worker);
        if (forward.broken() == nullptr || client == nullptr) return;
        const Address worker = FromWireOrNil(forward.broken()->worker());
        if (worker.node != from) return;
        FlatBufferBuilder builder;
        const auto text = builder.CreateString(flatbuffers::GetString(forward.broken()->reason()));
        builder.Finish(
            wire::CreateLeaseBroken(builder, forward.broken()->lease_id(), ToWire(worker), text));
        parts_.clients->Send(*client, FrameType::kLeaseBroken, builder);
      });
  peers.AddLostCallback([this](const NodeId& node, const std::string&) { OnPeerLost(node); });
}

// --- Frames of clients ------------------------------------------------------------------------

bool LeaseService::OnRequestLease(ClientConnection& client, const wire::RequestLease* wire) {
  if (wire == nullptr) return false;
  LeaseRequest request = ReadRequest(
      *wire, {parts_.options->AddressOf(client.worker()), wire->request_id()}, client.job);
  if (!IsValid(request)) return false;
  scheduler_.AddRequest(std::move(request), MonotonicMs());
  Touch();
  return true;
}

bool LeaseService::OnCancelLease(ClientConnection& client, const wire::CancelLease* cancel) {
  if (cancel == nullptr) return false;
  const RequestKey key{parts_.options->AddressOf(client.worker()), cancel->request_id()};
  if (scheduler_.CancelRequest(key)) {
    SendRefusal(key, "cancelled");
    Touch();
    return true;
  }
  for (auto& [id, forward] : forwards_) {
    if (forward.request.key != key || forward.state == Forwarded::State::kCancelled) continue;
    TakeBack(id, forward, Forwarded::State::kCancelled);
    SendRefusal(key, "cancelled");
    break;
  }
  return true;
}

bool LeaseService::OnReturnLease(ClientConnection& client, const wire::ReturnLease* lease) {
  if (lease == nullptr) return false;
  const Address holder = parts_.options->AddressOf(client.worker());
  const Address worker = FromWireOrNil(lease->worker());
  if (IsHere(worker)) {
    EndLease(lease->lease_id(), holder, lease->worker_exiting());
  } else {
    ReturnElsewhere(holder, lease->lease_id(), worker, lease->worker_exiting());
  }
  return true;
}

bool LeaseService::OnBlocked(ClientConnection& client, const wire::Blocked* blocked) {
  if (blocked == nullptr) return false;
  client.blocked = blocked->blocked();
  scheduler_.SetBlocked(client.worker(), blocked->blocked());
  Touch();
  return true;
}

void LeaseService::EndLease(uint64_t lease_id, const Address& holder, bool worker_exiting) {
  const auto worker = scheduler_.ReturnLease(lease_id, holder);
  if (!worker) return;  // it broke at the same time
  Touch();
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
  (void)parts_.peers->Send(worker.node, FrameType::kForwardReturnLease, builder);  // or it is dead
}

// --- Other raylets ----------------------------------------------------------------------------

void LeaseService::OnForwardLease(const NodeId& from, const wire::ForwardLease& forward) {
  const Address client = FromWireOrNil(forward.client());
  if (forward.request() == nullptr || client.node != from) return;
  LeaseRequest request = ReadRequest(*forward.request(), {client, forward.request_id()},
                                     FromWireOrNil(forward.job_id()));
  request.forwarded = true;
  if (!IsValid(request)) return SendRefusal(request.key, "the request is not valid");
  scheduler_.AddRequest(std::move(request), MonotonicMs());
  Touch();
}

void LeaseService::OnForwardLeaseReply(const NodeId& from, const wire::ForwardLeaseReply& answer) {
  const auto it = forwards_.find(answer.request_id());
  if (it == forwards_.end() || it->second.node != from || answer.reply() == nullptr) return;
  Forwarded forward = std::move(it->second);
  forwards_.erase(it);
  const wire::LeaseReply& reply = *answer.reply();
  if (forward.state == Forwarded::State::kWaits) {
    scheduler_.ForwardAnswered(forward.node, forward.request.demand, reply.ok());
  } else if (forward.state == Forwarded::State::kRecalled && !reply.ok()) {
    scheduler_.AddRequest(std::move(forward.request), MonotonicMs());
    return Touch();
  }
  const Address holder = forward.request.key.client;
  const Address worker = FromWireOrNil(reply.worker());
  ClientConnection* client = parts_.clients->Find(holder.worker);
  if (forward.state == Forwarded::State::kCancelled || client == nullptr) {
    if (reply.ok()) ReturnElsewhere(holder, reply.lease_id(), worker, false);
    return;
  }
  FlatBufferBuilder builder;
  const auto error = builder.CreateString(flatbuffers::GetString(reply.error()));
  std::vector<int32_t> gpus;
  if (reply.gpu_ids() != nullptr) gpus.assign(reply.gpu_ids()->begin(), reply.gpu_ids()->end());
  const auto gpu_ids = builder.CreateVector(gpus);
  builder.Finish(wire::CreateLeaseReply(builder, forward.request.key.id, reply.ok(), error,
                                        reply.lease_id(), ToWire(worker), reply.worker_pid(),
                                        gpu_ids));
  parts_.clients->Send(*client, FrameType::kLeaseReply, builder);
}

void LeaseService::OnPeerLost(const NodeId& node) {
  // It is dead: ask anew, and let go of what its processes held here.
  for (auto it = forwards_.begin(); it != forwards_.end();) {
    if (it->second.node != node) {
      ++it;
      continue;
    }
    Forwarded& forward = it->second;
    if (forward.state == Forwarded::State::kWaits) {
      scheduler_.ForwardAnswered(node, forward.request.demand, /*granted=*/false);
    }
    if (forward.state != Forwarded::State::kCancelled) {
      scheduler_.AddRequest(std::move(forward.request), MonotonicMs());
    }
    it = forwards_.erase(it);
  }
  for (const WorkerId& worker : scheduler_.ClientsOfNodeDied(node)) {
    parts_.workers->Kill(worker, "the node of its submitter died", true);
  }
  Touch();
}

// The GCS has said that it is dead, and that is on its way to the scheduler.
void LeaseService::AvoidForAWhile(const NodeId& node) {
  scheduler_.SetAvoided(node, true);
  parts_.loop->RunAfter(kAvoidMs, [this, node] {
    scheduler_.SetAvoided(node, false);
    Touch();
  });
}

void LeaseService::SetNodeView(const NodeId& node, ResourceSet total, ResourceSet available) {
  scheduler_.SetNodeView(node, std::move(total), std::move(available));
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
  scheduler_.AddRequest(std::move(request), MonotonicMs());
  Touch();
}

void LeaseService::CancelActor(const RequestKey& key) {
  if (scheduler_.CancelRequest(key)) Touch();
}

void LeaseService::TakeBack(uint64_t id, Forwarded& forward, Forwarded::State state) {
  if (std::exchange(forward.state, state) != Forwarded::State::kWaits) return;
  scheduler_.ForwardAnswered(forward.node, forward.request.demand, /*granted=*/false);
  FlatBufferBuilder builder;
  builder.Finish(wire::CreateForwardCancel(builder, id, ToWire(forward.request.key.client)));
  (void)parts_.peers->Send(forward.node, FrameType::kForwardCancel, builder);  // or it is dead
}

void LeaseService::CancelForwardsOf(const WorkerId& client) {
  for (auto& [id, forward] : forwards_) {
    if (forward.request.key.client.worker == client) {
      TakeBack(id, forward, Forwarded::State::kCancelled);
    }
  }
}

// While something is forwarded: several raylets may have sent to the one node that had room, or on
// old news; who waits there would not see that another node has room by now.
void LeaseService::WatchForwards() {
  forwards_watched_ = true;
  parts_.loop->RunAfter(kRecallAfterMs, [this] {
    const int64_t now = MonotonicMs();
    for (auto& [id, forward] : forwards_) {
      if (forward.state == Forwarded::State::kWaits && now - forward.sent_ms >= kRecallAfterMs &&
          scheduler_.IsMisplaced(forward.request, forward.node)) {
        TakeBack(id, forward, Forwarded::State::kRecalled);
      }
    }
    forwards_watched_ = false;
    if (!forwards_.empty()) WatchForwards();
  });
}

void LeaseService::OnProcessDied(const WorkerId& worker, const std::string& reason) {
  const auto end = scheduler_.WorkerDied(worker);
  if (end && !end->for_actor) SendBroken(*end, reason);
  for (const WorkerId& held : scheduler_.ClientDied(parts_.options->AddressOf(worker))) {
    parts_.workers->Kill(held, "the process that it worked for died", true);
  }
  CancelForwardsOf(worker);
  Touch();
}

void LeaseService::OnRemoteDied(const Address& address) {
  const bool whole_node = address.worker.is_nil();
  const auto orphans =
      whole_node ? scheduler_.ClientsOfNodeDied(address.node) : scheduler_.ClientDied(address);
  for (const WorkerId& worker : orphans) {
    parts_.workers->Kill(worker, "the process that it worked for died", true);
  }
  if (whole_node) {
    OnPeerLost(address.node);
    scheduler_.RemoveNodeView(address.node);
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
    Apply(scheduler_.Schedule(MonotonicMs(),
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
  for (const JobWarning& warning : actions.warnings) parts_.feed->Warn(warning.job, warning.text);
  parts_.workers->Ensure(actions.workers_wanted);
  if (again_timer_ != 0) parts_.loop->Cancel(std::exchange(again_timer_, 0));
  if (actions.call_again_ms >= 0) {
    again_timer_ = parts_.loop->RunAfter(actions.call_again_ms, [this] {
      again_timer_ = 0;
      Touch();
    });
  }
  if (!pending_watched_ && scheduler_.pending_count() > 0) WatchPending();
}

// Once a second while something waits, and once more when nothing does any longer.
void LeaseService::WatchPending() {
  pending_watched_ = true;
  parts_.loop->RunAfter(kPendingMs, [this] {
    pending_watched_ = false;
    auto demands = scheduler_.PendingDemands(MonotonicMs(), kPendingMs);
    const bool changed = demands != pending_demands_;
    pending_demands_ = std::move(demands);
    if (changed) callbacks_.on_resources_changed();
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
    if (ClientConnection* client = parts_.clients->Find(grant.key.client.worker)) {
      parts_.clients->Send(*client, FrameType::kLeaseReply, builder);
      sent = true;
    }
  } else {
    builder.Finish(wire::CreateForwardLeaseReply(builder, grant.key.id, reply));
    sent = parts_.peers->Send(grant.key.client.node, FrameType::kForwardLeaseReply, builder);
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
  if (!parts_.peers->Send(node, FrameType::kForwardLease, builder)) {
    AvoidForAWhile(node);
    scheduler_.ForwardAnswered(node, forward.request.demand, /*granted=*/false);
    scheduler_.AddRequest(std::move(forward.request), MonotonicMs());
    Touch();
    return;
  }
  forwards_[id] = {.request = std::move(forward.request), .node = node, .sent_ms = MonotonicMs()};
  if (!forwards_watched_) WatchForwards();
}

void LeaseService::SendRefusal(const RequestKey& key, const std::string& error) {
  FlatBufferBuilder builder;
  const auto reply = WriteRefusal(builder, key.id, error);
  if (IsHere(key.client)) {
    builder.Finish(reply);
    if (ClientConnection* client = parts_.clients->Find(key.client.worker)) {
      parts_.clients->Send(*client, FrameType::kLeaseReply, builder);
    }
  } else {
    builder.Finish(wire::CreateForwardLeaseReply(builder, key.id, reply));
    (void)parts_.peers->Send(key.client.node, FrameType::kForwardLeaseReply, builder);
  }
}

void LeaseService::SendReclaim(uint64_t lease_id, const Address& holder, const Address& worker) {
  FlatBufferBuilder builder;
  const auto table = wire::CreateReclaimLease(builder, lease_id, ToWire(worker));
  if (IsHere(holder)) {
    builder.Finish(table);
    if (ClientConnection* client = parts_.clients->Find(holder.worker)) {
      parts_.clients->Send(*client, FrameType::kReclaimLease, builder);
    }
  } else {
    builder.Finish(wire::CreateForwardReclaim(builder, table, ToWire(holder)));
    (void)parts_.peers->Send(holder.node, FrameType::kForwardReclaim, builder);
  }
}

void LeaseService::SendBroken(const LeaseEnd& end, const std::string& reason) {
  FlatBufferBuilder builder;
  const Address worker = parts_.options->AddressOf(end.worker);
  const auto text = builder.CreateString(reason);
  const auto table = wire::CreateLeaseBroken(builder, end.lease_id, ToWire(worker), text);
  const Address& holder = end.key.client;
  if (IsHere(holder)) {
    builder.Finish(table);
    if (ClientConnection* client = parts_.clients->Find(holder.worker)) {
      parts_.clients->Send(*client, FrameType::kLeaseBroken, builder);
    }
  } else {
    builder.Finish(wire::CreateForwardBroken(builder, table, ToWire(holder)));
    // Behind the last frames of the worker to its holder.
    (void)parts_.peers->Relay(holder, 0, FrameType::kForwardBroken,
                              {builder.GetBufferPointer(), builder.GetSize()});
  }
}

}  // namespace cyray::raylet
