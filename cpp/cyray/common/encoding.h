// What the encodings of values, errors and events agree on: tags, kinds and limits, for C++ and,
// through libground.pxd, for Python. Numbers are part of the wire format: none is ever used again
// for another thing.
//
// An encoded value is a tag byte and its content; wire/encoded.h reads the parts of those that have
// some. Threading: constants.

#pragma once

#include <cstddef>
#include <cstdint>

#include "cyray/common/ids.h"

namespace cyray {

enum class ValueTag : uint8_t {
  kNone = 0,
  kTrue = 1,
  kFalse = 2,
  kInt = 3,            // 8 bytes
  kFloat = 4,          // 8 bytes
  kStr = 5,            // UTF-8
  kBytes = 6,          //
  kPickleBuffers = 7,  // a pickle and the buffers that it left out
  kPickle = 8,         //
  kSystemError = 9,    // [ErrorKind][ActorId or zeros][text]
  kReference = 10,     // [u32 index]; only as an argument
  kMemoryView = 11,    // laid out like kPickleBuffers, with one buffer
  kRefs = 12,          // a table of refs, then a value whose pickle names them by number
  kDependency = 13,    // [u32 size][the task's name][the error that its argument holds]
  kRefList = 14,       // after a table: the list of exactly its refs
  kRefTuple = 15,      // the tuple of them
  kArray = 16,         // laid out like kPickleBuffers, with one buffer and an array's header
};

// What cyray itself puts in place of a value (kSystemError). Python maps each to an exception.
enum class ErrorKind : uint8_t {
  kWorkerCrashed = 1,
  kActorDied = 2,
  kActorUnavailable = 3,
  kObjectLost = 4,
  kOwnerDied = 5,
  kObjectStoreFull = 6,
  kUnschedulable = 7,
  kRayletDied = 8,
  kInternal = 9,
  kTaskCancelled = 10,
  kEndOfStream = 11,  // no error: behind the last item of a generator
  kObjectFreed = 12,
  kTaskTimeout = 13,
  kTaskGroupRemoved = 14,
  kActorGroupRemoved = 15,
};

// The name that Python knows a kind by; nullptr for one that there is not.
constexpr const char* ErrorKindName(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kWorkerCrashed:
      return "worker_crashed";
    case ErrorKind::kActorDied:
      return "actor_died";
    case ErrorKind::kActorUnavailable:
      return "actor_unavailable";
    case ErrorKind::kObjectLost:
      return "object_lost";
    case ErrorKind::kOwnerDied:
      return "owner_died";
    case ErrorKind::kObjectStoreFull:
      return "object_store_full";
    case ErrorKind::kUnschedulable:
      return "unschedulable";
    case ErrorKind::kRayletDied:
      return "raylet_died";
    case ErrorKind::kInternal:
      return "internal";
    case ErrorKind::kTaskCancelled:
      return "task_cancelled";
    case ErrorKind::kEndOfStream:
      return "end_of_stream";
    case ErrorKind::kObjectFreed:
      return "object_freed";
    case ErrorKind::kTaskTimeout:
      return "task_timeout";
    case ErrorKind::kTaskGroupRemoved:
      return "task_placement_group_removed";
    case ErrorKind::kActorGroupRemoved:
      return "actor_placement_group_removed";
  }
  return nullptr;
}

// Objects up to this size live in their owner and travel inline; larger ones go to the store.
inline constexpr uint64_t kInlineBytes = 100 << 10;
// Values up to this size travel inline even where the message has kMaxInlineBytes of them.
inline constexpr uint64_t kTinyBytes = 100;
// Of all values in one message; the others go by reference.
inline constexpr uint64_t kMaxInlineBytes = 10 << 20;
// Errors always travel inline, up to this size.
inline constexpr uint64_t kMaxErrorBytes = 64 << 20;

// An address, and a ref in the table of a value: its id, and its owner's address.
inline constexpr size_t kAddressBytes = NodeId::kSize + WorkerId::kSize;
inline constexpr size_t kRefBytes = ObjectId::kSize + kAddressBytes;
static_assert(sizeof(Address) == kAddressBytes);

// Of a callback that a thread of its own takes in a worker, not the main one.
inline constexpr uint64_t kThreadToken = uint64_t{1} << 62;

}  // namespace cyray
