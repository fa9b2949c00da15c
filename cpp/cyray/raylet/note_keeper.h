// NoteKeeper: the memory that each worker of a node shares with its raylet (wire/task_notes.h).
//
// Threading: confined to the raylet's loop.

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
  // For a worker that registers.
  Result<UniqueFd> Share(const WorkerId& worker) {
    auto memory = wire::TaskNotes::CreateMemory();
    if (!memory) return memory;
    auto notes = wire::TaskNotes::Map(*memory);
    if (!notes) return Fail(notes.error());
    notes_.insert_or_assign(worker, std::move(*notes));
    return memory;
  }
  // What a worker that is dead has noted; once.
  wire::TaskNotes::Noted Take(const WorkerId& worker) {
    const auto notes = notes_.extract(worker);
    return notes.empty() ? wire::TaskNotes::Noted{} : notes.mapped().Read();
  }

 private:
  std::unordered_map<WorkerId, wire::TaskNotes> notes_;
};

}  // namespace cyray::raylet
