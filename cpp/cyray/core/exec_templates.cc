#include "cyray/core/exec_templates.h"

namespace cyray::core {

namespace {

std::string ContentOf(const ExecTemplate& tmpl) {
  std::string content(tmpl.function_id.view());
  content.append(tmpl.job_id.view());
  for (const std::string* part : {&tmpl.name, &tmpl.method, &tmpl.extra}) {
    content += std::to_string(part->size()) + ":" + *part;
  }
  for (const uint64_t number :
       {uint64_t(tmpl.num_returns), uint64_t{tmpl.max_concurrency}, uint64_t(tmpl.yields),
        uint64_t{tmpl.max_ahead}, tmpl.timeout_ms, uint64_t{tmpl.group}}) {
    content += std::to_string(number) + "/";
  }
  return content;
}

}  // namespace

ExecTemplate* ExecTemplates::Intern(ExecTemplate tmpl, const HasTask& has_task) {
  std::string content = ContentOf(tmpl);
  if (auto found = by_content_.find(content); found != by_content_.end()) {
    return found->second.get();
  }
  if (by_content_.size() >= look_at_) DropUnused(has_task);
  if (free_python_ids_.empty()) free_python_ids_.push_back(next_python_id_++);
  tmpl.python_id = free_python_ids_.back();
  free_python_ids_.pop_back();
  tmpl.serial = next_serial_++;
  auto& made = by_content_[std::move(content)];
  made = std::make_unique<ExecTemplate>(std::move(tmpl));
  return made.get();
}

void ExecTemplates::Name(Link& link, uint32_t id, ExecTemplate* tmpl) {
  ExecTemplate*& named = link.exec_templates[id];
  ++tmpl->named;
  if (named != nullptr) --named->named;
  named = tmpl;
}

void ExecTemplates::Forget(Link& link) {
  for (const auto& [id, tmpl] : link.exec_templates) --tmpl->named;
  link.exec_templates.clear();
}

void ExecTemplates::DropUnused(const HasTask& has_task) {
  for (auto it = by_content_.begin(); it != by_content_.end();) {
    const ExecTemplate& tmpl = *it->second;
    if (tmpl.named > 0 || has_task(tmpl)) {
      ++it;
      continue;
    }
    free_python_ids_.push_back(tmpl.python_id);
    it = by_content_.erase(it);
  }
  look_at_ = 64 + 2 * by_content_.size();
}

}  // namespace cyray::core
