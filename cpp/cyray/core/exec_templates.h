// ExecTemplates: what the templates of submitters mean in this process, one for equal content.
//
// Links name them by their senders' ids, and a sender gives the id of one that it no longer uses to
// another. One that no link names and no task has goes, a while later.
// Guarded by the core mutex.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core_generated.h"
#include "cyray/common/ids.h"
#include "cyray/core/link.h"

namespace cyray::core {

// `python_id` indexes Python's table of resolved callables, and is used again; `serial` is not.
struct ExecTemplate {
  uint32_t python_id = 0;
  uint64_t serial = 0;
  FunctionId function_id;
  JobId job_id;
  std::string name;
  std::string method;
  int num_returns = 1;
  wire::Yields yields = wire::Yields::None;
  uint32_t max_ahead = 0;
  uint64_t timeout_ms = 0;
  uint32_t max_concurrency = 1;
  uint32_t group = 0;  // of the actor whose method it is
  std::string extra;
  double average_us = 0;
  uint32_t running = 0;  // tasks of this template that have begun and not replied
  uint32_t named = 0;    // by how many ids of links
};

class ExecTemplates {
 public:
  // `has_task`: whether a task that waits here, or runs, is of that template.
  using HasTask = std::function<bool(const ExecTemplate&)>;

  // The one of this content. It stays until the next call, or as long as it is named or a task's.
  ExecTemplate* Intern(ExecTemplate tmpl, const HasTask& has_task);
  // From now on it is what `id` means on that link.
  static void Name(Link& link, uint32_t id, ExecTemplate* tmpl);
  // No id of that link means anything any more.
  static void Forget(Link& link);
  size_t size() const { return by_content_.size(); }

 private:
  void DropUnused(const HasTask& has_task);

  std::unordered_map<std::string, std::unique_ptr<ExecTemplate>> by_content_;
  size_t look_at_ = 64;  // how many there may be before it is looked which are used
  std::vector<uint32_t> free_python_ids_;
  uint32_t next_python_id_ = 0;
  uint64_t next_serial_ = 1;
};

}  // namespace cyray::core
