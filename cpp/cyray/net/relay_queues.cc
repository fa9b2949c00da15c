#include "cyray/net/relay_queues.h"

#include <algorithm>

namespace cyray::net {

bool RelayQueues::TryPass(const Address& destination, uint64_t source, size_t bytes) {
  auto it = destinations_.find(destination.worker);
  if (it == destinations_.end()) {
    if (source == 0) return true;
    it = destinations_.try_emplace(destination.worker).first;
    it->second.node = destination.node;
  }
  Destination& known = it->second;
  if (!known.waiting.empty()) return false;
  if (source != 0 && !known.may_send()) return false;
  known.under_way += Charge(source, bytes);
  return true;
}

void RelayQueues::Push(Relay relay) {
  const WorkerId worker = relay.destination.worker;
  Destination& destination = destinations_[worker];
  destination.node = relay.destination.node;
  Waits(destination, relay.source, relay.body.size());
  destination.waiting.push_back(std::move(relay));
  List(worker, destination);
}

std::optional<RelayQueues::Relay> RelayQueues::Next(const NodeId& node) {
  auto turn = ready_.find(node);
  if (turn == ready_.end()) return std::nullopt;
  const WorkerId worker = turn->second.front();
  turn->second.pop_front();
  if (turn->second.empty()) ready_.erase(turn);
  Destination& destination = destinations_.at(worker);
  destination.listed = false;
  Relay relay = std::move(destination.waiting.front());
  destination.waiting.pop_front();
  destination.under_way += Charge(relay.source, relay.body.size());
  WaitsNoMore(destination, relay.source, relay.body.size());
  List(worker, destination);
  EraseIfIdle(worker);
  return relay;
}

bool RelayQueues::OnCredit(const Address& address, uint64_t bytes) {
  auto it = destinations_.find(address.worker);
  if (it == destinations_.end()) return true;  // it was gone
  Destination& destination = it->second;
  if (destination.node != address.node) return false;
  destination.under_way -= std::min(bytes, destination.under_way);
  List(it->first, destination);
  EraseIfIdle(address.worker);
  return true;
}

void RelayQueues::Release(const Address& address) {
  auto it = destinations_.find(address.worker);
  if (it == destinations_.end()) return;
  it->second.released = true;
  List(it->first, it->second);
  EraseIfIdle(address.worker);
}

void RelayQueues::ForgetNode(const NodeId& node) {
  ready_.erase(node);
  for (auto it = destinations_.begin(); it != destinations_.end();) {
    if (it->second.node != node) {
      ++it;
      continue;
    }
    Destination& destination = it->second;
    for (const Relay& relay : destination.waiting) {
      WaitsNoMore(destination, relay.source, relay.body.size());
    }
    it = destinations_.erase(it);
  }
}

void RelayQueues::List(const WorkerId& worker, Destination& destination) {
  if (destination.listed || destination.waiting.empty()) return;
  if (!destination.may_send() && destination.waiting.front().source != 0) return;
  destination.listed = true;
  ready_[destination.node].push_back(worker);
}

void RelayQueues::EraseIfIdle(const WorkerId& worker) {
  auto it = destinations_.find(worker);
  const Destination& destination = it->second;
  if (!destination.waiting.empty()) return;
  if (destination.under_way == 0 || destination.released) destinations_.erase(it);
}

template <class Change>
void RelayQueues::Update(std::unordered_map<uint64_t, Source>::iterator source, Change change) {
  Source& known = source->second;
  const bool before = known.paused();
  change(known);
  if (known.paused() != before && !known.gone) pauses_.emplace_back(source->first, !before);
  if (known.waiting_bytes == 0 && !known.paused()) sources_.erase(source);
}

void RelayQueues::Waits(Destination& destination, uint64_t source, size_t bytes) {
  destination.waiting_bytes += bytes;
  if (source == 0) return;
  destination.by_source[source] += bytes;
  Update(sources_.try_emplace(source).first, [&](Source& known) {
    known.waiting_bytes += bytes;
    if (known.waiting_bytes > kPauseBytes) known.full = true;
    HoldIfGreedy(destination, source, known);
  });
}

void RelayQueues::HoldIfGreedy(Destination& destination, uint64_t source, Source& known) {
  const uint64_t share = kPauseBytes / 2 / destination.by_source.size();
  if (destination.waiting_bytes <= kPauseBytes || destination.by_source[source] <= share) return;
  if (destination.held.insert(source).second) ++known.held_by;
}

void RelayQueues::WaitsNoMore(Destination& destination, uint64_t source, size_t bytes) {
  destination.waiting_bytes -= bytes;
  if (destination.waiting_bytes < kResumeBytes) LetGo(destination);
  if (source == 0) return;
  const auto part = destination.by_source.find(source);
  part->second -= bytes;
  if (part->second == 0) destination.by_source.erase(part);
  Update(sources_.find(source), [&](Source& known) {
    known.waiting_bytes -= bytes;
    if (known.waiting_bytes < kResumeBytes) known.full = false;
  });
}

void RelayQueues::LetGo(Destination& destination) {
  for (const uint64_t source : destination.held) {
    Update(sources_.find(source), [](Source& known) { --known.held_by; });
  }
  destination.held.clear();
}

void RelayQueues::ForgetSource(uint64_t source) {
  const auto it = sources_.find(source);
  if (it != sources_.end()) it->second.gone = true;
}

uint64_t RelayQueues::waiting_bytes(uint64_t source) const {
  auto it = sources_.find(source);
  return it == sources_.end() ? 0 : it->second.waiting_bytes;
}

uint64_t RelayQueues::waiting_for(const Address& destination) const {
  const auto it = destinations_.find(destination.worker);
  return it == destinations_.end() ? 0 : it->second.waiting_bytes;
}

std::string RelayQueues::CheckInvariants() const {
  std::unordered_map<uint64_t, uint64_t> waiting;
  std::unordered_map<uint64_t, size_t> held;
  for (const auto& [worker, destination] : destinations_) {
    std::unordered_map<uint64_t, uint64_t> here;
    uint64_t all = 0;
    for (const Relay& relay : destination.waiting) {
      all += relay.body.size();
      if (relay.source != 0) here[relay.source] += relay.body.size();
    }
    if (all != destination.waiting_bytes) return "a destination's waiting bytes are miscounted";
    if (here != destination.by_source) return "a destination's sources are miscounted";
    for (const auto& [source, bytes] : here) waiting[source] += bytes;
    for (const uint64_t source : destination.held) ++held[source];
    if (!destination.held.empty() && all < kResumeBytes) return "a source is held for nothing";
    if (destination.waiting.empty() && destination.listed) return "a turn of nobody";
    if (!destination.waiting.empty() && destination.may_send() && !destination.listed) {
      return "a destination with credit has no turn";
    }
  }
  for (const auto& [source, bytes] : waiting) {
    if (!sources_.contains(source)) return "a source whose frames wait is forgotten";
  }
  for (const auto& [source, known] : sources_) {
    if (known.waiting_bytes != waiting[source]) return "a source's waiting bytes are miscounted";
    if (known.held_by != held[source]) return "who holds a source is miscounted";
    if (!known.full && known.waiting_bytes > kPauseBytes) return "a source is not paused";
  }
  return "";
}

}  // namespace cyray::net
