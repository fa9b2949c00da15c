// Tests of what a machine offers: files of the kernel, and limits of control groups in a folder
// that stands for them.

#include "cyray/util/machine.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "cyray/util/kernel_files.h"

namespace cyray {
namespace {

constexpr uint64_t kMiB = 1 << 20;

class MachineTest : public testing::Test {
 protected:
  MachineTest() {
    char folder[] = "/tmp/cyray_machine_test_XXXXXX";
    root_ = ::mkdtemp(folder);
    Write("/proc/meminfo", "MemTotal:        8192 kB\nMemFree:    1 kB\nMemAvailable:   4096 kB\n");
  }
  ~MachineTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void WriteGroup(const std::string& path, const std::string& limit, uint64_t used) {
    Write("/sys/fs/cgroup" + path + "/memory.max", limit + "\n");
    Write("/sys/fs/cgroup" + path + "/memory.current", std::to_string(used) + "\n");
  }

  std::string root_;
};

TEST_F(MachineTest, WithoutLimitsItIsWhatTheKernelSays) {
  const MachineMemory memory = MemoryOfMachine(root_);
  EXPECT_EQ(memory.total_bytes, 8 * kMiB);
  EXPECT_EQ(memory.available_bytes, 4 * kMiB);
  WriteGroup("", "max", 5 * kMiB);
  EXPECT_EQ(MemoryOfMachine(root_).available_bytes, 4 * kMiB);
}

TEST_F(MachineTest, TheTightestGroupAboveCounts) {
  Write("/proc/self/cgroup", "1:name=other:/elsewhere\n0::/all/mine/here\n");
  WriteGroup("/all", std::to_string(6 * kMiB), 5 * kMiB);
  WriteGroup("/all/mine", std::to_string(5 * kMiB), 4 * kMiB);
  Write("/sys/fs/cgroup/all/mine/memory.stat", "file 7\nactive_file 9\ninactive_file 2097152\n");
  WriteGroup("/all/mine/here", "max", 1 * kMiB);
  const MachineMemory memory = MemoryOfMachine(root_);
  EXPECT_EQ(memory.total_bytes, 5 * kMiB);
  EXPECT_EQ(memory.available_bytes, 1 * kMiB) << "of /all; what /all/mine caches can be dropped";
}

TEST_F(MachineTest, GroupsOfTheFirstVersionCount) {
  Write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "3145728\n");
  Write("/sys/fs/cgroup/memory/memory.usage_in_bytes", "2097152\n");
  Write("/sys/fs/cgroup/memory/memory.stat", "inactive_file 5\ntotal_inactive_file 1048576\n");
  EXPECT_EQ(MemoryOfMachine(root_).total_bytes, 3 * kMiB);
  EXPECT_EQ(MemoryOfMachine(root_).available_bytes, 2 * kMiB);
}

TEST_F(MachineTest, WhatCannotBeReadIsUnknown) {
  std::filesystem::remove_all(root_ + "/proc");
  EXPECT_EQ(MemoryOfMachine(root_).total_bytes, MachineMemory::kUnknown);
  EXPECT_EQ(MemoryOfMachine(root_).available_bytes, MachineMemory::kUnknown);
}

TEST_F(MachineTest, QuotasCutTheProcessors) {
  const uint64_t all = CpusOfMachine(root_);
  EXPECT_GE(all, 1u);
  Write("/proc/self/cgroup", "0::/mine\n");
  Write("/sys/fs/cgroup/mine/cpu.max", "max 100000\n");
  EXPECT_EQ(CpusOfMachine(root_), all);
  Write("/sys/fs/cgroup/mine/cpu.max", "150000 100000\n");
  EXPECT_EQ(CpusOfMachine(root_), 1u);
  Write("/sys/fs/cgroup/mine/cpu.max", "50000 100000\n");
  EXPECT_EQ(CpusOfMachine(root_), 1u) << "there is one at least";
  Write("/sys/fs/cgroup/mine/cpu.max", "max 100000\n");
  Write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  Write("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(CpusOfMachine(root_), all) << "no quota";
  Write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n");
  EXPECT_EQ(CpusOfMachine(root_), 1u);
}

TEST_F(MachineTest, ThisMachineHasMemory) {
  const MachineMemory memory = MemoryOfMachine();
  EXPECT_GT(memory.available_bytes, 0u);
  EXPECT_LE(memory.available_bytes, memory.total_bytes);
  EXPECT_LT(memory.total_bytes, MachineMemory::kUnknown);
}

TEST_F(MachineTest, NumbersAreBehindWholeWords) {
  const std::string text = "total_inactive_file 7\ninactive_file 4096\nempty\nempty_too \n";
  EXPECT_EQ(NumberAfter(text, "inactive_file"), 4096u);
  EXPECT_EQ(NumberAfter(text, "inactive"), std::nullopt);
  EXPECT_EQ(NumberAfter(text, "empty"), std::nullopt);
  EXPECT_EQ(NumberAfter(text, "empty_too"), std::nullopt);
  EXPECT_EQ(NumberIn("max\n"), std::nullopt);
  EXPECT_EQ(NumberIn("  12\n"), 12u);
}

TEST_F(MachineTest, FilesAreReadToTheirEndOrSoFar) {
  const std::string text(10'000, 'x');
  Write("/long", text);
  EXPECT_EQ(ReadKernelFile(root_ + "/long", 20'000), text);
  EXPECT_EQ(ReadKernelFile(root_ + "/long", 100), text.substr(0, 100));
  EXPECT_EQ(ReadKernelFile(root_ + "/none"), "");
}

}  // namespace
}  // namespace cyray
