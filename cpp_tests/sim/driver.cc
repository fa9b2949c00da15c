#include "cpp_tests/sim/driver.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <thread>
#include <utility>

#include "cpp_tests/sim/book.h"
#include "cyray/common/encoding.h"
#include "cyray/core/gcs_requests.h"
#include "cyray/core/raylet_socket.h"

namespace cyray::sim {
namespace {

constexpr int64_t kFreedWithinNs = 60 * kSecond;
constexpr int kTriesToFind = 50;

Kernel& kernel() { return *Kernel::Get(); }

int PidIn(const std::string& text) {
  const size_t at = text.find("pid ");
  return at == std::string::npos ? 0 : std::atoi(text.c_str() + at + 4);
}

bool SaysProcessEnded(const SystemError& error) {
  const auto kind = static_cast<ErrorKind>(error.kind);
  return kind == ErrorKind::kWorkerCrashed || kind == ErrorKind::kActorDied ||
         kind == ErrorKind::kActorUnavailable;
}

}  // namespace

bool Driver::Connect(Player* player) {
  UniqueFd socket;
  const std::string path = SocketOf(plan_->nodes[static_cast<size_t>(mine_->node)].spec);
  while (!core::ConnectToRaylet(path, &socket).ok()) kernel().Sleep(100 * kMs);
  core::RegisterOptions options;
  options.job_config = "{}";
  const Status connected = player->Connect(std::move(socket), options);
  if (!connected.ok()) wrong_ = "cannot register: " + connected.ToString();
  return connected.ok();
}

void Driver::MakeActor(Player* player, size_t number) {
  const ActorPlan& actor = mine_->actors[number];
  if (!actors_[number].id.is_nil()) return;
  std::vector<core::ObjectEntry*> kept;
  for (const uint64_t value : actor.kept) kept.push_back(player->Put(value));
  actors_[number] = player->MakeActor(actor.options, kept);
  for (core::ObjectEntry* ref : kept) player->Release(ref);
}

// --- Steps ------------------------------------------------------------------------------------

Driver::Result Driver::TaskOf(Player* player, const Step& step) {
  Result result;
  uint64_t passed = 0;
  Given given{.max_retries = step.max_retries};
  for (const size_t from : step.arguments) {
    given.arguments.push_back(results_[from].entry);
    // A value passed as an argument counts without what its refs name.
    passed += mine_->steps[from].key.kind == TaskKind::kGive ? mine_->steps[from].key.Own()
                                                             : results_[from].expected;
  }
  result.expected = Expected(step.key, passed);
  result.never_fails = step.max_retries < 0;
  if (step.key.kind == TaskKind::kMake) given.refs.push_back(player->Put(step.key.salt));
  if (step.key.kind == TaskKind::kDrain) {
    given.refs.push_back(player->Submit(step.key.Child(0, TaskKind::kYield)));
  }
  result.is_generator = step.key.kind == TaskKind::kYield;
  result.entry = player->Submit(step.key, given);
  for (core::ObjectEntry* ref : given.refs) player->Release(ref);
  return result;
}

Driver::Result Driver::CallOf(Player* player, const Step& step) {
  MakeActor(player, step.actor);
  const ActorPlan& plan = mine_->actors[step.actor];
  const ActorHandle& actor = actors_[step.actor];
  const uint64_t kept = std::accumulate(plan.kept.begin(), plan.kept.end(), uint64_t{0});
  Result result{.actor = actor.id};
  result.never_fails = plan.options.max_restarts < 0 && step.max_retries < 0;
  // Each sees all those of this driver before it, once.
  const bool counts = step.key.kind == TaskKind::kCount;
  result.expected = Expected(step.key, counts ? counted_[step.actor]++ : kept);
  if (step.what == Step::What::kPassHandle) {
    result.entry = player->Submit(step.key, {.refs = {actor.ref}});
  } else {
    result.entry = player->Call(actor, step.key, {.max_retries = step.max_retries});
  }
  return result;
}

Driver::Result Driver::CallNamed(Player* player, const Step& step, const std::string& name,
                                 uint64_t expected) {
  ActorHandle actor;
  for (int i = 0; i < kTriesToFind && actor.client == nullptr; ++i) {
    actor = player->FindActor(name);
    if (actor.client == nullptr) kernel().Sleep(100 * kMs);
  }
  if (actor.client == nullptr) return {};  // it is dead, or not made yet
  Result result{.expected = expected, .actor = actor.id, .never_fails = false};
  result.entry = player->Call(actor, step.key, {.max_retries = step.max_retries});
  player->Drop(&actor);
  return result;
}

Driver::Result Driver::TaskInGroup(Player* player, const Step& step) {
  const auto group = player->MakeGroup(step.bundles);
  if (!group) return {};  // the GCS cannot store it
  Result result{.expected = Expected(step.key), .never_fails = true};
  result.entry = player->SubmitIn(*group, step.key);
  if (step.removed) {
    player->RemoveGroup(*group);
  } else {
    groups_.push_back(*group);
  }
  return result;
}

void Driver::RestartActor(Player* player, size_t number) {
  const ActorId actor = actors_[number].id;
  if (actor.is_nil()) return;  // it is made when it is called first
  while (true) {
    Book::Get().AskedToEnd(actor);  // once more, should only the answer be lost
    const Status asked = player->core().KillActor(actor, /*no_restart=*/false, "");
    if (asked.code() != StatusCode::kUnavailable) return;
    kernel().Sleep(100 * kMs);
  }
}

void Driver::TakeStep(Player* player, const Step& step) {
  switch (step.what) {
    case Step::What::kTask:
      results_.push_back(TaskOf(player, step));
      return;
    case Step::What::kCall:
    case Step::What::kPassHandle:
      results_.push_back(CallOf(player, step));
      return;
    case Step::What::kCallOther:
      results_.push_back(
          CallNamed(player, step, "of driver " + std::to_string(step.actor), Expected(step.key)));
      return;
    case Step::What::kCallMade: {
      const uint64_t salt = mine_->steps[step.actor].key.salt;
      results_.push_back(
          CallNamed(player, step, "made " + std::to_string(salt), Expected(step.key, salt)));
      return;
    }
    case Step::What::kRestart:
      results_.push_back({});
      return RestartActor(player, step.actor);
    case Step::What::kGroup:
      results_.push_back(TaskInGroup(player, step));
      return;
  }
}

void Driver::Cancel(Player* player, const Step& step) {
  if (!step.cancels.empty()) kernel().Sleep(step.cancels_after_ns);
  for (const size_t number : step.cancels) {
    if (results_[number].entry == nullptr) continue;  // a generator that was let go of
    Book::Get().Cancels(results_[number].entry->id.task());
    const core::Cancellation how{.force = mine_->steps[number].forced, .recursive = true};
    const Status asked = player->core().submitter().Cancel(results_[number].entry, how);
    if (!asked.ok()) wrong_ = "cancelling is refused: " + asked.ToString();
  }
}

bool Driver::MayBeCancelled(const Step& step) const {
  return step.cancelled || std::ranges::any_of(step.arguments, [this](size_t from) {
           return MayBeCancelled(mine_->steps[from]);
         });
}

// The handle of an actor goes with its last use.
void Driver::DropActors(Player* player, size_t step) {
  if (mine_->keeps_actors) return;
  for (size_t i = 0; i < actors_.size(); ++i) {
    bool used = false;
    for (size_t later = step; later < mine_->steps.size(); ++later) {
      const Step& other = mine_->steps[later];
      used |= other.actor == i &&
              (other.what == Step::What::kCall || other.what == Step::What::kPassHandle ||
               other.what == Step::What::kRestart);
    }
    if (!used) player->Drop(&actors_[i]);
  }
}

void Driver::DropAllActors(Player* player) {
  for (ActorHandle& actor : actors_) player->Drop(&actor);
}

// --- Results ----------------------------------------------------------------------------------

std::string Driver::JudgeCall(const Result& result, const SystemError& error) const {
  // Who makes an actor that holds up nobody learns so that the GCS could not store it.
  if (plan_->Has(FaultKind::kFullDisk) && Book::Get().NeverBegan(result.actor)) return "";
  const int deaths = Book::Get().Deaths(result.actor);
  if (result.never_fails) return "a call failed that may be tried for ever: " + error.text;
  const auto kind = static_cast<ErrorKind>(error.kind);
  const bool of_refs = kind == ErrorKind::kObjectLost || kind == ErrorKind::kOwnerDied;
  if (of_refs && !Book::Get().KeepsRefs(result.actor)) return "";
  if (deaths == 0) return "a call failed though its actor lives: " + error.text;
  if (kind == ErrorKind::kActorDied && !Book::Get().MayBeDead(result.actor)) {
    return "its actor is dead, with restarts left: " + error.text;
  }
  if (kind == ErrorKind::kActorDied || kind == ErrorKind::kActorUnavailable) {
    if (error.text.find("nothing was heard") == std::string::npos) return "";
  }
  return "a call failed in a wrong way: " + error.text;
}

std::string Driver::JudgeTask(const Step& step, const Result& result,
                              const SystemError& error) const {
  if (result.never_fails) return "it failed though it may be tried for ever: " + error.text;
  if (static_cast<ErrorKind>(error.kind) != ErrorKind::kWorkerCrashed) {
    return "it failed in a wrong way: " + error.text;
  }
  const TaskId id = result.entry->id.task();
  const std::string why = Book::Get().WhyNotCrashed(id, PidIn(error.text), !plan_->kills_workers());
  if (!why.empty()) return "it is said to have crashed (" + error.text + "), but " + why;
  if (!plan_->kills_workers() && static_cast<int>(step.key.Deaths()) <= step.max_retries) {
    return "it failed though it had retries left";
  }
  return "";
}

std::string Driver::Judge(const Step& step, const Result& result, const Decoded& got) const {
  if (!got.is_error) return got.number == result.expected ? "" : "another number was returned";
  const SystemError error = SystemError::Of(got);
  if (error.kind == 0) return "an error that is none of cyray's own";
  const bool is_task = result.actor.is_nil();
  if (static_cast<ErrorKind>(error.kind) == ErrorKind::kTaskCancelled) {
    if (!MayBeCancelled(step)) return "nobody has cancelled it: " + error.text;
    if (is_task) Book::Get().Cancelled(result.entry->id.task());
    return is_task && Book::Get().HasAnswered(result.entry->id.task()) ? "it had answered" : "";
  }
  if (step.removed && static_cast<ErrorKind>(error.kind) == ErrorKind::kTaskGroupRemoved) return "";
  if (step.key.kind == TaskKind::kLate &&
      static_cast<ErrorKind>(error.kind) == ErrorKind::kTaskTimeout) {
    return "";
  }
  if (error.text.find("cancelled by force") != std::string::npos) {
    return MayBeCancelled(step) ? "" : "nobody has cancelled it by force: " + error.text;
  }
  // A task that calls an actor answers with the error of its call.
  const bool is_own = step.key.kind != TaskKind::kCall && SaysProcessEnded(error);
  if (is_own && Book::Get().HasAnswered(result.entry->id.task())) {
    return "it failed though it had answered: " + error.text;
  }
  if (!result.actor.is_nil()) return JudgeCall(result, error);
  return JudgeTask(step, result, error);
}

void Driver::ReadResults(Player* player) {
  for (size_t i = 0; i < mine_->steps.size() && wrong_.empty(); ++i) {
    while (i >= results_.size()) kernel().Sleep(5 * kMs);
    const Result result = results_[i];
    if (result.entry == nullptr) continue;
    stage_ = "waits for step " + std::to_string(i);
    const TaskKey& key = mine_->steps[i].key;
    const Decoded got =
        result.is_generator ? player->Collect(result.entry, key) : player->Get(result.entry);
    const std::string why = Judge(mine_->steps[i], result, got);
    if (key.IsDropped()) player->Release(std::exchange(results_[i].entry, nullptr));
    if (why.empty()) continue;
    wrong_ = "step " + std::to_string(i) + " of kind " +
             std::to_string(static_cast<int>(mine_->steps[i].key.kind)) + ": " + why;
  }
}

// Each key once: however often the call had to be repeated, it is told that it added the key.
void Driver::WriteKeys(Player* player) {
  for (int i = 0; i < mine_->keys && wrong_.empty(); ++i) {
    stage_ = "writes key " + std::to_string(i);
    const std::string key = player->core().job_id().Hex() + " " + std::to_string(i);
    bool added = false;
    const Status put = core::KvPut(player->core().control(), "sim", key, "value",
                                   /*overwrite=*/false, &added);
    if (put.ok() && !added) wrong_ = "the key " + key + " was written by nobody and was there";
    kernel().Sleep(mine_->key_pause_ns);
  }
}

// Named actors end when nobody will call them.
void Driver::EndNamed(Player* player) {
  called_ = true;
  while (!others_called()) kernel().Sleep(100 * kMs);
  const auto end = [&](const ActorId& id) {
    while (player->core().KillActor(id, true, "").code() == StatusCode::kUnavailable) {
      kernel().Sleep(100 * kMs);
    }
  };
  for (size_t i = 0; i < actors_.size(); ++i) {
    const bool named = !mine_->actors[i].options.name.empty();
    if (named && !actors_[i].id.is_nil()) end(actors_[i].id);
  }
  for (const Step& step : mine_->steps) {
    if (step.key.kind != TaskKind::kMake) continue;
    ActorHandle made = player->FindActor("made " + std::to_string(step.key.salt));
    if (made.client == nullptr) continue;
    player->Drop(&made);
    end(made.id);
  }
}

// Nobody names what this process owned: it is gone. But who makes a detached actor keeps what its
// constructor was passed, as long as that process lives.
void Driver::AwaitFreed(Player* player) {
  const auto kept = std::ranges::count(mine_->steps, TaskKind::kMake,
                                       [](const Step& step) { return step.key.kind; });
  const int64_t limit = kernel().now_ns() + kFreedWithinNs;
  while (std::cmp_greater(player->core().objects().live(), kept)) {
    if (kernel().now_ns() > limit) {
      wrong_ = "objects of the driver are not freed: " + player->core().Describe();
      return;
    }
    kernel().Sleep(500 * kMs);
  }
}

std::string Driver::Describe() const {
  return stage_ + (player_ != nullptr ? ": " + player_->core().Describe() : "");
}

int Driver::Run() {
  Player player(plan_->rules);
  if (!Connect(&player)) return 1;
  player_ = &player;
  WriteKeys(&player);
  if (!wrong_.empty()) return 1;
  stage_ = "makes actors";
  actors_.resize(mine_->actors.size());
  for (size_t i = 0; i < actors_.size() && !mine_->makes_late; ++i) MakeActor(&player, i);
  std::thread reader;
  if (mine_->reads_beside) reader = std::thread([&] { ReadResults(&player); });
  for (size_t i = 0; i < mine_->steps.size(); ++i) {
    stage_ = "takes step " + std::to_string(i);
    TakeStep(&player, mine_->steps[i]);
    Cancel(&player, mine_->steps[i]);
    DropActors(&player, i + 1);
    kernel().Sleep(1 + mine_->steps[i].pause_ns);
  }
  reader.joinable() ? reader.join() : ReadResults(&player);
  if (!wrong_.empty()) return 1;
  stage_ = "ends named actors";
  EndNamed(&player);
  stage_ = "removes groups";
  for (const PlacementGroupId& group : groups_) player.RemoveGroup(group);
  stage_ = "lets all go";
  DropAllActors(&player);
  for (const Result& result : results_) {
    if (result.entry != nullptr) player.Release(result.entry);
  }
  AwaitFreed(&player);
  player_ = nullptr;
  done_ = wrong_.empty();
  while (done_ && !may_leave) kernel().Sleep(100 * kMs);
  return 0;
}

}  // namespace cyray::sim
