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
    "kv", "functions", "jobs", "nodes", "actor_specs", "actor_states", "calls"};

constexpr std::chrono::milliseconds kRetryEvery{250};

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
  CYRAY_RETURN_IF_ERROR(Execute(db, "PRAGMA cache_size=-1024"));
  CYRAY_RETURN_IF_ERROR(Execute(db, "BEGIN"));
  for (const char* table : kTableNames) {
    const std::string sql =
        std::string("CREATE TABLE IF NOT EXISTS ") + table +
        " (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, value BLOB NOT NULL)";
    CYRAY_RETURN_IF_ERROR(Execute(db, sql.c_str()));
  }
  return Execute(db, "COMMIT");
}

}  // namespace

// Prepared once per table and used by the writer thread alone.
class SqliteStorage::Statements {
 public:
  explicit Statements(sqlite3* db) : db_(db) {}
  ~Statements() {
    for (auto& pair : made_) {
      for (sqlite3_stmt* statement : pair) sqlite3_finalize(statement);
    }
  }

  Status Run(const Change& change) {
    sqlite3_stmt*& statement = made_[static_cast<size_t>(change.kind)][change.erase ? 1 : 0];
    if (statement == nullptr) {
      const std::string table = kTableNames[static_cast<size_t>(change.kind)];
      const std::string sql = change.erase
                                  ? "DELETE FROM " + table + " WHERE key = ?1"
                                  : "INSERT INTO " + table +
                                        " (key, value) VALUES (?1, ?2) "
                                        "ON CONFLICT(key) DO UPDATE SET value = excluded.value";
      if (sqlite3_prepare_v2(db_, sql.c_str(), -1, &statement, nullptr) != SQLITE_OK) {
        return SqliteError(db_, sql);
      }
    }
    sqlite3_bind_blob64(statement, 1, change.key.data(), change.key.size(), SQLITE_STATIC);
    if (!change.erase) {
      // A null pointer would bind NULL; an empty value is a value.
      const void* data = change.value.empty() ? static_cast<const void*>("") : change.value.data();
      sqlite3_bind_blob64(statement, 2, data, change.value.size(), SQLITE_STATIC);
    }
    const int rc = sqlite3_step(statement);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return rc == SQLITE_DONE ? Status::Ok() : SqliteError(db_, "write");
  }

 private:
  sqlite3* const db_;
  std::array<std::array<sqlite3_stmt*, 2>, kKinds> made_{};
};

Result<std::unique_ptr<SqliteStorage>> SqliteStorage::Open(const std::string& path,
                                                           Runtime* runtime) {
  const mode_t before = ::umask(0077);
  sqlite3* db = nullptr;
  const int rc = sqlite3_open_v2(
      path.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  Status status = rc == SQLITE_OK ? Status::Ok() : SqliteError(db, "open " + path);
  if (status.ok()) {
    sqlite3_busy_timeout(db, 2000);  // a predecessor that was killed may still hold its lock
    status = Prepare(db);
  }
  ::umask(before);
  if (!status.ok()) {
    sqlite3_close(db);
    return Fail(status);
  }
  return std::unique_ptr<SqliteStorage>(new SqliteStorage(db, runtime));
}

SqliteStorage::SqliteStorage(sqlite3* db, Runtime* runtime) : db_(db), posts_(runtime) {}

SqliteStorage::~SqliteStorage() {
  Flush();
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
  if (writer_.joinable()) writer_.join();
  sqlite3_close(db_);
}

Status SqliteStorage::Load(Kind kind, const Row& row) {
  CYRAY_CHECK(!writer_.joinable()) << "Load after the first change";
  const std::string sql = std::string("SELECT key, value FROM ") +
                          kTableNames[static_cast<size_t>(kind)] + " ORDER BY id";
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
  if (!writer_.joinable()) writer_ = std::thread([this] { WriteLoop(); });
  wake_.notify_one();
}

Status SqliteStorage::Failure() const {
  std::lock_guard lock(mutex_);
  return failure_;
}

void SqliteStorage::WriteLoop() {
  Statements statements(db_);
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return closing_ || !gathering_.empty(); });
    if (gathering_.empty()) return;
    Batch batch = std::exchange(gathering_, {});
    const bool last = closing_;
    lock.unlock();
    const Status status = Commit(statements, batch);
    if (status.ok() && !last && !batch.callbacks.empty()) {
      posts_.Post([callbacks = std::move(batch.callbacks)] {
        for (const Callback& callback : callbacks) callback(Status::Ok());
      });
    }
    lock.lock();
    if (status.ok()) {
      Written();
      continue;
    }
    PutBack(std::move(batch), status);
    if (last) return;
    wake_.wait_for(lock, kRetryEvery, [this] { return closing_; });
  }
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

Status SqliteStorage::Commit(Statements& statements, const Batch& batch) {
  if (batch.changes.empty()) return Status::Ok();
  CYRAY_RETURN_IF_ERROR(Execute(db_, "BEGIN IMMEDIATE"));
  Status status = Status::Ok();
  for (auto change = batch.changes.begin(); status.ok() && change != batch.changes.end();
       ++change) {
    status = statements.Run(*change);
  }
  if (status.ok()) status = Execute(db_, "COMMIT");
  // A commit that failed leaves its transaction open. Some errors have ended it: no matter.
  if (!status.ok()) sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
  return status;
}

}  // namespace cyray::gcs
