// Tests of RotateLog: the daemon's own log stays bounded.

#include "cyray/raylet/own_log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "cyray/raylet/process_supervisor.h"

namespace cyray::raylet {
namespace {

class OwnLogTest : public ::testing::Test {
 protected:
  ~OwnLogTest() override {
    std::filesystem::remove(path_);
    std::filesystem::remove(path_ + ".1");
  }
  void Write(const std::string& text) {
    ASSERT_EQ(::write(fd_.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  static std::string TextOf(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  const std::string path_ = "/tmp/cyray_own_log_" + std::to_string(::getpid());
  UniqueFd fd_ = OpenLog(path_);
};

TEST_F(OwnLogTest, ASmallFileStays) {
  Write("one\n");
  EXPECT_FALSE(RotateLog(fd_.get(), 4));
  EXPECT_EQ(TextOf(path_), "one\n");
}

TEST_F(OwnLogTest, ALargeFileIsPutAsideAndWritingGoesOn) {
  Write("older\n");
  EXPECT_TRUE(RotateLog(fd_.get(), 4));
  Write("newer\n");
  EXPECT_EQ(TextOf(path_ + ".1"), "older\n");
  EXPECT_EQ(TextOf(path_), "newer\n");
  EXPECT_TRUE(RotateLog(fd_.get(), 4));
  EXPECT_EQ(TextOf(path_ + ".1"), "newer\n") << "one older file is kept, not more";
}

TEST_F(OwnLogTest, APipeIsLeftAlone) {
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  EXPECT_FALSE(RotateLog(fds[1], 0));
  ::close(fds[0]);
  ::close(fds[1]);
}

}  // namespace
}  // namespace cyray::raylet
