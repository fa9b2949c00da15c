// JobTable: what drivers run or ran.
// Threading: confined to the GCS's state loop. Pure: time is given to it.
// Invariant: a job's number is never used again, also after its record was forgotten: the newest
// record is always kept, and numbers count up from it.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/wire/bytes.h"

namespace cyray::gcs {

struct JobEntry {
  JobId id;
  Address driver;
  int driver_pid = 0;
  std::string ns;
  std::string entrypoint;
  wire::Bytes config;
  bool running = true;
  int64_t start_ms = 0;
  int64_t end_ms = 0;
  uint64_t change = 0;  // the number of its latest change (change_index.h)
};

class JobTable {
 public:
  explicit JobTable(size_t finished_kept = 1000) : finished_kept_(finished_kept) {}

  // Gives `entry` its id. Valid until the next change.
  const JobEntry& Register(JobEntry entry, int64_t now_ms);
  // Puts back what was stored.
  void Restore(JobEntry entry);
  // False when it is unknown or has finished.
  bool Finish(const JobId& id, int64_t now_ms);
  void SetChange(const JobId& id, uint64_t change);
  // Running jobs whose driver is this process, or (worker nil) on this node.
  std::vector<JobId> RunningWithDriver(const Address& address) const;
  std::vector<JobId> Running() const;
  // Forgets finished jobs beyond the bound, the earliest end first, but those `needed`; returns
  // their ids.
  std::vector<JobId> Trim(const std::function<bool(const JobId&)>& needed);

  const JobEntry* Find(const JobId& id) const;
  // Oldest first.
  std::vector<const JobEntry*> All() const;

 private:
  static uint32_t Number(const JobId& id);
  static JobId IdOf(uint32_t number);

  const size_t finished_kept_;
  std::map<uint32_t, JobEntry> jobs_;
  std::set<std::pair<Address, uint32_t>> running_;   // by driver
  std::set<std::pair<int64_t, uint32_t>> finished_;  // by their end
};

}  // namespace cyray::gcs
