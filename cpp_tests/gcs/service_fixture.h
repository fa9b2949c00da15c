// The GCS without its port: storage on a real file, tables and service on a loop that the test
// drives. Node streams are numbers; what is sent on them is kept. Unless told otherwise no
// node ends for its silence.
// Threading: the test's thread runs the loop; the storage has its writer.

#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cpp_tests/gcs/payloads.h"
#include "cyray/gcs/gcs_service.h"
#include "cyray/gcs/sqlite_storage.h"
#include "cyray/util/clock.h"

namespace cyray::gcs {

// While it lives, this process writes to no file: each attempt fails as on a disk that is full.
class FullDisk {
 public:
  FullDisk() {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit none{0, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &none);
  }
  ~FullDisk() { ::setrlimit(RLIMIT_FSIZE, &before_); }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  rlimit before_;
};

// A folder of its own, gone with it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    char folder[] = "/tmp/cyray_gcs_test_XXXXXX";
    path_ = ::mkdtemp(folder);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class ServiceFixture {
 public:
  static constexpr int64_t kLongMs = 3'600'000;

  explicit ServiceFixture(std::string database,
                          Membership::Timing timing = {kLongMs, kLongMs, kLongMs, kLongMs},
                          ClusterMemory memory = {})
      : database_(std::move(database)), timing_(timing), memory_(memory) {
    Start();
  }

  // With the data that is there.
  void Restart() {
    Stop();
    Start();
  }
  void Stop() {
    service_.reset();
    storage_.reset();
    loop_.RunOnce(0);  // what was posted to what is gone
  }

  Result<wire::Bytes> Call(wire::GcsMethod method, wire::Bytes payload,
                           const CallId& id = CallId::Random()) {
    std::optional<Result<wire::Bytes>> answer;
    service_->OnCall(static_cast<uint16_t>(method), id, std::move(payload),
                     [&](const Result<wire::Bytes>& result) { answer = result; });
    EXPECT_TRUE(RunUntil([&] { return answer.has_value(); }));
    return answer.has_value() ? *answer : Fail(StatusCode::kTimedOut, "no answer");
  }
  void StreamMessage(StreamId stream, const wire::Bytes& message) {
    service_->OnStreamMessage(stream, message);
  }

  bool RunUntil(const std::function<bool()>& done) {
    const int64_t end = MonotonicMs() + 10'000;
    while (!done()) {
      if (MonotonicMs() >= end) return false;
      loop_.RunOnce(10);
    }
    return true;
  }

  Storage& storage() { return *storage_; }
  GcsService& service() { return *service_; }

  std::set<StreamId> accepted, closed;
  std::vector<std::pair<StreamId, wire::Bytes>> sent;

 private:
  void Start() {
    Result<std::unique_ptr<SqliteStorage>> opened = SqliteStorage::Open(database_, &loop_);
    ASSERT_TRUE(opened.has_value()) << opened.error().ToString();
    storage_ = std::move(*opened);
    service_ = std::make_unique<GcsService>(
        &loop_, storage_.get(),
        StreamOutlets{.send = [this](StreamId s,
                                     const wire::Bytes& message) { sent.emplace_back(s, message); },
                      .accept = [this](StreamId s) { accepted.insert(s); },
                      .close = [this](StreamId s, const Status&) { closed.insert(s); }},
        timing_, memory_);
    ASSERT_TRUE(service_->Load().ok());
  }

  const std::string database_;
  const Membership::Timing timing_;
  const ClusterMemory memory_;
  EventLoop loop_;
  std::unique_ptr<Storage> storage_;
  std::unique_ptr<GcsService> service_;
};

}  // namespace cyray::gcs
