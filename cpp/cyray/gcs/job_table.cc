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
  running_.emplace(entry.driver, number);
  return jobs_[number] = std::move(entry);
}

void JobTable::Restore(JobEntry entry) {
  const uint32_t number = Number(entry.id);
  if (entry.running) {
    running_.emplace(entry.driver, number);
  } else {
    finished_.emplace(entry.end_ms, number);
  }
  jobs_[number] = std::move(entry);
}

bool JobTable::Finish(const JobId& id, int64_t now_ms) {
  auto it = jobs_.find(Number(id));
  if (it == jobs_.end() || !it->second.running) return false;
  it->second.running = false;
  it->second.end_ms = now_ms;
  running_.erase({it->second.driver, it->first});
  finished_.emplace(now_ms, it->first);
  return true;
}

std::vector<JobId> JobTable::RunningWithDriver(const Address& address) const {
  std::vector<JobId> found;
  for (auto it = running_.lower_bound({address, 0}); it != running_.end(); ++it) {
    const Address& driver = it->first;
    if (driver.node != address.node) break;
    if (!address.worker.is_nil() && driver.worker != address.worker) break;
    found.push_back(IdOf(it->second));
  }
  return found;
}

std::vector<JobId> JobTable::Running() const {
  std::vector<JobId> found;
  for (const auto& [driver, number] : running_) found.push_back(IdOf(number));
  return found;
}

std::vector<JobId> JobTable::Trim(const std::function<bool(const JobId&)>& needed) {
  std::vector<JobId> forgotten;
  for (auto it = finished_.begin(); finished_.size() > finished_kept_ && it != finished_.end();) {
    const uint32_t number = it->second;
    if (number == jobs_.rbegin()->first || needed(IdOf(number))) {
      ++it;
      continue;
    }
    forgotten.push_back(IdOf(number));
    jobs_.erase(number);
    it = finished_.erase(it);
  }
  return forgotten;
}

void JobTable::SetChange(const JobId& id, uint64_t change) { jobs_.at(Number(id)).change = change; }

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
