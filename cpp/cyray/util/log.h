// Logging and checks.
//
// CYRAY_LOG(kInfo) << "text" writes one line to standard error, which the daemons point at their
// file in the session's logs folder. CYRAY_CHECK(cond) << "values" aborts with the values: it is
// for bugs of cyray itself, never for what a peer or a user sent. Threading: thread-safe; a line is
// written by one write(2).

#pragma once

#include <sstream>
#include <string>

namespace cyray {

enum class LogLevel : int { kDebug = 0, kInfo = 1, kWarning = 2, kError = 3, kFatal = 4 };

// Lines below this level are dropped; CYRAY_BACKEND_LOG_LEVEL (debug, info, warning, error) sets
// it.
LogLevel MinLogLevel();
void SetMinLogLevel(LogLevel level);

class LogMessage {
 public:
  LogMessage(LogLevel level, const char* file, int line);
  ~LogMessage();
  std::ostream& stream() { return stream_; }

 private:
  LogLevel level_;
  std::ostringstream stream_;
};

}  // namespace cyray

#define CYRAY_LOG(level)                                   \
  if (::cyray::LogLevel::level < ::cyray::MinLogLevel()) { \
  } else                                                   \
    ::cyray::LogMessage(::cyray::LogLevel::level, __FILE__, __LINE__).stream()

#define CYRAY_CHECK(cond)                                                       \
  if (__builtin_expect(static_cast<bool>(cond), 1)) {                           \
  } else                                                                        \
    ::cyray::LogMessage(::cyray::LogLevel::kFatal, __FILE__, __LINE__).stream() \
        << "Check failed: " #cond " "
