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

TEST(WorkerLogs, OutputReachesTheFileAndTheDriverWhenTheWorkerEnds) {
  const auto directory =
      std::filesystem::temp_directory_path() / ("cyray_logs_" + WorkerId::Random().Hex());
  std::filesystem::create_directory(directory);
  EventLoop loop;
  std::vector<WorkerLogs::Lines> lines;
  WorkerLogs logs(&loop, directory, 1 << 20,
                  [&](const WorkerLogs::Lines& batch) { lines.push_back(batch); });
  int out[2], err[2];
  ASSERT_EQ(::pipe2(out, O_NONBLOCK), 0);
  ASSERT_EQ(::pipe2(err, O_NONBLOCK), 0);
  const WorkerId worker = WorkerId::Random();
  logs.Open(worker, UniqueFd(out[0]), UniqueFd(err[0]));
  logs.SetPid(worker, 42);
  ASSERT_EQ(::write(out[1], "hello\nlast", 10), 10);
  ASSERT_EQ(::write(err[1], "oh\n", 3), 3);
  logs.Close(worker);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[1].lines, (std::vector<std::string>{"last"}));
  EXPECT_TRUE(lines[2].is_stderr);
  std::ifstream file(directory / ("worker-" + worker.Hex() + "-42.out"));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(text, "hello\nlast\n");
  ::close(out[1]);
  ::close(err[1]);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace cyray::raylet
