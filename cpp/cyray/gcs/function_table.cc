#include "cyray/gcs/function_table.h"

#include <algorithm>

#include "cyray/util/log.h"

namespace cyray::gcs {

FunctionTable::PutResult FunctionTable::Put(const Key& key, wire::Bytes pickled) {
  PutResult result;
  result.added = functions_.try_emplace(key, std::move(pickled)).second;
  if (auto it = waiters_.find(key); it != waiters_.end()) {
    result.answered = std::move(it->second);
    waiters_.erase(it);
    for (Waiter waiter : result.answered) waiting_for_.erase(waiter);
  }
  return result;
}

const wire::Bytes* FunctionTable::Get(const Key& key) const {
  auto it = functions_.find(key);
  return it == functions_.end() ? nullptr : &it->second;
}

void FunctionTable::Wait(const Key& key, Waiter waiter) {
  CYRAY_CHECK(!functions_.contains(key)) << key.second.Hex();
  CYRAY_CHECK(waiting_for_.emplace(waiter, key).second) << waiter;
  waiters_[key].push_back(waiter);
}

bool FunctionTable::CancelWaiter(Waiter waiter) {
  auto it = waiting_for_.find(waiter);
  if (it == waiting_for_.end()) return false;
  auto list = waiters_.find(it->second);
  std::erase(list->second, waiter);
  if (list->second.empty()) waiters_.erase(list);
  waiting_for_.erase(it);
  return true;
}

std::vector<FunctionTable::Key> FunctionTable::DropJob(const JobId& job) {
  std::vector<Key> dropped;
  auto it = functions_.lower_bound({job, FunctionId::Nil()});
  while (it != functions_.end() && it->first.first == job) {
    dropped.push_back(it->first);
    it = functions_.erase(it);
  }
  return dropped;
}

void FunctionTable::CheckInvariants() const {
  size_t waiting = 0;
  for (const auto& [key, list] : waiters_) {
    CYRAY_CHECK(!list.empty()) << key.second.Hex();
    CYRAY_CHECK(!functions_.contains(key)) << "somebody waits for a function that is there";
    waiting += list.size();
  }
  CYRAY_CHECK(waiting == waiting_for_.size()) << waiting << " != " << waiting_for_.size();
}

}  // namespace cyray::gcs
