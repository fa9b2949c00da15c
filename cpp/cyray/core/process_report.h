// What a process does and waits for, as JSON: its answer to AskProcess, and what is said of objects
// that somebody waits for. For people, and for the code that explains it to them.
//
// clang-format off
//   process  {driver, job, node_id, is_actor, saving_ms: while its state is taken,
//             running: [{task_id, name, for_ms, creation}], queued,
//             waits: [{what, detail, number, for_all, for_ms, size, missing, objects: [object]}],
//             awaits: [object], pending_tasks, pending: [task]}
//   object   {object_id, state, nodes: [..], owner: of a borrowed one, task: what makes it}
//   task     {task_id, name, attempt, place, args: [object], actor, class, actor_state, waits,
//             demand, labels: {text, selectors}, node_affinity, node_affinity_soft, priority,
//             turn_of: max_running, where as many run; worker, pid, node}
// clang-format on
//
// Lists are cut: a report takes some tens of kilobytes at most. Functions without state, called
// with the core mutex held.

#pragma once

#include <string>

#include "cyray/core/executor.h"
#include "cyray/core/object_directory.h"
#include "cyray/core/saver.h"
#include "cyray/core/submitter.h"
#include "cyray/core/this_process.h"

namespace cyray::core {

struct ReportSources {
  ThisProcess& process;
  const ObjectDirectory& directory;
  const Executor& executor;
  const Submitter& submitter;
  const Saver& saver;
};

std::string ProcessAsJson(const ReportSources& sources);
// The waits that have lasted for so long and came after that number.
std::string WaitsAsJson(const ReportSources& sources, int64_t for_ms, uint64_t after);
// A list of the first of these that are not here.
std::string MissingAsJson(const ReportSources& sources, ObjectEntry* const* entries, size_t size);

}  // namespace cyray::core
