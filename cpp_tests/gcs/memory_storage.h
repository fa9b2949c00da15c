// MemoryStorage: a disk that a test holds in its hand: it says when what was queued becomes
// durable, when the disk refuses, and what is left when the process dies.
// Threading: used by the test's thread.

#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cyray/gcs/storage.h"

namespace cyray::gcs {

// What is on the platter; it outlives the process that writes to it.
struct MemoryDisk {
  std::array<std::vector<std::pair<std::string, wire::Bytes>>, Storage::kKinds> rows;
};

class MemoryStorage : public Storage {
 public:
  explicit MemoryStorage(MemoryDisk* disk) : disk_(disk) {}

  Status Load(Kind kind, const Row& row) override {
    for (const auto& [key, value] : Rows(kind)) row(key, value);
    return Status::Ok();
  }
  void Put(Kind kind, std::string_view key, wire::Bytes value) override {
    changes_.push_back({kind, false, std::string(key), std::move(value)});
  }
  void Erase(Kind kind, std::string_view key) override {
    changes_.push_back({kind, true, std::string(key), {}});
  }
  void Flush() override {}
  void OnDurable(Callback callback) override {
    ++asked_;
    callbacks_.push_back(std::move(callback));
  }
  Status Failure() const override { return failure_; }

  // All that was queued is written, and those who wait are told.
  void Sync() {
    failure_ = Status::Ok();
    for (Change& change : std::exchange(changes_, {})) Write(std::move(change));
    for (const Callback& callback : std::exchange(callbacks_, {})) callback(Status::Ok());
  }
  // The disk takes nothing.
  void Refuse() {
    failure_ = Status(StatusCode::kIoError, "the disk is full");
    std::vector<Callback> waiting = std::exchange(callbacks_, {});
    std::reverse(waiting.begin(), waiting.end());
    for (const Callback& callback : waiting) callback(failure_);
  }
  bool has_changes() const { return !changes_.empty(); }
  size_t changes() const { return changes_.size(); }
  // How often somebody asked to be told.
  size_t asked() const { return asked_; }

 private:
  struct Change {
    Kind kind;
    bool erase;
    std::string key;
    wire::Bytes value;
  };
  std::vector<std::pair<std::string, wire::Bytes>>& Rows(Kind kind) {
    return disk_->rows[static_cast<size_t>(kind)];
  }
  void Write(Change change) {
    auto& rows = Rows(change.kind);
    const auto it = std::find_if(rows.begin(), rows.end(),
                                 [&](const auto& row) { return row.first == change.key; });
    if (change.erase) {
      if (it != rows.end()) rows.erase(it);
    } else if (it != rows.end()) {
      it->second = std::move(change.value);
    } else {
      rows.emplace_back(std::move(change.key), std::move(change.value));
    }
  }

  MemoryDisk* const disk_;
  std::vector<Change> changes_;
  std::vector<Callback> callbacks_;
  Status failure_;
  size_t asked_ = 0;
};

}  // namespace cyray::gcs
