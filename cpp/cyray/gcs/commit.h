// Commit: orders what the GCS changes and what it says about it.
//
// An event queues changes and effects, and ends. Its changes become durable together; its effects
// leave afterwards, after those of every event before it. So the GCS may die at any instruction:
// what anybody was told is what the next GCS knows.
// An answer that only reads waits for changes of the kinds that it read, not for others: who asks
// for the nodes does not wait while thousands of actors are stored. While the disk refuses changes,
// effects wait, however long; such answers leave at once, for they could wait for ever.
// Threading: confined to the GCS's state loop.
// Invariant: effects leave in the order of Leave(), none before all changes queued up to the end of
// its event are durable.

#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <initializer_list>
#include <map>
#include <string_view>
#include <vector>

#include "cyray/gcs/storage.h"

namespace cyray::gcs {

class Commit {
 public:
  using Effect = std::function<void()>;
  explicit Commit(Storage* storage) : storage_(storage) {}
  Commit(const Commit&) = delete;
  Commit& operator=(const Commit&) = delete;

  void Put(Storage::Kind kind, std::string_view key, wire::Bytes value);
  void Erase(Storage::Kind kind, std::string_view key);
  void Leave(Effect effect);
  // The answer to a read of what is stored as `kinds`, from what has been queued so far.
  void Answer(std::initializer_list<Storage::Kind> kinds, Effect effect);

  // The event is over.
  void End();
  // The same; `outcome` learns whether what was queued so far is durable, at once when nothing
  // waits.
  void End(Storage::Callback outcome);

  // Effects and answers that wait.
  size_t held() const;

 private:
  struct Group {         // of one event
    uint64_t after = 0;  // the change that it waits for
    std::vector<Effect> effects;
  };
  void Changes(Storage::Kind kind);
  // `outcome`, which may be null, learns what became of the event that ends.
  void AwaitDisk(Storage::Callback outcome);
  void Close();
  void OnOutcome(uint64_t change, const Status& status);
  void Release();

  Storage* const storage_;
  Group open_;
  bool changed_ = false;  // in the event that goes on
  uint64_t queued_ = 0;   // changes so far, an event's counted as one
  uint64_t durable_ = 0;
  bool trying_again_ = false;
  bool releasing_ = false;
  std::deque<Group> waiting_;                       // oldest first
  std::array<uint64_t, Storage::kKinds> newest_{};  // change of each kind
  std::multimap<uint64_t, Effect> answers_;         // by the change that they wait for
};

}  // namespace cyray::gcs
