// Builders and readers of the GCS requests that Python makes, in terms that Cython can say.
// The tables are in wire/gcs.fbs. A request that is larger than a frame is refused: its name, its
// size and the limit are in the message. Free functions, thread-safe.

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/common/labels.h"
#include "cyray/common/resources.h"
#include "cyray/core/control.h"

namespace cyray::core {

// Blocks until the function is there (at most `wait_ms`); empty when it is not known.
Status GetFunction(Control& control, const JobId& job, const FunctionId& id, uint32_t wait_ms,
                   std::string* pickled);
// Ok when it is on its way.
Status PutFunction(Control& control, const JobId& job, const FunctionId& id,
                   std::string_view pickled);

Status KvPut(Control& control, std::string_view space, std::string_view key, std::string_view value,
             bool overwrite, bool* added);
Status KvGet(Control& control, std::string_view space, std::string_view key, bool* found,
             std::string* value);
Status KvDelete(Control& control, std::string_view space, std::string_view key, bool prefix,
                uint32_t* deleted);
Status KvKeys(Control& control, std::string_view space, std::string_view prefix,
              std::vector<std::string>* keys);

struct NamedActor {
  bool found = false;
  ActorId id;
  std::string handle_meta;
};
Status GetActorByName(Control& control, std::string_view name, std::string_view name_space,
                      NamedActor* actor);
// `least_incarnation`: those before have been ended (ActorSubmitter::HoldCalls).
Status KillActor(Control& control, const ActorId& id, bool no_restart, std::string_view reason,
                 uint32_t* least_incarnation);

// What an actor was when it was saved last.
struct SavedActor {
  bool found = false;
  std::string state;
  std::string calls;  // a finished wire::IncludedCalls
};
Status GetActorSave(Control& control, const ActorId& id, SavedActor* saved);

struct NodeRow {
  std::string node_id, ip, hostname, raylet_socket, death_reason;
  bool alive = false, is_head = false;
  int port = 0;
  int metrics_port = 0;
  std::map<std::string, int64_t> total, available;  // 1/10000 units
  std::map<std::string, std::string> labels;
};
Status ListNodes(Control& control, std::vector<NodeRow>* rows);

// Tasks and actors that have waited for so much for a second or longer, on all nodes.
struct DemandRow {
  std::map<std::string, int64_t> demand;  // 1/10000 units
  uint32_t count = 0;
};
Status PendingDemands(Control& control, std::vector<DemandRow>* rows);

struct ActorRow {
  std::string actor_id, class_name, name, name_space, state, job_id, node_id, death_cause;
  int pid = 0;
  bool detached = false;
  uint32_t restarts = 0;
  int64_t saved_ms = 0;  // since 1970; 0: it was not
  uint64_t saved_bytes = 0;
};
Status ListActors(Control& control, std::vector<ActorRow>* rows);

struct JobRow {
  std::string job_id, name_space, entrypoint;
  int driver_pid = 0;
  bool running = false;
  int64_t start_ms = 0, end_ms = 0;
};
Status ListJobs(Control& control, std::vector<JobRow>* rows);

}  // namespace cyray::core
