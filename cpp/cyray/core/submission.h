// Submission: everything one f.remote() carries into the core. Counts of entries pass to the task.
// A plain struct; whoever fills it owns it until Submit.

#pragma once

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
  ObjectEntry* hold = nullptr;  // kept until the reply: the handle that an actor call went through
  std::unique_ptr<std::string> name;
};

}  // namespace cyray::core
