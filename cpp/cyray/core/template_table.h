// TemplateTable: the templates of this process's tasks, each as long as somebody uses it.
//
// Python uses one from Take to Drop, a pending task while it is live. One that nobody uses any more
// gives its id to the next: links remember the version that their peer has. So there are as many as
// are used at once, here and, as senders name others by the same ids, in workers.
// Guarded by the core mutex.

#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "cyray/core/task_types.h"

namespace cyray::core {

class TemplateTable {
 public:
  // One that is used once, without content.
  TaskTemplate* Take() {
    if (free_.empty()) {
      const auto id = static_cast<uint32_t>(templates_.size());
      free_.push_back(&templates_.emplace_back());
      free_.back()->id = id;
    }
    TaskTemplate* tmpl = free_.back();
    free_.pop_back();
    const uint32_t id = tmpl->id, version = tmpl->version + 1;
    *tmpl = {};
    tmpl->id = id;
    tmpl->version = version;
    tmpl->uses = 1;
    return tmpl;
  }
  static void Use(TaskTemplate* tmpl) { ++tmpl->uses; }
  void Drop(TaskTemplate* tmpl) {
    if (--tmpl->uses > 0) return;
    if (tmpl->shape != nullptr) --tmpl->shape->templates;
    free_.push_back(tmpl);
  }
  size_t in_use() const { return templates_.size() - free_.size(); }
  size_t most_in_use() const { return templates_.size(); }

 private:
  std::deque<TaskTemplate> templates_;  // by id; they stay where they are
  std::vector<TaskTemplate*> free_;
};

}  // namespace cyray::core
