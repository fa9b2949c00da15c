#include "cyray/core/exec_lane.h"

#include <algorithm>

namespace cyray::core {

ExecLane::Caller& ExecLane::CallerOf(const WorkerId& id) {
  if (last_ == nullptr || last_->id != id) {
    last_ = &callers_[id];
    last_->id = id;
  }
  return *last_;
}

void ExecLane::Add(std::unique_ptr<ExecTask> task) {
  Caller& caller = CallerOf(task->submitter);
  if (caller.tasks.empty()) turns_.push_back(&caller);
  caller.tasks.push_back(std::move(task));
  ++size_;
}

void ExecLane::AddFirst(std::unique_ptr<ExecTask> task) {
  Caller& caller = CallerOf(task->submitter);
  if (!caller.tasks.empty()) LosesTurn(caller);
  turns_.push_front(&caller);
  caller.tasks.push_front(std::move(task));
  ++size_;
}

std::unique_ptr<ExecTask> ExecLane::TakeAt(size_t turn, size_t index) {
  Caller& caller = *turns_[turn];
  const auto at = caller.tasks.begin() + static_cast<ptrdiff_t>(index);
  auto task = std::move(*at);
  caller.tasks.erase(at);
  --size_;
  if (turns_.size() == 1 && !caller.tasks.empty()) return task;
  turns_.erase(turns_.begin() + static_cast<ptrdiff_t>(turn));
  if (!caller.tasks.empty()) turns_.push_back(&caller);
  return task;
}

void ExecLane::LosesTurn(const Caller& caller) {
  turns_.erase(std::find(turns_.begin(), turns_.end(), &caller));
}

ExecTask* ExecLane::Find(const WorkerId& caller, uint64_t tag) const {
  const auto it = callers_.find(caller);
  if (it == callers_.end()) return nullptr;
  for (const auto& task : it->second.tasks) {
    if (task->tag == tag) return task.get();
  }
  return nullptr;
}

std::unique_ptr<ExecTask> ExecLane::Remove(const WorkerId& caller, uint64_t tag) {
  const auto it = callers_.find(caller);
  if (it == callers_.end()) return nullptr;
  auto& tasks = it->second.tasks;
  const auto at =
      std::find_if(tasks.begin(), tasks.end(), [&](const auto& task) { return task->tag == tag; });
  if (at == tasks.end()) return nullptr;
  auto task = std::move(*at);
  tasks.erase(at);
  --size_;
  if (tasks.empty()) LosesTurn(it->second);
  return task;
}

bool ExecLane::HasTemplate(const ExecTemplate& tmpl) const {
  return Has(/*in_order=*/false, [&](const ExecTask& task) { return task.tmpl == &tmpl; });
}

std::vector<std::unique_ptr<ExecTask>> ExecLane::TakeAll() {
  std::vector<std::unique_ptr<ExecTask>> all;
  for (Caller* caller : turns_) {
    for (auto& task : caller->tasks) all.push_back(std::move(task));
    caller->tasks.clear();
  }
  turns_.clear();
  size_ = 0;
  return all;
}

std::vector<std::unique_ptr<ExecTask>> ExecLane::TakeFrom(const WorkerId& caller, size_t all_but) {
  std::vector<std::unique_ptr<ExecTask>> taken;
  const auto it = callers_.find(caller);
  if (it == callers_.end() || it->second.tasks.size() <= all_but) return taken;
  auto& tasks = it->second.tasks;
  const auto from = tasks.begin() + static_cast<ptrdiff_t>(all_but);
  std::move(from, tasks.end(), std::back_inserter(taken));
  tasks.erase(from, tasks.end());
  size_ -= taken.size();
  if (tasks.empty()) LosesTurn(it->second);
  return taken;
}

void ExecLane::Forget(const WorkerId& caller) {
  const auto it = callers_.find(caller);
  if (it == callers_.end() || !it->second.tasks.empty()) return;
  if (last_ == &it->second) last_ = nullptr;
  callers_.erase(it);
}

}  // namespace cyray::core
