// World: one seed's cluster: how many nodes, what its drivers do, which faults strike when, and
// whether all came out right.
//
// Everything is drawn from the seed before the first step (plan.h); a history is made by that plan
// and the kernel's draws. Right is: nothing happens that must never happen (book.h, looked at after
// each step); each driver ends, with exactly the results that its tasks mean (driver.h); when all
// is over nothing is held any more.
// Threading: confined to the simulation's thread.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "cpp_tests/sim/book.h"
#include "cpp_tests/sim/disk.h"
#include "cpp_tests/sim/driver.h"
#include "cpp_tests/sim/kernel.h"
#include "cpp_tests/sim/network.h"
#include "cpp_tests/sim/plan.h"

namespace cyray::sim {

struct Verdict {
  bool ok = false;
  std::string why;
  uint64_t digest = 0;
  int64_t took_ns = 0;  // of virtual time
};

class World {
 public:
  World(uint64_t seed, const std::vector<FaultKind>& allowed, const std::string& folder, bool echo);

  Verdict Run();
  std::string Describe() const { return plan_.Describe(); }
  const Kernel& kernel() const { return kernel_; }

 private:
  void Start();
  void Strike(const Fault& fault);
  void StrikeProcess(const std::string& name, const Fault& fault);
  void StrikeNode(const Fault& fault);
  void StrikeDriver(const Fault& fault);
  std::vector<Process*> Named(const std::string& name) const;
  bool AllOver() const;
  std::string WhoHangs();
  Verdict Judge(const std::string& why);
  // Runs a process on each node that lives, and waits for all of them.
  void RunObservers(int64_t within_ns, const std::function<void(const RayletSpec&)>& observe,
                    std::string* why);
  void EndNamedActors(std::string* why);
  void FindStored(std::string* why);
  void FindLeaks(std::string* why);

  const Plan plan_;
  Kernel kernel_;
  Network network_;
  Disk disk_;
  Book book_;
  std::vector<std::unique_ptr<Driver>> drivers_;
  std::set<int> dead_nodes_;
};

}  // namespace cyray::sim
