// DriverFeed: what the driver of a job is shown, whatever node it is on: its workers' output and
// warnings.
//
// A driver of this node gets frames of its own; one of another node gets them through its raylet.
// A driver, or a raylet, that does not keep up loses lines and is told how many. Before it leaves a
// driver asks for what is still on its way (FlushOutput): every node reads out its workers' pipes.
// Threading: confined to its runtime's loop.
// Invariant: unsent lines take at most kMaxLineBacklogBytes per driver and per node.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cyray/raylet/client_registry.h"
#include "cyray/raylet/job_book.h"
#include "cyray/raylet/node_options.h"
#include "cyray/raylet/peer_table.h"
#include "cyray/raylet/worker_logs.h"
#include "cyray/util/timer.h"
#include "local_generated.h"
#include "peer_generated.h"

namespace cyray::raylet {

class DriverFeed {
 public:
  struct Parts {
    Runtime* runtime;
    const NodeOptions* options;
    ClientRegistry* clients;
    PeerTable* peers;
    const JobBook* jobs;
  };
  // `drain` sends what this node's workers of a job have printed until now, partial lines too.
  DriverFeed(Parts parts, std::function<void(const JobId&)> drain);

  void SendLines(const JobId& job, const WorkerLogs::Lines& lines);
  void Warn(const JobId& job, const std::string& text);
  // Each driver whose job has a process on this node, but those on `except`, which is not reached.
  void WarnHere(const NodeId& except, const std::string& text);
  // A frame of a driver. False: the frame is bad.
  bool OnFlushOutput(ClientConnection& driver, const wire::FlushOutput* request);

 private:
  struct Flush {
    uint64_t client_id;
    uint64_t request_id;
    size_t awaited;  // nodes that have not answered
  };

  void RegisterPeerHandlers();
  // The driver of a job that runs; nil when there is none to be told.
  Address DriverOf(const JobId& job) const;
  void Deliver(const WorkerId& driver, const std::string& node_ip, const WorkerLogs::Lines& lines);
  void Forward(const Address& driver, const WorkerLogs::Lines& lines);
  void DeliverWarning(const WorkerId& driver, const std::string& text);
  void OnForwardLogLines(const wire::ForwardLogLines& forward);
  void OnNodeFlushed(uint64_t id);
  void AnswerFlush(uint64_t id);

  const Parts parts_;
  const std::function<void(const JobId&)> drain_;
  std::map<NodeId, uint64_t> dropped_;  // lines for drivers of that node, since the last that went
  std::map<uint64_t, Flush> flushes_;
  uint64_t next_flush_ = 1;

  Timers<uint64_t> limits_;  // of flushes
};

}  // namespace cyray::raylet
