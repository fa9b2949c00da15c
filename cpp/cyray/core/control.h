// Control: what Python asks of the rest of the cluster besides its work: requests of gcs.fbs
// (gcs_requests.h builds and reads them) and questions to this node's raylet.
// Threading: as this_process.h says. All of it blocks but Tell.

#pragma once

#include <string>

#include "cyray/core/gcs_facts.h"
#include "cyray/core/requests.h"

namespace cyray::core {

class Control {
 public:
  Control(ThisProcess& process, Requests& requests, GcsFacts& facts)
      : process_(process), requests_(requests), facts_(facts) {}

  // A request of gcs.fbs; the payload of its reply.
  Result<std::string> Ask(wire::GcsMethod method, const flatbuffers::FlatBufferBuilder& payload);
  // The same without an answer, until the GCS knows it (gcs_facts.h).
  void Tell(wire::GcsMethod method, const flatbuffers::FlatBufferBuilder& payload);

  // JSON of what this node waits for, or all nodes do and their processes; within two seconds.
  Status NodeDump(std::string* json, bool everywhere = false);
  // This node has so much of that resource from now on (1/10000 units).
  Status SetResource(const std::string& name, int64_t amount);
  // Waits, for a moment, until all that this driver's workers have printed was sent here.
  Status FlushOutput();

 private:
  ThisProcess& process_;
  Requests& requests_;
  GcsFacts& facts_;
};

}  // namespace cyray::core
