// FunctionTable: the pickled functions and classes of each job, by the hash of their bytes.
//
// A get that comes before its put waits: its waiter's number is handed back by Put(), or by
// CancelWaiter() when the caller gave up (the caller keeps the clock).
// Threading: confined to the GCS's state loop. Pure: no I/O.
// Invariant: nobody waits for a function that is there.

#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/wire/bytes.h"

namespace cyray::gcs {

class FunctionTable {
 public:
  using Key = std::pair<JobId, FunctionId>;
  using Waiter = uint64_t;
  struct PutResult {
    bool added = false;  // false: it was there; equal ids mean equal bytes
    std::vector<Waiter> answered;
  };

  PutResult Put(const Key& key, wire::Bytes pickled);
  // Valid until the next change; nullptr when there is none.
  const wire::Bytes* Get(const Key& key) const;
  // `waiter` is the caller's own number, unique among those that wait. The function must not be
  // there.
  void Wait(const Key& key, Waiter waiter);
  // False when it does not wait (any more).
  bool CancelWaiter(Waiter waiter);
  // Forgets a job's functions; returns their keys. Its waiters go on waiting.
  std::vector<Key> DropJob(const JobId& job);

  size_t size() const { return functions_.size(); }
  size_t waiting() const { return waiting_for_.size(); }
  void CheckInvariants() const;

 private:
  std::map<Key, wire::Bytes> functions_;
  std::map<Key, std::vector<Waiter>> waiters_;
  std::unordered_map<Waiter, Key> waiting_for_;
};

}  // namespace cyray::gcs
