#include "cpp_tests/sim/book.h"

#include <algorithm>
#include <cstring>

namespace cyray::sim {
namespace {

uint64_t NumberOf(const TaskId& id) {
  uint64_t number = 0;
  std::memcpy(&number, id.data() + 6, 6);
  return number;
}

}  // namespace

void Book::Never(const std::string& what) {
  kernel_->Log("NEVER: " + what);
  if (wrong_.empty()) wrong_ = what;
}

bool Book::IsAlive(int pid) const {
  const Process* const process = kernel_->Find(pid);
  return process != nullptr && process->alive;
}

bool Book::EndedByEngine(int pid) const {
  const Process* const process = kernel_->Find(pid);
  return !process->alive && !struck_.contains(pid);
}

void Book::Begins(const core::ExecTask& task, bool is_call) {
  const int pid = Kernel::Current()->pid;
  Task& known = tasks_[task.id];
  for (const Attempt& attempt : known.attempts) {
    if (attempt.ended || !IsAlive(attempt.pid)) continue;
    Never("two attempts of the task " + task.id.Hex() + " run, in " + std::to_string(attempt.pid) +
          " and " + std::to_string(pid));
  }
  if (HasAnswered(task.id) && !known.kept) {
    Never("the task " + task.id.Hex() + " began again in " + std::to_string(pid) +
          ", though it had answered");
  }
  if (known.cancelled) {
    Never("the task " + task.id.Hex() + " began in " + std::to_string(pid) +
          ", though it was cancelled");
  }
  known.attempts.push_back({pid});
  if (known.max_retries >= 0 && std::ssize(known.attempts) > known.max_retries + 1) {
    Never("the task " + task.id.Hex() + " began " + std::to_string(known.attempts.size()) +
          " times, with max_retries " + std::to_string(known.max_retries));
  }
  running_[pid] = task.id;
  if (!is_call) return;
  uint64_t& last = last_call_[{pid, task.submitter}];
  if (NumberOf(task.id) <= last) {
    Never("the call " + task.id.Hex() + " began after a younger one of its caller");
  }
  last = std::max(last, NumberOf(task.id));
}

void Book::Ends(const TaskId& id) {
  const int pid = Kernel::Current()->pid;
  for (Attempt& attempt : tasks_[id].attempts) attempt.ended |= attempt.pid == pid;
  running_.erase(pid);
}

void Book::Answers(const TaskId& id) {
  const int pid = Kernel::Current()->pid;
  for (Attempt& attempt : tasks_[id].attempts) attempt.answered |= attempt.pid == pid;
}

void Book::Cancels(const TaskId& id) {
  Task& task = tasks_[id];
  task.cancelled |= std::ranges::any_of(task.attempts, [this](const Attempt& attempt) {
    return !attempt.ended && IsAlive(attempt.pid);
  });
}

int Book::Attempts(const TaskId& id) const {
  const auto it = tasks_.find(id);
  return it != tasks_.end() ? static_cast<int>(it->second.attempts.size()) : 0;
}

bool Book::HasAnswered(const TaskId& id) const {
  const auto it = tasks_.find(id);
  if (it == tasks_.end() || rules_.answers_get_lost) return false;
  return std::ranges::any_of(it->second.attempts, &Attempt::answered);
}

std::string Book::WhyNotCrashed(const TaskId& id, int pid, bool only_own) const {
  const Process* const process = kernel_->Find(pid);
  if (process == nullptr) return "there was no process " + std::to_string(pid);
  if (process->alive) return "the process " + std::to_string(pid) + " lives";
  const auto it = running_.find(pid);
  if (it != running_.end() && it->second != id) {
    return "the process " + std::to_string(pid) + " ran another task when it died";
  }
  const Task& task = tasks_.at(id);
  if (task.max_retries < 0) return "it may be tried for ever";
  if (only_own && std::ssize(task.attempts) != task.max_retries + 1) {
    return "it began " + std::to_string(task.attempts.size()) + " times, with max_retries " +
           std::to_string(task.max_retries);
  }
  return "";
}

void Book::ActorMade(const ActorId& id, int max_restarts) {
  actors_[id].max_restarts = max_restarts;
  actors_[id].maker = Kernel::Current()->pid;
}

void Book::InstanceBegins(const ActorId& id) {
  const int pid = Kernel::Current()->pid;
  actor_pids_.insert(pid);
  Actor& actor = actors_[id];
  for (const Instance& other : actor.instances) {
    if (!IsAlive(other.pid)) continue;
    Never("the actor " + id.Hex() + " lives twice, in " + std::to_string(other.pid) + " and " +
          std::to_string(pid));
  }
  const auto ended = std::ranges::count_if(
      actor.instances, [this](const Instance& one) { return one.ready && EndedByEngine(one.pid); });
  if (ended > actor.asked) {
    Never("the actor " + id.Hex() + " is started again in " + std::to_string(pid) +
          ", though nobody had ended the process " + std::to_string(actor.instances.back().pid));
  }
  actor.instances.push_back({pid});
}

void Book::InstanceReady(const ActorId& id) {
  Actor& actor = actors_[id];
  actor.instances.back().ready = true;
  actor.instances.back().ready_ns = kernel_->now_ns();
  kernel_->time().At(kernel_->now_ns() + rules_.news_ns,
                     [this, id] { actors_[id].keeps_refs |= IsAlive(actors_[id].maker); });
  const auto ready = std::ranges::count_if(actor.instances, &Instance::ready);
  if (actor.max_restarts < 0 || ready <= actor.max_restarts + 1) return;
  Never("the actor " + id.Hex() + " was made " + std::to_string(ready) +
        " times, with max_restarts " + std::to_string(actor.max_restarts));
}

void Book::StruckWithItsNode(int pid) {
  Struck(pid);
  for (auto& [id, actor] : actors_) {
    for (Instance& one : actor.instances) {
      if (one.pid == pid && kernel_->now_ns() - one.ready_ns < rules_.news_ns) one.ready = false;
    }
  }
}

bool Book::NeverBegan(const ActorId& id) const {
  const auto it = actors_.find(id);
  return it == actors_.end() || it->second.instances.empty();
}

int Book::Deaths(const ActorId& id) const {
  const auto it = actors_.find(id);
  if (it == actors_.end()) return 0;
  const Actor& actor = it->second;
  const auto gone = std::ranges::count_if(
      actor.instances, [this](const Instance& one) { return !IsAlive(one.pid); });
  const auto ended = std::ranges::count_if(
      actor.instances, [this](const Instance& one) { return EndedByEngine(one.pid); });
  return static_cast<int>(gone - ended) + std::max(actor.asked, static_cast<int>(ended));
}

bool Book::MayBeDead(const ActorId& id) const {
  const auto it = actors_.find(id);
  return it != actors_.end() && it->second.max_restarts >= 0 &&
         Deaths(id) > it->second.max_restarts;
}

bool Book::KeepsRefs(const ActorId& id) const {
  const auto it = actors_.find(id);
  return it != actors_.end() && (it->second.keeps_refs || IsAlive(it->second.maker));
}

}  // namespace cyray::sim
