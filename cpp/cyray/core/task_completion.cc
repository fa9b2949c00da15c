#include "cyray/core/task_completion.h"

#include <algorithm>

#include "cyray/common/encoding.h"
#include "cyray/core/system_error.h"
#include "cyray/wire/convert.h"

namespace cyray::core {

using wire::FrameType;

namespace {

// The error of a task that never ran: [tag][u32 size][its name][what its argument holds]. One that
// is of this kind already, or of cyray itself, says enough.
ValuePtr DependencyError(const std::string& name, const ValuePtr& argument) {
  constexpr auto kSystemError = static_cast<uint8_t>(ValueTag::kSystemError);
  constexpr auto kDependency = static_cast<uint8_t>(ValueTag::kDependency);
  Value& inner = *argument.get();
  if (inner.size() == 0 || inner.data()[0] == kSystemError || inner.data()[0] == kDependency) {
    return argument;
  }
  const auto name_size = static_cast<uint32_t>(name.size());
  Value* value = Value::New(5 + name.size() + inner.size());
  uint8_t* at = value->data();
  *at = kDependency;
  std::memcpy(at + 1, &name_size, 4);
  std::memcpy(at + 5, name.data(), name.size());
  std::memcpy(at + 5 + name.size(), inner.data(), inner.size());
  return ValuePtr(value);
}

}  // namespace

void TaskCompletion::SendTemplate(Link& link, const TaskTemplate& tmpl) {
  if (link.sent_templates.size() <= tmpl.id) link.sent_templates.resize(tmpl.id + 64);
  link.sent_templates[tmpl.id] = tmpl.version;
  flatbuffers::FlatBufferBuilder b;
  auto name = b.CreateString(tmpl.name);
  auto method = b.CreateString(tmpl.method);
  auto extra =
      b.CreateVector(reinterpret_cast<const uint8_t*>(tmpl.extra.data()), tmpl.extra.size());
  b.Finish(wire::CreateTemplate(b, tmpl.id, wire::ToWire(tmpl.function_id), wire::ToWire(job_),
                                name, method, tmpl.num_returns, tmpl.max_concurrency, extra));
  links_.Send(link, FrameType::kTemplate, b);
}

void TaskCompletion::Push(Link& link, PendingTask* task, const std::vector<int>& gpu_ids) {
  const TaskTemplate& tmpl = *task->tmpl;
  if (tmpl.id >= link.sent_templates.size() || link.sent_templates[tmpl.id] != tmpl.version) {
    SendTemplate(link, tmpl);
  }
  auto& b = builder_;
  b.Clear();
  flatbuffers::Offset<flatbuffers::Vector<uint8_t>> args;
  if (task->args) args = b.CreateVector(task->args->data(), task->args->size());
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::TaskArg>>> refs;
  if (!task->refs.empty()) {
    std::vector<flatbuffers::Offset<wire::TaskArg>> list;
    list.reserve(task->refs.size());
    size_t inlined = 0;  // of what goes by reference; the worker asks for the rest
    for (ObjectEntry* entry : task->refs) {
      if (entry->state == ObjectState::kInline &&
          inlined + entry->value->size() <= kMaxInlineBytes) {
        inlined += entry->value->size();
        list.push_back(
            wire::CreateTaskArg(b, b.CreateVector(entry->value->data(), entry->value->size())));
        continue;
      }
      objects_.Index(entry);  // from here on the worker may name it
      std::vector<wire::WireNodeId> nodes;
      if (entry->state == ObjectState::kStored) {
        for (const NodeId& node : entry->extra->locations) nodes.push_back(*wire::ToWire(node));
      }
      const Address owner = objects_.OwnerOf(entry);
      list.push_back(wire::CreateTaskArg(b, 0, wire::ToWire(entry->id), wire::ToWire(owner),
                                         b.CreateVectorOfStructs(nodes)));
    }
    refs = b.CreateVector(list);
  }
  flatbuffers::Offset<flatbuffers::String> name;
  if (task->name) name = b.CreateString(*task->name);
  flatbuffers::Offset<flatbuffers::Vector<int32_t>> gpus;
  if (!gpu_ids.empty()) gpus = b.CreateVector(gpu_ids);
  b.Finish(wire::CreatePushTask(b, task->tag(), tmpl.id, task->attempt, wire::ToWire(task->id),
                                args, refs, name, gpus));
  links_.Send(link, FrameType::kPushTask, b);
}

// Before the arguments are let go of: refs that the worker still holds.
void TaskCompletion::TakeBorrowed(Link& link, const wire::TaskReply& reply) {
  if (reply.borrowed() == nullptr) return;
  for (const wire::WireObjectId* id : *reply.borrowed()) {
    objects_.OnAddBorrower(link.peer.worker, wire::FromWire(*id));
  }
}

void TaskCompletion::Resolve(Link& link, PendingTask* task, const wire::TaskReply& reply) {
  TakeBorrowed(link, reply);
  const size_t sent = reply.returns() != nullptr ? reply.returns()->size() : 0;
  for (size_t i = 0; i < task->returns.size(); ++i) {
    ObjectEntry* entry = task->returns[i];
    // A task that failed as a whole answers with one error for all its returns.
    const bool for_all = reply.status() != wire::TaskStatus::Ok && sent > 0;
    const wire::ReturnValue* value =
        i < sent ? reply.returns()->Get(i) : (for_all ? reply.returns()->Get(sent - 1) : nullptr);
    if (value == nullptr) {
      objects_.Fail(entry, ErrorKind::kInternal,
                    "the worker " + link.peer.ToString() + " answered without a value");
      continue;
    }
    if (value->contained() != nullptr && value->contained()->size() > 0) {
      std::vector<RefWithOwner> refs;
      for (const wire::RefWithOwner* ref : *value->contained()) {
        refs.push_back({wire::FromWire(ref->object_id()), wire::FromWire(ref->owner())});
      }
      objects_.SetContained(entry, objects_.TakeContained(link.peer, entry->id, refs));
    }
    if (value->value() != nullptr) {
      objects_.Resolve(entry, ValuePtr(Value::Copy(value->value()->data(), value->value()->size())),
                       value->is_error());
    } else {
      entry->is_error = value->is_error();
      objects_.ResolveStored(entry, wire::FromWireOrNil(value->node()), value->stored_bytes());
    }
  }
  Drop(task);
}

void TaskCompletion::Disregard(Link& link, PendingTask* task, const wire::TaskReply& reply) {
  if (reply.task_id() == nullptr || reply.returns() == nullptr) return;
  const TaskId id = wire::FromWire(*reply.task_id());
  for (uint32_t i = 0; i < reply.returns()->size(); ++i) {
    const wire::ReturnValue* value = reply.returns()->Get(i);
    const ObjectId outer(id, i + 1);
    if (value->value() == nullptr) {
      const NodeId node = wire::FromWireOrNil(value->node());
      if (task != nullptr) {
        NoteAbandoned(task, node);  // the attempt that counts may store it there, too
      } else {
        FreeUnlessThere(outer, node);
      }
    }
    if (value->contained() == nullptr || value->contained()->size() == 0) continue;
    builder_.Clear();
    builder_.Finish(wire::CreateContainedTaken(builder_, wire::ToWire(outer)));
    links_.Send(link, FrameType::kContainedTaken, builder_);
    links_.FlushSoon(link);
  }
}

void TaskCompletion::NoteAbandoned(const PendingTask* task, const NodeId& node) {
  auto& nodes = abandoned_[task->tag()];
  if (std::find(nodes.begin(), nodes.end(), node) == nodes.end()) nodes.push_back(node);
}

void TaskCompletion::FreeUnlessThere(const ObjectId& id, const NodeId& node) {
  const ObjectEntry* entry = objects_.Find(id);
  if (entry != nullptr && entry->state == ObjectState::kStored) {
    const auto& places = entry->extra->locations;
    if (std::find(places.begin(), places.end(), node) != places.end()) return;
  }
  objects_.FreeCopy(id, node);
}

ValuePtr TaskCompletion::FailedArgument(const PendingTask* task) const {
  for (const ObjectEntry* entry : task->refs) {
    if (entry->state == ObjectState::kInline && entry->is_error) {
      return DependencyError(NameOf(*task), entry->value);
    }
  }
  return {};
}

void TaskCompletion::Fail(PendingTask* task, ValuePtr error) {
  for (ObjectEntry* entry : task->returns) objects_.Resolve(entry, error, true);
  Drop(task);
}

void TaskCompletion::Cancel(PendingTask* task) {
  Fail(task, SystemError(ErrorKind::kTaskCancelled, "\ttask_id: " + task->id.Hex() + "\nThe task " +
                                                        NameOf(*task) + " was cancelled."));
}

void TaskCompletion::SendCancel(Link& link, const PendingTask& task, const Cancellation& how) {
  builder_.Clear();
  builder_.Finish(wire::CreateCancelTask(builder_, task.tag(), how.force, how.recursive));
  links_.Send(link, FrameType::kCancelTask, builder_);
  links_.Flush(link);
}

void TaskCompletion::ResolveCancelled(Link& link, PendingTask* task, const wire::TaskReply& reply) {
  TakeBorrowed(link, reply);
  Cancel(task);
}

void TaskCompletion::Drop(PendingTask* task) {
  if (!abandoned_.empty()) {
    if (auto nodes = abandoned_.extract(task->tag()); !nodes.empty()) {
      for (const NodeId& node : nodes.mapped()) {
        for (const ObjectEntry* entry : task->returns) FreeUnlessThere(entry->id, node);
      }
    }
  }
  for (ObjectEntry* entry : task->returns) {
    entry->maker = nullptr;
    objects_.Release(entry);
  }
  for (ObjectEntry* entry : task->refs) objects_.Release(entry);
  for (ObjectEntry* entry : task->contained) objects_.Release(entry);
  slab_.Free(task);
}

}  // namespace cyray::core
