// Labels of nodes, and what a task, an actor or a bundle wants of them.
// Threading: values, pure functions.

#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace cyray {

using Labels = std::map<std::string, std::string>;

enum class LabelOp : uint8_t { kIn = 0, kNotIn = 1, kExists = 2, kDoesNotExist = 3 };

struct LabelTerm {
  std::string key;
  LabelOp op = LabelOp::kIn;
  std::vector<std::string> values;  // of kIn and kNotIn; a node without the label is in none
  bool Matches(const Labels& labels) const;
  auto operator<=>(const LabelTerm&) const = default;
};

// All of its terms must match.
using LabelSelector = std::vector<LabelTerm>;
bool Matches(const LabelSelector& selector, const Labels& labels);

// Alternatives, the best first: one is taken when no node that an earlier one matches has room, or
// could ever have it. None at all: any node will do.
using LabelChoice = std::vector<LabelSelector>;
bool MatchesAny(const LabelChoice& choice, const Labels& labels);

// "region in (eu, us), !gpu", for people; of several selectors "... or ...".
std::string ToString(const LabelChoice& choice);

}  // namespace cyray
