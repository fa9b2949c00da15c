// Sentence: one period at the end of what somebody else wrote.

#include "cyray/util/sentence.h"

#include <gtest/gtest.h>

namespace cyray {
namespace {

TEST(Sentence, EndsWithExactlyOnePeriod) {
  EXPECT_EQ(Sentence("exit code 3"), "exit code 3.");
  EXPECT_EQ(Sentence("Its node died."), "Its node died.");
  EXPECT_EQ(Sentence("It left. "), "It left.");
  EXPECT_EQ(Sentence("and so on..."), "and so on.");
  EXPECT_EQ(Sentence("v1.5"), "v1.5.");
  EXPECT_EQ(Sentence(""), "");
}

}  // namespace
}  // namespace cyray
