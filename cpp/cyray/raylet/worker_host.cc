#include "cyray/raylet/worker_host.h"

#include <algorithm>
#include <utility>

#include "cyray/util/log.h"
#include "cyray/util/sentence.h"

namespace cyray::raylet {
namespace {

constexpr int64_t kReasonWaitMs = 300;       // for the other half of a death
constexpr int64_t kStartReasonWaitMs = 500;  // of one that nobody has used yet
constexpr int64_t kRegisterLimitMs = 30'000;
constexpr int64_t kIdleExitLimitMs = 5'000;
constexpr int64_t kLeaveLimitMs = 5'000;     // for the last steps of one that means to leave
constexpr int64_t kExitingLimitMs = 30'000;  // after it said that it leaves
constexpr int64_t kKillAgainMs = 5'000;      // whoever was to tell of its exit may have died
// After so many failures in a row whoever waits is told.
constexpr int kMaxStartFailures = 5;
constexpr int kMaxOwnFailures = 2;  // of a job's own Python: it fails each time, or never

int PrestartOf(const NodeOptions& options) {
  return options.prestart >= 0 ? options.prestart : options.cpus();
}

}  // namespace

WorkerHost::WorkerHost(Parts parts, Callbacks callbacks)
    : parts_(parts),
      callbacks_(std::move(callbacks)),
      pool_(PrestartOf(*parts.options), std::max(parts.options->cpus(), 1)),
      start_again_(parts.runtime),
      expiry_(parts.runtime),
      registers_(parts.runtime),
      leaving_(parts.runtime),
      exits_(parts.runtime),
      rest_(parts.runtime),
      last_(parts.runtime) {
  parts_.processes->set_events(this);
}

WorkerHost::~WorkerHost() = default;

void WorkerHost::Start() {
  parts_.processes->Open();
  EnsurePrestarted();
}

void WorkerHost::EnsurePrestarted() {
  for (int i = pool_.WorkersToPrestart(); i > 0; --i) StartWorker();
}

const JobPython* WorkerHost::OwnPython(const JobId& job) const {
  const Job* known = parts_.jobs->Find(job);
  return known != nullptr && known->python ? &*known->python : nullptr;
}

void WorkerHost::Ensure(const std::map<WorkerUse, int>& wanted) {
  std::map<WorkerUse, int> forked;
  for (const auto& [use, count] : wanted) {
    if (OwnPython(use.job) == nullptr) {
      forked[use] = count;
      continue;
    }
    for (int i = pool_.WorkersToStartFor(use, count); i > 0 && StartWorker(use.job); --i) {
    }
  }
  EnsureForked(forked);
}

void WorkerHost::EnsureForked(const std::map<WorkerUse, int>& wanted) {
  const int64_t now = parts_.runtime->NowMs();
  if (now >= start_again_ms_) {
    for (int i = pool_.WorkersToStart(wanted, now); i > 0 && StartWorker(); --i) {
    }
  }
  if (now < start_again_ms_ && !wanted.empty()) StartAgainLater(wanted);
}

void WorkerHost::StartAgainLater(const std::map<WorkerUse, int>& wanted) {
  wanted_ = wanted;
  start_again_.StartOnce(start_again_ms_ - parts_.runtime->NowMs(),
                         [this] { Ensure(std::exchange(wanted_, {})); });
}

bool WorkerHost::StartWorker(const JobId& job) {
  if (ending_) return false;
  const WorkerId worker = WorkerId::Random();
  processes_[worker];
  pool_.Started(worker, job);
  registers_.Allow(worker, kRegisterLimitMs,
                   [this, worker] { Kill(worker, "it did not register in time", false); });
  const Status status = parts_.processes->Start(worker, job.is_nil() ? nullptr : OwnPython(job));
  if (status.ok()) {
    ++tally_.started;
    return true;
  }
  registers_.Stop(worker);
  pool_.Remove(worker);
  processes_.erase(worker);
  NoteStartFailure(status.message(), worker);
  return false;
}

void WorkerHost::OnForked(const WorkerId& worker, int pid) {
  if (const auto it = processes_.find(worker); it != processes_.end()) it->second.pid = pid;
}

void WorkerHost::OnNeverStarted(const WorkerId& worker, const std::string& reason, bool blameless,
                                bool again) {
  const auto it = processes_.find(worker);
  if (it != processes_.end()) {
    it->second.exited = true;
    if (it->second.declared) {  // it came up and ended while it was not known to be forked
      Forget(worker);
    } else {
      it->second.blameless = blameless;
      it->second.told_reason = reason;
      Declare(worker);
    }
  }
  if (again) StartWorker();
}

void WorkerHost::OnLines(const WorkerLines& lines) {
  const WorkerPool::Worker* worker = pool_.Find(lines.worker);
  if (worker != nullptr && !worker->job.is_nil()) callbacks_.on_lines(worker->job, lines);
}

void WorkerHost::OnRegistered(const WorkerId& worker, int pid) {
  const auto it = processes_.find(worker);
  if (it == processes_.end()) return;
  it->second.registered = true;
  if (it->second.pid == 0 && pid > 0) parts_.processes->NamePid(worker, pid);
  registers_.Stop(worker);
  pool_.Registered(worker, parts_.runtime->NowMs());
  const WorkerPool::Worker* pooled = pool_.Find(worker);
  if (pooled != nullptr && !pooled->job.is_nil()) {
    own_failures_.erase(pooled->job);
    TellJob(worker, pooled->job);
  } else {
    start_backoff_.Reset();
    start_again_ms_ = 0;
  }
  ArmExpiry();
  callbacks_.on_idle();
}

std::optional<WorkerId> WorkerHost::Take(const WorkerUse& use, bool for_actor) {
  if (parts_.jobs->Find(use.job) == nullptr) return std::nullopt;  // its JobChanged is yet to come
  const auto taken =
      pool_.Take(use, for_actor, parts_.runtime->NowMs(), OwnPython(use.job) != nullptr);
  if (!taken) return std::nullopt;
  if (taken->newly_bound) TellJob(taken->worker, use.job);
  return taken->worker;
}

void WorkerHost::TellJob(const WorkerId& worker, const JobId& job) {
  if (const Job* known = parts_.jobs->Find(job)) parts_.processes->TellJob(worker, *known);
}

void WorkerHost::PutBack(const WorkerId& worker) {
  if (!pool_.PutBack(worker, parts_.runtime->NowMs())) return;
  ArmExpiry();
  callbacks_.on_idle();
}

void WorkerHost::ArmExpiry() {
  if (expiry_.running() || ending_) return;
  const int64_t wait = pool_.NextExpiryMs(parts_.runtime->NowMs());
  if (wait < 0) return;
  expiry_.Start(wait, [this] {
    for (const WorkerId& worker : pool_.TakeExpired(parts_.runtime->NowMs())) {
      AskToExit(worker, "it was idle", kIdleExitLimitMs, /*if_unused=*/true);
    }
    ArmExpiry();
  });
}

// --- Ends -------------------------------------------------------------------------------------

void WorkerHost::OnExiting(const WorkerId& worker, bool intended, const std::string& reason) {
  const auto it = processes_.find(worker);
  if (it == processes_.end() || it->second.declared) return;
  pool_.MarkExiting(worker);
  it->second.intended = intended;
  it->second.told_reason = reason;
  exits_.Allow(worker, kExitingLimitMs,
               [this, worker] { Kill(worker, "it did not leave as it said", true); });
}

void WorkerHost::OnRetires(const WorkerId& worker, const std::string& reason) {
  const auto it = processes_.find(worker);
  if (it == processes_.end() || it->second.declared) return;
  pool_.MarkExiting(worker);
  it->second.retires = true;
  it->second.intended = true;
  it->second.told_reason = reason;
  exits_.Stop(worker);  // whoever had it leased was quicker
}

bool WorkerHost::Retires(const WorkerId& worker) const {
  const auto it = processes_.find(worker);
  return it != processes_.end() && it->second.retires;
}

void WorkerHost::Kill(const WorkerId& worker, const std::string& reason, bool intended) {
  const auto it = processes_.find(worker);
  if (it == processes_.end()) return;
  pool_.MarkExiting(worker);
  if (it->second.told_reason.empty()) {
    it->second.told_reason = reason;
    it->second.intended = intended;
  }
  // Gone, and nobody has told of it yet.
  if (!SendKill(worker, it->second) && !it->second.declared) AwaitRest(worker);
}

bool WorkerHost::SendKill(const WorkerId& worker, Process& process) {
  process.kill_wanted = true;
  return !process.exited && parts_.processes->Kill(worker);
}

void WorkerHost::AskToExit(const WorkerId& worker, const std::string& reason, int64_t kill_after_ms,
                           bool if_unused) {
  const auto it = processes_.find(worker);
  if (it == processes_.end()) return;
  pool_.MarkExiting(worker);
  it->second.may_stay = if_unused;
  if (it->second.told_reason.empty()) {
    it->second.told_reason = reason;
    it->second.intended = true;
  }
  parts_.processes->AskToExit(worker, reason, if_unused);
  leaving_.Allow(worker, kill_after_ms, [this, worker, reason] { Kill(worker, reason, true); });
}

void WorkerHost::OnStays(const WorkerId& worker) {
  const auto it = processes_.find(worker);
  if (it == processes_.end() || it->second.kill_wanted) return;
  const int64_t now = parts_.runtime->NowMs();
  if (it->second.may_stay) {
    leaving_.Stop(worker);
    it->second.may_stay = false;
    it->second.told_reason.clear();
    it->second.intended = false;
    pool_.Stay(worker, now);
  } else {
    pool_.Decline(worker, now);
  }
  ArmExpiry();
  callbacks_.on_idle();
}

bool WorkerHost::HasServed(const WorkerId& worker) const {
  const WorkerPool::Worker* const pooled = pool_.Find(worker);
  return pooled != nullptr && pooled->served;
}

void WorkerHost::EndIdleOf(const JobId& job) {
  for (const WorkerId& worker : pool_.WorkersOfJob(job, /*actors_too=*/false)) {
    const WorkerState state = pool_.Find(worker)->state;
    if (state == WorkerState::kIdle || state == WorkerState::kStarting || Retires(worker)) {
      Kill(worker, "its job has ended", true);
    }
  }
  own_failures_.erase(job);
}

void WorkerHost::DrainOutput(const JobId& job) {
  for (const WorkerId& worker : pool_.WorkersOfJob(job, /*actors_too=*/true)) {
    parts_.processes->Drain(worker);
  }
}

void WorkerHost::KillAll() {
  ending_ = true;
  parts_.processes->Close();
  for (auto& [worker, process] : processes_) SendKill(worker, process);
}

bool WorkerHost::IsEnding(const WorkerId& worker) const {
  const auto it = processes_.find(worker);
  return it != processes_.end() && it->second.connection_closed && !it->second.declared;
}

std::vector<WorkerId> WorkerHost::Ending() const {
  std::vector<WorkerId> ending;
  for (const auto& [worker, process] : processes_) {
    if (IsEnding(worker)) ending.push_back(worker);
  }
  return ending;
}

int WorkerHost::PidOf(const WorkerId& worker) const {
  const auto it = processes_.find(worker);
  return it == processes_.end() ? 0 : it->second.pid;
}

void WorkerHost::OnConnectionClosed(const WorkerId& worker) {
  const auto it = processes_.find(worker);
  if (it == processes_.end() || it->second.declared) return;
  it->second.connection_closed = true;
  pool_.MarkExiting(worker);
  AwaitRest(worker);
}

void WorkerHost::OnExited(const WorkerId& worker, const std::string& how) {
  const auto process = processes_.find(worker);
  if (process == processes_.end()) return;
  process->second.exited = true;
  process->second.exit_text = how;
  pool_.MarkExiting(worker);  // nobody gets it while the rest is awaited
  if (process->second.declared) {
    Forget(worker);
  } else {
    AwaitRest(worker);
  }
}

void WorkerHost::Forget(const WorkerId& worker) {
  last_.Stop(worker);
  processes_.erase(worker);
  parts_.processes->Forget(worker);
}

void WorkerHost::AwaitRest(const WorkerId& worker) {
  const Process& process = processes_.at(worker);
  if (process.exited && process.connection_closed) {
    Declare(worker);
    return;
  }
  const int64_t wait = process.registered ? kReasonWaitMs : kStartReasonWaitMs;
  if (!rest_.running(worker)) rest_.Allow(worker, wait, [this, worker] { Declare(worker); });
}

void WorkerHost::Declare(const WorkerId& worker) {
  Process& process = processes_.at(worker);
  if (std::exchange(process.read_out, true)) return;  // and the connection's end was read now
  parts_.processes->ReadOut(worker);                  // what it said last is the reason that helps
  process.declared = true;
  ++(process.intended ? tally_.left : tally_.failed);
  for (Timers<WorkerId>* timers : {&leaving_, &exits_, &rest_, &registers_}) timers->Stop(worker);
  const WorkerPool::Worker* pooled = pool_.Find(worker);
  std::string reason = process.told_reason;
  if (reason.empty()) {
    reason = process.exit_text.empty() ? "its connection closed (its exit status is not known yet)"
                                       : process.exit_text;
  }
  if (!process.intended) reason += parts_.processes->EpitaphOf(worker);
  const DeadWorker dead{worker, pooled != nullptr ? pooled->job : JobId::Nil(), process.pid, reason,
                        process.intended};
  if (!process.registered && !process.blameless && !ending_) {
    if (dead.job.is_nil()) {
      NoteStartFailure(FirstLine(reason), worker);
    } else if (!process.intended) {
      NoteOwnFailure(dead.job, FirstLine(reason), worker);
    }
  }
  parts_.processes->Part(worker, FirstLine(reason));
  pool_.Remove(worker);
  if (process.exited) {
    Forget(worker);
  } else {  // it may be in its last steps, when it means to leave
    EndLater(worker, process.intended ? kLeaveLimitMs : 0);
  }
  callbacks_.on_died(dead);
}

void WorkerHost::EndLater(const WorkerId& worker, int64_t delay_ms) {
  last_.Start(worker, delay_ms, [this, worker] {
    if (SendKill(worker, processes_.at(worker))) {
      EndLater(worker, kKillAgainMs);
    } else {
      Forget(worker);
    }
  });
}

void WorkerHost::NoteOwnFailure(const JobId& job, const std::string& reason,
                                const WorkerId& worker) {
  const JobPython* own = OwnPython(job);
  if (own == nullptr || ++own_failures_[job] % kMaxOwnFailures != 0) return;
  callbacks_.on_job_cannot_start(job, "Workers cannot be started with the driver's Python, " +
                                          own->executable + ": " + std::to_string(kMaxOwnFailures) +
                                          " in a row died before they registered, the " +
                                          "last one: " + Sentence(reason) + " " +
                                          parts_.processes->LastWords(worker, /*or_zygote=*/false));
}

void WorkerHost::NoteStartFailure(const std::string& reason, const WorkerId& worker) {
  CYRAY_LOG(kWarning) << "a worker could not be started: " << reason;
  start_again_ms_ = parts_.runtime->NowMs() + start_backoff_.NextMs(parts_.runtime->Random());
  if (start_backoff_.attempts() % kMaxStartFailures != 0) return;
  callbacks_.on_cannot_start(
      "Workers cannot be started: " + std::to_string(kMaxStartFailures) +
      " in a row died before they registered, the last one: " + Sentence(reason) + " " +
      parts_.processes->LastWords(worker, /*or_zygote=*/true));
}

}  // namespace cyray::raylet
