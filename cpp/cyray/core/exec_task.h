// ExecTask: a task that another process pushed on this worker, from its arrival to its answer.
// Plain structs, guarded by the core mutex; ExecutionQueue and, while it runs, a thread of Python's
// own one.

#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "cyray/core/exec_templates.h"
#include "cyray/core/object_directory.h"
#include "cyray/core/untold.h"

namespace cyray::core {

// A by-reference argument of a task that was pushed here.
struct Argument {
  ObjectEntry* entry = nullptr;  // null: the value came with the task, or cannot be had
  LocalPin* pin = nullptr;       // keeps what is in the store here until the task has run
  ValuePtr value;
  bool is_error = false;
  uint64_t awaited_by = 0;  // the key under which it is awaited; 0: it is not
};

// What a streaming generator has yielded.
struct Production {
  uint64_t number = 0;         // of the next item
  uint64_t there = 0;          // of earlier attempts: its owner has these
  uint64_t taken = 0;          // by consumers, as far as is known
  std::deque<uint64_t> sizes;  // of those that were sent here and are not taken
  uint64_t bytes = 0;          // of all these
  bool tells = false;          // when it has room again
};

struct ExecTask {
  WorkerId submitter;  // nil: the creation of this actor
  uint64_t tag = 0;
  ExecTemplate* tmpl = nullptr;
  uint32_t group = 0;  // whose threads run it
  TaskId id;
  uint32_t attempt = 0;
  uint64_t call = 0;  // of an actor that is saved: its number among those that its caller keeps
  ValuePtr args;
  std::vector<Argument> arguments;  // those by reference; one count of each entry
  std::string name;
  std::vector<int> gpu_ids;
  std::vector<ObjectId> borrowed;  // refs seen while decoding the arguments
  uint32_t missing = 0;            // arguments that are not here yet
  bool unwanted = false;           // nobody gets its answer
  bool told_waiting = false;       // its submitter knows that it did not begin when its turn came
  int64_t started_ns = 0;
  uint64_t number = 0;    // of those that began in this process, from 1
  size_t running_at = 0;  // where it is listed
  // Its submitter does not want it any more: it is to end soon. Read without the core mutex, too,
  // and what it submits before it knows of that, then.
  std::atomic<bool> cancelled = false;
  bool cancels_children = false;  // written before
  int64_t due_ns = 0;      // when it runs over its timeout or, timed out, over its grace; 0: never
  bool timed_out = false;  // and was cancelled for that
  std::unique_ptr<Production> production;
  Untold::Task untold;
  bool submitter_is_nil() const { return submitter.is_nil(); }
};

// One return value to send.
struct Outcome {
  ValuePtr value;  // inline; else it is in the store
  uint64_t stored_bytes = 0;
  bool is_error = false;
  std::vector<ObjectEntry*> contained;  // one count each, passed on
};

}  // namespace cyray::core
