// ActorCreation: everything that registers an actor. A plain struct; whoever fills it owns it. The
// request of gcs.fbs that it becomes is built here, so names of wire tables stay out of Python.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <cstdint>
#include <string>
#include <vector>

#include "cyray/common/ids.h"
#include "cyray/common/labels.h"
#include "cyray/common/resources.h"
#include "cyray/core/object_directory.h"
#include "cyray/core/value.h"

namespace cyray::core {

struct ActorCreation {
  ActorId actor_id;
  FunctionId class_id;
  std::string class_name, name, name_space, extra, handle_meta;
  ResourceSet placement, held;
  uint8_t strategy = 0;
  NodeId affinity_node;
  bool affinity_soft = false;
  LabelChoice labels;  // of the node
  bool detached = false;
  int max_restarts = 0;
  uint32_t max_concurrency = 1;
  ValuePtr args;
  std::vector<ObjectEntry*> refs;  // kept by the caller as long as the actor may start again
};

// A RegisterActorRequest of `owner`. The refs may be named by others from now on: the core mutex is
// held. `arguments_pending`: ActorArgumentsReady follows (unready_actors.h).
flatbuffers::FlatBufferBuilder RegistrationOf(const ActorCreation& creation, const Address& owner,
                                              const JobId& job, ObjectDirectory& directory,
                                              bool arguments_pending);

// Roughly what it will take: its parts without bounds.
size_t RegistrationBytes(const ActorCreation& creation);

}  // namespace cyray::core
