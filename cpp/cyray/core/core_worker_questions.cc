// CoreWorker: what it says of itself, and what it asks its raylet besides its work: dumps, and the
// output that is still on its way. Threading: as core_worker.h.

#include <unistd.h>

#include "cyray/core/core_worker.h"
#include "cyray/util/clock.h"
#include "local_generated.h"

namespace cyray::core {

using wire::FrameType;

std::string CoreWorker::Describe() {
  std::lock_guard lock(mutex_);
  std::string out = "process " + address_.ToString() + " pid " + std::to_string(::getpid()) + ": " +
                    std::to_string(objects_.size()) + " objects, " + std::to_string(slab_.live()) +
                    " pending tasks, " + std::to_string(execution_.queued()) +
                    " tasks queued here, " + std::to_string(execution_.running()) + " running, " +
                    std::to_string(raylet_.pending_requests()) + " requests at the raylet, " +
                    std::to_string(links_.all().size()) + " links, " +
                    std::to_string(actors_.clients()) + " actors known\n";
  if (!unpublished_.empty()) {
    out += "  " + std::to_string(unpublished_.size()) +
           " stored objects that only this process knows, the raylet as its spare blocks:";
    size_t named = 0;
    for (const auto& [id, object] : unpublished_) {
      if (named++ == 20) break;
      out += " " + id.Hex() + " (" + std::to_string(object.bytes) + " bytes)";
    }
    out += "\n";
  }
  waits_.Describe(out, [this](const ObjectEntry& entry) { return DescribeMissing(entry); });
  tasks_.Describe(out);
  actors_.Describe(out);
  return out;
}

std::string CoreWorker::DescribeMissing(const ObjectEntry& entry) {
  std::string out = "object " + entry.id.Hex();
  if (entry.state == ObjectState::kStored) {
    out += ": it is in the store of";
    for (const NodeId& node : entry.extra->locations) out += " node " + node.Hex();
    return out + (entry.pulling ? ", asked for" : "");
  }
  if (!entry.owned)
    return out + ": its owner " + objects_.OwnerOf(&entry).ToString() + " was asked";
  const PendingTask* maker = slab_.FindByResult(&entry);
  return maker == nullptr ? out : out + ": the result of " + DescribeTask(*maker);
}

void CoreWorker::FlushOutput() {
  std::unique_lock lock(mutex_);
  bool done = false;
  const uint64_t id = raylet_.NextRequestId();
  builder_.Clear();
  builder_.Finish(wire::CreateFlushOutput(builder_, id));
  raylet_.Request(id, FrameType::kFlushOutput, builder_, [&](wire::Frame*) { done = true; });
  const int64_t deadline = MonotonicNs() + 200'000'000;
  poller_.WaitUntil(lock, deadline, [&] { return done || disconnecting_; });
  if (!done) raylet_.Forget(id);
}

std::string CoreWorker::NodeDump() {
  std::unique_lock lock(mutex_);
  bool done = false;
  std::string text;
  const uint64_t id = raylet_.NextRequestId();
  builder_.Clear();
  builder_.Finish(wire::CreateNodeInfo(builder_, id));
  raylet_.Request(id, FrameType::kNodeInfo, builder_, [&](wire::Frame* frame) {
    done = true;
    if (frame == nullptr) return;
    const auto* reply = frame->As<wire::NodeInfoReply>();
    if (reply->json() != nullptr) text = reply->json()->str();
  });
  const int64_t deadline = MonotonicNs() + 2'000'000'000;
  poller_.WaitUntil(lock, deadline, [&] { return done || disconnecting_; });
  if (!done) raylet_.Forget(id);
  return text;
}

}  // namespace cyray::core
