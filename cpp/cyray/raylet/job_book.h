// JobBook: the jobs this raylet knows of, with what their workers are told.
// Threading: confined to the raylet's loop.

#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "cyray/common/ids.h"

namespace cyray::raylet {

struct Job {
  JobId id;
  Address driver;
  std::string name_space;
  std::vector<uint8_t> config;
};

class JobBook {
 public:
  void Add(Job job) { jobs_[job.id] = std::move(job); }
  void Remove(const JobId& id) { jobs_.erase(id); }
  const Job* Find(const JobId& id) const {
    const auto it = jobs_.find(id);
    return it == jobs_.end() ? nullptr : &it->second;
  }
  const std::unordered_map<JobId, Job>& jobs() const { return jobs_; }

 private:
  std::unordered_map<JobId, Job> jobs_;
};

}  // namespace cyray::raylet
