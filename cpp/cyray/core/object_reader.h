// ObjectReader: waits for objects and reads them in place.
//
// A running task that waits gives its CPU back to the node meanwhile (Executor), unless what it
// waits for is near. Threading: as this_process.h says; Wait() blocks.

#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cyray/core/executor.h"
#include "cyray/core/object_directory.h"
#include "cyray/core/store_client.h"
#include "cyray/core/this_process.h"

namespace cyray::core {

// An encoded value that can be read in place while the holder keeps `value` or `pin` referenced.
struct ReadView {
  const uint8_t* data = nullptr;
  uint64_t size = 0;
  bool is_error = false;
  Value* value = nullptr;   // one reference passed to the caller, or
  LocalPin* pin = nullptr;  // one reference passed to the caller
};

class ObjectReader {
 public:
  ObjectReader(ThisProcess& process, ObjectDirectory& directory, StoreClient& store,
               Executor& executor)
      : process_(process), directory_(directory), store_(store), executor_(executor) {}

  // Waits until `count` of the entries are ready (or, with `here`, readable in place).
  // With `or_error`, which is for waiting for all, one error that is here is enough too.
  // False: the time is over, a signal handler raised (InterruptCheck), or the process leaves.
  bool Wait(ObjectEntry* const* entries, size_t size, size_t count, bool here, int64_t deadline_ns,
            bool or_error = false);
  // Whether no entry is there twice.
  bool AreDistinct(ObjectEntry* const* entries, size_t size);
  // The numbers of the first entries that are ready, `count` of them at most, in order.
  void FindReady(ObjectEntry* const* entries, size_t size, size_t count, bool here,
                 std::vector<size_t>* found);
  // Which entries are ready, in order; sets flags[i].
  void ReadyFlags(ObjectEntry* const* entries, size_t size, bool here, uint8_t* flags);
  // The value of an entry that is here; false when it is not.
  bool Read(ObjectEntry* entry, ReadView* view) { return ReadMany(&entry, 1, view) == 1; }
  // How many were here, from the first.
  size_t ReadMany(ObjectEntry* const* entries, size_t size, ReadView* views);
  // The value of a by-reference argument of a running task.
  bool ReadArgument(ExecTask* task, size_t index, ReadView* view);
  void UnrefPin(LocalPin* pin);
  // Of several that were to be read, one error was: nobody is to be told of the others.
  void NoteErrorsRead(ObjectEntry* const* entries, size_t size);
  // An event with `token` when the value is here (EventQueue::PushCallback).
  void AddCallback(ObjectEntry* entry, uint64_t token);
  // Whoever waited does not any more. An event that is queued already still comes.
  void RemoveCallback(ObjectEntry* entry, uint64_t token);

 private:
  using Lock = ThisProcess::Lock;

  bool CountReady(ObjectEntry* const* entries, size_t size, size_t count, bool here, size_t* first);
  // Waits as long as it is not worth lending the CPU. True when the wait is over.
  bool WaitBriefly(Lock& lock, ObjectEntry* const* entries, size_t size, int64_t deadline_ns,
                   const std::function<bool()>& over);
  // Somebody has to make the object first, or it comes from another node.
  bool IsFar(const ObjectEntry& entry) const;

  ThisProcess& process_;
  ObjectDirectory& directory_;
  StoreClient& store_;
  Executor& executor_;
  uint32_t searches_ = 0;  // for repeats
};

}  // namespace cyray::core
