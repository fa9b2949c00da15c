// Tests of OwnPythonOf: when a job's workers run another Python than the node's.

#include "cyray/raylet/job_python.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace cyray::raylet {
namespace {

namespace fs = std::filesystem;

std::vector<uint8_t> Config(const std::string& python) {
  const std::string text =
      nlohmann::json{{"python", python}, {"python_path", "/lib/a"}, {"cwd", "/"}}.dump();
  return {text.begin(), text.end()};
}

class JobPythonTest : public ::testing::Test {
 protected:
  JobPythonTest() {
    fs::create_directories(root_ / "one/bin");
    fs::create_directories(root_ / "two/bin");
    Program("one/bin/python3.11");
    fs::create_symlink("python3.11", root_ / "one/bin/python3");
    fs::create_symlink(root_ / "one/bin/python3.11", root_ / "two/bin/python3");
  }
  ~JobPythonTest() override { fs::remove_all(root_); }
  void Program(const std::string& name) {
    std::ofstream(root_ / name) << "#!/bin/sh\n";
    fs::permissions(root_ / name, fs::perms::owner_all);
  }
  std::string Path(const std::string& name) const { return root_ / name; }

  const fs::path root_ = fs::temp_directory_path() / ("job_python" + std::to_string(::getpid()));
};

TEST_F(JobPythonTest, TheNodesOwnPythonIsNoOther) {
  EXPECT_FALSE(OwnPythonOf(Config(Path("one/bin/python3")), Path("one/bin/python3")));
  EXPECT_FALSE(OwnPythonOf(Config(Path("one/bin/python3.11")), Path("one/bin/python3")))
      << "one environment, two names";
}

TEST_F(JobPythonTest, AnotherEnvironmentWithTheSameInterpreterIsAnother) {
  const auto own = OwnPythonOf(Config(Path("two/bin/python3")), Path("one/bin/python3"));
  ASSERT_TRUE(own);
  EXPECT_EQ(own->executable, Path("two/bin/python3"));
  EXPECT_EQ(own->path, "/lib/a");
}

TEST_F(JobPythonTest, APythonThatIsNotHereCannotBeRun) {
  EXPECT_FALSE(OwnPythonOf(Config(Path("three/bin/python3")), Path("one/bin/python3")));
}

TEST_F(JobPythonTest, AConfigurationThatSaysNothingOfItIsFine) {
  for (const std::string text : {"", "{", "[]", "7", "{}", R"({"python": 3})", R"({"python": ""})",
                                 "\x80\x05pickled", R"({"python": "\ud800"})"}) {
    EXPECT_FALSE(OwnPythonOf({text.begin(), text.end()}, "/usr/bin/python3")) << text;
  }
}

}  // namespace
}  // namespace cyray::raylet
