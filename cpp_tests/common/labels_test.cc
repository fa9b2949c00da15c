// Tests of labels and of what is wanted of them.

#include "cyray/common/labels.h"

#include <gtest/gtest.h>

namespace cyray {
namespace {

const Labels kNode{{"region", "eu"}, {"disk", "fast"}};

TEST(Labels, TermsMatchValuesAndPresence) {
  EXPECT_TRUE(Matches({{"region", LabelOp::kIn, {"us", "eu"}}}, kNode));
  EXPECT_FALSE(Matches({{"region", LabelOp::kIn, {"us"}}}, kNode));
  EXPECT_FALSE(Matches({{"zone", LabelOp::kIn, {"eu"}}}, kNode))
      << "what is not there is in nothing";
  EXPECT_TRUE(Matches({{"region", LabelOp::kNotIn, {"us"}}}, kNode));
  EXPECT_FALSE(Matches({{"region", LabelOp::kNotIn, {"eu", "us"}}}, kNode));
  EXPECT_TRUE(Matches({{"zone", LabelOp::kNotIn, {"eu"}}}, kNode));
  EXPECT_TRUE(Matches({{"disk", LabelOp::kExists, {}}}, kNode));
  EXPECT_FALSE(Matches({{"gpu", LabelOp::kExists, {}}}, kNode));
  EXPECT_TRUE(Matches({{"gpu", LabelOp::kDoesNotExist, {}}}, kNode));
}

TEST(Labels, ASelectorWantsAllItsTermsAndAChoiceOneOfItsSelectors) {
  const LabelTerm eu{"region", LabelOp::kIn, {"eu"}}, gpu{"gpu", LabelOp::kExists, {}};
  EXPECT_FALSE(Matches({eu, gpu}, kNode));
  EXPECT_TRUE(MatchesAny({{eu, gpu}, {eu}}, kNode));
  EXPECT_FALSE(MatchesAny({{gpu}}, kNode));
  EXPECT_TRUE(MatchesAny({}, kNode));
  EXPECT_TRUE(MatchesAny({{gpu}, {}}, kNode));
}

TEST(Labels, TextForPeople) {
  EXPECT_EQ(
      ToString(LabelChoice{{{"a", LabelOp::kIn, {"x", "y"}}, {"b", LabelOp::kDoesNotExist, {}}},
                           {{"c", LabelOp::kNotIn, {"z"}}}}),
      "a in (x, y), has no b, or c not in (z)");
}

}  // namespace
}  // namespace cyray
