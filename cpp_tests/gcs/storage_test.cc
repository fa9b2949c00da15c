// The GCS's storage on a real file.

#include "cyray/gcs/storage.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <random>

#include "cyray/util/clock.h"

namespace cyray::gcs {
namespace {

class StorageTest : public testing::Test {
 protected:
  StorageTest() {
    char folder[] = "/tmp/cyray_storage_test_XXXXXX";
    folder_ = ::mkdtemp(folder);
    Open();
  }
  ~StorageTest() override {
    storage_.reset();
    std::filesystem::remove_all(folder_);
  }
  void Open() {
    storage_.reset();
    Result<std::unique_ptr<Storage>> opened = Storage::Open(folder_ + "/db", &loop_);
    ASSERT_TRUE(opened.has_value()) << opened.error().ToString();
    storage_ = std::move(*opened);
  }
  std::map<std::string, Bytes> Rows(Storage::Kind kind) {
    std::map<std::string, Bytes> rows;
    EXPECT_TRUE(storage_
                    ->Load(kind, [&](std::string_view key,
                                     Bytes value) { rows[std::string(key)] = std::move(value); })
                    .ok());
    return rows;
  }
  void AwaitDurable() {
    bool durable = false;
    storage_->OnDurable([&](const Status& status) { durable = status.ok(); });
    const int64_t end = MonotonicMs() + 5000;
    while (!durable && MonotonicMs() < end) loop_.RunOnce(10);
    ASSERT_TRUE(durable);
  }

  std::string folder_;
  EventLoop loop_;
  std::unique_ptr<Storage> storage_;
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
  EXPECT_EQ(Rows(Storage::Kind::kKv), (std::map<std::string, Bytes>{{"a", {4}}, {"b", {}}}));
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

TEST_F(StorageTest, TheFileIsItsOwnersAlone) {
  struct stat info;
  ASSERT_EQ(::stat((folder_ + "/db").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(StorageTest, AFileThatIsNoDatabaseIsAnError) {
  const std::string path = folder_ + "/text";
  FILE* file = ::fopen(path.c_str(), "w");
  for (int i = 0; i < 500; ++i) ::fputs("not a database ", file);
  ::fclose(file);
  EXPECT_FALSE(Storage::Open(path, &loop_).has_value());
}

TEST_F(StorageTest, RandomChangesLeaveWhatAMapWouldHold) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::map<std::string, Bytes> model;
  for (int i = 0; i < 2000; ++i) {
    const std::string key = std::to_string(random() % 200);
    if (random() % 3 == 0) {
      storage_->Erase(Storage::Kind::kFunction, key);
      model.erase(key);
    } else {
      Bytes value(random() % 300, static_cast<uint8_t>(i));
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
