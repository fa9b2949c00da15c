// The GCS's storage on a real file.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include "cpp_tests/gcs/service_fixture.h"
#include "cyray/gcs/sqlite_storage.h"
#include "cyray/util/clock.h"

namespace cyray::gcs {
namespace {

class StorageTest : public testing::Test {
 protected:
  StorageTest() { Open(); }
  void Open() {
    storage_.reset();
    Result<std::unique_ptr<SqliteStorage>> opened =
        SqliteStorage::Open(folder_.path() + "/db", &loop_);
    ASSERT_TRUE(opened.has_value()) << opened.error().ToString();
    storage_ = std::move(*opened);
  }
  std::map<std::string, wire::Bytes> Rows(Storage::Kind kind) {
    std::map<std::string, wire::Bytes> rows;
    EXPECT_TRUE(
        storage_
            ->Load(kind, [&](std::string_view key,
                             wire::Bytes value) { rows[std::string(key)] = std::move(value); })
            .ok());
    return rows;
  }
  bool RunUntil(const std::function<bool()>& done) {
    const int64_t end = MonotonicMs() + 5000;
    while (!done() && MonotonicMs() < end) loop_.RunOnce(10);
    return done();
  }
  void AwaitDurable() {
    bool durable = false;
    storage_->OnDurable([&](const Status& status) { durable = status.ok(); });
    ASSERT_TRUE(RunUntil([&] { return durable; }));
  }

  TemporaryFolder folder_;
  EventLoop loop_;
  std::unique_ptr<SqliteStorage> storage_;
};

TEST_F(StorageTest, RowsAreThereWhenTheFileIsOpenedAgain) {
  storage_->Put(Storage::Kind::kKv, "a", {1, 2});
  storage_->Put(Storage::Kind::kKv, "b", {});
  storage_->Put(Storage::Kind::kJob, "a", {3});
  storage_->Put(Storage::Kind::kKv, "a", {4});
  storage_->Put(Storage::Kind::kKv, "c", {5});
  storage_->Erase(Storage::Kind::kKv, "c");
  AwaitDurable();
  Open();
  EXPECT_EQ(Rows(Storage::Kind::kKv), (std::map<std::string, wire::Bytes>{{"a", {4}}, {"b", {}}}));
  EXPECT_EQ(Rows(Storage::Kind::kJob).size(), 1u);
}

TEST_F(StorageTest, WhatIsQueuedIsWrittenWhenItCloses) {
  storage_->Put(Storage::Kind::kKv, "a", {1});
  storage_->Flush();
  Open();
  EXPECT_EQ(Rows(Storage::Kind::kKv).size(), 1u);
}

TEST_F(StorageTest, CallbacksRunInOrder) {
  std::vector<int> order;
  for (int i = 0; i < 100; ++i) {
    storage_->Put(Storage::Kind::kKv, std::to_string(i), {1});
    storage_->OnDurable([&order, i](const Status&) { order.push_back(i); });
  }
  AwaitDurable();
  ASSERT_EQ(order.size(), 100u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST_F(StorageTest, ARoundsSmallChangesAreOneBatchOnTheLoop) {
  for (int i = 0; i < 4; ++i) {
    storage_->Put(Storage::Kind::kKv, std::to_string(i), {1});
    storage_->Flush();
  }
  AwaitDurable();
  EXPECT_EQ(storage_->batches(), 1u);
  EXPECT_EQ(storage_->batches_on_loop(), 1u);
}

TEST_F(StorageTest, TheWriterHasWhatIsLargeAndCallbacksKeepTheirOrder) {
  std::vector<int> order;
  size_t asked = 0;
  const auto change = [&](const std::string& key, size_t bytes) {
    storage_->Put(Storage::Kind::kKv, key, wire::Bytes(bytes, 1));
    storage_->OnDurable([&order, number = asked++](const Status&) { order.push_back(number); });
  };
  for (int i = 0; i < 30; ++i) {
    change("large" + std::to_string(i), 100'000);
    loop_.RunOnce(0);
    for (int n = 0; n < 3; ++n) {
      change("small" + std::to_string(n), 1);
      loop_.RunOnce(0);
    }
    if (i % 3 == 0) AwaitDurable();
  }
  ASSERT_TRUE(RunUntil([&] { return order.size() == asked; }));
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  EXPECT_GT(storage_->batches(), storage_->batches_on_loop());
  Open();
  EXPECT_EQ(Rows(Storage::Kind::kKv).size(), 33u);
}

TEST_F(StorageTest, RowsComeInTheOrderOfTheirFirstWriting) {
  const std::vector<std::string> keys = {"c", "a", "d", "b"};
  const auto loaded = [&] {
    std::vector<std::string> order;
    EXPECT_TRUE(storage_
                    ->Load(Storage::Kind::kJob,
                           [&](std::string_view key, wire::Bytes) { order.emplace_back(key); })
                    .ok());
    return order;
  };
  for (const std::string& key : {keys[0], keys[1]}) storage_->Put(Storage::Kind::kJob, key, {1});
  AwaitDurable();
  Open();
  EXPECT_EQ(loaded(), (std::vector{keys[0], keys[1]}));
  for (const std::string& key : {keys[1], keys[2], keys[0], keys[3]}) {
    storage_->Put(Storage::Kind::kJob, key, {2});
  }
  AwaitDurable();
  Open();
  EXPECT_EQ(loaded(), keys);
}

TEST_F(StorageTest, TheFileIsItsOwnersAlone) {
  struct stat info;
  ASSERT_EQ(::stat((folder_.path() + "/db").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(StorageTest, AFileThatIsNoDatabaseIsAnError) {
  const std::string path = folder_.path() + "/text";
  FILE* file = ::fopen(path.c_str(), "w");
  for (int i = 0; i < 500; ++i) ::fputs("not a database ", file);
  ::fclose(file);
  EXPECT_FALSE(SqliteStorage::Open(path, &loop_).has_value());
}

TEST_F(StorageTest, WhatTheDiskRefusesIsToldYoungestFirstAndWrittenLater) {
  using Kind = Storage::Kind;
  storage_->Put(Kind::kKv, "undone", {1});
  AwaitDurable();
  std::vector<int> told;
  auto refused = [&](int number, const Status& status) {
    EXPECT_EQ(status.code(), StatusCode::kIoError);
    told.push_back(number);
  };
  {
    FullDisk full;
    storage_->Put(Kind::kKv, "undone", {2});
    storage_->OnDurable([&](const Status& status) {
      refused(1, status);
      storage_->Put(Kind::kKv, "undone", {1});
    });
    storage_->Put(Kind::kKv, "kept", {3});
    storage_->OnDurable([&](const Status& status) { refused(2, status); });
    storage_->OnDurable([&](const Status& status) { refused(3, status); });
    ASSERT_TRUE(RunUntil([&] { return told.size() == 3; }));
    EXPECT_EQ(told, (std::vector{3, 2, 1}));
    EXPECT_EQ(storage_->Failure().code(), StatusCode::kIoError);
  }
  ASSERT_TRUE(RunUntil([&] { return storage_->Failure().ok(); }));
  EXPECT_EQ(told.size(), 3u);
  Open();
  EXPECT_EQ(Rows(Kind::kKv), (std::map<std::string, wire::Bytes>{{"kept", {3}}, {"undone", {1}}}));
}

TEST_F(StorageTest, ItClosesWithoutADiskAndKeepsWhatWasWritten) {
  storage_->Put(Storage::Kind::kKv, "a", {1});
  AwaitDurable();
  {
    FullDisk full;
    storage_->Put(Storage::Kind::kKv, "a", {2});
    storage_->OnDurable([](const Status&) { FAIL() << "nobody is told after the end"; });
    storage_.reset();
  }
  Open();
  EXPECT_EQ(Rows(Storage::Kind::kKv), (std::map<std::string, wire::Bytes>{{"a", {1}}}));
}

// What is on disk when the machine stops in the middle of a write: the file and a part of its log.
TEST_F(StorageTest, ALogThatWasCutAnywhereGivesTheOldestGroupsWhole) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto database = [this](const char* name) { return folder_.path() + "/" + name; };
  for (uint8_t group = 0; group < 30; ++group) {
    storage_->Put(Storage::Kind::kKv, "n", wire::Bytes(1 + random() % 9000, group));
    storage_->Put(Storage::Kind::kJob, "n", {group});
    AwaitDurable();
  }
  const auto log_bytes = std::filesystem::file_size(database("db-wal"));
  ASSERT_GT(log_bytes, 30u * 4096);
  for (int i = 0; i < 40; ++i) {
    std::filesystem::copy_file(database("db"), database("cut"));
    std::filesystem::copy_file(database("db-wal"), database("cut-wal"));
    const uint64_t cut = random() % log_bytes;
    if (i % 2 == 0) {
      std::filesystem::resize_file(database("cut-wal"), cut);
    } else {
      std::fstream file(database("cut-wal"), std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(static_cast<std::streamoff>(cut)).put(static_cast<char>(random()));
    }
    Result<std::unique_ptr<SqliteStorage>> opened = SqliteStorage::Open(database("cut"), &loop_);
    ASSERT_TRUE(opened.has_value()) << opened.error().ToString();
    std::swap(storage_, *opened);
    const auto values = Rows(Storage::Kind::kKv), groups = Rows(Storage::Kind::kJob);
    ASSERT_EQ(values.size(), groups.size()) << "cut at " << cut;
    if (!values.empty()) {
      EXPECT_EQ(values.at("n")[0], groups.at("n")[0]) << "cut at " << cut;
    }
    std::swap(storage_, *opened);
    opened->reset();
    for (const char* name : {"cut", "cut-wal"}) std::filesystem::remove(database(name));
  }
}

TEST_F(StorageTest, RandomChangesLeaveWhatAMapWouldHold) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::map<std::string, wire::Bytes> model;
  for (int i = 0; i < 2000; ++i) {
    const std::string key = std::to_string(random() % 200);
    if (random() % 3 == 0) {
      storage_->Erase(Storage::Kind::kFunction, key);
      model.erase(key);
    } else {
      wire::Bytes value(random() % 300, static_cast<uint8_t>(i));
      storage_->Put(Storage::Kind::kFunction, key, value);
      model[key] = std::move(value);
    }
    if (random() % 20 == 0) storage_->Flush();
  }
  AwaitDurable();
  Open();
  EXPECT_EQ(Rows(Storage::Kind::kFunction), model);
}

}  // namespace
}  // namespace cyray::gcs
