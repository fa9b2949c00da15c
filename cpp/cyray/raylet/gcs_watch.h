// GcsWatch: keeps this node's membership: heartbeats to the GCS, questions to the witness and
// answers to those who take this raylet for theirs. What it all means decides GcsLease.
// Threading: confined to the raylet's loop.

#pragma once

#include <functional>
#include <string>

#include "cyray/raylet/gcs_bridge.h"
#include "cyray/raylet/gcs_lease.h"
#include "cyray/raylet/peer_table.h"
#include "cyray/util/timer.h"

namespace cyray::raylet {

class GcsWatch {
 public:
  // `fence`: this node must end, others may take its place from now on.
  GcsWatch(Runtime* runtime, bool head, GcsBridge* gcs, PeerTable* peers,
           std::function<void(const std::string& why)> fence);

  // A hello is sent; the GCS accepted the latest.
  void OnHello() { hello_ms_ = runtime_->NowMs(); }
  void OnUp();
  void OnAck(const wire::HeartbeatAck& ack) { lease_.OnAck(ack.sent_ms()); }
  int64_t HeardForMs() const { return lease_.HeardForMs(runtime_->NowMs()); }
  // Who stands beside the GCS: the head's raylet.
  void set_witness(const NodeId& head) { witness_ = head; }

 private:
  void Tick();
  void Ask();

  Runtime* const runtime_;
  GcsBridge* const gcs_;
  PeerTable* const peers_;
  const std::function<void(const std::string&)> fence_;
  GcsLease lease_;
  int64_t hello_ms_ = 0;
  NodeId witness_;
  Timer tick_;
};

}  // namespace cyray::raylet
