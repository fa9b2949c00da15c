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

// A pin of this process on a sealed object in its node's arena. Counted under the core mutex.
struct LocalPin {
  ObjectId id;
  uint64_t offset;
  uint64_t bytes;
  uint32_t refs;       // the entry's and the views'
  uint32_t views = 0;  // memory that Python sees
};

// A borrower on another process that waits for the value (FetchObject).
struct RemoteFetch {
  WorkerId worker;
  uint64_t request_id;
};

struct ObjectExtra {
  Address owner;                  // borrowed entries
  size_t borrowed_at = 0;         // where the directory lists this borrowed entry
  std::vector<NodeId> locations;  // kStored: nodes that hold it
  uint64_t stored_bytes = 0;
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
  bool pulling : 1 = false;       // stored: asked the raylet for a pin
  bool actor_handle : 1 = false;  // stands for the handles of an actor; has no value
  bool deferred : 1 = false;      // borrowed while a task's arguments were decoded, not registered
  uint32_t refs = 1;
  ValuePtr value;
  LocalPin* pin = nullptr;
  std::unique_ptr<ObjectExtra> extra;

  ObjectExtra& Extra() {
    if (!extra) extra = std::make_unique<ObjectExtra>();
    return *extra;
  }
  bool ready() const { return state != ObjectState::kPending; }
  // The value can be read without asking anybody.
  bool local() const { return state == ObjectState::kInline || pin != nullptr; }
};

}  // namespace cyray::core
