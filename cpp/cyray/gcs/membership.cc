#include "cyray/gcs/membership.h"

#include <algorithm>

namespace cyray::gcs {

void Membership::Add(const NodeId& node, int64_t allowed_ms, int64_t now_ms) {
  if (members_.empty()) next_tick_ms_ = now_ms + timing_.tick_ms;
  members_[node] = {.allowed_ms = allowed_ms, .deadline_ms = now_ms + allowed_ms};
}

void Membership::Join(const NodeId& node, int64_t now_ms) {
  Add(node, timing_.first_stream_ms, now_ms);
}

void Membership::Restore(const NodeId& node, int64_t now_ms) {
  Add(node, timing_.restored_ms, now_ms);
}

void Membership::Up(const NodeId& node, int64_t now_ms) {
  const auto it = members_.find(node);
  if (it == members_.end()) return;
  it->second.up = true;
  Heard(node, now_ms);
}

void Membership::Down(const NodeId& node, int64_t now_ms) {
  const auto it = members_.find(node);
  if (it == members_.end()) return;
  it->second = {.allowed_ms = timing_.reconnect_ms, .deadline_ms = now_ms + timing_.reconnect_ms};
}

void Membership::Heard(const NodeId& node, int64_t now_ms) {
  const auto it = members_.find(node);
  if (it == members_.end() || !it->second.up) return;
  it->second = {
      .up = true, .allowed_ms = timing_.silence_ms, .deadline_ms = now_ms + timing_.silence_ms};
}

std::vector<Membership::Verdict> Membership::Tick(int64_t now_ms) {
  const int64_t late = now_ms - next_tick_ms_;
  next_tick_ms_ = now_ms + timing_.tick_ms;
  std::vector<Verdict> verdicts;
  for (auto it = members_.begin(); it != members_.end();) {
    Member& member = it->second;
    if (late > timing_.late_ms) {
      member.deadline_ms = std::min(member.deadline_ms + late, now_ms + member.allowed_ms);
    }
    const bool overdue = now_ms >= member.deadline_ms;
    if (overdue && member.overdue) {
      verdicts.push_back({it->first, ReasonOf(member)});
      it = members_.erase(it);
      continue;
    }
    member.overdue = overdue;
    ++it;
  }
  return verdicts;
}

std::string Membership::ReasonOf(const Member& member) const {
  if (!member.up) return "Its raylet lost the connection to the GCS and did not come back.";
  return "Its raylet was not heard of for " + std::to_string(timing_.silence_ms / 1000) + " s.";
}

std::optional<int64_t> Membership::NextTick() const {
  if (members_.empty()) return std::nullopt;
  return next_tick_ms_;
}

Membership::State Membership::StateOf(const NodeId& node) const {
  const auto it = members_.find(node);
  if (it == members_.end()) return State::kUnknown;
  return it->second.up ? State::kAlive : State::kSuspect;
}

}  // namespace cyray::gcs
