#include "cpp_tests/sim/player.h"

#include <time.h>

#include <cstring>

#include "cyray/util/log.h"

namespace cyray::sim {
namespace {

using core::kForever;
using core::ObjectEntry;

constexpr size_t kRefBytes = ObjectId::kSize + sizeof(Address);
constexpr size_t kHeadBytes = sizeof(uint64_t) + sizeof(uint32_t);
constexpr uint64_t kLargeBytes = 300 << 10;
constexpr uint64_t kSaltMask = (uint64_t{1} << 48) - 1;

uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

}  // namespace

// --- What tasks mean --------------------------------------------------------------------------

uint64_t TaskKey::Pack() const {
  return uint64_t{static_cast<uint8_t>(kind)} << 56 | uint64_t{depth} << 48 | (salt & kSaltMask);
}

TaskKey TaskKey::Unpack(uint64_t packed) {
  return {static_cast<TaskKind>(packed >> 56), static_cast<uint8_t>(packed >> 48 & 0xff),
          packed & kSaltMask};
}

TaskKey TaskKey::Child(uint64_t number, TaskKind child) const {
  return {child, static_cast<uint8_t>(depth - 1),
          (Mix(salt + number + 1) & (kGivenRefs - 1)) | (salt & kGivenRefs)};
}

uint64_t TaskKey::Own() const { return Mix(Pack()) >> 8; }

namespace {

TaskKind KindOfChild(const TaskKey& key, uint64_t number) {
  constexpr TaskKind kKinds[] = {TaskKind::kLeaf, TaskKind::kFan,   TaskKind::kPass,
                                 TaskKind::kGive, TaskKind::kLarge, TaskKind::kSlow};
  const TaskKind kind = kKinds[Mix(key.salt * 7 + number) % std::size(kKinds)];
  return kind == TaskKind::kGive && (key.salt & kGivenRefs) == 0 ? TaskKind::kLeaf : kind;
}

}  // namespace

uint64_t Expected(const TaskKey& key, uint64_t passed) {
  uint64_t sum = key.Own();
  switch (key.kind) {
    case TaskKind::kFan:
      if (key.depth == 0) return sum;
      for (uint64_t i = 0; i < 3; ++i) sum += Expected(key.Child(i, KindOfChild(key, i)));
      return sum;
    case TaskKind::kPass:
      if (key.depth == 0) return sum;
      return sum + Expected(key.Child(0, TaskKind::kRead), key.salt);
    case TaskKind::kRead:
      if (key.depth == 0) return sum + passed;
      return sum + Expected(key.Child(0, TaskKind::kRead), passed);
    case TaskKind::kGive:
      return sum + key.salt;
    default:
      return sum;
  }
}

// --- Values -----------------------------------------------------------------------------------

core::ValuePtr Player::Encode(uint64_t number, const std::vector<ObjectEntry*>& refs) {
  core::ValuePtr value(core::Value::New(kHeadBytes + refs.size() * kRefBytes));
  const auto count = static_cast<uint32_t>(refs.size());
  std::memcpy(value->data(), &number, sizeof number);
  std::memcpy(value->data() + sizeof number, &count, sizeof count);
  core_.objects().ExportMany(refs.data(), refs.size(), value->data() + kHeadBytes);
  return value;
}

Decoded Player::Decode(const core::ReadView& view, core::ExecTask* call) {
  Decoded out;
  if (view.is_error) {
    out.is_error = true;
    out.error.assign(reinterpret_cast<const char*>(view.data), view.size);
    return out;
  }
  uint32_t count;
  CYRAY_CHECK(view.size >= kHeadBytes);
  std::memcpy(&out.number, view.data, sizeof out.number);
  std::memcpy(&count, view.data + sizeof out.number, sizeof count);
  CYRAY_CHECK(view.size >= kHeadBytes + count * kRefBytes);
  out.refs.resize(count);
  core_.objects().BorrowMany(view.data + kHeadBytes, count, call != nullptr, out.refs.data());
  for (uint32_t i = 0; call != nullptr && i < count; ++i) {
    call->borrowed.push_back(ObjectId::FromBytes(view.data + kHeadBytes + i * kRefBytes));
  }
  return out;
}

ObjectEntry* Player::Put(uint64_t number) {
  return core_.objects().Put(Encode(number, {}), false, {});
}

Decoded Player::Get(ObjectEntry* entry) {
  CYRAY_CHECK(core_.reader().Wait(&entry, 1, 1, /*here=*/true, kForever))
      << "a wait without an end ended";
  core::ReadView view;
  CYRAY_CHECK(core_.reader().Read(entry, &view));
  Decoded out = Decode(view, nullptr);
  if (view.value != nullptr) view.value->Unref();
  if (view.pin != nullptr) core_.reader().UnrefPin(view.pin);
  for (ObjectEntry* inner : std::exchange(out.refs, {})) {
    if (!out.is_error) Add(inner, &out);
    Release(inner);
  }
  return out;
}

// --- Tasks ------------------------------------------------------------------------------------

ObjectEntry* Player::Submit(const TaskKey& key, const std::vector<ObjectEntry*>& refs) {
  core::TaskTemplate*& tmpl = templates_[static_cast<size_t>(key.kind)];
  if (tmpl == nullptr) {
    core::TemplateSpec spec;
    spec.function_id.bytes.fill(static_cast<uint8_t>(1 + static_cast<int>(key.kind)));
    spec.name = "task" + std::to_string(static_cast<int>(key.kind));
    spec.max_retries = -1;
    spec.demand.Set("CPU", kResourceUnit);
    tmpl = core_.submitter().AddTemplate(spec);
  }
  core::Submission submission;
  submission.tmpl = tmpl;
  submission.args = Encode(key.Pack(), refs);
  for (ObjectEntry* ref : refs) {
    core_.objects().AddRef(ref);
    submission.contained.push_back(ref);
  }
  ObjectEntry* result = nullptr;
  core_.submitter().Submit(std::move(submission), nullptr, &result);
  return result;
}

bool Player::Add(ObjectEntry* child, Decoded* sum) {
  const Decoded got = Get(child);
  if (got.is_error) {
    sum->is_error = true;
    sum->error = got.error;
    return false;
  }
  sum->number += got.number;
  return true;
}

Decoded Player::Play(const TaskKey& key, const std::vector<ObjectEntry*>& passed) {
  Decoded result;
  result.number = key.Own();
  std::vector<ObjectEntry*> children;
  switch (key.kind) {
    case TaskKind::kFan:
      for (uint64_t i = 0; key.depth > 0 && i < 3; ++i) {
        children.push_back(Submit(key.Child(i, KindOfChild(key, i))));
      }
      break;
    case TaskKind::kPass:
      if (key.depth == 0) break;
      children.push_back(Put(key.salt));
      children.push_back(Submit(key.Child(0, TaskKind::kRead), {children[0]}));
      Release(children[0]);
      children.erase(children.begin());
      break;
    case TaskKind::kRead:
      if (key.depth > 0) {
        children.push_back(Submit(key.Child(0, TaskKind::kRead), passed));
        break;
      }
      for (ObjectEntry* ref : passed) Add(ref, &result);
      break;
    case TaskKind::kGive:
      result.refs.push_back(Put(key.salt));
      break;
    case TaskKind::kSlow: {
      const timespec wait{0, static_cast<long>(1 + key.salt % 50) * 1'000'000};
      ::nanosleep(&wait, nullptr);
      break;
    }
    default:
      break;
  }
  for (ObjectEntry* child : children) {
    Add(child, &result);
    Release(child);
  }
  return result;
}

core::Outcome Player::MakeOutcome(const core::ExecTask& task, const TaskKey& key,
                                  const Decoded& result) {
  core::Outcome outcome;
  outcome.is_error = result.is_error;
  outcome.contained = result.refs;
  if (result.is_error) {
    outcome.value = core::ValuePtr(core::Value::Copy(result.error.data(), result.error.size()));
    return outcome;
  }
  outcome.value = Encode(result.number, result.refs);
  if (key.kind != TaskKind::kLarge) return outcome;
  core::StoreBlock block;
  const Status created = core_.store().Create(
      ObjectId(task.id, 1), core_.executor().PeerAddress(task.submitter), kLargeBytes, &block);
  if (!created.ok()) {
    // An attempt of before has stored it, and says the same.
    if (created.code() == StatusCode::kAlreadyExists) outcome.stored_bytes = kLargeBytes;
    if (outcome.stored_bytes > 0) outcome.value = {};
    return outcome;
  }
  std::memcpy(block.data, outcome.value->data(), outcome.value->size());
  core_.store().SealReturn(block);
  outcome.value = {};
  outcome.stored_bytes = kLargeBytes;
  return outcome;
}

void Player::Execute(std::unique_ptr<core::ExecTask> task) {
  core::ReadView view;
  view.data = task->args->data();
  view.size = task->args->size();
  const Decoded given = Decode(view, task.get());
  const TaskKey key = TaskKey::Unpack(given.number);
  const Decoded result = Play(key, given.refs);
  for (ObjectEntry* ref : given.refs) Release(ref);
  std::vector<core::Outcome> outcomes;
  outcomes.push_back(MakeOutcome(*task, key, result));
  core_.executor().Reply(std::move(task), !result.is_error, std::move(outcomes), /*retry=*/false);
}

int Player::RunTasks() {
  while (true) {
    core::Event event;
    auto task = core_.executor().NextTask(kForever, /*main_thread=*/true, &event);
    if (task) {
      Execute(std::move(task));
      continue;
    }
    if (event.kind == core::Event::Kind::kExit) return 0;
    if (event.kind == core::Event::Kind::kRayletLost) return 1;
  }
}

}  // namespace cyray::sim
