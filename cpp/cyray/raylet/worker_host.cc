#include "cyray/raylet/worker_host.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "cyray/util/clock.h"
#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace cyray::raylet {
namespace {

constexpr uint64_t kTotalLogBytes = 512u << 20;
constexpr int64_t kReasonWaitMs = 25;        // for the other half of a death
constexpr int64_t kStartReasonWaitMs = 500;  // of one that nobody has used yet
constexpr int64_t kRegisterLimitMs = 30'000;
constexpr int64_t kIdleExitLimitMs = 5'000;
constexpr int64_t kLeaveLimitMs = 5'000;     // for the last steps of one that means to leave
constexpr int64_t kExitingLimitMs = 30'000;  // after it said that it leaves
// After so many failures in a row whoever waits is told; between them the pause doubles.
constexpr int kMaxStartFailures = 5;
constexpr int kMaxOwnFailures = 2;  // of a job's own Python: it fails each time, or never
constexpr int64_t kFirstPauseMs = 10;
constexpr int64_t kMaxPauseMs = 2'000;

int PrestartOf(const NodeOptions& options) {
  return options.prestart >= 0 ? options.prestart : options.cpus();
}

bool MakePipe(UniqueFd* read_end, UniqueFd* write_end) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return false;
  *read_end = UniqueFd(fds[0]);
  *write_end = UniqueFd(fds[1]);
  ::fcntl(fds[0], F_SETFL, O_NONBLOCK);
  return true;
}

}  // namespace

WorkerHost::WorkerHost(Parts parts, Callbacks callbacks)
    : parts_(parts),
      callbacks_(std::move(callbacks)),
      pool_(PrestartOf(*parts.options), std::max(parts.options->cpus(), 1)),
      logs_(parts.loop, parts.options->session_dir + "/logs", kTotalLogBytes,
            [this](const WorkerLogs::Lines& lines) {
              const WorkerPool::Worker* worker = pool_.Find(lines.worker);
              if (worker != nullptr && !worker->job.is_nil())
                callbacks_.on_lines(worker->job, lines);
            }),
      zygote_(parts.loop, parts.options, parts.supervisor,
              {[this](const WorkerId& worker, int pid, UniqueFd pidfd) {
                 OnForked(worker, pid, std::move(pidfd));
               },
               [this](ZygoteLink::ForkRequest request, const std::string& error) {
                 OnForkFailed(std::move(request), error);
               },
               [this](const WorkerId& worker, bool again) { OnForkLost(worker, again); },
               [this](int pid, int status) { OnExited(pid, status); },
               [this](const std::string& why) { callbacks_.on_cannot_start(why); }}),
      leaving_(parts.loop) {}

WorkerHost::~WorkerHost() = default;

void WorkerHost::Start() {
  zygote_.Start();
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
  const int64_t now = MonotonicMs();
  if (now >= start_again_ms_) {
    for (int i = pool_.WorkersToStart(wanted, now); i > 0 && StartWorker(); --i) {
    }
  }
  if (now < start_again_ms_ && !wanted.empty()) StartAgainLater(wanted);
}

void WorkerHost::StartAgainLater(const std::map<WorkerUse, int>& wanted) {
  wanted_ = wanted;
  if (std::exchange(start_again_armed_, true)) return;
  parts_.loop->RunAfter(start_again_ms_ - MonotonicMs(), [this] {
    start_again_armed_ = false;
    Ensure(std::exchange(wanted_, {}));
  });
}

bool WorkerHost::StartWorker(const JobId& job) {
  if (ending_) return false;
  int sockets[2];
  ZygoteLink::ForkRequest request;
  UniqueFd out, err;
  if (!MakePipe(&out, &request.out) || !MakePipe(&err, &request.err) ||
      ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sockets) != 0) {
    NoteStartFailure(Status::FromErrno("its pipes and socket").message(), "");
    return false;
  }
  request.worker = WorkerId::Random();
  request.socket = UniqueFd(sockets[1]);
  const WorkerId worker = request.worker;
  processes_[worker];
  pool_.Started(worker, job);
  logs_.Open(worker, std::move(out), std::move(err));
  parts_.clients->Add(UniqueFd(sockets[0]), worker);
  if (job.is_nil()) {
    zygote_.Fork(std::move(request));
  } else {
    StartFresh(request, OwnPython(job));
  }
  parts_.loop->RunAfter(kRegisterLimitMs, [this, worker] {
    const auto it = processes_.find(worker);
    if (it == processes_.end() || it->second.registered) return;
    Kill(worker, "it did not register in time", false);
  });
  return true;
}

void WorkerHost::OnForked(const WorkerId& worker, int pid, UniqueFd pidfd) {
  const auto it = processes_.find(worker);
  if (it == processes_.end()) return;
  it->second.pid = pid;
  it->second.pidfd = std::move(pidfd);
  by_pid_[pid] = worker;
  logs_.SetPid(worker, pid);
  if (it->second.kill_wanted) SendKill(it->second);
}

void WorkerHost::OnForkFailed(ZygoteLink::ForkRequest request, const std::string& error) {
  CYRAY_LOG(kWarning) << "the zygote cannot fork a worker, starting it afresh: " << error;
  StartFresh(request, nullptr);
}

void WorkerHost::StartFresh(const ZygoteLink::ForkRequest& request, const JobPython* own) {
  const WorkerId worker = request.worker;
  SpawnRequest spawn;
  spawn.argv = {own != nullptr ? own->executable : parts_.options->python, "-m", "cyray._worker",
                std::to_string(request.socket.get()), worker.Hex()};
  spawn.env = {{"CYRAY_RAYLET_SOCKET", parts_.options->socket_path},
               {"CYRAY_SESSION_DIR", parts_.options->session_dir},
               {"CYRAY_NODE_ID", parts_.options->node_id.Hex()},
               {"CYRAY_PRELOAD", own != nullptr ? "" : parts_.options->preload},
               {"PYTHONUNBUFFERED", "1"}};
  if (own != nullptr) spawn.env.emplace_back("PYTHONPATH", own->path);
  spawn.directory = parts_.options->session_dir;
  spawn.stdout_fd = request.out.get();
  spawn.stderr_fd = request.err.get();
  spawn.inherited = {request.socket.get()};
  spawn.own_session = true;
  const auto known = std::make_shared<int>(0);  // the pid, for its own exit callback
  Result<pid_t> pid =
      parts_.supervisor->Spawn(spawn, [this, known](int status) { OnExited(*known, status); });
  if (!pid) {
    NeverStarted(worker, pid.error().message(), /*blameless=*/false);
    return;
  }
  *known = *pid;
  // Nobody reaps this process's children before the loop goes on: that number is the worker's.
  OnForked(worker, *pid, UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, *pid, 0))));
}

// That is the zygote's failure, which counts its own: the worker did nothing wrong.
void WorkerHost::OnForkLost(const WorkerId& worker, bool again) {
  NeverStarted(worker, "the zygote died while it was being started", /*blameless=*/true);
  if (again) StartWorker();
}

void WorkerHost::OnRegistered(ClientConnection& client) {
  const auto it = processes_.find(client.worker());
  if (it == processes_.end()) return;
  it->second.registered = true;
  if (it->second.pid == 0 && client.pid > 0) logs_.SetPid(client.worker(), client.pid);
  pool_.Registered(client.worker(), MonotonicMs());
  const WorkerPool::Worker* pooled = pool_.Find(client.worker());
  if (pooled != nullptr && !pooled->job.is_nil()) {
    own_failures_.erase(pooled->job);
    SendAssignJob(client.worker(), pooled->job);
  } else {
    start_failures_ = 0;
    start_again_ms_ = 0;
  }
  ArmExpiry();
  callbacks_.on_idle();
}

std::optional<WorkerId> WorkerHost::Take(const WorkerUse& use, bool for_actor) {
  if (parts_.jobs->Find(use.job) == nullptr) return std::nullopt;  // its JobChanged is yet to come
  const auto taken = pool_.Take(use, for_actor, MonotonicMs(), OwnPython(use.job) != nullptr);
  if (!taken) return std::nullopt;
  if (taken->newly_bound) SendAssignJob(taken->worker, use.job);
  return taken->worker;
}

void WorkerHost::SendAssignJob(const WorkerId& worker, const JobId& job) {
  ClientConnection* client = parts_.clients->Find(worker);
  const Job* known = parts_.jobs->Find(job);
  if (client == nullptr || known == nullptr) return;
  client->job = job;
  client->name_space = known->name_space;
  flatbuffers::FlatBufferBuilder builder;
  const auto name_space = builder.CreateString(known->name_space);
  const auto config = builder.CreateVector(known->config);
  builder.Finish(wire::CreateAssignJob(builder, wire::ToWire(job), name_space, config));
  parts_.clients->Send(*client, wire::FrameType::kAssignJob, builder);
}

void WorkerHost::PutBack(const WorkerId& worker) {
  if (!pool_.PutBack(worker, MonotonicMs())) return;
  ArmExpiry();
  callbacks_.on_idle();
}

void WorkerHost::ArmExpiry() {
  if (expiry_armed_ || ending_) return;
  const int64_t wait = pool_.NextExpiryMs(MonotonicMs());
  if (wait < 0) return;
  expiry_armed_ = true;
  parts_.loop->RunAfter(wait, [this] {
    expiry_armed_ = false;
    for (const WorkerId& worker : pool_.TakeExpired(MonotonicMs())) {
      AskToExit(worker, "it was idle", kIdleExitLimitMs, /*if_unused=*/true);
    }
    ArmExpiry();
  });
}

// --- Ends -------------------------------------------------------------------------------------

void WorkerHost::OnExiting(const WorkerId& worker, bool intended, const std::string& reason) {
  const auto it = processes_.find(worker);
  if (it == processes_.end()) return;
  pool_.MarkExiting(worker);
  it->second.intended = intended;
  it->second.told_reason = reason;
  parts_.loop->RunAfter(kExitingLimitMs, [this, worker] {
    if (processes_.contains(worker)) Kill(worker, "it did not leave as it said", true);
  });
}

void WorkerHost::Kill(const WorkerId& worker, const std::string& reason, bool intended) {
  const auto it = processes_.find(worker);
  if (it == processes_.end()) return;
  pool_.MarkExiting(worker);
  if (it->second.told_reason.empty()) {
    it->second.told_reason = reason;
    it->second.intended = intended;
  }
  SendKill(it->second);
}

bool WorkerHost::SendKill(Process& process) {
  process.kill_wanted = true;
  if (process.pid == 0) return true;  // not forked yet: OnForked does it
  if (process.exited) return false;
  const long sent = ::syscall(SYS_pidfd_send_signal, process.pidfd.get(), SIGKILL, nullptr, 0);
  return sent == 0 || errno != ESRCH;
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
  if (ClientConnection* client = parts_.clients->Find(worker)) {
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(wire::CreateExitWorker(builder, true, builder.CreateString(reason), if_unused));
    parts_.clients->Send(*client, wire::FrameType::kExitWorker, builder);
  }
  leaving_.Start(worker, kill_after_ms, [this, worker, reason] { Kill(worker, reason, true); });
}

void WorkerHost::OnStays(const WorkerId& worker) {
  const auto it = processes_.find(worker);
  if (it == processes_.end() || !it->second.may_stay || it->second.kill_wanted) return;
  leaving_.Stop(worker);
  it->second.may_stay = false;
  it->second.told_reason.clear();
  it->second.intended = false;
  pool_.Stay(worker, MonotonicMs());
  ArmExpiry();
  callbacks_.on_idle();
}

void WorkerHost::EndIdleOf(const JobId& job) {
  for (const WorkerId& worker : pool_.WorkersOfJob(job, /*actors_too=*/false)) {
    const WorkerState state = pool_.Find(worker)->state;
    if (state == WorkerState::kIdle || state == WorkerState::kStarting) {
      Kill(worker, "its job has ended", true);
    }
  }
  own_failures_.erase(job);
}

void WorkerHost::DrainOutput(const JobId& job) {
  for (const WorkerId& worker : pool_.WorkersOfJob(job, /*actors_too=*/true)) logs_.Drain(worker);
}

void WorkerHost::KillAll() {
  ending_ = true;
  zygote_.Stop();
  for (auto& [worker, process] : processes_) SendKill(process);
}

void WorkerHost::AwaitGone(int64_t limit_ms) {
  const int64_t deadline = MonotonicMs() + limit_ms;
  for (const auto& [worker, process] : processes_) {
    if (!process.pidfd.valid() || process.exited) continue;
    pollfd wait{process.pidfd.get(), POLLIN, 0};
    const int64_t left = std::max<int64_t>(deadline - MonotonicMs(), 0);
    ::poll(&wait, 1, static_cast<int>(left));
  }
  logs_.CloseAll();
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

void WorkerHost::OnExited(int pid, int wait_status) {
  const auto it = by_pid_.find(pid);
  if (it == by_pid_.end()) return;
  const WorkerId worker = it->second;
  by_pid_.erase(it);
  const auto process = processes_.find(worker);
  if (process == processes_.end()) return;
  process->second.exited = true;
  process->second.exit_text = DescribeExit(wait_status);
  pool_.MarkExiting(worker);  // nobody gets it while the rest is awaited
  if (process->second.declared) {
    processes_.erase(process);
  } else {
    AwaitRest(worker);
  }
}

void WorkerHost::AwaitRest(const WorkerId& worker) {
  const Process& process = processes_.at(worker);
  if (process.exited && process.connection_closed) {
    Declare(worker);
    return;
  }
  const int64_t wait = process.registered ? kReasonWaitMs : kStartReasonWaitMs;
  parts_.loop->RunAfter(wait, [this, worker] {
    const auto it = processes_.find(worker);
    if (it != processes_.end() && !it->second.declared) Declare(worker);
  });
}

void WorkerHost::Declare(const WorkerId& worker) {
  Process& process = processes_.at(worker);
  process.declared = true;
  leaving_.Stop(worker);
  const WorkerPool::Worker* pooled = pool_.Find(worker);
  std::string reason = process.told_reason;
  if (reason.empty()) {
    reason = process.exit_text.empty() ? "its connection closed" : process.exit_text;
  }
  const DeadWorker dead{worker, pooled != nullptr ? pooled->job : JobId::Nil(), process.pid, reason,
                        process.intended};
  logs_.Drain(worker);  // what it said last is the reason that helps
  if (!process.registered && !process.blameless && !ending_) {
    if (dead.job.is_nil()) {
      NoteStartFailure(reason, logs_.ErrPath(worker));
    } else if (!process.intended) {
      NoteOwnFailure(dead.job, reason, logs_.ErrPath(worker));
    }
  }
  if (!process.exited) {  // it may be in its last steps, when it means to leave
    const int64_t grace = process.intended ? kLeaveLimitMs : 0;
    parts_.loop->RunAfter(grace, [this, worker] {
      const auto it = processes_.find(worker);
      if (it == processes_.end() || SendKill(it->second)) return;
      by_pid_.erase(it->second.pid);  // who was to tell of its exit died before
      processes_.erase(it);
    });
  }
  if (ClientConnection* client = parts_.clients->Find(worker)) {
    parts_.clients->Close(*client, reason);
  }
  logs_.Close(worker);
  pool_.Remove(worker);
  if (process.exited) processes_.erase(worker);
  callbacks_.on_died(dead);
}

void WorkerHost::NeverStarted(const WorkerId& worker, const std::string& reason, bool blameless) {
  const auto it = processes_.find(worker);
  if (it == processes_.end()) return;
  it->second.blameless = blameless;
  it->second.told_reason = reason;
  it->second.exited = true;
  Declare(worker);
}

void WorkerHost::NoteOwnFailure(const JobId& job, const std::string& reason,
                                const std::string& log_path) {
  const JobPython* own = OwnPython(job);
  if (own == nullptr || ++own_failures_[job] % kMaxOwnFailures != 0) return;
  callbacks_.on_job_cannot_start(
      job, "Workers cannot be started with the driver's Python, " + own->executable + ": " +
               std::to_string(kMaxOwnFailures) + " in a row died before they registered, the " +
               "last one: " + reason + ". The end of the log:\n" + TailOf(log_path, 4000));
}

void WorkerHost::NoteStartFailure(const std::string& reason, const std::string& log_path) {
  CYRAY_LOG(kWarning) << "a worker could not be started: " << reason;
  const int64_t pause = kFirstPauseMs << std::min(start_failures_, 10);
  start_again_ms_ = MonotonicMs() + std::min(pause, kMaxPauseMs);
  if (++start_failures_ % kMaxStartFailures != 0) return;
  const std::string zygote_log = parts_.options->session_dir + "/logs/zygote.out";
  std::string tail = log_path.empty() ? "" : TailOf(log_path, 4000);
  if (tail.empty()) tail = TailOf(zygote_log, 4000);
  callbacks_.on_cannot_start("Workers cannot be started: " + std::to_string(kMaxStartFailures) +
                             " in a row died before they registered, the last one: " + reason +
                             (tail.empty() ? ". The end of " + zygote_log + " is empty."
                                           : ". The end of the log:\n" + tail));
}

}  // namespace cyray::raylet
