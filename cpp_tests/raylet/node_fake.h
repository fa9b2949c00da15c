// What the component tests of a raylet share: its inner parts on a loop that the test drives, the
// processes of a node played over socket pairs, and a zygote whose end of the socket the test has.
//
// Threading: everything on the test's thread. Whatever is waited for has a deadline (Until).

#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cyray/net/tcp_transport.h"
#include "cyray/raylet/client_registry.h"
#include "cyray/raylet/driver_feed.h"
#include "cyray/raylet/job_book.h"
#include "cyray/raylet/node_options.h"
#include "cyray/raylet/peer_table.h"
#include "cyray/raylet/process_supervisor.h"
#include "cyray/raylet/raylet_outbox.h"
#include "cyray/raylet/worker_host.h"
#include "cyray/raylet/worker_shell.h"
#include "cyray/util/event_loop.h"
#include "cyray/wire/channel.h"
#include "cyray/wire/convert.h"
#include "local_generated.h"

namespace cyray::raylet {

// A frame that a played process got, with a body of its own.
struct GotFrame {
  wire::FrameType type;
  std::vector<uint8_t> body;
  std::vector<UniqueFd> fds;
  template <class T>
  const T* As() const {
    return wire::Frame{type, body.data(), static_cast<uint32_t>(body.size()), {}}.As<T>();
  }
};

// A driver or worker: the other end of a connection of the raylet.
class FakeProcess {
 public:
  explicit FakeProcess(UniqueFd socket) : channel_(std::move(socket)) {}

  // `write(builder)` makes the frame's table.
  template <class Write>
  void Send(wire::FrameType type, Write write) {
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(write(builder));
    channel_.Send(type, builder);
    (void)channel_.Flush();
  }
  void Flush() { (void)channel_.Flush(); }
  void SendBytes(const std::string& bytes);
  // The oldest frame of that type which was not taken yet.
  std::optional<GotFrame> Take(wire::FrameType type);
  size_t CountOf(wire::FrameType type);
  bool closed();
  void Close() { channel_.ReleaseFd(); }
  int fd() const { return channel_.fd(); }

 private:
  void Read();
  wire::Channel channel_;
  std::deque<GotFrame> got_;
  bool closed_ = false;
};

// The parts that all others of a raylet are built on.
class NodeFake {
 public:
  // With two CPUs, and what else is named.
  explicit NodeFake(EventLoop* loop, uint8_t number = 1, const ResourceSet& resources = {});
  ~NodeFake();

  // A round of the raylet's loop.
  void Round(int64_t timeout_ms = 10);
  // Rounds until `done`, at most 10 s. Whether it was done.
  bool Until(const std::function<bool()>& done);
  std::optional<GotFrame> Await(FakeProcess& process, wire::FrameType type);

  // A process that is connected, but has not registered.
  std::unique_ptr<FakeProcess> Connect(ClientConnection** connection);
  // A registered driver of `job`, which becomes known, with the Python that its workers run if it
  // is not the node's.
  std::unique_ptr<FakeProcess> AddDriver(const JobId& job, bool log_to_driver = true,
                                         std::optional<JobPython> python = std::nullopt);
  // The raylets know each other's addresses.
  void Meet(NodeFake& other);

  EventLoop* const loop;
  NodeOptions options;
  JobBook jobs;
  std::function<bool(ClientConnection&, wire::Frame&)> on_frame;
  std::function<void(ClientConnection&, const std::string&)> on_closed;
  std::function<void()> at_round_end;
  ClientRegistry clients;
  net::TcpTransport transport;
  PeerTable peers;

 private:
  void EndRound();
  std::vector<NodeFake*> others_;  // on the same loop; they live as long as rounds are run
};

// The zygote of a node: a process that hands its end of the socket to the test and waits. Requests
// to fork come to the test, with the descriptors of the worker that is to be.
class FakeZygote {
 public:
  // Makes `node` start it in place of Python.
  explicit FakeZygote(NodeFake* node);
  ~FakeZygote();

  struct Request {
    uint64_t token = 0;
    std::string worker_id;  // hex
    UniqueFd socket, out, err;
  };
  // Waits until a zygote has been started, and says that it is ready.
  void AwaitStart();
  std::optional<Request> AwaitRequest();
  void Tell(const nlohmann::json& message, int fd = -1);
  // With a descriptor of that process, if there is one.
  void Forked(const Request& request, int pid);
  // Ends its process, as a crash would.
  void Die();
  // What was written by processes that the node started afresh: one line of JSON each, with the
  // arguments and the environment.
  std::vector<nlohmann::json> FreshWorkers() const;
  int starts() const { return starts_; }

 private:
  NodeFake* const node_;
  UniqueFd listener_;
  UniqueFd control_;  // to the process
  UniqueFd socket_;   // its end of the socket to the raylet
  int starts_ = 0;
};

// A process that does nothing, killed at the end of the test.
class IdleProcess {
 public:
  IdleProcess();
  ~IdleProcess();
  int pid() const { return pid_; }
  // Ends and reaps it.
  void Kill();

 private:
  int pid_;
};

// The workers of a node, with a played zygote.
class WorkerNode : public NodeFake {
 public:
  WorkerNode(EventLoop* loop, ProcessSupervisor* supervisor, uint8_t number = 1,
             const ResourceSet& resources = {});
  ~WorkerNode();

  // Answers the next request to fork with an idle process and registers it as the raylet would.
  struct Worker {
    WorkerId id;
    std::unique_ptr<FakeProcess> process;
    std::unique_ptr<IdleProcess> life;
    UniqueFd out, err;
    ClientConnection* connection = nullptr;
  };
  Worker AwaitWorker();

  std::function<void()> on_idle;
  std::function<void(const DeadWorker&)> on_died;
  std::vector<DeadWorker> died;
  std::vector<std::string> cannot_start;
  std::vector<std::pair<JobId, std::string>> jobs_cannot_start;
  FakeZygote zygote;
  DriverFeed feed;
  RayletLeaseOutbox lease_outbox;
  WorkerShell shell;
  WorkerHost workers;
};

}  // namespace cyray::raylet
