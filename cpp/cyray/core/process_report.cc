#include "cyray/core/process_report.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "cyray/common/as_json.h"
#include "cyray/util/clock.h"

namespace cyray::core {
namespace {

using nlohmann::json;

constexpr size_t kMostObjects = 5;
constexpr size_t kMostArguments = 3;
constexpr size_t kMostTasks = 200;
constexpr size_t kMostWaits = 50;
constexpr int kMostDepth = 5;  // of tasks that wait for tasks

std::string Text(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

int64_t Since(int64_t ns) { return ns == 0 ? 0 : (MonotonicNs() - ns) / 1'000'000; }

class Writer {
 public:
  explicit Writer(const ReportSources& sources) : sources_(sources) {}

  json Process() const;
  json Missing(ObjectEntry* const* entries, size_t size, size_t most, int depth) const;
  json Waits(int64_t for_ms, uint64_t after) const;

 private:
  json Object(const ObjectEntry& entry, int depth) const;
  json Task(const PendingTask& task, int depth) const;
  static void AddActor(json& out, const PendingTask& task);
  static void AddWanted(json& out, const Shape& shape);
  json Running() const;
  void AddPending(json& out) const;

  const ReportSources& sources_;
};

json Writer::Object(const ObjectEntry& entry, int depth) const {
  json out = {{"object_id", entry.id.Hex()}};
  if (entry.state == ObjectState::kStored) {
    out["state"] = "stored";
    for (const NodeId& node : entry.extra->locations) out["nodes"].push_back(node.Hex());
  } else {
    out["state"] = entry.ready() ? "ready" : "pending";
  }
  if (!entry.owned) out["owner"] = sources_.directory.OwnerOf(&entry).worker.Hex();
  if (entry.maker != nullptr && depth > 0) out["task"] = Task(*entry.maker, depth - 1);
  return out;
}

json Writer::Missing(ObjectEntry* const* entries, size_t size, size_t most, int depth) const {
  json out = json::array();
  for (size_t i = 0; i < size && out.size() < most; ++i) {
    if (!entries[i]->local()) out.push_back(Object(*entries[i], depth));
  }
  return out;
}

void Writer::AddActor(json& out, const PendingTask& task) {
  const ActorClient& actor = *task.actor;
  out["actor"] = actor.id.Hex();
  out["class"] = actor.class_name;
  out["actor_state"] = wire::EnumNameActorState(actor.state);
  out["waits"] = actor.waits;
  if (actor.address.is_nil()) return;
  out["worker"] = actor.address.worker.Hex();
  out["node"] = actor.address.node.Hex();
  out["reachable"] = actor.link != nullptr;
}

json Writer::Task(const PendingTask& task, int depth) const {
  static constexpr const char* kPlaces[] = {"args", "args", "queued", "pushed", "limbo"};
  json out = {{"task_id", task.id.Hex()},
              {"name", NameOf(task)},
              {"attempt", task.attempt + 1},
              {"place", kPlaces[static_cast<int>(task.place)]},
              {"cancelled", task.cancelled}};
  if (task.waiting_for_args()) {
    out["place"] = "args";
    json args = json::array();
    for (const ObjectEntry* entry : task.refs) {
      if (args.size() >= kMostArguments) break;
      if (!entry->ready()) args.push_back(Object(*entry, depth));
    }
    out["args"] = std::move(args);
  }
  if (task.actor != nullptr) {
    AddActor(out, task);
  } else if (task.lease != nullptr) {
    out["worker"] = task.lease->worker.worker.Hex();
    out["node"] = task.lease->worker.node.Hex();
    out["pid"] = task.lease->worker_pid;
  }
  if (task.actor == nullptr) AddWanted(out, *task.tmpl->shape);
  return out;
}

void Writer::AddWanted(json& out, const Shape& shape) {
  const ShapeKey& key = shape.key;
  out["demand"] = AsJson(key.demand);
  if (!key.labels.empty()) out["labels"] = AsJson(key.labels);
  if (key.priority != 0) out["priority"] = key.priority;
  if (shape.limited() && shape.unanswered == 0 && TaskSubmitter::FreePermits(shape) == 0) {
    out["turn_of"] = key.max_running;
  }
  // Not whether it names a node: a nil id is one that no node has.
  if (key.strategy != static_cast<uint8_t>(wire::SchedulingStrategy::NodeAffinity)) return;
  out["node_affinity"] = key.affinity_node.Hex();
  out["node_affinity_soft"] = key.affinity_soft;
}

json Writer::Running() const {
  json out = json::array();
  for (const ExecTask* task : sources_.executor.queue().all_running()) {
    if (out.size() >= kMostTasks) break;
    out.push_back({{"task_id", task->id.Hex()},
                   {"name", task->name.empty() ? task->tmpl->name : task->name},
                   {"for_ms", Since(task->started_ns)},
                   {"creation", task->submitter_is_nil()}});
  }
  return out;
}

json Writer::Waits(int64_t for_ms, uint64_t after) const {
  json out = json::array();
  sources_.process.waits().ForEach([&](const core::Waits::Wait& wait) {
    if (out.size() >= kMostWaits || wait.number <= after || Since(wait.since_ns) < for_ms) return;
    size_t missing = 0;
    for (size_t i = 0; i < wait.size; ++i) missing += wait.entries[i]->local() ? 0 : 1;
    out.push_back({{"what", wait.what},
                   {"detail", wait.detail},
                   {"number", wait.number},
                   {"for_all", wait.for_all},
                   {"for_ms", Since(wait.since_ns)},
                   {"size", wait.size},
                   {"missing", missing},
                   {"objects", Missing(wait.entries, wait.size, kMostObjects, kMostDepth)}});
  });
  return out;
}

// The tasks that this process submitted, and of their results those that a future waits for.
void Writer::AddPending(json& out) const {
  json pending = json::array();
  json awaits = json::array();
  sources_.submitter.slab().ForEach([&](const PendingTask& task) {
    if (task.answered) return true;
    pending.push_back(Task(task, 1));
    for (const ObjectEntry* entry : task.returns) {
      if (awaits.size() >= kMostObjects) break;
      if (entry->extra && !entry->extra->callbacks.empty()) awaits.push_back(Object(*entry, 2));
    }
    return pending.size() < kMostTasks;
  });
  out["pending"] = std::move(pending);
  out["awaits"] = std::move(awaits);
}

json Writer::Process() const {
  json out = {{"driver", sources_.process.is_driver()},
              {"job", sources_.process.job_id().Hex()},
              {"node_id", sources_.process.address().node.Hex()},
              {"is_actor", sources_.executor.is_actor()},
              {"running", Running()},
              {"queued", sources_.executor.queued()},
              {"waits", Waits(0, 0)},
              {"pending_tasks", sources_.submitter.pending()}};
  const int64_t saving_ns = sources_.saver.taking_since_ns();
  if (saving_ns != 0) out["saving_ms"] = Since(saving_ns);
  AddPending(out);
  return out;
}

}  // namespace

std::string ProcessAsJson(const ReportSources& sources) { return Text(Writer(sources).Process()); }

std::string WaitsAsJson(const ReportSources& sources, int64_t for_ms, uint64_t after) {
  return Text(Writer(sources).Waits(for_ms, after));
}

std::string MissingAsJson(const ReportSources& sources, ObjectEntry* const* entries, size_t size) {
  return Text(Writer(sources).Missing(entries, size, kMostObjects, kMostDepth));
}

}  // namespace cyray::core
