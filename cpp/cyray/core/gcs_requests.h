// Builders and readers of the GCS requests that Python makes, in terms that Cython can say.
// The tables are in wire/gcs.fbs. Free functions, thread-safe.

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/common/resources.h"
#include "cyray/core/core_worker.h"

namespace cyray::core {

// Blocks until the function is there (at most `wait_ms`); empty when it is not known.
Status GetFunction(CoreWorker& core, const JobId& job, const FunctionId& id, uint32_t wait_ms,
                   std::string* pickled);
void PutFunction(CoreWorker& core, const JobId& job, const FunctionId& id,
                 const std::string& pickled);

Status KvPut(CoreWorker& core, const std::string& space, const std::string& key,
             const std::string& value, bool overwrite, bool* added);
Status KvGet(CoreWorker& core, const std::string& space, const std::string& key, bool* found,
             std::string* value);
Status KvDelete(CoreWorker& core, const std::string& space, const std::string& key, bool prefix,
                uint32_t* deleted);
Status KvKeys(CoreWorker& core, const std::string& space, const std::string& prefix,
              std::vector<std::string>* keys);

struct NamedActor {
  bool found = false;
  ActorId id;
  std::string handle_meta;
};
Status GetActorByName(CoreWorker& core, const std::string& name, const std::string& name_space,
                      NamedActor* actor);
Status KillActor(CoreWorker& core, const ActorId& id, bool no_restart, const std::string& reason);

struct NodeRow {
  std::string node_id, ip, hostname, raylet_socket, death_reason;
  bool alive = false, is_head = false;
  int port = 0;
  std::map<std::string, int64_t> total, available;  // 1/10000 units
};
Status ListNodes(CoreWorker& core, std::vector<NodeRow>* rows);

// Tasks and actors that have waited for so much for a second or longer, on all nodes.
struct DemandRow {
  std::map<std::string, int64_t> demand;  // 1/10000 units
  uint32_t count = 0;
};
Status PendingDemands(CoreWorker& core, std::vector<DemandRow>* rows);

struct ActorRow {
  std::string actor_id, class_name, name, name_space, state, job_id, node_id, death_cause;
  int pid = 0;
  bool detached = false;
  uint32_t restarts = 0;
};
Status ListActors(CoreWorker& core, std::vector<ActorRow>* rows);

struct JobRow {
  std::string job_id, name_space, entrypoint;
  int driver_pid = 0;
  bool running = false;
  int64_t start_ms = 0, end_ms = 0;
};
Status ListJobs(CoreWorker& core, std::vector<JobRow>* rows);

// Status-returning form of CoreWorker::CreateInStore.
Status CreateBlock(CoreWorker& core, const ObjectId& id, const Address& owner, uint64_t bytes,
                   StoreBlock* block);

}  // namespace cyray::core
