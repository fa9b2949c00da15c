#include "cyray/core/generators.h"

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "cyray/common/encoding.h"
#include "cyray/core/system_error.h"

namespace cyray::core {
namespace {

ValuePtr None() {
  const auto tag = static_cast<uint8_t>(ValueTag::kNone);
  return ValuePtr(Value::Copy(&tag, 1));
}

}  // namespace

void Generators::Begin(PendingTask* task, ObjectEntry* generator) {
  auto stream = std::make_unique<ItemStream>(objects_, task);
  generator->generator = true;
  generator->maker = task;
  task->generator = generator;
  task->stream = stream.get();
  streams_[generator->id] = std::move(stream);
}

ItemStream* Generators::Find(const ObjectId& generator) {
  const auto found = streams_.find(generator);
  return found == streams_.end() ? nullptr : found->second.get();
}

void Generators::End(PendingTask* task, const Resolve& fail) {
  ItemStream* const stream = std::exchange(task->stream, nullptr);
  ObjectEntry* const generator = std::exchange(task->generator, nullptr);
  if (stream == nullptr) return;  // it is none, or nobody holds it
  objects_.AddRef(generator);     // what becomes ready may let go of it
  generator->maker = nullptr;
  ValuePtr error;
  std::vector<ObjectEntry*> contained;
  if (fail) {
    stream->Add([&](ObjectEntry* item) {
      fail(item);
      error = item->value;
      if (item->extra) contained = item->extra->contained;
      for (ObjectEntry* entry : contained) objects_.AddRef(entry);
    });
  }
  stream->End();
  if (generator->ready()) {
    // The error of a task as a whole.
    for (ObjectEntry* entry : contained) objects_.Release(entry);
  } else if (task->tmpl->yields == wire::Yields::Gathered) {
    for (ObjectEntry* entry : contained) objects_.Release(entry);
    Gather(generator, *stream);
  } else {
    objects_.SetContained(generator, std::move(contained));
    objects_.Resolve(generator, error ? error : None(), static_cast<bool>(error));
  }
  objects_.Release(generator);
}

void Generators::Gather(ObjectEntry* generator, ItemStream& stream) {
  std::vector<ObjectEntry*> items;
  while (ObjectEntry* item = stream.Take()) items.push_back(item);
  const size_t table_bytes = 8 + items.size() * kRefBytes;
  const size_t value_at = (table_bytes + 63) / 64 * 64;
  Value* value = Value::New(value_at + 1);
  uint8_t* at = value->data();
  std::memset(at, 0, value_at);
  const auto count = static_cast<uint32_t>(items.size());
  at[0] = static_cast<uint8_t>(ValueTag::kRefs);
  std::memcpy(at + 4, &count, sizeof count);
  uint8_t* ref = at + 8;
  for (ObjectEntry* item : items) {
    objects_.Index(item);
    const Address owner = objects_.OwnerOf(item);
    std::memcpy(ref, item->id.data(), ObjectId::kSize);
    std::memcpy(ref + ObjectId::kSize, &owner, sizeof owner);
    ref += kRefBytes;
  }
  at[value_at] = static_cast<uint8_t>(ValueTag::kRefList);
  objects_.SetContained(generator, std::move(items));
  objects_.Resolve(generator, ValuePtr(value), false);
}

void Generators::Drop(const ObjectId& generator, PendingTask* maker) {
  auto stream = streams_.extract(generator);
  if (stream.empty()) return;
  std::string text = "nobody holds the generator any more: it ends";
  if (maker != nullptr) {
    text = "\ttask_id: " + maker->id.Hex() + "\n" + text + ".";
    maker->generator = nullptr;
    maker->stream = nullptr;
  }
  stream.mapped()->Close(SystemError(ErrorKind::kTaskCancelled, text));
}

}  // namespace cyray::core
