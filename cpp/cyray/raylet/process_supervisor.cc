#include "cyray/raylet/process_supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "cyray/raylet/process_tree.h"
#include "cyray/util/log.h"

extern char** environ;

namespace cyray::raylet {
namespace {

constexpr int64_t kLookAgainMs = 50;
constexpr int kReserve = 4;  // to list processes and to name one

sigset_t HandledSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigaddset(&set, SIGTERM);
  return set;
}

std::vector<std::string> Environment(const SpawnRequest& request) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const std::string name = text.substr(0, text.find('='));
    const bool replaced = std::any_of(request.env.begin(), request.env.end(),
                                      [&](const auto& pair) { return pair.first == name; });
    if (!replaced) all.push_back(text);
  }
  for (const auto& [name, value] : request.env) all.push_back(name + "=" + value);
  return all;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Between fork and exec: only calls that are safe there.
[[noreturn]] void RunChild(const SpawnRequest& request, char** argv, char** env, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, request.death_signal);
  if (::getppid() != parent) ::_exit(127);
  if (request.own_session) ::setsid();
  if (request.adopts) ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // an exec keeps it, a fork does not
  if (request.stdout_fd >= 0) ::dup2(request.stdout_fd, 1);
  if (request.stderr_fd >= 0) ::dup2(request.stderr_fd, 2);
  for (const int fd : request.inherited) {
    ::fcntl(fd, F_SETFD, ::fcntl(fd, F_GETFD) & ~FD_CLOEXEC);
  }
  if (!request.directory.empty() && ::chdir(request.directory.c_str()) != 0) ::_exit(127);
  sigset_t blocked;
  sigemptyset(&blocked);
  if (request.holds_signal) sigaddset(&blocked, request.death_signal);
  ::sigprocmask(SIG_SETMASK, &blocked, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  ::execvpe(argv[0], argv, env);
  ::_exit(127);
}

}  // namespace

void ProcessSupervisor::BlockSignals() {
  const sigset_t set = HandledSignals();
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::signal(SIGINT, SIG_IGN);  // Ctrl-C in a terminal is for the driver to decide about
}

ProcessSupervisor::ProcessSupervisor(EventLoop* loop) : loop_(loop), look_again_(loop) {
  const sigset_t set = HandledSignals();
  signals_ = UniqueFd(::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  CYRAY_CHECK(signals_.valid()) << errno;
  for (int i = 0; i < kReserve; ++i) {
    reserve_.emplace_back(::fcntl(signals_.get(), F_DUPFD_CLOEXEC, 0));
  }
  loop_->Add(signals_.get(), EPOLLIN, [this](uint32_t) { OnSignal(); });
}

ProcessSupervisor::~ProcessSupervisor() { loop_->Remove(signals_.get()); }

Result<pid_t> ProcessSupervisor::Spawn(const SpawnRequest& request, ExitCallback on_exit) {
  std::vector<std::string> arguments = request.argv;
  std::vector<std::string> environment = Environment(request);
  std::vector<char*> argv = Pointers(arguments);
  std::vector<char*> env = Pointers(environment);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return Fail(Status::FromErrno("fork"));
  if (pid == 0) RunChild(request, argv.data(), env.data(), parent);
  children_[pid] = std::move(on_exit);
  return pid;
}

void ProcessSupervisor::OnSignal() {
  signalfd_siginfo info;
  bool terminate = false;
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGTERM) terminate = true;
  }
  Reap();
  if (terminate && on_terminate_) on_terminate_();
}

void ProcessSupervisor::Reap() {
  std::vector<std::pair<pid_t, int>> ended;
  int status = 0;
  for (pid_t pid; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) ended.emplace_back(pid, status);
  for (const auto& [pid, wait_status] : ended) dead_sessions_.Add(pid);
  EndOrphans();
  for (const auto& [pid, wait_status] : ended) {
    auto child = children_.extract(pid);
    if (child.empty()) {
      if (on_orphan_exit_) on_orphan_exit_(pid, wait_status);
    } else if (child.mapped()) {
      child.mapped()(wait_status);
    }
  }
}

void ProcessSupervisor::EndOrphans() {
  if (dead_sessions_.empty()) return;
  std::vector<DeadSessions::Orphan> orphans;
  for (const ProcessInfo& child : OwnChildren()) {
    if (child.zombie || children_.contains(child.pid)) continue;
    orphans.push_back({child, KindOf(child.pid)});
  }
  for (const ProcessInfo& process : dead_sessions_.Look(orphans)) KillProcess(process);
  if (!dead_sessions_.empty()) look_again_.Start(kLookAgainMs, [this] { EndOrphans(); });
}

void ProcessSupervisor::EndDescendants(const EndPlan& plan) {
  constexpr int64_t kLookEveryMs = 20;  // signals of several ends come as one
  reserve_.clear();
  const sigset_t set = HandledSignals();
  const int64_t begin = loop_->NowMs();
  int64_t trackers_since = -1;
  while (true) {
    pid_t ended;
    while ((ended = ::waitpid(-1, nullptr, WNOHANG)) > 0) {
    }
    const int64_t now = loop_->NowMs();
    if (ended < 0 || now - begin >= plan.limit_ms) return;  // no children, or too stubborn ones
    const bool gentle = now - begin < plan.gentle_ms;
    bool trackers = false;
    bool others = false;
    std::vector<ProcessInfo> last;
    for (const ProcessInfo& process : Descendants(ListProcesses(), ::getpid())) {
      if (process.zombie) continue;
      const bool tracker = KindOf(process.pid) != ProcessKind::kOther;  // or it may be one
      if (tracker || process.pid == plan.last) {
        trackers = trackers || tracker;
        last.push_back(process);
        continue;
      }
      others = true;
      if (!gentle || process.pid != plan.gentle) KillProcess(process);
    }
    if (!others) {
      if (trackers_since < 0) trackers_since = now;
      if (trackers && now - trackers_since < plan.trackers_ms) {
        std::erase_if(last, [&](const auto& process) { return process.pid != plan.last; });
      }
      for (const ProcessInfo& process : last) KillProcess(process);
    }
    const timespec wait{0, kLookEveryMs * 1'000'000};
    ::sigtimedwait(&set, nullptr, &wait);
  }
}

UniqueFd OpenLog(const std::string& path) {
  return UniqueFd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
}

namespace {

std::string HowMuch(int64_t most_bytes) {
  if (most_bytes <= 0) return {};
  return ", after it had used at most " + std::to_string((most_bytes + (1 << 20) - 1) >> 20) +
         " MiB of memory";
}

}  // namespace

std::string DescribeExit(int wait_status, int64_t most_bytes) {
  if (WIFSIGNALED(wait_status)) {
    const int signal = WTERMSIG(wait_status);
    std::string text = "killed by signal " + std::to_string(signal);
    if (const char* name = ::sigabbrev_np(signal)) text += " (SIG" + std::string(name) + ")";
    return text + HowMuch(most_bytes);
  }
  return "exit code " + std::to_string(WEXITSTATUS(wait_status));
}

std::string TailOf(const std::string& path, size_t bytes) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return {};
  const off_t size = ::lseek(fd.get(), 0, SEEK_END);
  const off_t from = std::max<off_t>(0, size - static_cast<off_t>(bytes));
  std::string text(static_cast<size_t>(std::max<off_t>(size - from, 0)), '\0');
  const ssize_t n = ::pread(fd.get(), text.data(), text.size(), from);
  text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  if (from > 0) text.erase(0, text.find('\n') + 1);
  return text;
}

}  // namespace cyray::raylet
