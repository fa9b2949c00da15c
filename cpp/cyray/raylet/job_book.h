// JobBook: the jobs this raylet knows of, with what their workers are told.
//
// An ended job stays for its detached actors, which may start here at any time; the oldest that
// nothing here belongs to go when there are many.
// Threading: confined to the raylet's loop.

#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/raylet/job_python.h"

namespace cyray::raylet {

struct Job {
  JobId id;
  Address driver;
  std::string name_space;
  std::vector<uint8_t> config;
  std::optional<JobPython> python = std::nullopt;  // when it is not the node's
  uint64_t change = 0;  // the number of its latest change that is known (gcs/change_index.h)
  bool ended = false;   // its driver is gone
};

class JobBook {
 public:
  explicit JobBook(size_t ended_kept = 1000) : ended_kept_(ended_kept) {}

  // Once a job has ended it does not begin again: messages of its start may come late.
  void Add(Job job) {
    const auto it = jobs_.find(job.id);
    if (it != jobs_.end() && it->second.ended) return;
    jobs_[job.id] = std::move(job);
  }
  // True when it was not known to have ended. Forgets the oldest ended jobs beyond the bound, but
  // those `in_use`.
  bool End(const JobId& id, const std::function<bool(const JobId&)>& in_use) {
    const auto it = jobs_.find(id);
    if (it == jobs_.end() || it->second.ended) return false;
    it->second.ended = true;
    ended_.push_back(id);
    for (size_t looked = 0, all = ended_.size(); ended_.size() > ended_kept_ && looked < all;
         ++looked) {
      const JobId oldest = ended_.front();
      ended_.pop_front();
      if (in_use(oldest)) {
        ended_.push_back(oldest);
      } else {
        jobs_.erase(oldest);
      }
    }
    return true;
  }
  const Job* Find(const JobId& id) const {
    const auto it = jobs_.find(id);
    return it == jobs_.end() ? nullptr : &it->second;
  }
  // Those that have not ended, as far as all changes up to that one tell.
  std::vector<JobId> RunningAt(uint64_t change) const {
    std::vector<JobId> running;
    for (const auto& [id, job] : jobs_) {
      if (!job.ended && job.change <= change) running.push_back(id);
    }
    return running;
  }
  size_t size() const { return jobs_.size(); }
  // How many have not ended.
  size_t running() const { return jobs_.size() - ended_.size(); }

 private:
  const size_t ended_kept_;
  std::unordered_map<JobId, Job> jobs_;
  std::deque<JobId> ended_;  // oldest end first
};

}  // namespace cyray::raylet
