// What a LeaseService says to the world, and the workers that it lends: two interfaces.
//
// In a raylet they are RayletLeaseOutbox (raylet_outbox.h) and WorkerHost; tests have their own.
// Threading: confined to the raylet's loop.

#pragma once

#include <flatbuffers/flatbuffers.h>

#include <map>
#include <optional>
#include <string>

#include "cyray/common/ids.h"
#include "cyray/raylet/worker_use.h"
#include "cyray/wire/frame.h"

namespace cyray::raylet {

class LeaseOutbox {
 public:
  virtual ~LeaseOutbox() = default;
  // To a process of this node. False: it is not here any more.
  virtual bool ToClient(const WorkerId& client, wire::FrameType type,
                        const flatbuffers::FlatBufferBuilder& builder) = 0;
  // To the raylet of another node. False: it is dead.
  virtual bool ToNode(const NodeId& node, wire::FrameType type,
                      const flatbuffers::FlatBufferBuilder& builder) = 0;
  // The same, behind the last frames that were relayed to that process of it.
  virtual bool ToNodeBehindRelays(const Address& process, wire::FrameType type,
                                  const flatbuffers::FlatBufferBuilder& builder) = 0;
  // To the driver of that job.
  virtual void Warn(const JobId& job, const std::string& text) = 0;
};

class LeaseWorkers {
 public:
  virtual ~LeaseWorkers() = default;
  // An idle worker, which is told its job.
  virtual std::optional<WorkerId> Take(const WorkerUse& use, bool for_actor) = 0;
  virtual void PutBack(const WorkerId& worker) = 0;
  virtual void OnExiting(const WorkerId& worker, bool intended, const std::string& reason) = 0;
  // Whether it takes no more tasks, and will say itself when it leaves.
  virtual bool Retires(const WorkerId& worker) const = 0;
  virtual void Kill(const WorkerId& worker, const std::string& reason, bool intended) = 0;
  // So many idle ones are missing.
  virtual void Ensure(const std::map<WorkerUse, int>& wanted) = 0;
  virtual int PidOf(const WorkerId& worker) const = 0;
};

}  // namespace cyray::raylet
