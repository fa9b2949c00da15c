// ZygoteLink: the zygote of this node and the requests to fork workers.
//
// The zygote is started again when it dies; requests it had not answered are given
// back, to be made again. When it fails over and over, the owner is told with the end of its log.
// It is the wire itself (a socket, a process), behind WorkerShell: machines do not know it.
// Threading: confined to the raylet's loop. Messages: docs/architecture.md, "zygote". Invariant:
// the child's descriptors stay open here until the fork was answered.

#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>

#include "cyray/common/ids.h"
#include "cyray/raylet/node_options.h"
#include "cyray/raylet/process_supervisor.h"
#include "cyray/util/timer.h"

namespace cyray::raylet {

class ZygoteLink {
 public:
  struct ForkRequest {
    WorkerId worker;
    UniqueFd socket, out, err;  // the child's ends
  };
  struct Callbacks {
    // `pidfd` names the worker also when its pid was given to another process meanwhile.
    std::function<void(const WorkerId&, int pid, UniqueFd pidfd)> on_forked;
    // It was forked and cannot be named, most likely because no descriptor was free. Whoever closes
    // its connection makes it leave.
    std::function<void(const WorkerId&)> on_unnamed;
    std::function<void(ForkRequest, const std::string& error)> on_failed;
    // The zygote died before it answered; `again`: another worker may be asked for.
    std::function<void(const WorkerId&, bool again)> on_lost;
    std::function<void(int pid, int wait_status, int64_t most_bytes)> on_exited;
    std::function<void(const std::string& why)> on_hopeless;  // fails over and over
  };

  ZygoteLink(EventLoop* loop, const NodeOptions* options, ProcessSupervisor* supervisor,
             Callbacks callbacks);
  ~ZygoteLink();

  void Start();
  void Fork(ForkRequest request);
  // No more starts. The zygote that runs sees its socket close: it ends what is below it, and is
  // left to whoever ends the node.
  void Stop();
  int pid() const { return pid_; }

 private:
  void StartLater(int64_t delay_ms);
  void SendRequest(uint64_t token, const ForkRequest& request);
  void OnReadable();
  void OnMessage(const std::string& text, UniqueFd fd);
  void OnExit(int wait_status);
  void Disconnect();

  EventLoop* const loop_;
  const NodeOptions* const options_;
  ProcessSupervisor* const supervisor_;
  const Callbacks callbacks_;
  const std::string log_path_;
  UniqueFd socket_;
  int pid_ = 0;
  bool ready_ = false;
  bool stopped_ = false;
  std::map<uint64_t, ForkRequest> in_flight_;
  uint64_t next_token_ = 1;
  std::deque<int64_t> failures_ms_;

  Timer start_;
  Timers<uint64_t> again_;  // requests, by token, that did not fit into the socket
};

}  // namespace cyray::raylet
