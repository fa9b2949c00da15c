// CallLog: replies to recent calls that must be done once, by call id.
//
// A client that did not see the reply sends the call again with the same id and gets the first
// reply. Kept for longer than clients try, and stored, so that this holds over a restart.
// Threading: confined to the GCS's state loop. Pure: time is given to it (wall clock in
// milliseconds, which may be set forward and back).

#pragma once

#include <cstdlib>
#include <deque>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cyray/gcs/rpc.h"

namespace cyray::gcs {

class CallLog {
 public:
  struct Entry {
    StatusCode code = StatusCode::kOk;
    wire::Bytes payload;   // the reply, or the error's text
    bool durable = false;  // what it did is on disk
    Result<wire::Bytes> AsResult() const {
      if (code == StatusCode::kOk) return payload;
      return Fail(code, std::string(payload.begin(), payload.end()));
    }
  };

  static Entry MakeEntry(const Result<wire::Bytes>& result) {
    if (result.has_value()) return {StatusCode::kOk, *result};
    const std::string& text = result.error().message();
    return {result.error().code(), wire::Bytes(text.begin(), text.end())};
  }

  // nullptr: not a repetition. Valid until the next change.
  const Entry* Find(const CallId& id) const {
    auto it = entries_.find(id);
    return it == entries_.end() ? nullptr : &it->second;
  }

  // Returns ids that are too old by now and were forgotten.
  std::vector<CallId> Add(const CallId& id, Entry entry, int64_t now_ms) {
    if (entries_.emplace(id, std::move(entry)).second) order_.emplace_back(now_ms, id);
    std::vector<CallId> forgotten;
    // One from far in the future came before the clock was set back: its age is not known.
    while (!order_.empty() && std::abs(now_ms - order_.front().first) > kKeptMs) {
      forgotten.push_back(order_.front().second);
      entries_.erase(order_.front().second);
      order_.pop_front();
    }
    return forgotten;
  }

  void MarkDurable(const CallId& id) {
    if (auto it = entries_.find(id); it != entries_.end()) it->second.durable = true;
  }
  // What the call did was undone: should it come again, it is a new one.
  void Remove(const CallId& id) {
    if (entries_.erase(id) == 0) return;
    std::erase_if(order_, [&id](const auto& made) { return made.second == id; });
  }

  size_t size() const { return entries_.size(); }

 private:
  static constexpr int64_t kKeptMs = 180'000;

  std::unordered_map<CallId, Entry> entries_;
  std::deque<std::pair<int64_t, CallId>> order_;
};

}  // namespace cyray::gcs
