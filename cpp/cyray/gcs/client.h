// GcsClient: a raylet's way to the GCS: calls that survive a restart of it, and the node stream.
//
// Threading: confined to the Runtime given at construction; every callback runs on its loop.
// gRPC's threads only post to it. The loop must outlive the client.
// A call keeps its id over retries, so that the GCS does what changes something once. Before
// the first call of a connection both sides prove the cluster token and the server where it
// listens; a connection that was made anew proves it again, and all that is said on it is tagged
// (rpc_auth.h).

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "cyray/util/runtime.h"
#include "cyray/util/status.h"
#include "cyray/wire/bytes.h"
#include "gcs_generated.h"

namespace cyray::gcs {

// What a raylet needs of it; the simulator has one without gRPC.
class GcsConnection {
 public:
  using ReplyCallback = std::function<void(Result<wire::Bytes>)>;
  struct StreamCallbacks {
    std::function<wire::Bytes()>
        hello;  // a finished NodeReport with a NodeHello, for each connection
    std::function<void(const wire::NodeCommand*)> on_command;  // verified; valid during the call
    // The stream is up: the GCS has been sent the hello. Reports made from now on follow it.
    std::function<void()> on_up;
    // The stream broke, or could not be made; it is tried again by itself. kNotFound: the GCS
    // does not know this node or has declared it dead, so trying again will not help.
    std::function<void(const Status&)> on_down;
  };

  virtual ~GcsConnection() = default;

  // Sends a request table of gcs.fbs. While the GCS is away the call is tried again, for up to
  // 60 s, then fails with kUnavailable. A wrong token fails with kUnauthenticated. The reply's
  // bytes are not verified: use VerifiedRoot<T> of wire/bytes.h.
  // Once there is a stream, a call waits until its hello was accepted: whoever makes it began
  // before that hello was written, or comes to the GCS after it.
  virtual void Call(wire::GcsMethod method, wire::Bytes payload, ReplyCallback callback) = 0;

  // Opens the node stream and keeps it open. After each on_up the raylet watches its actors and
  // reports its resources anew; a StartActor may come twice and is told by its incarnation.
  // RegisterNode must have been answered before. Once.
  virtual void OpenStream(StreamCallbacks callbacks) = 0;
  // Queues a finished NodeReport. Dropped while the stream is down: the next hello tells anew.
  virtual void Report(wire::Bytes payload) = 0;
};

class GcsClient final : public GcsConnection {
 public:
  // `address` is "ip:port", `token` what LoadToken() read.
  GcsClient(Runtime* runtime, const std::string& address, const std::string& token);
  ~GcsClient() override;
  GcsClient(const GcsClient&) = delete;
  GcsClient& operator=(const GcsClient&) = delete;

  void Call(wire::GcsMethod method, wire::Bytes payload, ReplyCallback callback) override;
  void OpenStream(StreamCallbacks callbacks) override;
  void Report(wire::Bytes payload) override;

  // Whether a worker or driver may call it through its raylet.
  static bool ProcessMayCall(wire::GcsMethod method) {
    return method >= wire::GcsMethod::KvPut && method <= wire::GcsMethod::GetActorSave;
  }

 private:
  class Core;
  std::shared_ptr<Core> core_;  // shared with gRPC callbacks that are still to be posted
};

}  // namespace cyray::gcs
