// SaveTable: the last save of each actor that has one, as the request that brought it.
//
// Which saves count, and when they go, is ActorDirector's to say; here the newest stays.
// Threading: confined to the GCS's state loop. Pure: no I/O.

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

#include "cyray/common/ids.h"
#include "cyray/wire/bytes.h"
#include "gcs_generated.h"

namespace cyray::gcs {

class SaveTable {
 public:
  // All of them may take so much, but for what was there before.
  explicit SaveTable(size_t most_bytes) : most_bytes_(most_bytes) {}

  struct Save {
    uint32_t incarnation = 0;
    uint64_t number = 0;
    int64_t taken_ms = 0;
    uint64_t state_bytes = 0;
    wire::Bytes request;  // a SaveActorRequest
  };

  // Whether a request of that size has room, in place of the one that is here.
  bool HasRoom(const ActorId& actor, size_t request_bytes) const;
  // False: a newer one is here, or this one.
  bool Put(wire::Bytes request);
  // Null when there is none. Valid until the next change.
  const Save* Find(const ActorId& actor) const;
  // Whether there was one.
  bool Erase(const ActorId& actor);
  size_t bytes() const { return bytes_; }
  size_t most_bytes() const { return most_bytes_; }

 private:
  const size_t most_bytes_;
  size_t bytes_ = 0;  // of all requests
  std::map<ActorId, Save> saves_;
};

}  // namespace cyray::gcs
