#include "cpp_tests/sim/world.h"

#include <signal.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cyray/core/raylet_socket.h"
#include "cyray/util/log.h"

namespace cyray::sim {
namespace {

constexpr int64_t kSecond = 1000 * kMs;
constexpr int64_t kDriversStartNs = 2 * kSecond;
constexpr int64_t kFaultsEndNs = 12 * kSecond;
constexpr int64_t kPatienceNs = 120 * kSecond;  // after the last fault
constexpr int64_t kSettleNs = 20 * kSecond;

const char* NameOf(FaultKind kind) { return kFaultNames[static_cast<size_t>(kind)]; }

}  // namespace

World::World(uint64_t seed, const Allowed& allowed, std::string folder, bool echo)
    : kernel_(seed), network_(&kernel_), disk_(&kernel_), folder_(std::move(folder)) {
  kernel_.set_echo(echo);
  Plan(seed, allowed);
}

void World::Plan(uint64_t seed, const Allowed& allowed) {
  std::mt19937_64 random(seed ^ 0xC1A57E5);
  const auto below = [&](uint64_t bound) { return random() % bound; };
  const int nodes = 1 + static_cast<int>(below(3));
  for (int node = 0; node < nodes; ++node) {
    nodes_.push_back({.node = node, .folder = folder_, .cpus = 1 + static_cast<int>(below(3))});
  }
  for (uint64_t i = allowed.faults.empty() ? 0 : below(6); i > 0; --i) {
    Fault fault;
    fault.kind = allowed.faults[below(allowed.faults.size())];
    fault.at_ns =
        kDriversStartNs +
        static_cast<int64_t>(below(static_cast<uint64_t>(kFaultsEndNs - kDriversStartNs)));
    fault.draw = random();
    fault.lasts_ns = static_cast<int64_t>(below(4000)) * kMs;
    faults_.push_back(fault);
  }
  KeepSilencesApart();
  // What a killed worker owned is lost, as it should be: then no task returns a ref of its own.
  const bool gives = std::ranges::none_of(
      faults_, [](const Fault& fault) { return fault.kind == FaultKind::kKillWorker; });
  drivers_.resize(1 + below(2));
  for (Driver& driver : drivers_) {
    driver.node = static_cast<int>(below(static_cast<uint64_t>(nodes)));
    for (uint64_t i = 5 + below(25); i > 0; --i) {
      TaskKind kind = static_cast<TaskKind>(below(kTaskKinds));
      if (kind == TaskKind::kRead) kind = TaskKind::kFan;
      // What a fan's children are is in its salt.
      const uint64_t salt = random() & (kGivenRefs - 1);
      if (kind == TaskKind::kGive && !gives) kind = TaskKind::kSlow;
      driver.tasks.push_back(
          {kind, static_cast<uint8_t>(below(3)), salt | (gives ? kGivenRefs : 0)});
      driver.pauses_ns.push_back(static_cast<int64_t>(below(400)) * kMs);
    }
  }
}

// A node that nobody hears of for five seconds lives; each of these lasts less than four, but two
// that touch may keep it from the GCS for longer, and then it ends, as it should.
void World::KeepSilencesApart() {
  const auto is_silence = [](const Fault& fault) {
    return fault.kind == FaultKind::kBlock || fault.kind == FaultKind::kPauseGcs ||
           fault.kind == FaultKind::kPauseRaylet;
  };
  std::ranges::sort(faults_, {}, &Fault::at_ns);
  int64_t over_ns = 0;
  std::erase_if(faults_, [&](const Fault& fault) {
    if (!is_silence(fault)) return false;
    if (fault.at_ns < over_ns) return true;
    over_ns = fault.at_ns + fault.lasts_ns + 2000 * kMs;
    return false;
  });
}

std::string World::Describe() const {
  std::string out = std::to_string(nodes_.size()) + " nodes;";
  for (const Driver& driver : drivers_) {
    out += " a driver of " + std::to_string(driver.tasks.size()) + " tasks on node " +
           std::to_string(driver.node) + ";";
  }
  for (const Fault& fault : faults_) {
    out +=
        std::string(" ") + NameOf(fault.kind) + " at " + std::to_string(fault.at_ns / kMs) + " ms;";
  }
  return out;
}

// --- Drivers ----------------------------------------------------------------------------------

void World::StartDriver(Driver* driver) {
  driver->process =
      kernel_.Start(driver->node, "driver", nullptr, [this, driver] { return RunDriver(driver); });
}

int World::RunDriver(Driver* driver) {
  UniqueFd socket;
  const std::string path = SocketOf(nodes_[static_cast<size_t>(driver->node)]);
  while (!core::ConnectToRaylet(path, &socket).ok()) kernel_.Sleep(100 * kMs);
  Player player;
  core::RegisterOptions options;
  options.job_config = "{}";
  const Status connected = player.Connect(std::move(socket), options);
  if (!connected.ok()) {
    driver->wrong = "cannot register: " + connected.ToString();
    return 1;
  }
  std::vector<core::ObjectEntry*> results;
  for (size_t i = 0; i < driver->tasks.size(); ++i) {
    results.push_back(player.Submit(driver->tasks[i]));
    kernel_.Sleep(1 + driver->pauses_ns[i]);
  }
  for (size_t i = 0; i < results.size() && driver->wrong.empty(); ++i) {
    const Decoded got = player.Get(results[i]);
    const uint64_t right = Expected(driver->tasks[i]);
    const std::string task = "task " + std::to_string(i) + " of kind " +
                             std::to_string(static_cast<int>(driver->tasks[i].kind));
    if (got.is_error) {
      driver->wrong = task + " failed: " + got.error;
    } else if (got.number != right) {
      driver->wrong = task + " returned another number";
    }
  }
  player.core().objects().ReleaseMany(results.data(), results.size());
  driver->done = true;
  return 0;
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
  const std::vector<Process*> all = Named(name);
  if (all.empty()) return;
  Process* const process = all[fault.draw % all.size()];
  const bool kill = fault.kind == FaultKind::kKillWorker || fault.kind == FaultKind::kKillGcs ||
                    fault.kind == FaultKind::kKillZygote;
  kernel_.Log(std::string(NameOf(fault.kind)) + " " + process->name);
  if (kill) {
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
    case FaultKind::kCut:
      network_.CutOne(fault.draw);
      return;
    case FaultKind::kBlock: {
      if (nodes_.size() < 2) return;
      const int a = static_cast<int>(fault.draw % nodes_.size());
      const int b = (a + 1) % static_cast<int>(nodes_.size());
      kernel_.Log("nodes " + std::to_string(a) + " and " + std::to_string(b) + " are cut off");
      network_.Block(a, b);
      kernel_.time().At(over, [this, a, b] { network_.Unblock(a, b); });
      return;
    }
  }
}

// --- A run ------------------------------------------------------------------------------------

bool World::AllDone() const {
  return std::all_of(drivers_.begin(), drivers_.end(),
                     [](const Driver& driver) { return driver.done || !driver.wrong.empty(); });
}

Verdict World::Judge(const std::string& why) {
  return {why.empty(), why, kernel_.time().digest(), kernel_.now_ns()};
}

// When the last driver is gone, nodes hold nothing for anybody: a look through another one.
void World::FindLeaks(std::string* why) {
  bool looked = false;
  const int64_t limit = kernel_.now_ns() + 2 * kSettleNs;
  for (const RayletSpec& node : nodes_) {
    kernel_.Start(node.node, "observer", nullptr, [&, node] {
      kernel_.Sleep(kSettleNs);
      UniqueFd socket;
      Player player;
      if (!core::ConnectToRaylet(SocketOf(node), &socket).ok() ||
          !player.Connect(std::move(socket), {}).ok()) {
        *why = "node " + std::to_string(node.node) + " is gone";
        return 1;
      }
      std::string text;
      CYRAY_CHECK(player.core().control().NodeDump(&text).ok()) << "the raylet did not answer";
      const auto dump = nlohmann::json::parse(text);
      const auto& leases = dump["leases"];
      if (dump["resources"]["available"] != dump["resources"]["total"]) {
        *why = "resources are still held: " + dump.dump();
      } else if (leases["granted"] != 0 || !leases["pending"].empty()) {
        *why = "leases are still there: " + dump.dump();
      } else if (dump["store"]["primary_bytes"] != 0) {
        *why = "objects are still stored: " + dump.dump();
      }
      looked = true;
      return 0;
    });
  }
  while (kernel_.now_ns() < limit && why->empty() && kernel_.Step()) {
  }
  if (!looked && why->empty()) *why = "a node does not answer after all is over";
}

Verdict World::Run() {
  AddPrograms(&kernel_, [](UniqueFd socket, WorkerId id) {
    Player player;
    core::RegisterOptions options;
    options.is_driver = false;
    options.worker_id = id;
    if (!player.Connect(std::move(socket), options).ok()) return 1;
    return player.RunTasks();
  });
  for (const RayletSpec& node : nodes_) {
    kernel_.time().At(node.node * 200 * kMs, [this, node] { StartRaylet(&kernel_, node); });
  }
  for (Driver& driver : drivers_) {
    kernel_.time().At(kDriversStartNs, [this, &driver] { StartDriver(&driver); });
  }
  int64_t quiet = kDriversStartNs;
  for (const Fault& fault : faults_) {
    kernel_.time().At(fault.at_ns, [this, fault] { Strike(fault); });
    quiet = std::max(quiet, fault.at_ns + fault.lasts_ns);
  }
  while (!AllDone()) {
    if (kernel_.now_ns() > quiet + kPatienceNs) return Judge("a driver does not get on");
    if (!kernel_.Step()) return Judge("nothing will ever happen again");
  }
  for (const Driver& driver : drivers_) {
    if (!driver.wrong.empty()) return Judge(driver.wrong);
  }
  while (kernel_.now_ns() < quiet && kernel_.Step()) {
  }
  std::string why;
  FindLeaks(&why);
  return Judge(why);
}

}  // namespace cyray::sim
