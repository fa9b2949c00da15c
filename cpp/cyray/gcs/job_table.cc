#include "cyray/gcs/job_table.h"

#include <cstring>

namespace cyray::gcs {

uint32_t JobTable::Number(const JobId& id) {
  uint32_t number;
  std::memcpy(&number, id.data(), sizeof number);
  return number;
}

JobId JobTable::IdOf(uint32_t number) { return JobId::FromBytes(&number); }

const JobEntry& JobTable::Register(JobEntry entry, int64_t now_ms) {
  const uint32_t number = jobs_.empty() ? 1 : jobs_.rbegin()->first + 1;
  entry.id = IdOf(number);
  entry.running = true;
  entry.start_ms = now_ms;
  return jobs_[number] = std::move(entry);
}

void JobTable::Restore(JobEntry entry) {
  if (!entry.running) ++finished_;
  jobs_[Number(entry.id)] = std::move(entry);
}

bool JobTable::Finish(const JobId& id, int64_t now_ms) {
  auto it = jobs_.find(Number(id));
  if (it == jobs_.end() || !it->second.running) return false;
  it->second.running = false;
  it->second.end_ms = now_ms;
  ++finished_;
  return true;
}

std::vector<JobId> JobTable::RunningWithDriver(const Address& address) const {
  std::vector<JobId> found;
  for (const auto& [number, job] : jobs_) {
    const bool matches = address.worker.is_nil() ? job.driver.node == address.node
                                                 : job.driver.worker == address.worker;
    if (job.running && matches) found.push_back(job.id);
  }
  return found;
}

std::vector<JobId> JobTable::Trim(const std::function<bool(const JobId&)>& needed) {
  std::vector<JobId> forgotten;
  for (auto it = jobs_.begin(); finished_ > finished_kept_ && std::next(it) != jobs_.end();) {
    if (it->second.running || needed(it->second.id)) {
      ++it;
      continue;
    }
    forgotten.push_back(it->second.id);
    it = jobs_.erase(it);
    --finished_;
  }
  return forgotten;
}

const JobEntry* JobTable::Find(const JobId& id) const {
  auto it = jobs_.find(Number(id));
  return it == jobs_.end() ? nullptr : &it->second;
}

std::vector<const JobEntry*> JobTable::All() const {
  std::vector<const JobEntry*> all;
  for (const auto& [number, job] : jobs_) all.push_back(&job);
  return all;
}

}  // namespace cyray::gcs
