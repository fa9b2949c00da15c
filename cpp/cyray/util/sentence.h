// Sentence: a reason that somebody else wrote, in the midst of a text for people. Some end with a
// period and some do not; the text has exactly one.
//
// Pure.

#pragma once

#include <string>
#include <string_view>

namespace cyray {

// `reason` and one period; empty when there is none.
inline std::string Sentence(std::string_view reason) {
  while (!reason.empty() && (reason.back() == '.' || reason.back() == ' ')) reason.remove_suffix(1);
  return reason.empty() ? std::string() : std::string(reason) + ".";
}

}  // namespace cyray
