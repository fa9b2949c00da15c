// Tests of DeadSessions.

#include "cyray/raylet/dead_sessions.h"

#include <gtest/gtest.h>

namespace cyray::raylet {
namespace {

DeadSessions::Orphan OrphanOf(pid_t session, pid_t pid, ProcessKind kind = ProcessKind::kOther) {
  return {{.pid = pid, .parent = 1, .session = session}, kind};
}

std::vector<pid_t> Look(DeadSessions& sessions, const std::vector<DeadSessions::Orphan>& orphans) {
  std::vector<pid_t> pids;
  for (const ProcessInfo& process : sessions.Look(orphans)) pids.push_back(process.pid);
  return pids;
}

TEST(DeadSessions, OrphansOfTheDeadAreKilledAndOthersAreNot) {
  DeadSessions sessions;
  sessions.Add(10);
  EXPECT_EQ(Look(sessions, {OrphanOf(10, 11), OrphanOf(20, 21), OrphanOf(30, 30)}),
            std::vector<pid_t>{11});
}

TEST(DeadSessions, WhatTheKilledHaveStartedIsFoundByTheNextLook) {
  DeadSessions sessions;
  sessions.Add(10);
  EXPECT_EQ(Look(sessions, {OrphanOf(10, 11)}), std::vector<pid_t>{11});
  EXPECT_FALSE(sessions.empty());
  EXPECT_EQ(Look(sessions, {OrphanOf(10, 12)}), std::vector<pid_t>{12});
  EXPECT_TRUE(Look(sessions, {}).empty());
  EXPECT_TRUE(sessions.empty());
}

TEST(DeadSessions, OneInTheMiddleOfAnExecIsLookedAtAgain) {
  DeadSessions sessions;
  sessions.Add(10);
  EXPECT_TRUE(Look(sessions, {OrphanOf(10, 11, ProcessKind::kUnknown)}).empty());
  EXPECT_FALSE(sessions.empty());
  EXPECT_EQ(Look(sessions, {OrphanOf(10, 11)}), std::vector<pid_t>{11});
}

TEST(DeadSessions, AResourceTrackerIsLeftToEndByItself) {
  DeadSessions sessions;
  sessions.Add(10);
  EXPECT_TRUE(Look(sessions, {OrphanOf(10, 11, ProcessKind::kResourceTracker)}).empty());
  EXPECT_TRUE(sessions.empty());
}

TEST(DeadSessions, OneThatCannotBeKilledIsLeftAloneInTheEnd) {
  DeadSessions sessions;
  sessions.Add(10);
  int looks = 0;
  for (; !sessions.empty(); ++looks) (void)sessions.Look({OrphanOf(10, 11)});
  EXPECT_EQ(looks, 200);
}

TEST(DeadSessions, ANumberThatIsGivenAnewNamesTheNewSessionsLeader) {
  DeadSessions sessions;
  sessions.Add(10);
  EXPECT_TRUE(Look(sessions, {OrphanOf(10, 10)}).empty());
  EXPECT_TRUE(sessions.empty());
}

}  // namespace
}  // namespace cyray::raylet
