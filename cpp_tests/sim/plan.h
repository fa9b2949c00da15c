// Plan: what a seed's world is to be: its nodes, what its drivers do, and which faults strike when.
// Everything is drawn before the first step.
// Threading: values.

#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "cpp_tests/sim/kernel.h"
#include "cpp_tests/sim/player.h"
#include "cpp_tests/sim/programs.h"

namespace cyray::sim {

inline constexpr int64_t kSecond = 1000 * kMs;
inline constexpr int64_t kDriversStartNs = 2 * kSecond;
inline constexpr int64_t kFaultsEndNs = 12 * kSecond;

enum class FaultKind : uint8_t {
  kKillWorker,
  kKillGcs,
  kKillZygote,
  kPauseWorker,
  kPauseGcs,
  kSlowDisk,
  kFullDisk,
  kCut,
  kBlock,
  kPauseRaylet,
  kKillNode,    // it loses power
  kKillRaylet,  // and with it its node
  kKillDriver,
  kStepClock,  // the one on the wall
};
inline constexpr const char* kFaultNames[] = {
    "kill-worker", "kill-gcs",    "kill-zygote", "pause-worker", "pause-gcs",
    "slow-disk",   "full-disk",   "cut",         "block",        "pause-raylet",
    "kill-node",   "kill-raylet", "kill-driver", "step-clock"};

struct Fault {
  int64_t at_ns = 0;
  FaultKind kind = FaultKind::kKillWorker;
  uint64_t draw = 0;  // which one of them
  int64_t lasts_ns = 0;
  bool at_actor = false;  // a worker that is an actor, if there is one
};

// Two nodes between which frames take longer, and each connection its own time.
struct FarPath {
  int a = -1, b = -1;
  int64_t more_ns = 0;  // 0: there is none
};

struct NodePlan {
  RayletSpec spec;
  int64_t starts_ns = 0;
};

struct ActorPlan {
  ActorOptions options;
  int max_task_retries = 0;
  std::vector<uint64_t> kept;  // what the refs name that its constructor keeps
};

struct Step {
  enum class What : uint8_t {
    kTask,
    kCall,        // of an actor of this driver
    kPassHandle,  // to a task, which calls the actor
    kCallOther,   // of a named actor of another driver
    kCallMade,    // of the actor that an earlier kMake made
    kRestart,     // ends the process of an actor of this driver, which may start again
    kGroup,       // makes a placement group and a task in it
  };
  What what = What::kTask;
  TaskKey key;
  int max_retries = -1;
  size_t actor = 0;               // or the driver whose actor it is, or the step that made it
  std::vector<size_t> arguments;  // steps whose results are passed by reference
  int64_t pause_ns = 0;           // after it
  std::vector<size_t> cancels;    // steps, this one among them, that are cancelled before that
  int64_t cancels_after_ns = 0;
  bool cancelled = false;  // it is among those of another one
  bool forced = false;     // by force
  int bundles = 0;         // of a kGroup, a CPU each
  bool removed = false;    // the group goes while the task may run; else at the end
};

struct DriverPlan {
  int node = 0;
  std::vector<ActorPlan> actors;
  std::vector<Step> steps;
  bool reads_beside = false;  // a second thread waits for the results while the first takes steps
  bool makes_late = false;    // makes an actor when it calls it first; else all before it begins
  bool keeps_actors = false;  // until nobody calls any more; else each as long as it calls it
  int keys = 0;               // that it writes at the GCS; such a driver has no steps
  int64_t key_pause_ns = 0;   // after each
};

struct Plan {
  // `allowed`: which faults may strike.
  Plan(uint64_t seed, const std::vector<FaultKind>& allowed, const std::string& folder);

  std::vector<NodePlan> nodes;
  std::vector<DriverPlan> drivers;
  std::vector<Fault> faults;
  FarPath far;
  PlayerRules rules;
  bool gcs_forgets = false;  // who is dead, and finished jobs, at once

  bool Has(FaultKind kind) const;
  // Somebody outside ends processes that run tasks.
  bool kills_workers() const;
  // Frames between processes may take seconds.
  bool delays_news() const {
    return far.more_ns > 0 || Has(FaultKind::kBlock) || Has(FaultKind::kPauseRaylet) ||
           Has(FaultKind::kPauseWorker);
  }
  // A node dies, with what it stores.
  bool kills_nodes() const { return Has(FaultKind::kKillNode) || Has(FaultKind::kKillRaylet); }
  // A node that may die: no driver is on it, and it is not the head.
  std::vector<int> Victims() const;
  std::string Describe() const;

 private:
  uint64_t Below(uint64_t bound) { return random_() % bound; }
  bool OneIn(uint64_t count) { return Below(count) == 0; }
  void DrawNodes(const std::string& folder);
  void DrawWriters();
  void DrawFaults(const std::vector<FaultKind>& allowed);
  void DrawEndUntold(const std::vector<FaultKind>& allowed);
  void DrawRestartUntold(const std::vector<FaultKind>& allowed);
  void DrawDeathUnheard(const std::vector<FaultKind>& allowed);
  void KeepSilencesApart();
  void KeepJoiningApart();
  void DrawActors(DriverPlan* driver, size_t number);
  Step DrawTask(const DriverPlan& driver);
  Step DrawCall(const DriverPlan& driver);
  void DrawMeeting(DriverPlan* driver);
  void DrawBurst(DriverPlan* driver);
  void DrawCallBurst(DriverPlan* driver);
  void DrawSteps(DriverPlan* driver, size_t number);
  void DrawCancels(DriverPlan* driver);
  void DrawStreams(DriverPlan* driver);
  void DrawLate(DriverPlan* driver);
  void DrawGroups(DriverPlan* driver);
  void DrawCounters();
  TaskKey DrawKey(TaskKind kind);

  std::mt19937_64 random_;
  bool gives_ = false;   // tasks return refs to objects of their own
  bool stores_ = false;  // results may be stored
  bool dies_ = false;    // tasks end their processes
  bool meets_ = false;   // pairs of tasks wait for each other
  bool crowds_ = false;  // many actors hold CPUs
  int free_cpus_ = 0;    // that actors may hold
};

}  // namespace cyray::sim
