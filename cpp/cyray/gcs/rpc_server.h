// RpcServer: the GCS's gRPC port. It authenticates, and hands bytes to a handler on the state loop.
//
// Threading: constructed, started and shut down by the server's owner outside the loop; the handler
// is called on the loop; Send and Close on the loop. gRPC's threads only check proofs and post.
// Invariants: nothing of a call or stream is read before its proof was checked, and nothing of it
// is handed on or sent without a tag that holds for this place alone (rpc_auth.h). Each stream's
// messages arrive in order, its closing once and last. The next message of a stream is read
// when the handler is done with the one before.

#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "cyray/gcs/rpc.h"
#include "cyray/gcs/rpc_auth.h"
#include "cyray/net/tcp_listener.h"
#include "cyray/util/event_loop.h"

namespace cyray::gcs {

using StreamId = uint64_t;  // never 0

class RpcHandler {
 public:
  // Called once, from the loop; a reply that is dropped uncalled fails the call as unavailable.
  using Reply = std::function<void(const Result<wire::Bytes>&)>;

  virtual ~RpcHandler() = default;
  virtual void OnCall(uint16_t method, const CallId& id, wire::Bytes payload, Reply reply) = 0;
  virtual void OnStreamMessage(StreamId stream, const wire::Bytes& message) = 0;
  virtual void OnStreamClosed(StreamId stream) = 0;
};

class RpcServer {
 public:
  RpcServer(EventLoop* loop, std::string token);
  ~RpcServer();

  // Takes a listening socket, whose connections it serves. `handler` must outlive Shutdown().
  // Before the loop runs.
  Status Start(UniqueFd listening, RpcHandler* handler);
  // Ends every stream, refuses new calls and waits for those that run. Not on the loop, which must
  // run.
  void Shutdown();

  // The client is told that its hello was accepted. Before the first Send.
  void Accept(StreamId stream);
  // To a stream that is gone: dropped.
  void Send(StreamId stream, const wire::Bytes& message);
  // The handler hears nothing more of it.
  void Close(StreamId stream, const Status& status);

 private:
  class Call;
  class Stream;
  class Service;

  EventLoop* const loop_;
  const std::string token_;
  std::unique_ptr<RpcGate> gate_;
  RpcHandler* handler_ = nullptr;
  std::unique_ptr<Service> service_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  std::unique_ptr<grpc::Server> server_;
  // Confined to the loop.
  net::TcpListener listener_;
  std::unordered_map<StreamId, std::shared_ptr<Stream>> streams_;
  bool closing_ = false;
};

}  // namespace cyray::gcs
