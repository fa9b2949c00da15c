// Untold: keeps a worker's task notes (wire/task_notes.h) true: which tasks have begun, and the
// answers that may not have left this process yet.
//
// A task has its place there until its answer is noted there too, or written to its socket. So at
// any moment in which the worker may end, each task that has begun is told of in one of the three
// ways, and none that has not. Calls of an actor have no place: whoever made them settles all that
// are in flight alike.
// Guarded by the core mutex.

#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cyray/core/link.h"
#include "cyray/core/outbox.h"
#include "cyray/wire/task_notes.h"

namespace cyray::core {

class Untold {
 public:
  // A task that has begun, as long as it is not told.
  struct Task {
    bool noted = false;
    std::optional<uint16_t> place;  // none: there were too many
  };

  explicit Untold(LinkOutbox& links) : links_(links) {}
  // Without memory, in tests and from raylets that share none, nothing is noted.
  void SetMemory(wire::TaskNotes notes) { notes_.emplace(std::move(notes)); }

  Task Begin(const WorkerId& submitter, uint64_t tag);
  // Its answer, a TaskReply, was sent on that link just now. It is told of when the answer is noted
  // or, where that alone would not do, written.
  enum class Way : uint8_t { kNoted, kWritten };
  void Answered(Task task, Link& link, const uint8_t* reply, size_t size, Way way = Way::kNoted);
  // Nobody waits for its answer.
  void Drop(Task task);
  void OnLinkBroken(const WorkerId& worker);

 private:
  bool Note(Link& link, const uint8_t* reply, size_t size);
  // Makes room: forgets what is noted, when all of it is written or, with `write`, can be now.
  bool Forget(bool write);
  void EndWritten();

  // An answer that was too large to note, and did not fit its socket.
  struct Unwritten {
    Task task;
    WorkerId submitter;
  };

  LinkOutbox& links_;
  std::optional<wire::TaskNotes> notes_;
  std::vector<WorkerId> noted_for_;  // whose answers are noted; their links say so
  std::vector<Unwritten> unwritten_;
};

}  // namespace cyray::core
