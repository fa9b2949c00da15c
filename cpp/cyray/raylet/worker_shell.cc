#include "cyray/raylet/worker_shell.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "cyray/raylet/epitaph.h"
#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace cyray::raylet {
namespace {

constexpr uint64_t kTotalLogBytes = 512u << 20;
constexpr size_t kLastWordsBytes = 4000;
constexpr size_t kEpitaphBytes = 16'000;  // a stack of many threads

bool MakePipe(UniqueFd* read_end, UniqueFd* write_end) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return false;
  *read_end = UniqueFd(fds[0]);
  *write_end = UniqueFd(fds[1]);
  ::fcntl(fds[0], F_SETFL, O_NONBLOCK);
  return true;
}

}  // namespace

WorkerShell::WorkerShell(Parts parts)
    : parts_(parts),
      logs_(parts.loop, parts.options->session_dir + "/logs", kTotalLogBytes,
            [this](const WorkerLines& lines) { events_->OnLines(lines); }),
      zygote_(
          parts.loop, parts.options, parts.supervisor,
          {[this](const WorkerId& worker, int pid, UniqueFd pidfd) {
             OnForked(worker, pid, std::move(pidfd));
           },
           [this](const WorkerId& worker) {
             events_->OnNeverStarted(worker, "no descriptor was free for its process",
                                     /*blameless=*/false, /*again=*/false);
           },
           [this](ZygoteLink::ForkRequest request, const std::string& error) {
             CYRAY_LOG(kWarning) << "the zygote cannot fork a worker, starting it afresh: "
                                 << error;
             StartFresh(request, nullptr);
           },
           // That is the zygote's failure, which counts its own: the worker did nothing wrong.
           [this](const WorkerId& worker, bool again) {
             events_->OnNeverStarted(worker, "the zygote died while it was being started",
                                     /*blameless=*/true, again);
           },
           [this](int pid, int status, int64_t most_bytes) { OnExited(pid, status, most_bytes); },
           [this](const std::string& why) { events_->OnHopeless(why); }}) {}

WorkerShell::~WorkerShell() = default;

// --- Starts -----------------------------------------------------------------------------------

Status WorkerShell::Start(const WorkerId& worker, const JobPython* own) {
  int sockets[2];
  ZygoteLink::ForkRequest request;
  UniqueFd out, err;
  if (!MakePipe(&out, &request.out) || !MakePipe(&err, &request.err) ||
      ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sockets) != 0) {
    return Status::FromErrno("its pipes and socket");
  }
  request.worker = worker;
  request.socket = UniqueFd(sockets[1]);
  processes_[worker];
  logs_.Open(worker, std::move(out), std::move(err));
  parts_.clients->Add(UniqueFd(sockets[0]), worker);
  if (own == nullptr) {
    zygote_.Fork(std::move(request));
  } else {
    StartFresh(request, own);
  }
  return Status::Ok();
}

void WorkerShell::StartFresh(const ZygoteLink::ForkRequest& request, const JobPython* own) {
  const WorkerId worker = request.worker;
  SpawnRequest spawn;
  spawn.argv = {own != nullptr ? own->executable : parts_.options->python,
                "-m",
                "cyray._worker",
                std::to_string(request.socket.get()),
                worker.Hex(),
                std::string(kTitleBytes, '.')};
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
    events_->OnNeverStarted(worker, pid.error().message(), /*blameless=*/false, /*again=*/false);
    return;
  }
  *known = *pid;
  // Nobody reaps this process's children before the loop goes on: that number is the worker's.
  OnForked(worker, *pid, UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, *pid, 0))));
}

void WorkerShell::OnForked(const WorkerId& worker, int pid, UniqueFd pidfd) {
  const auto it = processes_.find(worker);
  if (it == processes_.end()) return;
  it->second.pid = pid;
  it->second.pidfd = std::move(pidfd);
  by_pid_[pid] = worker;
  logs_.SetPid(worker, pid);
  if (it->second.kill_wanted) Kill(worker);
  events_->OnForked(worker, pid);
}

// --- What they are told -----------------------------------------------------------------------

void WorkerShell::TellJob(const WorkerId& worker, const Job& job) {
  ClientConnection* client = parts_.clients->Find(worker);
  if (client == nullptr) return;
  client->job = job.id;
  client->name_space = job.name_space;
  flatbuffers::FlatBufferBuilder builder;
  const auto name_space = builder.CreateString(job.name_space);
  const auto config = builder.CreateVector(job.config);
  const Address driver = job.ended ? Address{} : job.driver;
  builder.Finish(wire::CreateAssignJob(builder, wire::ToWire(job.id), name_space, config,
                                       wire::ToWire(driver)));
  parts_.clients->Send(*client, wire::FrameType::kAssignJob, builder);
}

void WorkerShell::AskToExit(const WorkerId& worker, const std::string& reason, bool if_unused) {
  ClientConnection* client = parts_.clients->Find(worker);
  if (client == nullptr) return;
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(wire::CreateExitWorker(builder, true, builder.CreateString(reason), if_unused));
  parts_.clients->Send(*client, wire::FrameType::kExitWorker, builder);
}

// --- Ends -------------------------------------------------------------------------------------

bool WorkerShell::Kill(const WorkerId& worker) {
  const auto it = processes_.find(worker);
  if (it == processes_.end() || it->second.exited) return false;
  it->second.kill_wanted = true;
  if (it->second.pid == 0) return true;  // not forked yet: OnForked does it
  const UniqueFd& pidfd = it->second.pidfd;
  if (!pidfd.valid()) return ::kill(it->second.pid, SIGKILL) == 0;
  return ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0) == 0 || errno != ESRCH;
}

void WorkerShell::OnExited(int pid, int wait_status, int64_t most_bytes) {
  const auto it = by_pid_.find(pid);
  if (it == by_pid_.end()) return;
  const WorkerId worker = it->second;
  by_pid_.erase(it);
  if (const auto process = processes_.find(worker); process != processes_.end()) {
    process->second.exited = true;
    process->second.killed = WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL;
  }
  events_->OnExited(worker, DescribeExit(wait_status, most_bytes));
}

void WorkerShell::ReadOut(const WorkerId& worker) {
  if (ClientConnection* client = parts_.clients->Find(worker)) parts_.clients->ReadOut(*client);
  Drain(worker);
}

void WorkerShell::Part(const WorkerId& worker, const std::string& reason) {
  if (ClientConnection* client = parts_.clients->Find(worker)) {
    parts_.clients->Close(*client, reason);
  }
  logs_.Close(worker);
}

void WorkerShell::Forget(const WorkerId& worker) {
  const auto it = processes_.find(worker);
  if (it == processes_.end()) return;
  const auto named = by_pid_.find(it->second.pid);
  if (named != by_pid_.end() && named->second == worker) by_pid_.erase(named);
  processes_.erase(it);
}

std::string WorkerShell::EpitaphOf(const WorkerId& worker) const {
  const auto process = processes_.find(worker);
  if (process == processes_.end()) return {};
  const auto end_of = [](const std::string& path) {
    return LogEnd{path, path.empty() ? std::string() : TailOf(path, kEpitaphBytes)};
  };
  const bool by_others = process->second.killed && !process->second.kill_wanted;
  return Epitaph({parts_.options->node_ip, process->second.pid, by_others,
                  end_of(logs_.ErrPath(worker)), end_of(logs_.OutPath(worker))});
}

std::string WorkerShell::LastWords(const WorkerId& worker, bool or_zygote) const {
  const std::string path = logs_.ErrPath(worker);
  const std::string zygote_log = parts_.options->session_dir + "/logs/zygote.out";
  std::string tail = path.empty() ? "" : TailOf(path, kLastWordsBytes);
  if (tail.empty() && or_zygote) tail = TailOf(zygote_log, kLastWordsBytes);
  return tail.empty() && or_zygote ? "The end of " + zygote_log + " is empty."
                                   : "The end of the log:\n" + tail;
}

void WorkerShell::AwaitGone(int64_t limit_ms) {
  const int64_t deadline = parts_.loop->NowMs() + limit_ms;
  for (const auto& [worker, process] : processes_) {
    if (!process.pidfd.valid() || process.exited) continue;
    pollfd wait{process.pidfd.get(), POLLIN, 0};
    const int64_t left = std::max<int64_t>(deadline - parts_.loop->NowMs(), 0);
    ::poll(&wait, 1, static_cast<int>(left));
  }
  logs_.CloseAll();
}

}  // namespace cyray::raylet
