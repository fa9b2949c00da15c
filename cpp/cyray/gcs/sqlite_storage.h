// SqliteStorage: the GCS's storage in one SQLite file.
//
// Changes are written by one thread in batches, each one transaction that is synced before its
// callbacks run: while one batch is being synced the next gathers, so the price of a sync is shared
// by all changes of that time.
// A batch that the disk refuses is kept and tried again, with all that came since, until it is
// written. Those who wait for it are told at once, so that they can take back what they did.
// Threading: as Storage; the destructor on the state loop; Failure is thread-safe.

#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cyray/gcs/storage.h"
#include "cyray/util/timer.h"

struct sqlite3;

namespace cyray::gcs {

class SqliteStorage final : public Storage {
 public:
  // Opens or makes the file (0600).
  static Result<std::unique_ptr<SqliteStorage>> Open(const std::string& path, Runtime* runtime);
  // Writes what is queued, then closes. Callbacks that did not run yet are dropped.
  ~SqliteStorage() override;
  SqliteStorage(const SqliteStorage&) = delete;
  SqliteStorage& operator=(const SqliteStorage&) = delete;

  Status Load(Kind kind, const Row& row) override;
  void Put(Kind kind, std::string_view key, wire::Bytes value) override;
  void Erase(Kind kind, std::string_view key) override;
  void Flush() override;
  void OnDurable(Callback callback) override;
  Status Failure() const override;

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

  SqliteStorage(sqlite3* db, Runtime* runtime);
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
  // Confined to the state loop: changes since the last flush.
  std::vector<Change> group_;
  // Guarded by mutex_.
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  Batch gathering_;
  Status failure_;
  bool closing_ = false;

  std::thread writer_;
  Posts posts_;
};

}  // namespace cyray::gcs
