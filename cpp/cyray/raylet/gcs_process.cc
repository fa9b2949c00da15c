#include "cyray/raylet/gcs_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "cyray/util/clock.h"
#include "cyray/util/log.h"

namespace cyray::raylet {
namespace {

constexpr int kMaxEarlyFailures = 3;
constexpr int64_t kEarlyRestartDelayMs = 500;
constexpr int64_t kRestartDelayMs = 5;
// One that dies again and again within a moment is started ever more rarely.
constexpr int64_t kShortLifeMs = 1000;
constexpr int64_t kMaxRestartDelayMs = 1000;

}  // namespace

GcsProcess::GcsProcess(EventLoop* loop, const NodeOptions* options, ProcessSupervisor* supervisor,
                       Callbacks callbacks)
    : loop_(loop),
      options_(options),
      supervisor_(supervisor),
      callbacks_(std::move(callbacks)),
      log_path_(options->session_dir + "/logs/gcs_server.out"),
      port_(options->gcs_port) {}

GcsProcess::~GcsProcess() { ClosePipe(); }

void GcsProcess::Start() {
  if (stopped_) return;
  int pipe_fds[2];
  if (::pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) != 0) {
    callbacks_.on_failed(Status::FromErrno("pipe").message());
    return;
  }
  ClosePipe();
  port_pipe_ = UniqueFd(pipe_fds[0]);
  const UniqueFd child(pipe_fds[1]);
  const UniqueFd log = OpenLog(log_path_);
  SpawnRequest spawn;
  spawn.argv = {options_->gcs_server, "--session-dir",  options_->session_dir,      "--ip",
                options_->node_ip,    "--port",         std::to_string(port_),      "--token-file",
                options_->token_file, "--port-file-fd", std::to_string(child.get())};
  spawn.stdout_fd = spawn.stderr_fd = log.get();
  spawn.inherited = {child.get()};
  Result<pid_t> pid = supervisor_->Spawn(spawn, [this](int status) { OnExit(status); });
  if (!pid) {
    callbacks_.on_failed(pid.error().message());
    return;
  }
  pid_ = *pid;
  started_ms_ = MonotonicMs();
  loop_->Add(port_pipe_.get(), EPOLLIN, [this](uint32_t) { OnPort(); });
}

void GcsProcess::ClosePipe() {
  if (!port_pipe_.valid()) return;
  loop_->Remove(port_pipe_.get());
  port_pipe_.reset();
  port_text_.clear();
}

void GcsProcess::OnPort() {
  std::array<char, 32> buffer;
  const ssize_t n = ::read(port_pipe_.get(), buffer.data(), buffer.size());
  if (n > 0) port_text_.append(buffer.data(), static_cast<size_t>(n));
  const bool whole = port_text_.find('\n') != std::string::npos;
  if (n > 0 && !whole) return;
  const int port = whole ? std::atoi(port_text_.c_str()) : 0;
  ClosePipe();
  if (port <= 0 || port > 65535) return;  // it died: OnExit follows
  const bool first = port_ == options_->gcs_port && early_failures_ >= 0;
  port_ = static_cast<uint16_t>(port);
  if (!first) return;
  early_failures_ = -1;  // from now on it is started again for ever
  callbacks_.on_ready(options_->node_ip + ":" + std::to_string(port));
}

void GcsProcess::OnExit(int wait_status) {
  pid_ = 0;
  ClosePipe();
  if (stopped_) return;
  const std::string how = DescribeExit(wait_status);
  CYRAY_LOG(kWarning) << "gcs_server ended (" << how << "), starting it again";
  if (early_failures_ >= 0 && ++early_failures_ >= kMaxEarlyFailures) {
    callbacks_.on_failed("gcs_server cannot start (" + how + "). The end of " + log_path_ + ":\n" +
                         TailOf(log_path_, 4000));
    return;
  }
  const bool short_life = MonotonicMs() - started_ms_ < kShortLifeMs;
  restart_delay_ms_ = short_life
                          ? std::clamp(2 * restart_delay_ms_, kRestartDelayMs, kMaxRestartDelayMs)
                          : kRestartDelayMs;
  loop_->RunAfter(early_failures_ >= 0 ? kEarlyRestartDelayMs : restart_delay_ms_,
                  [this] { Start(); });
}

void GcsProcess::Stop() {
  stopped_ = true;
  if (pid_ > 0) ::kill(pid_, SIGTERM);
}

}  // namespace cyray::raylet
