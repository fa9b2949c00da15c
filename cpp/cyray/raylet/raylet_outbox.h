// What a raylet's lease service and its actor host say, over the connections of the node; and the
// frames of other raylets, to the lease service.
//
// Threading: confined to the raylet's loop.

#pragma once

#include <functional>
#include <string>
#include <utility>

#include "cyray/raylet/actor_outbox.h"
#include "cyray/raylet/client_registry.h"
#include "cyray/raylet/driver_feed.h"
#include "cyray/raylet/gcs_bridge.h"
#include "cyray/raylet/lease_outbox.h"
#include "cyray/raylet/lease_service.h"
#include "cyray/raylet/peer_table.h"
#include "cyray/wire/convert.h"

namespace cyray::raylet {

class RayletLeaseOutbox : public LeaseOutbox {
 public:
  RayletLeaseOutbox(ClientRegistry* clients, PeerTable* peers, DriverFeed* feed)
      : clients_(clients), peers_(peers), feed_(feed) {}

  bool ToClient(const WorkerId& client, wire::FrameType type,
                const flatbuffers::FlatBufferBuilder& builder) override {
    ClientConnection* const connection = clients_->Find(client);
    if (connection != nullptr) clients_->Send(*connection, type, builder);
    return connection != nullptr;
  }
  bool ToNode(const NodeId& node, wire::FrameType type,
              const flatbuffers::FlatBufferBuilder& builder) override {
    return peers_->Send(node, type, builder);
  }
  bool ToNodeBehindRelays(const Address& process, wire::FrameType type,
                          const flatbuffers::FlatBufferBuilder& builder) override {
    return peers_->Relay(process, 0, type, {builder.GetBufferPointer(), builder.GetSize()});
  }
  void Warn(const JobId& job, const std::string& text) override { feed_->Warn(job, text); }

 private:
  ClientRegistry* const clients_;
  PeerTable* const peers_;
  DriverFeed* const feed_;
};

class RayletActorOutbox : public ActorOutbox {
 public:
  RayletActorOutbox(ClientRegistry* clients, GcsBridge* gcs) : clients_(clients), gcs_(gcs) {}

  void ToWorker(const WorkerId& worker, wire::FrameType type,
                const flatbuffers::FlatBufferBuilder& builder) override {
    ClientConnection* const connection = clients_->Find(worker);
    if (connection != nullptr) clients_->Send(*connection, type, builder);
  }
  void Report(wire::Bytes report) override { gcs_->Report(std::move(report)); }

 private:
  ClientRegistry* const clients_;
  GcsBridge* const gcs_;
};

// To be called once, before traffic starts. `on_client`: a process of another node asks for a
// lease, which ends with it.
inline void RouteLeaseFrames(PeerTable& peers, LeaseService& leases,
                             std::function<void(const Address&)> on_client) {
  using wire::FrameType;
  LeaseService* const service = &leases;
  const auto route = [&peers, service]<class Table>(
                         FrameType type,
                         void (LeaseService::*handler)(const NodeId&, const Table&)) {
    peers.On<Table>(type, [service, handler](const NodeId& from, const Table& table) {
      (service->*handler)(from, table);
    });
  };
  peers.On<wire::ForwardLease>(
      FrameType::kForwardLease, [service, on_client = std::move(on_client)](
                                    const NodeId& from, const wire::ForwardLease& forward) {
        service->OnForwardLease(from, forward);
        if (const Address client = wire::FromWireOrNil(forward.client()); client.node == from) {
          on_client(client);
        }
      });
  route(FrameType::kForwardLeaseReply, &LeaseService::OnForwardLeaseReply);
  route(FrameType::kForwardReturnLease, &LeaseService::OnForwardReturnLease);
  route(FrameType::kForwardCancel, &LeaseService::OnForwardCancel);
  route(FrameType::kForwardReclaim, &LeaseService::OnForwardReclaim);
  route(FrameType::kForwardBroken, &LeaseService::OnForwardBroken);
  peers.AddLostCallback(
      [service](const NodeId& node, const std::string&) { service->OnPeerLost(node); });
}

}  // namespace cyray::raylet
