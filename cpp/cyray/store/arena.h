// Arena: the shared memory of a node's object store, as its raylet holds it.
//
// One sealed memfd (it can neither shrink nor grow, so a mapping of it never faults beyond its end)
// and a second, read-only descriptor of it: what is mapped from that one can never be made
// writable. The file is sparse. Memory is taken from the machine ahead of use: small ranges when an
// object is created, more in idle time (WarmSome), and large ranges by their writer, who populates
// before it copies (arena_mapping.h). Each of the three reports failure, so nobody gets SIGBUS.
// Threading: confined to the raylet's loop.
// Invariant: everything below backed_end() has been backed or is left to its writer to populate.

#pragma once

#include <cstdint>

#include "cyray/util/status.h"
#include "cyray/util/unique_fd.h"

namespace cyray::store {

class Arena {
 public:
  static Result<Arena> Create(uint64_t capacity_bytes);

  uint64_t capacity_bytes() const { return capacity_; }
  uint64_t backed_end() const { return backed_end_; }

  // Duplicates for a client: RegisterReply carries read-only, then read-write.
  Result<UniqueFd> DuplicateReadOnly() const;
  Result<UniqueFd> DuplicateReadWrite() const;

  // Makes [offset, offset + bytes) safe to write. ObjectStoreFull when the machine has no memory.
  Status Back(uint64_t offset, uint64_t bytes);
  // Backs a few MiB above `in_use_end` unless enough are ahead already. Whether it did any work.
  bool WarmSome(uint64_t in_use_end);

 private:
  Arena(UniqueFd read_write, UniqueFd read_only, uint64_t capacity)
      : read_write_(std::move(read_write)), read_only_(std::move(read_only)), capacity_(capacity) {}
  Status BackUpTo(uint64_t end);

  UniqueFd read_write_;
  UniqueFd read_only_;
  uint64_t capacity_;
  uint64_t backed_end_ = 0;
};

}  // namespace cyray::store
