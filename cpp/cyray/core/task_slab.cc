#include "cyray/core/task_slab.h"

#include "cyray/core/actor_submitter.h"
#include "cyray/util/log.h"

namespace cyray::core {

PendingTask* TaskSlab::New() {
  if (free_.empty()) {
    const auto base = static_cast<uint32_t>(chunks_.size() * kChunk);
    chunks_.push_back(std::make_unique<Chunk>());
    for (size_t i = kChunk; i > 0; --i) free_.push_back(base + static_cast<uint32_t>(i - 1));
  }
  const uint32_t slot = free_.back();
  free_.pop_back();
  PendingTask* task = AtSlot(slot);
  task->slot = slot;
  task->live = true;
  ++live_;
  if (tally_ != nullptr) tally_->Add(wire::TaskCount::kUnfinished);
  return task;
}

void TaskSlab::Free(PendingTask* task) {
  const uint32_t slot = task->slot, generation = task->generation + 1;
  if (task->answered) {
    --answered_;
  } else {
    StopCounting(*task);
  }
  if (task->call != 0) task->actor->over.Add(task->call);
  // Small vectors keep their memory for the next task in this slot; a burst's does not stay.
  task->args = {};
  task->refs.clear();
  task->contained.clear();
  task->returns.clear();
  if (task->refs.capacity() > 8) task->refs.shrink_to_fit();
  if (task->contained.capacity() > 8) task->contained.shrink_to_fit();
  if (task->returns.capacity() > 8) task->returns.shrink_to_fit();
  task->name.reset();
  if (task->tmpl != nullptr) templates_.Drop(task->tmpl);
  task->tmpl = nullptr;
  task->actor = nullptr;
  task->lease = nullptr;
  task->next = task->previous = nullptr;
  task->unresolved = task->attempt = 0;
  task->parent = task->call = task->items = 0;
  task->answered = false;
  task->cancelled = task->forced = false;
  task->generation = generation;
  task->place = Place::kNone;
  task->live = false;
  free_.push_back(slot);
  --live_;
}

void TaskSlab::NoteAnswered(PendingTask* task) {
  task->answered = true;
  ++answered_;
  StopCounting(*task);
}

void TaskSlab::StopCounting(const PendingTask& task) {
  if (task.actor != nullptr && task.args) task.actor->bytes -= task.args->size();
  if (tally_ != nullptr) tally_->Add(wire::TaskCount::kUnfinished, -1);
}

PendingTask* TaskSlab::Find(uint64_t tag) {
  const auto slot = static_cast<uint32_t>(tag);
  if (slot >= chunks_.size() * kChunk) return nullptr;
  PendingTask* task = AtSlot(slot);
  return task->live && task->generation == static_cast<uint32_t>(tag >> 32) ? task : nullptr;
}

std::vector<uint64_t> TaskSlab::ChildrenOf(uint64_t parent) const {
  std::vector<uint64_t> children;
  if (live_ == 0) return children;
  for (const auto& chunk : chunks_) {
    for (const PendingTask& task : *chunk) {
      if (task.live && task.parent == parent) children.push_back(task.tag());
    }
  }
  return children;
}

const std::string& NameOf(const PendingTask& task) {
  return task.name != nullptr ? *task.name : task.tmpl->name;
}

namespace {

// What stands between a call that has its arguments and its actor's process.
std::string WhyQueued(const PendingTask& task) {
  const ActorClient& actor = *task.actor;
  if (actor.state != wire::ActorState::Alive) {
    return ", " + (actor.waits.empty() ? "of which the GCS has not told yet" : actor.waits);
  }
  const std::string where = " at " + actor.address.ToString();
  if (actor.link == nullptr) return where + ", which cannot be reached now";
  const CallLane& lane = actor.LaneOf(task);
  if (lane.queue.first->waiting_for_args()) {
    return where + " behind a call that waits for its arguments";
  }
  return where + " behind " + std::to_string(lane.in_flight) + " calls";
}

}  // namespace

std::string DescribeTask(const PendingTask& task) {
  std::string out = (task.actor != nullptr ? "call " : "task ") + NameOf(task) + " (attempt " +
                    std::to_string(task.attempt + 1) + "), ";
  if (task.waiting_for_args()) {
    return out + "which waits for " + std::to_string(task.unresolved) + " of its arguments";
  }
  if (task.lease != nullptr) {
    return out + "pushed to worker " + task.lease->worker.ToString() + " pid " +
           std::to_string(task.lease->worker_pid);
  }
  if (task.actor == nullptr) {
    const ShapeKey& key = task.tmpl->shape->key;
    out += "queued for a worker with {" + key.demand.ToString() + "}";
    if (key.max_running == 0) return out;
    return out + ", of " + std::to_string(key.max_running) + " that may run at once in the job";
  }
  const std::string actor = "actor " + task.actor->id.Hex();
  if (task.place == Place::kInFlight) {
    return out + "pushed to " + actor + " at " + task.actor->address.ToString();
  }
  if (task.place == Place::kLimbo) return out + "in limbo since the worker was lost of " + actor;
  return out + "queued for " + actor + WhyQueued(task);
}

}  // namespace cyray::core
