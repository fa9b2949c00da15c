#include "cpp_tests/sim/programs.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "cpp_tests/sim/messages.h"
#include "cpp_tests/sim/network.h"
#include "cyray/gcs/gcs_service.h"
#if __has_include("cyray/gcs/sqlite_storage.h")
#include "cyray/gcs/sqlite_storage.h"
#else
#include "cyray/gcs/storage.h"
#endif
#include "cyray/raylet/raylet.h"
#include "cyray/util/event_loop.h"
#include "cyray/util/fd_message.h"
#include "cyray/util/log.h"

namespace cyray::sim {
namespace {

using nlohmann::json;
using Arguments = std::vector<std::string>;

constexpr uint16_t kGcsPort = 6379;
constexpr size_t kZygoteMessageBytes = 64 << 10;

std::string ValueOf(const Arguments& argv, const std::string& name) {
  for (size_t i = 0; i + 1 < argv.size(); ++i) {
    if (argv[i] == name) return argv[i + 1];
  }
  return {};
}

// --- The zygote -------------------------------------------------------------------------------

class Zygote {
 public:
  Zygote(int socket, std::function<int(UniqueFd, WorkerId)> run_worker)
      : socket_(socket), run_worker_(std::move(run_worker)) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    signals_ = UniqueFd(::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  }

  int Run() {
    Say({{"op", "ready"}}, -1);
    while (true) {
      pollfd fds[] = {{socket_.get(), POLLIN, 0}, {signals_.get(), POLLIN, 0}};
      ::poll(fds, 2, -1);
      if (fds[1].revents != 0) Reap();
      if (fds[0].revents != 0 && !Receive()) break;
    }
    for (const int pid : workers_) ::kill(pid, SIGKILL);
    return 0;
  }

 private:
  void Say(const json& message, int fd) {
    (void)SendWithFds(socket_.get(), message.dump(), std::span<const int>(&fd, fd >= 0 ? 1 : 0));
  }

  // False: the raylet is gone.
  bool Receive() {
    std::string text(kZygoteMessageBytes, '\0');
    std::vector<UniqueFd> fds;
    const ssize_t n = ReceiveWithFds(socket_.get(), text, &fds, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return true;
    if (n <= 0) return false;
    text.resize(static_cast<size_t>(n));
    const json message = json::parse(text);
    Kernel& kernel = *Kernel::Get();
    WorkerId id;
    CYRAY_CHECK(HexToBytes(message["worker_id"].get<std::string>(), id.bytes.data(), id.kSize));
    Process* const worker = kernel.Start(
        Kernel::Current()->node, "worker", Kernel::Current(),
        [run = run_worker_, fd = fds.at(0).get(), id] { return run(UniqueFd(fd), id); });
    for (UniqueFd& fd : fds) kernel.GiveTo(fd.release(), worker);
    workers_.insert(worker->pid);
    const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, worker->pid, 0)));
    Say({{"op", "forked"}, {"token", message["token"]}, {"pid", worker->pid}}, pidfd.get());
    return true;
  }

  void Reap() {
    char buffer[256];
    while (::read(signals_.get(), buffer, sizeof buffer) > 0) {
    }
    int status;
    for (int pid; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
      workers_.erase(pid);
      Say({{"op", "exited"}, {"pid", pid}, {"status", status}}, -1);
    }
  }

  UniqueFd socket_;
  UniqueFd signals_;
  const std::function<int(UniqueFd, WorkerId)> run_worker_;
  std::set<int> workers_;
};

// --- The GCS ----------------------------------------------------------------------------------

// What RpcServer is in the product, over the simulated network. Like that it posts what it reads.
class GcsPort {
 public:
  GcsPort(EventLoop* loop, UniqueFd listener) : loop_(loop), listener_(std::move(listener)) {}

  void Serve(gcs::RpcHandler* handler) {
    handler_ = handler;
    loop_->Add(listener_.get(), EPOLLIN, [this](uint32_t) { Accept(); });
  }
  void Send(uint64_t id, const wire::Bytes& message) { Say(id, MessageType::kCommand, 0, message); }
  void AcceptStream(uint64_t id) { Say(id, MessageType::kAccepted, 0, {}); }
  void CloseStream(uint64_t id, const Status& status) {
    const auto it = clients_.find(id);
    if (it == clients_.end()) return;
    it->second->has_stream = false;
    Say(id, MessageType::kClosed, 0, WithCode(status.code(), status.message()));
  }

 private:
  struct Client {
    explicit Client(UniqueFd socket) : messages(std::move(socket)) {}
    Messages messages;
    bool has_stream = false;
    bool closed = false;
  };

  static wire::Bytes WithCode(StatusCode code, std::string_view rest) {
    wire::Bytes body{static_cast<uint8_t>(code)};
    body.insert(body.end(), rest.begin(), rest.end());
    return body;
  }

  void Accept() {
    int fd;
    while ((fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
      const uint64_t id = next_++;
      clients_[id] = std::make_shared<Client>(UniqueFd(fd));
      loop_->Add(fd, EPOLLIN, [this, id](uint32_t) { OnReady(id); });
    }
  }

  void OnReady(uint64_t id) {
    const std::shared_ptr<Client> client = clients_.at(id);
    const bool open =
        client->messages.Read([&](MessageType type, uint64_t call, const wire::Bytes& body) {
          loop_->Post([this, id, type, call, body] { OnMessage(id, type, call, body); });
        });
    if (open && client->messages.Flush()) {
      loop_->Modify(client->messages.fd(),
                    EPOLLIN | (client->messages.HasUnsent() ? EPOLLOUT : 0u));
      return;
    }
    client->closed = true;
    loop_->Remove(client->messages.fd());
    loop_->Post([this, id] { OnClosed(id); });
  }

  void OnClosed(uint64_t id) {
    const auto client = clients_.extract(id);
    if (client.mapped()->has_stream) handler_->OnStreamClosed(id);
  }

  void OnMessage(uint64_t id, MessageType type, uint64_t call, const wire::Bytes& body) {
    if (type == MessageType::kReport) {
      clients_.at(id)->has_stream = true;
      return handler_->OnStreamMessage(id, body);
    }
    if (type == MessageType::kPing) return Say(id, MessageType::kPing, 0, {});
    if (type != MessageType::kCall) return;
    uint16_t method;
    std::memcpy(&method, body.data(), sizeof method);
    handler_->OnCall(
        method, gcs::CallId::FromBytes(body.data() + 2), wire::Bytes(body.begin() + 18, body.end()),
        [this, id, call](const Result<wire::Bytes>& reply) {
          const std::string_view bytes =
              reply ? std::string_view(reinterpret_cast<const char*>(reply->data()), reply->size())
                    : std::string_view(reply.error().message());
          const StatusCode code = reply ? StatusCode::kOk : reply.error().code();
          Say(id, MessageType::kReply, call, WithCode(code, bytes));
        });
  }

  void Say(uint64_t id, MessageType type, uint64_t call, const wire::Bytes& body) {
    const auto it = clients_.find(id);
    if (it == clients_.end() || it->second->closed) return;
    it->second->messages.Send(type, call, body);
    it->second->messages.Flush();
    if (it->second->messages.HasUnsent()) {
      loop_->Modify(it->second->messages.fd(), EPOLLIN | EPOLLOUT);
    }
  }

  EventLoop* const loop_;
  UniqueFd listener_;
  gcs::RpcHandler* handler_ = nullptr;
  std::map<uint64_t, std::shared_ptr<Client>> clients_;
  uint64_t next_ = 1;
};

UniqueFd ListenOn(const std::string& ip, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  ::inet_pton(AF_INET, ip.c_str(), &address.sin_addr);
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(socket.get(), 128) != 0) {
    return {};
  }
  return socket;
}

// SQLite keeps locks for each file of a real process: one that a killed GCS held would stay. So
// each start works on a copy of the files, as they are at that moment, under another name.
std::string NextDatabase(const std::string& folder) {
  namespace fs = std::filesystem;
  int last = 0;
  while (fs::exists(folder + "/gcs" + std::to_string(last + 1) + ".sqlite")) ++last;
  const std::string from = folder + "/gcs" + std::to_string(last) + ".sqlite";
  std::string to = folder + "/gcs" + std::to_string(last + 1) + ".sqlite";
  for (const char* part : {"", "-wal"}) {
    if (fs::exists(from + part)) fs::copy_file(from + part, to + part);
  }
  return to;
}

#if __has_include("cyray/gcs/sqlite_storage.h")
using gcs::SqliteStorage;
#else
using SqliteStorage = gcs::Storage;
#endif

// The raylet hands its listening socket down, or names a port.
UniqueFd ListenerFrom(const Arguments& argv) {
  const std::string inherited = ValueOf(argv, "--listen-fd");
  if (!inherited.empty()) return UniqueFd(std::atoi(inherited.c_str()));
  return ListenOn(ValueOf(argv, "--ip"), kGcsPort);
}

int RunGcs(const Arguments& argv, const gcs::ClusterMemory& memory) {
  EventLoop loop;
  auto storage = SqliteStorage::Open(NextDatabase(ValueOf(argv, "--session-dir")), &loop);
  if (!storage) {
    CYRAY_LOG(kError) << storage.error().ToString();
    return 1;
  }
  UniqueFd listener = ListenerFrom(argv);
  if (!listener.valid()) return 1;
  GcsPort port(&loop, std::move(listener));
  gcs::GcsService service(
      &loop, storage->get(),
      {.send = [&](uint64_t stream, const wire::Bytes& message) { port.Send(stream, message); },
       .accept = [&](uint64_t stream) { port.AcceptStream(stream); },
       .close = [&](uint64_t stream, const Status& status) { port.CloseStream(stream, status); }},
      {}, memory);
  const Status loaded = service.Load();
  CYRAY_CHECK(loaded.ok()) << loaded.ToString();
  port.Serve(&service);
  const std::string line = std::to_string(kGcsPort) + "\n";
  std::string ready = ValueOf(argv, "--ready-fd");
  if (ready.empty()) ready = ValueOf(argv, "--port-file-fd");
  const UniqueFd ready_fd(std::atoi(ready.c_str()));
  [[maybe_unused]] const ssize_t n = ::write(ready_fd.get(), line.data(), line.size());
  loop.Run();
  return 0;
}

}  // namespace

std::string SocketOf(const RayletSpec& spec) {
  return spec.folder + "/n" + std::to_string(spec.node) + "/raylet";
}

void AddPrograms(Kernel* kernel, std::function<int(UniqueFd, WorkerId)> run_worker,
                 bool gcs_forgets) {
  kernel->AddProgram("zygote", [run_worker](const Arguments& argv, const auto&) {
    return Zygote(std::atoi(argv[3].c_str()), run_worker).Run();
  });
  const gcs::ClusterMemory memory =
      gcs_forgets ? gcs::ClusterMemory{.dead_nodes = 0, .finished_jobs = 1} : gcs::ClusterMemory{};
  kernel->AddProgram("gcs_server",
                     [memory](const Arguments& argv, const auto&) { return RunGcs(argv, memory); });
}

Process* StartRaylet(Kernel* kernel, const RayletSpec& spec) {
  raylet::NodeOptions options;
  options.session_dir = spec.folder + "/n" + std::to_string(spec.node);
  std::filesystem::create_directories(options.session_dir + "/logs");
  std::filesystem::permissions(options.session_dir, std::filesystem::perms::owner_all);
  options.socket_path = SocketOf(spec);
  ::unlink(options.socket_path.c_str());
  options.node_ip = Network::IpOf(spec.node);
  options.python = "python";
  options.gcs_server = "gcs_server";
  options.head = spec.node == 0;
  options.gcs_port = kGcsPort;
  if (!options.head) options.gcs_address = Network::IpOf(0) + ":" + std::to_string(kGcsPort);
  options.resources.Set("CPU", spec.cpus * kResourceUnit);
  options.resources.Set("node" + std::to_string(spec.node), 1000 * kResourceUnit);
  options.store_bytes = spec.store_bytes;
  options.token = std::string(32, 't');
  Process* const process = kernel->Start(spec.node, "raylet", nullptr, [options]() mutable -> int {
    options.node_id = NodeId::Random();
    options.incarnation = 1;
    raylet::Raylet raylet(options);
    const Status status = raylet.Start();
    if (!status.ok()) {
      CYRAY_LOG(kError) << status.ToString();
      return 1;
    }
    return raylet.Run();
  });
  process->adopts = true;
  return process;
}

}  // namespace cyray::sim
