#include "cyray/gcs/sqlite_storage.h"

#include <sqlite3.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <iterator>
#include <set>
#include <utility>

#include "cyray/util/log.h"

namespace cyray::gcs {
namespace {

constexpr std::array<const char*, Storage::kKinds> kTableNames = {
    "kv",    "functions",        "jobs",       "nodes", "actor_specs", "actor_states",
    "calls", "placement_groups", "actor_saves"};

constexpr std::chrono::milliseconds kRetryEvery{250};
// What is written on the loop.
constexpr size_t kSmallChanges = 16;
constexpr size_t kSmallBytes = 64 << 10;
// A sync that takes longer moves what follows to the writer, for a while.
constexpr int64_t kSlowSyncMs = 10;
constexpr int64_t kSlowForMs = 2000;
// The log is written over from its start when it has so many pages and all of them are in the
// database: a sync of what the file had room for is cheaper than one that makes it grow.
constexpr char kLogPages[] = "PRAGMA wal_autocheckpoint=256";

Status SqliteError(sqlite3* db, const std::string& what) {
  return Status(StatusCode::kIoError,
                what + ": " + (db != nullptr ? sqlite3_errmsg(db) : "out of memory"));
}

Status Execute(sqlite3* db, const char* sql) {
  if (sqlite3_exec(db, sql, nullptr, nullptr, nullptr) == SQLITE_OK) return Status::Ok();
  return SqliteError(db, sql);
}

Status Prepare(sqlite3* db) {
  // One process uses the file: exclusive locking, when it comes before the WAL is first used, keeps
  // the WAL's index in private memory.
  CYRAY_RETURN_IF_ERROR(Execute(db, "PRAGMA locking_mode=EXCLUSIVE"));
  CYRAY_RETURN_IF_ERROR(Execute(db, "PRAGMA journal_mode=WAL"));
  CYRAY_RETURN_IF_ERROR(Execute(db, "PRAGMA synchronous=FULL"));
  CYRAY_RETURN_IF_ERROR(Execute(db, kLogPages));
  CYRAY_RETURN_IF_ERROR(Execute(db, "PRAGMA cache_size=-1024"));
  CYRAY_RETURN_IF_ERROR(Execute(db, "BEGIN"));
  for (const char* table : kTableNames) {
    // One tree a table: a row that changes is one page of the log.
    const std::string sql = std::string("CREATE TABLE IF NOT EXISTS ") + table +
                            " (key BLOB PRIMARY KEY, first INTEGER NOT NULL, value BLOB NOT NULL)"
                            " WITHOUT ROWID";
    CYRAY_RETURN_IF_ERROR(Execute(db, sql.c_str()));
  }
  return Execute(db, "COMMIT");
}

// The place in the order of first writing that the next new row gets.
Status FindNextFirst(sqlite3* db, int64_t* first) {
  for (const char* table : kTableNames) {
    const std::string sql = std::string("SELECT max(first) FROM ") + table;
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(db, sql.c_str(), -1, &statement, nullptr) != SQLITE_OK) {
      return SqliteError(db, sql);
    }
    const int rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW)
      *first = std::max<int64_t>(*first, sqlite3_column_int64(statement, 0) + 1);
    sqlite3_finalize(statement);
    if (rc != SQLITE_ROW) return SqliteError(db, sql);
  }
  return Status::Ok();
}

}  // namespace

// Prepared once.
class SqliteStorage::Statements {
 public:
  Statements(sqlite3* db, int64_t first) : db_(db), next_first_(first) {}
  ~Statements() {
    for (auto& pair : made_) {
      for (sqlite3_stmt* statement : pair) sqlite3_finalize(statement);
    }
    sqlite3_finalize(begin_);
    sqlite3_finalize(commit_);
  }

  Status Begin() { return Step(begin_, "BEGIN IMMEDIATE"); }
  Status Commit() { return Step(commit_, "COMMIT"); }

  Status Run(const Change& change) {
    sqlite3_stmt*& statement = made_[static_cast<size_t>(change.kind)][change.erase ? 1 : 0];
    if (statement == nullptr) {
      const std::string table = kTableNames[static_cast<size_t>(change.kind)];
      CYRAY_RETURN_IF_ERROR(
          Make(statement, change.erase ? "DELETE FROM " + table + " WHERE key = ?1"
                                       : "INSERT INTO " + table +
                                             " (key, first, value) VALUES (?1, ?3, ?2) ON "
                                             "CONFLICT(key) DO UPDATE SET value = excluded.value"));
    }
    sqlite3_bind_blob64(statement, 1, change.key.data(), change.key.size(), SQLITE_STATIC);
    if (!change.erase) {
      sqlite3_bind_int64(statement, 3, next_first_++);
      // A null pointer would bind NULL; an empty value is a value.
      const void* data = change.value.empty() ? static_cast<const void*>("") : change.value.data();
      sqlite3_bind_blob64(statement, 2, data, change.value.size(), SQLITE_STATIC);
    }
    const Status status = Step(statement, "write");
    sqlite3_clear_bindings(statement);
    return status;
  }

 private:
  Status Make(sqlite3_stmt*& statement, const std::string& sql) {
    if (sqlite3_prepare_v3(db_, sql.c_str(), -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr) ==
        SQLITE_OK) {
      return Status::Ok();
    }
    return SqliteError(db_, sql);
  }
  // `name`: its text, when it was not made yet.
  Status Step(sqlite3_stmt*& statement, const char* name) {
    if (statement == nullptr) CYRAY_RETURN_IF_ERROR(Make(statement, name));
    const int rc = sqlite3_step(statement);
    const Status status = rc == SQLITE_DONE ? Status::Ok() : SqliteError(db_, name);
    sqlite3_reset(statement);
    return status;
  }

  sqlite3* const db_;
  int64_t next_first_;  // of rows, in the order of their first writing
  sqlite3_stmt* begin_ = nullptr;
  sqlite3_stmt* commit_ = nullptr;
  std::array<std::array<sqlite3_stmt*, 2>, kKinds> made_{};
};

Result<std::unique_ptr<SqliteStorage>> SqliteStorage::Open(const std::string& path,
                                                           Runtime* runtime) {
  const mode_t before = ::umask(0077);
  sqlite3* db = nullptr;
  const int rc = sqlite3_open_v2(
      path.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  Status status = rc == SQLITE_OK ? Status::Ok() : SqliteError(db, "open " + path);
  int64_t first = 1;
  if (status.ok()) {
    sqlite3_busy_timeout(db, 2000);  // a predecessor that was killed may still hold its lock
    status = Prepare(db);
    if (status.ok()) status = FindNextFirst(db, &first);
  }
  ::umask(before);
  if (!status.ok()) {
    sqlite3_close(db);
    return Fail(status);
  }
  return std::unique_ptr<SqliteStorage>(new SqliteStorage(db, first, runtime));
}

SqliteStorage::SqliteStorage(sqlite3* db, int64_t first, Runtime* runtime)
    : db_(db),
      runtime_(runtime),
      statements_(std::make_unique<Statements>(db, first)),
      posts_(runtime) {}

SqliteStorage::~SqliteStorage() {
  Flush();
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
    if (!gathering_.empty()) HandOver();
  }
  wake_.notify_one();
  if (writer_.joinable()) writer_.join();
  statements_.reset();
  sqlite3_close(db_);
}

Status SqliteStorage::Load(Kind kind, const Row& row) {
  CYRAY_CHECK(!began_) << "Load after the first change";
  const std::string sql = std::string("SELECT key, value FROM ") +
                          kTableNames[static_cast<size_t>(kind)] + " ORDER BY first";
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(db_, sql.c_str(), -1, &statement, nullptr) != SQLITE_OK) {
    return SqliteError(db_, sql);
  }
  int rc;
  while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
    const auto* key = static_cast<const char*>(sqlite3_column_blob(statement, 0));
    const auto* value = static_cast<const uint8_t*>(sqlite3_column_blob(statement, 1));
    row({key, static_cast<size_t>(sqlite3_column_bytes(statement, 0))},
        wire::Bytes(value, value + sqlite3_column_bytes(statement, 1)));
  }
  sqlite3_finalize(statement);
  return rc == SQLITE_DONE ? Status::Ok() : SqliteError(db_, sql);
}

void SqliteStorage::Put(Kind kind, std::string_view key, wire::Bytes value) {
  group_.push_back({kind, false, std::string(key), std::move(value)});
}

void SqliteStorage::Erase(Kind kind, std::string_view key) {
  group_.push_back({kind, true, std::string(key), {}});
}

void SqliteStorage::Flush() {
  if (!group_.empty()) OnDurable(nullptr);
}

void SqliteStorage::OnDurable(Callback callback) {
  {
    std::lock_guard lock(mutex_);
    std::move(group_.begin(), group_.end(), std::back_inserter(gathering_.changes));
    if (callback) gathering_.callbacks.push_back(std::move(callback));
  }
  group_.clear();
  began_ = true;
  if (!std::exchange(round_ends_, true)) posts_.Post([this] { EndRound(); });
}

Status SqliteStorage::Failure() const {
  std::lock_guard lock(mutex_);
  return failure_;
}

void SqliteStorage::EndRound() {
  round_ends_ = false;
  std::unique_lock lock(mutex_);
  if (gathering_.empty() || handed_over_) return;
  if (MayWriteHere()) return WriteHere(lock);
  HandOver();
}

bool SqliteStorage::MayWriteHere() const {
  // Callbacks run in order: those of the writer's last batch before those of this one.
  if (writing_ || untold_ > 0 || !failure_.ok()) return false;
  if (gathering_.changes.size() > kSmallChanges) return false;
  size_t bytes = 0;
  for (const Change& change : gathering_.changes) bytes += change.value.size();
  return bytes <= kSmallBytes && runtime_->NowMs() >= slow_until_ms_;
}

void SqliteStorage::WriteHere(std::unique_lock<std::mutex>& lock) {
  Batch batch = std::exchange(gathering_, {});
  writing_ = true;
  lock.unlock();
  const int64_t began_ms = runtime_->NowMs();
  const Status status = Commit(batch);
  const int64_t now_ms = runtime_->NowMs();
  if (now_ms - began_ms > kSlowSyncMs) slow_until_ms_ = now_ms + kSlowForMs;
  lock.lock();
  writing_ = false;
  if (!status.ok()) {
    PutBack(std::move(batch), status);
    return HandOver();
  }
  if (!batch.changes.empty()) ++batches_on_loop_;
  lock.unlock();
  for (const Callback& callback : batch.callbacks) callback(status);
}

void SqliteStorage::HandOver() {
  handed_over_ = true;
  if (!writer_.joinable()) writer_ = std::thread([this] { WriteLoop(); });
  wake_.notify_one();
}

void SqliteStorage::WriteLoop() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return closing_ || handed_over_; });
    if (!handed_over_) return;
    Batch batch = std::exchange(gathering_, {});
    const bool last = closing_;
    handed_over_ = false;
    writing_ = true;
    lock.unlock();
    const Status status = Commit(batch);
    lock.lock();
    writing_ = false;
    if (status.ok()) {
      Written();
      if (last || batch.callbacks.empty()) continue;
      ++untold_;
      posts_.Post([this, callbacks = std::move(batch.callbacks)] { TellWritten(callbacks); });
      continue;
    }
    PutBack(std::move(batch), status);
    handed_over_ = true;
    if (last) return;
    wake_.wait_for(lock, kRetryEvery, [this] { return closing_; });
  }
}

void SqliteStorage::TellWritten(const std::vector<Callback>& callbacks) {
  {
    std::lock_guard lock(mutex_);
    --untold_;
  }
  for (const Callback& callback : callbacks) callback(Status::Ok());
}

void SqliteStorage::Written() {
  if (failure_.ok()) return;
  CYRAY_LOG(kInfo) << "the GCS's storage works again";
  failure_ = Status::Ok();
}

void SqliteStorage::PutBack(Batch batch, const Status& status) {
  if (failure_.ok()) {
    CYRAY_LOG(kError) << "the GCS's storage failed and will be tried again: " << status.ToString();
  }
  failure_ = status;
  std::move(gathering_.changes.begin(), gathering_.changes.end(),
            std::back_inserter(batch.changes));
  std::move(gathering_.callbacks.begin(), gathering_.callbacks.end(),
            std::back_inserter(batch.callbacks));
  DropOverwritten(batch.changes);
  gathering_ = std::move(batch);
  if (gathering_.callbacks.empty()) return;
  posts_.Post([this] { TellFailure(); });
}

// They will be one transaction: of several changes of one row only the last counts. So what is kept
// is bounded by what the tables hold, however long the disk refuses it.
void SqliteStorage::DropOverwritten(std::vector<Change>& changes) {
  std::set<std::pair<Kind, std::string>> seen;
  size_t first = changes.size();
  for (size_t i = changes.size(); i-- > 0;) {
    if (!seen.emplace(changes[i].kind, changes[i].key).second) continue;
    if (--first != i) changes[first] = std::move(changes[i]);
  }
  changes.erase(changes.begin(), changes.begin() + static_cast<std::ptrdiff_t>(first));
}

void SqliteStorage::TellFailure() {
  std::vector<Callback> waiting;
  Status status;
  {
    std::lock_guard lock(mutex_);
    if (failure_.ok()) return;  // it was written meanwhile
    status = failure_;
    waiting.swap(gathering_.callbacks);
  }
  std::reverse(waiting.begin(), waiting.end());
  for (const Callback& callback : waiting) callback(status);
  Flush();
}

Status SqliteStorage::Commit(const Batch& batch) {
  if (batch.changes.empty()) return Status::Ok();
  CYRAY_RETURN_IF_ERROR(statements_->Begin());
  Status status = Status::Ok();
  for (auto change = batch.changes.begin(); status.ok() && change != batch.changes.end();
       ++change) {
    status = statements_->Run(*change);
  }
  if (status.ok()) status = statements_->Commit();
  if (status.ok()) ++batches_;
  // A commit that failed leaves its transaction open. Some errors have ended it: no matter.
  if (!status.ok()) sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
  return status;
}

}  // namespace cyray::gcs
