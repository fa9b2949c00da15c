// What a simulated process meets where it calls libc: time, randomness, waiting, threads,
// processes, internet sockets and descriptors. Linked into the simulator alone, these definitions
// come before libc's own. Outside of simulated processes each does what libc does.
//
// The functions have names of their own here and libc's as symbols, so that libc's declarations,
// whose attributes differ from version to version, are not declared again.
// Threading: confined to the simulation's thread.

#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>

#include "cpp_tests/sim/disk.h"
#include "cpp_tests/sim/kernel.h"
#include "cpp_tests/sim/network.h"
#include "cpp_tests/sim/raw.h"

// A function under libc's name.
#define LIBC_SYMBOL(name) __asm__(#name) __attribute__((visibility("default"), used))
#define LIBC(result, name, ...)                                \
  extern "C" result sim_##name(__VA_ARGS__) LIBC_SYMBOL(name); \
  extern "C" result sim_##name(__VA_ARGS__)

namespace cyray::sim {
namespace {

constexpr int64_t kBootNs = 1'000'000 * kMs;
constexpr int64_t kEpochNs = 1'800'000'000'000 * kMs;

bool Inside() { return Kernel::Current() != nullptr; }
Kernel& kernel() { return *Kernel::Get(); }

int64_t ClockNs(clockid_t clock) {
  if (clock != CLOCK_REALTIME) return kernel().now_ns() + kBootNs;
  return kernel().now_ns() + kEpochNs + kernel().wall_offset_ns();
}

int64_t ToNs(const timespec& time) { return time.tv_sec * 1'000'000'000 + time.tv_nsec; }

int64_t DeadlineOf(int timeout_ms) {
  return timeout_ms < 0 ? kNever : kernel().now_ns() + timeout_ms * kMs;
}

template <class Function>
Function* Real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

void OwnReceived(const msghdr* message) {
  for (cmsghdr* header = CMSG_FIRSTHDR(message); header != nullptr;
       header = CMSG_NXTHDR(const_cast<msghdr*>(message), header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
      kernel().Own(fd);
    }
  }
}

// Waits until one of them is ready, by an epoll of its own.
void AwaitAny(const pollfd* fds, nfds_t count, int64_t deadline_ns) {
  const int epoll = static_cast<int>(RawSyscall(SYS_epoll_create1, EPOLL_CLOEXEC));
  for (nfds_t i = 0; i < count; ++i) {
    epoll_event event{};
    event.events = static_cast<uint32_t>(fds[i].events);
    RawSyscall(SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, fds[i].fd, reinterpret_cast<long>(&event));
  }
  kernel().Own(epoll);
  kernel().WaitForEpoll(epoll, deadline_ns);
  ::close(epoll);
}

int TakeSignal(void* to, size_t size) {
  Process* const process = Kernel::Current();
  if (process->signals.empty() || size < sizeof(signalfd_siginfo)) {
    uint64_t count;
    RawSyscall(SYS_read, process->signal_fd, reinterpret_cast<long>(&count), sizeof count);
    errno = EAGAIN;
    return -1;
  }
  signalfd_siginfo info{};
  info.ssi_signo = static_cast<uint32_t>(process->signals.front());
  process->signals.pop_front();
  std::memcpy(to, &info, sizeof info);
  return sizeof info;
}

int64_t AbsoluteDeadline(clockid_t clock, const timespec* until) {
  return ToNs(*until) - (ClockNs(clock) - kernel().now_ns());
}

int WaitCondition(pthread_cond_t* condition, pthread_mutex_t* mutex, int64_t deadline_ns) {
  pthread_mutex_unlock(mutex);
  bool woken;
  kernel().WaitOn(condition, deadline_ns, &woken);
  pthread_mutex_lock(mutex);
  return woken ? 0 : ETIMEDOUT;
}

// The list of processes under /proc.
struct ProcFolder {
  std::vector<int> pids;
  size_t next = 0;
  dirent entry;
};

int OpenProc(const std::string& path, int pid) {
  const Process* const process = kernel().Find(pid);
  if (process == nullptr || !process->alive || !path.ends_with("/stat")) {
    errno = ENOENT;
    return -1;
  }
  std::string text = std::to_string(pid) + " (" + process->name + ") S " +
                     std::to_string(process->parent != nullptr ? process->parent->pid : 1) + " " +
                     std::to_string(pid) + " " + std::to_string(pid);
  for (int i = 0; i < 16; ++i) text += " 1";
  const int fd = static_cast<int>(RawSyscall(SYS_memfd_create, "stat", MFD_CLOEXEC));
  RawSyscall(SYS_write, fd, reinterpret_cast<long>(text.data()), static_cast<long>(text.size()));
  RawSyscall(SYS_lseek, fd, 0, SEEK_SET);
  return kernel().Own(fd);
}

}  // namespace

// --- Time and randomness ----------------------------------------------------------------------

LIBC(int, clock_gettime, clockid_t clock, timespec* time) {
  if (!Inside())
    return static_cast<int>(RawSyscall(SYS_clock_gettime, clock, reinterpret_cast<long>(time)));
  const int64_t now = ClockNs(clock);
  *time = {now / 1'000'000'000, now % 1'000'000'000};
  return 0;
}

LIBC(ssize_t, getrandom, void* to, size_t size, unsigned flags) {
  if (!Inside()) return RawSyscall(SYS_getrandom, to, static_cast<long>(size), flags);
  auto* out = static_cast<uint8_t*>(to);
  for (size_t at = 0; at < size; at += 8) {
    const uint64_t draw = kernel().time().Random();
    std::memcpy(out + at, &draw, std::min<size_t>(8, size - at));
  }
  return static_cast<ssize_t>(size);
}

LIBC(int, getentropy, void* to, size_t size) { return sim_getrandom(to, size, 0) < 0 ? -1 : 0; }

LIBC(int, nanosleep, const timespec* wait, timespec* rest) {
  if (!Inside())
    return static_cast<int>(RawSyscall(SYS_nanosleep, wait, reinterpret_cast<long>(rest)));
  kernel().Sleep(ToNs(*wait));
  return 0;
}

LIBC(int, usleep, unsigned microseconds) {
  const timespec wait{microseconds / 1'000'000, microseconds % 1'000'000 * 1000};
  return sim_nanosleep(&wait, nullptr);
}

// --- Waiting ----------------------------------------------------------------------------------

LIBC(int, epoll_wait, int epoll, epoll_event* events, int max, int timeout_ms) {
  const auto look = [&](int limit) {
    return static_cast<int>(
        RawSyscall(SYS_epoll_wait, epoll, reinterpret_cast<long>(events), max, limit));
  };
  if (!Inside()) return look(timeout_ms);
  const int64_t deadline = DeadlineOf(timeout_ms);
  kernel().Yield();
  while (true) {
    const int count = look(0);
    if (count != 0 || kernel().now_ns() >= deadline) return count;
    kernel().WaitForEpoll(epoll, deadline);
  }
}

LIBC(int, poll, pollfd* fds, nfds_t count, int timeout_ms) {
  const auto look = [&](int limit) {
    return static_cast<int>(RawSyscall(SYS_poll, fds, static_cast<long>(count), limit));
  };
  if (!Inside()) return look(timeout_ms);
  const int64_t deadline = DeadlineOf(timeout_ms);
  kernel().Yield();
  while (true) {
    const int ready = look(0);
    if (ready != 0 || kernel().now_ns() >= deadline) return ready;
    AwaitAny(fds, count, deadline);
  }
}

LIBC(int, __poll_chk, pollfd* fds, nfds_t count, int timeout_ms, size_t) {
  return sim_poll(fds, count, timeout_ms);
}

// --- Threads ----------------------------------------------------------------------------------

LIBC(int, pthread_create, pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
     void* argument) {
  if (!Inside()) {
    return Real<int(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*)>("pthread_create")(
        thread, attributes, run, argument);
  }
  *thread = kernel().StartThread([run, argument] { run(argument); });
  return 0;
}

LIBC(int, pthread_join, pthread_t thread, void** result) {
  if (!Inside()) return Real<int(pthread_t, void**)>("pthread_join")(thread, result);
  kernel().Join(thread);
  return 0;
}

// Threads are fibers of one real thread, and must not take each other for themselves.
LIBC(pthread_t, pthread_self, ) {
  if (!Inside()) return Real<pthread_t()>("pthread_self")();
  return reinterpret_cast<pthread_t>(Kernel::CurrentFiber());
}

LIBC(int, pthread_setname_np, pthread_t thread, const char* name) {
  if (!Inside()) return Real<int(pthread_t, const char*)>("pthread_setname_np")(thread, name);
  return 0;
}

LIBC(int, pthread_mutex_lock, pthread_mutex_t* mutex) {
  static auto* const real = Real<int(pthread_mutex_t*)>("pthread_mutex_lock");
  if (!Inside()) return real(mutex);
  int result;
  while ((result = pthread_mutex_trylock(mutex)) == EBUSY) kernel().Yield();
  return result;
}

LIBC(int, pthread_cond_wait, pthread_cond_t* condition, pthread_mutex_t* mutex) {
  if (Inside()) return WaitCondition(condition, mutex, kNever);
  return Real<int(pthread_cond_t*, pthread_mutex_t*)>("pthread_cond_wait")(condition, mutex);
}

LIBC(int, pthread_cond_clockwait, pthread_cond_t* condition, pthread_mutex_t* mutex,
     clockid_t clock, const timespec* until) {
  if (Inside()) return WaitCondition(condition, mutex, AbsoluteDeadline(clock, until));
  return Real<int(pthread_cond_t*, pthread_mutex_t*, clockid_t, const timespec*)>(
      "pthread_cond_clockwait")(condition, mutex, clock, until);
}

LIBC(int, pthread_cond_timedwait, pthread_cond_t* condition, pthread_mutex_t* mutex,
     const timespec* until) {
  if (Inside()) return WaitCondition(condition, mutex, AbsoluteDeadline(CLOCK_REALTIME, until));
  return Real<int(pthread_cond_t*, pthread_mutex_t*, const timespec*)>("pthread_cond_timedwait")(
      condition, mutex, until);
}

LIBC(int, pthread_cond_signal, pthread_cond_t* condition) {
  if (Inside()) return kernel().Notify(condition, false), 0;
  return Real<int(pthread_cond_t*)>("pthread_cond_signal")(condition);
}

LIBC(int, pthread_cond_broadcast, pthread_cond_t* condition) {
  if (Inside()) return kernel().Notify(condition, true), 0;
  return Real<int(pthread_cond_t*)>("pthread_cond_broadcast")(condition);
}

// --- Processes --------------------------------------------------------------------------------

LIBC(pid_t, getpid, void) {
  return Inside() ? Kernel::Current()->pid : static_cast<pid_t>(RawSyscall(SYS_getpid));
}

LIBC(pid_t, getppid, void) {
  if (!Inside()) return static_cast<pid_t>(RawSyscall(SYS_getppid));
  if (Kernel::CurrentFiber()->forking) return Kernel::Current()->pid;
  const Process* const parent = Kernel::Current()->parent;
  return parent != nullptr ? parent->pid : 1;
}

// The child's steps, up to exec, run first, on this very stack; what the stack held is kept for the
// parent's return.
LIBC(__attribute__((noinline)) pid_t, fork, void) {
  Fiber* const fiber = Kernel::CurrentFiber();
  if (fiber == nullptr) return Real<pid_t(void)>("fork")();
  fiber->forking = std::make_unique<ForkState>();
  fiber->fork_result = 0;
  getcontext(&fiber->fork_context);
  if (Kernel::CurrentFiber()->fork_result != 0) return Kernel::CurrentFiber()->fork_result;
  auto* const from = reinterpret_cast<uint8_t*>(fiber->fork_context.uc_mcontext.gregs[REG_RSP]);
  fiber->fork_from = from;
  fiber->fork_stack.assign(from, fiber->stack + fiber->context.uc_stack.ss_size);
  return 0;
}

LIBC(int, execvpe, const char*, char* const argv[], char* const environment[]) {
  Fiber* const fiber = Kernel::CurrentFiber();
  std::vector<std::string> arguments;
  for (; *argv != nullptr; ++argv) arguments.emplace_back(*argv);
  std::map<std::string, std::string> variables;
  for (; *environment != nullptr; ++environment) {
    const std::string text = *environment;
    const size_t equals = text.find('=');
    if (equals != std::string::npos) variables[text.substr(0, equals)] = text.substr(equals + 1);
  }
  const int pid = kernel().Exec(Kernel::Current(), *fiber->forking, arguments, variables);
  kernel().ReturnFromFork(pid);
}

LIBC(int, prctl, int option, unsigned long value, ...) {
  if (!Inside()) return static_cast<int>(RawSyscall(SYS_prctl, option, static_cast<long>(value)));
  ForkState* const forking = Kernel::CurrentFiber()->forking.get();
  if (option == PR_SET_PDEATHSIG && forking != nullptr)
    forking->death_signal = static_cast<int>(value);
  if (option == PR_SET_CHILD_SUBREAPER) {
    (forking != nullptr ? forking->adopts : Kernel::Current()->adopts) = value != 0;
  }
  return 0;
}

LIBC(int, sigprocmask, int how, const sigset_t* set, sigset_t* old) {
  if (Inside()) return 0;  // its signals come through its signalfd, or end it
  return Real<int(int, const sigset_t*, sigset_t*)>("sigprocmask")(how, set, old);
}

LIBC(int, dup2, int from, int to) {
  if (Inside()) return to;  // a child's output, which nobody reads
  return static_cast<int>(RawSyscall(SYS_dup2, from, to));
}

LIBC(int, chdir, const char* path) {
  return Inside() ? 0 : static_cast<int>(RawSyscall(SYS_chdir, path));
}

LIBC(int, kill, pid_t pid, int signal) {
  if (!Inside()) return static_cast<int>(RawSyscall(SYS_kill, pid, signal));
  return kernel().Signal(pid, signal) ? 0 : -1;
}

LIBC(pid_t, waitpid, pid_t pid, int* status, int options) {
  if (Inside()) return kernel().Reap(Kernel::Current(), pid, status);
  return static_cast<pid_t>(RawSyscall(SYS_wait4, pid, reinterpret_cast<long>(status), options, 0));
}

// Whatever a child asks for between fork and exec is of a process of its own.
LIBC(sighandler_t, signal, int number, sighandler_t handler) {
  if (!Inside()) return Real<sighandler_t(int, sighandler_t)>("signal")(number, handler);
  return SIG_DFL;
}

LIBC(void, _exit, int code) {
  if (Inside()) kernel().End(Kernel::Current(), W_EXITCODE(code & 0xff, 0));
  RawSyscall(SYS_exit_group, code);
}

LIBC(int, signalfd, int fd, const sigset_t* mask, int flags) {
  if (!Inside()) return Real<int(int, const sigset_t*, int)>("signalfd")(fd, mask, flags);
  Kernel::Current()->signal_fd = static_cast<int>(RawSyscall(SYS_eventfd2, 0L, flags));
  return kernel().Own(Kernel::Current()->signal_fd);
}

LIBC(int, sigtimedwait, const sigset_t* set, siginfo_t* info, const timespec* wait) {
  if (!Inside()) {
    return Real<int(const sigset_t*, siginfo_t*, const timespec*)>("sigtimedwait")(set, info, wait);
  }
  if (!kernel().WaitForSignal(kernel().now_ns() + ToNs(*wait))) {
    errno = EAGAIN;
    return -1;
  }
  std::deque<int>& signals = Kernel::Current()->signals;
  const int signal = signals.empty() ? SIGCHLD : signals.front();
  if (!signals.empty()) signals.pop_front();
  return signal;
}

LIBC(pid_t, setsid, void) {
  return Inside() ? Kernel::Current()->pid : static_cast<pid_t>(RawSyscall(SYS_setsid));
}

LIBC(DIR*, opendir, const char* path) {
  if (!Inside()) return Real<DIR*(const char*)>("opendir")(path);
  if (std::string(path) != "/proc") return nullptr;
  auto* const folder = new ProcFolder();
  for (const auto& [pid, process] : kernel().processes()) {
    if (process->alive) folder->pids.push_back(pid);
  }
  return reinterpret_cast<DIR*>(folder);
}

LIBC(dirent*, readdir, DIR* handle) {
  if (!Inside()) return Real<dirent*(DIR*)>("readdir")(handle);
  auto* const folder = reinterpret_cast<ProcFolder*>(handle);
  if (folder->next == folder->pids.size()) return nullptr;
  std::snprintf(folder->entry.d_name, sizeof folder->entry.d_name, "%d",
                folder->pids[folder->next++]);
  return &folder->entry;
}

LIBC(int, closedir, DIR* handle) {
  if (!Inside()) return Real<int(DIR*)>("closedir")(handle);
  delete reinterpret_cast<ProcFolder*>(handle);
  return 0;
}

// Only what the product asks for in this way.
LIBC(long, syscall, long number, ...) {
  va_list list;
  va_start(list, number);
  long a[6];
  for (long& argument : a) argument = va_arg(list, long);
  va_end(list);
  if (Inside() && number == SYS_pidfd_open) return kernel().OpenPidFd(static_cast<int>(a[0]));
  if (Inside() && number == SYS_pidfd_send_signal) {
    const int pid = kernel().PidOf(static_cast<int>(a[0]));
    return kernel().Signal(pid, static_cast<int>(a[1])) ? 0 : -1;
  }
  if (Inside() && number == SYS_getrandom) {
    return sim_getrandom(reinterpret_cast<void*>(a[0]), static_cast<size_t>(a[1]), 0);
  }
  return RawSyscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

// --- Sockets ----------------------------------------------------------------------------------

LIBC(int, socket, int domain, int type, int protocol) {
  if (Inside() && domain == AF_INET) return Network::Get()->Socket(type);
  const int fd = static_cast<int>(RawSyscall(SYS_socket, domain, type, protocol));
  return Inside() ? kernel().Own(fd) : fd;
}

LIBC(int, bind, int fd, const sockaddr* address, socklen_t size) {
  if (Inside() && Network::Get()->Has(fd)) {
    const auto* inet = reinterpret_cast<const sockaddr_in*>(address);
    return Network::Get()->Bind(fd, ntohl(inet->sin_addr.s_addr), ntohs(inet->sin_port));
  }
  return static_cast<int>(RawSyscall(SYS_bind, fd, reinterpret_cast<long>(address), size));
}

LIBC(int, listen, int fd, int backlog) {
  if (Inside() && Network::Get()->Has(fd)) return Network::Get()->Listen(fd);
  return static_cast<int>(RawSyscall(SYS_listen, fd, backlog));
}

LIBC(int, accept4, int fd, sockaddr* address, socklen_t* size, int flags) {
  if (Inside() && Network::Get()->Has(fd)) return Network::Get()->Accept(fd, flags);
  const int made = static_cast<int>(RawSyscall(SYS_accept4, fd, reinterpret_cast<long>(address),
                                               reinterpret_cast<long>(size), flags));
  return Inside() ? kernel().Own(made) : made;
}

LIBC(int, connect, int fd, const sockaddr* address, socklen_t size) {
  if (Inside() && Network::Get()->Has(fd)) {
    const auto* inet = reinterpret_cast<const sockaddr_in*>(address);
    return Network::Get()->Connect(fd, ntohl(inet->sin_addr.s_addr), ntohs(inet->sin_port));
  }
  return static_cast<int>(RawSyscall(SYS_connect, fd, reinterpret_cast<long>(address), size));
}

LIBC(int, getsockname, int fd, sockaddr* address, socklen_t* size) {
  const auto [ip, port] = Inside() ? Network::Get()->AddressOf(fd) : std::pair(0u, -1);
  if (port < 0) {
    return static_cast<int>(RawSyscall(SYS_getsockname, fd, reinterpret_cast<long>(address),
                                       reinterpret_cast<long>(size)));
  }
  sockaddr_in inet{};
  inet.sin_family = AF_INET;
  inet.sin_port = htons(static_cast<uint16_t>(port));
  inet.sin_addr.s_addr = htonl(ip);
  *size = std::min<socklen_t>(*size, sizeof inet);
  std::memcpy(address, &inet, *size);
  return 0;
}

extern "C" int sim_getsockopt(int fd, int level, int name, void* value, socklen_t* size)
    LIBC_SYMBOL(getsockopt);
extern "C" int sim_getsockopt(int fd, int level, int name, void* value, socklen_t* size) {
  if (Inside() && level == SOL_SOCKET && name == SO_ERROR && Network::Get()->Has(fd)) {
    const int error = Network::Get()->TakeError(fd);
    std::memcpy(value, &error, sizeof error);
    return 0;
  }
  return static_cast<int>(RawSyscall(SYS_getsockopt, fd, level, name, reinterpret_cast<long>(value),
                                     reinterpret_cast<long>(size)));
}

LIBC(ssize_t, recvmsg, int fd, msghdr* message, int flags) {
  const ssize_t n = RawSyscall(SYS_recvmsg, fd, reinterpret_cast<long>(message), flags);
  if (Inside() && n >= 0) OwnReceived(message);
  return n;
}

// --- Descriptors and the disk -----------------------------------------------------------------

LIBC(int, close, int fd) {
  if (Kernel::Get() != nullptr) {
    Kernel::Get()->Disown(fd);
    if (Network::Get() != nullptr) Network::Get()->Closed(fd);
  }
  return static_cast<int>(RawSyscall(SYS_close, fd));
}

LIBC(int, socketpair, int domain, int type, int protocol, int* ends) {
  const int result = static_cast<int>(
      RawSyscall(SYS_socketpair, domain, type, protocol, reinterpret_cast<long>(ends)));
  if (Inside() && result == 0) kernel().Own(ends[0]), kernel().Own(ends[1]);
  return result;
}

LIBC(int, pipe2, int* ends, int flags) {
  const int result = static_cast<int>(RawSyscall(SYS_pipe2, ends, flags));
  if (Inside() && result == 0) kernel().Own(ends[0]), kernel().Own(ends[1]);
  return result;
}

LIBC(int, epoll_create1, int flags) {
  const int fd = static_cast<int>(RawSyscall(SYS_epoll_create1, flags));
  return Inside() ? kernel().Own(fd) : fd;
}

LIBC(int, eventfd, unsigned count, int flags) {
  const int fd = static_cast<int>(RawSyscall(SYS_eventfd2, count, flags));
  return Inside() ? kernel().Own(fd) : fd;
}

LIBC(int, memfd_create, const char* name, unsigned flags) {
  const int fd = static_cast<int>(RawSyscall(SYS_memfd_create, name, flags));
  return Inside() ? kernel().Own(fd) : fd;
}

LIBC(int, open, const char* path, int flags, mode_t mode) {
  int pid;
  if (Inside() && std::sscanf(path, "/proc/%d/", &pid) == 1) return OpenProc(path, pid);
  const int fd =
      static_cast<int>(RawSyscall(SYS_openat, AT_FDCWD, reinterpret_cast<long>(path), flags, mode));
  return Inside() ? kernel().Own(fd) : fd;
}

LIBC(int, open64, const char* path, int flags, mode_t mode) { return sim_open(path, flags, mode); }

LIBC(int, fcntl, int fd, int command, long argument) {
  if (Inside() && command == F_SETFD && Kernel::CurrentFiber()->forking) {
    if ((argument & FD_CLOEXEC) == 0) Kernel::CurrentFiber()->forking->inherited.push_back(fd);
    return 0;
  }
  const int result = static_cast<int>(RawSyscall(SYS_fcntl, fd, command, argument));
  const bool made = command == F_DUPFD || command == F_DUPFD_CLOEXEC;
  return Inside() && made ? kernel().Own(result) : result;
}

LIBC(int, fcntl64, int fd, int command, long argument) { return sim_fcntl(fd, command, argument); }

LIBC(ssize_t, read, int fd, void* to, size_t size) {
  if (Inside() && fd == Kernel::Current()->signal_fd) return TakeSignal(to, size);
  return RawSyscall(SYS_read, fd, reinterpret_cast<long>(to), static_cast<long>(size));
}

LIBC(ssize_t, write, int fd, const void* from, size_t size) {
  if (Inside() && (fd == STDOUT_FILENO || fd == STDERR_FILENO)) {
    std::string text(static_cast<const char*>(from), size);
    while (!text.empty() && text.back() == '\n') text.pop_back();
    kernel().Log(text);
    return static_cast<ssize_t>(size);
  }
  return RawSyscall(SYS_write, fd, reinterpret_cast<long>(from), static_cast<long>(size));
}

LIBC(ssize_t, pwrite64, int fd, const void* from, size_t size, off_t at) {
  if (Inside() && Disk::Get()->IsFull(Kernel::Current()->node)) {
    errno = ENOSPC;
    return -1;
  }
  return RawSyscall(SYS_pwrite64, fd, reinterpret_cast<long>(from), static_cast<long>(size), at);
}

LIBC(ssize_t, pwrite, int fd, const void* from, size_t size, off_t at) {
  return sim_pwrite64(fd, from, size, at);
}

LIBC(int, fsync, int fd) {
  if (!Inside()) return static_cast<int>(RawSyscall(SYS_fsync, fd));
  kernel().Sleep(Disk::Get()->SyncNs(Kernel::Current()->node));
  return 0;
}

LIBC(int, fdatasync, int fd) { return sim_fsync(fd); }

extern "C" void* sim_mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset)
    LIBC_SYMBOL(mmap);
extern "C" void* sim_mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset) {
  const long made = RawSyscall(SYS_mmap, reinterpret_cast<long>(at), static_cast<long>(size),
                               protection, flags, fd, offset);
  if (made == -1) return MAP_FAILED;
  auto* const address = reinterpret_cast<void*>(made);
  if (Inside() && (flags & MAP_SHARED) != 0) Kernel::Current()->mappings[address] = size;
  return address;
}

extern "C" void* sim_mmap64(void* at, size_t size, int protection, int flags, int fd, off_t offset)
    LIBC_SYMBOL(mmap64);
extern "C" void* sim_mmap64(void* at, size_t size, int protection, int flags, int fd,
                            off_t offset) {
  return sim_mmap(at, size, protection, flags, fd, offset);
}

LIBC(int, munmap, void* at, size_t size) {
  if (Inside()) Kernel::Current()->mappings.erase(at);
  return static_cast<int>(RawSyscall(SYS_munmap, at, static_cast<long>(size)));
}

}  // namespace cyray::sim

// libstdc++ asks the processor, which no seed reaches.
unsigned int std::random_device::_M_getval() {
  unsigned int value;
  cyray::sim::sim_getrandom(&value, sizeof value, 0);
  return value;
}
