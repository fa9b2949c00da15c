// Book: what really happened in a simulated world. The simulated programs write it beside the
// engine: which process began and ended which task, which process was which actor. From it the
// world knows after each step whether something happened that must never happen, and a driver
// whether an error that it got has a cause.
//
// Never: two running attempts of a task, or two live instances of an actor; more attempts than
// max_retries allows; a call of an actor that is saved whose effect its state has twice; more
// instances than max_restarts allows; an actor that is started again though nobody ended its
// process; calls of one caller out of order; an attempt after another one that had answered, or
// after it is known that the task was cancelled. Threading: confined to the simulation's thread.
// There is one Book at a time.

#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cpp_tests/sim/kernel.h"
#include "cpp_tests/sim/task_key.h"
#include "cyray/common/ids.h"
#include "cyray/core/execution_queue.h"

namespace cyray::sim {

class Book {
 public:
  struct Rules {
    int64_t news_ns;        // so long what a process says may be on its way to others
    bool answers_get_lost;  // with the nodes that pass them on
  };
  Book(Kernel* kernel, const Rules& rules) : kernel_(kernel), rules_(rules) { book_ = this; }
  Book(const Book&) = delete;
  Book& operator=(const Book&) = delete;
  static Book& Get() { return *book_; }

  // What must never happen; empty: it did not.
  const std::string& wrong() const { return wrong_; }

  // --- Tasks; calls of actors, too ---
  // `kept`: a call of an actor that is saved, which may run again for its effect.
  void Submitted(const TaskId& id, int max_retries, bool kept = false) {
    tasks_[id].max_retries = max_retries;
    tasks_[id].kept = kept;
  }
  // The state of an actor has the effect of that call a second time.
  void NeverTwice(const TaskId& id) {
    Never("the call " + id.Hex() + " has its effect twice in the state of its actor");
  }
  // By the process whose turn it is.
  void Begins(const core::ExecTask& task, bool is_call);
  void Ends(const TaskId& id);
  // What it returned is on its way, and waits for nobody.
  void Answers(const TaskId& id);
  int Attempts(const TaskId& id) const;
  // Its submitter cancels it: where an attempt runs, that is the last one.
  void Cancels(const TaskId& id);
  // Whoever waited for it knows that it was cancelled.
  void Cancelled(const TaskId& id) { tasks_[id].cancelled = true; }
  // So whoever waits for it hears of that, whatever becomes of the process.
  bool HasAnswered(const TaskId& id) const;
  // Why a task cannot have failed with the end of the process `pid`; empty: it can. `only_own`:
  // nobody kills a process but the task that runs in it.
  std::string WhyNotCrashed(const TaskId& id, int pid, bool only_own) const;
  // Of two tasks that meet, by the salt that both have.
  void Arrives(const TaskKey& key) { arrived_.emplace(key.salt, key.depth); }
  bool HasArrived(const TaskKey& key) const { return arrived_.contains({key.salt, key.depth}); }

  // --- Actors ---
  void ActorMade(const ActorId& id, int max_restarts);
  // This process is the actor, in its constructor; the constructor is over.
  void InstanceBegins(const ActorId& id);
  void InstanceReady(const ActorId& id);
  // The world ends it, or it itself.
  void Struck(int pid) { struck_.insert(pid); }
  // With its node, so that the news of what it became may be lost: an instance of which nobody has
  // heard counts as none.
  void StruckWithItsNode(int pid);
  bool NeverBegan(const ActorId& id) const;
  // Somebody asks the GCS to end its process, which may be one that never gets to run.
  void AskedToEnd(const ActorId& id) { ++actors_[id].asked; }
  // How many processes of it are gone, at most.
  int Deaths(const ActorId& id) const;
  // It has no restart left.
  bool MayBeDead(const ActorId& id) const;
  // The process is an actor, or was one.
  bool IsActor(int pid) const { return actor_pids_.contains(pid); }
  // What its constructor keeps was kept by whoever made it until the owners had heard of that.
  bool KeepsRefs(const ActorId& id) const;

 private:
  struct Attempt {
    int pid = 0;
    bool ended = false;
    bool answered = false;
  };
  struct Task {
    int max_retries = -1;
    bool cancelled = false;  // it does not begin any more
    bool kept = false;
    std::vector<Attempt> attempts;
  };
  struct Instance {
    int pid = 0;
    bool ready = false;
    int64_t ready_ns = 0;
  };
  struct Actor {
    int max_restarts = -1;
    int maker = 0;
    bool keeps_refs = false;
    int asked = 0;  // to end
    std::vector<Instance> instances;
  };
  void Never(const std::string& what);
  bool IsAlive(int pid) const;
  // Its process ended, and not by what the world did to it or it to itself.
  bool EndedByEngine(int pid) const;

  static inline Book* book_ = nullptr;
  Kernel* const kernel_;
  const Rules rules_;
  std::string wrong_;
  std::map<TaskId, Task> tasks_;
  std::map<ActorId, Actor> actors_;
  std::set<int> actor_pids_;
  std::set<int> struck_;
  std::set<std::pair<uint64_t, uint8_t>> arrived_;
  std::map<int, TaskId> running_;  // by process; stays when the process ends in between
  // The last call of each caller, by process: callers count their tasks in the ids.
  std::map<std::pair<int, WorkerId>, uint64_t> last_call_;
};

}  // namespace cyray::sim
