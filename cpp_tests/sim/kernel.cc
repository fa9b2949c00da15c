#include "cpp_tests/sim/kernel.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "cpp_tests/sim/raw.h"
#include "cyray/util/log.h"

namespace cyray::sim {
namespace {

constexpr size_t kStackBytes = 512 << 10;
constexpr size_t kLogLines = 4000;
constexpr int kMaxDescriptors = 1 << 16;

Kernel* kernel = nullptr;

int RawEpollWait(int epoll, epoll_event* events, int max) {
  return static_cast<int>(
      RawSyscall(SYS_epoll_wait, epoll, reinterpret_cast<long>(events), max, 0));
}

void RawEpollControl(int epoll, int operation, int fd, void* cookie) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = cookie;
  RawSyscall(SYS_epoll_ctl, epoll, operation, fd, reinterpret_cast<long>(&event));
}

void RawSignal(int eventfd) {
  const uint64_t one = 1;
  RawSyscall(SYS_write, eventfd, reinterpret_cast<long>(&one), sizeof one);
}

}  // namespace

Kernel::Kernel(uint64_t seed)
    : time_(seed),
      owners_(kMaxDescriptors),
      ready_epoll_(static_cast<int>(RawSyscall(SYS_epoll_create1, EPOLL_CLOEXEC))),
      network_epoll_(static_cast<int>(RawSyscall(SYS_epoll_create1, EPOLL_CLOEXEC))) {
  CYRAY_CHECK(kernel == nullptr);
  RawEpollControl(ready_epoll_, EPOLL_CTL_ADD, network_epoll_, nullptr);
  kernel = this;
}

Kernel::~Kernel() { kernel = nullptr; }

Kernel* Kernel::Get() { return kernel; }

Fiber* Kernel::CurrentFiber() { return kernel != nullptr ? kernel->running_ : nullptr; }

Process* Kernel::Current() {
  const Fiber* fiber = CurrentFiber();
  return fiber != nullptr ? fiber->process : nullptr;
}

// --- The world's steps ------------------------------------------------------------------------

bool Kernel::Step() {
  if (!time_.Step()) return false;
  Poll();
  return true;
}

// Most turns come within microseconds; now and then a machine is busy.
int64_t Kernel::Latency() {
  const uint64_t draw = time_.Random();
  const int64_t usual = 1'000 + static_cast<int64_t>(draw % 20'000);
  return (draw >> 32) % 1000 == 0 ? usual * 100 : usual;
}

void Kernel::Poll() {
  epoll_event events[16];
  int count;
  do {
    count = RawEpollWait(ready_epoll_, events, 16);
    for (int i = 0; i < count; ++i) {
      auto* fiber = static_cast<Fiber*>(events[i].data.ptr);
      if (fiber == nullptr) {
        pump_();
        continue;
      }
      Disarm(fiber);
      Wake(fiber);
    }
  } while (count == 16);
}

void Kernel::Schedule(Fiber* fiber, int64_t delay_ns) {
  time_.Cancel(fiber->turn);
  fiber->turn = time_.At(time_.now_ns() + delay_ns, [this, fiber] { Turn(fiber); });
}

void Kernel::Turn(Fiber* fiber) {
  fiber->turn = 0;
  if (fiber->process->paused) {
    fiber->kept = true;
    return;
  }
  running_ = fiber;
  swapcontext(&scheduler_, &fiber->context);
  while (fork_to_finish_ != nullptr) {
    Fiber* const forked = std::exchange(fork_to_finish_, nullptr);
    std::memcpy(forked->fork_from, forked->fork_stack.data(), forked->fork_stack.size());
    swapcontext(&scheduler_, &forked->fork_context);
  }
  running_ = nullptr;
}

void Kernel::Switch() {
  Fiber* const fiber = running_;
  const int error = errno;
  swapcontext(&fiber->context, &scheduler_);
  errno = error;
}

void Kernel::Enter(unsigned high, unsigned low) {
  auto* fiber = reinterpret_cast<Fiber*>(uint64_t{high} << 32 | low);
  fiber->run();
  fiber->done = true;
  for (Fiber* other : std::exchange(fiber->joining, {})) kernel->Wake(other);
  kernel->Switch();
}

Fiber* Kernel::NewFiber(Process* process, std::function<void()> run) {
  auto fiber = std::make_unique<Fiber>();
  fiber->process = process;
  fiber->run = std::move(run);
  fiber->stack =
      reinterpret_cast<uint8_t*>(RawSyscall(SYS_mmap, 0, kStackBytes, PROT_READ | PROT_WRITE,
                                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  getcontext(&fiber->context);
  fiber->context.uc_stack.ss_sp = fiber->stack;
  fiber->context.uc_stack.ss_size = kStackBytes;
  fiber->context.uc_link = nullptr;
  const auto address = reinterpret_cast<uint64_t>(fiber.get());
  makecontext(&fiber->context, reinterpret_cast<void (*)()>(&Kernel::Enter), 2,
              static_cast<unsigned>(address >> 32), static_cast<unsigned>(address));
  Fiber* const raw = fiber.get();
  process->fibers.push_back(std::move(fiber));
  Schedule(raw, Latency());
  return raw;
}

// --- Processes --------------------------------------------------------------------------------

Process* Kernel::Start(int node, const std::string& name, Process* parent,
                       std::function<int()> main) {
  auto process = std::make_unique<Process>();
  Process* const raw = process.get();
  raw->pid = next_pid_++;
  raw->node = node;
  raw->name = name + "." + std::to_string(raw->pid);
  raw->parent = parent;
  processes_[raw->pid] = std::move(process);
  NewFiber(raw, [this, raw, main = std::move(main)] { End(raw, W_EXITCODE(main() & 0xff, 0)); });
  return raw;
}

int Kernel::Exec(Process* parent, const ForkState& state, std::vector<std::string> argv,
                 const std::map<std::string, std::string>& environment) {
  const auto found = std::find_if(programs_.begin(), programs_.end(), [&](const auto& program) {
    return std::any_of(argv.begin(), argv.end(), [&](const std::string& argument) {
      return argument.ends_with(program.first);
    });
  });
  CYRAY_CHECK(found != programs_.end()) << "no program for " << argv[0];
  std::vector<int> descriptors;
  for (const int fd : state.inherited) {
    const int own = static_cast<int>(RawSyscall(SYS_dup, fd));
    descriptors.push_back(own);
    duplicated_(fd, own);
    for (std::string& argument : argv) {
      if (argument == std::to_string(fd)) argument = std::to_string(own);
    }
  }
  Process* const child =
      Start(parent->node, found->first, parent,
            [program = found->second, argv, environment] { return program(argv, environment); });
  child->death_signal = state.death_signal;
  child->adopts = state.adopts;
  for (const int fd : descriptors) GiveTo(fd, child);
  return child->pid;
}

Process* Kernel::Find(int pid) const {
  const auto it = processes_.find(pid);
  return it != processes_.end() ? it->second.get() : nullptr;
}

bool Kernel::Signal(int pid, int signal) {
  Process* const process = Find(pid);
  if (process == nullptr || !process->alive) {
    errno = ESRCH;
    return false;
  }
  if (signal == 0) return true;
  if (signal == SIGKILL || process->signal_fd < 0) {
    End(process, signal);
  } else {
    Deliver(process, signal);
  }
  return true;
}

void Kernel::Deliver(Process* process, int signal) {
  process->signals.push_back(signal);
  if (process->signal_fd >= 0) RawSignal(process->signal_fd);
  for (Fiber* fiber : std::exchange(process->signal_waiters, {})) Wake(fiber);
}

void Kernel::Forget(Fiber* fiber) {
  time_.Cancel(std::exchange(fiber->turn, 0));
  time_.Cancel(std::exchange(fiber->alarm, 0));
  StopWatching(fiber);
  for (auto& [condition, waiting] : conditions_) std::erase(waiting, fiber);
  fiber->done = true;
}

void Kernel::End(Process* process, int wait_status) {
  if (!process->alive) return;
  Log("process " + process->name + " ends, wait status " + std::to_string(wait_status));
  process->alive = false;
  for (const auto& fiber : process->fibers) Forget(fiber.get());
  process->signal_waiters.clear();
  for (size_t fd = 0; fd < owners_.size(); ++fd) {
    if (owners_[fd] == process->pid) ::close(static_cast<int>(fd));
  }
  for (const auto& [address, size] : process->mappings) RawSyscall(SYS_munmap, address, size);
  for (const int fd : process->pidfds) {
    RawSyscall(SYS_write, fd, reinterpret_cast<long>("e"), 1);
  }
  Process* heir = process->parent;
  while (heir != nullptr && !(heir->alive && heir->adopts)) heir = heir->parent;
  std::vector<Process*> orphans;
  for (const auto& [pid, other] : processes_) {
    if (other->parent == process && other->alive) orphans.push_back(other.get());
  }
  for (Process* orphan : orphans) orphan->parent = heir;
  process->zombies.clear();
  if (process->parent != nullptr && process->parent->alive) {
    process->parent->zombies[process->pid] = wait_status;
    Deliver(process->parent, SIGCHLD);
  }
  for (Process* orphan : orphans) {
    if (orphan->death_signal != 0) Signal(orphan->pid, orphan->death_signal);
  }
  if (Current() == process) Switch();
}

void Kernel::Pause(Process* process) { process->paused = true; }

void Kernel::Continue(Process* process) {
  process->paused = false;
  for (const auto& fiber : process->fibers) {
    if (std::exchange(fiber->kept, false) && !fiber->done) Schedule(fiber.get(), Latency());
  }
}

int Kernel::Reap(Process* process, int pid, int* status) {
  auto it = pid > 0 ? process->zombies.find(pid) : process->zombies.begin();
  if (it == process->zombies.end()) {
    for (const auto& [id, other] : processes_) {
      if (other->parent == process && other->alive && (pid <= 0 || pid == id)) return 0;
    }
    errno = ECHILD;
    return -1;
  }
  if (status != nullptr) *status = it->second;
  const int ended = it->first;
  process->zombies.erase(it);
  return ended;
}

// A pipe's end, readable from the process's end on: its inode names it also where it is received.
int Kernel::OpenPidFd(int pid) {
  Process* const process = Find(pid);
  int ends[2];
  if (process == nullptr || RawSyscall(SYS_pipe2, ends, O_CLOEXEC) != 0) {
    errno = ESRCH;
    return -1;
  }
  struct stat about;
  ::fstat(ends[0], &about);
  pid_of_inode_[about.st_ino] = pid;
  process->pidfds.push_back(ends[1]);
  if (!process->alive) RawSyscall(SYS_write, ends[1], reinterpret_cast<long>("e"), 1);
  return Own(ends[0]);
}

int Kernel::PidOf(int pidfd) const {
  struct stat about;
  if (::fstat(pidfd, &about) != 0) return -1;
  const auto it = pid_of_inode_.find(about.st_ino);
  return it != pid_of_inode_.end() ? it->second : -1;
}

// --- Threads ----------------------------------------------------------------------------------

uint64_t Kernel::StartThread(std::function<void()> run) {
  return reinterpret_cast<uint64_t>(NewFiber(Current(), std::move(run)));
}

void Kernel::Join(uint64_t thread) {
  auto* const other = reinterpret_cast<Fiber*>(thread);
  while (!other->done) {
    other->joining.push_back(running_);
    Block(kNever);
  }
}

void Kernel::Sleep(int64_t ns) {
  Schedule(running_, ns);
  Switch();
}

bool Kernel::Block(int64_t deadline_ns) {
  Fiber* const fiber = running_;
  fiber->waits = true;
  fiber->woken = false;
  if (deadline_ns != kNever) {
    fiber->alarm = time_.At(deadline_ns, [this, fiber] {
      fiber->alarm = 0;
      if (fiber->turn == 0) Schedule(fiber, Latency());
    });
  }
  Switch();
  fiber->waits = false;
  time_.Cancel(std::exchange(fiber->alarm, 0));
  return fiber->woken;
}

void Kernel::Wake(Fiber* fiber) {
  if (fiber->done || !fiber->waits) return;
  fiber->woken = true;
  if (fiber->turn == 0 && !fiber->kept) Schedule(fiber, Latency());
}

bool Kernel::WaitForEpoll(int epoll, int64_t deadline_ns) {
  Fiber* const fiber = running_;
  // Two threads may wait for one epoll: each with a descriptor of its own.
  fiber->epoll = static_cast<int>(RawSyscall(SYS_dup, epoll));
  RawEpollControl(ready_epoll_, EPOLL_CTL_ADD, fiber->epoll, fiber);
  fiber->armed = true;
  const bool ready = Block(deadline_ns);
  StopWatching(fiber);
  return ready;
}

void Kernel::Disarm(Fiber* fiber) {
  if (!std::exchange(fiber->armed, false)) return;
  RawEpollControl(ready_epoll_, EPOLL_CTL_DEL, fiber->epoll, nullptr);
}

void Kernel::StopWatching(Fiber* fiber) {
  Disarm(fiber);
  if (fiber->epoll >= 0) RawSyscall(SYS_close, std::exchange(fiber->epoll, -1));
}

void Kernel::WaitOn(const void* condition, int64_t deadline_ns, bool* woken) {
  conditions_[condition].push_back(running_);
  *woken = Block(deadline_ns);
  const auto it = conditions_.find(condition);
  if (it == conditions_.end()) return;
  std::erase(it->second, running_);
  if (it->second.empty()) conditions_.erase(it);
}

void Kernel::Notify(const void* condition, bool all) {
  const auto it = conditions_.find(condition);
  if (it == conditions_.end()) return;
  while (!it->second.empty()) {
    Fiber* const fiber = it->second.front();
    it->second.pop_front();
    Wake(fiber);
    if (!all) break;
  }
}

bool Kernel::WaitForSignal(int64_t deadline_ns) {
  if (!Current()->signals.empty()) return true;
  Current()->signal_waiters.push_back(running_);
  const bool woken = Block(deadline_ns);
  std::erase(Current()->signal_waiters, running_);
  return woken;
}

void Kernel::ReturnFromFork(int result) {
  running_->fork_result = result;
  running_->forking.reset();
  fork_to_finish_ = running_;
  setcontext(&scheduler_);
  __builtin_unreachable();
}

// --- Descriptors ------------------------------------------------------------------------------

int Kernel::Own(int fd) {
  if (fd >= 0) GiveTo(fd, Current());
  return fd;
}

void Kernel::GiveTo(int fd, Process* process) {
  owners_[static_cast<size_t>(fd)] = process != nullptr ? process->pid : 0;
}

void Kernel::Disown(int fd) {
  if (fd < 0 || fd >= kMaxDescriptors) return;
  owners_[static_cast<size_t>(fd)] = 0;
}

void Kernel::Log(const std::string& text) {
  char stamp[32];
  std::snprintf(stamp, sizeof stamp, "%12.6f ", static_cast<double>(time_.now_ns()) / 1e9);
  std::string line = stamp + (running_ != nullptr ? running_->process->name + ": " : "") + text;
  if (echo_) std::fprintf(stdout, "%s\n", line.c_str());
  log_.push_back(std::move(line));
  if (log_.size() > kLogLines) log_.pop_front();
}

}  // namespace cyray::sim
