// Driver: a simulated driver: makes its actors, takes its steps one after the other, reads all
// results and judges each: a result has to be the one that its task means, an error has to have a
// cause in the book. Another kind writes keys at the GCS, each of which has to be written once.
// Threading: Run() is the main function of a simulated process; the rest is read by the world.

#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cpp_tests/sim/plan.h"

namespace cyray::sim {

class Driver {
 public:
  Driver(const Plan* plan, size_t number) : plan_(plan), mine_(&plan->drivers[number]) {}

  int Run();
  // The process that runs it; null: not yet.
  Process* process = nullptr;
  bool called() const { return called_ || over(); }  // it calls nobody's actors any more
  bool done() const { return done_; }
  bool over() const { return done_ || !wrong_.empty() || killed_; }
  const std::string& wrong() const { return wrong_; }
  // What it does now; for a simulated process to ask.
  std::string Describe() const;
  void Killed() { killed_ = !done_; }
  bool was_killed() const { return killed_; }
  // Whether all others have called, so that named actors may end.
  std::function<bool()> others_called;
  // Until then it lives on, though it has nothing left to do.
  bool may_leave = false;

 private:
  struct Result {
    core::ObjectEntry* entry = nullptr;  // null: nobody was asked for one
    uint64_t expected = 0;
    ActorId actor;  // not nil: a call of it
    bool never_fails = true;
    bool is_generator = false;
  };

  bool Connect(Player* player);
  void MakeActor(Player* player, size_t number);
  void TakeStep(Player* player, const Step& step);
  Result TaskOf(Player* player, const Step& step);
  Result CallOf(Player* player, const Step& step);
  void Cancel(Player* player, const Step& step);
  // It, or what it gets as an argument, may be over before it began or ended.
  bool MayBeCancelled(const Step& step) const;
  Result TaskInGroup(Player* player, const Step& step);
  void RestartActor(Player* player, size_t number);
  // Reads all results and judges them; beside the steps, when a thread of its own does so.
  void ReadResults(Player* player);
  void WriteKeys(Player* player);
  Result CallNamed(Player* player, const Step& step, const std::string& name, uint64_t expected);
  void DropActors(Player* player, size_t step);
  void DropAllActors(Player* player);
  void EndNamed(Player* player);
  void AwaitFreed(Player* player);
  // What is wrong with it; empty: nothing.
  std::string Judge(const Step& step, const Result& result, const Decoded& got) const;
  std::string JudgeCall(const Result& result, const SystemError& error) const;
  std::string JudgeTask(const Step& step, const Result& result, const SystemError& error) const;

  const Plan* const plan_;
  const DriverPlan* const mine_;
  Player* player_ = nullptr;  // while it runs
  std::string stage_ = "connects";
  std::vector<ActorHandle> actors_;
  std::map<size_t, uint64_t> counted_;    // kCount calls of each
  std::vector<PlacementGroupId> groups_;  // to be removed at the end
  std::vector<Result> results_;
  bool called_ = false;
  bool done_ = false;
  bool killed_ = false;
  std::string wrong_;
};

}  // namespace cyray::sim
