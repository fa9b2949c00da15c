// CallLog: replies to recent calls that must be done once, by call id.
//
// A client that did not see the reply sends the call again with the same id and gets the first
// reply. Kept for longer than clients try, and stored, so that this holds over a restart.
// Threading: confined to the GCS's state loop. Pure: time is given to it (monotonic milliseconds:
// the wall clock may be set). What is put back after a restart counts as made then.

#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "cyray/gcs/rpc.h"
#include "cyray/util/recent.h"

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
  const Entry* Find(const CallId& id) const { return entries_.Find(id); }

  // Returns ids that are too old by now and were forgotten.
  std::vector<CallId> Add(const CallId& id, Entry entry, int64_t now_ms) {
    std::vector<CallId> forgotten;
    entries_.Add(id, std::move(entry), now_ms, &forgotten);
    return forgotten;
  }

  void MarkDurable(const CallId& id) {
    if (Entry* entry = entries_.Find(id)) entry->durable = true;
  }
  // What the call did was undone: should it come again, it is a new one.
  void Remove(const CallId& id) { entries_.Remove(id); }

  size_t size() const { return entries_.size(); }

 private:
  static constexpr int64_t kKeptMs = 180'000;
  static constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();

  Recent<CallId, Entry> entries_{kNoLimit, kKeptMs};
};

}  // namespace cyray::gcs
