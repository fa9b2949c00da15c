// What the kernel says in the files of /proc and /sys.
// Functions without state, for any thread.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cyray {

// The first `most` bytes of such a file; empty when it cannot be read.
std::string ReadKernelFile(const std::string& path, size_t most = 4096);

// Of "MemTotal:   24689204 kB" or "inactive_file 4096" on a line of its own: the number behind the
// word with which the line begins.
std::optional<uint64_t> NumberAfter(std::string_view text, std::string_view word);
// Of a text that begins with one. None for "max".
std::optional<uint64_t> NumberIn(std::string_view text);

}  // namespace cyray
