#include "cyray/raylet/gcs_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "cyray/net/tcp_listener.h"
#include "cyray/util/log.h"

namespace cyray::raylet {
namespace {

constexpr int kMaxEarlyFailures = 3;
constexpr int64_t kEarlyRestartDelayMs = 500;
// One that dies again and again within a moment is started ever more rarely.
constexpr int64_t kShortLifeMs = 1000;

}  // namespace

GcsProcess::GcsProcess(EventLoop* loop, const NodeOptions* options, ProcessSupervisor* supervisor,
                       Callbacks callbacks)
    : loop_(loop),
      options_(options),
      supervisor_(supervisor),
      callbacks_(std::move(callbacks)),
      log_path_(options->session_dir + "/logs/gcs_server.out"),
      restart_(loop) {}

GcsProcess::~GcsProcess() { ClosePipe(); }

Status GcsProcess::Listen() {
  if (listening_.valid()) return Status::Ok();
  Result<UniqueFd> listening = net::TcpListener::Open(options_->node_ip, options_->gcs_port);
  if (!listening) return listening.error();
  const Result<std::string> address = net::TcpListener::AddressOf(listening->get());
  if (!address) return address.error();
  listening_ = std::move(*listening);
  address_ = *address;
  return Status::Ok();
}

void GcsProcess::Start() {
  if (stopped_) return;
  if (const Status status = Listen(); !status.ok()) {
    callbacks_.on_failed("The GCS " + status.message());
    return;
  }
  int pipe_fds[2];
  if (::pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) != 0) {
    callbacks_.on_failed(Status::FromErrno("pipe").message());
    return;
  }
  ClosePipe();
  ready_pipe_ = UniqueFd(pipe_fds[0]);
  const UniqueFd child(pipe_fds[1]);
  const UniqueFd log = OpenLog(log_path_);
  SpawnRequest spawn;
  spawn.argv = {options_->gcs_server,
                "--session-dir",
                options_->session_dir,
                "--listen-fd",
                std::to_string(listening_.get()),
                "--token-file",
                options_->token_file,
                "--ready-fd",
                std::to_string(child.get())};
  spawn.stdout_fd = spawn.stderr_fd = log.get();
  spawn.inherited = {child.get(), listening_.get()};
  Result<pid_t> pid = supervisor_->Spawn(spawn, [this](int status) { OnExit(status); });
  if (!pid) {
    callbacks_.on_failed(pid.error().message());
    return;
  }
  pid_ = *pid;
  started_ms_ = loop_->NowMs();
  loop_->Add(ready_pipe_.get(), EPOLLIN, [this](uint32_t) { OnReady(); });
}

void GcsProcess::ClosePipe() {
  if (!ready_pipe_.valid()) return;
  loop_->Remove(ready_pipe_.get());
  ready_pipe_.reset();
}

void GcsProcess::OnReady() {
  char byte;
  const bool serves = ::read(ready_pipe_.get(), &byte, 1) == 1;
  ClosePipe();
  if (!serves || early_failures_ < 0) return;  // it died, and OnExit follows; or not the first
  early_failures_ = -1;                        // from now on it is started again for ever
  callbacks_.on_ready(address_);
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
  if (loop_->NowMs() - started_ms_ >= kShortLifeMs) restart_backoff_.Reset();
  restart_.Start(
      early_failures_ >= 0 ? kEarlyRestartDelayMs : restart_backoff_.NextMs(loop_->Random()),
      [this] { Start(); });
}

void GcsProcess::Stop() {
  stopped_ = true;
  if (pid_ > 0) ::kill(pid_, SIGTERM);
}

}  // namespace cyray::raylet
