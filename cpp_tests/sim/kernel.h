// Kernel: the operating system of a simulated cluster: processes, their threads, descriptors and
// signals, all in one real thread under virtual time.
//
// A simulated process runs the product's own code unchanged. Each of its threads is a fiber; where
// that code calls libc to wait, to ask for the time, for randomness or for a process, libc.cc
// answers from here. A step of the world runs one fiber until it waits again. How long a fiber
// waits for its turn is drawn from the seed, so one seed gives one interleaving of all threads.
// Descriptors are real ones (Unix sockets, eventfds, memfds): in one thread they are deterministic.
//
// Threading: confined to the simulation's thread. There is one Kernel at a time in a real process,
// because libc has no argument to find it by. A killed process's memory is not given back: each
// seed runs in a real process of its own.
// Invariants: a fiber has at most one turn to come; nothing of a process that ended runs again.

#pragma once

#include <ucontext.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cyray/sim/virtual_time.h"

namespace cyray::sim {

inline constexpr int64_t kNever = INT64_MAX;
inline constexpr int64_t kMs = 1'000'000;

struct Process;

// What a child does between fork and exec.
struct ForkState {
  int death_signal = 0;
  bool adopts = false;
  std::vector<int> inherited;
};

struct Fiber {
  Process* process = nullptr;
  std::function<void()> run;
  ucontext_t context;
  uint8_t* stack = nullptr;
  VirtualTime::EventId turn = 0;   // when it runs next
  VirtualTime::EventId alarm = 0;  // the end of its wait
  bool waits = false;
  bool woken = false;
  bool kept = false;  // its turn came while the process was paused
  bool done = false;
  int epoll = -1;      // it waits for this one, a duplicate of its own
  bool armed = false;  // and nothing of it was ready yet
  std::vector<Fiber*> joining;
  // fork() returns twice: the child's steps run on a copy of the stack's contents.
  std::unique_ptr<ForkState> forking;
  ucontext_t fork_context;
  std::vector<uint8_t> fork_stack;
  uint8_t* fork_from = nullptr;
  int fork_result = 0;
};

struct Process {
  int pid = 0;
  int node = 0;
  std::string name;
  Process* parent = nullptr;
  std::vector<std::unique_ptr<Fiber>> fibers;
  bool alive = true;
  bool paused = false;
  int death_signal = 0;
  bool adopts = false;
  std::map<int, int> zombies;  // children that ended: wait status by pid
  int signal_fd = -1;
  std::deque<int> signals;
  std::vector<Fiber*> signal_waiters;
  std::map<void*, size_t> mappings;  // shared memory
  std::vector<int> pidfds;           // the kernel's ends of those that name it
};

// A program, found by how one of its arguments ends.
using Program = std::function<int(const std::vector<std::string>& argv,
                                  const std::map<std::string, std::string>& environment)>;

class Kernel {
 public:
  explicit Kernel(uint64_t seed);
  ~Kernel();
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  // The one that exists, or null; the process and thread whose turn it is, or null.
  static Kernel* Get();
  static Process* Current();
  static Fiber* CurrentFiber();

  VirtualTime& time() { return time_; }
  int64_t now_ns() const { return time_.now_ns(); }
  // Somebody sets the clock on the wall, of all nodes.
  void StepWallClock(int64_t ns) { wall_offset_ns_ += ns; }
  int64_t wall_offset_ns() const { return wall_offset_ns_; }

  // One event of the world, and what became ready by it. False: nothing will ever happen.
  bool Step();

  // --- Processes ---
  Process* Start(int node, const std::string& name, Process* parent, std::function<int()> main);
  void AddProgram(const std::string& name, Program program) { programs_[name] = program; }
  // As execve in a child: descriptors that it inherits get numbers of its own.
  int Exec(Process* parent, const ForkState& state, std::vector<std::string> argv,
           const std::map<std::string, std::string>& environment);
  // As kill(2). False: there is no such process.
  bool Signal(int pid, int signal);
  // Ends it now; does not return when it is the one that runs.
  void End(Process* process, int wait_status);
  void Pause(Process* process);
  void Continue(Process* process);
  Process* Find(int pid) const;
  const std::map<int, std::unique_ptr<Process>>& processes() const { return processes_; }
  // As waitpid with WNOHANG.
  int Reap(Process* process, int pid, int* status);
  int OpenPidFd(int pid);
  int PidOf(int pidfd) const;

  // --- Threads, for whoever runs ---
  uint64_t StartThread(std::function<void()> run);
  void Join(uint64_t thread);
  // Gives others a turn; comes back after about `ns`.
  void Sleep(int64_t ns);
  void Yield() { Sleep(Latency()); }
  // Waits for Wake(); false when `deadline_ns` came first.
  bool Block(int64_t deadline_ns);
  void Wake(Fiber* fiber);
  // Waits until something of that epoll is ready; false when `deadline_ns` came first.
  bool WaitForEpoll(int epoll, int64_t deadline_ns);
  void WaitOn(const void* condition, int64_t deadline_ns, bool* woken);
  void Notify(const void* condition, bool all);
  bool WaitForSignal(int64_t deadline_ns);
  // The running fiber's child steps end; fork returns `result` in the parent.
  [[noreturn]] void ReturnFromFork(int result);

  // --- Descriptors ---
  int Own(int fd);  // of whoever runs
  void GiveTo(int fd, Process* process);
  void Disown(int fd);

  // The simulated network's epoll, and who is called when something of it is ready.
  int network_epoll() const { return network_epoll_; }
  void set_on_duplicate(std::function<void(int fd, int copy)> told) { duplicated_ = told; }
  void set_on_network(std::function<void()> pump) { pump_ = std::move(pump); }

  // --- What is told at a failure ---
  void Log(const std::string& text);
  void set_echo(bool echo) { echo_ = echo; }
  const std::deque<std::string>& log() const { return log_; }

 private:
  int64_t Latency();
  void Schedule(Fiber* fiber, int64_t delay_ns);
  void Turn(Fiber* fiber);
  void Poll();
  void Switch();
  Fiber* NewFiber(Process* process, std::function<void()> run);
  void Forget(Fiber* fiber);
  void Disarm(Fiber* fiber);
  void StopWatching(Fiber* fiber);
  void Deliver(Process* process, int signal);
  static void Enter(unsigned high, unsigned low);

  VirtualTime time_;
  int64_t wall_offset_ns_ = 0;
  std::map<int, std::unique_ptr<Process>> processes_;
  std::map<std::string, Program> programs_;
  std::map<const void*, std::deque<Fiber*>> conditions_;
  std::map<uint64_t, int> pid_of_inode_;  // of pidfds
  std::vector<int> owners_;               // pid by descriptor, 0: nobody's
  int next_pid_ = 5'000'001;              // no real process has such a number
  int ready_epoll_;                       // holds the epolls that fibers wait for
  int network_epoll_;                     // in it
  std::function<void()> pump_;
  std::function<void(int, int)> duplicated_;
  ucontext_t scheduler_;
  Fiber* running_ = nullptr;
  Fiber* fork_to_finish_ = nullptr;
  std::deque<std::string> log_;
  bool echo_ = false;
};

}  // namespace cyray::sim
