#include "cyray/util/kernel_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "cyray/util/unique_fd.h"

namespace cyray {

std::string ReadKernelFile(const std::string& path, size_t most) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return "";
  std::string text(most, '\0');
  size_t size = 0;
  while (size < most) {  // some files come in pieces
    const ssize_t n = ::read(file.get(), text.data() + size, most - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return "";
    if (n == 0) break;
    size += static_cast<size_t>(n);
  }
  text.resize(size);
  return text;
}

std::optional<uint64_t> NumberAfter(std::string_view text, std::string_view word) {
  for (size_t at = 0; at < text.size();) {
    const std::string_view line = text.substr(at, text.find('\n', at) - at);
    if (line.size() > word.size() && line.starts_with(word) && line[word.size()] == ' ') {
      return NumberIn(line.substr(word.size()));
    }
    at += line.size() + 1;
  }
  return std::nullopt;
}

std::optional<uint64_t> NumberIn(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

}  // namespace cyray
