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
  Waits(relay.source, relay.body.size());
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
  WaitsNoMore(relay.source, relay.body.size());
  List(worker, destination);
  EraseIfIdle(worker);
  return relay;
}

bool RelayQueues::OnCredit(const Address& address, uint64_t bytes) {
  auto it = destinations_.find(address.worker);
  if (it == destinations_.end()) return true;  // it was gone
  Destination& destination = it->second;
  if (destination.node != address.node || bytes > destination.under_way) return false;
  destination.under_way -= bytes;
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
    for (const Relay& relay : it->second.waiting) WaitsNoMore(relay.source, relay.body.size());
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

void RelayQueues::Waits(uint64_t source, size_t bytes) {
  if (source == 0) return;
  Source& known = sources_[source];
  known.waiting_bytes += bytes;
  if (known.paused || known.waiting_bytes <= kPauseBytes) return;
  known.paused = true;
  pauses_.emplace_back(source, true);
}

void RelayQueues::WaitsNoMore(uint64_t source, size_t bytes) {
  auto it = sources_.find(source);
  if (it == sources_.end()) return;
  Source& known = it->second;
  known.waiting_bytes -= std::min<uint64_t>(bytes, known.waiting_bytes);
  if (known.paused && known.waiting_bytes < kResumeBytes) {
    known.paused = false;
    pauses_.emplace_back(source, false);
  }
  if (known.waiting_bytes == 0) sources_.erase(it);
}

uint64_t RelayQueues::waiting_bytes(uint64_t source) const {
  auto it = sources_.find(source);
  return it == sources_.end() ? 0 : it->second.waiting_bytes;
}

std::string RelayQueues::CheckInvariants() const {
  std::unordered_map<uint64_t, uint64_t> waiting;
  for (const auto& [worker, destination] : destinations_) {
    for (const Relay& relay : destination.waiting) waiting[relay.source] += relay.body.size();
    if (destination.waiting.empty() && destination.listed) return "a turn of nobody";
    if (!destination.waiting.empty() && destination.may_send() && !destination.listed) {
      return "a destination with credit has no turn";
    }
  }
  for (const auto& [source, known] : sources_) {
    if (known.waiting_bytes != waiting[source]) return "a source's waiting bytes are miscounted";
    if (!known.paused && known.waiting_bytes > kPauseBytes) return "a source is not paused";
  }
  return "";
}

}  // namespace cyray::net
