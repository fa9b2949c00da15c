// ObjectTable under random events, against a model that says in the most naive way what should
// happen: who has pins, who is answered, what is deleted, and in which order copies are evicted.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <tuple>
#include <vector>

#include "cyray/store/object_table.h"

namespace cyray::store {
namespace {

constexpr uint32_t kIds = 12;
constexpr ClientId kClients = 4;

ObjectId MakeId(uint32_t index) { return ObjectId(TaskId{}, index); }
Address MakeOwner(uint8_t node, uint8_t worker) {
  Address address;
  address.node.bytes[0] = node;
  address.worker.bytes[0] = worker;
  return address;
}

struct Waiting {
  ObjectId id;
  ClientId client;
  uint64_t ticket;
};

class Model {
 public:
  struct Object {
    ClientId creator = 0;
    Address owner;
    std::multiset<ClientId> pins;
    bool cached = false, sealed = false, freed = false;
    uint64_t bytes = 5;
    bool evictable() const { return sealed && pins.empty() && cached && !freed; }
  };

  bool Has(const ObjectId& id) const { return objects.contains(id); }
  bool IsSealed(const ObjectId& id) const { return Has(id) && objects.at(id).sealed; }
  bool Writes(ClientId client, const ObjectId& id) const {
    return Has(id) && !objects.at(id).sealed && objects.at(id).creator == client;
  }
  // A freed one that is still here is taken back into use.
  bool MayCreate(const ObjectId& id) {
    if (!Has(id)) return true;
    Object& object = objects[id];
    if (object.sealed && object.freed) object.freed = object.cached = false;
    return false;
  }
  void Seal(const ObjectId& id) {
    objects[id].sealed = true;
    for (const Waiting& waiting : TakeWaiting(id)) {
      objects[id].pins.insert(waiting.client);
      answers.emplace(waiting.ticket, true);
    }
  }
  void Delete(const ObjectId& id) {
    objects.erase(id);
    deleted.insert(id);
  }
  void FailWaiting(const ObjectId& id) {
    for (const Waiting& waiting : TakeWaiting(id)) answers.emplace(waiting.ticket, false);
  }
  void Free(const ObjectId& id) {
    FailWaiting(id);
    if (Has(id)) objects[id].freed = true;
  }
  template <class Matches>
  void FreeOwnedBy(Matches matches) {
    std::vector<ObjectId> owned;
    for (const auto& [id, object] : objects) {
      if (matches(object.owner)) owned.push_back(id);
    }
    for (const ObjectId& id : owned) Free(id);
  }
  void ClientDied(ClientId client) {
    std::erase_if(waiting, [&](const Waiting& w) {
      if (w.client == client) dropped.insert(w.ticket);
      return w.client == client;
    });
    for (uint32_t i = 0; i < kIds; ++i) {
      if (!Writes(client, MakeId(i))) continue;
      Delete(MakeId(i));
      FailWaiting(MakeId(i));
    }
    for (auto& [id, object] : objects) object.pins.erase(client);
  }
  StatusCode SealAs(const ObjectId& spare, const ObjectId& id, ClientId client,
                    const Address& owner, uint64_t bytes) {
    if (!Has(spare)) return StatusCode::kNotFound;
    if (!Writes(client, spare) || spare == id || bytes > objects[spare].bytes) {
      return StatusCode::kInvalidArgument;
    }
    if (!MayCreate(id)) {
      Delete(spare);
      FailWaiting(spare);
      if (IsSealed(id)) objects[id].pins.insert(client);
      return StatusCode::kAlreadyExists;
    }
    FailWaiting(spare);
    Object named = objects[spare];
    named.owner = owner;
    named.bytes = bytes;
    objects.erase(spare);
    objects[id] = named;
    Seal(id);
    return StatusCode::kOk;
  }
  // After each event: what is freed and unpinned goes; what has become evictable is the youngest
  // (several at once in no order).
  void Settle() {
    std::vector<ObjectId> gone;
    std::set<ObjectId> evictable_now;
    for (const auto& [id, object] : objects) {
      if (object.sealed && object.freed && object.pins.empty()) gone.push_back(id);
      if (object.evictable()) evictable_now.insert(id);
    }
    for (const ObjectId& id : gone) Delete(id);
    for (auto& group : evictable) {
      std::erase_if(group, [&](const ObjectId& id) { return !evictable_now.contains(id); });
      for (const ObjectId& id : group) evictable_now.erase(id);
    }
    std::erase_if(evictable, [](const auto& group) { return group.empty(); });
    if (!evictable_now.empty()) evictable.push_back(evictable_now);
  }

  std::map<ObjectId, Object> objects;
  std::vector<Waiting> waiting;
  std::vector<std::set<ObjectId>> evictable;  // oldest first
  // What the last event led to.
  std::map<uint64_t, bool> answers;  // ticket, whether there is a pin
  std::set<uint64_t> dropped;
  std::multiset<ObjectId> deleted;

 private:
  std::vector<Waiting> TakeWaiting(const ObjectId& id) {
    std::vector<Waiting> taken;
    std::erase_if(waiting, [&](const Waiting& w) {
      if (w.id == id) taken.push_back(w);
      return w.id == id;
    });
    return taken;
  }
};

class RandomTable {
 public:
  explicit RandomTable(uint64_t seed) : random_(seed) {}

  void Step() {
    actions_ = {};
    model_.answers.clear();
    model_.dropped.clear();
    model_.deleted.clear();
    id_ = MakeId(static_cast<uint32_t>(random_() % kIds));
    client_ = random_() % kClients;
    switch (random_() % 14) {
      case 0:
      case 1:
        return Create();
      case 2:
      case 3:
        return Seal();
      case 4:
        return Abort();
      case 5:
      case 6:
        return Pin();
      case 7:
      case 8:
      case 9:
        return Release();
      case 10:
        return FreeSome();
      case 11:
        return SealAs();
      case 12:
        return Wait();
      default:
        return random_() % 4 == 0 ? Die() : Evict();
    }
  }

  void Check() {
    model_.Settle();
    ASSERT_EQ(table_.CheckInvariants(), "");
    std::map<uint64_t, bool> answers;
    for (const auto& answer : actions_.answers) answers.emplace(answer.ticket, answer.status.ok());
    ASSERT_EQ(answers, model_.answers);
    ASSERT_EQ(std::set(actions_.dropped_tickets.begin(), actions_.dropped_tickets.end()),
              model_.dropped);
    ASSERT_EQ(std::multiset(actions_.deleted.begin(), actions_.deleted.end()), model_.deleted);
    ASSERT_EQ(actions_.freed_offsets.size(), actions_.deleted.size());
    StoreStats stats, expected;
    table_.AddTo(stats);
    for (const auto& [id, object] : model_.objects) {
      ASSERT_EQ(table_.IsSealed(id), object.sealed);
      ASSERT_EQ(table_.IsCreated(id), !object.sealed);
      ASSERT_EQ(table_.OwnerOf(id), object.owner);
      if (!object.pins.empty()) expected.pinned_bytes += object.bytes;
      if (!object.cached && !object.freed) expected.primary_bytes += object.bytes;
    }
    ASSERT_EQ(std::tie(stats.objects, stats.pinned_bytes, stats.primary_bytes, stats.waiters),
              std::make_tuple(model_.objects.size(), expected.pinned_bytes, expected.primary_bytes,
                              model_.waiting.size()));
  }

 private:
  void Create() {
    const bool may = model_.MayCreate(id_);
    ASSERT_EQ(table_.MayCreate(id_).ok(), may);
    if (!may) return;
    const bool cached = random_() % 2 == 0;
    const Address owner = SomeOwner();
    table_.Create(id_, client_, owner, {0, 5}, cached ? CopyKind::kCached : CopyKind::kPrimary);
    model_.objects[id_] = {.creator = client_, .owner = owner, .pins = {client_}, .cached = cached};
  }
  void Seal() {
    const bool may = model_.Writes(client_, id_);
    ASSERT_EQ(table_.Seal(id_, client_, actions_).ok(), may);
    if (may) model_.Seal(id_);
  }
  void Abort() {
    const bool may = model_.Writes(client_, id_), keep = random_() % 2 == 0;
    ASSERT_EQ(table_.Abort(id_, client_, "", actions_, keep).ok(), may);
    if (!may) return;
    model_.Delete(id_);
    if (!keep) model_.FailWaiting(id_);
  }
  void Pin() {
    const bool may = model_.IsSealed(id_);
    ASSERT_EQ(table_.Pin(id_, client_).has_value(), may);
    if (may) model_.objects[id_].pins.insert(client_);
  }
  void Release() {
    const bool may = model_.Has(id_) && model_.objects[id_].pins.contains(client_) &&
                     !model_.Writes(client_, id_);
    ASSERT_EQ(table_.Release(id_, client_, actions_).ok(), may);
    if (may) model_.objects[id_].pins.extract(client_);
  }
  void FreeSome() {
    const Address owner = SomeOwner();
    switch (random_() % 8) {
      case 0:
        table_.OwnerDied(owner, actions_);
        return model_.FreeOwnedBy([&](const Address& a) { return a == owner; });
      case 1:
        table_.NodeDied(owner.node, actions_);
        return model_.FreeOwnedBy([&](const Address& a) { return a.node == owner.node; });
      default:
        table_.Free(id_, actions_);
        return model_.Free(id_);
    }
  }
  void SealAs() {
    const ObjectId to = MakeId(static_cast<uint32_t>(random_() % kIds));
    const uint64_t bytes = random_() % 8;
    const Address owner = SomeOwner();
    const StatusCode code = table_.SealAs(id_, to, client_, owner, bytes, actions_).code();
    ASSERT_EQ(code, model_.SealAs(id_, to, client_, owner, bytes));
  }
  void Wait() {
    if (model_.IsSealed(id_)) return;
    const uint64_t ticket = next_ticket_++;
    table_.Wait(id_, client_, ticket);
    model_.waiting.push_back({id_, client_, ticket});
  }
  void Die() {
    table_.ClientDied(client_, actions_);
    model_.ClientDied(client_);
  }
  void Evict() {
    ASSERT_EQ(table_.EvictOne(actions_), !model_.evictable.empty());
    if (model_.evictable.empty()) return;
    ASSERT_EQ(actions_.deleted.size(), 1u);
    ASSERT_TRUE(model_.evictable.front().contains(actions_.deleted[0]));
    model_.Delete(actions_.deleted[0]);
  }
  Address SomeOwner() {
    return MakeOwner(static_cast<uint8_t>(1 + random_() % 2),
                     static_cast<uint8_t>(1 + random_() % 2));
  }

  std::mt19937_64 random_;
  ObjectTable table_;
  ObjectTable::Actions actions_;
  Model model_;
  ObjectId id_;
  ClientId client_ = 0;
  uint64_t next_ticket_ = 1;
};

TEST(ObjectTable, RandomEventsMatchTheModel) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomTable table(seed);
    for (int step = 0; step < 4000; ++step) {
      ASSERT_NO_FATAL_FAILURE(table.Step()) << "step " << step;
      ASSERT_NO_FATAL_FAILURE(table.Check()) << "step " << step;
    }
  }
}

}  // namespace
}  // namespace cyray::store
