// Tests of PermitTable: who may run how many at once, whatever is said twice, late or never.

#include "cyray/core/permit_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

namespace cyray::core {
namespace {

using Holder = PermitTable::Holder;

FunctionId Function(uint8_t n) {
  FunctionId id;
  id.bytes.fill(n);
  return id;
}

Holder Process(char name) {
  return {{NodeId::FromBytes("node----------------"),
           WorkerId::FromBytes((std::string(1, name) + std::string(15, '-')).data())},
          1};
}

// A process that has what it was told of.
struct Player {
  uint64_t granted = 0, recalled = 0, returned = 0;
  uint64_t held() const { return granted - returned; }
  uint64_t owed() const { return recalled > returned ? recalled - returned : 0; }
};

class PermitTableTest : public ::testing::Test {
 protected:
  void Tell(char name, uint32_t limit, uint32_t wanted) {
    Take(table_.Tell(Function(1), Process(name), {limit, wanted, players_[name].returned}));
  }
  void GiveBack(char name, uint32_t limit, uint32_t wanted) {
    ++players_[name].returned;
    Tell(name, limit, wanted);
  }
  void Take(const PermitTable::Answers& answers) {
    for (const auto& answer : answers) {
      for (auto& [name, player] : players_) {
        if (answer.holder != Process(name)) continue;
        player.granted = std::max(player.granted, answer.granted);
        player.recalled = std::max(player.recalled, answer.recalled);
      }
    }
    table_.CheckInvariants();
  }
  PermitTable table_;
  std::map<char, Player> players_;
};

TEST_F(PermitTableTest, GivesAsManyAsAreWantedUpToTheLimit) {
  Tell('a', 3, 2);
  EXPECT_EQ(players_['a'].held(), 2u);
  Tell('a', 3, 5);
  EXPECT_EQ(players_['a'].held(), 3u);
  Tell('b', 3, 1);
  EXPECT_EQ(players_['b'].held(), 0u);
  EXPECT_EQ(table_.held(Function(1)), 3u);
}

TEST_F(PermitTableTest, SaidTwiceItCountsOnce) {
  Tell('a', 3, 2);
  Tell('a', 3, 2);
  GiveBack('a', 3, 1);
  Tell('a', 3, 1);
  EXPECT_EQ(table_.held(Function(1)), 1u);
  EXPECT_EQ(players_['a'].held(), 1u);
}

TEST_F(PermitTableTest, WhoHoldsMostIsAskedForWhatOthersWaitFor) {
  Tell('a', 4, 9);
  Tell('b', 4, 9);
  EXPECT_EQ(players_['a'].owed(), 2u);
  GiveBack('a', 4, 9);
  EXPECT_EQ(players_['b'].held(), 1u);
  GiveBack('a', 4, 9);
  EXPECT_EQ(players_['b'].held(), 2u);
  EXPECT_EQ(players_['a'].owed(), 0u);
  EXPECT_EQ(players_['b'].owed(), 0u) << "both have as many";
}

TEST_F(PermitTableTest, OneThatGoesToAndFroGoesToEachInTurn) {
  Tell('a', 1, 9);
  Tell('b', 1, 9);
  EXPECT_EQ(players_['a'].owed(), 1u);
  GiveBack('a', 1, 9);
  EXPECT_EQ(players_['b'].held(), 1u);
  EXPECT_EQ(players_['b'].owed(), 1u);
}

TEST_F(PermitTableTest, WhatNobodyWaitsForAnyMoreIsNotAskedFor) {
  Tell('a', 1, 1);
  Tell('b', 1, 1);
  EXPECT_EQ(players_['a'].owed(), 1u);
  const auto answers = table_.Tell(Function(1), Process('b'), {1, 0, 0});
  const auto to_a = std::find_if(answers.begin(), answers.end(),
                                 [](const auto& answer) { return answer.holder == Process('a'); });
  ASSERT_NE(to_a, answers.end());
  EXPECT_EQ(to_a->recalled, 0u);
}

TEST_F(PermitTableTest, WhatADeadProcessHeldIsFree) {
  Tell('a', 1, 1);
  Tell('b', 1, 1);
  Take(table_.Gone(Process('a').process));
  EXPECT_EQ(players_['b'].held(), 1u);
  table_.Gone(Process('b').process);
  EXPECT_EQ(table_.functions(), 0u);
}

TEST_F(PermitTableTest, WhatAnotherTableGrantedCounts) {
  Take(table_.Tell(Function(1), Process('a'), {2, 2, 5}, /*granted_before=*/7));
  EXPECT_EQ(table_.held(Function(1)), 2u);
}

// Messages that come late or again, processes that die: never more than the limit are held, and all
// that wait get some in the end.
TEST_F(PermitTableTest, RandomOperations) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    PermitTable table;
    std::map<char, Player> players;
    std::map<char, uint64_t> got;
    const uint32_t limit = 1 + random() % 4;
    std::vector<PermitTable::Answers> late;
    const auto hear = [&](const PermitTable::Answers& answers) {
      for (const auto& answer : answers) {
        for (auto& [name, player] : players) {
          if (answer.holder != Process(name)) continue;
          got[name] += std::max(player.granted, answer.granted) - player.granted;
          player.granted = std::max(player.granted, answer.granted);
          player.recalled = std::max(player.recalled, answer.recalled);
        }
      }
    };
    for (int step = 0; step < 400; ++step) {
      const char name = static_cast<char>('a' + random() % 4);
      Player& player = players[name];
      switch (random() % 5) {
        case 0:
          if (player.held() > 0) ++player.returned;
          [[fallthrough]];
        case 1:
        case 2: {
          const auto answers = table.Tell(
              Function(1), Process(name),
              {limit, static_cast<uint32_t>(random() % 4), player.returned}, player.granted);
          random() % 3 == 0 ? late.push_back(answers) : hear(answers);
          break;
        }
        case 3:
          if (!late.empty()) {
            hear(late.back());
            late.pop_back();
          }
          break;
        case 4:
          if (random() % 20 != 0) break;
          late.clear();  // what was under way to it is lost; others ask again
          hear(table.Gone(Process(name).process));
          players.erase(name);
          break;
      }
      table.CheckInvariants();
      uint64_t held = 0;
      for (const auto& [each, of_it] : players) held += of_it.held();
      ASSERT_LE(held, limit) << "seed " << seed << " step " << step;
    }
    // From now on nothing is late, and whoever has one uses it and returns what it owes.
    for (auto& [name, player] : players) {
      got[name] = 0;
      player.recalled = 0;
    }
    for (int round = 0; round < 200; ++round) {
      for (auto& [name, player] : players) {
        if (player.held() > 0 && (player.owed() > 0 || random() % 4 == 0)) ++player.returned;
        hear(table.Tell(Function(1), Process(name), {limit, 2, player.returned}, player.granted));
      }
    }
    for (const auto& [name, player] : players) {
      EXPECT_GT(got[name], 3u) << "seed " << seed << ": " << name << " was passed over";
    }
  }
}

TEST_F(PermitTableTest, WhatNobodyHoldsOrWantsIsForgotten) {
  Tell('a', 2, 2);
  GiveBack('a', 2, 0);
  EXPECT_EQ(table_.functions(), 1u);
  GiveBack('a', 2, 0);
  EXPECT_EQ(table_.functions(), 0u);
  // It goes on from what it was granted.
  Take(table_.Tell(Function(1), Process('a'), {2, 1, 2}, players_['a'].granted));
  EXPECT_EQ(players_['a'].held(), 1u);
}

TEST_F(PermitTableTest, WhoseLimitIsLowerThanWhatOthersHoldWaitsForThese) {
  Tell('a', 10, 10);
  Tell('b', 2, 1);
  EXPECT_EQ(players_['a'].owed(), 0u) << "one that came back would be no help";
  for (int i = 0; i < 8; ++i) GiveBack('a', 10, 0);
  EXPECT_EQ(players_['b'].held(), 0u);
  GiveBack('a', 10, 0);
  EXPECT_EQ(players_['b'].held(), 1u);
}

}  // namespace
}  // namespace cyray::core
