// Tests of WorkerLogs: how output becomes lines, files and labels.

#include "cyray/raylet/worker_logs.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace cyray::raylet {
namespace {

struct Batches {
  std::vector<std::pair<std::string, std::vector<std::string>>> got;
  LineCutter::OnBatch Taker() {
    return [this](const std::string& label, std::vector<std::string> lines) {
      got.emplace_back(label, std::move(lines));
    };
  }
};

TEST(LineCutter, JoinsPartsOfALine) {
  LineCutter cutter;
  Batches batches;
  cutter.Feed("one\ntw", batches.Taker());
  cutter.Feed("o\n", batches.Taker());
  ASSERT_EQ(batches.got.size(), 2u);
  EXPECT_EQ(batches.got[1].second, (std::vector<std::string>{"two"}));
}

TEST(LineCutter, AMarkSetsTheLabelOfTheLinesAfterIt) {
  LineCutter cutter;
  Batches batches;
  cutter.Feed(
      "a\n\x1e"
      "cyray-label:Counter\nb\n",
      batches.Taker());
  ASSERT_EQ(batches.got.size(), 2u);
  EXPECT_EQ(batches.got[0].first, "");
  EXPECT_EQ(batches.got[1].first, "Counter");
  EXPECT_EQ(batches.got[1].second, (std::vector<std::string>{"b"}));
}

TEST(LineCutter, APartialLineComesAtTheEnd) {
  LineCutter cutter;
  Batches batches;
  cutter.Feed("no end", batches.Taker());
  EXPECT_TRUE(batches.got.empty());
  cutter.Finish(batches.Taker());
  ASSERT_EQ(batches.got.size(), 1u);
}

TEST(LineCutter, AnEndlessLineIsCut) {
  LineCutter cutter;
  Batches batches;
  cutter.Feed(std::string(200'000, 'x'), batches.Taker());
  ASSERT_EQ(batches.got.size(), 1u);
  EXPECT_EQ(batches.got[0].second.size(), 3u);
}

class WorkerLogsTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kLimit = 1 << 20;
  struct Pipes {
    WorkerId id;
    UniqueFd out, err;
  };

  WorkerLogsTest() { std::filesystem::create_directory(directory_); }
  ~WorkerLogsTest() override { std::filesystem::remove_all(directory_); }

  Pipes Open(int pid) {
    int out[2], err[2];
    EXPECT_EQ(::pipe2(out, O_NONBLOCK | O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(err, O_NONBLOCK | O_CLOEXEC), 0);
    Pipes pipes{WorkerId::Random(), UniqueFd(out[1]), UniqueFd(err[1])};
    logs_.Open(pipes.id, UniqueFd(out[0]), UniqueFd(err[0]));
    logs_.SetPid(pipes.id, pid);
    return pipes;
  }
  static void Write(const UniqueFd& fd, const std::string& text) {
    ASSERT_EQ(::write(fd.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  // So many bytes of lines of 1 KiB, read as they are written.
  void Flood(const Pipes& pipes, uint64_t bytes) {
    const std::string line = std::string(1023, 'x') + "\n";
    for (uint64_t sent = 0; sent < bytes; sent += line.size()) {
      Write(pipes.out, line);
      loop_.RunOnce(1000);
    }
  }
  uint64_t BytesOnDisk() const {
    uint64_t sum = 0;
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
      sum += entry.file_size();
    }
    return sum;
  }
  std::string TextOf(const std::string& name) const {
    std::ifstream file(directory_ / name);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  const std::filesystem::path directory_ =
      std::filesystem::temp_directory_path() / ("cyray_logs_" + WorkerId::Random().Hex());
  EventLoop loop_;
  std::vector<WorkerLogs::Lines> lines_;
  WorkerLogs logs_{&loop_, directory_, kLimit,
                   [this](const WorkerLogs::Lines& batch) { lines_.push_back(batch); }};
};

TEST_F(WorkerLogsTest, OutputReachesTheFileAndTheDriverWhenTheWorkerEnds) {
  const Pipes pipes = Open(42);
  Write(pipes.out, "hello\nlast");
  Write(pipes.err, "oh\n");
  logs_.Close(pipes.id);
  ASSERT_EQ(lines_.size(), 3u);
  EXPECT_EQ(lines_[1].lines, (std::vector<std::string>{"last"}));
  EXPECT_TRUE(lines_[2].is_stderr);
  EXPECT_EQ(TextOf("worker-" + pipes.id.Hex() + "-42.out"), "hello\nlast\n");
}

TEST_F(WorkerLogsTest, DrainingSendsALineWithoutItsEndAndGoesOn) {
  const Pipes pipes = Open(42);
  Write(pipes.out, "half");
  loop_.RunOnce(1000);
  EXPECT_TRUE(lines_.empty()) << "its end may come";
  logs_.Drain(pipes.id);
  ASSERT_EQ(lines_.size(), 1u);
  EXPECT_EQ(lines_[0].lines, (std::vector<std::string>{"half"}));
  Write(pipes.out, "more\n");
  loop_.RunOnce(1000);
  ASSERT_EQ(lines_.size(), 2u);
  EXPECT_EQ(lines_[1].lines, (std::vector<std::string>{"more"}));
}

TEST_F(WorkerLogsTest, APidThatBecomesKnownLateDoesNotChangeTheFile) {
  const Pipes pipes = Open(0);
  Write(pipes.out, "early\n");
  loop_.RunOnce(1000);
  logs_.SetPid(pipes.id, 43);
  Write(pipes.out, "late\n");
  loop_.RunOnce(1000);
  logs_.Close(pipes.id);
  EXPECT_EQ(TextOf("worker-" + pipes.id.Hex() + "-0.out"), "early\nlate\n");
}

TEST_F(WorkerLogsTest, AFileThatGrowsTooLargeIsRotatedOnce) {
  const Pipes pipes = Open(42);
  Flood(pipes, 3 * kLimit);
  EXPECT_LE(BytesOnDisk(), kLimit);
  EXPECT_GE(BytesOnDisk(), kLimit / 4) << "the newest lines are kept";
  EXPECT_EQ(logs_.total_bytes(), BytesOnDisk());
  const std::string path = (directory_ / ("worker-" + pipes.id.Hex() + "-42.out")).string();
  EXPECT_TRUE(std::filesystem::exists(path));
  EXPECT_TRUE(std::filesystem::exists(path + ".1"));
}

TEST_F(WorkerLogsTest, FilesOfDeadWorkersGoOldestFirstWhenAllTogetherAreTooLarge) {
  std::vector<WorkerId> dead;
  for (int i = 0; i < 8; ++i) {
    const Pipes pipes = Open(100 + i);
    Flood(pipes, kLimit / 4 - 4096);
    logs_.Close(pipes.id);
    dead.push_back(pipes.id);
    EXPECT_LE(BytesOnDisk(), kLimit + 64 * 1024);
    EXPECT_EQ(logs_.total_bytes(), BytesOnDisk());
  }
  EXPECT_FALSE(std::filesystem::exists(directory_ / ("worker-" + dead.front().Hex() + "-100.out")));
  EXPECT_TRUE(std::filesystem::exists(directory_ / ("worker-" + dead.back().Hex() + "-107.out")));
}

TEST_F(WorkerLogsTest, ManyLivingWorkersStayWithinTheBoundTogether) {
  const Pipes first = Open(1);
  Flood(first, 2 * kLimit);  // alone it may have a quarter of all, twice
  std::vector<Pipes> others;
  for (int i = 0; i < 4; ++i) others.push_back(Open(2 + i));
  for (int round = 0; round < 4; ++round) {
    for (const Pipes& pipes : others) Flood(pipes, kLimit / 4);
    EXPECT_LE(BytesOnDisk(), kLimit + 64 * 1024);
    EXPECT_EQ(logs_.total_bytes(), BytesOnDisk());
  }
}

TEST_F(WorkerLogsTest, TheEndOfTheNodeKeepsWhatWasPrintedLast) {
  const Pipes pipes = Open(42);
  Write(pipes.err, "the last words");
  logs_.CloseAll();
  EXPECT_EQ(TextOf("worker-" + pipes.id.Hex() + "-42.err"), "the last words\n");
}

}  // namespace
}  // namespace cyray::raylet
