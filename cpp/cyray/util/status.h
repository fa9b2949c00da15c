// Status and Result: how every layer of cyray reports failure.
//
// A Status is a code and a sentence; Result<T> is a value or a Status. Nothing throws across a
// layer. Programming errors are CYRAY_CHECKs (log.h); what a peer sends is never a check.
// Threading: values, immutable after construction.

#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <utility>

namespace cyray {

enum class StatusCode : uint8_t {
  kOk = 0,
  kInvalidArgument,
  kNotFound,
  kAlreadyExists,
  kTimedOut,
  kDisconnected,     // the peer is gone
  kProtocolError,    // the peer sent bytes that are not a valid frame
  kUnauthenticated,  // the peer could not prove that it holds the cluster token
  kObjectStoreFull,
  kOutOfMemory,
  kCancelled,
  kUnavailable,  // may work later
  kIoError,      // a system call failed
  kInternal,
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status Ok() { return {}; }
  // The text of errno, prefixed by what was attempted.
  static Status FromErrno(const std::string& what);
  static Status FromErrno(const std::string& what, int error);

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }
  std::string ToString() const;

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

template <class T>
using Result = std::expected<T, Status>;

inline std::unexpected<Status> Fail(StatusCode code, std::string message) {
  return std::unexpected<Status>(Status(code, std::move(message)));
}
inline std::unexpected<Status> Fail(Status status) {
  return std::unexpected<Status>(std::move(status));
}

const char* StatusCodeName(StatusCode code);

}  // namespace cyray

// Leaves the enclosing function (returning Status) when `expr` is not ok.
#define CYRAY_RETURN_IF_ERROR(expr)              \
  do {                                           \
    if (::cyray::Status _s = (expr); !_s.ok()) { \
      return _s;                                 \
    }                                            \
  } while (false)
