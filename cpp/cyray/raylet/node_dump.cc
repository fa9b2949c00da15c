#include "cyray/raylet/node_dump.h"

#include <algorithm>

#include "cyray/common/as_json.h"
#include "cyray/util/kernel_files.h"

namespace cyray::raylet {
namespace {

using nlohmann::json;

constexpr size_t kMaxListed = 200;
constexpr size_t kMaxObjects = 20;

json PendingLeases(const LeaseScheduler& scheduler, int64_t now_ms) {
  json out = json::array();
  for (const auto& pending : scheduler.Pending(now_ms, kMaxListed)) {
    out.push_back(
        {{"demand", AsJson(pending.demand)},
         {"waited_ms", pending.waited_ms},
         {"job", pending.job.Hex()},
         {pending.for_actor ? "actor" : "client",
          pending.for_actor ? pending.key.actor.Hex() : pending.key.client.worker.Hex()}});
  }
  return out;
}

json Lent(const LeaseScheduler& scheduler, int64_t now_ms) {
  json out = json::array();
  for (const auto& lent : scheduler.Lent(now_ms, kMaxListed)) {
    json row = {{"worker_id", lent.worker.Hex()},
                {"resources", AsJson(lent.resources)},
                {"cpu_lent", lent.cpu_lent},
                {"for_ms", lent.for_ms}};
    if (lent.for_actor) {
      row["actor"] = lent.key.actor.Hex();
    } else {
      row["client"] = lent.key.client.worker.Hex();
    }
    out.push_back(std::move(row));
  }
  return out;
}

// The command line of a process, which for a worker says what runs there; empty when it is gone.
std::string TitleOf(int pid) {
  constexpr size_t kMostBytes = 200;
  std::string title = ReadKernelFile("/proc/" + std::to_string(pid) + "/cmdline", kMostBytes);
  std::replace(title.begin(), title.end(), '\0', ' ');
  title.erase(title.find_last_not_of(' ') + 1);
  return title;
}

json Workers(const DumpSources& sources) {
  json out = json::array();
  for (const auto& [id, worker] : sources.workers->pool().workers()) {
    if (out.size() >= kMaxListed) break;
    const ClientConnection* client = sources.clients->Find(id);
    out.push_back(
        {{"worker_id", id.Hex()},
         {"pid", sources.workers->PidOf(id)},
         {"state", WorkerStateName(worker.state)},
         {"job", worker.job.Hex()},
         {"title", TitleOf(sources.workers->PidOf(id))},
         {"blocked", client != nullptr && client->blocked},
         {"spare_blocks", client != nullptr ? sources.objects->SparesOf(client->id()) : 0}});
  }
  return out;
}

json Drivers(const DumpSources& sources) {
  json out = json::array();
  sources.clients->ForEach([&](const ClientConnection& client) {
    if (!client.is_driver()) return;
    out.push_back({{"worker_id", client.worker().Hex()},
                   {"pid", client.pid},
                   {"job", client.job.Hex()},
                   {"title", TitleOf(client.pid)},
                   {"spare_blocks", sources.objects->SparesOf(client.id())},
                   {"registered", client.registered}});
  });
  return out;
}

json Objects(const store::ObjectStore& store) {
  json out = json::array();
  for (const store::ObjectInfo& object : store.Largest(kMaxObjects)) {
    out.push_back({{"object_id", object.id.Hex()},
                   {"bytes", object.bytes},
                   {"pins", object.pins},
                   {"state", object.state},
                   {"owner", object.owner.worker.Hex()}});
  }
  return out;
}

json Forwarded(const LeaseService& leases) {
  json out = json::array();
  for (const auto& [id, forward] : leases.forwards().all()) {
    if (out.size() >= kMaxListed) break;
    out.push_back({{"demand", AsJson(forward.request.demand)},
                   {"client", forward.request.key.client.worker.Hex()},
                   {"node", forward.node.Hex()}});
  }
  return out;
}

json Actors(const ActorHost& actors) {
  static constexpr const char* kStates[] = {"waiting", "creating", "alive"};
  json out = json::array();
  for (const auto& [id, actor] : actors.actors()) {
    if (out.size() >= kMaxListed) break;
    out.push_back({{"actor_id", id.Hex()},
                   {"class", actor.class_name},
                   {"state", kStates[static_cast<int>(actor.state)]},
                   {"worker_id", actor.worker.Hex()},
                   {"incarnation", actor.incarnation}});
  }
  return out;
}

// The nodes that are not reached though they live.
json Outages(const PeerTable& peers) {
  json out = json::array();
  for (const NodeId& node : peers.Met()) {
    const auto outage = peers.OutageOf(node);
    if (!outage || out.size() >= kMaxListed) continue;
    out.push_back({{"node", node.Hex()},
                   {"for_ms", outage->for_ms},
                   {"why", outage->why},
                   {"awaited", outage->awaited}});
  }
  return out;
}

}  // namespace

nlohmann::json DumpNode(const DumpSources& sources) {
  const LeaseScheduler& scheduler = sources.leases->scheduler();
  const store::StoreStats stats = sources.store->stats();
  return {
      {"node_id", sources.options->node_id.Hex()},
      {"ip", sources.options->node_ip},
      {"labels", sources.options->labels},
      {"resources",
       {{"total", AsJson(scheduler.resources().total())},
        {"available", AsJson(scheduler.resources().available())}}},
      {"leases",
       {{"granted", scheduler.lease_count()},
        {"lent", Lent(scheduler, sources.now_ms)},
        {"pending", PendingLeases(scheduler, sources.now_ms)},
        {"forwarded", Forwarded(*sources.leases)}}},
      {"workers", Workers(sources)},
      {"drivers", Drivers(sources)},
      {"actors", Actors(*sources.actors)},
      {"store",
       {{"capacity_bytes", stats.capacity_bytes},
        {"used_bytes", stats.used_bytes},
        {"pinned_bytes", stats.pinned_bytes},
        {"primary_bytes", stats.primary_bytes},
        {"objects", stats.objects},
        {"waiters", stats.waiters},
        {"largest", Objects(*sources.store)}}},
      {"pulls", sources.transfer->Describe()},
      {"outages", Outages(*sources.peers)},
      {"gcs", {{"waiting_calls", sources.gcs->waiting_calls()}}},
  };
}

}  // namespace cyray::raylet
