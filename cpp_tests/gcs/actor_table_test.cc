// The actor table against single cases and, with random operations, against a simple model.

#include "cyray/gcs/actor_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <random>

#include "cyray/common/exit_reasons.h"

namespace cyray::gcs {
namespace {

using Kind = ActorAction::Kind;
using State = wire::ActorState;

class ActorTableTest : public testing::Test {
 protected:
  ActorSpec Spec(const std::string& name = "", int max_restarts = 0) {
    ActorSpec spec;
    spec.id = ActorId::Random();
    spec.owner = owner_;
    spec.name = name;
    spec.max_restarts = max_restarts;
    return spec;
  }
  ActorId Registered(const ActorSpec& spec) {
    EXPECT_TRUE(table_.Register(spec).has_value());
    return spec.id;
  }
  ActorId Placed(const ActorSpec& spec) {
    Registered(spec);
    (void)table_.Placed(spec.id, node_);
    return spec.id;
  }
  ActorId Alive(const ActorSpec& spec) {
    Placed(spec);
    StartedNow(spec.id);
    return spec.id;
  }
  void StartedNow(const ActorId& id) {
    (void)table_.Started(node_, {id, table_.Find(id)->incarnation, {node_, worker_}, 1, "ip"});
  }
  void TearDown() override { table_.CheckInvariants(); }

  static size_t Count(const ActorActions& actions, Kind kind) {
    return std::count_if(actions.begin(), actions.end(),
                         [&](const ActorAction& action) { return action.kind == kind; });
  }
  State StateOf(const ActorId& id) { return table_.Find(id)->state; }

  ActorTable table_;
  NodeId node_ = NodeId::Random();
  WorkerId worker_ = WorkerId::Random();
  Address owner_{NodeId::Random(), WorkerId::Random()};
};

TEST_F(ActorTableTest, ANameIsTakenUntilItsActorDies) {
  const ActorId first = Alive(Spec("a"));
  Result<ActorActions> second = table_.Register(Spec("a"));
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code(), StatusCode::kAlreadyExists);
  (void)table_.Kill(first, {});
  EXPECT_EQ(table_.FindByName("", "a"), nullptr);
  const ActorId third = Registered(Spec("a"));
  EXPECT_EQ(table_.FindByName("", "a")->spec.id, third);
}

TEST_F(ActorTableTest, OneNameInTwoNamespacesIsTwoNames) {
  ActorSpec first = Spec("a"), second = Spec("a");
  second.ns = "other";
  Registered(first);
  EXPECT_TRUE(table_.Register(second).has_value());
}

TEST_F(ActorTableTest, RegisteringTheSameActorAgainChangesNothing) {
  const ActorSpec spec = Spec("a");
  Alive(spec);
  Result<ActorActions> again = table_.Register(spec);
  ASSERT_TRUE(again.has_value());
  EXPECT_TRUE(again->empty());
  EXPECT_EQ(StateOf(spec.id), State::Alive);
}

TEST_F(ActorTableTest, AnActorThatEndsIsRestartedAsOftenAsItMay) {
  const ActorId id = Alive(Spec("", 1));
  ActorActions actions = table_.Ended(node_, id, 0, {"killed by signal 9", false});
  EXPECT_EQ(Count(actions, Kind::kPlace), 1u);
  EXPECT_EQ(StateOf(id), State::Restarting);
  EXPECT_EQ(table_.Find(id)->death_cause,
            "killed by signal 9.");  // for those whose calls ran there
  EXPECT_EQ(table_.Find(id)->incarnation, 1u);
  (void)table_.Placed(id, node_);
  StartedNow(id);
  EXPECT_EQ(StateOf(id), State::Alive);
  (void)table_.Ended(node_, id, 1, {"killed by signal 9", false});
  EXPECT_EQ(StateOf(id), State::Dead);
  EXPECT_TRUE(table_.Find(id)->death_cause.starts_with(
      "The actor is dead because its worker process has died. "));
}

TEST_F(ActorTableTest, AnActorThatACallKeptTooLongHasNotFailed) {
  const ActorId id = Alive(Spec());
  (void)table_.Ended(node_, id, 0, {std::string(kOverTime) + "C.f did not end", false});
  EXPECT_EQ(
      table_.Find(id)->death_cause,
      "The actor is dead because it was ended for a call over its timeout_s: C.f did not end.");
}

TEST_F(ActorTableTest, ARestartThatWasAskedForSaysSo) {
  const ActorId id = Alive(Spec("", 1));
  (void)table_.Kill(id, {.no_restart = false});
  const std::string why = "it was killed by `cyray.kill(no_restart=False)`.";
  EXPECT_EQ(table_.Find(id)->death_cause, why);
  (void)table_.Ended(node_, id, 0, {"killed by signal 9", false});
  EXPECT_EQ(table_.Find(id)->death_cause, why);
}

TEST_F(ActorTableTest, TheProcessOfAnActorThatEndsBeforeItStartedIsKnown) {
  const ActorId id = Placed(Spec());
  (void)table_.Ended(node_, id, 0, {"exit code 3", false, 77, "10.0.0.1"});
  EXPECT_EQ(StateOf(id), State::Dead);
  EXPECT_EQ(table_.Find(id)->pid, 77);
  EXPECT_EQ(table_.Find(id)->node_ip, "10.0.0.1");
  EXPECT_NE(table_.Find(id)->death_cause.find("exit code 3."), std::string::npos);
  EXPECT_NE(table_.Find(id)->death_cause.find("before its __init__ had ended. "),
            std::string::npos);
  const ActorId again = Alive(Spec("", 1));
  (void)table_.Kill(again, {.no_restart = false});
  (void)table_.Ended(node_, again, 0, {"it was killed", true, 1});
  (void)table_.Placed(again, node_);
  (void)table_.Ended(node_, again, 1, {"exit code 3", false, 78});
  EXPECT_EQ(table_.Find(again)->pid, 78) << "not that of its first process";
}

TEST_F(ActorTableTest, WhoWatchesIsToldWhenItHasANode) {
  const ActorSpec spec = Spec("", 1);
  EXPECT_EQ(Count(*table_.Register(spec), Kind::kPublish), 0u) << "the choice of a node tells";
  EXPECT_EQ(Count(table_.Placed(spec.id, node_), Kind::kPublish), 1u);
  StartedNow(spec.id);
  EXPECT_EQ(Count(table_.Ended(node_, spec.id, 0, {"", false}), Kind::kPublish), 0u);
  EXPECT_EQ(Count(table_.Placed(spec.id, node_), Kind::kPublish), 1u);
}

TEST_F(ActorTableTest, AnActorThatLeavesByItsOwnWillIsNotRestarted) {
  const ActorId id = Alive(Spec("", -1));
  (void)table_.Ended(node_, id, 0, {"exit_actor() was called.", true});
  EXPECT_EQ(StateOf(id), State::Dead);
}

TEST_F(ActorTableTest, AnErrorInItsConstructorKillsItWithThatError) {
  const ActorId id = Placed(Spec("", -1));
  (void)table_.InitFailed(node_, id, 0, wire::Bytes{1, 2});
  EXPECT_EQ(StateOf(id), State::Dead);
  EXPECT_EQ(table_.Find(id)->init_error, (wire::Bytes{1, 2}));
}

TEST_F(ActorTableTest, MessagesOfAnOldIncarnationAreIgnored) {
  const ActorId id = Alive(Spec("", -1));
  (void)table_.Ended(node_, id, 0, {"", false});
  (void)table_.Placed(id, node_);
  EXPECT_TRUE(table_.Ended(node_, id, 0, {"", false}).empty());
  EXPECT_TRUE(table_.InitFailed(node_, id, 0, {}).empty());
  // A process of the old incarnation that says it runs is stopped.
  ActorActions actions = table_.Started(node_, {id, 0, {node_, worker_}, 1, ""});
  ASSERT_EQ(actions.size(), 1u);
  EXPECT_EQ(actions[0].kind, Kind::kStop);
  EXPECT_EQ(actions[0].incarnation, 0u);
  EXPECT_EQ(StateOf(id), State::Restarting);
}

TEST_F(ActorTableTest, AnOwnersDeathEndsItsActorsButTheDetachedOnes) {
  ActorSpec detached = Spec();
  detached.detached = true;
  Alive(detached);
  const ActorId plain = Alive(Spec("", -1));
  ActorActions actions = table_.WorkerDied(owner_, "exit code 1", false);
  EXPECT_EQ(Count(actions, Kind::kStop), 1u);
  EXPECT_EQ(StateOf(plain), State::Dead);
  EXPECT_TRUE(table_.Find(plain)->death_cause.starts_with(
      "The actor is dead because its owner has died. "));
  EXPECT_EQ(StateOf(detached.id), State::Alive);
}

TEST_F(ActorTableTest, ItIsPlacedOnceItsArgumentsExist) {
  ActorSpec spec = Spec("a");
  spec.arguments_pending = true;
  EXPECT_EQ(Count(*table_.Register(spec), Kind::kPlace), 0u);
  EXPECT_EQ(StateOf(spec.id), State::DependenciesUnready);
  EXPECT_FALSE(table_.Register(Spec("a")).has_value());
  EXPECT_TRUE(table_.Placed(spec.id, node_).empty());
  table_.CheckInvariants();
  EXPECT_EQ(Count(table_.ArgumentsReady(spec.id), Kind::kPlace), 1u);
  EXPECT_TRUE(table_.ArgumentsReady(spec.id).empty());
  EXPECT_EQ(Count(table_.Placed(spec.id, node_), Kind::kStart), 1u);
  StartedNow(spec.id);
  EXPECT_EQ(StateOf(spec.id), State::Alive);
}

TEST_F(ActorTableTest, WhoWaitsForArgumentsIsKilledLikeOthers) {
  ActorSpec spec = Spec("", -1), named = Spec("a");
  spec.arguments_pending = named.arguments_pending = true;
  Registered(spec);
  Registered(named);
  (void)table_.Kill(spec.id, {.out_of_scope = true});
  EXPECT_EQ(StateOf(spec.id), State::Dead);
  EXPECT_TRUE(table_.ArgumentsReady(spec.id).empty());
  (void)table_.WorkerDied(owner_, "", false);
  EXPECT_EQ(StateOf(named.id), State::Dead);
}

// Its constructor finds out what is left of its arguments.
TEST_F(ActorTableTest, ADetachedActorDoesNotWaitForArgumentsOfADeadOwner) {
  const auto registered = [&] {
    ActorSpec spec = Spec();
    spec.detached = spec.arguments_pending = true;
    return Registered(spec);
  };
  const auto expect_placed = [&](const ActorActions& actions, const ActorId& id) {
    EXPECT_EQ(Count(actions, Kind::kPlace), 1u);
    EXPECT_EQ(StateOf(id), State::PendingCreation);
    EXPECT_TRUE(table_.OwnersOn(owner_.node).empty());
    table_.CheckInvariants();
  };
  ActorId id = registered();
  EXPECT_EQ(table_.OwnersOn(owner_.node), std::vector{owner_});
  expect_placed(table_.WorkerDied(owner_, "", false), id);
  id = registered();
  expect_placed(table_.NodeDied(owner_.node, ""), id);
  id = registered();
  expect_placed(table_.JobFinished(JobOf(id), owner_), id);
}

TEST_F(ActorTableTest, AJobsEndEndsItsActorsButTheDetachedOnes) {
  ActorSpec detached = Spec();
  detached.detached = true;
  Alive(detached);
  const ActorSpec plain = Spec("", -1);
  Alive(plain);
  (void)table_.JobFinished(JobOf(plain.id), owner_);
  EXPECT_EQ(StateOf(plain.id), State::Dead);
  EXPECT_EQ(StateOf(detached.id), State::Alive);
  EXPECT_TRUE(table_.HasLivingActor(JobOf(detached.id)));
  EXPECT_FALSE(table_.HasLivingActor(JobOf(plain.id)));
}

TEST_F(ActorTableTest, AJobsEndSparesWhatADetachedActorOwnsAndNothingElse) {
  const auto hosted = [&](ActorSpec spec, const Address& owner) {
    spec.owner = owner;
    Placed(spec);
    const Address address{node_, WorkerId::Random()};
    (void)table_.Started(node_, {spec.id, 0, address, 1, "ip"});
    EXPECT_EQ(StateOf(spec.id), State::Alive);
    return address;
  };
  ActorSpec detached = Spec(), child = Spec(), grandchild = Spec();
  detached.detached = true;
  hosted(grandchild, hosted(child, hosted(detached, owner_)));
  const ActorSpec plain = Spec("", -1), of_plain = Spec("", -1);
  hosted(of_plain, hosted(plain, owner_));
  (void)table_.JobFinished(JobOf(plain.id), owner_);
  EXPECT_EQ(StateOf(plain.id), State::Dead);
  EXPECT_EQ(StateOf(of_plain.id), State::Dead);
  EXPECT_EQ(StateOf(child.id), State::Alive);
  EXPECT_EQ(StateOf(grandchild.id), State::Alive);
}

TEST_F(ActorTableTest, AKillThatAllowsRestartsUsesOne) {
  const ActorId id = Alive(Spec("", 1));
  EXPECT_EQ(table_.LeastIncarnation(id), 0u);
  ActorActions actions = table_.Kill(id, {.no_restart = false});
  EXPECT_EQ(actions.front().kind, Kind::kStop);
  EXPECT_EQ(table_.LeastIncarnation(id), 1u);
  EXPECT_EQ(StateOf(id), State::Restarting);
  EXPECT_EQ(table_.Find(id)->restarts_left(), 0);
  EXPECT_TRUE(table_.Kill(id, {.no_restart = false}).empty()) << "it is under way";
  EXPECT_EQ(Count(table_.Ended(node_, id, 0, {"it was killed", /*intended=*/true}), Kind::kPlace),
            1u);
  (void)table_.Placed(id, node_);
  StartedNow(id);
  EXPECT_EQ(table_.LeastIncarnation(id), 1u);
  (void)table_.Kill(id, {.no_restart = false});
  EXPECT_EQ(StateOf(id), State::Dead);
  EXPECT_EQ(table_.LeastIncarnation(id), UINT32_MAX);
}

TEST_F(ActorTableTest, ItIsNotRestartedBeforeItsKilledProcessHasEnded) {
  const auto killed = [&](const ActorId& id) {
    const ActorActions actions = table_.Kill(id, {.no_restart = false});
    EXPECT_EQ(Count(actions, Kind::kStop), 1u);
    EXPECT_EQ(Count(actions, Kind::kPlace), 0u);
    EXPECT_EQ(StateOf(id), State::Restarting);
    table_.CheckInvariants();
    return id;
  };
  const auto places = [](const ActorActions& actions) { return Count(actions, Kind::kPlace); };
  ActorId id = killed(Alive(Spec("", 1)));
  EXPECT_EQ(places(table_.Ended(node_, id, 0, {"", true})), 1u);
  id = killed(Placed(Spec("", 1)));
  const ActorActions started = table_.Started(node_, {id, 0, {node_, worker_}, 1, "ip"});
  EXPECT_EQ(Count(started, Kind::kStop), 1u) << "it was ready before it was told";
  EXPECT_EQ(places(table_.InitFailed(node_, id, 0, {})), 1u);
  id = killed(Placed(Spec("", 1)));
  EXPECT_EQ(places(table_.GivenBack(node_, id, 0)), 1u);
  id = killed(Alive(Spec("", 1)));
  EXPECT_EQ(places(table_.NodeDied(node_, "")), 1u);
}

TEST_F(ActorTableTest, ARayletThatComesBackIsToldAgainToEndWhatWasKilled) {
  const ActorId alive = Alive(Spec("", 1)), starting = Placed(Spec("", 1)),
                gone = Alive(Spec("", 1));
  for (const ActorId& id : {alive, starting, gone}) (void)table_.Kill(id, {.no_restart = false});
  const ActorActions actions =
      table_.Reconcile(node_, {{alive, 0, {node_, worker_}, 1, ""}}, {{starting, 0}});
  EXPECT_EQ(Count(actions, Kind::kStop), 2u);
  EXPECT_EQ(Count(actions, Kind::kStart), 0u);
  ASSERT_EQ(Count(actions, Kind::kPlace), 1u);
  EXPECT_EQ(table_.Find(gone)->incarnation, 1u);
  EXPECT_EQ(StateOf(alive), State::Restarting);
}

TEST_F(ActorTableTest, WhoHasNoReferencesAndAwaitsARestartDies) {
  const ActorId id = Alive(Spec("", 1));
  (void)table_.Kill(id, {.no_restart = false});
  (void)table_.Kill(id, {.out_of_scope = true});
  EXPECT_EQ(StateOf(id), State::Dead);
}

TEST_F(ActorTableTest, WithoutReferencesItFinishesItsQueueAndIsNotRestarted) {
  const ActorId id = Alive(Spec("a", -1));
  ActorActions actions = table_.Kill(id, {.out_of_scope = true});
  ASSERT_EQ(Count(actions, Kind::kStop), 1u);
  EXPECT_TRUE(actions[0].graceful);
  EXPECT_EQ(StateOf(id), State::Alive);
  EXPECT_EQ(table_.FindByName("", "a"), nullptr);
  (void)table_.Ended(node_, id, 0, {"", false});
  EXPECT_EQ(StateOf(id), State::Dead);
  EXPECT_EQ(table_.Find(id)->death_cause,
            "The actor is dead because all references to the actor were removed.");
}

TEST_F(ActorTableTest, AKillThatOvertakesItsRegistrationStillKills) {
  const ActorSpec spec = Spec("", -1);
  EXPECT_TRUE(table_.Kill(spec.id, {}).empty());
  EXPECT_EQ(table_.LeastIncarnation(spec.id), 0u) << "it may live yet, when this is forgotten";
  Result<ActorActions> actions = table_.Register(spec);
  ASSERT_TRUE(actions.has_value());
  EXPECT_EQ(StateOf(spec.id), State::Dead);
  EXPECT_EQ(Count(*actions, Kind::kPlace), 0u);
}

// Registrations that are sent again may come after drops that were not.
TEST_F(ActorTableTest, SoDoVeryMany) {
  std::vector<ActorSpec> specs(20'000, Spec());
  for (ActorSpec& spec : specs) {
    spec.id = ActorId::Random();
    EXPECT_TRUE(table_.Kill(spec.id, {.out_of_scope = true}).empty());
  }
  for (const ActorSpec& spec : specs) (void)table_.Register(spec);
  EXPECT_EQ(table_.waiting().size(), 0u);
}

TEST_F(ActorTableTest, ANodesDeathRestartsItsActorsElsewhere) {
  const ActorId living = Alive(Spec("", 1));
  const ActorId mortal = Alive(Spec("", 0));
  const ActorId starting = Placed(Spec("", 0));
  (void)table_.NodeDied(node_, "gone");
  EXPECT_EQ(StateOf(living), State::Restarting);
  EXPECT_EQ(StateOf(mortal), State::Dead);
  // What had not begun to live is placed anew, also without restarts.
  EXPECT_EQ(StateOf(starting), State::PendingCreation);
  EXPECT_EQ(table_.Find(starting)->incarnation, 1u);
  EXPECT_EQ(table_.waiting().size(), 2u);
}

TEST_F(ActorTableTest, ReconcilingEndsWhatIsMissingAndStopsWhatIsTooMuch) {
  const ActorId kept = Alive(Spec());
  const ActorId lost = Alive(Spec("", 1));
  const ActorId starting = Placed(Spec());
  const ActorId killed = Alive(Spec());
  (void)table_.Kill(killed, {});
  ActorActions actions = table_.Reconcile(
      node_, {{kept, 0, {node_, worker_}, 1, ""}, {killed, 0, {node_, worker_}, 1, ""}}, {});
  EXPECT_EQ(StateOf(kept), State::Alive);
  EXPECT_EQ(StateOf(lost), State::Restarting);
  ASSERT_EQ(Count(actions, Kind::kStop), 1u);
  ASSERT_EQ(Count(actions, Kind::kStart), 1u);
  for (const ActorAction& action : actions) {
    EXPECT_EQ(action.actor == killed, action.kind == Kind::kStop);
    EXPECT_EQ(action.actor == starting, action.kind == Kind::kStart);
  }
}

TEST_F(ActorTableTest, ReconcilingStopsWhatIsStillToStartThoughNobodyWantsIt) {
  const ActorId wanted = Placed(Spec()), killed = Placed(Spec()), ending = Placed(Spec()),
                ended = Placed(Spec());
  (void)table_.Kill(killed, {});
  (void)table_.Kill(ending, {.out_of_scope = true});
  (void)table_.Kill(ended, {.out_of_scope = true});
  const ActorActions actions = table_.Reconcile(node_, {}, {{wanted, 0}, {killed, 0}, {ending, 0}});
  ASSERT_EQ(Count(actions, Kind::kStop), 2u);
  for (const ActorAction& action : actions) {
    if (action.kind != Kind::kStop) continue;
    EXPECT_EQ(action.actor, action.graceful ? ending : killed);
  }
  EXPECT_EQ(StateOf(ending), State::PendingCreation) << "its process may not have heard of it";
  EXPECT_EQ(StateOf(ended), State::Dead);
  EXPECT_EQ(StateOf(wanted), State::PendingCreation);
}

TEST_F(ActorTableTest, OldDeadActorsAreForgotten) {
  ActorTable table(2);
  std::vector<ActorId> ids;
  for (int i = 0; i < 4; ++i) {
    const ActorSpec spec = Spec();
    ids.push_back(spec.id);
    ASSERT_TRUE(table.Register(spec).has_value());
    (void)table.Kill(spec.id, {});
  }
  EXPECT_EQ(table.Find(ids[0]), nullptr);
  EXPECT_NE(table.Find(ids[3]), nullptr);
  table.CheckInvariants();
}

// A table and fake raylets, which run what they are told to, and nothing else. Their streams break:
// what is sent then is lost, and a hello says what is there.
class RandomWorld {
 public:
  explicit RandomWorld(unsigned seed) : random_(seed) {
    for (NodeId& node : nodes_) up_[node = NodeId::Random()] = true;
    for (Address& owner : owners_) owner = {NodeId::Random(), WorkerId::Random()};
  }

  void Step() {
    const size_t event = Pick(15);
    if (event == 0) Register();
    if (event >= 1 && event <= 3) PlaceAll();
    if (event >= 4 && event <= 6 && Pick(10) < processes_.size()) StartOne();  // some wait for long
    if (event >= 7 && event <= 9 && Pick(10) < processes_.size()) EndOne();
    if (event == 10 && !ids_.empty()) {
      Take(table_.Kill(ids_[Pick(ids_.size())], {Pick(2) == 0, Pick(3) == 0, ""}));
    }
    if (event == 11 && Pick(10) == 0) {
      Take(table_.WorkerDied(owners_[Pick(owners_.size())], "", false));
    }
    if (event == 12 && Pick(10) == 0) EndNode();
    if (event == 13 && !ids_.empty()) Take(table_.ArgumentsReady(ids_[Pick(ids_.size())]));
    if (event == 14 && Pick(4) == 0) {
      const NodeId node = nodes_[Pick(nodes_.size())];
      up_[node] ? static_cast<void>(up_[node] = false) : ComeBack(node);
    }
  }
  void ComeBackAll() {
    for (const NodeId& node : nodes_) {
      if (!up_[node]) ComeBack(node);
    }
  }

  // Every process belongs to an actor of that incarnation there or is told to end, and every placed
  // actor has one, as far as the raylets can say so.
  void Check() const {
    table_.CheckInvariants();
    for (const auto& [id, process] : processes_) {
      if (!up_.at(process.node) || process.told) continue;
      const ActorRecord& record = *table_.Find(id);
      ASSERT_FALSE(record.dead() || record.ending || record.stopping) << id.Hex();
      EXPECT_EQ(record.state == State::Alive, process.alive);
      EXPECT_EQ(record.node, process.node);
      EXPECT_EQ(record.incarnation, process.incarnation);
    }
    for (const auto& [id, record] : table_.actors()) {
      if (record.dead() || record.node.is_nil() || !up_.at(record.node)) continue;
      EXPECT_TRUE(processes_.contains(id)) << id.Hex();
    }
  }

 private:
  struct Process {
    NodeId node;
    uint32_t incarnation;
    bool alive = false;
    bool told = false;  // to end
  };
  using Processes = std::map<ActorId, Process>;

  size_t Pick(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); }

  void Take(const ActorActions& actions) {
    for (const ActorAction& action : actions) {
      if (action.kind == Kind::kPlace) to_place_.push_back(action.actor);
      if (action.kind != Kind::kStart && action.kind != Kind::kStop) continue;
      if (!up_.at(action.node)) continue;
      const auto it = processes_.find(action.actor);
      const bool there = it != processes_.end() && it->second.node == action.node &&
                         it->second.incarnation == action.incarnation;
      if (action.kind == Kind::kStop) {
        if (there) it->second.told = true;
      } else if (!there) {
        EXPECT_TRUE(it == processes_.end()) << "it lives twice: " << action.actor.Hex();
        processes_[action.actor] = {action.node, action.incarnation};
      }
    }
  }

  void Register() {
    ActorSpec spec;
    spec.id = ActorId::Random();
    spec.owner = owners_[Pick(owners_.size())];
    if (Pick(2) == 0) spec.name = std::string(1, static_cast<char>('a' + Pick(8)));
    spec.max_restarts = static_cast<int>(Pick(4)) - 1;
    spec.detached = Pick(3) == 0;
    spec.arguments_pending = Pick(3) == 0;
    const ActorId id = spec.id;
    Result<ActorActions> actions = table_.Register(std::move(spec));
    if (!actions.has_value()) return;  // the name is taken
    ids_.push_back(id);
    Take(*actions);
  }

  void PlaceAll() {
    for (const ActorId& id : std::exchange(to_place_, {})) {
      Take(table_.Placed(id, nodes_[Pick(nodes_.size())]));
    }
  }

  template <class Suits>
  Processes::iterator Any(Suits suits) {
    std::vector<Processes::iterator> found;
    for (auto it = processes_.begin(); it != processes_.end(); ++it) {
      if (suits(it->second)) found.push_back(it);
    }
    return found.empty() ? processes_.end() : found[Pick(found.size())];
  }

  void StartOne() {
    const auto it = Any([](const Process& process) { return !process.alive; });
    if (it == processes_.end()) return;
    const auto [id, process] = *it;
    if (Pick(8) == 0) {
      processes_.erase(it);
      if (up_[process.node]) {
        Take(table_.InitFailed(process.node, id, process.incarnation, {}));
      }
      return;
    }
    it->second.alive = true;
    if (up_[process.node]) Take(table_.Started(process.node, StartedEventOf(id, process)));
  }

  void EndOne() {
    const auto it = Any([](const Process& process) { return process.alive || process.told; });
    if (it == processes_.end()) return;
    const auto [id, process] = *it;
    processes_.erase(it);
    if (!up_[process.node]) return;
    Take(table_.Ended(process.node, id, process.incarnation, {"", process.told || Pick(4) == 0}));
  }

  void EndNode() {
    const NodeId dead = nodes_[Pick(nodes_.size())];
    std::erase_if(processes_, [&](const auto& process) { return process.second.node == dead; });
    Take(table_.NodeDied(dead, ""));
  }

  void ComeBack(const NodeId& node) {
    up_[node] = true;
    std::vector<ActorTable::StartedEvent> alive;
    std::vector<ActorTable::Life> starting;
    for (const auto& [id, process] : processes_) {
      if (process.node != node) continue;
      if (process.alive) {
        alive.push_back(StartedEventOf(id, process));
      } else {
        starting.push_back({id, process.incarnation});
      }
    }
    Take(table_.Reconcile(node, alive, starting));
    Check();
  }

  static ActorTable::StartedEvent StartedEventOf(const ActorId& id, const Process& process) {
    return {id, process.incarnation, {process.node, WorkerId::Random()}, 1, ""};
  }

  std::mt19937 random_;
  ActorTable table_;
  std::array<NodeId, 3> nodes_;
  std::array<Address, 3> owners_;
  std::map<NodeId, bool> up_;
  std::vector<ActorId> ids_;
  Processes processes_;
  std::vector<ActorId> to_place_;
};

TEST(ActorTableRandom, NoProcessIsLostOrLeftOverOrThereTwiceWhateverHappens) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  RandomWorld world(seed);
  for (int step = 0; step < 20'000; ++step) {
    world.Step();
    if (step % 50 == 0) world.Check();
  }
  world.ComeBackAll();
  world.Check();
}

}  // namespace
}  // namespace cyray::gcs
