#include "cpp_tests/sim/world.h"

#include <signal.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cyray/core/gcs_requests.h"
#include "cyray/core/raylet_socket.h"

namespace cyray::sim {
namespace {

constexpr int64_t kPatienceNs = 120 * kSecond;  // after the last fault
constexpr int64_t kSettleNs = 20 * kSecond;

// A look into a node from outside, as a driver that does nothing. False: it cannot be had.
bool Look(const RayletSpec& node, Player* player) {
  UniqueFd socket;
  return core::ConnectToRaylet(SocketOf(node), &socket).ok() &&
         player->Connect(std::move(socket), {}).ok();
}

std::string HeldBy(const RayletSpec& node) {
  Player player;
  if (!Look(node, &player)) return "node " + std::to_string(node.node) + " is gone";
  std::string text;
  if (!player.core().control().NodeDump(&text).ok()) return "the raylet does not answer";
  const auto dump = nlohmann::json::parse(text);
  const auto& leases = dump["leases"];
  if (dump["resources"]["available"] != dump["resources"]["total"]) {
    return "resources are still held: " + dump.dump();
  }
  if (leases["granted"] != 0 || !leases["pending"].empty()) {
    return "leases are still there: " + dump.dump();
  }
  if (dump["store"]["primary_bytes"] != 0) return "objects are still stored: " + dump.dump();
  std::vector<core::ActorRow> actors;
  if (!core::ListActors(player.core().control(), &actors).ok()) return "the GCS does not answer";
  for (const core::ActorRow& actor : actors) {
    if (actor.state != "Dead") return "the actor " + actor.actor_id + " is " + actor.state;
  }
  std::vector<core::JobRow> jobs;
  if (!core::ListJobs(player.core().control(), &jobs).ok()) return "the GCS does not answer";
  for (const core::JobRow& job : jobs) {
    const Process* const driver = Kernel::Get()->Find(job.driver_pid);
    if (job.running && !driver->alive && driver->name.starts_with("driver.")) {
      return "the job " + job.job_id + " runs though its driver is gone";
    }
  }
  return "";
}

}  // namespace

World::World(uint64_t seed, const std::vector<FaultKind>& allowed, const std::string& folder,
             bool echo)
    : plan_(seed, allowed, folder),
      kernel_(seed),
      network_(&kernel_),
      disk_(&kernel_),
      book_(&kernel_, {.news_ns = plan_.delays_news() ? 5 * kSecond : 10 * kMs,
                       .answers_get_lost = plan_.kills_nodes()}) {
  kernel_.set_echo(echo);
  if (plan_.far.more_ns > 0) network_.SetFar(plan_.far.a, plan_.far.b, plan_.far.more_ns);
  for (size_t i = 0; i < plan_.drivers.size(); ++i) {
    drivers_.push_back(std::make_unique<Driver>(&plan_, i));
    drivers_.back()->others_called = [this] {
      return std::ranges::all_of(drivers_, [](const auto& driver) { return driver->called(); });
    };
  }
}

// --- Faults -----------------------------------------------------------------------------------

std::vector<Process*> World::Named(const std::string& name) const {
  std::vector<Process*> found;
  for (const auto& [pid, process] : kernel_.processes()) {
    if (process->alive && process->name.starts_with(name + ".")) found.push_back(process.get());
  }
  return found;
}

void World::StrikeProcess(const std::string& name, const Fault& fault) {
  std::vector<Process*> all = Named(name);
  if (fault.at_actor) {
    const auto ordinary =
        std::ranges::partition(all, [this](const Process* one) { return book_.IsActor(one->pid); });
    if (ordinary.begin() != all.begin()) all.erase(ordinary.begin(), all.end());
  }
  if (all.empty()) return;
  Process* const process = all[fault.draw % all.size()];
  const bool kill = fault.kind == FaultKind::kKillWorker || fault.kind == FaultKind::kKillGcs ||
                    fault.kind == FaultKind::kKillZygote;
  kernel_.Log(std::string(kFaultNames[static_cast<size_t>(fault.kind)]) + " " + process->name);
  if (kill) {
    book_.Struck(process->pid);
    kernel_.Signal(process->pid, SIGKILL);
    return;
  }
  kernel_.Pause(process);
  kernel_.time().At(kernel_.now_ns() + fault.lasts_ns, [this, pid = process->pid] {
    Process* const paused = kernel_.Find(pid);
    kernel_.Log("continue " + paused->name);
    if (paused->alive) kernel_.Continue(paused);
  });
}

// The plan says that there is one that may die.
void World::StrikeNode(const Fault& fault) {
  const std::vector<int> victims = plan_.Victims();
  const int node = victims[fault.draw % victims.size()];
  if (!dead_nodes_.insert(node).second) return;
  const bool power = fault.kind == FaultKind::kKillNode;
  kernel_.Log("node " + std::to_string(node) + (power ? " loses power" : ": its raylet is killed"));
  if (power) network_.BlockAll(node);
  std::vector<int> ended;
  for (const auto& [pid, process] : kernel_.processes()) {
    if (!process->alive || process->node != node) continue;
    book_.StruckWithItsNode(pid);
    if (power || process->name.starts_with("raylet.")) ended.push_back(pid);
  }
  for (const int pid : ended) kernel_.Signal(pid, SIGKILL);
}

void World::StrikeDriver(const Fault& fault) {
  Driver& driver = *drivers_[fault.draw % drivers_.size()];
  if (driver.process == nullptr || !driver.process->alive) return;
  kernel_.Log("kill-driver " + driver.process->name);
  driver.Killed();
  kernel_.Signal(driver.process->pid, SIGKILL);
}

void World::Strike(const Fault& fault) {
  const int64_t over = kernel_.now_ns() + fault.lasts_ns;
  switch (fault.kind) {
    case FaultKind::kKillWorker:
    case FaultKind::kPauseWorker:
      return StrikeProcess("worker", fault);
    case FaultKind::kKillGcs:
    case FaultKind::kPauseGcs:
      return StrikeProcess("gcs_server", fault);
    case FaultKind::kKillZygote:
      return StrikeProcess("zygote", fault);
    case FaultKind::kPauseRaylet:
      return StrikeProcess("raylet", fault);
    case FaultKind::kKillNode:
    case FaultKind::kKillRaylet:
      return StrikeNode(fault);
    case FaultKind::kKillDriver:
      return StrikeDriver(fault);
    case FaultKind::kSlowDisk:
      kernel_.Log("the disk is slow");
      disk_.SetSlow(0, true);
      kernel_.time().At(over, [this] { disk_.SetSlow(0, false); });
      return;
    case FaultKind::kFullDisk:
      kernel_.Log("the disk is full");
      disk_.SetFull(0, true);
      kernel_.time().At(over, [this] { disk_.SetFull(0, false); });
      return;
    case FaultKind::kStepClock:
      kernel_.Log("the clock on the wall is set");
      kernel_.StepWallClock((fault.draw % 2 == 0 ? 900 : -900) * fault.lasts_ns);
      return;
    case FaultKind::kCut:
      network_.CutOne(fault.draw);
      return;
    case FaultKind::kBlock: {
      const size_t count = plan_.nodes.size();
      if (count < 2) return;
      const int a = static_cast<int>(fault.draw % count);
      const int b = (a + 1) % static_cast<int>(count);
      kernel_.Log("nodes " + std::to_string(a) + " and " + std::to_string(b) + " are cut off");
      network_.Block(a, b);
      kernel_.time().At(over, [this, a, b] { network_.Unblock(a, b); });
      return;
    }
  }
}

// --- A run ------------------------------------------------------------------------------------

bool World::AllOver() const {
  return std::ranges::all_of(drivers_, [](const auto& driver) { return driver->over(); });
}

std::string World::WhoHangs() {
  std::string text = "a driver does not get on";
  for (const auto& driver : drivers_) {
    if (driver->over() || driver->process == nullptr) continue;
    kernel_.Start(driver->process->node, "asker", nullptr, [&] {
      text += "; " + driver->process->name + " " + driver->Describe();
      return 0;
    });
  }
  for (const NodePlan& node : plan_.nodes) {
    if (dead_nodes_.contains(node.spec.node)) continue;
    kernel_.Start(node.spec.node, "asker", nullptr, [&, spec = node.spec] {
      Player player;
      std::string dump = "does not answer";
      if (Look(spec, &player)) (void)player.core().control().NodeDump(&dump);
      text += "\n  node " + std::to_string(spec.node) + ": " + dump;
      return 0;
    });
  }
  const int64_t limit = kernel_.now_ns() + kSecond;
  while (kernel_.now_ns() < limit && kernel_.Step()) {
  }
  return text;
}

Verdict World::Judge(const std::string& why) {
  return {why.empty(), why, kernel_.time().digest(), kernel_.now_ns()};
}

void World::RunObservers(int64_t within_ns, const std::function<void(const RayletSpec&)>& observe,
                         std::string* why) {
  size_t running = 0;
  for (const NodePlan& node : plan_.nodes) {
    if (dead_nodes_.contains(node.spec.node)) continue;
    ++running;
    kernel_.Start(node.spec.node, "observer", nullptr, [&, spec = node.spec] {
      observe(spec);
      --running;
      return 0;
    });
  }
  const int64_t limit = kernel_.now_ns() + within_ns;
  while (running > 0 && why->empty() && kernel_.now_ns() < limit && kernel_.Step()) {
  }
  if (running > 0 && why->empty()) *why = "a node does not answer after all is over";
}

// Those of drivers that were killed.
void World::EndNamedActors(std::string* why) {
  bool done = false;
  RunObservers(
      kSettleNs,
      [&](const RayletSpec& node) {
        Player player;
        std::vector<core::ActorRow> actors;
        if (std::exchange(done, true)) return;
        kernel_.Sleep(2 * kSecond);  // a disk that was full is tried again
        if (!Look(node, &player) || !core::ListActors(player.core().control(), &actors).ok()) {
          *why = "node " + std::to_string(node.node) + " is gone";
        }
        for (const core::ActorRow& actor : actors) {
          if (!actor.detached || actor.state == "Dead") continue;
          ActorId id;
          HexToBytes(actor.actor_id, id.bytes.data(), ActorId::kSize);
          (void)player.core().KillActor(id, true, "");
        }
      },
      why);
}

// Its owner lives, but names nothing any more.
void World::FindStored(std::string* why) {
  RunObservers(
      2 * kSettleNs,
      [&](const RayletSpec& node) {
        kernel_.Sleep(kSettleNs / 2);
        Player player;
        std::string text;
        if (!Look(node, &player) || !player.core().control().NodeDump(&text).ok()) {
          *why = "node " + std::to_string(node.node) + " is gone";
        } else if (nlohmann::json::parse(text)["store"]["primary_bytes"] != 0) {
          *why = "objects are stored that nobody names: " + text;
        }
      },
      why);
}

// When the last driver is gone, nodes hold nothing for anybody.
void World::FindLeaks(std::string* why) {
  RunObservers(
      2 * kSettleNs,
      [&](const RayletSpec& node) {
        kernel_.Sleep(kSettleNs);
        const std::string held = HeldBy(node);
        if (why->empty()) *why = held;
      },
      why);
}

void World::Start() {
  const auto run_worker = [rules = plan_.rules](UniqueFd socket, WorkerId id) {
    Player player(rules);
    core::RegisterOptions options;
    options.is_driver = false;
    options.worker_id = id;
    if (!player.Connect(std::move(socket), options).ok()) return 1;
    return player.RunTasks();
  };
  AddPrograms(&kernel_, run_worker, plan_.gcs_forgets);
  for (const NodePlan& node : plan_.nodes) {
    kernel_.time().At(node.starts_ns, [this, &node] {
      if (!dead_nodes_.contains(node.spec.node)) StartRaylet(&kernel_, node.spec);
    });
  }
  for (size_t i = 0; i < drivers_.size(); ++i) {
    kernel_.time().At(kDriversStartNs, [this, i] {
      drivers_[i]->process = kernel_.Start(plan_.drivers[i].node, "driver", nullptr,
                                           [driver = drivers_[i].get()] { return driver->Run(); });
    });
  }
  for (const Fault& fault : plan_.faults) {
    kernel_.time().At(fault.at_ns, [this, &fault] { Strike(fault); });
  }
}

Verdict World::Run() {
  Start();
  int64_t quiet = kDriversStartNs;
  for (const NodePlan& node : plan_.nodes) quiet = std::max(quiet, node.starts_ns + kSecond);
  for (const Fault& fault : plan_.faults) quiet = std::max(quiet, fault.at_ns + fault.lasts_ns);
  while (!AllOver() || kernel_.now_ns() < quiet) {
    if (kernel_.now_ns() > quiet + kPatienceNs) return Judge(WhoHangs());
    if (!kernel_.Step()) return Judge("nothing will ever happen again");
    if (!book_.wrong().empty()) return Judge(book_.wrong());
    for (const auto& driver : drivers_) {
      if (!driver->wrong().empty()) return Judge(driver->wrong());
    }
  }
  std::string why;
  EndNamedActors(&why);
  if (why.empty()) FindStored(&why);
  for (const auto& driver : drivers_) driver->may_leave = true;
  if (why.empty()) FindLeaks(&why);
  return Judge(why.empty() ? book_.wrong() : why);
}

}  // namespace cyray::sim
