// Disk: how the disks of a simulated cluster behave: each sync takes its time, and a disk may be
// full or slow. Files are real ones; what a process wrote outlives it, as on a real machine.
// Threading: confined to the simulation's thread.

#pragma once

#include <cstdint>
#include <set>

#include "cpp_tests/sim/kernel.h"

namespace cyray::sim {

class Disk {
 public:
  explicit Disk(Kernel* kernel) : kernel_(kernel) { disk_ = this; }
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;
  static Disk* Get() { return disk_; }

  void SetFull(int node, bool full) { full ? (void)full_.insert(node) : (void)full_.erase(node); }
  void SetSlow(int node, bool slow) { slow ? (void)slow_.insert(node) : (void)slow_.erase(node); }
  bool IsFull(int node) const { return full_.contains(node); }
  int64_t SyncNs(int node) const {
    const auto draw = static_cast<int64_t>(kernel_->time().Below(4'000'000));
    return slow_.contains(node) ? 200 * draw : 100'000 + draw;
  }

 private:
  static inline Disk* disk_ = nullptr;  // libc has no argument to find it by
  Kernel* const kernel_;
  std::set<int> full_, slow_;
};

}  // namespace cyray::sim
