// NoteKeeper: the memory that each process of a node shares with its raylet (wire/task_notes.h),
// and what became of all the tasks that its processes had.
//
// Threading: confined to the raylet's loop. Invariant: what Counts() says has ended never shrinks.

#pragma once

#include <unordered_map>
#include <utility>

#include "cyray/common/ids.h"
#include "cyray/util/status.h"
#include "cyray/util/unique_fd.h"
#include "cyray/wire/task_notes.h"

namespace cyray::raylet {

class NoteKeeper {
 public:
  // For a process that registers.
  Result<UniqueFd> Share(const WorkerId& process) {
    auto memory = wire::TaskNotes::CreateMemory();
    if (!memory) return memory;
    auto notes = wire::TaskNotes::Map(*memory);
    if (!notes) return Fail(notes.error());
    notes_.insert_or_assign(process, std::move(*notes));
    return memory;
  }
  // What a process that is dead has noted; once. What it ran has failed.
  wire::TaskNotes::Noted Take(const WorkerId& process) {
    const auto notes = notes_.extract(process);
    if (notes.empty()) return {};
    using enum wire::TaskCount;
    const wire::TaskCounts counts = notes.mapped().tally().Read();
    ended_[kFinished] += counts[kFinished];
    ended_[kFailed] += counts[kFailed] + counts[kRunning];
    return notes.mapped().Read();
  }
  // Of the processes that live, and what ended in those that did.
  wire::TaskCounts Counts() const {
    wire::TaskCounts sum = ended_;
    for (const auto& [process, notes] : notes_) sum += notes.tally().Read();
    return sum;
  }

 private:
  std::unordered_map<WorkerId, wire::TaskNotes> notes_;
  wire::TaskCounts ended_;
};

}  // namespace cyray::raylet
