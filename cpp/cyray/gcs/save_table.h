// SaveTable: the last save of each actor that has one, as the request that brought it.
//
// Which saves count, and when they go, is ActorDirector's to say; here the newest stays.
// Threading: confined to the GCS's state loop. Pure: no I/O.

#pragma once

#include <cstdint>
#include <map>

#include "cyray/common/ids.h"
#include "cyray/wire/bytes.h"
#include "gcs_generated.h"

namespace cyray::gcs {

class SaveTable {
 public:
  struct Save {
    uint32_t incarnation = 0;
    uint64_t number = 0;
    int64_t taken_ms = 0;
    uint64_t state_bytes = 0;
    wire::Bytes request;  // a SaveActorRequest
  };

  // False: a newer one is here, or this one.
  bool Put(wire::Bytes request);
  // Null when there is none. Valid until the next change.
  const Save* Find(const ActorId& actor) const;
  // Whether there was one.
  bool Erase(const ActorId& actor) { return saves_.erase(actor) > 0; }
  const std::map<ActorId, Save>& saves() const { return saves_; }

 private:
  std::map<ActorId, Save> saves_;
};

}  // namespace cyray::gcs
