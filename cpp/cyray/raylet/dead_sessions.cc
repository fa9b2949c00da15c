#include "cyray/raylet/dead_sessions.h"

namespace cyray::raylet {

// A session's number is not given anew while it has members.
std::vector<ProcessInfo> DeadSessions::Look(const std::vector<Orphan>& orphans) {
  std::vector<ProcessInfo> ended;
  std::map<pid_t, int> again;
  for (const auto& [process, kind] : orphans) {
    const auto session = looks_left_.find(process.session);
    if (session == looks_left_.end() || process.pid == process.session) continue;
    if (kind == ProcessKind::kOther) ended.push_back(process);
    // A tracker ends by itself, after all others. One in the middle of an exec may be anything.
    if (kind != ProcessKind::kResourceTracker && session->second > 1) {
      again[process.session] = session->second - 1;
    }
  }
  looks_left_ = std::move(again);
  return ended;
}

}  // namespace cyray::raylet
