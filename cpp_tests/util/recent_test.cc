// Tests of Recent.

#include "cyray/util/recent.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace cyray {
namespace {

using Words = Recent<int, std::string>;

std::vector<int> KeysOf(const Words& words) {
  std::vector<int> keys;
  words.ForEach([&](int key, const std::string&) { keys.push_back(key); });
  return keys;
}

TEST(Recent, KeepsTheLatestUpToANumber) {
  Words words(3);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(words.Add(i, std::to_string(i), 0));
  EXPECT_EQ(KeysOf(words), (std::vector{2, 3, 4}));
  EXPECT_EQ(words.Find(1), nullptr);
  EXPECT_EQ(*words.Find(4), "4");
}

TEST(Recent, ForgetsWhatIsTooOldAndSaysSo) {
  Words words(100, /*keep_ms=*/1000);
  words.Add(1, "a", 0);
  words.Add(2, "b", 600);
  std::vector<int> forgotten;
  words.Add(3, "c", 1001, &forgotten);
  EXPECT_EQ(forgotten, std::vector{1});
  EXPECT_EQ(KeysOf(words), (std::vector{2, 3}));
}

TEST(Recent, WhatIsAddedAgainStaysAsItWas) {
  Words words(2);
  words.Add(1, "a", 0);
  EXPECT_FALSE(words.Add(1, "b", 5));
  EXPECT_EQ(*words.Find(1), "a");
  EXPECT_EQ(words.size(), 1u);
}

TEST(Recent, WhatWasRemovedTakesNoPlace) {
  Words words(2);
  words.Add(1, "a", 0);
  words.Add(2, "b", 0);
  EXPECT_TRUE(words.Remove(1));
  EXPECT_FALSE(words.Remove(1));
  words.Add(3, "c", 0);
  EXPECT_EQ(KeysOf(words), (std::vector{2, 3}));
}

}  // namespace
}  // namespace cyray
