#include "cyray/core/actor_saves.h"

#include <algorithm>
#include <functional>

#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace cyray::core {

// --- Calls ---

bool ActorSaves::Restore(std::string_view calls) {
  const auto* included = wire::VerifiedRoot<wire::IncludedCalls>(
      reinterpret_cast<const uint8_t*>(calls.data()), calls.size());
  if (included == nullptr) return false;
  if (included->callers() == nullptr) return true;
  const auto size = std::min<size_t>(included->callers()->size(), kMostCallers);
  heard_ = size;
  for (size_t i = 0; i < size; ++i) {
    const auto* one = included->callers()->Get(static_cast<flatbuffers::uoffset_t>(i));
    CallSet set = CallSet::Read(one->calls());
    if (set.empty()) continue;
    Caller& caller = callers_[wire::FromWireOrNil(one->caller())];
    caller.included = std::move(set);
    caller.heard = size - i;
  }
  return true;
}

ActorSaves::Caller& ActorSaves::CallerOf(const WorkerId& id) {
  if (latest_.second == nullptr || latest_.first != id) latest_ = {id, &callers_[id]};
  return *latest_.second;
}

bool ActorSaves::Includes(const WorkerId& caller, uint64_t call) const {
  if (call == 0) return false;
  const auto it = callers_.find(caller);
  return it != callers_.end() && it->second.included.Has(call);
}

void ActorSaves::Ended(const EndedCall& call) {
  ++unsaved_;
  if (call.call == 0) return;
  Caller& caller = CallerOf(call.caller);
  NoteKept(caller, call.bytes);
  if (call.again) return;
  caller.included.Add(call.call);
  ++caller.ended;
}

void ActorSaves::MadeAgain(const WorkerId& caller) {
  ++unsaved_;
  NoteKept(CallerOf(caller), 0);
}

void ActorSaves::NoteKept(Caller& caller, size_t bytes) {
  ++kept_;
  kept_bytes_ += bytes;
  ++caller.kept;
  caller.kept_bytes += bytes;
  caller.changed = last_number_ + 1;
  caller.heard = ++heard_;
}

void ActorSaves::ForgetKept(Caller& caller) {
  kept_ -= std::exchange(caller.kept, 0);
  kept_bytes_ -= std::exchange(caller.kept_bytes, 0);
  wanted_ -= std::exchange(caller.wants, false) ? 1 : 0;
}

ActorSaves::Caller* ActorSaves::Find(const WorkerId& id) {
  const auto it = callers_.find(id);
  return it != callers_.end() ? &it->second : nullptr;
}

void ActorSaves::Want(const WorkerId& id) {
  Caller* const caller = Find(id);
  // What it keeps is in a state that was taken: it will hear of that.
  if (caller == nullptr || caller->kept == 0) return;
  if (!std::exchange(caller->wants, true)) ++wanted_;
}

void ActorSaves::OnCallerLost(const WorkerId& id) {
  if (Caller* const caller = Find(id)) caller->told = 0;
}

void ActorSaves::OnCallerDied(const WorkerId& id) {
  Caller* const caller = Find(id);
  if (caller == nullptr) return;
  const bool silent = caller->silent;
  ForgetKept(*caller);  // nobody makes them again
  latest_ = {};
  callers_.erase(id);
  if (!under_way_ || under_way_->asked.erase(id) == 0) return;
  if (!silent) --under_way_->awaited;
  if (under_way_->asked.empty() && !under_way_->storing) Store();
}

// --- When ---

// One of the actor's own choice may be taken while another one is under way.
bool ActorSaves::MayTake(int64_t now_ns) const {
  return unsaved_ > 0 && now_ns >= not_before_ns_ && (!under_way_ || rules_.asks);
}

bool ActorSaves::DueByCount() const {
  if (rules_.asks) return unsaved_ > declined_;
  return wanted_ > 0 || (rules_.calls > 0 && unsaved_ >= rules_.calls) || kept_ >= kMostKept ||
         kept_bytes_ >= kMostKeptBytes;
}

int64_t ActorSaves::DueByTimeNs() const {
  return rules_.every_ns > 0 ? last_taken_ns_ + rules_.every_ns : kForever;
}

bool ActorSaves::Due(int64_t now_ns) const {
  return MayTake(now_ns) && (DueByCount() || now_ns >= DueByTimeNs());
}

ActorSaves::Step ActorSaves::Look(int64_t now_ns, bool quiet) {
  if (stage_ == Stage::kTaking) return Step::kNothing;
  if (stage_ == Stage::kIdle) {
    if (!Due(now_ns) || (!quiet && now_ns < hold_not_before_ns_)) return Step::kNothing;
    stage_ = Stage::kAwaitQuiet;
    since_ns_ = now_ns;
    if (unquiet_ == 0) unquiet_since_ns_ = now_ns;
  }
  if (quiet) {
    stage_ = Stage::kTaking;
    since_ns_ = now_ns;
    return Step::kTake;
  }
  if (stage_ == Stage::kAwaitQuiet) {
    if (now_ns < since_ns_ + kAwaitQuietNs) return Step::kNothing;
    stage_ = Stage::kHolding;
    since_ns_ = now_ns;
    return Step::kHold;
  }
  if (now_ns < since_ns_ + kHoldNs) return Step::kNothing;
  stage_ = Stage::kIdle;
  NoteUnquiet(now_ns);
  return Step::kRelease;
}

void ActorSaves::NoteUnquiet(int64_t now_ns) {
  int64_t pause_ns = kPauseNs;
  for (int i = 0; i < unquiet_ && pause_ns < kMostPauseNs; ++i) pause_ns *= 2;
  hold_not_before_ns_ = now_ns + pause_ns;
  if (++unquiet_ < 2) return;
  if (told_unquiet_ns_ != 0 && now_ns < told_unquiet_ns_ + kTellNs) return;
  told_unquiet_ns_ = now_ns;
  outbox_.TellNeverQuiet(now_ns - unquiet_since_ns_, unsaved_);
}

int64_t ActorSaves::ReadDueNs() const {
  if (!under_way_ || under_way_->storing) return kForever;
  return under_way_->since_ns + (under_way_->awaited > 0 ? ReadNs() : kReadSilentNs);
}

int64_t ActorSaves::NextTickNs() const {
  const int64_t next = ReadDueNs();
  if (stage_ == Stage::kAwaitQuiet) return std::min(next, since_ns_ + kAwaitQuietNs);
  if (stage_ == Stage::kHolding) return std::min(next, since_ns_ + kHoldNs);
  if (stage_ == Stage::kTaking || unsaved_ == 0 || (under_way_ && !rules_.asks)) return next;
  const int64_t not_before_ns = std::max(not_before_ns_, hold_not_before_ns_);
  const int64_t due_ns = DueByCount() ? not_before_ns : std::max(DueByTimeNs(), not_before_ns);
  return std::min(next, due_ns);
}

void ActorSaves::Tick(int64_t now_ns) {
  if (now_ns < ReadDueNs()) return;
  for (const WorkerId& id : under_way_->asked) callers_.at(id).silent = true;
  under_way_->asked.clear();
  under_way_->awaited = 0;
  Store();
}

bool ActorSaves::BeginLast() {
  last_ = true;
  return unsaved_ > 0;
}

// --- A save ---

wire::Bytes ActorSaves::Included() const {
  flatbuffers::FlatBufferBuilder b;
  std::vector<const std::pair<const WorkerId, Caller>*> in_order;
  for (const auto& one : callers_) {
    if (!one.second.included.empty()) in_order.push_back(&one);
  }
  std::ranges::sort(in_order, std::greater(), [](const auto* one) { return one->second.heard; });
  std::vector<flatbuffers::Offset<wire::CallerCalls>> callers;
  for (const auto* one : in_order) {
    const auto ranges = b.CreateVectorOfStructs(one->second.included.ranges());
    callers.push_back(wire::CreateCallerCalls(b, wire::ToWire(one->first), ranges));
  }
  b.Finish(wire::CreateIncludedCalls(b, b.CreateVector(callers)));
  return wire::FinishedBytes(b);
}

void ActorSaves::Taken(wire::Bytes state, int64_t taken_ms, int64_t now_ns) {
  ActorSave save{
      .number = ++last_number_, .taken_ms = taken_ms, .ended = unsaved_, .state = std::move(state)};
  save.calls = Included();
  for (auto& [id, caller] : callers_) {
    ForgetKept(caller);
    if (caller.changed <= caller.told || caller.included.empty()) continue;
    save.included.emplace_back(id, caller.included);
  }
  const int64_t cost_ns = stage_ == Stage::kTaking ? now_ns - since_ns_ : 0;
  // A Checkpointable decides by itself.
  if (cost_ns >= kCheapNs && !rules_.asks) not_before_ns_ = now_ns + (kShare - 1) * cost_ns;
  stage_ = Stage::kIdle;
  unquiet_ = 0;
  hold_not_before_ns_ = 0;
  last_taken_ns_ = now_ns;
  unsaved_ = declined_ = 0;
  if (under_way_ && (under_way_->storing || !last_)) {
    next_ = std::move(save);
  } else {
    Begin(std::move(save), now_ns);
  }
}

void ActorSaves::NotTaken(Why why, int64_t now_ns) {
  stage_ = Stage::kIdle;
  if (why == Why::kDeclined) {
    declined_ = unsaved_;
  } else {
    not_before_ns_ = now_ns + kAfterFailureNs;
  }
}

void ActorSaves::Begin(ActorSave save, int64_t now_ns) {
  under_way_ = UnderWay{.save = std::move(save), .since_ns = now_ns};
  std::vector<WorkerId> ask;
  for (auto& [id, caller] : callers_) {
    if (caller.read == caller.ended) continue;
    caller.asked = caller.ended;
    caller.asked_number = under_way_->save.number;
    under_way_->asked.insert(id);
    under_way_->awaited += caller.silent ? 0 : 1;
    ask.push_back(id);
  }
  if (ask.empty()) return Store();
  const uint64_t number = under_way_->save.number;
  for (const WorkerId& id : ask) outbox_.AskRead(id, number);
}

void ActorSaves::OnRead(const WorkerId& id, uint64_t number, uint64_t floor) {
  Caller* const caller = Find(id);
  if (caller == nullptr) return;
  caller->heard = ++heard_;
  const bool was_silent = std::exchange(caller->silent, false);
  if (number == caller->asked_number) caller->read = std::max(caller->read, caller->asked);
  caller->included.DropBelow(floor);
  if (!under_way_ || !under_way_->asked.contains(id)) return;
  if (was_silent) ++under_way_->awaited;
  if (under_way_->save.number != number) return;
  under_way_->asked.erase(id);
  --under_way_->awaited;
  if (under_way_->asked.empty()) Store();
}

void ActorSaves::Store() {
  under_way_->storing = true;
  outbox_.Store(under_way_->save);
}

void ActorSaves::OnStored(int64_t now_ns) {
  if (!under_way_ || !under_way_->storing) return;
  const UnderWay stored = *std::exchange(under_way_, std::nullopt);
  stored_number_ = stored.save.number;
  for (const auto& [id, calls] : stored.save.included) {
    Caller* const caller = Find(id);
    if (caller == nullptr || caller->changed <= caller->told) continue;
    caller->told = stored_number_;
    outbox_.TellSaved(id, calls);
  }
  GoOn(now_ns);
}

void ActorSaves::OnRefused(int64_t now_ns) {
  if (!under_way_ || !under_way_->storing) return;
  const UnderWay refused = *std::exchange(under_way_, std::nullopt);
  not_before_ns_ = now_ns + kAfterFailureNs;
  unsaved_ += refused.save.ended;
  for (const auto& [id, calls] : refused.save.included) {
    Caller* const caller = Find(id);
    if (caller == nullptr || caller->changed > refused.save.number) continue;
    NoteKept(*caller, 0);  // so that it may want a save
  }
  GoOn(now_ns);
}

void ActorSaves::GoOn(int64_t now_ns) {
  if (!next_) return;
  ActorSave save = *std::exchange(next_, std::nullopt);
  Begin(std::move(save), now_ns);
}

void ActorSaves::CheckInvariants() const {
  CYRAY_CHECK(latest_.second == nullptr || &callers_.at(latest_.first) == latest_.second);
  CYRAY_CHECK(!next_ || under_way_);
  CYRAY_CHECK(stored_number_ <= last_number_);
  CYRAY_CHECK(kept_ <= unsaved_) << kept_ << " of " << unsaved_;
  uint64_t kept = 0;
  size_t kept_bytes = 0, wanted = 0, awaited = 0;
  for (const auto& [id, caller] : callers_) {
    kept += caller.kept;
    kept_bytes += caller.kept_bytes;
    wanted += caller.wants ? 1 : 0;
    CYRAY_CHECK(caller.kept > 0 || !caller.wants) << id.Hex();
    CYRAY_CHECK(caller.told <= stored_number_ && caller.changed <= last_number_ + 1) << id.Hex();
    CYRAY_CHECK(caller.read <= caller.ended && caller.asked <= caller.ended) << id.Hex();
    uint64_t before = 0;
    for (const wire::CallRange& range : caller.included.ranges()) {
      CYRAY_CHECK(range.begin() < range.end() && (before == 0 || before < range.begin()));
      before = range.end();
    }
  }
  CYRAY_CHECK(kept == kept_ && kept_bytes == kept_bytes_ && wanted == wanted_);
  if (!under_way_) return;
  CYRAY_CHECK(under_way_->storing == under_way_->asked.empty());
  CYRAY_CHECK(under_way_->save.number <= last_number_);
  for (const WorkerId& id : under_way_->asked) awaited += callers_.at(id).silent ? 0 : 1;
  CYRAY_CHECK(awaited == under_way_->awaited) << awaited;
}

}  // namespace cyray::core
