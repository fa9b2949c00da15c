#include "cpp_tests/sim/plan.h"

#include <algorithm>

namespace cyray::sim {
namespace {

const char* NameOf(FaultKind kind) { return kFaultNames[static_cast<size_t>(kind)]; }

constexpr uint64_t kStoreBytes = 16 << 20;
constexpr uint64_t kLargeStoreBytes = 32 << 20;
constexpr uint64_t kSmallStoreBytes = 4 << 20;
// A call to the GCS is tried for so long.
constexpr int64_t kCallTriedNs = 60 * kSecond;

}  // namespace

Plan::Plan(uint64_t seed, const std::vector<FaultKind>& allowed, const std::string& folder)
    : random_(seed ^ 0xC1A57E5) {
  crowds_ = OneIn(3);
  DrawNodes(folder);
  drivers.resize(1 + Below(2));
  for (DriverPlan& driver : drivers) {
    driver.node = crowds_ && OneIn(2) ? 0 : static_cast<int>(Below(nodes.size()));
  }
  DrawFaults(allowed);
  DrawWriters();
  KeepJoiningApart();
  dies_ = OneIn(2);
  // What a killed worker owned is lost, as it should be: then no task returns a ref of its own.
  gives_ = !kills_workers() && !dies_ && OneIn(2);
  stores_ = !kills_nodes();
  // Stored results come from one node, and others have no room for all of them.
  if (nodes.size() > 1 && stores_ && OneIn(3)) {
    rules.large_node = static_cast<int>(Below(nodes.size()));
    for (NodePlan& node : nodes) {
      const bool large = node.spec.node == rules.large_node;
      node.spec.store_bytes = large ? kLargeStoreBytes : kSmallStoreBytes;
    }
  }
  for (const NodePlan& node : nodes) free_cpus_ += node.spec.cpus;
  // Of each pair one may have begun: another CPU is there for one of the others.
  const int pairs = static_cast<int>(drivers.size());
  meets_ = !kills_nodes() && !crowds_ && free_cpus_ > pairs;
  free_cpus_ -= 1 + (meets_ ? pairs : 0);
  // What needs a certain node must find a CPU there.
  if (kills_nodes() || rules.large_node >= 0) free_cpus_ = 0;
  rules.some_are_free = OneIn(3);
  if (crowds_) rules.slow_ms = 500;
  for (size_t i = 0; i < drivers.size(); ++i) {
    if (drivers[i].keys > 0) continue;
    DrawActors(&drivers[i], i);
    DrawSteps(&drivers[i], i);
  }
  gcs_forgets = OneIn(2);
  if (gcs_forgets) DrawDeathUnheard(allowed);
  if (OneIn(3)) {
    for (DriverPlan& driver : drivers) DrawCancels(&driver);
  }
  for (DriverPlan& driver : drivers) {
    if (driver.keys == 0 && OneIn(2)) DrawStreams(&driver);
    if (driver.keys == 0 && OneIn(3)) DrawLate(&driver);
    if (driver.keys == 0 && OneIn(2)) DrawGroups(&driver);
  }
  if (OneIn(2)) DrawCounters();
}

bool Plan::Has(FaultKind kind) const {
  return std::ranges::find(faults, kind, &Fault::kind) != faults.end();
}

bool Plan::kills_workers() const { return Has(FaultKind::kKillWorker) || kills_nodes(); }

std::vector<int> Plan::Victims() const {
  std::vector<int> victims;
  for (const NodePlan& node : nodes) {
    const bool used =
        std::ranges::find(drivers, node.spec.node, &DriverPlan::node) != drivers.end();
    if (node.spec.node > 0 && !used) victims.push_back(node.spec.node);
  }
  return victims;
}

void Plan::DrawNodes(const std::string& folder) {
  const int count = crowds_ ? 2 + static_cast<int>(Below(2)) : 1 + static_cast<int>(Below(3));
  for (int node = 0; node < count; ++node) {
    NodePlan plan;
    plan.spec = {.node = node,
                 .folder = folder,
                 .cpus = 1 + static_cast<int>(Below(crowds_ && node == 0 ? 1 : 3)),
                 .store_bytes = kStoreBytes};
    plan.starts_ns = node * 200 * kMs;
    if (node > 0 && OneIn(crowds_ ? 2 : 4))
      plan.starts_ns += static_cast<int64_t>(Below(8000)) * kMs;
    nodes.push_back(plan);
  }
  if (count < 2 || !OneIn(3)) return;
  far.a = static_cast<int>(Below(static_cast<uint64_t>(count)));
  far.b = (far.a + 1) % count;
  far.more_ns = (1 + static_cast<int64_t>(Below(100))) * kMs;
}

// Beside the head's raylet and on another node. A slow disk always has something to store, so that
// what else changes waits.
void Plan::DrawWriters() {
  if (!Has(FaultKind::kSlowDisk) && !OneIn(3)) return;
  for (const int node : {0, drivers.back().node}) {
    drivers.push_back({.node = node,
                       .keys = 100 + static_cast<int>(Below(200)),
                       .key_pause_ns = (1 + static_cast<int64_t>(Below(40))) * kMs});
  }
}

// --- Faults -----------------------------------------------------------------------------------

void Plan::DrawFaults(const std::vector<FaultKind>& allowed) {
  for (uint64_t i = allowed.empty() ? 0 : Below(6); i > 0; --i) {
    Fault fault;
    fault.kind = allowed[Below(allowed.size())];
    const auto span = static_cast<uint64_t>(kFaultsEndNs - kDriversStartNs);
    fault.at_ns = kDriversStartNs + static_cast<int64_t>(Below(span));
    // What one fault has begun another one meets.
    if (!faults.empty() && OneIn(3)) {
      fault.at_ns = faults.back().at_ns + static_cast<int64_t>(Below(400)) * kMs;
    }
    fault.draw = random_();
    fault.at_actor = OneIn(2);
    fault.lasts_ns = static_cast<int64_t>(Below(4000)) * kMs;
    if (fault.kind == FaultKind::kPauseGcs && OneIn(3)) {
      fault.lasts_ns = static_cast<int64_t>(Below(15'000)) * kMs;
    } else if (fault.kind == FaultKind::kPauseGcs && OneIn(6)) {
      // When all is registered: for longer than a raylet repeats what it reports.
      fault.at_ns = kFaultsEndNs + static_cast<int64_t>(Below(2000)) * kMs;
      fault.lasts_ns = (62 + static_cast<int64_t>(Below(15))) * kSecond;
    }
    if ((fault.kind == FaultKind::kKillNode || fault.kind == FaultKind::kKillRaylet) &&
        (Victims().empty() || kills_nodes())) {
      continue;
    }
    faults.push_back(fault);
  }
  KeepSilencesApart();
  DrawEndUntold(allowed);
  DrawRestartUntold(allowed);
  if (!kills_nodes() || !OneIn(2)) return;
  // Another one comes in its place.
  NodePlan late = nodes.back();
  late.spec.node = static_cast<int>(nodes.size());
  late.starts_ns = kFaultsEndNs / 2 + static_cast<int64_t>(Below(8000)) * kMs;
  nodes.push_back(late);
}

// A driver ends so early in a long pause of the GCS that its raylet's call is given up meanwhile.
void Plan::DrawEndUntold(const std::vector<FaultKind>& allowed) {
  const auto pause = std::ranges::find_if(
      faults, [](const Fault& fault) { return fault.lasts_ns > kCallTriedNs; });
  if (pause == faults.end()) return;
  if (std::ranges::find(allowed, FaultKind::kKillDriver) == allowed.end()) return;
  const auto spare = static_cast<uint64_t>(pause->lasts_ns - kCallTriedNs);
  faults.push_back({.at_ns = pause->at_ns + static_cast<int64_t>(Below(spare)),
                    .kind = FaultKind::kKillDriver,
                    .draw = random_()});
}

// A GCS ends while what it decided about a worker's end waits for its disk, and maybe the clock on
// the wall is set before the next one is there.
void Plan::DrawRestartUntold(const std::vector<FaultKind>& allowed) {
  const auto may = [&](FaultKind kind) {
    return std::ranges::find(allowed, kind) != allowed.end();
  };
  if (!may(FaultKind::kSlowDisk) || !may(FaultKind::kKillGcs) || !OneIn(4)) return;
  const auto span = static_cast<uint64_t>(kFaultsEndNs - kDriversStartNs);
  int64_t at_ns = kDriversStartNs + static_cast<int64_t>(Below(span));
  const auto add = [&](FaultKind kind, int64_t lasts_ns) {
    if (may(kind)) faults.push_back({at_ns, kind, random_(), lasts_ns, /*at_actor=*/true});
  };
  add(FaultKind::kSlowDisk, 4 * kSecond);
  at_ns += (500 + static_cast<int64_t>(Below(2000))) * kMs;
  add(FaultKind::kKillWorker, 0);
  at_ns += static_cast<int64_t>(Below(600)) * kMs;
  add(FaultKind::kKillGcs, 0);
  at_ns += static_cast<int64_t>(Below(200)) * kMs;
  if (OneIn(2)) add(FaultKind::kStepClock, kSecond);
}

// When a node is taken for dead a driver's node has no stream to the GCS, which forgets it at once.
void Plan::DrawDeathUnheard(const std::vector<FaultKind>& allowed) {
  const auto kill = std::ranges::find(faults, FaultKind::kKillNode, &Fault::kind);
  const bool may = std::ranges::find(allowed, FaultKind::kBlock) != allowed.end();
  if (!may || kill == faults.end() || Victims().front() == 1) return;
  // The path between nodes 0 and 1; a stream is given up after 2.5 s, a node after 6 to 7.
  faults.push_back({.at_ns = kill->at_ns + (3200 + static_cast<int64_t>(Below(800))) * kMs,
                    .kind = FaultKind::kBlock,
                    .draw = 0,
                    .lasts_ns = 3900 * kMs});
  KeepSilencesApart();
}

// A node that comes while the GCS's disk is full is turned away, as it should be.
void Plan::KeepJoiningApart() {
  // So is one that meets a GCS which stands still for so long.
  const bool stands_still =
      std::ranges::any_of(faults, [](const Fault& fault) { return fault.lasts_ns > kCallTriedNs; });
  for (NodePlan& node : nodes) {
    if (stands_still) node.starts_ns = std::min(node.starts_ns, kFaultsEndNs - 3 * kSecond);
  }
  if (!Has(FaultKind::kFullDisk)) return;
  std::erase_if(faults, [](const Fault& fault) { return fault.lasts_ns > kCallTriedNs; });
  for (NodePlan& node : nodes) {
    if (node.starts_ns > kDriversStartNs - kSecond) node.starts_ns += kFaultsEndNs + 4 * kSecond;
  }
}

// A node that nobody hears of for five seconds lives; each of these lasts less than four, but two
// that touch may keep it from the GCS for longer, and then it ends, as it should.
void Plan::KeepSilencesApart() {
  const auto is_silence = [](const Fault& fault) {
    return fault.kind == FaultKind::kBlock || fault.kind == FaultKind::kPauseGcs ||
           fault.kind == FaultKind::kPauseRaylet;
  };
  std::ranges::sort(faults, {}, &Fault::at_ns);
  int64_t over_ns = 0;
  std::erase_if(faults, [&](const Fault& fault) {
    if (!is_silence(fault)) return false;
    if (fault.at_ns < over_ns) return true;
    over_ns = fault.at_ns + fault.lasts_ns + 2000 * kMs;
    return false;
  });
}

// --- Drivers ----------------------------------------------------------------------------------

TaskKey Plan::DrawKey(TaskKind kind) {
  // What a fan's children are is in its salt.
  const uint64_t salt = random_() & (kGivenRefs - 1);
  return {kind, static_cast<uint8_t>(Below(3)), salt | (gives_ ? kGivenRefs : 0)};
}

void Plan::DrawActors(DriverPlan* driver, size_t number) {
  driver->makes_late = OneIn(2);
  driver->keeps_actors = crowds_ && OneIn(2);
  for (uint64_t i = crowds_ ? 3 + Below(2) : Below(4); i > 0; --i) {
    constexpr int kRestarts[] = {0, 1, 3, -1};
    ActorPlan actor;
    actor.options.max_restarts = kRestarts[Below(std::size(kRestarts))];
    actor.max_task_retries = kRestarts[Below(std::size(kRestarts))];
    actor.options.holds_cpu = free_cpus_ > 0 && (crowds_ || OneIn(3));
    if (actor.options.holds_cpu) --free_cpus_;
    if (driver->actors.empty() && OneIn(2)) {
      actor.options.name = "of driver " + std::to_string(number);
    } else {
      for (uint64_t k = Below(3); k > 0; --k) actor.kept.push_back(Below(1'000'000));
    }
    driver->actors.push_back(actor);
  }
}

Step Plan::DrawTask(const DriverPlan& driver) {
  constexpr TaskKind kKinds[] = {TaskKind::kLeaf, TaskKind::kFan,   TaskKind::kPass,
                                 TaskKind::kGive, TaskKind::kLarge, TaskKind::kSlow,
                                 TaskKind::kSum,  TaskKind::kDie,   TaskKind::kSum};
  constexpr int kRetries[] = {0, 1, 2, -1};
  TaskKind kind = kKinds[Below(std::size(kKinds))];
  if (kind == TaskKind::kGive && !gives_) kind = TaskKind::kSlow;
  if (kind == TaskKind::kDie && !dies_) kind = TaskKind::kLarge;
  if (kind == TaskKind::kLarge && !stores_) kind = TaskKind::kLeaf;
  if (rules.large_node >= 0 && stores_ && OneIn(3)) kind = TaskKind::kLarge;
  Step step{.key = DrawKey(kind)};
  if (!stores_ && (kind == TaskKind::kFan || kind == TaskKind::kDie)) step.key.depth = 0;
  if (kind == TaskKind::kSum || kind == TaskKind::kDie) step.max_retries = kRetries[Below(4)];
  if (kind != TaskKind::kSum) return step;
  for (uint64_t i = Below(4); i > 0 && !driver.steps.empty(); --i) {
    const size_t from = Below(driver.steps.size());
    const Step& other = driver.steps[from];
    if (other.what == Step::What::kTask && other.max_retries < 0) step.arguments.push_back(from);
  }
  return step;
}

Step Plan::DrawCall(const DriverPlan& driver) {
  constexpr TaskKind kKinds[] = {TaskKind::kLeaf, TaskKind::kLeaf, TaskKind::kSlow,
                                 TaskKind::kKept, TaskKind::kKept, TaskKind::kDie};
  TaskKind kind = kKinds[Below(std::size(kKinds))];
  if (kind == TaskKind::kDie && !(dies_ && OneIn(3))) kind = TaskKind::kLeaf;
  Step step{.what = Step::What::kCall, .key = DrawKey(kind), .actor = Below(driver.actors.size())};
  step.key.depth = 0;
  const ActorPlan& actor = driver.actors[step.actor];
  step.max_retries = actor.max_task_retries;
  if (actor.options.name.empty() && OneIn(4)) {
    step.what = Step::What::kPassHandle;
    step.key = DrawKey(TaskKind::kCall);
    step.key.depth = 1;
    step.max_retries = -1;
  }
  return step;
}

// The second task of a pair is sent ahead to the worker that runs the first, as the function was a
// short one so far, and has to be moved.
void Plan::DrawMeeting(DriverPlan* driver) {
  TaskKey key = DrawKey(TaskKind::kMeet);
  for (const uint8_t depth : {0, 0, 0, 1, 2}) {
    key.depth = depth;
    driver->steps.push_back({.key = key, .pause_ns = static_cast<int64_t>(Below(20)) * kMs});
  }
}

// Many tasks are sent ahead to few workers, as their functions were short ones so far. Some wait
// there for arguments from other nodes, others end their worker meanwhile.
void Plan::DrawBurst(DriverPlan* driver) {
  constexpr int kRetries[] = {0, 0, 1, 2};
  const int retries = kRetries[Below(4)];
  std::vector<size_t> arguments;
  for (int i = 0; i < 2; ++i) {
    arguments.push_back(driver->steps.size());
    driver->steps.push_back({.key = DrawKey(TaskKind::kLarge)});
  }
  driver->steps.push_back({.key = DrawKey(TaskKind::kDie)});
  driver->steps.push_back({.key = DrawKey(TaskKind::kSum), .max_retries = retries});
  driver->steps.back().pause_ns = static_cast<int64_t>(Below(500)) * kMs;
  for (int i = 0; i < 12; ++i) {
    Step step{.key = DrawKey(OneIn(4) ? TaskKind::kDie : TaskKind::kSum)};
    if (step.key.kind == TaskKind::kSum) step.max_retries = retries;
    if (step.key.kind == TaskKind::kSum && OneIn(2)) step.arguments = arguments;
    driver->steps.push_back(std::move(step));
  }
}

// The answers to an actor's last calls are on their way while the next one ends it.
void Plan::DrawCallBurst(DriverPlan* driver) {
  const size_t actor = Below(driver->actors.size());
  for (const TaskKind kind : {TaskKind::kLeaf, TaskKind::kSlow, TaskKind::kLeaf, TaskKind::kLeaf,
                              TaskKind::kDie, TaskKind::kLeaf, TaskKind::kLeaf}) {
    Step step{.what = Step::What::kCall, .key = DrawKey(kind), .actor = actor};
    step.key.depth = 0;
    step.max_retries = driver->actors[actor].max_task_retries;
    driver->steps.push_back(std::move(step));
  }
}

void Plan::DrawSteps(DriverPlan* driver, size_t number) {
  const auto names_actor = [](const DriverPlan& other) {
    return std::ranges::any_of(other.actors,
                               [](const ActorPlan& actor) { return !actor.options.name.empty(); });
  };
  driver->reads_beside = OneIn(2);
  const bool meets = meets_ && OneIn(2);
  const bool meets_last = OneIn(2);
  if (meets && !meets_last) DrawMeeting(driver);
  if (stores_ && dies_ && nodes.size() > 1 && OneIn(2)) DrawBurst(driver);
  const bool ends_actor = dies_ && !driver->actors.empty();
  if (ends_actor && OneIn(2)) DrawCallBurst(driver);
  const bool restarts = !driver->actors.empty() && OneIn(3);
  size_t made = SIZE_MAX;
  for (uint64_t i = 5 + Below(25); i > 0; --i) {
    Step step;
    if (!driver->actors.empty() && OneIn(2)) {
      step = DrawCall(*driver);
    } else if (number > 0 && names_actor(drivers[0]) && OneIn(4)) {
      step = {.what = Step::What::kCallOther, .key = DrawKey(TaskKind::kLeaf), .actor = 0};
    } else if (made == SIZE_MAX && OneIn(8)) {
      made = driver->steps.size();
      step = {.key = DrawKey(TaskKind::kMake)};
    } else if (made != SIZE_MAX && OneIn(6)) {
      step = {.what = Step::What::kCallMade, .key = DrawKey(TaskKind::kKept), .actor = made};
    } else {
      step = DrawTask(*driver);
    }
    step.pause_ns = static_cast<int64_t>(Below(OneIn(3) ? 2 : 400)) * kMs;
    driver->steps.push_back(std::move(step));
    if (restarts && OneIn(6)) {
      driver->steps.push_back(
          {.what = Step::What::kRestart, .actor = Below(driver->actors.size())});
    }
  }
  if (ends_actor && OneIn(2)) DrawCallBurst(driver);
  if (meets && meets_last) DrawMeeting(driver);
}

// But none that another one waits for, or that makes an actor which somebody has to end.
void Plan::DrawCancels(DriverPlan* driver) {
  for (size_t i = 0; i < driver->steps.size(); ++i) {
    Step& step = driver->steps[i];
    const bool is_task = step.what == Step::What::kTask || step.what == Step::What::kPassHandle;
    const bool is_needed = step.key.kind == TaskKind::kMeet || step.key.kind == TaskKind::kMake;
    if ((!is_task && step.what != Step::What::kCall) || is_needed || !OneIn(4)) continue;
    step.cancelled = true;
    step.forced = is_task && !gives_ && OneIn(3);
    if (step.key.kind == TaskKind::kDie) step.key.depth += kLingers;
    const uint64_t later = step.key.kind == TaskKind::kDie ? 0 : Below(4);
    const size_t at = std::min(i + later, driver->steps.size() - 1);
    driver->steps[at].cancels.push_back(i);
    driver->steps[at].cancels_after_ns = static_cast<int64_t>(Below(60)) * kMs / 10;
  }
}

void Plan::DrawStreams(DriverPlan* driver) {
  constexpr int kRetries[] = {0, 1, 2, -1};
  // An item that a consumer has taken is lost with it.
  const bool drains = !kills_workers() && !delays_news() && !Has(FaultKind::kCut);
  for (uint64_t i = 1 + Below(5); i > 0; --i) {
    Step step{.key = DrawKey(TaskKind::kYield)};
    if (step.key.depth == 1 && !stores_) step.key.depth = 0;
    if (step.key.depth == 2 && !dies_) step.key.depth = 0;
    step.max_retries = kRetries[Below(4)];
    if (drains && OneIn(3)) {
      step.key = {TaskKind::kDrain, 1, step.key.salt};
      step.max_retries = -1;
    } else if (OneIn(4)) {
      step.cancelled = true;
      step.cancels.push_back(driver->steps.size());
      step.cancels_after_ns = static_cast<int64_t>(Below(60)) * kMs / 10;
    }
    step.pause_ns = static_cast<int64_t>(Below(OneIn(3) ? 2 : 200)) * kMs;
    driver->steps.push_back(std::move(step));
  }
}

void Plan::DrawLate(DriverPlan* driver) {
  constexpr int kRetries[] = {0, 1, 2, -1};
  for (uint64_t i = 1 + Below(3); i > 0; --i) {
    Step step{.key = DrawKey(TaskKind::kLate), .max_retries = kRetries[Below(4)]};
    step.key.depth = OneIn(3) ? 1 : 0;
    step.pause_ns = static_cast<int64_t>(Below(50)) * kMs;
    driver->steps.push_back(std::move(step));
  }
}

// A driver of its own, with actors that are saved and count its calls, whatever ends them.
void Plan::DrawCounters() {
  DriverPlan driver{.node = drivers[Below(drivers.size())].node, .reads_beside = OneIn(2)};
  for (uint64_t i = 1 + Below(2); i > 0; --i) {
    ActorPlan actor{.max_task_retries = -1};
    actor.options.max_restarts = -1;
    actor.options.saved_every = 1 + Below(12);
    driver.actors.push_back(actor);
  }
  const bool restarts = OneIn(3);
  const uint64_t most_pause_ms = OneIn(3) ? 50 : 400;
  for (uint64_t i = 20 + Below(40); i > 0; --i) {
    Step step{.what = Step::What::kCall,
              .key = DrawKey(TaskKind::kCount),
              .max_retries = -1,
              .actor = Below(driver.actors.size())};
    step.key.depth = 0;
    if (dies_ && OneIn(8)) step.key.kind = TaskKind::kDie;
    if (OneIn(6)) {  // by a worker, which keeps its call
      step.what = Step::What::kPassHandle;
      step.key = {TaskKind::kCall, 2, step.key.salt};
    }
    if (restarts && OneIn(10)) step = {.what = Step::What::kRestart, .actor = step.actor};
    step.pause_ns = static_cast<int64_t>(Below(OneIn(2) ? 2 : most_pause_ms)) * kMs;
    driver.steps.push_back(std::move(step));
  }
  drivers.push_back(driver);
}

// They hold their CPUs until the end, or until they are removed, which ends the task in them.
void Plan::DrawGroups(DriverPlan* driver) {
  for (uint64_t i = 1 + Below(3); i > 0 && free_cpus_ > 0; --i) {
    const int most = std::min(free_cpus_, 2);
    Step step{.what = Step::What::kGroup,
              .key = DrawKey(OneIn(2) ? TaskKind::kSlow : TaskKind::kLeaf),
              .bundles = 1 + static_cast<int>(Below(static_cast<uint64_t>(most))),
              .removed = !gives_ && OneIn(2)};  // which ends its worker, and what that owns
    step.key.depth = 0;
    free_cpus_ -= step.bundles;
    step.pause_ns = static_cast<int64_t>(Below(200)) * kMs;
    driver->steps.push_back(std::move(step));
  }
}

std::string Plan::Describe() const {
  std::string out = std::to_string(nodes.size()) + " nodes;";
  for (const DriverPlan& driver : drivers) {
    out += " a driver of " + std::to_string(driver.actors.size()) + " actors and " +
           std::to_string(driver.steps.size() + static_cast<size_t>(driver.keys)) +
           " steps on node " + std::to_string(driver.node) + ";";
  }
  if (far.more_ns > 0) {
    out += " nodes " + std::to_string(far.a) + " and " + std::to_string(far.b) + " are " +
           std::to_string(far.more_ns / kMs) + " ms apart at most;";
  }
  for (const Fault& fault : faults) {
    out += std::string(" ") + NameOf(fault.kind) + " at " + std::to_string(fault.at_ns / kMs) +
           " ms for " + std::to_string(fault.lasts_ns / kMs) + ";";
  }
  return out;
}

}  // namespace cyray::sim
