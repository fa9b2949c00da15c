// Storage: what the GCS knows, on disk, in one SQLite file.
//
// Changes are queued by the state loop and written by one thread in batches, each one transaction
// that is synced before its callbacks run: while one batch is being synced the next gathers, so the
// price of a sync is shared by all changes of that time.
// A batch that the disk refuses is kept and tried again, with all that came since, until it is
// written. Those who wait for it are told at once, so that they can take back what they did.
// Threading: Put, Erase, Flush, OnDurable and the destructor on the state loop; Load before it
// runs; Failure is thread-safe.
// Invariants: changes reach the disk in the order in which they were queued, those between two
// flushes all or none (what a call changed and the note that it was done must not part); a callback
// of OnDurable runs (posted to the loop) once, with an ok status after all that was queued before
// it is on disk; failed callbacks run youngest first.

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

#include "cyray/util/event_loop.h"
#include "cyray/util/status.h"
#include "cyray/wire/bytes.h"

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
  Status Load(Kind kind, const std::function<void(std::string_view key, wire::Bytes value)>& row);

  void Put(Kind kind, std::string_view key, wire::Bytes value);
  void Erase(Kind kind, std::string_view key);
  // Ends a group of changes that belong together; they are written in one transaction.
  void Flush();
  using Callback = std::function<void(const Status&)>;
  // As Flush(); `callback` learns when all that was queued is on disk. Not ok: the disk refused it.
  // It is written all the same, as soon as that works: who wants it undone queues the opposite.
  void OnDurable(Callback callback);
  // Why the last attempt to write failed; ok when it did not.
  Status Failure() const;

 private:
  struct Change {
    Kind kind;
    bool erase;
    std::string key;
    wire::Bytes value;
  };
  struct Batch {
    std::vector<Change> changes;
    std::vector<Callback> callbacks;
    bool empty() const { return changes.empty() && callbacks.empty(); }
  };
  class Statements;

  Storage(sqlite3* db, EventLoop* loop);
  void WriteLoop();
  Status Commit(Statements& statements, const Batch& batch);
  // Both with mutex_ held, on the writer thread.
  void Written();
  void PutBack(Batch batch, const Status& status);
  static void DropOverwritten(std::vector<Change>& changes);
  // On the loop: tells those who wait.
  void TellFailure();

  // Constant after construction. db_ is the writer thread's once that has started.
  sqlite3* const db_;
  EventLoop* const loop_;
  // Confined to the state loop: changes since the last flush.
  std::vector<Change> group_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // posted functions ask it
  // Guarded by mutex_.
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  Batch gathering_;
  Status failure_;
  bool closing_ = false;

  std::thread writer_;
};

}  // namespace cyray::gcs
