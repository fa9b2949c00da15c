#include "cyray/raylet/worker_pool.h"

#include <algorithm>

#include "cyray/util/log.h"

namespace cyray::raylet {
namespace {

constexpr int64_t kIdleLimitMs = 1000;
constexpr int64_t kStayMs = 10'000;     // before one that could not leave is asked again
constexpr int64_t kActorHintMs = 1000;  // an actor so recently asked for makes another one likely
constexpr int kSpares = 2;
constexpr int kMinStartingLimit = 4;

bool Suits(const WorkerPool::Worker& worker, const WorkerUse& use) {
  return worker.job == use.job && (!worker.used || worker.gpus == use.gpus);
}

}  // namespace

const char* WorkerStateName(WorkerState state) {
  switch (state) {
    case WorkerState::kStarting:
      return "starting";
    case WorkerState::kIdle:
      return "idle";
    case WorkerState::kLeased:
      return "leased";
    case WorkerState::kActor:
      return "actor";
    case WorkerState::kExiting:
      return "exiting";
  }
  return "?";
}

int WorkerPool::PrestartsWanted(int64_t now_ms) const {
  return now_ms - last_actor_ms_ < kActorHintMs ? kSpares : 0;
}

int WorkerPool::StartingLimit() const { return std::max(kMinStartingLimit, 2 * keep_idle_); }

int WorkerPool::StartingFor(const JobId& job) const {
  const auto it = starting_for_.find(job);
  return it == starting_for_.end() ? 0 : it->second;
}

int WorkerPool::IdleFor(const WorkerUse& use) const {
  return static_cast<int>(std::count_if(idle_.begin(), idle_.end(), [&](const WorkerId& id) {
    return !workers_.at(id).keeps && Suits(workers_.at(id), use);
  }));
}

int WorkerPool::WorkersToStart(const std::map<WorkerUse, int>& wanted, int64_t now_ms) const {
  int missing = PrestartsWanted(now_ms);
  for (const auto& [use, count] : wanted) missing += count - std::min(count, IdleFor(use));
  for (const WorkerId& id : idle_) missing -= workers_.at(id).job.is_nil() ? 1 : 0;
  missing -= starting_;
  return std::clamp(missing, 0, std::max(StartingLimit() - starting_, 0));
}

int WorkerPool::WorkersToStartFor(const WorkerUse& use, int wanted) const {
  const int starting = StartingFor(use.job);
  const int missing = wanted - starting - IdleFor(use);
  return std::clamp(missing, 0, std::max(StartingLimit() - starting, 0));
}

int WorkerPool::WorkersToPrestart() const {
  int unbound = starting_;
  for (const WorkerId& id : idle_) unbound += workers_.at(id).job.is_nil() ? 1 : 0;
  return std::max(prestart_ - unbound, 0);
}

void WorkerPool::Started(const WorkerId& worker, const JobId& job) {
  if (!workers_.emplace(worker, Worker{.job = job}).second) return;
  ++(job.is_nil() ? starting_ : starting_for_[job]);
}

void WorkerPool::EndStarting(const Worker& worker) {
  if (worker.job.is_nil()) {
    --starting_;
  } else if (const auto it = starting_for_.find(worker.job); --it->second == 0) {
    starting_for_.erase(it);
  }
}

void WorkerPool::Registered(const WorkerId& worker, int64_t now_ms) {
  const auto it = workers_.find(worker);
  if (it == workers_.end() || it->second.state != WorkerState::kStarting) return;
  EndStarting(it->second);
  BecomeIdle(worker, it->second, now_ms);
}

std::optional<WorkerPool::Taken> WorkerPool::Take(const WorkerUse& use, bool for_actor,
                                                  int64_t now_ms, bool own_python) {
  if (for_actor) last_actor_ms_ = now_ms;
  auto best = idle_.rend();
  for (auto it = idle_.rbegin(); it != idle_.rend(); ++it) {  // the warmest first
    const Worker& worker = workers_.at(*it);
    if (for_actor && worker.keeps) continue;
    if (Suits(worker, use)) {
      best = it;
      break;
    }
    if (worker.job.is_nil() && !own_python && best == idle_.rend()) best = it;
  }
  if (best == idle_.rend()) return std::nullopt;
  const WorkerId id = *best;
  idle_.erase(std::next(best).base());
  Worker& worker = workers_.at(id);
  const bool newly_bound = worker.job.is_nil();
  worker.job = use.job;
  worker.used = true;
  worker.gpus = use.gpus;
  worker.state = for_actor ? WorkerState::kActor : WorkerState::kLeased;
  return Taken{id, newly_bound};
}

bool WorkerPool::PutBack(const WorkerId& worker, int64_t now_ms) {
  const auto it = workers_.find(worker);
  if (it == workers_.end() || it->second.state != WorkerState::kLeased) return false;
  it->second.served = true;
  it->second.keeps = false;
  BecomeIdle(worker, it->second, now_ms);
  return true;
}

void WorkerPool::Decline(const WorkerId& worker, int64_t now_ms) {
  const auto it = workers_.find(worker);
  if (it == workers_.end() || it->second.state != WorkerState::kActor) return;
  it->second.keeps = true;
  BecomeIdle(worker, it->second, now_ms);
}

void WorkerPool::Stay(const WorkerId& worker, int64_t now_ms) {
  const auto it = workers_.find(worker);
  if (it == workers_.end() || it->second.state != WorkerState::kExiting) return;
  it->second.keeps = true;
  BecomeIdle(worker, it->second, now_ms + kStayMs - kIdleLimitMs);
}

void WorkerPool::BecomeIdle(const WorkerId& id, Worker& worker, int64_t now_ms) {
  worker.state = WorkerState::kIdle;
  worker.idle_since_ms = now_ms;
  idle_.push_back(id);
}

void WorkerPool::EraseIdle(const WorkerId& worker) {
  idle_.erase(std::find(idle_.begin(), idle_.end(), worker));
}

void WorkerPool::MarkExiting(const WorkerId& worker) {
  const auto it = workers_.find(worker);
  if (it == workers_.end()) return;
  if (it->second.state == WorkerState::kIdle) EraseIdle(worker);
  if (it->second.state == WorkerState::kStarting) EndStarting(it->second);
  it->second.state = WorkerState::kExiting;
}

void WorkerPool::Remove(const WorkerId& worker) {
  MarkExiting(worker);
  workers_.erase(worker);
}

std::vector<WorkerId> WorkerPool::WorkersOfJob(const JobId& job, bool actors_too) const {
  std::vector<WorkerId> found;
  for (const auto& [id, worker] : workers_) {
    if (worker.job == job && (actors_too || worker.state != WorkerState::kActor)) {
      found.push_back(id);
    }
  }
  return found;
}

std::vector<WorkerId> WorkerPool::TakeExpired(int64_t now_ms) {
  std::vector<WorkerId> expired;
  const int keep = keep_idle_ + PrestartsWanted(now_ms);
  while (static_cast<int>(idle_.size()) > keep) {
    const WorkerId oldest = idle_.front();
    if (now_ms - workers_.at(oldest).idle_since_ms < kIdleLimitMs) break;
    MarkExiting(oldest);
    expired.push_back(oldest);
  }
  return expired;
}

int64_t WorkerPool::NextExpiryMs(int64_t now_ms) const {
  if (static_cast<int>(idle_.size()) <= keep_idle_) return -1;
  const int64_t left = workers_.at(idle_.front()).idle_since_ms + kIdleLimitMs - now_ms;
  const int64_t ahead = last_actor_ms_ + kActorHintMs - now_ms;
  return std::max<int64_t>({left, ahead, 1});
}

const WorkerPool::Worker* WorkerPool::Find(const WorkerId& worker) const {
  const auto it = workers_.find(worker);
  return it == workers_.end() ? nullptr : &it->second;
}

bool WorkerPool::HasIdleUnbound() const {
  return std::any_of(idle_.begin(), idle_.end(),
                     [this](const WorkerId& id) { return workers_.at(id).job.is_nil(); });
}

void WorkerPool::CheckInvariants() const {
  size_t idle = 0;
  int starting = 0;
  std::map<JobId, int> starting_for;
  for (const auto& [id, worker] : workers_) {
    idle += worker.state == WorkerState::kIdle ? 1 : 0;
    if (worker.state == WorkerState::kStarting) {
      ++(worker.job.is_nil() ? starting : starting_for[worker.job]);
    }
  }
  CYRAY_CHECK(idle == idle_.size()) << idle << " of " << idle_.size();
  CYRAY_CHECK(starting == starting_) << starting << " of " << starting_;
  CYRAY_CHECK(starting_for == starting_for_) << starting_for_.size() << " jobs";
  for (const WorkerId& id : idle_) {
    CYRAY_CHECK(workers_.at(id).state == WorkerState::kIdle) << id.Hex();
  }
}

}  // namespace cyray::raylet
