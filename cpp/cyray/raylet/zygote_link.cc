#include "cyray/raylet/zygote_link.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "cyray/util/fd_message.h"
#include "cyray/util/log.h"

namespace cyray::raylet {
namespace {

using nlohmann::json;

constexpr size_t kMaxMessageBytes = 64 << 10;
constexpr int64_t kFailureWindowMs = 10'000;
constexpr size_t kMaxFailures = 5;
constexpr int64_t kRestartDelayMs = 20;
constexpr int64_t kHopelessDelayMs = 2'000;
constexpr int kForkFds = 3;

}  // namespace

ZygoteLink::ZygoteLink(EventLoop* loop, const NodeOptions* options, ProcessSupervisor* supervisor,
                       Callbacks callbacks)
    : loop_(loop),
      options_(options),
      supervisor_(supervisor),
      callbacks_(std::move(callbacks)),
      log_path_(options->session_dir + "/logs/zygote.out"),
      start_(loop),
      again_(loop) {}

ZygoteLink::~ZygoteLink() { Disconnect(); }

void ZygoteLink::Start() {
  if (stopped_ || socket_.valid()) return;
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
    CYRAY_LOG(kError) << Status::FromErrno("socketpair").message();
    StartLater(kHopelessDelayMs);
    return;
  }
  socket_ = UniqueFd(pair[0]);
  const UniqueFd child(pair[1]);
  const UniqueFd log = OpenLog(log_path_);
  SpawnRequest spawn;
  spawn.argv = {options_->python,           "-m",
                "cyray._worker.zygote",     std::to_string(child.get()),
                std::to_string(::getpid()), std::string(kTitleBytes, '.')};
  spawn.env = {{"CYRAY_RAYLET_SOCKET", options_->socket_path},
               {"CYRAY_SESSION_DIR", options_->session_dir},
               {"CYRAY_NODE_ID", options_->node_id.Hex()},
               {"CYRAY_PRELOAD", options_->preload},
               {"PYTHONUNBUFFERED", "1"}};
  // Once the raylet is dead and all below the zygote with it, the GCS is told so at once. That of
  // a head node is dead, too.
  if (!options_->head && !options_->program.empty()) {
    spawn.env.emplace_back("CYRAY_FAREWELL",
                           json{options_->program, "farewell", options_->node_id.Hex(),
                                options_->gcs_address, options_->token_file}
                               .dump());
  }
  spawn.directory = options_->session_dir;
  spawn.stdout_fd = spawn.stderr_fd = log.get();
  spawn.death_signal = SIGTERM;  // it sees its socket close, ends all below it and tidies up
  spawn.holds_signal = true;     // also before it can handle it
  spawn.adopts = true;           // also what its workers started and left behind
  spawn.inherited = {child.get()};
  Result<pid_t> pid = supervisor_->Spawn(spawn, [this](int status) { OnExit(status); });
  if (!pid) {
    CYRAY_LOG(kError) << "cannot start the zygote: " << pid.error().message();
    socket_.reset();
    StartLater(kHopelessDelayMs);
    return;
  }
  pid_ = *pid;
  loop_->Add(socket_.get(), EPOLLIN, [this](uint32_t) { OnReadable(); });
}

void ZygoteLink::StartLater(int64_t delay_ms) {
  start_.Start(delay_ms, [this] { Start(); });
}

void ZygoteLink::Stop() {
  stopped_ = true;
  start_.Stop();
  in_flight_.clear();
  Disconnect();
}

void ZygoteLink::Disconnect() {
  if (!socket_.valid()) return;
  loop_->Remove(socket_.get());
  socket_.reset();
  ready_ = false;
}

void ZygoteLink::OnExit(int wait_status) {
  if (socket_.valid()) OnReadable();  // what it still said before it died
  Disconnect();
  pid_ = 0;
  if (stopped_) return;
  CYRAY_LOG(kWarning) << "the zygote ended (" << DescribeExit(wait_status) << "), starting another";
  // A request may have been forked without a word: its child sees its socket close and leaves.
  std::vector<WorkerId> lost;
  for (const auto& [token, request] : in_flight_) lost.push_back(request.worker);
  const int64_t now = loop_->NowMs();
  failures_ms_.push_back(now);
  while (failures_ms_.front() < now - kFailureWindowMs) failures_ms_.pop_front();
  in_flight_.clear();
  if (failures_ms_.size() < kMaxFailures) {
    for (const WorkerId& worker : lost) callbacks_.on_lost(worker, /*again=*/true);
    StartLater(kRestartDelayMs);
    return;
  }
  const std::string why = "Workers cannot be started: the zygote failed " +
                          std::to_string(failures_ms_.size()) + " times, last with " +
                          DescribeExit(wait_status) + ". The end of " + log_path_ + ":\n" +
                          TailOf(log_path_, 4000);
  failures_ms_.clear();
  for (const WorkerId& worker : lost) callbacks_.on_lost(worker, /*again=*/false);
  callbacks_.on_hopeless(why);
  StartLater(kHopelessDelayMs);
}

void ZygoteLink::Fork(ForkRequest request) {
  const uint64_t token = next_token_++;
  const auto& kept = in_flight_[token] = std::move(request);
  if (ready_) SendRequest(token, kept);
}

void ZygoteLink::SendRequest(uint64_t token, const ForkRequest& request) {
  const std::string text =
      json{{"op", "fork"}, {"token", token}, {"worker_id", request.worker.Hex()}}.dump();
  const int fds[kForkFds] = {request.socket.get(), request.out.get(), request.err.get()};
  if (SendWithFds(socket_.get(), text, fds, MSG_DONTWAIT) >= 0) return;
  if (errno == EAGAIN || errno == ENOBUFS) {  // its queue is full: in a moment
    again_.Start(token, 1, [this, token] {
      const auto it = in_flight_.find(token);
      if (ready_ && it != in_flight_.end()) SendRequest(token, it->second);
    });
  }  // otherwise it died: OnExit makes the request again
}

void ZygoteLink::OnReadable() {
  std::string buffer(kMaxMessageBytes, '\0');
  while (socket_.valid()) {
    std::vector<UniqueFd> fds;
    const ssize_t n = ReceiveWithFds(socket_.get(), buffer, &fds, MSG_DONTWAIT);
    if (n > 0) {
      OnMessage(buffer.substr(0, static_cast<size_t>(n)),
                fds.empty() ? UniqueFd() : std::move(fds.front()));
      continue;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    Disconnect();  // it is gone or ends: OnExit follows
  }
}

void ZygoteLink::OnMessage(const std::string& text, UniqueFd fd) {
  const json message = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!message.is_object() || !message.contains("op") || !message["op"].is_string()) {
    CYRAY_LOG(kWarning) << "the zygote said what is no message: " << text.substr(0, 200);
    return;
  }
  const auto number = [&](const char* name) -> int64_t {
    const auto it = message.find(name);
    return it != message.end() && it->is_number_integer() ? it->get<int64_t>() : 0;
  };
  const std::string op = message["op"];
  if (op == "ready") {
    ready_ = true;
    for (const auto& [token, request] : in_flight_) SendRequest(token, request);
  } else if (op == "exited") {
    callbacks_.on_exited(static_cast<int>(number("pid")), static_cast<int>(number("status")),
                         number("most_bytes"));
  } else if (op == "forked" || op == "failed") {
    auto node = in_flight_.extract(static_cast<uint64_t>(number("token")));
    if (node.empty()) return;
    const int64_t pid = number("pid");
    if (op == "forked" && fd.valid() && pid > 0 && pid <= std::numeric_limits<int>::max()) {
      callbacks_.on_forked(node.mapped().worker, static_cast<int>(pid), std::move(fd));
    } else if (op == "forked") {
      const WorkerId worker = node.mapped().worker;
      node = {};  // its ends of socket and pipes
      callbacks_.on_unnamed(worker);
    } else {
      const auto it = message.find("error");
      const bool has = it != message.end() && it->is_string();
      callbacks_.on_failed(std::move(node.mapped()), has ? it->get<std::string>() : "no reason");
    }
  }
}

}  // namespace cyray::raylet
