#include "cyray/util/status.h"

#include <cerrno>
#include <cstring>

namespace cyray {

Status Status::FromErrno(const std::string& what) { return FromErrno(what, errno); }

Status Status::FromErrno(const std::string& what, int error) {
  return Status(StatusCode::kIoError, what + ": " + std::strerror(error));
}

const char* StatusCodeName(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return "OK";
    case StatusCode::kInvalidArgument:
      return "InvalidArgument";
    case StatusCode::kNotFound:
      return "NotFound";
    case StatusCode::kAlreadyExists:
      return "AlreadyExists";
    case StatusCode::kTimedOut:
      return "TimedOut";
    case StatusCode::kDisconnected:
      return "Disconnected";
    case StatusCode::kProtocolError:
      return "ProtocolError";
    case StatusCode::kUnauthenticated:
      return "Unauthenticated";
    case StatusCode::kObjectStoreFull:
      return "ObjectStoreFull";
    case StatusCode::kOutOfMemory:
      return "OutOfMemory";
    case StatusCode::kCancelled:
      return "Cancelled";
    case StatusCode::kUnavailable:
      return "Unavailable";
    case StatusCode::kIoError:
      return "IoError";
    case StatusCode::kInternal:
      return "Internal";
  }
  return "Unknown";
}

std::string Status::ToString() const {
  if (ok()) return "OK";
  return std::string(StatusCodeName(code_)) + ": " + message_;
}

}  // namespace cyray
