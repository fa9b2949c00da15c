// Submission: everything one f.remote() carries into the core. Counts of entries pass to the task.
// TemplateSpec: what a function and its options, or an actor's method, have in common over all
// calls. Plain structs; whoever fills one owns it until it is handed over.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cyray/core/task_types.h"

namespace cyray::core {

struct Submission {
  TaskTemplate* tmpl = nullptr;
  ValuePtr args;
  std::vector<ObjectEntry*> refs;
  std::vector<ObjectEntry*> contained;
  uint64_t parent = 0;          // ExecTask::number of the task that submits it; 0: none does
  ObjectEntry* hold = nullptr;  // kept until the reply: the handle that an actor call went through
  std::unique_ptr<std::string> name;
  bool reserved = false;  // Submitter::Reserve: it counts as pending already
};

struct TemplateSpec {
  FunctionId function_id;
  std::string name, method, extra;
  int num_returns = 1;
  wire::Yields yields = wire::Yields::None;
  uint32_t max_ahead = 0;
  uint64_t timeout_ms = 0;
  int max_retries = 0;
  uint32_t max_concurrency = 1;
  uint32_t group = 0;  // of an actor (CallGroup)
  ShapeKey shape;      // of tasks
  bool is_actor_method = false;
};

}  // namespace cyray::core
