// Kinds of errors that cyray itself puts in place of a value. Python maps them to exceptions
// (exceptions.py, system_error); numbers are part of the encoding and never reused.

#pragma once

#include <cstdint>

namespace cyray::core {

enum class ErrorKind : uint8_t {
  kWorkerCrashed = 1,
  kActorDied = 2,
  kActorUnavailable = 3,
  kCancelled = 4,
  kObjectLost = 5,
  kOwnerDied = 6,
  kNodeDied = 7,
  kObjectStoreFull = 8,
  kUnschedulable = 9,
  kRayletDied = 10,
  kInternal = 11,
};

}  // namespace cyray::core
