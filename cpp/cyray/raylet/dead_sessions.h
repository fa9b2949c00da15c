// DeadSessions: sessions whose leaders have ended, and what these left behind in them.
//
// An orphan of such a session is to be killed. Those that it started become orphans in turn, so a
// session is looked at again until a look has found nobody. Threading: confined to its owner. Pure:
// what a look has found is given to it.

#pragma once

#include <sys/types.h>

#include <map>
#include <vector>

#include "cyray/raylet/process_tree.h"

namespace cyray::raylet {

class DeadSessions {
 public:
  struct Orphan {
    ProcessInfo process;
    ProcessKind kind = ProcessKind::kOther;
  };

  // It has ended; one that led no session has left nobody in it.
  void Add(pid_t leader) { looks_left_[leader] = kLooks; }
  // Whether somebody may be left, so that another look is due.
  bool empty() const { return looks_left_.empty(); }
  // `orphans`: all of this process that were found. Those that are to be killed.
  std::vector<ProcessInfo> Look(const std::vector<Orphan>& orphans);

 private:
  static constexpr int kLooks = 200;  // then one that cannot be killed is left alone
  std::map<pid_t, int> looks_left_;
};

}  // namespace cyray::raylet
