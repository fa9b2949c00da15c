#include "cpp_tests/raylet/node_fake.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "cyray/util/clock.h"
#include "cyray/util/fd_message.h"

namespace cyray::raylet {
namespace {

// In place of Python: `-m cyray._worker.zygote FD` hands FD to the test, `-m cyray._worker ...`
// tells how it was called. Both then wait until the test lets go of them.
constexpr char kProgram[] = R"(#!/usr/bin/env python3
import json, os, socket, sys
folder = os.path.dirname(os.path.abspath(sys.argv[0]))
if sys.argv[2] == "cyray._worker.zygote":
    control = socket.socket(socket.AF_UNIX)
    control.connect(folder + "/zygote")
    socket.send_fds(control, [b"z"], [int(sys.argv[3])])
    os.close(int(sys.argv[3]))
    control.recv(1)
else:
    with open(folder + "/fresh", "a") as file:
        file.write(json.dumps({"argv": sys.argv, "env": dict(os.environ)}) + "\n")
    socket.socket(fileno=int(sys.argv[3])).recv(1)
)";

int ListenAt(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(::listen(fd, 8), 0);
  return fd;
}

// Up to four descriptors and the text that came with them; -1 when there is nothing.
ssize_t Receive(int fd, std::string* text, std::vector<UniqueFd>* fds) {
  text->assign(64 << 10, '\0');
  const ssize_t n = ReceiveWithFds(fd, *text, fds, MSG_DONTWAIT);
  if (n >= 0) text->resize(static_cast<size_t>(n));
  return n;
}

}  // namespace

// --- Processes --------------------------------------------------------------------------------

void FakeProcess::SendBytes(const std::string& bytes) {
  EXPECT_EQ(::send(channel_.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(bytes.size()));
}

void FakeProcess::Read() {
  while (!closed_ && channel_.fd() >= 0) {
    Result<size_t> filled = channel_.Fill();
    if (!filled) {
      closed_ = true;
      return;
    }
    while (true) {
      auto frame = channel_.Next();
      ASSERT_TRUE(frame.has_value()) << frame.error().message();
      if (!frame->has_value()) break;
      got_.push_back({(*frame)->type,
                      {(*frame)->body, (*frame)->body + (*frame)->body_bytes},
                      std::move((*frame)->fds)});
    }
    if (*filled == 0) return;
  }
}

std::optional<GotFrame> FakeProcess::Take(wire::FrameType type) {
  Read();
  for (auto it = got_.begin(); it != got_.end(); ++it) {
    if (it->type != type) continue;
    GotFrame frame = std::move(*it);
    got_.erase(it);
    return frame;
  }
  return std::nullopt;
}

size_t FakeProcess::CountOf(wire::FrameType type) {
  Read();
  return static_cast<size_t>(std::count_if(
      got_.begin(), got_.end(), [type](const GotFrame& frame) { return frame.type == type; }));
}

bool FakeProcess::closed() {
  Read();
  return closed_;
}

// --- Nodes ------------------------------------------------------------------------------------

NodeFake::NodeFake(EventLoop* event_loop, uint8_t number, const ResourceSet& resources)
    : loop(event_loop),
      options([&] {
        NodeOptions made;
        char folder[] = "/tmp/cyray_node_XXXXXX";
        made.session_dir = ::mkdtemp(folder);
        std::filesystem::create_directory(made.session_dir + "/logs");
        made.socket_path = made.session_dir + "/raylet";
        made.node_id.bytes.fill(number);
        made.resources.Set("CPU", 2 * kResourceUnit);
        made.resources.Add(resources);
        made.prestart = 0;
        made.token = std::string(32, 't');
        return made;
      }()),
      clients(loop,
              {[this](ClientConnection& client, wire::Frame& frame) {
                 return on_frame && on_frame(client, frame);
               },
               [this](ClientConnection& client, const std::string& reason) {
                 if (on_closed) on_closed(client, reason);
               }},
              /*patience_ms=*/0),
      transport(loop),
      peers(loop, &transport, options.node_id, 1, options.token) {
  EXPECT_TRUE(peers.Listen("127.0.0.1", 0).ok());
}

NodeFake::~NodeFake() { std::filesystem::remove_all(options.session_dir); }

void NodeFake::Round(int64_t timeout_ms) {
  loop->RunOnce(timeout_ms);
  EndRound();
  for (NodeFake* other : others_) other->EndRound();
}

void NodeFake::EndRound() {
  if (at_round_end) at_round_end();
  clients.FlushAll();
}

bool NodeFake::Until(const std::function<bool()>& done) {
  const int64_t deadline = MonotonicMs() + 10'000;
  while (!done()) {
    if (MonotonicMs() > deadline) return false;
    Round();
  }
  return true;
}

std::optional<GotFrame> NodeFake::Await(FakeProcess& process, wire::FrameType type) {
  std::optional<GotFrame> frame;
  Until([&] { return (frame = process.Take(type)).has_value(); });
  return frame;
}

std::unique_ptr<FakeProcess> NodeFake::Connect(ClientConnection** connection) {
  int sockets[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sockets), 0);
  *connection = clients.Add(UniqueFd(sockets[0]), WorkerId::Nil());
  return std::make_unique<FakeProcess>(UniqueFd(sockets[1]));
}

std::unique_ptr<FakeProcess> NodeFake::AddDriver(const JobId& job, bool log_to_driver,
                                                 std::optional<JobPython> python) {
  ClientConnection* connection = nullptr;
  auto process = Connect(&connection);
  EXPECT_TRUE(clients.Name(*connection, WorkerId::Random()));
  connection->kind = wire::ClientKind::Driver;
  connection->registered = true;
  connection->job = job;
  connection->log_to_driver = log_to_driver;
  jobs.Add({job, options.AddressOf(connection->worker()), "", {}, std::move(python)});
  return process;
}

void NodeFake::Meet(NodeFake& other) {
  others_.push_back(&other);
  peers.SetNode(other.options.node_id, {"127.0.0.1", other.peers.port()});
}

// --- The zygote -------------------------------------------------------------------------------

FakeZygote::FakeZygote(NodeFake* node)
    : node_(node), listener_(ListenAt(node->options.session_dir + "/zygote")) {
  node->options.python = node->options.session_dir + "/python";
  std::ofstream(node->options.python) << kProgram;
  ::chmod(node->options.python.c_str(), 0700);
}

FakeZygote::~FakeZygote() = default;

void FakeZygote::AwaitStart() {
  socket_.reset();
  control_.reset();
  std::vector<UniqueFd> fds;
  ASSERT_TRUE(node_->Until([&] {
    control_ = UniqueFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    return control_.valid();
  }));
  std::string text;
  ASSERT_TRUE(node_->Until([&] { return Receive(control_.get(), &text, &fds) > 0; }));
  ASSERT_EQ(fds.size(), 1u);
  socket_ = std::move(fds[0]);
  ++starts_;
  Tell({{"op", "ready"}, {"pid", 1}});
}

std::optional<FakeZygote::Request> FakeZygote::AwaitRequest() {
  std::string text;
  std::vector<UniqueFd> fds;
  if (!node_->Until([&] { return Receive(socket_.get(), &text, &fds) > 0; })) return std::nullopt;
  const auto message = nlohmann::json::parse(text);
  EXPECT_EQ(fds.size(), 3u);
  return Request{message["token"], message["worker_id"], std::move(fds[0]), std::move(fds[1]),
                 std::move(fds[2])};
}

void FakeZygote::Tell(const nlohmann::json& message, int fd) {
  const std::string text = message.dump();
  const std::span<const int> fds(&fd, fd >= 0 ? 1 : 0);
  EXPECT_EQ(SendWithFds(socket_.get(), text, fds), static_cast<ssize_t>(text.size()));
}

void FakeZygote::Forked(const Request& request, int pid) {
  const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  Tell({{"op", "forked"}, {"token", request.token}, {"pid", pid}}, pidfd.get());
}

void FakeZygote::Die() {
  socket_.reset();
  control_.reset();
}

std::vector<nlohmann::json> FakeZygote::FreshWorkers() const {
  std::vector<nlohmann::json> found;
  std::ifstream file(node_->options.session_dir + "/fresh");
  for (std::string line; std::getline(file, line);) found.push_back(nlohmann::json::parse(line));
  return found;
}

IdleProcess::IdleProcess() : pid_(::fork()) {
  if (pid_ != 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::close_range(3, ~0U, 0);  // or it would keep the test's sockets open
  while (true) ::pause();
}

IdleProcess::~IdleProcess() { Kill(); }

void IdleProcess::Kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);  // the supervisor may have been quicker
  pid_ = 0;
}

// --- Workers ----------------------------------------------------------------------------------

WorkerNode::WorkerNode(EventLoop* event_loop, ProcessSupervisor* supervisor, uint8_t number,
                       const ResourceSet& resources)
    : NodeFake(event_loop, number, resources),
      zygote(this),
      feed({loop, &options, &clients, &peers, &jobs},
           [this](const JobId& job) { workers.DrainOutput(job); }),
      lease_outbox(&clients, &peers, &feed),
      shell({loop, &options, supervisor, &clients}),
      workers({loop, &options, &shell, &jobs},
              {[this] {
                 if (on_idle) on_idle();
               },
               [this](const DeadWorker& dead) {
                 died.push_back(dead);
                 if (on_died) on_died(dead);
               },
               [this](const std::string& why) { cannot_start.push_back(why); },
               [this](const JobId& job, const std::string& why) {
                 jobs_cannot_start.emplace_back(job, why);
               },
               [this](const JobId& job, const WorkerLogs::Lines& lines) {
                 feed.SendLines(job, lines);
               }}) {
  on_closed = [this](ClientConnection& client, const std::string&) {
    if (!client.is_driver()) workers.OnConnectionClosed(client.worker());
  };
}

WorkerNode::~WorkerNode() { workers.KillAll(); }

WorkerNode::Worker WorkerNode::AwaitWorker() {
  auto request = zygote.AwaitRequest();
  EXPECT_TRUE(request.has_value());
  Worker worker;
  worker.id = WorkerId::FromHex(request->worker_id).value_or(WorkerId::Nil());
  worker.life = std::make_unique<IdleProcess>();
  worker.connection = clients.Find(worker.id);
  EXPECT_NE(worker.connection, nullptr);
  zygote.Forked(*request, worker.life->pid());
  EXPECT_TRUE(Until([&] { return workers.PidOf(worker.id) != 0; }));
  worker.process = std::make_unique<FakeProcess>(std::move(request->socket));
  worker.out = std::move(request->out);
  worker.err = std::move(request->err);
  worker.connection->pid = worker.life->pid();
  worker.connection->registered = true;
  workers.OnRegistered(worker.id, worker.life->pid());
  return worker;
}

}  // namespace cyray::raylet
