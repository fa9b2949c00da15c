// Storage: what the GCS knows, kept over its death.
//
// Changes are queued and become durable later, in batches. SqliteStorage is the real one; tests and
// the simulator have one in memory, whose moments of syncing and dying they choose.
// Threading: confined to the GCS's state loop, callbacks too; Load before the first change.
// Invariants: changes become durable in the order in which they were queued, those between two
// flushes all or none (what a call changed and the note that it was done must not part); a callback
// of OnDurable runs once, in a later round, with an ok status after all that was queued before it
// is durable; failed callbacks run youngest first.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

#include "cyray/util/status.h"
#include "cyray/wire/bytes.h"

namespace cyray::gcs {

class Storage {
 public:
  enum class Kind : uint8_t {
    kKv,
    kFunction,
    kJob,
    kNode,
    kActorSpec,
    kActorState,
    kCall,
    kGroup,
    kActorSave,
  };
  static constexpr size_t kKinds = 9;
  using Row = std::function<void(std::string_view key, wire::Bytes value)>;
  using Callback = std::function<void(const Status&)>;

  virtual ~Storage() = default;

  // Every row of `kind`, in order of their first writing.
  virtual Status Load(Kind kind, const Row& row) = 0;

  virtual void Put(Kind kind, std::string_view key, wire::Bytes value) = 0;
  virtual void Erase(Kind kind, std::string_view key) = 0;
  // Ends a group of changes that belong together; they become durable in one transaction.
  virtual void Flush() = 0;
  // As Flush(); `callback` learns when all that was queued is durable. Not ok: the disk refused it.
  // It is written all the same, as soon as that works: who wants it undone queues the opposite.
  virtual void OnDurable(Callback callback) = 0;
  // Why the last attempt to write failed; ok when it did not.
  virtual Status Failure() const = 0;
};

}  // namespace cyray::gcs
