// Tests of Epitaph: where a dead worker was, its stack, the ends of its logs.

#include "cyray/raylet/epitaph.h"

#include <gtest/gtest.h>

namespace cyray::raylet {
namespace {

TEST(Epitaph, SaysWhereItWasAndThatItPrintedNothing) {
  EXPECT_EQ(Epitaph({.node_ip = "10.0.0.1", .pid = 7}),
            "\n  It was process 7 on 10.0.0.1.\n  It has printed nothing.");
}

TEST(Epitaph, TellsTheStackApartFromWhatWasPrintedBefore) {
  const std::string text = Epitaph({.node_ip = "10.0.0.1",
                                    .pid = 7,
                                    .err = {"/logs/w.err",
                                            "before\nFatal Python error: Segmentation fault\n\n"
                                            "Current thread 0x1 (most recent call first):\n"
                                            "  File \"a.py\", line 3 in f\n\n"
                                            "Extension modules: numpy (total: 1)\n"}});
  EXPECT_EQ(text,
            "\n  It was process 7 on 10.0.0.1.\n  Its stack:"
            "\n    Fatal Python error: Segmentation fault"
            "\n    Current thread 0x1 (most recent call first):"
            "\n      File \"a.py\", line 3 in f"
            "\n  The end of /logs/w.err:\n    before");
}

TEST(Epitaph, NamesOnlyLogsThatHaveSomething) {
  const std::string text =
      Epitaph({.node_ip = "10.0.0.1", .pid = 7, .out = {"/logs/w.out", "hello\n"}});
  EXPECT_EQ(text, "\n  It was process 7 on 10.0.0.1.\n  The end of /logs/w.out:\n    hello");
}

TEST(Epitaph, SaysOfAKillThatItWasNoneOfThisNode) {
  EXPECT_NE(Epitaph({.killed = true}).find("This node did not kill it"), std::string::npos);
}

TEST(Epitaph, IsBounded) {
  std::string lines;
  for (int i = 0; i < 10'000; ++i) lines += std::string(1'000, 'x') + "\n";
  EXPECT_LT(Epitaph({.err = {"/e", lines}, .out = {"/o", lines}}).size(), 12'000u);
}

TEST(Epitaph, CutsNoCharacterOfALongLine) {
  const std::string text = Epitaph(
      {.node_ip = "10.0.0.1", .pid = 7, .err = {"/logs/w.err", std::string(299, 'x') + "\u00e9y"}});
  EXPECT_TRUE(text.ends_with(std::string(299, 'x') + "...")) << text;
}

TEST(Epitaph, CutsALineOfBytesThatAreNoText) {
  const std::string text =
      Epitaph({.node_ip = "10.0.0.1", .pid = 7, .err = {"/logs/w.err", std::string(1000, '\x80')}});
  EXPECT_TRUE(text.ends_with(std::string(290, '\x80') + "...") ||
              text.ends_with(std::string(296, '\x80') + "..."))
      << text.size();
}

}  // namespace
}  // namespace cyray::raylet
