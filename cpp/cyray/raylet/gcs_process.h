// GcsProcess: the gcs_server that a head node starts, watches and starts again.
//
// The listening socket is made here, once, and given to each gcs_server: while none lives, whoever
// connects waits in its backlog, and nobody else can take the port. Threading: confined to the
// raylet's loop.

#pragma once

#include <functional>
#include <string>

#include "cyray/raylet/node_options.h"
#include "cyray/raylet/process_supervisor.h"
#include "cyray/util/backoff.h"
#include "cyray/util/timer.h"

namespace cyray::raylet {

class GcsProcess {
 public:
  struct Callbacks {
    std::function<void(const std::string& address)> on_ready;  // once: the first one serves
    std::function<void(const std::string& why)> on_failed;     // it never got ready
  };

  GcsProcess(EventLoop* loop, const NodeOptions* options, ProcessSupervisor* supervisor,
             Callbacks callbacks);
  ~GcsProcess();

  void Start();
  void Stop();  // asks it to end; no more starts
  int pid() const { return pid_; }

 private:
  // Once. What on_ready tells.
  Status Listen();
  void OnReady();
  void OnExit(int wait_status);
  void ClosePipe();

  EventLoop* const loop_;
  const NodeOptions* const options_;
  ProcessSupervisor* const supervisor_;
  const Callbacks callbacks_;
  const std::string log_path_;
  UniqueFd listening_;
  std::string address_;
  UniqueFd ready_pipe_;
  int pid_ = 0;
  int64_t started_ms_ = 0;
  Backoff restart_backoff_{5, 1'000};
  int early_failures_ = 0;
  bool stopped_ = false;
  Timer restart_;
};

}  // namespace cyray::raylet
