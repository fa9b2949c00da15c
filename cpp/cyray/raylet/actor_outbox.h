// What an ActorHost says to the world, and whom it asks for resources and workers: three
// interfaces.
//
// In a raylet they are RayletActorOutbox (raylet_outbox.h), LeaseService and WorkerHost; tests have
// their own. Threading: confined to the raylet's loop.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <string>

#include "cyray/common/ids.h"
#include "cyray/common/resources.h"
#include "cyray/raylet/lease_request.h"
#include "cyray/wire/bytes.h"
#include "cyray/wire/frame.h"

namespace cyray::raylet {

class ActorOutbox {
 public:
  virtual ~ActorOutbox() = default;
  // To a worker of this node; nothing when it is not connected any more.
  virtual void ToWorker(const WorkerId& worker, wire::FrameType type,
                        const flatbuffers::FlatBufferBuilder& builder) = 0;
  // A finished NodeReport, to the GCS. Lost while that is away.
  virtual void Report(wire::Bytes report) = 0;
};

class ActorLeases {
 public:
  virtual ~ActorLeases() = default;
  // Resources and a worker for an actor of this node; a grant or a refusal follows, unless it is
  // cancelled. Its placement demand chose this node and is not waited for: an actor that holds no
  // CPU starts also while tasks that may never end have them all.
  virtual void RequestForActor(const RequestKey& key, const JobId& job, ResourceSet held) = 0;
  virtual void CancelActor(const RequestKey& key) = 0;
  // Whether it waits for resources, and not for a worker alone.
  virtual bool LacksRoom(const RequestKey& key) const = 0;
  // The worker of that grant does not become the actor.
  virtual void EndActorLease(const WorkerId& worker) = 0;
};

class ActorWorkers {
 public:
  virtual ~ActorWorkers() = default;
  virtual void Kill(const WorkerId& worker, const std::string& reason, bool intended) = 0;
  // ExitWorker{graceful}, and SIGKILL when that was not enough. `if_unused`: it may answer that it
  // stays.
  virtual void AskToExit(const WorkerId& worker, const std::string& reason, int64_t kill_after_ms,
                         bool if_unused) = 0;
  // Whether it has worked for a lease, and so may own what somebody uses.
  virtual bool HasServed(const WorkerId& worker) const = 0;
  virtual int PidOf(const WorkerId& worker) const = 0;
};

}  // namespace cyray::raylet
