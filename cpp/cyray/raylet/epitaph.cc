#include "cyray/raylet/epitaph.h"

#include <algorithm>
#include <string_view>
#include <vector>

namespace cyray::raylet {
namespace {

constexpr size_t kMostStackLines = 40;
constexpr size_t kMostLogLines = 15;
constexpr size_t kMostLineBytes = 300;
// How faulthandler begins, and a line of its that lists every compiled module.
constexpr std::string_view kFatal = "Fatal Python error: ";
constexpr std::string_view kModules = "Extension modules: ";

using Lines = std::vector<std::string_view>;

Lines Split(std::string_view text) {
  Lines lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    if (!line.empty()) lines.push_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

// Whether it goes on with a character of UTF-8 that has begun.
bool IsInsideCharacter(char byte) { return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U; }

void Append(std::string& out, std::string_view line) {
  out += "\n    ";
  if (line.size() <= kMostLineBytes) {
    out += line;
    return;
  }
  size_t end = kMostLineBytes;
  while (end > kMostLineBytes - 4 && IsInsideCharacter(line[end])) --end;
  out += line.substr(0, end);
  out += "...";
}

void AppendEnd(std::string& out, const std::string& path, const Lines& lines) {
  if (path.empty() || lines.empty()) return;
  out += "\n  The end of " + path + ":";
  for (size_t i = lines.size() - std::min(lines.size(), kMostLogLines); i < lines.size(); ++i) {
    Append(out, lines[i]);
  }
}

}  // namespace

std::string Epitaph(const Died& died) {
  std::string out = "\n  It was process " + std::to_string(died.pid) + " on " + died.node_ip + ".";
  if (died.killed) {
    out +=
        "\n  This node did not kill it: the kernel does when memory runs out (see `dmesg`), or "
        "somebody else did.";
  }
  Lines err = Split(died.err.text);
  const auto fatal = std::find_if(err.rbegin(), err.rend(),
                                  [](std::string_view line) { return line.starts_with(kFatal); });
  if (fatal != err.rend()) {
    const auto first = fatal.base() - 1;
    out += "\n  Its stack:";
    size_t shown = 0;
    for (auto line = first; line != err.end() && shown < kMostStackLines; ++line) {
      if (line->starts_with(kModules)) continue;
      Append(out, *line);
      ++shown;
    }
    err.erase(first, err.end());
    if (err.empty()) out += "\n  This is from " + died.err.path + ".";
  }
  AppendEnd(out, died.err.path, err);
  AppendEnd(out, died.out.path, Split(died.out.text));
  if (died.err.path.empty() && died.out.path.empty()) out += "\n  It has printed nothing.";
  return out;
}

}  // namespace cyray::raylet
