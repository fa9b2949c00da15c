// Tests of what processes use: what the kernel says of this one, and sums that do not shrink.

#include "cyray/raylet/process_usage.h"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "cyray/util/unique_fd.h"

namespace cyray::raylet {
namespace {

CpuMeter::Sample Sample(const char* component, pid_t pid, uint64_t cpu_ms,
                        uint64_t start_ticks = 1) {
  return {{component, pid},
          {.rss_bytes = 10, .shared_bytes = 4, .cpu_ms = cpu_ms, .start_ticks = start_ticks}};
}

const ComponentUsage& Of(const std::vector<ComponentUsage>& all, const std::string& component) {
  for (const ComponentUsage& usage : all) {
    if (usage.component == component) return usage;
  }
  ADD_FAILURE() << "no " << component;
  static const ComponentUsage none;
  return none;
}

TEST(ProcessUsage, ThisProcessHasMemoryAndTime) {
  const auto before = UsageOf(::getpid());
  ASSERT_TRUE(before);
  constexpr size_t kBytes = 64 << 20;
  std::vector<char> touched(kBytes);
  std::memset(touched.data(), 1, touched.size());
  const auto after = UsageOf(::getpid());
  ASSERT_TRUE(after);
  EXPECT_GE(after->rss_bytes, before->rss_bytes + kBytes / 2);
  EXPECT_LE(after->shared_bytes, after->rss_bytes);
  volatile uint64_t sum = 0;
  while (UsageOf(::getpid())->cpu_ms == after->cpu_ms) sum = sum + 1;
}

TEST(ProcessUsage, AProcessThatIsGoneHasNone) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_FALSE(UsageOf(child));
}

TEST(ProcessUsage, DescriptorsAreCounted) {
  const uint64_t before = OwnDescriptors();
  const UniqueFd one(::dup(2)), two(::dup(2));
  EXPECT_EQ(OwnDescriptors(), before + 2);
}

TEST(ProcessUsage, TheMachineHasMemoryAndProcessors) {
  const MachineUsage machine = UsageOfMachine();
  EXPECT_GT(machine.memory.available_bytes, 0u);
  EXPECT_LE(machine.memory.available_bytes, machine.memory.total_bytes);
  EXPECT_GE(machine.cpu_count, 1u);
  EXPECT_GT(machine.cpu_busy_ms.value_or(0), 0u);
}

TEST(CpuMeter, ProcessesOfOneComponentAreSummedUp) {
  CpuMeter meter;
  const auto all =
      meter.Add({Sample("worker", 5, 100), Sample("worker", 6, 50), Sample("raylet", 1, 7)});
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(Of(all, "worker").processes, 2u);
  EXPECT_EQ(Of(all, "worker").rss_bytes, 20u);
  EXPECT_EQ(Of(all, "worker").shared_bytes, 8u);
  EXPECT_EQ(Of(all, "worker").cpu_ms, 150u);
  EXPECT_EQ(Of(all, "raylet").cpu_ms, 7u);
}

TEST(CpuMeter, TheTimeOfProcessesThatEndedStays) {
  CpuMeter meter;
  (void)meter.Add({Sample("worker", 5, 100), Sample("worker", 6, 50)});
  auto all = meter.Add({Sample("worker", 6, 60)});
  EXPECT_EQ(Of(all, "worker").processes, 1u);
  EXPECT_EQ(Of(all, "worker").cpu_ms, 160u);
  all = meter.Add({});
  EXPECT_EQ(Of(all, "worker").processes, 0u);
  EXPECT_EQ(Of(all, "worker").rss_bytes, 0u);
  EXPECT_EQ(Of(all, "worker").cpu_ms, 160u);
}

TEST(CpuMeter, AnotherProcessWithTheSameNumberBeginsAnew) {
  CpuMeter meter;
  (void)meter.Add({Sample("worker", 5, 100)});
  EXPECT_EQ(Of(meter.Add({Sample("worker", 5, 130, /*start_ticks=*/2)}), "worker").cpu_ms, 230u);
}

TEST(CpuMeter, AProcessThatComesBackCountsOn) {
  CpuMeter meter;
  (void)meter.Add({Sample("driver", 5, 100), Sample("driver", 6, 10)});
  EXPECT_EQ(Of(meter.Add({}), "driver").cpu_ms, 110u);
  EXPECT_EQ(Of(meter.Add({Sample("driver", 5, 120)}), "driver").cpu_ms, 130u);
  EXPECT_EQ(Of(meter.Add({Sample("driver", 6, 15)}), "driver").cpu_ms, 135u);
  EXPECT_EQ(Of(meter.Add({Sample("driver", 5, 121)}), "driver").cpu_ms, 136u);
}

TEST(CpuMeter, AProcessThatIsThereTwiceCountsOnce) {
  CpuMeter meter;
  const auto all = meter.Add({Sample("driver", 5, 100), Sample("driver", 5, 101)});
  EXPECT_EQ(Of(all, "driver").processes, 1u);
  EXPECT_EQ(Of(all, "driver").rss_bytes, 10u);
  EXPECT_EQ(Of(meter.Add({Sample("driver", 5, 102)}), "driver").cpu_ms, 102u);
}

TEST(CpuMeter, TimeThatShrinksIsNotTakenBack) {
  CpuMeter meter;
  (void)meter.Add({Sample("worker", 5, 100)});
  EXPECT_EQ(Of(meter.Add({Sample("worker", 5, 90)}), "worker").cpu_ms, 100u);
  EXPECT_EQ(Of(meter.Add({Sample("worker", 5, 103)}), "worker").cpu_ms, 103u);
}

TEST(CpuMeter, WhatItRemembersIsBounded) {
  CpuMeter meter;
  for (int pid = 1; pid <= 20'000; ++pid) (void)meter.Add({Sample("worker", pid, 1)});
  EXPECT_EQ(Of(meter.Add({Sample("worker", 20'000, 2)}), "worker").cpu_ms, 20'001u);
  EXPECT_EQ(Of(meter.Add({Sample("worker", 1, 1)}), "worker").cpu_ms, 20'002u) << "forgotten";
}

}  // namespace
}  // namespace cyray::raylet
