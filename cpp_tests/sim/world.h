// World: one seed's cluster: how many nodes, what its drivers do, which faults strike when, and
// whether all came out right.
//
// Everything is drawn from the seed before the first step; a history is made by that plan and the
// kernel's draws. Right is: each driver ends, with exactly the results that its tasks mean; when
// all is over nothing is held any more.
// Threading: confined to the simulation's thread.

#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cpp_tests/sim/disk.h"
#include "cpp_tests/sim/kernel.h"
#include "cpp_tests/sim/network.h"
#include "cpp_tests/sim/player.h"
#include "cpp_tests/sim/programs.h"

namespace cyray::sim {

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
};
inline constexpr const char* kFaultNames[] = {
    "kill-worker", "kill-gcs",  "kill-zygote", "pause-worker", "pause-gcs",
    "slow-disk",   "full-disk", "cut",         "block",        "pause-raylet"};

struct Fault {
  int64_t at_ns = 0;
  FaultKind kind = FaultKind::kKillWorker;
  uint64_t draw = 0;  // which one of them
  int64_t lasts_ns = 0;
};

// What may happen in a world; the seed draws what does.
struct Allowed {
  std::vector<FaultKind> faults;
};

struct Verdict {
  bool ok = false;
  std::string why;
  uint64_t digest = 0;
  int64_t took_ns = 0;  // of virtual time
};

class World {
 public:
  World(uint64_t seed, const Allowed& allowed, std::string folder, bool echo);

  Verdict Run();
  std::string Describe() const;  // the plan
  const Kernel& kernel() const { return kernel_; }

 private:
  struct Driver {
    int node = 0;
    std::vector<TaskKey> tasks;
    std::vector<int64_t> pauses_ns;
    Process* process = nullptr;
    bool done = false;
    std::string wrong;
  };

  void Plan(uint64_t seed, const Allowed& allowed);
  void KeepSilencesApart();
  void StartDriver(Driver* driver);
  int RunDriver(Driver* driver);
  void Strike(const Fault& fault);
  void StrikeProcess(const std::string& name, const Fault& fault);
  std::vector<Process*> Named(const std::string& name) const;
  bool AllDone() const;
  Verdict Judge(const std::string& why);
  void FindLeaks(std::string* why);

  Kernel kernel_;
  Network network_;
  Disk disk_;
  const std::string folder_;
  std::vector<RayletSpec> nodes_;
  std::vector<Driver> drivers_;
  std::vector<Fault> faults_;
};

}  // namespace cyray::sim
