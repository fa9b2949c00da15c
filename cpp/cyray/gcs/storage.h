// Storage: what the GCS knows, on disk, in one SQLite file.
//
// Changes are queued by the state loop and written by one thread in batches, each one transaction
// that is synced before its callbacks run: while one batch is being synced the next gathers, so the
// price of a sync is shared by all changes of that time. Threading: Put, Erase, Flush, OnDurable
// and the destructor on the state loop; Load before it runs. Invariants: changes reach the disk in
// the order in which they were queued, those between two flushes all or none (what a call changed
// and the note that it was done must not part); a callback of OnDurable runs (posted to the loop)
// after all that was queued before it is on disk.

#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "cyray/gcs/bytes.h"
#include "cyray/util/event_loop.h"
#include "cyray/util/status.h"

struct sqlite3;

namespace cyray::gcs {

class Storage {
 public:
  enum class Kind : uint8_t { kKv, kFunction, kJob, kNode, kActorSpec, kActorState, kCall };
  static constexpr size_t kKinds = 7;

  // Opens or makes the file (0600).
  static Result<std::unique_ptr<Storage>> Open(const std::string& path, EventLoop* loop);
  // Writes what is queued, then closes. Callbacks that were not posted yet are dropped.
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  // Every row of `kind`, in order of their first writing.
  Status Load(Kind kind, const std::function<void(std::string_view key, Bytes value)>& row);

  void Put(Kind kind, std::string_view key, Bytes value);
  void Erase(Kind kind, std::string_view key);
  // Ends a group of changes that belong together; they are written in one transaction.
  void Flush();
  // As Flush(); `callback` learns when all that was queued is on disk.
  void OnDurable(std::function<void(Status)> callback);

 private:
  struct Change {
    Kind kind;
    bool erase;
    std::string key;
    Bytes value;
  };
  struct Batch {
    std::vector<Change> changes;
    std::vector<std::function<void(Status)>> callbacks;
    bool empty() const { return changes.empty() && callbacks.empty(); }
  };
  class Statements;

  Storage(sqlite3* db, EventLoop* loop);
  void WriteLoop();
  Status Commit(Statements& statements, const Batch& batch);

  // Constant after construction. db_ is the writer thread's once that has started.
  sqlite3* const db_;
  EventLoop* const loop_;
  // Confined to the state loop: changes since the last flush.
  std::vector<Change> group_;
  // Guarded by mutex_.
  std::mutex mutex_;
  std::condition_variable wake_;
  Batch gathering_;
  bool closing_ = false;

  std::thread writer_;
};

}  // namespace cyray::gcs
