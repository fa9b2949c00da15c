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

std::string EndedWith(const PendingTask& task, int pid) {
  const bool is_call = task.actor != nullptr;
  const std::string where = pid > 0 ? " (pid " + std::to_string(pid) + ")" : "";
  return std::string(is_call ? " The actor" : " The worker") + where + " was ended, as the " +
         (is_call ? "call" : "task") + " did not end when it was told to.";
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
                                name, method, tmpl.num_returns, tmpl.max_concurrency, extra,
                                tmpl.yields, tmpl.max_ahead, tmpl.timeout_ms, tmpl.group));
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
  uint64_t items = 0, taken = 0;
  if (task->answered) {
    items = taken = task->items;  // none is to be sent
  } else if (task->stream != nullptr) {
    items = task->stream->came();
    taken = task->stream->taken();
    task->stream->Told();
  }
  b.Finish(wire::CreatePushTask(b, task->tag(), tmpl.id, task->attempt, wire::ToWire(task->id),
                                args, refs, name, gpus, items, taken, task->call));
  links_.Send(link, FrameType::kPushTask, b);
}

// Before the arguments are let go of: refs that the worker still holds.
void TaskCompletion::TakeBorrowed(Link& link, const wire::TaskReply& reply) {
  if (reply.borrowed() == nullptr) return;
  for (const wire::WireObjectId* id : *reply.borrowed()) {
    objects_.OnAddBorrower(link.peer.worker, wire::FromWire(*id));
  }
}

void TaskCompletion::Give(Link& link, ObjectEntry* entry, const ObjectId& outer,
                          const wire::ReturnValue& value) {
  if (value.contained() != nullptr && value.contained()->size() > 0) {
    std::vector<RefWithOwner> refs;
    for (const wire::RefWithOwner* ref : *value.contained()) {
      refs.push_back({wire::FromWire(ref->object_id()), wire::FromWire(ref->owner())});
    }
    objects_.SetContained(entry, objects_.TakeContained(link.peer, outer, refs));
  }
  if (value.value() != nullptr) {
    objects_.Resolve(entry, ValuePtr(Value::Copy(value.value()->data(), value.value()->size())),
                     value.is_error());
  } else {
    entry->is_error = value.is_error();
    objects_.ResolveStored(entry, wire::FromWireOrNil(value.node()), value.stored_bytes());
  }
}

void TaskCompletion::Resolve(Link& link, PendingTask* task, const wire::TaskReply& reply) {
  GiveResults(link, task, reply);
  Drop(task);
}

void TaskCompletion::ResolveAndKeep(Link& link, PendingTask* task, const wire::TaskReply& reply,
                                    const ActorId& actor) {
  GiveResults(link, task, reply);
  slab_.NoteAnswered(task);
  task->items = reply.items();
  task->parent = 0;
  if (auto found = abandoned_.extract(task->tag()); !found.empty()) {
    FreeAbandoned(*task, found.mapped());
  }
  for (ObjectEntry* entry : std::exchange(task->returns, {})) {
    entry->maker = nullptr;
    objects_.Release(entry);
  }
  // What it keeps must not keep its actor.
  std::vector<ObjectEntry*> handles;
  std::erase_if(task->contained, [&](ObjectEntry* entry) {
    if (ActorId::FromBytes(entry->id.data()) != actor) return false;
    handles.push_back(entry);
    return true;
  });
  for (ObjectEntry* entry : handles) objects_.Release(entry);
}

void TaskCompletion::GiveResults(Link& link, PendingTask* task, const wire::TaskReply& reply) {
  TakeBorrowed(link, reply);
  const size_t sent = reply.returns() != nullptr ? reply.returns()->size() : 0;
  const bool failed = reply.status() != wire::TaskStatus::Ok;
  if (task->stream != nullptr) {
    return ResolveStream(link, task, reply);
  }
  if (task->returns.empty()) Disregard(link, task, reply);  // a generator that nobody holds
  for (size_t i = 0; i < task->returns.size(); ++i) {
    ObjectEntry* entry = task->returns[i];
    // A task that failed answers with one error for all its returns that it did not make.
    const wire::ReturnValue* value =
        i < sent ? reply.returns()->Get(i)
                 : (failed && sent > 0 ? reply.returns()->Get(sent - 1) : nullptr);
    if (value == nullptr) {
      objects_.Fail(entry, ErrorKind::kInternal,
                    "the worker " + link.peer.ToString() + " answered without a value");
      continue;
    }
    Give(link, entry, entry->id, *value);
  }
}

void TaskCompletion::ResolveStream(Link& link, PendingTask* task, const wire::TaskReply& reply) {
  const auto* returns = reply.returns();
  if (reply.status() == wire::TaskStatus::Ok && reply.items() == task->stream->came()) {
    return generators_.End(task);
  }
  if (reply.status() != wire::TaskStatus::Ok && returns != nullptr && returns->size() == 1) {
    return generators_.End(task, [&](ObjectEntry* item) {
      Give(link, item, ObjectId(task->id, 1), *returns->Get(0));
    });
  }
  const uint64_t came = task->stream->came();
  const std::string why = reply.items() < came
                              ? "the generator yielded " + std::to_string(reply.items()) +
                                    " items and then ended, where an earlier attempt had yielded " +
                                    std::to_string(came) + ": it is to yield the same each time"
                              : "the worker " + link.peer.ToString() + " sent " +
                                    std::to_string(came) + " items of " +
                                    std::to_string(reply.items());
  generators_.End(task, [&](ObjectEntry* item) { objects_.Fail(item, ErrorKind::kInternal, why); });
}

void TaskCompletion::AddItem(Link& link, PendingTask* task, bool is_there,
                             const wire::StreamItem& item) {
  if (item.item() == nullptr) return;
  const ObjectId id = ItemStream::IdOf(task->id, item.number());
  if (!is_there || task->stream == nullptr || item.attempt() != task->attempt ||
      item.number() != task->stream->came()) {
    return Refuse(link, task->stream != nullptr ? task : nullptr, id, *item.item());
  }
  ObjectEntry* const generator = task->generator;
  ItemStream& stream = *task->stream;
  objects_.AddRef(generator);  // a task for which the item is ready may let go of it
  stream.Add([&](ObjectEntry* entry) { Give(link, entry, id, *item.item()); });
  if (task->stream != nullptr) TellTaken(link, *task);
  objects_.Release(generator);
}

void TaskCompletion::RefuseItem(Link& link, const wire::StreamItem& item) {
  if (item.item() == nullptr || item.task_id() == nullptr) return;
  const ObjectId id = ItemStream::IdOf(wire::FromWire(*item.task_id()), item.number());
  Refuse(link, nullptr, id, *item.item());
}

void TaskCompletion::TellTaken(Link& link, const PendingTask& task) {
  const auto taken = task.stream->TakeNews();
  if (!taken) return;
  builder_.Clear();
  builder_.Finish(wire::CreateItemsTaken(builder_, task.tag(), task.attempt, *taken));
  links_.Send(link, FrameType::kItemsTaken, builder_);
  links_.Flush(link);
}

void TaskCompletion::Disregard(Link& link, PendingTask* task, const wire::TaskReply& reply) {
  if (reply.task_id() == nullptr || reply.returns() == nullptr) return;
  const TaskId id = wire::FromWire(*reply.task_id());
  for (uint32_t i = 0; i < reply.returns()->size(); ++i) {
    Refuse(link, task, ObjectId(id, i + 1), *reply.returns()->Get(i));
  }
}

void TaskCompletion::Refuse(Link& link, const PendingTask* task, const ObjectId& id,
                            const wire::ReturnValue& value) {
  if (value.value() == nullptr) {
    const NodeId node = wire::FromWireOrNil(value.node());
    if (task != nullptr) {
      NoteAbandoned(task, node);  // the attempt that counts may store it there, too
    } else {
      FreeUnlessThere(id, node);
    }
  }
  if (value.contained() == nullptr || value.contained()->size() == 0) return;
  builder_.Clear();
  builder_.Finish(wire::CreateContainedTaken(builder_, wire::ToWire(id)));
  links_.Send(link, FrameType::kContainedTaken, builder_);
  links_.FlushSoon(link);
}

void TaskCompletion::NoteAbandoned(const PendingTask* task, const NodeId& node) {
  const auto [found, is_new] = abandoned_.try_emplace(task->tag());
  auto& [nodes, first_item] = found->second;
  if (is_new && task->stream != nullptr) first_item = task->stream->came();
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

ValuePtr TaskCompletion::FailedArgument(const PendingTask* task) {
  for (const ObjectEntry* entry : task->refs) {
    if (entry->state == ObjectState::kInline && entry->is_error) {
      objects_.NoteErrorRead(entry);  // it is given on
      return DependencyError(NameOf(*task), entry->value);
    }
  }
  return {};
}

void TaskCompletion::Fail(PendingTask* task, ValuePtr error) {
  for (ObjectEntry* entry : task->returns) objects_.Resolve(entry, error, true);
  generators_.End(task, [&](ObjectEntry* item) { objects_.Resolve(item, error, true); });
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

void TaskCompletion::ResolveCancelled(Link& link, PendingTask* task, const wire::TaskReply& reply,
                                      int pid) {
  TakeBorrowed(link, reply);
  if (reply.status() == wire::TaskStatus::Cancelled) return Cancel(task);
  const bool ends = reply.status() == wire::TaskStatus::TimedOutEnding;
  std::string seconds = std::to_string(static_cast<double>(task->tmpl->timeout_ms) / 1000);
  seconds.erase(seconds.find_last_not_of('0') + 1);
  if (seconds.back() == '.') seconds.pop_back();
  Fail(task, SystemError(ErrorKind::kTaskTimeout,
                         "\ttask_id: " + task->id.Hex() + "\nThe task " + NameOf(*task) +
                             " ran for longer than its timeout_s=" + seconds + "." +
                             (ends ? EndedWith(*task, pid) : "")));
}

void TaskCompletion::FreeAbandoned(const PendingTask& task, const Abandoned& abandoned) {
  // More large items than this are never on their way.
  constexpr uint64_t kMostItems = ItemStream::kMaxAheadBytes / kInlineBytes + 1;
  for (const NodeId& node : abandoned.nodes) {
    for (int i = 0; task.answered && i < task.tmpl->num_returns; ++i) {
      FreeUnlessThere(ObjectId(task.id, static_cast<uint32_t>(i + 1)), node);
    }
    for (const ObjectEntry* entry : task.returns) FreeUnlessThere(entry->id, node);
    if (task.tmpl->yields == wire::Yields::None) continue;
    for (uint64_t i = 0; i < kMostItems; ++i) {
      FreeUnlessThere(ItemStream::IdOf(task.id, abandoned.first_item + i), node);
    }
  }
}

void TaskCompletion::Drop(PendingTask* task) {
  if (!abandoned_.empty()) {
    if (auto found = abandoned_.extract(task->tag()); !found.empty()) {
      FreeAbandoned(*task, found.mapped());
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
