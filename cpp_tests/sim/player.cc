#include "cpp_tests/sim/player.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cstring>

#include "cpp_tests/sim/book.h"
#include "cyray/common/encoding.h"
#include "cyray/core/gcs_requests.h"
#include "cyray/util/log.h"

namespace cyray::sim {
namespace {

using core::kForever;
using core::ObjectEntry;

// What a task that was cancelled raises.
struct Cancelled {};

constexpr size_t kHeadBytes = sizeof(uint64_t) + sizeof(uint32_t);
constexpr uint64_t kLargeBytes = 300 << 10;
constexpr uint32_t kMaxAhead = 5;
constexpr uint64_t kTimeoutMs = 20;

void Nap(uint64_t ms) {
  const timespec wait{0, static_cast<long>(ms) * 1'000'000};
  ::nanosleep(&wait, nullptr);
}

FunctionId FunctionOf(int number) {
  FunctionId id;
  id.bytes.fill(static_cast<uint8_t>(1 + number));
  return id;
}

}  // namespace

// --- Values -----------------------------------------------------------------------------------

SystemError SystemError::Of(const Decoded& value) {
  constexpr size_t kTextAt = 2 + ActorId::kSize;
  if (!value.is_error || value.error.size() < kTextAt) return {};
  if (value.error[0] != static_cast<char>(ValueTag::kSystemError)) return {};
  return {static_cast<uint8_t>(value.error[1]), value.error.substr(kTextAt)};
}

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

Decoded Player::Collect(ObjectEntry* generator, const TaskKey& key) {
  Decoded sum;
  for (uint64_t number = 0;;) {
    const auto next = core_.items().Take(generator, /*only_look=*/false);
    if (!next) {
      sum.is_error = true;
      sum.error = next.error().message();
      return sum;
    }
    if (next->end) {
      if (number != key.Items()) sum.number = ~uint64_t{0};  // some are missing
      return sum;
    }
    ObjectEntry* item = next->item;
    if (!next->taken) {
      CYRAY_CHECK(core_.reader().Wait(&item, 1, 1, /*here=*/false, kForever));
      Release(item);
      continue;
    }
    const Decoded got = Get(item);
    Release(item);
    if (got.is_error) return got;
    if (got.number != key.Item(number++)) sum.number = uint64_t{1} << 63;  // in another order
    sum.number += got.number;
    if (key.IsDropped() && number > key.Items() / 2) {
      sum.number = Expected(key);
      return sum;
    }
  }
}

void Player::LookWhetherCancelled() {
  if (running_ != nullptr && running_->cancelled) throw Cancelled{};
}

// --- Submitting -------------------------------------------------------------------------------

core::TaskTemplate* Player::TemplateOf(const TaskKey& key, int max_retries, bool is_call) {
  const TaskKind kind = key.kind;
  const bool free = rules_.some_are_free && key.MayBeFree();
  core::TaskTemplate*& tmpl = templates_[{kind, max_retries, is_call, free}];
  if (tmpl != nullptr) return tmpl;
  core::TemplateSpec spec;
  spec.function_id = is_call ? FunctionId{} : FunctionOf(static_cast<int>(kind));
  spec.name = "task" + std::to_string(static_cast<int>(kind));
  spec.max_retries = max_retries;
  spec.is_actor_method = is_call;
  if (kind == TaskKind::kLate) spec.timeout_ms = kTimeoutMs;
  if (kind == TaskKind::kYield) {
    spec.yields = wire::Yields::Items;
    spec.max_ahead = kMaxAhead;
  }
  if (is_call) {
    spec.method = spec.name;
  } else if (!free) {
    spec.shape.demand.Set("CPU", kResourceUnit);
  }
  if (!is_call && kind == TaskKind::kLarge && rules_.large_node >= 0) {
    spec.shape.demand.Set("node" + std::to_string(rules_.large_node), kResourceUnit);
  }
  return tmpl = core_.submitter().AddTemplate(spec);
}

core::Submission Player::SubmissionOf(const TaskKey& key, const Given& given, bool is_call) {
  core::Submission submission;
  submission.tmpl = TemplateOf(key, given.max_retries, is_call);
  submission.args = Encode(key.Pack(), given.refs);
  for (ObjectEntry* ref : given.refs) core_.objects().AddRef(ref);
  for (ObjectEntry* ref : given.arguments) core_.objects().AddRef(ref);
  submission.contained = given.refs;
  submission.refs = given.arguments;
  if (running_ != nullptr) submission.parent = running_->number;
  return submission;
}

ObjectEntry* Player::Submit(const TaskKey& key, const Given& given) {
  ObjectEntry* result = nullptr;
  core_.submitter().Submit(SubmissionOf(key, given, /*is_call=*/false), nullptr, &result);
  Book::Get().Submitted(result->id.task(), given.max_retries);
  return result;
}

ObjectEntry* Player::Call(const ActorHandle& actor, const TaskKey& key, const Given& given) {
  core::Submission submission = SubmissionOf(key, given, /*is_call=*/true);
  submission.hold = actor.ref;
  ObjectEntry* result = nullptr;
  core_.submitter().Submit(std::move(submission), actor.client, &result);
  Book::Get().Submitted(result->id.task(), given.max_retries, actor.saved);
  return result;
}

// --- Actors -----------------------------------------------------------------------------------

ActorHandle Player::MakeActor(const ActorOptions& options, const std::vector<ObjectEntry*>& refs) {
  core::ActorCreation creation;
  creation.actor_id = ActorId::Random();
  const JobId job = core_.job_id();
  std::memcpy(creation.actor_id.bytes.data() + 12, job.data(), JobId::kSize);
  creation.class_id = FunctionOf(100);
  creation.class_name = "Actor";
  creation.name = options.name;
  creation.name_space = "sim";
  creation.detached = !options.name.empty();
  creation.max_restarts = options.max_restarts;
  creation.placement.Set("CPU", kResourceUnit);
  if (options.holds_cpu) creation.held.Set("CPU", kResourceUnit);
  creation.args = Encode(0, refs);
  const bool saved = options.saved_every > 0;
  if (saved) creation.extra = std::to_string(options.saved_every);
  ActorHandle handle{creation.actor_id, core_.submitter().GetActorClient(
                                            creation.actor_id, {core::CallGroup{}}, saved)};
  handle.saved = saved;
  handle.ref = creation.detached ? nullptr : core_.objects().NewActorHandle(creation.actor_id);
  for (ObjectEntry* ref : refs) core_.objects().AddRef(ref);
  if (handle.ref != nullptr) core_.objects().HoldWith(handle.ref, refs);
  Book::Get().ActorMade(creation.actor_id, options.max_restarts);
  while (core_.submitter().CreateActor(creation, creation.detached).code() ==
         StatusCode::kUnavailable) {
    Nap(100);
  }
  return handle;
}

ActorHandle Player::FindActor(const std::string& name) {
  core::NamedActor found;
  while (!core::GetActorByName(core_.control(), name, "sim", &found).ok()) Nap(100);
  if (!found.found) return {};
  return {found.id, core_.submitter().GetActorClient(found.id, {core::CallGroup{}})};
}

ActorHandle Player::HandleOf(ObjectEntry* ref, bool saved) {
  const ActorId id = ActorId::FromBytes(ref->id.data());
  return {id, core_.submitter().GetActorClient(id, {core::CallGroup{}}, saved), ref, saved};
}

void Player::Drop(ActorHandle* actor) {
  if (actor->client != nullptr) core_.submitter().ReleaseActorClient(actor->client);
  if (actor->ref != nullptr) Release(actor->ref);
  actor->client = nullptr;
  actor->ref = nullptr;
}

// --- Tasks ------------------------------------------------------------------------------------

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

bool Player::AddArguments(core::ExecTask* task, Decoded* sum) {
  for (size_t i = 0; i < task->arguments.size(); ++i) {
    core::ReadView view;
    CYRAY_CHECK(core_.reader().ReadArgument(task, i, &view));
    const Decoded argument = Decode(view, nullptr);
    if (view.value != nullptr) view.value->Unref();
    if (view.pin != nullptr) core_.reader().UnrefPin(view.pin);
    for (ObjectEntry* inner : argument.refs) Release(inner);
    if (argument.is_error) {
      sum->is_error = true;
      sum->error = argument.error;
      return false;
    }
    sum->number += argument.number;
  }
  return true;
}

std::vector<ObjectEntry*> Player::StartChildren(const TaskKey& key,
                                                const std::vector<ObjectEntry*>& passed) {
  std::vector<ObjectEntry*> children;
  if (key.depth == 0) return children;
  switch (key.kind) {
    case TaskKind::kFan:
      for (uint64_t i = 0; i < 3; ++i) {
        children.push_back(Submit(key.Child(i, key.KindOfChild(i))));
      }
      break;
    case TaskKind::kPass: {
      ObjectEntry* const number = Put(key.salt);
      children.push_back(Submit(key.Child(0, TaskKind::kRead), {.refs = {number}}));
      Release(number);
      break;
    }
    case TaskKind::kRead:
      children.push_back(Submit(key.Child(0, TaskKind::kRead), {.refs = passed}));
      break;
    case TaskKind::kCall: {
      ActorHandle actor = HandleOf(passed.at(0), key.OfSaved());
      children.push_back(Call(actor, key.Child(0, TaskKind::kLeaf)));
      core_.submitter().ReleaseActorClient(actor.client);
      break;
    }
    default:
      break;
  }
  return children;
}

Decoded Player::Play(const TaskKey& key, core::ExecTask* task,
                     const std::vector<ObjectEntry*>& passed) {
  Decoded result;
  result.number = key.Own();
  switch (key.kind) {
    case TaskKind::kRead:
      for (ObjectEntry* ref : passed) {
        if (key.depth == 0) Add(ref, &result);
      }
      break;
    case TaskKind::kGive:
      result.refs.push_back(Put(key.salt));
      break;
    case TaskKind::kSlow:
      Nap(1 + key.salt % rules_.slow_ms);
      LookWhetherCancelled();
      break;
    case TaskKind::kSum:
      AddArguments(task, &result);
      break;
    case TaskKind::kKept:
      for (ObjectEntry* ref : kept_) Add(ref, &result);
      break;
    case TaskKind::kMeet:
      Meet(key);
      break;
    case TaskKind::kCount:
      if (key.salt % 4 == 0) Nap(1 + key.salt % 30);
      result.number += Count(*task);
      break;
    case TaskKind::kYield:
      Yield(*task, key);
      break;
    case TaskKind::kLate:
      // Longer than its timeout, and of depth 1 than the grace after it.
      for (uint64_t i = 0; i < 100; ++i) {
        Nap(key.depth == 0 ? 5 : 50);
        if (key.depth == 0) LookWhetherCancelled();
      }
      break;
    case TaskKind::kDrain: {
      const Decoded drained = Collect(passed.at(0), key.Child(0, TaskKind::kYield));
      result.is_error = drained.is_error;
      result.error = drained.error;
      result.number += drained.number;
      break;
    }
    case TaskKind::kMake: {
      ActorHandle made = MakeActor({.name = "made " + std::to_string(key.salt)}, passed);
      core_.submitter().ReleaseActorClient(made.client);
      break;
    }
    default:
      break;
  }
  for (ObjectEntry* child : StartChildren(key, passed)) {
    Add(child, &result);
    Release(child);
  }
  if (result.refs.empty()) LookWhetherCancelled();
  return result;
}

void Player::Meet(const TaskKey& key) {
  if (key.depth == 0) return;
  Book::Get().Arrives(key);
  const TaskKey other{key.kind, static_cast<uint8_t>(3 - key.depth), key.salt};
  while (!Book::Get().HasArrived(other)) Nap(5);
}

void Player::Die() {
  Book::Get().Struck(::getpid());
  ::kill(::getpid(), SIGKILL);
  __builtin_unreachable();
}

void Player::Yield(core::ExecTask& task, const TaskKey& key) {
  using Sent = core::Executor::Sent;
  for (uint64_t i = 0; i < key.Items(); ++i) {
    if (i % 8 == 7) Nap(1 + key.salt % 5);
    LookWhetherCancelled();
    if (key.depth == 2 && i == key.Items() / 2 && task.attempt < key.Deaths()) Die();
    if (core_.executor().SkipItem(task)) {
      if (i % 4 == 0) Nap(1 + key.salt % 5);
      continue;
    }
    core::Outcome outcome;
    outcome.value = Encode(key.Item(i), {});
    if (key.depth == 1 && i % 3 == 0) Store(task, core::ItemStream::IdOf(task.id, i), &outcome);
    const Sent sent = core_.executor().SendItem(task, std::move(outcome));
    if (sent == Sent::kUnwanted) return;
    if (sent == Sent::kWait) {
      CYRAY_CHECK(core_.executor().AwaitRoom(task));
    }
  }
}

void Player::Store(core::ExecTask& task, const ObjectId& id, core::Outcome* outcome) {
  Address owner;
  if (!core_.executor().OwnerOfResults(task, &owner)) return;
  core::StoreBlock block;
  const Status created = core_.store().Create(id, owner, kLargeBytes, &block);
  if (!created.ok()) {
    // An attempt of before has stored it, and says the same.
    if (created.code() == StatusCode::kAlreadyExists) outcome->stored_bytes = kLargeBytes;
    if (outcome->stored_bytes > 0) outcome->value = {};
    return;
  }
  std::memcpy(block.data, outcome->value->data(), outcome->value->size());
  core_.store().SealReturn(block);
  outcome->value = {};
  outcome->stored_bytes = kLargeBytes;
}

core::Outcome Player::MakeOutcome(core::ExecTask& task, const TaskKey& key, const Decoded& result) {
  core::Outcome outcome;
  outcome.is_error = result.is_error;
  outcome.contained = result.refs;
  if (result.is_error) {
    outcome.value = core::ValuePtr(core::Value::Copy(result.error.data(), result.error.size()));
    return outcome;
  }
  outcome.value = Encode(result.number, result.refs);
  if (key.StoresResult()) Store(task, ObjectId(task.id, 1), &outcome);
  return outcome;
}

// --- A worker's life --------------------------------------------------------------------------

void Player::Execute(std::unique_ptr<core::ExecTask> task) {
  Book::Get().Begins(*task, !actor_.is_nil());
  core::ReadView view;
  view.data = task->args->data();
  view.size = task->args->size();
  const Decoded given = Decode(view, task.get());
  const TaskKey key = TaskKey::Unpack(given.number);
  Kernel::Get()->Log("begins " + task->id.Hex() + " of kind " +
                     std::to_string(static_cast<int>(key.kind)));
  running_ = actor_.is_nil() ? task.get() : nullptr;
  Decoded result;
  bool gave_up = false;
  try {
    result = Play(key, task.get(), given.refs);
  } catch (const Cancelled&) {
    gave_up = true;
  }
  running_ = nullptr;
  for (ObjectEntry* ref : given.refs) Release(ref);
  if (gave_up) {
    Book::Get().Ends(task->id);
    return core_.executor().ReplyCancelled(std::move(task));
  }
  std::vector<core::Outcome> outcomes;
  if (key.kind != TaskKind::kYield) outcomes.push_back(MakeOutcome(*task, key, result));
  if (key.Lingers()) Nap(1 + key.salt % 20);
  if (key.kind == TaskKind::kDie && task->attempt < key.Deaths()) Die();
  Book::Get().Ends(task->id);
  // Else the answer waits until the owners of what it borrowed know of that.
  const bool at_once = task->borrowed.empty();
  const TaskId id = task->id;
  core_.executor().Reply(std::move(task), !result.is_error, std::move(outcomes), /*retry=*/false);
  if (at_once) Book::Get().Answers(id);
}

void Player::Construct(std::unique_ptr<core::ExecTask> task) {
  Book::Get().InstanceBegins(actor_);
  core::ReadView view;
  view.data = task->args->data();
  view.size = task->args->size();
  kept_ = Decode(view, task.get()).refs;
  Nap(1 + actor_.bytes[0] % 30);
  core_.executor().Reply(std::move(task), true, {}, /*retry=*/false);
  if (saved_every_ > 0) BeginSaves();
  Book::Get().InstanceReady(actor_);
  core_.executor().ActorReady(actor_, incarnation_, true, "");
}

int Player::RunTasks() {
  while (true) {
    core::Event event;
    auto task = core_.executor().NextTask(kForever, {}, &event);
    if (task && task->submitter_is_nil()) {
      Construct(std::move(task));
      continue;
    }
    if (task) {
      Execute(std::move(task));
      continue;
    }
    if (event.kind == core::Event::Kind::kBecomeActor) {
      actor_ = ActorId::FromBytes(event.id.data());
      incarnation_ = static_cast<uint32_t>(event.number);
      saved_every_ = event.text.empty() ? 0 : std::stoull(event.text);
      core_.executor().BecomeActor({core::CallGroup{}});
    }
    if (event.kind == core::Event::Kind::kSave) TakeState();
    if (event.kind == core::Event::Kind::kRayletLost) return 1;
    if (event.kind == core::Event::Kind::kExit) {
      core_.executor().WorkerExiting(true, "the worker was asked to leave");
      return 0;
    }
  }
}

}  // namespace cyray::sim
