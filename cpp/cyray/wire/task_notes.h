// TaskNotes: what a worker has begun, and answered and maybe not told yet, in memory that outlives
// it. Drivers have such memory, too, for the tally of their tasks (task_tally.h), and note nothing.
//
// A worker gathers the answers of short tasks; when one of them ends its process, what was gathered
// would be gone, and nobody could say which of its tasks had begun. So each worker shares a small
// memory with its raylet, which reads it when the worker is dead. Writing is a few stores and a
// copy: no syscall, no lock.
// Threading: the worker writes with its core mutex held; the raylet reads on its loop, when nobody
// writes any more. Each word that says how much counts is stored after what it counts, so the
// memory makes sense whenever the worker ends. What is read there is a peer's: it is checked.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/util/status.h"
#include "cyray/util/unique_fd.h"
#include "cyray/wire/task_tally.h"

namespace cyray::wire {

class TaskNotes {
 public:
  // More tasks than this at once have no place, and it is not known which of them have begun.
  static constexpr size_t kPlaces = 1'024;
  static constexpr size_t kAnswersBytes = 256 << 10;
  // A larger answer is written to its socket at once.
  static constexpr size_t kMaxAnswerBytes = 32 << 10;

  struct Answer {
    Address to;
    uint64_t number = 0;  // of all on its link, from 1 on
    std::vector<uint8_t> frame_body;
  };
  struct BegunTask {
    WorkerId submitter;
    uint64_t tag = 0;
  };
  struct Noted {
    std::vector<Answer> answers;
    bool begun_known = false;
    std::vector<BegunTask> begun;  // and not answered
  };

  // Memory of the right size, which cannot be made smaller.
  static Result<UniqueFd> CreateMemory();
  static Result<TaskNotes> Map(const UniqueFd& memory);

  // Valid as long as this, or what this was moved to.
  TaskTally& tally() const;

  // --- The worker ---

  // A task begins; its place, for End. None: there are too many.
  std::optional<uint16_t> Begin(const WorkerId& submitter, uint64_t tag);
  // That task is answered, and the answer noted here or written.
  void End(std::optional<uint16_t> place);
  size_t answers_bytes() const;
  // False: there is no room.
  bool NoteAnswer(const Address& to, uint64_t number, const uint8_t* frame_body, size_t size);
  // All answers are written, or those on the link to `worker` will never be.
  void ForgetAnswers();
  void ForgetAnswersTo(const WorkerId& worker);

  // --- The raylet ---

  Noted Read() const;

 private:
  struct Shared;
  struct AnswerHeader;
  struct Unmap {
    void operator()(Shared* shared) const;
  };
  explicit TaskNotes(Shared* shared) : shared_(shared) {}

  std::unique_ptr<Shared, Unmap> shared_;
  std::vector<uint16_t> free_places_;
};

}  // namespace cyray::wire
