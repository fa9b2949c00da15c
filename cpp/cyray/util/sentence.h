// Sentence: a reason that somebody else wrote, in the midst of a text for people. Some end with a
// period and some do not; the text has exactly one.
//
// Pure.

#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace cyray {

// `reason` and one period; empty when there is none. Further lines are details, and stay below.
inline std::string Sentence(std::string_view reason) {
  const size_t end = std::min(reason.find('\n'), reason.size());
  const std::string_view details = reason.substr(end);
  reason = reason.substr(0, end);
  while (!reason.empty() && (reason.back() == '.' || reason.back() == ' ')) reason.remove_suffix(1);
  if (reason.empty()) return std::string(details);
  return std::string(reason) + "." + std::string(details);
}

// The reason without the details.
inline std::string FirstLine(const std::string& reason) {
  return reason.substr(0, reason.find('\n'));
}

}  // namespace cyray
