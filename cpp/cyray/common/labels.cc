#include "cyray/common/labels.h"

#include <algorithm>

namespace cyray {
namespace {

std::string ToString(const LabelTerm& term) {
  std::string values;
  for (const std::string& value : term.values) values += (values.empty() ? "" : ", ") + value;
  switch (term.op) {
    case LabelOp::kIn:
      return term.key + " in (" + values + ")";
    case LabelOp::kNotIn:
      return term.key + " not in (" + values + ")";
    case LabelOp::kExists:
      return "has " + term.key;
    case LabelOp::kDoesNotExist:
      return "has no " + term.key;
  }
  return term.key;
}

}  // namespace

bool LabelTerm::Matches(const Labels& labels) const {
  const auto label = labels.find(key);
  const bool there = label != labels.end();
  const bool in = there && std::find(values.begin(), values.end(), label->second) != values.end();
  switch (op) {
    case LabelOp::kIn:
      return in;
    case LabelOp::kNotIn:
      return !in;
    case LabelOp::kExists:
      return there;
    case LabelOp::kDoesNotExist:
      return !there;
  }
  return false;
}

bool Matches(const LabelSelector& selector, const Labels& labels) {
  return std::all_of(selector.begin(), selector.end(),
                     [&](const LabelTerm& term) { return term.Matches(labels); });
}

bool MatchesAny(const LabelChoice& choice, const Labels& labels) {
  return choice.empty() ||
         std::any_of(choice.begin(), choice.end(),
                     [&](const LabelSelector& selector) { return Matches(selector, labels); });
}

std::string ToString(const LabelChoice& choice) {
  std::string text;
  for (const LabelSelector& selector : choice) {
    std::string terms;
    for (const LabelTerm& term : selector) terms += (terms.empty() ? "" : ", ") + ToString(term);
    text += (text.empty() ? "" : ", or ") + (terms.empty() ? "any" : terms);
  }
  return text;
}

}  // namespace cyray
