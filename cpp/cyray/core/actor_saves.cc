#include "cyray/core/actor_saves.h"

#include <algorithm>

#include "cyray/util/log.h"
#include "cyray/wire/convert.h"

namespace cyray::core {

// --- Calls ---

bool ActorSaves::Restore(std::string_view calls) {
  const auto* included = wire::VerifiedRoot<wire::IncludedCalls>(
      reinterpret_cast<const uint8_t*>(calls.data()), calls.size());
  if (included == nullptr) return false;
  if (included->callers() == nullptr) return true;
  for (const wire::CallerCalls* one : *included->callers()) {
    if (callers_.size() >= kMostCallers) break;
    CallSet set = CallSet::Read(one->calls());
    if (!set.empty()) callers_[wire::FromWireOrNil(one->caller())].included = std::move(set);
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
  ++kept_;
  kept_bytes_ += call.bytes;
  if (call.again) return;
  Caller& caller = CallerOf(call.caller);
  caller.included.Add(call.call);
  ++caller.ended;
}

void ActorSaves::OnCallerDied(const WorkerId& caller) {
  latest_ = {};
  callers_.erase(caller);
  if (!under_way_ || under_way_->asked.erase(caller) == 0) return;
  if (under_way_->asked.empty() && !under_way_->storing) Store();
}

// --- When ---

// One of the actor's own choice may be taken while another one is under way.
bool ActorSaves::MayTake(int64_t now_ns) const {
  return unsaved_ > 0 && now_ns >= not_before_ns_ && (!under_way_ || rules_.asks);
}

bool ActorSaves::DueByCount() const {
  if (rules_.asks) return unsaved_ > declined_;
  return wanted_ || (rules_.calls > 0 && unsaved_ >= rules_.calls) || kept_ >= kMostKept ||
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
    if (!Due(now_ns)) return Step::kNothing;
    stage_ = Stage::kAwaitQuiet;
    since_ns_ = now_ns;
  }
  if (quiet) {
    stage_ = Stage::kTaking;
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
  not_before_ns_ = now_ns + kPauseNs;
  return Step::kRelease;
}

int64_t ActorSaves::NextTickNs() const {
  int64_t next = kForever;
  if (under_way_ && !under_way_->storing) next = under_way_->since_ns + kReadNs;
  if (stage_ == Stage::kAwaitQuiet) return std::min(next, since_ns_ + kAwaitQuietNs);
  if (stage_ == Stage::kHolding) return std::min(next, since_ns_ + kHoldNs);
  if (stage_ == Stage::kTaking || unsaved_ == 0 || (under_way_ && !rules_.asks)) return next;
  const int64_t due_ns = DueByCount() ? not_before_ns_ : std::max(DueByTimeNs(), not_before_ns_);
  return std::min(next, due_ns);
}

void ActorSaves::Tick(int64_t now_ns) {
  if (!under_way_ || under_way_->storing || now_ns < under_way_->since_ns + kReadNs) return;
  under_way_->asked.clear();
  Store();
}

// --- A save ---

wire::Bytes ActorSaves::Included() const {
  flatbuffers::FlatBufferBuilder b;
  std::vector<flatbuffers::Offset<wire::CallerCalls>> callers;
  for (const auto& [id, caller] : callers_) {
    if (caller.included.empty()) continue;
    const auto ranges = b.CreateVectorOfStructs(caller.included.ranges());
    callers.push_back(wire::CreateCallerCalls(b, wire::ToWire(id), ranges));
  }
  b.Finish(wire::CreateIncludedCalls(b, b.CreateVector(callers)));
  return wire::FinishedBytes(b);
}

void ActorSaves::Taken(wire::Bytes state, int64_t taken_ms, int64_t now_ns) {
  ActorSave save{.number = ++last_number_, .taken_ms = taken_ms, .state = std::move(state)};
  save.calls = Included();
  for (const auto& [id, caller] : callers_) {
    if (!caller.included.empty()) save.included.emplace_back(id, caller.included);
  }
  stage_ = Stage::kIdle;
  last_taken_ns_ = now_ns;
  unsaved_ = declined_ = kept_ = 0;
  kept_bytes_ = 0;
  wanted_ = false;
  if (under_way_) {
    next_ = std::move(save);
  } else {
    Begin(std::move(save), now_ns);
  }
}

void ActorSaves::NotTaken(Why why, int64_t now_ns) {
  stage_ = Stage::kIdle;
  if (why == Why::kDeclined) {
    declined_ = unsaved_;
    wanted_ = false;
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
    ask.push_back(id);
  }
  if (ask.empty()) return Store();
  const uint64_t number = under_way_->save.number;
  for (const WorkerId& id : ask) outbox_.AskRead(id, number);
}

void ActorSaves::OnRead(const WorkerId& id, uint64_t number, uint64_t floor) {
  const auto it = callers_.find(id);
  if (it == callers_.end()) return;
  Caller& caller = it->second;
  if (number == caller.asked_number) caller.read = std::max(caller.read, caller.asked);
  caller.included.DropBelow(floor);
  if (!under_way_ || under_way_->storing || under_way_->save.number != number) return;
  under_way_->asked.erase(id);
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
  for (const auto& [caller, calls] : stored.save.included) {
    if (callers_.contains(caller)) outbox_.TellSaved(caller, calls);
  }
  GoOn(now_ns);
}

void ActorSaves::OnRefused(int64_t now_ns) {
  if (!under_way_ || !under_way_->storing) return;
  under_way_.reset();
  not_before_ns_ = now_ns + kAfterFailureNs;
  ++unsaved_;  // nothing of it is
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
  for (const auto& [id, caller] : callers_) {
    CYRAY_CHECK(caller.read <= caller.ended && caller.asked <= caller.ended) << id.Hex();
    uint64_t before = 0;
    for (const wire::CallRange& range : caller.included.ranges()) {
      CYRAY_CHECK(range.begin() < range.end() && (before == 0 || before < range.begin()));
      before = range.end();
    }
  }
  if (!under_way_) return;
  CYRAY_CHECK(under_way_->storing == under_way_->asked.empty());
  CYRAY_CHECK(under_way_->save.number <= last_number_);
  for (const WorkerId& id : under_way_->asked) CYRAY_CHECK(callers_.contains(id)) << id.Hex();
}

}  // namespace cyray::core
