// A cluster of ObjectDirectories: every pair of processes has a queue per direction, frames arrive
// in order within a queue and in any order across queues, and random things happen between.
//
// Checked after every step: invariants of each directory; as long as nobody has died, the owner of
// every ref that a live process holds or a frame carries knows the object. At the end, when all
// refs are dropped and all queues are empty: nothing is left anywhere, and pins and copies are
// given up. A failing run prints its seed.

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "cyray/core/object_directory.h"
#include "cyray/core/system_error.h"

namespace cyray::core {
namespace {

using Refs = std::vector<RefWithOwner>;

struct SimFrame {
  enum class Kind {
    kFetch,
    kState,
    kAdd,
    kAck,
    kRemove,
    kTaken,
    kTask,
    kReply,
    kDied,
    kFreed
  } kind;
  uint64_t number = 0;  // request id, or the task's
  ObjectId id;
  bool known = false;
  bool stored = false;
  Refs refs;  // arguments, or what a result contains
  std::vector<ObjectId> held;
  bool pending = false;
};

class Simulator;

// One process: a directory, refs that its user holds, tasks it submitted and tasks it runs.
class Process : public DirectoryOutbox, public StoreOutbox {
 public:
  Process(Simulator& simulator, int number) : sim(simulator) {
    address.worker.bytes[0] = static_cast<uint8_t>(number + 1);
    address.node.bytes[0] = 1;
    objects.SetIdentity(address);
  }

  bool SendFetch(const Address& owner, uint64_t request, const ObjectId& id) override;
  void SendState(const WorkerId& to, uint64_t request, const ObjectId& id,
                 const ObjectEntry* entry) override;
  bool SendAddBorrower(const Address& owner, uint64_t request, const ObjectId& id) override;
  void SendRemoveBorrower(const Address& owner, const ObjectId& id) override;
  void SendContainedTaken(const Address& giver, const ObjectId& outer) override;
  void SendFreedToOwner(const Address& owner, const ObjectId& id) override;
  void SendFreedToBorrower(const WorkerId& borrower, const ObjectId& id) override;
  void PullToStore(ObjectEntry* entry) override { pulls.push_back(entry->id); }
  void ReleasePin(const ObjectId& id) override { --pins[id]; }
  bool IsWaitedFor(const ObjectEntry*, bool) override { return false; }
  void ForEachWaitedFor(const std::function<void(ObjectEntry*)>&) override {}
  void FreeStored(const ObjectId& id, const std::vector<NodeId>&) override;
  void FreeStray(const ObjectId&, const NodeId&) override {}
  void ActorOutOfScope(const ActorId&) override {}
  void GeneratorDropped(const ObjectId&, PendingTask*) override {}
  void OnObjectReady(ObjectEntry*, std::vector<uint64_t>, std::vector<uint64_t>) override {}
  void Publish(const ObjectId&) override {}

  struct Submitted {
    WorkerId worker;
    ObjectEntry* result;
    std::vector<ObjectEntry*> args;
  };
  struct Running {
    WorkerId submitter;
    uint64_t number;
    ObjectId result;
    std::vector<ObjectEntry*> args;  // deferred borrows, one count each
    std::vector<ObjectId> seen;
  };

  Simulator& sim;
  Address address;
  ObjectDirectory objects{*this, *this};
  bool dead = false;
  std::vector<ObjectEntry*> user;
  std::map<uint64_t, Submitted> submitted;
  std::vector<Running> running;
  std::map<std::pair<WorkerId, ObjectId>, std::vector<ObjectEntry*>> given;
  std::deque<ObjectId> pulls;
  std::map<ObjectId, int> pins;
  std::set<WorkerId> known_dead;
};

class Simulator {
 public:
  // What happens besides: processes die; users free objects that they hold.
  struct Faults {
    bool deaths = false;
    bool frees = false;
  };
  Simulator(uint64_t seed, Faults faults) : random_(seed), faults_(faults) {
    for (int i = 0; i < 4; ++i) processes_.push_back(std::make_unique<Process>(*this, i));
  }

  void Run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      Step();
      Check();
    }
    Settle();
  }

  void Send(const Process& from, const WorkerId& to, SimFrame frame) {
    Process& target = At(to);
    if (target.dead || from.dead) return;
    queues_[{from.address.worker, to}].push_back(std::move(frame));
  }
  Process& At(const WorkerId& worker) { return *processes_[worker.bytes[0] - 1u]; }

  Refs RefsOf(const Process& process, const std::vector<ObjectEntry*>& entries) {
    Refs refs;
    for (ObjectEntry* entry : entries) refs.push_back({entry->id, process.objects.OwnerOf(entry)});
    return refs;
  }
  std::map<ObjectId, Refs> values;  // what each object's value contains
  std::set<ObjectId> stored, freed;

 private:
  size_t Below(size_t n) { return random_() % n; }
  Process* AnyLive() {
    Process* process = processes_[Below(processes_.size())].get();
    return process->dead ? nullptr : process;
  }
  ObjectId NewId() {
    TaskId task;
    ++next_id_;
    std::memcpy(task.bytes.data(), &next_id_, sizeof next_id_);
    return ObjectId(task, 1);
  }
  // A value holds only refs of older objects: objects that hold one another are never freed.
  static uint64_t Number(const ObjectId& id) {
    uint64_t number;
    std::memcpy(&number, id.data(), sizeof number);
    return number;
  }
  // Up to `most` refs of the user, one more count for each, and known to others from now on.
  std::vector<ObjectEntry*> Pick(Process& p, size_t most) {
    std::vector<ObjectEntry*> picked;
    for (size_t n = Below(most + 1); n > 0 && !p.user.empty(); --n) {
      ObjectEntry* entry = p.user[Below(p.user.size())];
      p.objects.Index(entry);
      p.objects.AddRef(entry);
      picked.push_back(entry);
    }
    return picked;
  }

  void Step() {
    const size_t dice = Below(100);
    if (dice < 45) return Deliver();
    Process* p = AnyLive();
    if (p == nullptr) return;
    if (faults_.frees && Below(10) == 0) return Free(*p);
    if (dice < 55) return Make(*p);
    if (dice < 65) return Submit(*p);
    if (dice < 75) return Finish(*p);
    if (dice < 88) return Drop(*p);
    if (dice < 98) return Get(*p);
    if (dice == 98) return AnswerPull(*p);
    if (Below(3) == 0) p->objects.TrimWarmPins(Below(3));
    if (faults_.deaths && Below(8) == 0) Die(*p);
  }

  void Make(Process& p) {
    ObjectEntry* entry = p.objects.NewOwned(NewId());
    const auto contained = Pick(p, 2);
    values[entry->id] = RefsOf(p, contained);
    p.objects.SetContained(entry, contained);
    Resolve(p, entry);
    p.user.push_back(entry);
  }
  void Resolve(Process& p, ObjectEntry* entry) {
    if (Below(3) == 0) {
      stored.insert(entry->id);
      p.objects.ResolveStored(entry, p.address.node, 100);
    } else {
      p.objects.Resolve(entry, ValuePtr(Value::Copy("v", 1)), false);
    }
  }
  void Submit(Process& p) {
    Process* worker = AnyLive();
    if (worker == nullptr || worker == &p || p.known_dead.contains(worker->address.worker)) return;
    ObjectEntry* result = p.objects.NewOwned(NewId());
    p.objects.AddRef(result);  // the user's and the task's
    p.user.push_back(result);
    const auto args = Pick(p, 3);
    const uint64_t number = ++next_task_;
    p.submitted[number] = {worker->address.worker, result, args};
    Send(p, worker->address.worker,
         {SimFrame::Kind::kTask, number, result->id, false, false, RefsOf(p, args), {}});
  }
  // Ends a running task: keeps some arguments, returns some, and lets go of the rest.
  void Finish(Process& p) {
    if (p.running.empty()) return;
    const size_t at = Below(p.running.size());
    Process::Running task = std::move(p.running[at]);
    p.running.erase(p.running.begin() + static_cast<ptrdiff_t>(at));
    std::vector<ObjectEntry*> contained;
    for (ObjectEntry* entry : Pick(p, 1)) {
      if (Number(entry->id) < Number(task.result)) {
        contained.push_back(entry);
      } else {
        p.objects.Release(entry);
      }
    }
    for (ObjectEntry* entry : task.args) {
      if (Below(3) == 0 && Number(entry->id) < Number(task.result)) {
        p.objects.AddRef(entry);
        contained.push_back(entry);
      }
      if (Below(3) == 0) {
        p.user.push_back(entry);
      } else {
        p.objects.Release(entry);
      }
    }
    auto held = p.objects.RegisterDeferred(task.seen);
    p.objects.AfterRegistrations([this, &p, task, contained, held] {
      if (p.known_dead.contains(task.submitter)) {
        for (ObjectEntry* entry : contained) p.objects.Release(entry);
        return;
      }
      if (!contained.empty()) p.given[{task.submitter, task.result}] = contained;
      Send(p, task.submitter,
           {SimFrame::Kind::kReply, task.number, task.result, false, false, RefsOf(p, contained),
            held});
    });
  }
  void Drop(Process& p) {
    if (p.user.empty()) return;
    const size_t at = Below(p.user.size());
    ObjectEntry* entry = p.user[at];
    p.user.erase(p.user.begin() + static_cast<ptrdiff_t>(at));
    p.objects.Release(entry);
  }
  void Free(Process& p) {
    if (p.user.empty()) return;
    anybody_freed_ = true;
    ObjectEntry* entry = p.user[Below(p.user.size())];
    Below(4) == 0 ? p.objects.FreeHere(entry) : p.objects.Free(entry);
  }
  // Reads a value, and takes the refs in it.
  void Get(Process& p) {
    if (p.user.empty()) return;
    ObjectEntry* entry = p.user[Below(p.user.size())];
    if (!entry->local()) return p.objects.Want(entry);
    if (entry->is_error) return;
    for (const RefWithOwner& ref : values[entry->id]) {
      p.user.push_back(p.objects.Borrow(ref.id, ref.owner, false));
    }
  }
  void AnswerPull(Process& p) {
    if (p.pulls.empty()) return;
    const ObjectId id = p.pulls.front();
    p.pulls.pop_front();
    now_ns_ += 1'000'000'000;
    if (Below(3) == 0) {
      const auto failure = Below(2) == 0 ? ObjectDirectory::PullFailure::kNoRoom
                                         : ObjectDirectory::PullFailure::kMissing;
      p.objects.OnPullFailed(id, failure, "", now_ns_);
      return p.objects.Tick(p.objects.NextTickNs());
    }
    ++p.pins[id];
    p.objects.OnPinned(id, 64, 100);
  }

  void Deliver() {
    std::vector<std::pair<WorkerId, WorkerId>> ready;
    for (auto& [ends, queue] : queues_) {
      if (!queue.empty()) ready.push_back(ends);
    }
    if (ready.empty()) return;
    const auto ends = ready[Below(ready.size())];
    auto& queue = queues_[ends];
    const SimFrame frame = std::move(queue.front());
    queue.pop_front();
    Receive(At(ends.second), At(ends.first), frame);
  }
  void Receive(Process& p, Process& from, const SimFrame& frame) {
    const WorkerId& peer = from.address.worker;
    switch (frame.kind) {
      case SimFrame::Kind::kFetch:
        return p.objects.OnFetch(peer, frame.number, frame.id);
      case SimFrame::Kind::kState: {
        ObjectDirectory::StateUpdate update;
        update.known = frame.known;
        update.pending = frame.pending;
        if (frame.known && frame.stored) update.locations = {from.address.node};
        if (frame.known && !frame.stored && !frame.pending)
          update.value = ValuePtr(Value::Copy("v", 1));
        return p.objects.OnState(frame.id, std::move(update));
      }
      case SimFrame::Kind::kAdd:
        p.objects.OnAddBorrower(peer, frame.id);
        return Send(p, peer, {SimFrame::Kind::kAck, frame.number, {}, false, false, {}, {}});
      case SimFrame::Kind::kAck:
        return p.objects.OnRegistered(frame.number);
      case SimFrame::Kind::kRemove:
        return p.objects.OnRemoveBorrower(peer, frame.id);
      case SimFrame::Kind::kTaken: {
        auto node = p.given.extract({peer, frame.id});
        if (node.empty()) return;
        for (ObjectEntry* entry : node.mapped()) p.objects.Release(entry);
        return;
      }
      case SimFrame::Kind::kTask:
        return OnTask(p, from, frame);
      case SimFrame::Kind::kReply:
        return OnReply(p, from, frame);
      case SimFrame::Kind::kDied:
        return OnDied(p, from);
      case SimFrame::Kind::kFreed:
        return p.objects.OnFreed(peer, frame.id);
    }
  }
  void OnTask(Process& p, const Process& from, const SimFrame& frame) {
    Process::Running task{from.address.worker, frame.number, frame.id, {}, {}};
    for (const RefWithOwner& ref : frame.refs) {
      task.args.push_back(p.objects.Borrow(ref.id, ref.owner, true));
      task.seen.push_back(ref.id);
    }
    p.running.push_back(std::move(task));
  }
  void OnReply(Process& p, Process& from, const SimFrame& frame) {
    auto node = p.submitted.extract(frame.number);
    if (node.empty()) return;
    for (const ObjectId& id : frame.held) p.objects.OnAddBorrower(from.address.worker, id);
    Process::Submitted& task = node.mapped();
    values[task.result->id] = frame.refs;
    if (!frame.refs.empty()) {
      p.objects.SetContained(task.result,
                             p.objects.TakeContained(from.address, frame.id, frame.refs));
    }
    Resolve(p, task.result);
    p.objects.Release(task.result);
    for (ObjectEntry* entry : task.args) p.objects.Release(entry);
  }

  void Die(Process& p) {
    if (std::count_if(processes_.begin(), processes_.end(),
                      [](const auto& q) { return !q->dead; }) < 3) {
      return;
    }
    anybody_died_ = true;
    for (const auto& other : processes_) {
      queues_[{other->address.worker, p.address.worker}].clear();
      if (!other->dead && other.get() != &p) {
        Send(p, other->address.worker, {SimFrame::Kind::kDied, 0, {}, false, false, {}, {}});
      }
    }
    p.dead = true;
  }
  void OnDied(Process& p, const Process& dead) {
    const WorkerId worker = dead.address.worker;
    p.known_dead.insert(worker);
    for (auto it = p.given.begin(); it != p.given.end();) {
      if (it->first.first != worker) {
        ++it;
        continue;
      }
      const auto entries = std::move(it->second);
      it = p.given.erase(it);
      for (ObjectEntry* entry : entries) p.objects.Release(entry);
    }
    p.objects.OnProcessDied(worker, "killed");
    std::vector<Process::Submitted> lost;
    for (auto it = p.submitted.begin(); it != p.submitted.end();) {
      if (it->second.worker == worker) {
        lost.push_back(std::move(it->second));
        it = p.submitted.erase(it);
      } else {
        ++it;
      }
    }
    for (Process::Submitted& task : lost) {
      p.objects.Resolve(task.result, SystemError(ErrorKind::kInternal, ""), true);
      p.objects.Release(task.result);
      for (ObjectEntry* entry : task.args) p.objects.Release(entry);
    }
  }

  void Check() {
    for (const auto& p : processes_) {
      if (p->dead) continue;
      p->objects.CheckInvariants();
      // Who kept an object alive for others may be gone, or does not keep it any more.
      if (anybody_died_ || anybody_freed_) continue;
      for (ObjectEntry* entry : p->user) ExpectKnown(entry->id, p->objects.OwnerOf(entry), "held");
      for (const auto& task : p->running) {
        for (ObjectEntry* entry : task.args) {
          ExpectKnown(entry->id, p->objects.OwnerOf(entry), "an argument");
        }
      }
    }
    if (anybody_died_ || anybody_freed_) return;
    for (const auto& [ends, queue] : queues_) {
      for (const SimFrame& frame : queue) {
        for (const RefWithOwner& ref : frame.refs) ExpectKnown(ref.id, ref.owner, "in a frame");
      }
    }
  }
  void ExpectKnown(const ObjectId& id, const Address& owner, const char* where) {
    Process& p = At(owner.worker);
    const ObjectEntry* entry = p.objects.Find(id);
    const bool mine_alone =
        std::any_of(p.user.begin(), p.user.end(), [&](ObjectEntry* e) { return e->id == id; });
    EXPECT_TRUE(mine_alone || (entry != nullptr && entry->owned))
        << id.Hex() << " is " << where << " and its owner has freed it";
    if (entry != nullptr) {
      EXPECT_FALSE(entry->is_error) << id.Hex();
    }
  }

  void Settle() {
    for (int round = 0; round < 100'000; ++round) {
      bool busy = false;
      for (const auto& p : processes_) {
        if (p->dead) continue;
        busy = busy || !p->running.empty() || !p->user.empty() || !p->pulls.empty();
        if (!p->running.empty()) Finish(*p);
        if (!p->user.empty()) Drop(*p);
        if (!p->pulls.empty()) AnswerPull(*p);
      }
      for (const auto& [ends, queue] : queues_) busy = busy || !queue.empty();
      Deliver();
      if (!busy) break;
    }
    for (const auto& p : processes_) {
      if (p->dead) continue;
      EXPECT_EQ(p->objects.size(), 0u) << "process " << int{p->address.worker.bytes[0]};
      EXPECT_TRUE(p->given.empty());
      for (const auto& [id, count] : p->pins) EXPECT_EQ(count, 0) << id.Hex();
    }
    if (anybody_died_) return;
    EXPECT_TRUE(stored == freed) << stored.size() << " were stored, " << freed.size() << " freed";
  }

  std::mt19937_64 random_;
  const Faults faults_;
  bool anybody_died_ = false, anybody_freed_ = false;
  int64_t now_ns_ = 0;
  uint64_t next_id_ = 0, next_task_ = 0;
  std::vector<std::unique_ptr<Process>> processes_;
  std::map<std::pair<WorkerId, WorkerId>, std::deque<SimFrame>> queues_;
};

bool Process::SendFetch(const Address& owner, uint64_t request, const ObjectId& id) {
  if (known_dead.contains(owner.worker)) return false;
  sim.Send(*this, owner.worker, {SimFrame::Kind::kFetch, request, id, false, false, {}, {}});
  return true;
}
void Process::SendState(const WorkerId& to, uint64_t request, const ObjectId& id,
                        const ObjectEntry* entry) {
  sim.Send(*this, to,
           {SimFrame::Kind::kState,
            request,
            id,
            entry != nullptr && !entry->is_error,
            entry != nullptr && entry->state == ObjectState::kStored,
            {},
            {},
            entry != nullptr && !entry->ready()});
}
bool Process::SendAddBorrower(const Address& owner, uint64_t request, const ObjectId& id) {
  if (known_dead.contains(owner.worker)) return false;
  sim.Send(*this, owner.worker, {SimFrame::Kind::kAdd, request, id, false, false, {}, {}});
  return true;
}
void Process::SendRemoveBorrower(const Address& owner, const ObjectId& id) {
  sim.Send(*this, owner.worker, {SimFrame::Kind::kRemove, 0, id, false, false, {}, {}});
}
void Process::SendContainedTaken(const Address& giver, const ObjectId& outer) {
  sim.Send(*this, giver.worker, {SimFrame::Kind::kTaken, 0, outer, false, false, {}, {}});
}
void Process::SendFreedToOwner(const Address& owner, const ObjectId& id) {
  SendFreedToBorrower(owner.worker, id);
}
void Process::SendFreedToBorrower(const WorkerId& borrower, const ObjectId& id) {
  sim.Send(*this, borrower, {SimFrame::Kind::kFreed, 0, id, false, false, {}, {}});
}
void Process::FreeStored(const ObjectId& id, const std::vector<NodeId>&) {
  EXPECT_TRUE(sim.freed.insert(id).second) << id.Hex() << " is freed twice";
}

class DirectorySimulator : public testing::TestWithParam<std::tuple<bool, bool>> {};

TEST_P(DirectorySimulator, CountsAreNeverTooLowAndInTheEndZero) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const auto [deaths, frees] = GetParam();
    Simulator simulator(seed, {deaths, frees});
    simulator.Run(600);
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(, DirectorySimulator, testing::Combine(testing::Bool(), testing::Bool()),
                         [](const auto& p) {
                           return std::string(std::get<0>(p.param) ? "WithDeaths"
                                                                   : "WithoutDeaths") +
                                  (std::get<1>(p.param) ? "AndFrees" : "");
                         });

}  // namespace
}  // namespace cyray::core
