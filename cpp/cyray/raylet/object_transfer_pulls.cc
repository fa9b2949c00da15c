#include "cyray/raylet/object_transfer_pulls.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "cyray/net/packet.h"
#include "cyray/util/log.h"

namespace cyray::raylet {
namespace {

using net::kMaxChunkBytes;

std::string Short(const NodeId& node) { return node.Hex().substr(0, 8); }

}  // namespace

void PullTable::Start(const ObjectId& id, const std::vector<NodeId>& holders, Actions& actions) {
  auto [it, added] = pulls_.try_emplace(id);
  Pull& pull = it->second;
  for (const NodeId& node : holders) {
    const bool known =
        (!added && node == pull.holder) ||
        std::find(pull.untried.begin(), pull.untried.end(), node) != pull.untried.end();
    if (!known) pull.untried.push_back(node);
  }
  if (!added) return;
  pull.id = id;
  TryNext(pull, actions);
}

void PullTable::TryNext(Pull& pull, Actions& actions) {
  if (pull.untried.empty()) {
    std::string text = "object " + pull.id.Hex() + " could not be fetched: ";
    for (size_t i = 0; i < pull.failures.size(); ++i)
      text += (i > 0 ? "; " : "") + pull.failures[i];
    if (pull.failures.empty()) text += "no node is known to hold it";
    const ObjectId id = pull.id;
    pulls_.erase(id);
    actions.push_back({Action::Kind::kFail, id, {}, 0, Status(StatusCode::kNotFound, text)});
    return;
  }
  pull.holder = pull.untried.front();
  pull.untried.pop_front();
  Holder& holder = holders_[pull.holder];
  if (holder.running < kMaxPerNode) {
    Run(pull, actions);
  } else {
    holder.queue.push_back(pull.id);
  }
}

void PullTable::Run(Pull& pull, Actions& actions) {
  ++holders_[pull.holder].running;
  pull.request_id = next_request_++;
  by_request_[pull.request_id] = pull.id;
  actions.push_back({Action::Kind::kAsk, pull.id, pull.holder, pull.request_id, {}});
}

void PullTable::StopAttempt(Pull& pull, bool tell_holder, Actions& actions) {
  auto it = holders_.find(pull.holder);
  if (pull.request_id == 0) {
    if (it != holders_.end()) std::erase(it->second.queue, pull.id);
    return;
  }
  if (tell_holder) {
    actions.push_back({Action::Kind::kCancel, pull.id, pull.holder, pull.request_id, {}});
  }
  if (pull.has_room) actions.push_back({Action::Kind::kAbort, pull.id, {}, 0, {}});
  by_request_.erase(pull.request_id);
  pull.request_id = 0;
  pull.has_room = false;
  pull.started = false;
  pull.received = 0;
  Holder& holder = it->second;
  --holder.running;
  if (!holder.queue.empty()) {
    const ObjectId next = holder.queue.front();
    holder.queue.pop_front();
    Run(pulls_.at(next), actions);
  } else if (holder.running == 0) {
    holders_.erase(it);
  }
}

void PullTable::Erase(const ObjectId& id, bool tell_holder, Actions& actions) {
  auto it = pulls_.find(id);
  if (it == pulls_.end()) return;
  StopAttempt(it->second, tell_holder, actions);
  pulls_.erase(id);
}

PullTable::Verdict PullTable::OnChunk(const NodeId& from, const ChunkHeader& chunk,
                                      Actions& actions) {
  auto request = by_request_.find(chunk.request_id);
  if (request == by_request_.end()) {  // of an attempt that was given up
    return chunk.bytes <= kMaxChunkBytes ? Verdict::kDrop : Verdict::kProtocolError;
  }
  Pull& pull = pulls_.at(request->second);
  if (pull.holder != from || pull.id != chunk.id) return Verdict::kProtocolError;
  if (chunk.missing) {
    if (chunk.bytes != 0) return Verdict::kProtocolError;
    pull.failures.push_back("node " + Short(from) + " does not have it");
    StopAttempt(pull, /*tell_holder=*/false, actions);
    TryNext(pull, actions);
    return Verdict::kDrop;
  }
  const bool in_order = chunk.offset == pull.received && chunk.offset <= chunk.total &&
                        chunk.bytes <= chunk.total - chunk.offset &&
                        chunk.bytes <= kMaxChunkBytes &&
                        (!pull.started || chunk.total == pull.total);
  if (!in_order || (chunk.bytes == 0 && chunk.total > 0)) return Verdict::kProtocolError;
  pull.started = true;
  pull.total = chunk.total;
  return Verdict::kTake;
}

std::optional<PullTable::Pull> PullTable::OnChunkEnd(uint64_t request_id, uint32_t bytes,
                                                     Actions& actions) {
  auto request = by_request_.find(request_id);
  if (request == by_request_.end()) return std::nullopt;
  Pull& pull = pulls_.at(request->second);
  pull.received += bytes;
  if (!pull.started || pull.received < pull.total) return std::nullopt;
  Pull complete = pull;
  pull.has_room = false;  // the room is the object's now
  Erase(complete.id, /*tell_holder=*/false, actions);
  return complete;
}

void PullTable::SetRoom(uint64_t request_id, uint64_t offset) {
  auto request = by_request_.find(request_id);
  CYRAY_CHECK(request != by_request_.end()) << request_id;
  Pull& pull = pulls_.at(request->second);
  pull.has_room = true;
  pull.offset = offset;
}

void PullTable::OnReconnected(const NodeId& node, Actions& actions) {
  for (auto& [id, pull] : pulls_) {
    if (pull.holder != node || pull.request_id == 0) continue;
    actions.push_back({Action::Kind::kCancel, id, node, pull.request_id, {}});
    by_request_.erase(pull.request_id);
    pull.request_id = next_request_++;
    by_request_[pull.request_id] = id;
    actions.push_back({Action::Kind::kAsk, id, node, pull.request_id, {}, pull.received});
  }
}

void PullTable::OnNodeLost(const NodeId& node, const std::string& reason, Actions& actions) {
  auto holder = holders_.find(node);
  if (holder == holders_.end()) return;
  holder->second.queue.clear();
  std::vector<ObjectId> affected;
  for (const auto& [id, pull] : pulls_) {
    if (pull.holder == node) affected.push_back(id);
  }
  for (const ObjectId& id : affected) {
    Pull& pull = pulls_.at(id);
    pull.failures.push_back(reason);
    StopAttempt(pull, /*tell_holder=*/false, actions);
    TryNext(pull, actions);
  }
}

void PullTable::Fail(const ObjectId& id, const Status& status, Actions& actions) {
  if (!pulls_.contains(id)) return;
  Erase(id, /*tell_holder=*/true, actions);
  actions.push_back({Action::Kind::kFail, id, {}, 0, status});
}

void PullTable::Cancel(const ObjectId& id, Actions& actions) {
  Erase(id, /*tell_holder=*/true, actions);
}

const PullTable::Pull* PullTable::Find(uint64_t request_id) const {
  auto request = by_request_.find(request_id);
  return request == by_request_.end() ? nullptr : &pulls_.at(request->second);
}

std::vector<ObjectId> PullTable::ids() const {
  std::vector<ObjectId> ids;
  for (const auto& [id, pull] : pulls_) ids.push_back(id);
  return ids;
}

std::vector<std::string> PullTable::Describe() const {
  std::vector<std::string> lines;
  for (const auto& [id, pull] : pulls_) {
    std::string line = "object " + id.Hex() + " from node " + Short(pull.holder);
    if (pull.request_id == 0) {
      line += ", waiting for its turn";
    } else if (pull.started) {
      line += ", " + std::to_string(pull.received) + " of " + std::to_string(pull.total) + " bytes";
    } else {
      line += ", asked";
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

std::string PullTable::CheckInvariants() const {
  std::unordered_map<NodeId, size_t> running;
  size_t asked = 0, queued = 0;
  for (const auto& [id, pull] : pulls_) {
    if (pull.id != id) return "a pull has another id";
    auto holder = holders_.find(pull.holder);
    if (holder == holders_.end()) return "a pull without its holder";
    if (pull.request_id == 0) {
      const auto& queue = holder->second.queue;
      if (std::count(queue.begin(), queue.end(), id) != 1) return "a waiting pull is not in line";
      if (holder->second.running < kMaxPerNode) return "a pull waits though its turn has come";
      if (pull.has_room) return "a waiting pull has room";
      continue;
    }
    auto request = by_request_.find(pull.request_id);
    if (request == by_request_.end() || request->second != id) return "a request is not mapped";
    ++running[pull.holder];
    ++asked;
    if (pull.received > pull.total) return "more was received than there is";
  }
  if (asked != by_request_.size()) return "requests are miscounted";
  for (const auto& [node, holder] : holders_) {
    if (holder.running != running[node] || holder.running > kMaxPerNode)
      return "running pulls are miscounted";
    queued += holder.queue.size();
  }
  return queued + asked == pulls_.size() ? "" : "a queue holds what is not pulled";
}

}  // namespace cyray::raylet
