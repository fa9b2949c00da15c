// What everybody on this node waits for, as JSON; for NodeInfo frames and hang dumps.
// A function without state, confined to the raylet's loop.

#pragma once

#include <nlohmann/json.hpp>

#include "cyray/raylet/actor_host.h"
#include "cyray/raylet/client_registry.h"
#include "cyray/raylet/gcs_bridge.h"
#include "cyray/raylet/lease_service.h"
#include "cyray/raylet/node_options.h"
#include "cyray/raylet/object_service.h"
#include "cyray/raylet/object_transfer.h"
#include "cyray/raylet/peer_table.h"
#include "cyray/raylet/worker_host.h"
#include "cyray/store/object_store.h"

namespace cyray::raylet {

struct DumpSources {
  int64_t now_ms;
  const NodeOptions* options;
  const ClientRegistry* clients;
  const WorkerHost* workers;
  const LeaseService* leases;
  const ActorHost* actors;
  const store::ObjectStore* store;
  const ObjectTransfer* transfer;
  const ObjectService* objects;
  const GcsBridge* gcs;
  const PeerTable* peers;
};
nlohmann::json DumpNode(const DumpSources& sources);

}  // namespace cyray::raylet
