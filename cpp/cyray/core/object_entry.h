// ObjectEntry: what a process knows about one object it owns or borrows.
//
// Guarded by the core mutex. Entries live as long as `refs` > 0 or remote borrowers hold an owned
// one; ObjectDirectory creates and destroys them. The rare parts are in `Extra`, so that a pending
// result of a small task stays within a cache line.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/core/value.h"

namespace cyray::core {

struct Link;
struct ObjectEntry;
struct PendingTask;

enum class ObjectState : uint8_t {
  kPending,  // the value is not there yet
  kInline,   // the encoded value is in `value`
  kStored,   // it is in the store of the nodes in `extra->locations`
};

// A pin of this process on a sealed object in its node's arena (pin_table.h).
struct LocalPin {
  ObjectId id;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  ObjectEntry* entry = nullptr;  // reads through it; null once that entry is gone
  uint32_t views = 0;            // memory that Python sees
  uint32_t holds = 0;            // tasks that are going to read it
  bool only_copy = false;        // no other node has the object any more
  bool awaited = false;          // while pins are given up: a thread waits for the object
  LocalPin* older = nullptr;     // among the warm ones
  LocalPin* newer = nullptr;
};

// A borrower on another process that waits for the value (FetchObject).
struct RemoteFetch {
  WorkerId worker;
  uint64_t request_id;
};

// Attempts to get a stored object here; kept from the first that failed to the end of them.
struct PullRetry {
  int64_t since_ns = 0;
  int64_t due_ns = 0;  // of the next attempt; 0 while one runs
  uint32_t failures = 0;
};

struct ObjectExtra {
  Address owner;                  // borrowed entries
  size_t borrowed_at = 0;         // where the directory lists this borrowed entry
  std::vector<NodeId> locations;  // kStored: nodes that hold it
  uint64_t stored_bytes = 0;
  std::unique_ptr<PullRetry> retry;
  ValuePtr pull_error;  // for those who wait now: the object is where it was, but not here
  std::vector<ObjectEntry*> contained;     // refs inside the value; each counted in its `refs`
  std::vector<uint64_t> dependents;        // tags of pending tasks that wait for the value
  std::vector<RemoteFetch> fetches;        // borrowers that wait for the value
  std::unordered_set<WorkerId> borrowers;  // owned entries: processes that hold refs
  std::vector<uint64_t> callbacks;         // tokens for Python's completion queue
};

struct ObjectEntry {
  ObjectId id;
  ObjectState state = ObjectState::kPending;
  bool owned : 1 = true;
  bool is_error : 1 = false;
  bool indexed : 1 = false;       // in the directory's map by id
  bool registered : 1 = false;    // borrowed: the owner counts us
  bool fetching : 1 = false;      // borrowed: asked the owner for the value
  bool told_pending : 1 = false;  // borrowed: the owner said that it has no value yet
  bool pulling : 1 = false;       // stored: asked the raylet for a pin, or will again in a moment
  bool pull_failed : 1 = false;   // stored: `extra->pull_error` is for whoever waits
  bool actor_handle : 1 = false;  // stands for the handles of an actor; has no value
  bool generator : 1 = false;     // owned: stands for a streaming generator
  bool deferred : 1 = false;      // borrowed while a task's arguments were decoded, not registered
  bool freed : 1 = false;         // by its user: its value is an error, whatever comes for it
  uint32_t refs = 1;
  uint32_t search = 0;  // the newest search for repeats that came to it
  ValuePtr value;
  LocalPin* pin = nullptr;
  PendingTask* maker = nullptr;  // the task of this process that makes it, until it is answered
  std::unique_ptr<ObjectExtra> extra;

  ObjectExtra& Extra() {
    if (!extra) extra = std::make_unique<ObjectExtra>();
    return *extra;
  }
  bool ready() const { return state != ObjectState::kPending; }
  // Something can be read: the value, or why it could not be brought here.
  bool answered() const { return local() || pull_failed; }
  // The value can be read without asking anybody.
  bool local() const { return state == ObjectState::kInline || pin != nullptr; }
};

}  // namespace cyray::core
