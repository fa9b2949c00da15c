// SqliteStorage: the GCS's storage in one SQLite file.
//
// Changes are written in batches, each one transaction that is synced before its callbacks run.
// What is queued in one round of the loop is one batch. A small one is written on the loop: a sync
// takes less time than to have another thread do it. Large ones, and all while the disk is slow,
// are the writer thread's: while one is being synced the next gathers, so the price of a sync is
// shared by all changes of that time.
// A batch that the disk refuses is kept and tried again, with all that came since, until it is
// written. Those who wait for it are told at once, so that they can take back what they did.
// Threading: as Storage; the destructor on the state loop; Failure is thread-safe. Invariant: the
// database and statements_ are used by the thread that has set writing_.

#pragma once

#include <atomic>
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

  // How many batches of changes were written, in all and on the loop. Thread-safe.
  uint64_t batches() const { return batches_; }
  uint64_t batches_on_loop() const { return batches_on_loop_; }

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

  // `first`: the place of the next new row in the order of first writing.
  SqliteStorage(sqlite3* db, int64_t first, Runtime* runtime);
  // On the loop: a round is over, its changes are one batch.
  void EndRound();
  void WriteHere(std::unique_lock<std::mutex>& lock);
  void WriteLoop();
  Status Commit(const Batch& batch);
  // All with mutex_ held.
  bool MayWriteHere() const;
  void HandOver();  // what gathers is the writer's
  void Written();
  void PutBack(Batch batch, const Status& status);
  static void DropOverwritten(std::vector<Change>& changes);
  // On the loop: tells those who wait.
  void TellWritten(const std::vector<Callback>& callbacks);
  void TellFailure();

  // Constant after construction.
  sqlite3* const db_;
  Runtime* const runtime_;
  std::unique_ptr<Statements> statements_;
  // Confined to the state loop.
  std::vector<Change> group_;  // changes since the last flush
  bool began_ = false;         // something was queued
  bool round_ends_ = false;    // EndRound() is posted
  int64_t slow_until_ms_ = 0;  // a sync took long
  // Guarded by mutex_.
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  Batch gathering_;
  bool handed_over_ = false;
  bool writing_ = false;
  size_t untold_ = 0;  // batches of the writer whose callbacks have not run
  Status failure_;
  bool closing_ = false;
  std::atomic<uint64_t> batches_ = 0;
  std::atomic<uint64_t> batches_on_loop_ = 0;

  std::thread writer_;
  Posts posts_;
};

}  // namespace cyray::gcs
